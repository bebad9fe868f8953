import { stage, stepper, choice, toggle, chart, controls, row, caption, frames, gallery, predict, mark, strong, num, percent, h } from "./explorer.js";

const STYLE = `
.options span, .gallery span { overflow-wrap: anywhere; }
.gallery { margin: 0; }
.gallery .all { grid-template-columns: repeat(auto-fill, 62px); gap: 8px; }
.gallery .frame { aspect-ratio: 1 !important; }
.way { display: grid; grid-template-columns: repeat(7, minmax(0, 1fr)); gap: .3em .95em; margin: .4em 0 .9em; padding: 0; list-style: none; align-items: start; }
.way li { min-width: 0; position: relative; }
.way li + li::before { content: "›"; position: absolute; left: -.62em; top: 0; height: 0; padding-top: calc(50% - .75em); color: var(--soft); font-size: 1.25em; line-height: 1; }
.way .frame { aspect-ratio: 1 !important; }
.way .caption { margin: .25em 0 0; line-height: 1.3; }
.way .caption b { display: block; color: var(--ink); font-weight: 650; }
.dial { aspect-ratio: 1; border-radius: 8px; background: var(--panel); display: grid; place-content: center; text-align: center; position: relative; overflow: hidden; }
.dial span { font-weight: 650; font-size: 1.35em; position: relative; }
.dial i { position: absolute; left: 0; right: 0; bottom: 0; background: var(--vermilion); opacity: .3; }
@container (max-width: 44em) { .way { grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .5em .75em; } .way .caption { font-size: .8em; } .way li:nth-child(4n + 1)::before { display: none; } }
`;
const COLORS = ["gray", "ocher", "green"], KINDS = ["good part", "defect with its mask", "defect without a mask"];

