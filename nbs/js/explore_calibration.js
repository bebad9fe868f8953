import { stage, slider, choice, chart, button, controls, row, caption, tiles, predict, mark, strong, num, listed, plural, h } from "./explorer.js";

// formulas.calibration.calibrate: piecewise linear, the threshold becomes one half. null where reading "keep" would turn the order around.
export function calibrate(ps, threshold, reading) {
  const t = Math.max(1e-6, Math.min(1 - 1e-6, threshold)), unit = reading === "unit";
  const low = unit ? 0 : Math.min(t, ...ps), high = unit ? 1 : Math.max(t, ...ps);
  const ends = new Map([[low, reading === "keep" ? low : 0]]).set(high, reading === "keep" ? high : 1).set(t, 0.5);
  const points = [...ends].sort((a, b) => a[0] - b[0]);
  if (points.some(([, y], k) => k && y < points[k - 1][1])) return null;
  return ps.map(p => {
    if (p <= points[0][0]) return points[0][1];
    const k = points.findIndex(([x]) => p <= x);
    if (k < 0) return points.at(-1)[1];
    const [[x0, y0], [x1, y1]] = [points[k - 1], points[k]];
    return p === x1 ? y1 : y0 + (y1 - y0) / (x1 - x0) * (p - x0);
  });
}
// formulas.metrics.average_precision, how="step"; equal values count at once.
export function averagePrecision(defective, values) {
  const order = values.map((_, k) => k).sort((a, b) => values[b] - values[a]), all = defective.filter(Boolean).length;
  let [found, area, before] = [0, 0, 0];
  order.forEach((k, seen) => {
    found += defective[k];
    if (seen + 1 < order.length && values[order[seen + 1]] === values[k]) return;
    area += (found - before) / all * found / (seen + 1);
    before = found;
  });
  return area;
}

const COLORS = ["blue", "vermilion", "green", "purple"], CLEAR = "rgb(0 0 0 / 0)";

