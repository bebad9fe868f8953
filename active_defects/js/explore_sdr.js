import { stage, stepper, slider, toggle, chart, controls, row, caption, frames, gallery, predict, mark, strong, num, percent, h } from "./explorer.js";

const STYLE = `
.five { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: .3em .9em; margin: 0 0 .6em; padding: 0; list-style: none; }
.five li { min-width: 0; transition: opacity .2s; }
.five li.later { opacity: .18; }
.five li.now .picture { box-shadow: 0 0 0 3px var(--blue); }
.five .caption b { color: var(--ink); }
@container (max-width: 40em) { .five { grid-template-columns: repeat(6, minmax(0, 1fr)); gap: .3em .6em; } .five li { grid-column: span 2; } .five li:nth-child(n + 4) { grid-column: span 3; } .five .caption { font-size: .8em; } }
`;
const STEPS = ["part", "prediction", "suspect region", "target", "error"];

export default { render({ model, el }) {
  const page = stage(model, el), ids = page.get("ids"), kinds = page.get("kinds"), rows = page.get("rows"), alone = page.get("alone"), ranks = page.get("ranks"), errors = page.get("errors"), bad = page.get("bad"), levels = page.get("thresholds");
  const count = bad.length, digits = v => num(v, v >= 10 ? 1 : 2), level = () => levels.reduce((best, t, k) => (Math.abs(t - page.get("threshold")) < Math.abs(levels[best] - page.get("threshold")) ? k : best), 0);
  const frame = key => frames(page.get(key), ids.length, { label: "" });
  const part = frame("images"), known = frame("outlined"), heats = frame("heats"), under = frame("images"), targets = frame("targets"), squares = frame("squares"), region = frames(page.get("regions"), ids.length * levels.length), inside = frames(page.get("regions"), ids.length * levels.length);
  for (const node of [known, region, inside]) node.classList.add("over");
  for (const node of [known, under, squares]) node.setAttribute("aria-hidden", "true");
  const items = [[part, known], [heats], [under, region], [targets], [squares, inside]].map(nodes => h("li", {}, h("div", { class: "picture" }, ...nodes), caption("")));
  const texts = ["The part", "What S suspects, dark to bright: 0 to 1", "", "What G would make of it", "Squared difference, inside only"];
  const curve = chart(page, { height: 190, x: [0.5, count + 0.5], y: [0, 1], yLabel: "error inside the suspect region, ten-thousandths", xLabel: "rank", pad: [26, 10, 38, 40], xTicks: [1, ...[0.25, 0.5, 0.75, 1].map(s => Math.round(s * count))].map(v => [v, String(v)]),
    paint(g) {
      const t = level(), here = rows[page.get("part")];
      errors[t].forEach((e, n) => { if (n !== here) g.dot(ranks[t][n], e, { color: bad[n] ? "vermilion" : "gray", r: bad[n] ? 5 : 3, opacity: bad[n] ? 1 : 0.7 }); });
      g.dot(ranks[t][here], errors[t][here], { color: "ocher", r: 7.5, ring: "ink", title: `rank ${ranks[t][here]}` });
    } });
  const choose = gallery(page, "part", { label: "candidate, by its rank", url: page.get("images"), names: ids, words: k => `rank ${ranks[level()][rows[k]]}` });
  page.add(h("style", {}, STYLE), predict("S suspects something. Which of these parts would G change there?"), choose, h("ol", { class: "five" }, ...items),
    controls(stepper(page, "step", { label: "step", count: STEPS.length, format: k => `${k + 1}. ${STEPS[k]}`, interval: 1400 }),
      h("div", {}, slider(page, "threshold", { label: "suspect from a probability of", values: levels, format: v => num(v, 2) }), kinds.some(Boolean) ? toggle(page, "truth", { label: "show what is known" }) : null)),
    row(curve), bad.some(Boolean) ? caption(mark("vermilion", "a defect"), " ", mark("gray", "a good part"), " ", mark("ocher", "this candidate")) : null);
  page.on(["part", "step", "threshold", "truth"], () => {
    const k = page.get("part"), step = page.get("step"), t = level(), n = rows[k], error = errors[t][n], rank = ranks[t][n], shown = page.get("truth") && kinds[k], share = page.get("shares")[k][t];
    for (const node of [part, known, heats, under, targets, squares]) node.show(k);
    for (const node of [region, inside]) node.show(k * levels.length + t);
    known.style.display = shown ? "" : "none";
    items.forEach((item, s) => { item.classList.toggle("later", s > step); item.classList.toggle("now", s === step); });
    texts[2] = `From ${num(levels[t], 2)} on: ${percent(share, share < 0.095 ? 1 : 0)} of it`;
    items.forEach((item, s) => item.lastChild.replaceChildren(h("b", {}, `${s + 1} `), texts[s]));
    part.setAttribute("aria-label", `${ids[k]}${shown ? `, ${kinds[k]}` : ""}`);
    heats.setAttribute("aria-label", `S's probability of a defect for each pixel of ${ids[k]}`);
    region.setAttribute("aria-label", `suspect region at ${num(levels[t], 2)}: ${percent(share, 1)} of the part`);
    targets.setAttribute("aria-label", `${ids[k]} as G would have it`);
    inside.setAttribute("aria-label", `squared difference inside the suspect region, ${digits(error)} ten-thousandths in all`);
    curve.options.y = [0, Math.max(...errors[t]) * 1.06 || 1];
    curve.options.yFormat = v => num(v, curve.options.y[1] >= 10 ? 0 : curve.options.y[1] >= 1 ? 1 : 2);
    curve.options.label = `Errors of ${count} candidates by rank; ${ids[k]} has rank ${rank}.`;
    curve.repaint();
    choose.show();
    const is = kinds[k] ? [" It is ", kinds[k] === "good" ? "a good part." : mark("vermilion", `a defect: ${kinds[k]}.`)] : [], place = percent(share, share < 0.095 ? 1 : 0) + " of it";
    const compared = rank === alone[k] ? "S alone would put it there too." : [`S alone would put it at `, strong(String(alone[k])), rank > alone[k] ? ": G disagrees with the suspicion." : ": G makes it more urgent."];
    const said = [[strong(ids[k]), " as the camera saw it. Do you see a defect?"],
      ["S, which has learned from the first round, gives each pixel a probability. By this alone the part would be number ", strong(`${alone[k]} of ${count}`), "."],
      share === 0 ? ["No pixel reaches ", strong(num(levels[t], 2)), ". The error will be zero, and MSMR's score settles the rank."] : ["From a probability of ", strong(num(levels[t], 2)), " on a pixel is suspect: ", strong(place), "."],
      ["G has learned to paint what a good part looks like. Compare its picture with the first one, inside the suspect region."],
      share === 0 ? [strong(ids[k]), " has no suspect pixel, so its error is zero. MSMR's score among such parts gives it ", strong(`rank ${rank} of ${count}`), ". ", ...[compared].flat(), ...is]
        : ["Inside the suspect region G would change ", strong(`${digits(error)} ten-thousandths`), " of a squared gray level: ", strong(`rank ${rank} of ${count}`), ". ", ...[compared].flat(), ...is]][step];
    page.say(...said);
  });
  return page.close;
} };
