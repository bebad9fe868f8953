import { stage, slider, choice, chart, controls, caption, frames, predict, mark, strong, num, percent, plural, listed, h } from "./explorer.js";

const COLORS = ["blue", "vermilion", "green", "purple", "ocher", "ink"];
const STYLE = `
.list { max-height: 24em; overflow-y: auto; margin-top: .6em; }
@media print { .list { max-height: none; overflow: visible; } }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--soft); font-size: .88em; padding: .25em .5em; vertical-align: bottom; }
td { text-align: right; padding: .18em .5em; border-top: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:first-child { width: 38%; }
tr.near td { background: var(--panel); }
td button { all: unset; box-sizing: border-box; cursor: pointer; display: flex; align-items: center; gap: .5em; padding: .15em .3em; border-radius: 6px; overflow-wrap: anywhere; }
td button:focus-visible { outline: 3px solid var(--ocher); outline-offset: 1px; }
td button i { flex: none; width: .8em; height: .8em; border-radius: 50%; border: 2px solid var(--soft); box-sizing: border-box; }
td button[aria-pressed=true] { font-weight: 650; }
td button[aria-pressed=true] i { background: var(--at); border-color: var(--at); }
.first { display: grid; grid-template-columns: repeat(auto-fill, minmax(44px, 1fr)); gap: 5px; max-width: 42em; }
.first .frame { border-radius: 6px; border: 2px solid transparent; background-clip: padding-box; background-origin: padding-box; }
.first .frame.bad { border-color: var(--vermilion); }
@container (max-width: 34em) { .wide { display: none; } td, th { padding-inline: .25em; } }
`;

// Arithmetic as in loop.race: minutes of labeling, and the share of the defects found while the clock runs.
export const labelingMinutes = (asked, found, good, mask) => ((asked - found) * good + found * mask) / 60;
const between = (x, y, at) => {
  const k = x.findIndex(v => v >= at);
  return k < 0 ? y.at(-1) : k === 0 ? y[0] : y[k - 1] + (y[k] - y[k - 1]) * (at - x[k - 1]) / (x[k] - x[k - 1]);
};
export function shareWhileLabeling(x, y, until) {
  const inner = x.filter(v => v < until), xs = [...inner, until], ys = [...inner.map((_, k) => y[k]), between(x, y, until)];
  return xs.slice(1).reduce((sum, v, k) => sum + (v - xs[k]) * (ys[k] + ys[k + 1]) / 2, 0) / until;
}
const mean = values => values.reduce((sum, v) => sum + v, 0) / values.length;

