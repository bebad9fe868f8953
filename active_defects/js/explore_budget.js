import { stage, slider, chart, controls, row, caption, tiles, predict, mark, strong, num, percent, thousands, plural, h } from "./explorer.js";

// The hypergeometric law, as in formulas.budget: `labels` parts drawn from `pool` without replacement, `defects` of them defective.
let table = new Float64Array([0, 0]);
function lnFactorial(n) {
  if (n >= table.length) {
    const longer = new Float64Array(Math.max(n + 1, 2 * table.length));
    longer.set(table);
    for (let k = table.length; k < longer.length; k++) longer[k] = longer[k - 1] + Math.log(k);
    table = longer;
  }
  return table[n];
}
const lnChoose = (n, k) => lnFactorial(n) - lnFactorial(k) - lnFactorial(n - k);
export function chanceOfAtLeast(wanted, pool, defects, labels) {
  if (wanted <= 0) return 1;
  let missed = 0;
  for (let k = Math.max(0, labels - (pool - defects)); k < wanted && k <= Math.min(defects, labels); k++)
    missed += Math.exp(lnChoose(defects, k) + lnChoose(pool - defects, labels - k) - lnChoose(pool, labels));
  return Math.max(0, 1 - missed);
}
export const chanceOfMissing = (pool, defects, labels) => Math.max(0, 1 - chanceOfAtLeast(1, pool, defects, labels));
export function labelsFor(pool, defects, wanted, certainty) {
  let [low, high] = [0, pool];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (chanceOfAtLeast(wanted, pool, defects, middle) > certainty - 1e-12) high = middle; else low = middle + 1;
  }
  return low;
}
// What the labels cost: `defective` of them need a mask, the others a look.
export const hours = (labels, defective, look, draw) => ((labels - defective) * look + defective * draw) / 3600;

const POOLS = [100, 200, 300, 500, 1000, 2000, 3000, 5000, 10000, 20000, 30000, 50000, 100000];
const SHARES = [0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3];
const LABELS = [1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000, 1500, 2000, 5000, 10000, 20000];
const TIMES = [1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600];
const time = seconds => (seconds < 90 ? plural(Math.round(seconds), "second") : seconds < 5400 ? `${num(seconds / 60, seconds < 600 ? 1 : 0)} minutes` : `${num(seconds / 3600, 1)} hours`);
const brief = seconds => time(seconds).replace(/ (.)(\w*)$/, (_, first) => ({ s: " s", m: " min", h: " h" })[first]);
const times = value => num(value, value % 1 ? 1 : 0);
const within = (values, value) => [...new Set([...values, value])].sort((a, b) => a - b);

