import { stage, button, caption, frames, backdrop, tiles, predict, mark, strong, num, percent, plural, listed, h } from "./explorer.js";

const COLORS = ["gray", "purple", "green", "ocher", "blue", "vermilion"];
const STYLE = `
.parts { display: grid; grid-template-columns: repeat(12, minmax(0, 1fr)); gap: 6px; margin: .2em 0 .9em; }
.parts button { all: unset; box-sizing: border-box; position: relative; aspect-ratio: 1; border-radius: 8px; border: 3px solid transparent; cursor: pointer; background-repeat: no-repeat; background-clip: padding-box; background-origin: padding-box; image-rendering: pixelated; }
.parts button:hover { border-color: var(--line); }
.parts button[aria-pressed=true] { border-color: var(--blue); }
.parts button[aria-pressed=true]::before { content: ""; position: absolute; left: -5px; top: -5px; width: 17px; height: 17px; border-radius: 50%; border: 2px solid #fff; box-sizing: border-box;
  background: var(--blue) url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 10 10'%3E%3Cpath d='M2 5.2 4.2 7.4 8 3' fill='none' stroke='white' stroke-width='1.7'/%3E%3C/svg%3E") center / 100%; z-index: 1; }
.parts button:focus-visible { outline: 3px solid var(--ocher); outline-offset: 2px; z-index: 2; }
.parts.open button { cursor: default; }
.parts.open button:not(.bad):not([aria-pressed=true]):not(.named) { opacity: .45; }
.parts.open button.bad { box-shadow: 0 0 0 3px var(--vermilion); }
.parts.open button.bad::after { content: ""; position: absolute; right: -7px; top: -7px; width: 14px; height: 14px; border-radius: 50%; background: var(--vermilion); border: 2px solid #fff; box-sizing: border-box; z-index: 1; }
.chips { position: absolute; left: 1px; right: 1px; bottom: 1px; display: flex; gap: 2px; justify-content: center; }
.chips i { font: 700 10px/15px system-ui, sans-serif; color: #fff; min-width: 15px; padding: 0 3px; border-radius: 5px; text-align: center; box-shadow: 0 0 0 1px rgb(255 255 255 / .8); }
.bench { display: grid; grid-template-columns: 132px 1fr; gap: 1.1em; align-items: start; }
.bench .keys { display: flex; flex-wrap: wrap; gap: .5em; margin: 0 0 .7em; }
.bench button { padding: .45em 1.1em; }
@container (max-width: 40em) { .parts { grid-template-columns: repeat(6, minmax(0, 1fr)); gap: 5px; } .bench { grid-template-columns: 96px 1fr; gap: .8em; } }
`;

