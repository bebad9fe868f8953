import { stage, slider, chart, controls, caption, frames, backdrop, predict, mark, strong, num, plural, listed, h } from "./explorer.js";

const COLORS = ["gray", "ocher", "blue", "purple", "green", "vermilion"], FOUND = "vermilion";
const STYLE = `
.score { display: grid; grid-template-columns: 8.6em 1fr; gap: .2em .9em; align-items: center; padding: .45em 0; border-top: 1px solid var(--line); }
.score:first-of-type { border-top: 0; }
.score .who { font-weight: 650; line-height: 1.25; }
.score .who small { display: block; font-weight: 400; color: var(--soft); font-size: .88em; }
.slots { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: 4px; }
.slots button { all: unset; box-sizing: border-box; position: relative; aspect-ratio: 1; border-radius: 7px; background-color: var(--panel); background-repeat: no-repeat; image-rendering: pixelated; cursor: pointer; border: 2px solid transparent; background-clip: padding-box; background-origin: padding-box; }
.slots button.later { background-image: none !important; border: 1px dashed var(--line); cursor: default; }
.slots button.bad:not(.later) { border-color: var(--vermilion); }
.slots button.bad:not(.later)::after { content: ""; position: absolute; right: -4px; top: -4px; width: 11px; height: 11px; border-radius: 50%; background: var(--vermilion); border: 2px solid #fff; box-sizing: border-box; }
.slots button.same:not(.later) { box-shadow: 0 0 0 3px var(--ocher); z-index: 1; }
.slots button:focus-visible { outline: 3px solid var(--ocher); outline-offset: 2px; z-index: 2; }
.about { display: flex; gap: 1em; align-items: center; min-height: 104px; margin: .7em 0; }
.about .frame { flex: none; }
.about .caption { margin: 0; }
@container (max-width: 40em) { .score { grid-template-columns: 1fr; } .slots { grid-template-columns: repeat(8, minmax(0, 1fr)); } .score .who small { display: inline; margin-left: .5em; } }
`;