export default { render({ model, el }) {
  const page = stage(model, el), names = page.get("names"), epochs = page.get("epochs"), balance = page.get("balance"), ids = page.get("ids"), kinds = page.get("kinds"), p = page.get("p"), hits = page.get("hits"), weights = page.get("weights"), sizes = page.get("sizes"), cells = page.get("cells"), [tests, defects] = page.get("counts");
  const looks = epochs.length, stages = sizes.length, last = epochs[looks - 1], count = names.length * looks * ids.length;
  const image = frames(page.get("images"), ids.length), known = frames(page.get("outlined"), ids.length), seen = sizes.map(() => frames(page.get("stages"), count * stages)), map = frames(page.get("maps"), count), dial = h("div", { class: "dial", role: "img" }, h("i"), h("span"));
  known.classList.add("over");
  known.setAttribute("aria-hidden", "true");
  const by = sizes.map((size, s) => (s === stages - 1 ? ["features", `${size[0]} × ${size[1]}`] : [`stage ${s + 1}`, `${size[0]} × ${size[1]}`]));
  const item = (title, note, ...nodes) => h("li", {}, ...nodes, caption(h("b", {}, title), note));
  const way = h("ol", { class: "way" }, item("part", "as it is", h("div", { class: "picture" }, image, known)), ...seen.map((node, s) => item(by[s][0], by[s][1], node)), item("map", `where? ${cells[0]} × ${cells[1]}`, map), item("decision", "whether?", dial));
  const teaches = chart(page, { height: 190, x: [0, 1], y: [-0.6, 2.6], yTicks: 0, xLabel: "weight in the loss", pad: [6, 16, 40, 16], xTicks: [0, 0.25, 0.5, 0.75, 1].map(v => [v, String(v)]),
    paint(g) {
      const table = weights[page.get("training")][page.get("look")], most = Math.max(1, ...table.map(([a, b]) => a + b));
      this.x = [0, most];
      this.xTicks = [0, 0.25, 0.5, 0.75, 1].map(v => [v * most, num(v * most, most > 1.01 ? 1 : 2)]);
      table.forEach(([where, whether], k) => {
        const y = 2 - k;
        g.text(0, y, KINDS[k], { anchor: "start", dy: -12, color: "soft" });
        g.bar(0, y + 0.13, most, y - 0.3, { color: "panel" });
        if (where) g.bar(0, y + 0.13, where, y - 0.3, { color: "blue", title: `where: ${num(where)}` });
        if (whether) g.bar(where, y + 0.13, where + whether, y - 0.3, { color: "vermilion", title: `whether: ${num(whether)}` });
        if (where > 0.12 * most) g.text(where / 2, y, num(where), { color: "#ffffff", dy: 8, bold: true });
        if (whether > 0.12 * most) g.text(where + whether / 2, y, num(whether), { color: "#ffffff", dy: 8, bold: true });
      });
    } });
  const progress = (key, words) => chart(page, { height: 165, x: [0, last], y: [0, 1.03], xLabel: "epochs done", yLabel: words, pad: [26, 12, 38, 34], yTicks: [0, 0.5, 1].map(v => [v, num(v, 1)]), onPoint: x => page.set("look", epochs.reduce((best, e, k) => (Math.abs(e - x) < Math.abs(epochs[best] - x) ? k : best), 0)),
    paint(g) {
      g.rule({ x: epochs[page.get("look")], color: "ink", dash: null, opacity: 0.4 });
      names.forEach((_, n) => g.line(epochs.map((e, k) => [e, page.get(key)[n][k]]), { color: COLORS[n % 3], width: n === page.get("training") ? 3.5 : 1.5, opacity: n === page.get("training") ? 1 : 0.55 }));
      names.forEach((name, n) => { if (n === page.get("training")) g.dot(epochs[page.get("look")], page.get(key)[n][page.get("look")], { color: COLORS[n % 3], r: 6, ring: "ink", title: name }); });
    } });
  const whether = progress("whether", "whether: average precision"), where = progress("where", "where: hottest cell on the defect");
  page.add(h("style", {}, STYLE), predict("All parts have a verdict. With no mask at all, what will the network know: whether, where, or neither?"),
    controls(choice(page, "training", { label: "masks it was given", options: names.map((name, n) => [n, name]) }), stepper(page, "look", { label: "epochs done", count: looks, format: k => `${epochs[k]} of ${last}`, interval: 900 })),
    way, controls(gallery(page, "part", { label: "part that no training has seen", url: page.get("images"), names: ids, words: k => kinds[k] }), toggle(page, "truth", { label: "outline the defect" })),
    caption("What each kind of part teaches now: ", mark("blue", "where"), " ", mark("vermilion", "whether")), teaches,
    caption(`What it knows about ${tests} unseen parts: `, ...names.flatMap((name, n) => [mark(COLORS[n % 3], name), " "])), row(whether, where));
  page.on(["training", "look", "part", "truth"], () => {
    const n = page.get("training"), look = page.get("look"), k = page.get("part"), at = (n * looks + look) * ids.length + k, value = p[n][look][k], lambda = balance[n][look], bad = kinds[k] !== "good";
    image.show(k, `${ids[k]}: ${kinds[k]}`);
    known.show(k);
    known.style.display = page.get("truth") ? "" : "none";
    seen.forEach((node, s) => node.show(at * stages + s, `what ${by[s][0]} responds to, ${by[s][1]} cells`));
    map.show(at, `map of ${ids[k]}${bad ? `; its hottest cell lies ${hits[n][look][k] ? "on" : "beside"} the defect` : ""}`);
    dial.lastChild.textContent = num(value);
    dial.firstChild.style.height = `${100 * value}%`;
    dial.setAttribute("aria-label", `probability of a defect: ${num(value)}`);
    const table = weights[n][look];
    teaches.options.label = `Weights after ${epochs[look]} epochs. ${KINDS.map((kind, j) => `${kind}: where ${num(table[j][0])}, whether ${num(table[j][1])}`).join("; ")}.`;
    whether.options.label = `Average precision over epochs; with ${names[n]}, after ${epochs[look]} epochs: ${num(page.get("whether")[n][look])}.`;
    where.options.label = `Share of ${defects} defects under the hottest cell; with ${names[n]}, after ${epochs[look]} epochs: ${num(page.get("where")[n][look])}.`;
    for (const each of [teaches, whether, where]) each.repaint();
    const now = lambda == null ? ["there is no λ: both losses count in full, but no map of a defect is known"] : look === looks - 1 ? ["λ has reached ", strong(num(lambda)), ": the last masks have been learned from"] : ["λ = ", strong(num(lambda)), `: a drawn defect teaches ${num(table[1][0])} of where and ${num(table[1][1])} of whether, one without a mask only the second`];
    page.say("With ", strong(names[n]), ", after ", strong(`${epochs[look]} of ${last} epochs`), ", ", ...now, ". It calls this part defective with ", strong(num(value)), ...(bad ? [", and the hottest cell of its map lies ", strong(hits[n][look][k] ? "on the defect" : "beside the defect")] : [" (it is good)"]),
      `. Of the ${defects} defects among ${tests} unseen parts the maps find `, strong(percent(page.get("where")[n][look])), "; the decisions rank the parts with an average precision of ", strong(num(page.get("whether")[n][look])), ".");
  });
  return page.close;
} };
