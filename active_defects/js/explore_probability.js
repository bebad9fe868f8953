import { stage, slider, choice, chart, controls, row, caption, tiles, predict, mark, strong, num, ordinal, short, h } from "./explorer.js";

// The same formulas as studio's Python: formulas.entropy, margin, confidence.
export const entropy = p => (p > 0 && p < 1 ? -p * Math.log(p) - (1 - p) * Math.log(1 - p) : 0);
export const margin = p => Math.abs(2 * p - 1);
export const leastConfidence = p => Math.min(p, 1 - p);

const SCORES = [
  { name: "entropy", color: "blue", value: entropy, urgency: entropy },
  { name: "margin", color: "purple", value: margin, urgency: p => -margin(p) },
  { name: "least conf.", color: "green", value: leastConfidence, urgency: leastConfidence },
  { name: "known", color: "vermilion", value: p => 1 - p, urgency: p => 1 - p },
];
export const ranks = (ps, urgency) => ps.map(p => 1 + ps.filter(q => urgency(q) > urgency(p) + 1e-9).length);

export default { render({ model, el }) {
  const page = stage(model, el), grid = [...Array(201).keys()].map(k => k / 200);
  const parts = () => [["yours", page.get("p")], ...page.get("others")];
  const shown = () => (page.get("known") === "defective" ? SCORES : SCORES.slice(0, 3));
  const values = h("div");
  const curves = chart(page, { height: 250, x: [0, 1], y: [0, 1], xLabel: "probability of defect, p", yTicks: [0, 0.25, 0.5, 0.75, 1].map(v => [v, num(v, 2)]),
    onPoint: x => page.set("p", Math.round(100 * x) / 100),
    paint(g) {
      const p = page.get("p");
      g.rule({ x: p, color: "ink", dash: null, opacity: 0.5 });
      for (const { color, value } of shown()) g.line(grid.map(q => [q, value(q)]), { color, width: 2.5 });
      for (const { color, value, name } of shown()) g.dot(p, value(p), { color, r: 6, ring: "ink", title: `${name} ${num(value(p), 3)}` });
    } });
  const all = () => parts().map(([name, p], k) => [`${short(name, 11)} ${num(p, k ? 3 : 2)}`, p]);
  const order = chart(page, { height: 260, x: [0, 1], y: [0, 1], xTicks: 0, yTicks: 0, pad: [42, 46, 10, 20 + 7.6 * Math.max(...all().map(([name]) => name.length))],
    paint(g) {
      const rows = all(), ps = rows.map(([, p]) => p), columns = shown(), places = columns.map(score => ranks(ps, score.urgency));
      const tight = (g.right - g.left) / (columns.length - 1) < 84;
      this.x = [0, columns.length - 1];
      this.y = [rows.length, 1];
      columns.forEach(({ name, color }, c) => {
        g.text(c, 1, name, { dy: tight && c % 2 ? -29 : -14, color, bold: true, anchor: "middle" });
        g.line([[c, 1], [c, rows.length]], { color: "line", width: 1 });
      });
      for (let k = rows.length - 1; k >= 0; k--) {
        const own = k === 0, points = columns.map((_, c) => [c, places[c][k]]);
        g.line(points, { color: own ? "ocher" : "gray", width: own ? 4 : 1.5, opacity: own ? 1 : 0.6 });
        for (const [c, place] of points) g.dot(c, place, { color: own ? "ocher" : "gray", r: own ? 7 : 4.5 });
        g.text(0, places[0][k], rows[k][0], { anchor: "end", dx: -13, dy: 4, color: own ? "ink" : "soft", bold: own });
        g.text(columns.length - 1, places.at(-1)[k], ordinal(places.at(-1)[k]), { anchor: "start", dx: 13, dy: 4, color: own ? "ink" : "soft", bold: own });
      }
    } });
  page.add(predict("Where must p stand for your part to be asked about first? Is there a p at which the three scores disagree?"),
    row(h("div", {}, caption("The scores over p; drag in the picture, or move the slider"), curves), h("div", {}, caption("Who is asked about first: your part among others"), order)), values,
    controls(slider(page, "p", { label: "your part: probability of defect", min: 0, max: 1, step: 0.01, format: v => num(v, 2) }),
      choice(page, "known", { label: "What is known of all parts before anyone is asked?", options: [["nothing", "nothing"], ["defective", "they are defective"]] })));
  page.on(["p", "known"], () => {
    const p = page.get("p"), known = page.get("known") === "defective", ps = parts().map(([, q]) => q);
    const [first, , , last] = SCORES.map(score => ranks(ps, score.urgency)[0]), count = ps.length;
    values.replaceChildren(tiles(shown().map(({ name, color, value }) => [mark(color, name === "known" ? "1 − p" : name),
      num(value(p), 3), name === "margin" ? "small is first" : "large is first"])));
    curves.options.label = `Scores at p = ${num(p, 2)}: entropy ${num(entropy(p))}, margin ${num(margin(p))}, least confidence ${num(leastConfidence(p))}.`;
    order.options.label = `Your part is ${ordinal(first)} of ${count} by entropy, margin and least confidence${known ? `, and ${ordinal(last)} by disbelief in the known verdict` : ""}.`;
    curves.repaint();
    order.repaint();
    const wrong = p === 0.5 ? "a coin throw" : `the likelier answer, ${p > 0.5 ? "defective" : "good"}, is wrong with ${num(leastConfidence(p))}`;
    page.say("At p = ", strong(num(p)), " the entropy is ", strong(`${num(entropy(p))} nats`), ", the margin ", strong(num(margin(p))), ", and ", wrong, ". All three put your part ", strong(ordinal(first)), ` of ${count}: `,
      known ? "they look only at how far p is from one half. But if every part is known to be defective, what counts is how little the model believes it: 1 − p = " : "their lines run side by side for every p, because each asks only how far p is from one half.",
      ...(known ? [strong(num(1 - p)), ", ", first === last ? "here also " : "which makes it ", strong(ordinal(last)), "."] : []));
  });
  return page.close;
} };