export default { render({ model, el }) {
  const page = stage(model, el), names = page.get("names"), runs = page.get("runs"), defects = page.get("defects"), last = Math.max(...runs.flat().map(run => run.asked.at(-1)));
  const picks = page.get("picks"), bad = page.get("bad"), kinds = page.get("kinds"), ids = page.get("ids");
  const color = m => COLORS[page.get("shown").indexOf(m)] ?? null;
  const curve = run => ({ asked: [0, ...run.asked], share: [0, ...run.found.map(f => f / defects)],
    minutes: [0, ...run.asked.map((a, k) => labelingMinutes(a, run.found[k], page.get("seconds_good"), page.get("seconds_mask")))] });
  const of = (m, budget) => runs[m].map(curve).map(c => between(c.asked, c.share, budget));
  const standings = () => {
    const drawn = runs.map(some => some.map(curve)), until = Math.min(...drawn.flat().map(c => c.minutes.at(-1)));
    const rows = names.map((name, m) => ({ m, name, share: mean(drawn[m].map(c => shareWhileLabeling(c.minutes, c.share, until))), compute: page.get("compute")[m] }));
    return { until, rows: rows.sort((a, b) => b.share - a.share) };
  };
  const lines = chart(page, { height: 320, x: [0, last], y: [0, 1], yTicks: [0, 0.25, 0.5, 0.75, 1].map(v => [v, percent(v)]), yLabel: "share of the defects found", pad: [26, 14, 40, 48],
    onPoint: x => { if (page.get("axis") === "asked") page.set("budget", Math.max(0, Math.min(last, Math.round(x)))); },
    paint(g) {
      const axis = page.get("axis"), budget = page.get("budget");
      const path = m => { const some = runs[m].map(curve), steps = some[0].asked; return steps.map((a, k) => ({ at: axis === "asked" ? a : mean(some.map(c => c.minutes[k])), values: some.map(c => between(c.asked, c.share, a)) })); };
      names.forEach((name, m) => { if (color(m) == null) g.line(path(m).map(p => [p.at, mean(p.values)]), { color: "gray", width: 1.2, opacity: 0.45, title: name }); });
      if (axis === "asked") g.rule({ x: budget, color: "ink", dash: null, opacity: 0.45 });
      for (const m of page.get("shown")) {
        const points = path(m);
        if (runs[m].length > 1) g.area([...points.map(p => [p.at, Math.min(...p.values)]), ...points.slice().reverse().map(p => [p.at, Math.max(...p.values)])], { color: color(m), opacity: 0.18 });
        g.line(points.map(p => [p.at, mean(p.values)]), { color: color(m), width: 2.6, title: names[m] });
        const at = axis === "asked" ? budget : mean(runs[m].map(curve).map(c => between(c.asked, c.minutes, budget)));
        g.dot(at, mean(of(m, budget)), { color: color(m), r: 5.5, ring: "ink", title: `${names[m]}: ${percent(mean(of(m, budget)), 1)}` });
      }
    } });
  const body = h("tbody"), note = caption(), legend = caption(), gallery = h("div", { class: "first" }), about = caption();
  const toggle = m => { const shown = page.get("shown"); page.set("shown", shown.includes(m) ? shown.filter(k => k !== m) : [...shown, m].slice(-COLORS.length)); };
  const buttons = names.map((name, m) => h("button", { type: "button", onclick: () => toggle(m), onfocus: () => page.set("near", m), onmouseenter: () => page.set("near", m) }, h("i", { "aria-hidden": "true" }), h("span", {}, ...name.split(/(?<=[a-z])(?=[A-Z])/).flatMap((part, k) => k ? [h("wbr"), part] : [part]))));
  const cells = names.map((_, m) => ({ found: h("td"), share: h("td"), compute: h("td", { class: "wide" }), seeds: h("td", { class: "wide" }, String(runs[m].length)) }));
  const rows = names.map((_, m) => h("tr", { onmouseenter: () => page.set("near", m) }, h("td", {}, buttons[m]), cells[m].found, cells[m].share, cells[m].compute, cells[m].seeds));
  const foundHead = h("th", { scope: "col" });
  page.add(h("style", {}, STYLE), predict("Which method is ahead after the second selection? And is it still ahead when a mask takes four minutes to draw?"),
    controls(slider(page, "budget", { label: "parts asked about", min: 0, max: last, format: v => plural(v, "part") }),
      slider(page, "seconds_mask", { label: "a mask takes", values: [5, 15, 30, 60, 120, 240], format: v => plural(v, "second") }),
      choice(page, "axis", { label: "lines over", options: [["asked", "parts asked about"], ["minutes", "minutes of labeling"]] })),
    lines, legend, h("div", { class: "list" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, names.length > 6 ? `method (choose up to six of ${names.length})` : "method"), foundHead, h("th", { scope: "col" }, "found on average while labeling"), h("th", { scope: "col", class: "wide" }, "minutes of computing"), h("th", { scope: "col", class: "wide" }, "seeds"))), body)), note, picks.some(Boolean) ? about : null, gallery);
  page.on(["shown"], () => {
    buttons.forEach((element, m) => { element.setAttribute("aria-pressed", String(color(m) != null)); element.style.setProperty("--at", color(m) ? `var(--${color(m)})` : "transparent"); });
    legend.replaceChildren(...page.get("shown").flatMap(m => [mark(color(m), names[m]), " "]), "A ribbon spans the seeds; gray lines are the other methods.");
  });
  page.on(["seconds_mask", "seconds_good"], () => {
    const { until, rows: order } = standings();
    body.replaceChildren(...order.map(({ m }) => rows[m]));
    for (const { m, share, compute } of order) { cells[m].share.textContent = percent(share, 1); cells[m].compute.textContent = compute == null ? "" : num(compute, compute < 10 ? 1 : 0); }
    note.textContent = `Sorted by the share of the defects found on average during the first ${num(until, 0)} minutes of labeling (${page.get("seconds_good")} s a good part, ${page.get("seconds_mask")} s a mask), when the first run ends. Computing is training and choosing of a whole run.`;
  });
  page.on(["shown", "budget", "axis", "seconds_mask"], () => {
    const budget = page.get("budget"), axis = page.get("axis"), all = names.map((name, m) => ({ name, share: mean(of(m, budget)) })).sort((a, b) => b.share - a.share);
    foundHead.textContent = `found in ${plural(budget, "part")}`;
    cells.forEach((cell, m) => { cell.found.textContent = percent(mean(of(m, budget)), 1); });
    lines.options.x = [0, axis === "asked" ? last : Math.max(...runs.flat().map(run => curve(run).minutes.at(-1)))];
    lines.options.xLabel = axis === "asked" ? "parts asked about" : "minutes of labeling";
    lines.options.label = `Share of the defects found by ${names.length} methods. After ${plural(budget, "part")}: ${page.get("shown").map(m => `${names[m]} ${percent(mean(of(m, budget)))}`).join(", ")}.`;
    lines.repaint();
    const best = all.filter(one => one.share > all[0].share - 1e-9).map(one => one.name), { rows: order } = standings();
    page.say("After ", strong(plural(budget, "part")), ...(budget ? [" ", strong(listed(best)), best.length > 1 ? " lead with " : " leads with ", strong(percent(all[0].share, 1)), ` of the defects; last is ${all.at(-1).name} with ${percent(all.at(-1).share, 1)}. `] : [" nobody has found anything. "]),
      "Over the minutes of labeling ", strong(order[0].name), ` is first, then ${listed(order.slice(1, 3).map(one => one.name))}.`);
  });
  page.on(["near"], () => {
    const m = page.get("near"), own = picks[m];
    rows.forEach((element, k) => element.classList.toggle("near", k === m));
    if (!own) { about.replaceChildren(strong(names[m]), ": its picks in the small world were not recorded."); gallery.replaceChildren(); return; }
    const hit = own.filter(k => bad[k]).length;
    about.replaceChildren(strong(names[m]), ` in the small world: the ${own.length} parts it asks about after the same first answers. ${hit ? `${hit} of them ${hit === 1 ? "is" : "are"} defective (framed).` : "None of them is defective."} Rest on another row.`);
    gallery.replaceChildren(...own.map(k => { const frame = frames(page.get("strip"), ids.length, { label: `${ids[k]}: ${kinds[k]}` }); frame.show(k); if (bad[k]) frame.classList.add("bad"); return frame; }));
  });
  return page.close;
} };