export default { render({ model, el }) {
  const page = stage(model, el), names = page.get("names"), order = page.get("order"), bad = page.get("bad"), ids = page.get("ids"), kinds = page.get("kinds"), ranks = page.get("ranks");
  const most = order[0].length, defects = page.get("defects"), found = (s, k) => order[s].slice(0, k).reduce((sum, part) => sum + bad[part], 0);
  const color = s => COLORS[s % COLORS.length];
  const rows = names.map((name, s) => {
    const note = h("small");
    const slots = order[s].map((part, k) => {
      const slot = h("button", { type: "button", tabindex: k ? -1 : 0,
        onfocus() { if (k < page.get("budget")) page.set("part", part); }, onmouseenter() { if (k < page.get("budget")) page.set("part", part); },
        onkeydown(event) {
          const to = { ArrowRight: k + 1, ArrowLeft: k - 1, Home: 0, End: page.get("budget") - 1 }[event.key];
          const [row, at] = to != null ? [s, to] : [{ ArrowDown: s + 1, ArrowUp: s - 1 }[event.key], k];
          const next = rows[row]?.slots[Math.max(0, Math.min(page.get("budget") - 1, at))];
          if (next && (to != null || row != null)) { event.preventDefault(); next.focus(); }
        } });
      return backdrop(slot, page.get("strip"), ids.length, part);
    });
    return { slots, note, element: h("div", { class: "score", role: "group", "aria-label": `picks of ${name}` }, h("div", { class: "who" }, mark(color(s), name), note), h("div", { class: "slots", style: `--columns: ${most > 16 ? 10 : most}` }, ...slots)) };
  });
  const about = caption(), large = frames(page.get("strip"), ids.length, { width: 96 }), top = Math.max(...names.map((_, s) => found(s, most)), 1);
  const curves = chart(page, { height: 190, x: [0, most], y: [0, top], yTicks: [...Array(Math.floor(top / 2) + 1).keys()].map(k => [2 * k, String(2 * k)]), xLabel: "labels given", yLabel: "defects found", pad: [26, 14, 40, 30],
    onPoint: x => page.set("budget", Math.max(1, Math.min(most, Math.round(x)))),
    paint(g) {
      g.line([[0, 0], [most, most * defects / page.get("candidates")]], { color: "gray", width: 1.5, dash: "2 5" });
      g.rule({ x: page.get("budget"), color: "ink", dash: null, opacity: 0.45 });
      names.forEach((_, s) => g.line([...Array(most + 1).keys()].map(k => [k, found(s, k)]), { color: color(s), width: 2.5, opacity: 0.9 }));
      names.forEach((name, s) => g.dot(page.get("budget"), found(s, page.get("budget")), { color: color(s), r: 5.5, ring: "ink", title: `${name}: ${found(s, page.get("budget"))}` }));
    } });
  page.add(h("style", {}, STYLE), predict("Which score finds most, and do two good ones find the same defects?"),
    controls(slider(page, "budget", { label: "budget: parts that are asked about", min: 1, max: most, format: v => plural(v, "label") })),
    h("div", {}, ...rows.map(row => row.element)), h("div", { class: "about" }, large, about), curves);
  page.on(["budget"], () => {
    const budget = page.get("budget");
    rows.forEach(({ slots, note }, s) => {
      note.textContent = `${found(s, budget)} found`;
      slots.forEach((slot, k) => {
        const part = order[s][k], later = k >= budget;
        slot.className = `${later ? "later" : ""} ${bad[part] ? "bad" : ""}`;
        slot.tabIndex = k === 0 ? 0 : -1;
        slot.setAttribute("aria-label", later ? `pick ${k + 1}, beyond the budget` : `pick ${k + 1} of ${names[s]}: ${ids[part]}, ${kinds[part]}`);
        if (later) slot.setAttribute("aria-disabled", "true"); else slot.removeAttribute("aria-disabled");
      });
    });
    curves.options.label = `Defects found over labels given. At ${plural(budget, "label")}: ${names.map((name, s) => `${name} ${found(s, budget)}`).join(", ")}.`;
    curves.repaint();
  });
  page.on(["part", "budget"], () => {
    const part = page.get("part"), budget = page.get("budget");
    rows.forEach(({ slots }, s) => slots.forEach((slot, k) => slot.classList.toggle("same", order[s][k] === part && k < budget)));
    large.show(part, `${ids[part]}, enlarged: ${kinds[part]}`);
    about.replaceChildren(strong(ids[part]), ", ", bad[part] ? mark(FOUND, kinds[part]) : kinds[part], `: of ${page.get("candidates")} parts it is number `, listed(names.map((name, s) => `${ranks[s][part]} by ${name}`)), `. A frame with a dot is a defect; rest on another part, or walk with the arrow keys.`);
    const values = names.map((_, s) => found(s, budget)), best = Math.max(...values), list = order.map(o => o.slice(0, budget));
    const winners = names.filter((_, s) => values[s] === best && best > 0), all = new Set(list.flat()), hit = [...all].filter(k => bad[k]).length, common = list[0].filter(k => list.every(l => l.includes(k))).length;
    page.say("With ", strong(plural(budget, "label")), ...(best ? [", ", strong(listed(winners)), winners.length > 1 ? " find " : " finds ", strong(`${best} of the ${plural(defects, "defect")}`)] : [", nobody finds a defect"]),
      `; a random choice finds ${num(budget * defects / page.get("candidates"), 1)} on average. Together the ${names.length} lists name ${plural(all.size, "part")}, ${plural(hit, "defect")} among them; `,
      common ? `${plural(common, "part")} ${common === 1 ? "is" : "are"} on every list.` : "no part is on every list.");
  });
  return page.close;
} };