export default { render({ model, el }) {
  const page = stage(model, el), names = page.get("names"), fold = page.get("fold"), p = page.get("p"), defective = page.get("defective"), best = page.get("best");
  const keys = names.map((_, k) => `t${k + 1}`), members = names.map((_, k) => p.map((_, i) => i).filter(i => fold[i] === k)), numbers = h("div");
  let moved = p, refused = [];
  function compute() {
    moved = [...p];
    refused = [];
    members.forEach((ids, k) => {
      const made = calibrate(ids.map(i => p[i]), page.get(keys[k]), page.get("reading"));
      if (made) ids.forEach((i, at) => { moved[i] = made[at]; }); else refused.push(names[k]);
    });
  }
  const place = values => { const order = values.map((_, i) => i).sort((a, b) => values[b] - values[a] || p[b] - p[a] || a - b), found = []; order.forEach((i, k) => { found[i] = k; }); return found; };
  const dot = (g, x, y, i, r) => g.dot(x, y, { color: defective[i] ? COLORS[fold[i]] : CLEAR, ring: COLORS[fold[i]], r, title: `${page.get("ids")[i]}: ${num(p[i], 3)} becomes ${num(moved[i], 3)}, ${defective[i] ? "defective" : "good"}` });
  const hinge = chart(page, { height: 290, x: [0, 1], y: [0, 1], xLabel: "probability as the fold's model gives it", yLabel: "calibrated", xTicks: [0, 0.5, 1].map(v => [v, String(v)]), yTicks: [0, 0.5, 1].map(v => [v, String(v)]), pad: [26, 12, 40, 30],
    paint(g) {
      g.rule({ y: 0.5 });
      members.forEach((ids, k) => {
        const t = page.get(keys[k]), color = COLORS[k], order = [...ids].sort((a, b) => p[a] - p[b]);
        const line = refused.includes(names[k]) ? [] : [...order.map(i => [p[i], moved[i]]), [t, 0.5], ...(page.get("reading") === "unit" ? [[0, 0], [1, 1]] : [])].sort((a, b) => a[0] - b[0]);
        if (line.length) {
          g.line(line, { color, width: 2.5 });
          g.line([[t, 0], [t, 0.5]], { color, width: 1.5, dash: "2 4" });
        }
        for (const i of ids) dot(g, p[i], moved[i], i, 4);
      });
    } });
  const merged = chart(page, { height: 290, x: [0.4, p.length + 0.6], y: [1.32, -0.32], xTicks: 0, yTicks: 0, pad: [6, 4, 6, 4],
    paint(g) {
      const before = place(p), after = place(moved), r = Math.max(2.5, Math.min(8, (g.right - g.left) / p.length / 2 - 1.5));
      g.text(0.4, -0.32, "as given", { anchor: "start", dy: 14, color: "ink", bold: true });
      g.text(0.4, 1.32, "calibrated", { anchor: "start", dy: -5, color: "ink", bold: true });
      for (const [level, values, sign] of [[0, p, -1], [1, moved, 1]]) {
        const half = values.filter(v => v >= 0.5).length + 0.5;
        g.add("line", { x1: g.x(half), x2: g.x(half), y1: g.y(level) - 18, y2: g.y(level) + 18, style: "stroke: var(--soft)", "stroke-width": 1.5 });
        g.text(half, level, "½", { dy: sign < 0 ? -22 : 32 });
      }
      p.forEach((_, i) => g.line([[before[i] + 1, 0.075], [after[i] + 1, 0.925]], { color: COLORS[fold[i]], width: defective[i] ? 2 : 1, opacity: defective[i] ? 0.8 : 0.3 }));
      p.forEach((_, i) => { dot(g, before[i] + 1, 0, i, r); dot(g, after[i] + 1, 1, i, r); });
    } });
  const to = values => keys.forEach((key, k) => page.set(key, values[k]));
  page.add(predict("Each half of the parts was judged by a model that never saw it, and one model is bolder. Where must the two thresholds stand for the merged order to put all defects first?"),
    caption(...names.flatMap((name, k) => [mark(COLORS[k], name), " "]), "· filled: defective, empty: good"),
    row(h("div", {}, caption("The hinge of each fold"), hinge), h("div", {}, caption("All parts in one order, the most suspect first"), merged)), numbers,
    controls(...names.map((name, k) => slider(page, keys[k], { label: `threshold of ${name}`, min: 0, max: 1, step: 0.01, format: v => num(v, 2) }))),
    controls(choice(page, "reading", { label: "what becomes of the ends", options: [["unit", "0 and 1 stay"], ["range", "extremes to 0 and 1"], ["keep", "extremes stay"]] }),
      h("div", { class: "options", style: "align-self: end" }, button("no calibration: ½", () => to(names.map(() => 0.5))), button("best F of each fold", () => to(best), { primary: true }))));
  page.on([...keys, "reading"], () => {
    compute();
    const [before, after] = [p, moved].map(values => averagePrecision(defective, values)), wrong = [p, moved].map(values => values.filter((v, i) => (v >= 0.5) !== Boolean(defective[i])).length);
    const thresholds = keys.map(key => num(page.get(key)));
    hinge.options.label = `Calibrated over given probability; thresholds ${listed(thresholds)} become one half.`;
    merged.options.label = `Merged order before and after; average precision ${num(before, 3)} and ${num(after, 3)}.`;
    hinge.repaint();
    merged.repaint();
    numbers.replaceChildren(tiles([["order as given", num(before, 3), "average precision"], ["calibrated", num(after, 3), after > before + 5e-4 ? "better" : after < before - 5e-4 ? "worse" : "the same"], ["wrong verdicts", `${wrong[0]} → ${wrong[1]}`, `of ${p.length}, at ½`]]));
    if (refused.length) page.say("Refused for ", strong(listed(refused)), ": the largest probability lies below one half, or the smallest above it, and stays where it is, while the threshold goes to one half. That would turn the order around. Choose another reading of the ends.");
    else page.say("The ", names.length === 1 ? "threshold " : "thresholds ", strong(listed(thresholds)), ` of ${listed(names)} become one half. Average precision of all parts in one order: `, strong(num(before, 3)), " as given, ", strong(num(after, 3)), ` calibrated; ${plural(wrong[1], "part")} ${wrong[1] === 1 ? "stands" : "stand"} on the wrong side of one half, ${wrong[0]} before. `,
      after > before + 5e-4 ? "Within a fold no part changed its place: only the folds moved against each other." : after < before - 5e-4 ? "A threshold in the wrong place spoils an order that was better without." : "The folds have not moved against each other far enough to change the outcome.");
  });
  return page.close;
} };