export default { render({ model, el }) {
  const page = stage(model, el), numbers = h("div");
  const facts = () => {
    const pool = page.get("pool"), defects = Math.max(1, Math.round(pool * page.get("prevalence"))), wanted = Math.min(page.get("wanted"), defects), better = page.get("better");
    const certainty = page.get("certainty"), random = labelsFor(pool, defects, wanted, certainty), clever = Math.max(wanted, Math.ceil(random / better));
    const found = random * defects / pool, look = page.get("seconds_good"), draw = page.get("seconds_mask");
    return { pool, defects, wanted, better, certainty, random, clever, found, labels: Math.min(page.get("labels"), pool),
      costs: [["random order", "gray", random], [`${times(better)} times better`, "blue", clever]].map(([name, color, labels]) =>
        ({ name, color, labels, look: Math.max(0, labels - found) * look, draw: Math.min(found, labels) * draw })) };
  };
  const chances = chart(page, { height: 240, x: [0, 1], y: [0, 1], xLabel: "labels given", yTicks: [0, 0.25, 0.5, 0.75, 1].map(v => [v, percent(v)]), xFormat: thousands, pad: [14, 14, 40, 48],
    onPoint: x => page.set("labels", Math.max(1, Math.round(x))),
    paint(g) {
      const { pool, defects, wanted, better, certainty, random, clever, labels } = facts(), last = this.x[1];
      const at = [...Array(121).keys()].map(k => Math.round(last * k / 120));
      const chance = (n, times) => chanceOfAtLeast(wanted, pool, defects, Math.min(pool, Math.round(n * times)));
      g.rule({ y: certainty });
      g.rule({ x: Math.min(labels, last), color: "ocher", dash: null, opacity: 0.8 });
      g.line(at.map(n => [n, chance(n, 1)]), { color: "gray", width: 3 });
      g.line(at.map(n => [n, chance(n, better)]), { color: "blue", width: 3 });
      g.dot(random, certainty, { color: "gray", r: 6, ring: "ink" });
      g.dot(clever, certainty, { color: "blue", r: 6, ring: "ink" });
      if (labels <= last) for (const [times, color] of [[1, "gray"], [better, "blue"]]) g.dot(labels, chance(labels, times), { color, r: 4.5 });
    } });
  const bars = chart(page, { height: 200, x: [0, 1], y: [2, 0], xTicks: 0, yTicks: 0, pad: [6, 6, 6, 6],
    paint(g) {
      facts().costs.forEach(({ name, color, labels, look, draw }, k) => {
        const height = 0.3, y = k + 0.42, total = look + draw;
        g.text(0, y - 0.1, `${name}: ${plural(labels, "label")}`, { anchor: "start", color: "ink", bold: true });
        g.bar(0, y, look, y + height, { color, r: 3 });
        g.bar(look, y, total, y + height, { color: "vermilion", r: 3 });
        g.text(0, y + height, `${brief(total)}: ${brief(look)} looking, ${brief(draw)} drawing`, { anchor: "start", dy: 18 });
      });
    } });
  page.add(predict("1,000 parts, 2% of them defective. How likely do 50 random labels miss every defect? How many labels make 5 defects all but certain?"),
    row(h("div", {}, caption("Chance of finding enough ", mark("gray", "random order"), " ", mark("blue", "the method")), chances,
      slider(page, "labels", { label: "random labels to ask about", values: within(LABELS, page.get("labels")), format: thousands })),
      h("div", {}, caption("Time it takes to look, and ", mark("vermilion", "to draw masks")), bars, numbers)),
    controls(slider(page, "pool", { label: "parts in the pool", values: within(POOLS, page.get("pool")), format: thousands }),
      slider(page, "prevalence", { label: "defective among them", values: within(SHARES, page.get("prevalence")), format: v => percent(v, v < 0.01 || v === 0.015 ? 1 : 0) }),
      slider(page, "wanted", { label: "defects wanted", min: 1, max: 30, step: 1 }),
      slider(page, "better", { label: "better than random by", values: within([1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10], page.get("better")), format: v => `${times(v)} ×` }),
      slider(page, "seconds_good", { label: "a look at a good part", values: within(TIMES, page.get("seconds_good")), format: v => `${v} s` }),
      slider(page, "seconds_mask", { label: "a mask drawn", values: within(TIMES, page.get("seconds_mask")), format: v => `${v} s` })));
  page.on(["pool", "prevalence", "wanted", "better", "seconds_good", "seconds_mask", "labels"], () => {
    const f = facts(), [random, clever] = f.costs.map(({ look, draw }) => look + draw), missing = chanceOfMissing(f.pool, f.defects, f.labels);
    chances.options.x = [0, Math.min(f.pool, Math.max(10, Math.ceil(1.25 * f.random)))];
    bars.options.x = [0, Math.max(random, clever)];
    chances.options.label = `Chance of finding ${plural(f.wanted, "defect")}: ${percent(f.certainty)} after ${f.random} random labels, after ${f.clever} with the method.`;
    bars.options.label = `Time: ${time(random)} in random order, ${time(clever)} with the method.`;
    chances.repaint();
    bars.repaint();
    numbers.replaceChildren(tiles([["defective", thousands(f.defects), `of ${thousands(f.pool)}`], ["random labels", thousands(f.random), `${percent(f.random / f.pool)} of pool`], ["time saved", brief(Math.max(0, random - clever)), `of ${brief(random)}`]]));
    page.say(strong(plural(f.labels, "random label")), ` among ${thousands(f.pool)} parts, ${thousands(f.defects)} of them defective, miss every defect with `, strong(percent(missing, missing < 0.0995 ? 1 : 0)),
      `. To find ${f.wanted === 1 ? "one" : `at least ${f.wanted}`} with ${percent(f.certainty)} certainty costs `, strong(plural(f.random, "random label")), ` and ${time(random)}`,
      ...(f.better > 1 ? [`; a method that finds them ${times(f.better)} times as fast needs `, strong(plural(f.clever, "label")), ` and ${time(clever)}. `, f.costs[1].draw > f.costs[1].look ? "Most of that goes into drawing, which no ranking saves." : "Most of that still goes into looking at good parts."] : [". A method that is no better than random saves nothing."]));
  });
  return page.close;
} };
