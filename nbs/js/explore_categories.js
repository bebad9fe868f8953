import { stage, slider, chart, frames, controls, caption, predict, mark, strong, num, plural, listed, ordinal, short, h } from "./explorer.js";

// formulas.selection.select with categories: parts come ranked, best first; the first M of each category in turn, then the rest by score.
export function select(category, batch, atLeast) {
  const seen = {}, turn = category.map(c => { seen[c] = (seen[c] ?? -1) + 1; return seen[c]; });
  const later = turn.map(t => (t < atLeast ? t : Infinity));
  return category.map((_, k) => k).sort((a, b) => (later[a] === later[b] ? a - b : later[a] - later[b])).slice(0, batch);
}

const STYLE = `
.queue { display: grid; grid-template-columns: repeat(auto-fill, minmax(52px, 1fr)); gap: 8px 6px; margin: .2em 0 .6em; min-height: 84px; }
.queue figure { margin: 0; min-width: 0; font-size: 11.5px; line-height: 1.25; color: var(--soft); text-align: center; }
.queue .frame { border: 3px solid var(--edge); margin-bottom: 2px; }
.queue span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
`;

export default { render({ model, el }) {
  const page = stage(model, el), parts = page.get("parts"), category = page.get("category"), scores = page.get("scores"), names = page.get("names"), url = page.get("strip");
  const sizes = names.map((_, c) => category.filter(k => k === c).length), low = Math.min(...scores), high = Math.max(...scores);
  const queue = h("div", { class: "queue", role: "list", "aria-label": "parts to ask about, in order" }), left = 12 + 7.2 * Math.min(13, Math.max(...names.map(name => String(name).length)));
  const span = high - low || 1;
  const state = () => {
    const batch = page.get("batch"), atLeast = page.get("at_least"), picked = select(category, batch, atLeast), plain = new Set(select(category, batch, 0));
    return { batch, atLeast, picked, plain, extra: picked.filter(k => !plain.has(k)), lost: [...plain].filter(k => !picked.includes(k)) };
  };
  const lanes = chart(page, { height: 44 + 46 * names.length, x: [low - 0.03 * span, high + 0.04 * span], y: [names.length, 0], yTicks: 0, xLabel: page.get("score_name"), pad: [4, 66, 40, left],
    paint(g) {
      const { picked, plain, extra, lost, batch } = state(), bar = scores[Math.min(batch, scores.length) - 1];
      g.rule({ x: bar, color: "gray" });
      names.forEach((name, c) => {
        const got = picked.filter(k => category[k] === c).length;
        g.line([[this.x[0], c + 0.5], [this.x[1], c + 0.5]], { color: "line", width: 1 });
        g.text(this.x[0], c + 0.5, short(name, 13), { anchor: "end", dx: -8, dy: 4, color: "ink" });
        g.text(this.x[1], c + 0.5, `${got} of ${sizes[c]}`, { anchor: "start", dx: 8, dy: 4, color: got ? "ink" : "soft", bold: got > 0 });
      });
      for (const k of [...parts.keys()].reverse()) {
        const chosen = picked.includes(k), guaranteed = extra.includes(k), dropped = lost.includes(k), y = category[k] + 0.5 + 0.3 * (((k * 0.618) % 1) - 0.5);
        g.dot(scores[k], y, { color: guaranteed ? "vermilion" : chosen ? "blue" : dropped ? "rgb(0 0 0 / 0)" : "gray", r: chosen ? 6.5 : dropped ? 5 : 4, opacity: chosen || dropped ? 1 : 0.55, ring: dropped ? "blue" : null,
          title: `${parts[k]}: ${num(scores[k], 3)}, ${ordinal(k + 1)} by score${chosen ? `, asked as ${ordinal(picked.indexOf(k) + 1)}` : ""}` });
      }
    } });
  page.add(h("style", {}, STYLE), predict(`With N = ${page.get("batch")} and no guarantee, how many of the ${names.length} kinds of defects are asked about? What does it cost to hear from each?`),
    caption(mark("blue", "asked, by score"), mark("vermilion", "asked, thanks to the guarantee"), mark("gray", "not asked"), "○ gave way"), lanes,
    controls(slider(page, "batch", { label: "N: parts that are asked about", min: 1, max: Math.min(parts.length, 40) }), slider(page, "at_least", { label: "M: guaranteed to each category", min: 0, max: 8, format: v => (v ? String(v) : "none") })),
    caption("The queue, in the order of asking"), queue);
  page.on(["batch", "at_least"], () => {
    const { batch, atLeast, picked, plain, extra, lost } = state(), count = c => picked.filter(k => category[k] === c).length;
    const silent = names.filter((_, c) => !count(c)), plainly = names.filter((_, c) => [...plain].some(k => category[k] === c)).length, need = sizes.reduce((sum, n) => sum + Math.min(n, atLeast), 0);
    lanes.options.label = `Scores by category; asked: ${names.map((name, c) => `${name} ${count(c)} of ${sizes[c]}`).join(", ")}.`;
    lanes.repaint();
    queue.replaceChildren(...picked.map(k => {
      const picture = url ? frames(url, parts.length, { label: `${parts[k]}, ${names[category[k]]}` }) : null;
      picture?.show(k);
      return h("figure", { role: "listitem", style: `--edge: var(--${extra.includes(k) ? "vermilion" : "blue"})` }, picture, h("span", {}, String(names[category[k]])), h("span", {}, `rank ${k + 1}`));
    }));
    const kinds = names.length - silent.length;
    page.say(strong(`N = ${batch}, M = ${atLeast}`), ": ", strong(plural(picked.length, "part")), ` from `, strong(`${kinds} of ${names.length} categories`), silent.length ? ` are asked about, none from ${listed(silent.map(String))}. ` : " are asked about. ",
      atLeast === 0 ? "Only the score counts; a category whose scores are low is not heard." :
        batch < need ? `The guarantees alone would need ${need}, so they are served in turn: first the best of each category, then the second best, until N is reached. ` : `${need} go to the guarantees, the other ${picked.length - need} to the best scores. `,
      atLeast === 0 ? "" : extra.length ? `The guarantee brought in ${plural(extra.length, "part")} that the score alone would have passed over, the lowest ${ordinal(Math.max(...extra) + 1)} in rank, and the same number gave way; without it ${plainly} of ${names.length} categories were heard.` : "Every guarantee is met by the scores alone: the same parts, perhaps in another order.");
  });
  return page.close;
} };
