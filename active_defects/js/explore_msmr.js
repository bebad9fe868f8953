import { stage, stepper, toggle, chart, controls, row, caption, frames, gallery, predict, mark, strong, num, plural, h } from "./explorer.js";

const STYLE = `
.three { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .5em 1.1em; margin-bottom: .6em; }
.three > div { display: grid; grid-template-rows: subgrid; grid-row: span 2; align-content: start; }
.picture .cells { position: absolute; inset: 0; display: grid; }
.picture .cells i { display: block; transition: opacity .15s; }
.picture .box { position: absolute; border: 2px solid #fff; box-shadow: 0 0 0 1.5px #000, inset 0 0 0 1.5px #000; border-radius: 3px; }
.picture .box.worst { border-color: #f0b400; border-width: 3px; }
@container (max-width: 34em) { .three { gap: .4em .5em; } .three .caption { font-size: .8em; } }
`;

export default { render({ model, el }) {
  const page = stage(model, el), ids = page.get("ids"), kinds = page.get("kinds"), values = page.get("values"), ranks = page.get("ranks"), scores = page.get("scores"), bad = page.get("bad");
  const across = page.get("across"), blocks = across ** 2, count = scores.length, digits = v => num(v, v >= 10 ? 1 : 2);
  const names = across === 4 ? ["top", "upper middle", "lower middle", "bottom"] : null, side = across === 4 ? ["left", "center left", "center right", "right"] : null;
  const place = z => (names ? `${names[Math.floor(z / across)]}, ${side[z % across]}` : `row ${1 + Math.floor(z / across)}, column ${1 + z % across}`);
  const picture = (url, text, ...over) => {
    const frame = frames(url, ids.length, { label: text });
    return { frame, node: h("div", {}, h("div", { class: "picture" }, frame, ...over), caption(text)) };
  };
  const box = kind => h("div", { class: `box ${kind}` });
  const put = (node, z) => Object.assign(node.style, { left: `${100 * (z % across) / across}%`, top: `${100 * Math.floor(z / across) / across}%`, width: `${100 / across}%`, height: `${100 / across}%` });
  const inset = z => `inset(${100 * Math.floor(z / across) / across}% ${100 * (1 - (z % across + 1) / across)}% ${100 * (1 - (Math.floor(z / across) + 1) / across)}% ${100 * (z % across) / across}%)`;
  const hidden = h("div", { class: "box now", style: "background: #000" }), inGuess = box("now"), inError = box("now"), worst = box("worst");
  const cells = h("div", { class: "cells", style: `grid-template: repeat(${across}, 1fr) / repeat(${across}, 1fr)` }, ...[...Array(blocks).keys()].map(() => h("i", { style: "background: #2b2b2b" })));
  const guess = frames(page.get("guesses"), ids.length, { label: "" }), known = frames(page.get("outlined"), ids.length, { label: "" });
  guess.classList.add("over");
  known.classList.add("over");
  for (const frame of [guess, known]) frame.setAttribute("aria-hidden", "true");
  const sees = picture(page.get("images"), "M sees the part without one block", known, hidden), guesses = picture(page.get("images"), "M guesses what is in the block", guess, inGuess),
    errors = picture(page.get("errors"), "Squared error of all guesses so far; framed: the worst block", cells, inError, worst);
  const all = values.flat(), top = Math.max(...all);
  const largest = (part, block) => values[part].slice(0, block + 1).reduce((best, v, z) => (v > values[part][best] ? z : best), 0);
  const rankOf = (value, part) => 1 + scores.filter((s, k) => s > value && k !== ranks[part] - 1).length;
  const bars = chart(page, { height: 200, x: [-0.5, blocks - 0.5], y: [0, top * 1.05], yLabel: "error of each block, ten-thousandths", xLabel: "block", pad: [26, 8, 38, 36],
    xTicks: [0, ...(across === 4 ? [3, 7, 11] : []), blocks - 1].map(z => [z, String(z + 1)]), yFormat: v => num(v, top >= 10 ? 0 : 1), onPoint: x => page.set("block", Math.max(0, Math.min(blocks - 1, Math.round(x)))),
    paint(g) {
      const part = page.get("part"), block = page.get("block"), best = largest(part, block);
      values[part].forEach((v, z) => g.bar(z - 0.4, 0, z + 0.4, z > block ? top * 0.008 : v, { color: z > block ? "line" : z === best ? "ocher" : "blue", opacity: z === block || z === best || z > block ? 1 : 0.55, title: z > block ? "not hidden yet" : `block ${z + 1}: ${digits(v)}` }));
      g.line([0, ...Array(block + 1).keys()].map((z, k) => [k ? z + 0.5 : -0.5, values[part][largest(part, z)]]).flatMap(([x, y], k, list) => (k ? [[list[k - 1][0], y], [x, y]] : [])), { color: "ocher", width: 2.5 });
    } });
  const curve = chart(page, { height: 200, x: [0.5, count + 0.5], y: [0, Math.max(top, ...scores) * 1.05], yLabel: "largest error of each part, ten-thousandths", xLabel: "rank", pad: [26, 10, 38, 36], xTicks: [1, ...[0.25, 0.5, 0.75, 1].map(s => Math.round(s * count))].map(v => [v, String(v)]), yFormat: v => num(v, top >= 10 ? 0 : 1),
    paint(g) {
      const part = page.get("part"), value = values[part][largest(part, page.get("block"))], rank = rankOf(value, part), told = page.get("truth");
      g.rule({ y: value, color: "ocher" });
      scores.forEach((s, k) => g.dot(k + 1, s, { color: told && bad[k] ? "vermilion" : "gray", r: told && bad[k] ? 5 : 3, opacity: k === ranks[part] - 1 ? 0.25 : told && bad[k] ? 1 : 0.7 }));
      g.dot(rank, value, { color: "ocher", r: 7.5, ring: "ink", title: `rank ${rank}` });
    } });
  page.add(h("style", {}, STYLE), predict("In which block will M guess worst? Choose a part, look, then step."),
    gallery(page, "part", { label: "part, by its final rank", url: page.get("images"), names: ids, words: k => `rank ${ranks[k]}` }),
    h("div", { class: "three" }, sees.node, guesses.node, errors.node),
    controls(stepper(page, "block", { label: "hidden block", count: blocks, interval: 800 }), kinds.some(Boolean) ? toggle(page, "truth", { label: "show what is known" }) : null),
    row(bars, h("div", {}, curve, bad.some(Boolean) ? caption(mark("ocher", "this part, so far"), " ", mark("gray", "other parts"), " ", mark("vermilion", "a defect, once shown")) : null)));
  page.on(["part", "block", "truth"], () => {
    const part = page.get("part"), block = page.get("block"), best = largest(part, block), value = values[part][best], rank = rankOf(value, part), done = block === blocks - 1, shown = page.get("truth") && kinds[part];
    for (const frame of [sees.frame, guesses.frame, errors.frame, guess, known]) frame.show(part);
    known.style.display = shown ? "" : "none";
    guess.style.clipPath = inset(block);
    for (const node of [hidden, inGuess, inError]) put(node, block);
    put(worst, best);
    [...cells.children].forEach((cell, z) => { cell.style.opacity = z > block ? 0.92 : 0; });
    sees.frame.setAttribute("aria-label", `${ids[part]} with its block ${block + 1} hidden, ${place(block)}${shown ? `; ${kinds[part]}` : ""}`);
    guesses.frame.setAttribute("aria-label", `the same part, block ${block + 1} filled in by M`);
    errors.frame.setAttribute("aria-label", `errors of ${plural(block + 1, "block")}; the worst is block ${best + 1}, ${place(best)}`);
    bars.options.label = `Errors of blocks 1 to ${block + 1}, in ten-thousandths: ${values[part].slice(0, block + 1).map(digits).join(", ")}.`;
    curve.options.label = `The largest error of each of ${count} parts by rank. This part stands at rank ${rank} so far.`;
    bars.repaint();
    curve.repaint();
    const is = kinds[part] ? [" It is ", kinds[part] === "good" ? "a good part." : mark("vermilion", `a defect: ${kinds[part]}.`)] : [];
    if (done) page.say("All ", strong(plural(blocks, "block")), " have been hidden. The worst is ", strong(`block ${best + 1}`), `, ${place(best)}, with `, strong(digits(value)), ` ten-thousandths; it alone decides. ${ids[part]} takes `, strong(`rank ${rank} of ${count}`), ".", ...is);
    else page.say("Block ", strong(String(block + 1)), ` of ${blocks}, ${place(block)}: an error of `, strong(digits(values[part][block])), " ten-thousandths, ", best === block ? strong(block ? "a new maximum" : "the first one") : `below the ${digits(value)} of block ${best + 1}`,
      `. If it stopped here, ${ids[part]} would take `, strong(`rank ${rank} of ${count}`), rank > 1 ? ", and it can only get better." : ", and nobody can take it away.");
  });
  return page.close;
} };
