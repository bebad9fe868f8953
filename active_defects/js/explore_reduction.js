import { stage, slider, toggle, chart, pixels, controls, row, caption, predict, mark, strong, num, percent, thousands, plural, ordinal, unpack, heat, h } from "./explorer.js";

// formulas.reduction.top_mean for one map: the mean of its k highest values, k = round(share × size), halves to even as in Python.
const rounded = x => { const low = Math.floor(x), rest = x - low; return rest > 0.5 || (rest === 0.5 && low % 2) ? low + 1 : low; };
export const counted = (share, size) => Math.max(1, rounded(share * size));
export const topMean = (sorted, share) => { const k = counted(share, sorted.length); let sum = 0; for (let i = 0; i < k; i++) sum += sorted[i]; return sum / k; };

export default { render({ model, el }) {
  const page = stage(model, el), rough = unpack(page.get("rough")), quiet = unpack(page.get("quiet")), [rows, columns] = rough.shape, size = rows * columns;
  const shares = page.get("shares"), path = page.get("path"), others = page.get("others"), broken = page.get("broken_at");
  const picture = { A: pixels("part A"), B: pixels("part B") }, under = { A: caption(), B: caption() };
  let parts = {};
  const chosen = () => shares.reduce((best, s) => (Math.abs(s - page.get("share")) < Math.abs(best - page.get("share")) ? s : best));
  const descending = values => Float64Array.from(values).sort().reverse();
  function compute() {
    const A = Float64Array.from(rough.data, v => v / 255), B = Float64Array.from(quiet.data, v => v / 255);
    if (page.get("broken")) A[broken] = 1;
    for (const k of path.slice(0, page.get("area"))) B[k] = Math.max(B[k], page.get("strength"));
    const share = chosen(), rest = others.map(scores => scores[shares.indexOf(share)]);
    parts = Object.fromEntries(Object.entries({ A, B }).map(([name, values]) => { const sorted = descending(values); return [name, { values, sorted, score: topMean(sorted, share) }]; }));
    parts.rest = rest;
    for (const [name, other] of [["A", "B"], ["B", "A"]]) parts[name].rank = 1 + rest.filter(v => v > parts[name].score).length + (parts[other].score > parts[name].score);
  }
  function show(name, k) {
    const { values, sorted } = parts[name], bar = sorted[k - 1];
    let equal = k - sorted.findIndex(v => v <= bar);
    picture[name].draw(columns, rows, i => {
      const [r, g, b] = heat(values[i]), gray = 40 + Math.round(0.5 * (0.3 * r + 0.59 * g + 0.11 * b));
      return values[i] > bar || (values[i] === bar && equal-- > 0) ? [r, g, b] : [gray, gray, gray];
    });
  }
  const curves = chart(page, { height: 190, x: [0, Math.log10(size)], y: [0, 1], xLabel: "pixels, the hottest first", yTicks: [0, 0.5, 1].map(v => [v, num(v, 1)]), pad: [8, 12, 40, 30],
    xTicks: [1, 10, 100, 1000, 10000].filter(v => v <= size).map(v => [Math.log10(v), thousands(v)]),
    paint(g) {
      const k = counted(chosen(), size);
      g.area([[0, 0], [Math.log10(k), 0], [Math.log10(k), 1], [0, 1]], { color: "line", opacity: 0.8 });
      for (const [name, color] of [["A", "blue"], ["B", "vermilion"]]) {
        const { sorted } = parts[name], points = [];
        for (let i = 1; i <= size; i = Math.max(i + 1, Math.round(i * 1.04))) points.push([Math.log10(i), sorted[i - 1]]);
        g.line(points, { color, width: 2.5 });
      }
      g.text(Math.log10(k), 1, k === size ? "all count" : `${thousands(k)} count`, { anchor: k > size / 20 ? "end" : "start", dx: k > size / 20 ? -7 : 7, dy: 12, color: "ink" });
    } });
  const line = chart(page, { height: 100, x: [0, 1], y: [0, 1], yTicks: 0, xLabel: "score: the larger, the sooner it is asked about", pad: [24, 14, 40, 14],
    paint(g) {
      g.line([[0, 0.5], [this.x[1], 0.5]], { color: "line", width: 1 });
      parts.rest.forEach((v, k) => g.dot(v, 0.2 + 0.6 * ((k * 0.618) % 1), { color: "gray", r: 4, opacity: 0.65 }));
      for (const [name, color] of [["A", "blue"], ["B", "vermilion"]]) {
        g.dot(parts[name].score, 0.5, { color, r: 8, ring: "ink", title: num(parts[name].score, 3) });
        g.text(parts[name].score, 0.5, name, { dy: -17, color: "ink", bold: true, dx: Math.abs(g.x(parts.A.score) - g.x(parts.B.score)) < 14 ? ((name === "A") === (parts.A.score > parts.B.score) ? 7 : -7) : 0 });
      }
    } });
  const say = share => (share === 0 ? "the maximum" : share === 1 ? "the mean" : `hottest ${percent(share, share < 0.01 ? share < 0.001 ? 2 : 1 : 0)}`);
  page.add(predict("Part B has a scratch, part A is good but rough. Which of them does the mean put first? How large must the scratch be before the mean notices?"),
    row(h("div", { style: "display: flex; gap: .9em" }, ...["A", "B"].map(name => h("div", { style: "flex: 1; min-width: 0" }, caption(mark(name === "A" ? "blue" : "vermilion", name === "A" ? "A, good" : "B, scratched")), picture[name], under[name]))),
      h("div", {}, caption("Their pixels in order; those in the gray area count"), curves)),
    caption(`Scores of A, B and ${others.length} other good parts`), line,
    controls(slider(page, "share", { label: "share that counts", values: shares, format: say }),
      slider(page, "area", { label: "scratch on B, pixels", values: page.get("areas"), format: String }),
      slider(page, "strength", { label: "how hot the scratch is", min: 0.1, max: 1, step: 0.05, format: v => num(v, 2) }),
      toggle(page, "broken", { label: "a broken pixel in A" })));
  page.on(["share", "area", "strength", "broken"], () => {
    compute();
    const share = chosen(), k = counted(share, size), { A, B } = parts, count = others.length + 2, area = page.get("area"), first = A.rank < B.rank ? A : B;
    for (const name of ["A", "B"]) {
      show(name, k);
      picture[name].setAttribute("aria-label", `Map of part ${name}; the ${k} hottest of ${size} pixels are colored, the others gray.`);
      under[name].replaceChildren(strong(num(parts[name].score, 3)), ` · ${ordinal(parts[name].rank)} of ${count}`);
    }
    line.options.x = [0, 1.06 * Math.max(A.score, B.score, ...parts.rest)];
    curves.options.label = `Sorted pixels of A and B; the ${k} hottest count.`;
    line.options.label = `A scores ${num(A.score, 3)}, B ${num(B.score, 3)}, the others ${num(Math.min(...parts.rest), 3)} to ${num(Math.max(...parts.rest), 3)}.`;
    curves.repaint();
    line.repaint();
    page.say(share === 1 ? `Averaged over all ${thousands(size)} pixels` : k === 1 ? "By its single hottest pixel" : `By its ${thousands(k)} hottest pixels`, ", part B with a scratch of ", strong(plural(area, "pixel")), ` (${percent(area / size, 1)}) scores `, strong(num(B.score, 3)), " and ranks ", strong(`${ordinal(B.rank)} of ${count}`),
      `; part A scores ${num(A.score, 3)} and ranks ${ordinal(A.rank)}. `,
      first === A && k === 1 && page.get("broken") ? "One broken pixel is as loud as a whole scratch." : B.rank === 1 ? "The scratch is heard." : B.rank <= 5 ? `Asked about soon, after ${plural(B.rank - 1, "good part")}.`
        : k > 4 * area ? `The scratch drowns: ${thousands(k - area)} dull pixels are averaged in with it.` : "The scratch is no hotter than the roughness of good parts.");
  });
  return page.close;
} };