export default { render({ model, el }) {
  const page = stage(model, el), ids = page.get("ids"), kinds = page.get("kinds"), bad = page.get("bad"), names = page.get("names"), others = page.get("others"), count = page.get("count"), defects = bad.reduce((sum, b) => sum + b, 0);
  const found = list => list.reduce((sum, k) => sum + bad[k], 0), color = n => COLORS[n % COLORS.length], letters = names.map(name => name[0].toUpperCase());
  const toggle = k => {
    if (page.get("revealed")) return;
    const picked = page.get("picked");
    if (picked.includes(k)) page.set("picked", picked.filter(p => p !== k));
    else if (picked.length < count) page.set("picked", [...picked, k]);
  };
  const grid = h("div", { class: "parts", role: "group", "aria-label": `${ids.length} parts; arrow keys move, space picks` }), columns = () => getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const cells = ids.map((_, k) => {
    const cell = h("button", { type: "button", onclick() { page.set("at", k); toggle(k); }, onfocus() { page.set("at", k); }, onmouseenter() { page.set("at", k); },
      onkeydown(event) {
        const to = { ArrowRight: k + 1, ArrowLeft: k - 1, ArrowDown: k + columns(), ArrowUp: k - columns(), Home: 0, End: ids.length - 1 }[event.key];
        if (cells[to]) { event.preventDefault(); cells[to].focus(); }
      } }, h("span", { class: "chips", "aria-hidden": "true" }));
    return backdrop(cell, page.get("strip"), ids.length, k);
  });
  grid.append(...cells);
  const large = frames(page.get("strip"), ids.length, { label: "" }), about = caption(), numbers = h("div");
  const reveal = button("Reveal", () => { page.set("revealed", true); again.focus(); }, { primary: true });
  const again = button("Pick again", () => { page.set("revealed", false); page.set("picked", []); cells[page.get("at")].focus(); });
  page.add(h("style", {}, STYLE), predict(`Which ${count} of these ${ids.length} parts would you label first? ${plural(defects, "part")} ${defects === 1 ? "is" : "are"} defective.`),
    grid, h("div", { class: "bench" }, large, h("div", {}, h("div", { class: "keys" }, reveal, again), about, numbers)));
  page.on(["at"], () => {
    const at = page.get("at"), inside = grid.getRootNode().activeElement;
    cells.forEach((cell, k) => { cell.tabIndex = k === at ? 0 : -1; });
    if (cells.includes(inside) && inside !== cells[at]) cells[at].tabIndex = 0;
  });
  page.on(["at", "picked", "revealed"], () => {
    const at = page.get("at"), picked = page.get("picked"), open = page.get("revealed"), by = names.filter((_, n) => others[n].includes(at));
    large.show(at, `${ids[at]}, enlarged${open ? `: ${kinds[at]}` : ""}`);
    about.replaceChildren(strong(ids[at]), ...(open ? [", ", bad[at] ? mark("vermilion", kinds[at]) : kinds[at], picked.includes(at) || by.length ? `; picked by ${listed([...(picked.includes(at) ? ["you"] : []), ...by])}.` : "; picked by nobody."] : [picked.includes(at) ? ", picked." : picked.length < count ? ": click or press space to pick it." : ": take one back to pick another."]));
  });
  page.on(["picked", "revealed"], () => {
    const picked = page.get("picked"), open = page.get("revealed");
    grid.classList.toggle("open", open);
    cells.forEach((cell, k) => {
      const by = names.map((_, n) => n).filter(n => others[n].includes(k));
      cell.setAttribute("aria-pressed", picked.includes(k));
      cell.setAttribute("aria-label", open ? `${ids[k]}, ${kinds[k]}${by.length ? `, picked by ${listed(by.map(n => names[n]))}` : ""}` : ids[k]);
      cell.classList.toggle("bad", open && Boolean(bad[k]));
      cell.classList.toggle("named", open && by.length > 0);
      cell.firstChild.replaceChildren(...(open ? by.map(n => h("i", { style: `background: var(--${color(n)})` }, letters[n])) : []));
    });
    reveal.disabled = open || picked.length < count;
    reveal.textContent = open ? "Revealed" : picked.length < count ? `Pick ${count - picked.length} more` : "Reveal";
    again.disabled = !picked.length;
    const all = [...names.map((name, n) => [mark(color(n), name), others[n]])];
    numbers.replaceChildren(...(open ? [tiles([[mark("blue", "you"), `${found(picked)} of ${defects}`], ...all.map(([name, list]) => [name, `${found(list)} of ${defects}`])])] : []));
    if (!open) return page.say(picked.length ? "You have picked " : "Nothing is picked yet. ", ...(picked.length ? [strong(`${picked.length} of ${count}`), `: ${listed(picked.map(k => ids[k]))}. `] : []),
      picked.length < count ? "Look at the parts one by one, with the mouse or the arrow keys; a flaw may be small." : "Now reveal what the others picked, and the truth.");
    const own = found(picked), others_ = names.map((name, n) => `${name} ${found(others[n])}`), overlooked = ids.map((_, k) => k).filter(k => bad[k] && !picked.includes(k) && !others.some(list => list.includes(k)));
    page.say("You found ", strong(`${own} of the ${plural(defects, "defect")}`), `, ${listed(others_)}. `, `${count} picks by chance find ${num(count * defects / ids.length, 1)} on average, and none at all in `, strong(percent(page.get("missing"))), " of all cases. ",
      overlooked.length ? `Nobody named ${listed(overlooked.map(k => `${ids[k]} (${kinds[k]})`))}.` : "Together you all found every defect.");
  });
  return page.close;
} };
