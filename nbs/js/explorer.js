// explorer.js: what all explorers share. An explorer is a file explore_NAME.js beside this one:
//
//   import { stage, slider, chart, num } from "./explorer.js";      <- first line, on one line; only these names become visible
//   export default { render({ model, el }) {
//     const page = stage(model, el);                                 title (no heading: the page around it has its own), colors, live region; all inside a shadow root, so no style leaks in or out
//     const plot = chart(page, { x: [0, 1], y: [0, 1], label: "…", paint(g) { g.line([[0, 0], [1, page.get("p")]], { color: "blue" }); } });
//     page.add(plot, slider(page, "p", { label: "probability", min: 0, max: 1, step: 0.01, format: v => num(v, 2) }));
//     page.on(["p"], () => { plot.repaint(); page.say("At p = ", strong(num(page.get("p"), 2)), " …"); });      runs now, and at each change
//     return page.close;
//   } };
//
// page         .get(key) .set(key, value) (also tells Python where there is one) .on(keys, f) .add(...nodes) .say(...words) .root .close .still (no motion wanted)
// controls     slider(page, key, { label, min, max, step | values: [...], format, hint })   choice(page, key, { label, options: [[value, text], …] })
//              toggle(page, key, { label })   button(text, onclick, { label, primary })   stepper(page, key, { label, count, format, interval, text })
//              gallery(page, key, { label, url, names, words }) small pictures to choose from: a strip, its names, and words(k) below each; .show() reads the words again
//              Each is bound to a key of the state, moves by keyboard, and follows when Python sets the key.
// layout       predict(text) the question to answer before moving anything   row(...nodes) side by side, wraps   controls(...nodes) a grid of controls   caption(...words)   tiles([[name, value, note?], …]) numbers in a row
//              h(tag, attributes, ...children): children that are strings become text, never HTML; `on…` attributes are listeners   strong(text)   mark(color, text)
// charts       chart(page, { height, x: [lo, hi], y: [lo, hi], xLabel, yLabel, xTicks: [[value, text], …] | n, yTicks, xFormat, yFormat, pad, label, paint(g), onPoint(x, y) })
//              is an element with .repaint() and .options (change, then repaint). In paint: g.x(v) g.y(v) pixels; g.line(points, o) g.area(points, o) g.dot(x, y, o)
//              g.bar(x0, y0, x1, y1, o) g.text(x, y, words, o) g.rule({ x | y, …o }) g.add(tag, attributes); g.width g.height.
//              o: color, width, dash, opacity, r, anchor, dx, dy, bold, size, title. Colors: blue vermilion green purple ocher gray ink soft line panel.
// pictures     frames(url, count, { label, width }) one frame of a vertical strip of equal frames (Python: studio.explorer.strip), .show(k)   backdrop(element, url, count, k) the same behind an element that is there
//              pixels(label, width) a canvas, .draw(columns, rows, at => [r, g, b, a])   unpack(packed) -> { shape, data: Uint8Array } (Python: studio.explorer.packed)
//              heat(v) -> [r, g, b], the color map of data.overlay
// words        num(v, digits) percent(v, digits) thousands(n) plural(n, "part", "parts") ordinal(n) listed(["a", "b"]) short(text, n) debounce(f, ms)
// Python's colors are used everywhere; ink and lines follow the text color of the page, so light and dark need nothing else.

const CSS = `
:host { display: block; container-type: inline-size; color: var(--jp-content-font-color1, inherit); }
.page { --blue: #0080c0; --vermilion: #d55e00; --green: #00a878; --purple: #b65fa0; --ocher: #c08a00; --gray: #7a7a7a;
  --ink: currentColor; --soft: color-mix(in srgb, currentColor 72%, transparent); --line: color-mix(in srgb, currentColor 20%, transparent); --panel: color-mix(in srgb, currentColor 6%, transparent);
  box-sizing: border-box; max-width: 60em; margin: .3em 0 1em; padding: 1.1em 1.2em 1.2em; border: 1px solid var(--line); border-radius: 14px;
  font: 400 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif; font-variant-numeric: tabular-nums; text-align: left; }
.page *, .page *::before { box-sizing: border-box; }
.title { font-size: 1.12em; font-weight: 650; margin: 0 0 .7em; line-height: 1.3; }
.predict { margin: -.2em 0 .8em; color: var(--soft); }
.predict b { color: color-mix(in srgb, var(--vermilion) 75%, currentColor); font-weight: 650; margin-right: .35em; }
.row { display: flex; flex-wrap: wrap; gap: 1em 1.4em; align-items: flex-start; margin: 0 0 .9em; }
.row > * { flex: 1 1 15em; min-width: 0; max-width: 100%; }
.controls { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 15em), 1fr)); gap: .8em 1.6em; margin: .8em 0; align-items: end; }
.caption { color: var(--soft); font-size: .9em; margin: .2em 0 .5em; }
.words { margin: .9em 0 0; padding: .7em .95em; background: var(--panel); border-left: 3px solid var(--blue); border-radius: 4px 10px 10px 4px; min-height: 3.9em; overflow-wrap: anywhere; }
.words strong, .caption strong { font-weight: 650; }
.live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.control { display: block; min-width: 0; }
.control .head { display: flex; justify-content: space-between; gap: 1em; align-items: baseline; }
.control .name { font-size: .93em; color: var(--soft); min-width: 0; overflow-wrap: anywhere; }
.title, .predict, .caption, legend { overflow-wrap: anywhere; }
.control output { font-weight: 650; white-space: nowrap; }
input[type=range] { appearance: none; -webkit-appearance: none; width: 100%; height: 28px; margin: 0; background: none; cursor: pointer; border-radius: 8px; display: block; touch-action: pan-y; }
input[type=range]::-webkit-slider-runnable-track { height: 6px; border-radius: 3px; background: linear-gradient(to right, var(--blue) var(--at, 50%), var(--line) var(--at, 50%)); }
input[type=range]::-moz-range-track { height: 6px; border-radius: 3px; background: linear-gradient(to right, var(--blue) var(--at, 50%), var(--line) var(--at, 50%)); }
input[type=range]::-webkit-slider-thumb { -webkit-appearance: none; width: 20px; height: 20px; margin-top: -7px; border-radius: 50%; background: var(--blue); border: 3px solid #fff; box-shadow: 0 0 0 1px rgb(0 0 0 / .35); }
input[type=range]::-moz-range-thumb { width: 14px; height: 14px; border-radius: 50%; background: var(--blue); border: 3px solid #fff; box-shadow: 0 0 0 1px rgb(0 0 0 / .35); }
:focus-visible { outline: 3px solid var(--ocher); outline-offset: 2px; }
fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
legend { padding: 0; margin: 0 0 .25em; font-size: .93em; color: var(--soft); }
.options { display: flex; flex-wrap: wrap; gap: .35em; }
.options label { position: relative; cursor: pointer; }
.options input { position: absolute; inset: 0; opacity: 0; margin: 0; cursor: pointer; width: 100%; height: 100%; }
.options span { display: block; padding: .28em .8em; border: 1px solid var(--line); border-radius: 99px; }
.options input:checked + span { background: color-mix(in srgb, var(--blue) 18%, transparent); border-color: var(--blue); box-shadow: inset 0 0 0 1px var(--blue); }
.options input:focus-visible + span { outline: 3px solid var(--ocher); outline-offset: 2px; }
.toggle { display: flex; gap: .55em; align-items: center; cursor: pointer; min-height: 28px; }
.toggle input { width: 18px; height: 18px; accent-color: var(--blue); margin: 0; flex: none; }
button { font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--line); border-radius: 9px; padding: .32em .85em; min-height: 32px; cursor: pointer; }
button:hover { background: var(--line); }
button.primary { background: color-mix(in srgb, var(--blue) 18%, transparent); border-color: var(--blue); }
button:disabled { opacity: .45; cursor: default; }
.stepper .keys { display: flex; gap: .4em; align-items: center; }
.stepper button { flex: none; width: 36px; padding: 0; display: grid; place-items: center; }
.stepper svg { width: 14px; height: 14px; fill: currentColor; display: block; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 8.5em), 1fr)); gap: .6em; margin: .2em 0 .8em; }
.tile { background: var(--panel); border-radius: 10px; padding: .5em .8em .55em; min-width: 0; }
.tile .name, .tile .note { display: block; font-size: .84em; color: var(--soft); line-height: 1.35; }
.tile .value { display: block; font-size: 1.35em; font-weight: 650; line-height: 1.35; overflow-wrap: anywhere; }
.chart { min-width: 0; }
.chart svg { display: block; width: 100%; overflow: visible; }
.chart.input svg { cursor: pointer; touch-action: pan-y; }
.chart text { font-size: 12.5px; fill: var(--soft); font-family: inherit; }
.frame { background-repeat: no-repeat; image-rendering: pixelated; border-radius: 8px; width: 100%; }
.picture { position: relative; border-radius: 8px; overflow: hidden; }
.picture .frame { border-radius: 0; }
.picture .over { position: absolute; inset: 0; }
.gallery { margin-bottom: 1em; }
.gallery .all { display: grid; grid-template-columns: repeat(auto-fill, 74px); gap: 8px; }
.gallery label { position: relative; cursor: pointer; text-align: center; font-size: .82em; line-height: 1.3; color: var(--soft); }
.gallery input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: pointer; }
.gallery .frame { border: 3px solid transparent; background-clip: padding-box; background-origin: padding-box; }
.gallery input:checked ~ .frame { border-color: var(--blue); }
.gallery input:checked ~ span { color: var(--ink); font-weight: 650; }
.gallery input:focus-visible ~ .frame { outline: 3px solid var(--ocher); outline-offset: 1px; }
.pixels { image-rendering: pixelated; border-radius: 8px; width: 100%; display: block; }
.mark { display: inline-block; max-width: 100%; margin-right: .5em; overflow-wrap: anywhere; }
.chart + .control { margin-top: .5em; }
.mark::before { content: ""; display: inline-block; width: .72em; height: .72em; border-radius: 3px; background: var(--mark); margin-right: .35em; }
@container (max-width: 30em) { .page { padding: .85em .8em .9em; font-size: 14.5px; } 
  .tiles { grid-template-columns: repeat(2, 1fr); gap: .4em; } .tiles.odd { grid-template-columns: repeat(3, 1fr); } .tile { padding: .4em .5em; } .tile .value { font-size: 1.2em; } .tile .mark::before { margin-right: .25em; } }
@container (max-width: 34em) { .gallery .all { grid-template-columns: repeat(5, 1fr); gap: 5px; } }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
@media print { .controls, .stepper { display: none; } }
`;

// Elements

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter(child => child != null));
  return element;
}
export const strong = text => h("strong", {}, text);
export const mark = (color, text) => h("span", { class: "mark", style: `--mark: ${paint(color)}` }, text);
export const predict = text => h("div", { class: "predict" }, h("b", {}, "Predict"), text);
export const row = (...nodes) => h("div", { class: "row" }, ...nodes);
export const controls = (...nodes) => h("div", { class: "controls" }, ...nodes);
export const caption = (...words) => h("div", { class: "caption" }, ...words);
export const tiles = items => h("div", { class: items.length % 3 ? "tiles" : "tiles odd" }, items.map(([name, value, note]) =>
  h("div", { class: "tile" }, h("span", { class: "name" }, name), h("span", { class: "value" }, value), note ? h("span", { class: "note" }, note) : null)));
export const button = (text, onclick, { label = null, primary = false } = {}) => h("button", { type: "button", onclick, "aria-label": label, class: primary ? "primary" : null }, text);

// Words

export const num = (value, digits = 2) => Number(value).toFixed(digits).replace(/^-(?=.*[1-9])/, "\u2212").replace(/^-/, "");
export const percent = (value, digits = 0) => `${num(100 * value, digits)}%`;
export const thousands = value => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
export const plural = (count, one, many = one + "s") => `${thousands(count)} ${count === 1 ? one : many}`;
export const ordinal = n => n + (n % 100 > 10 && n % 100 < 14 ? "th" : ["th", "st", "nd", "rd"][n % 10] ?? "th");
export const short = (text, most) => (String(text).length > most ? String(text).slice(0, most - 1) + "…" : String(text));
export const listed = items => items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
export function debounce(f, ms) {
  let timer;
  return (...args) => { clearTimeout(timer); timer = setTimeout(() => f(...args), ms); };
}

// The page of one explorer

export function stage(model, el) {
  const shadow = el.shadowRoot ?? el.attachShadow({ mode: "open" });
  const title = model.get("title") ?? "", alt = model.get("alt") ?? "";
  const words = h("div", { class: "words" }), live = h("div", { class: "live", "aria-live": "polite" });
  const root = h("section", { class: "page", "aria-label": title }, h("p", { class: "title" }, title), live);
  const endings = [], speak = debounce(() => { live.textContent = words.textContent; }, 500);
  el.setAttribute("data-lm-suppress-shortcuts", "true");
  if (alt) root.setAttribute("aria-description", alt);
  shadow.replaceChildren(h("style", {}, CSS), root);
  const shade = () => {
    const [r, g, b] = (getComputedStyle(root).color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
    root.style.colorScheme = 0.3 * r + 0.59 * g + 0.11 * b > 128 ? "dark" : "light";
  };
  const watcher = new MutationObserver(shade), dark = matchMedia("(prefers-color-scheme: dark)");
  for (const element of [document.documentElement, document.body]) watcher.observe(element, { attributes: true });
  dark.addEventListener("change", shade);
  requestAnimationFrame(shade);
  const page = {
    root, endings,
    still: matchMedia("(prefers-reduced-motion: reduce)").matches,
    get: key => model.get(key),
    set(key, value) { if (model.get(key) !== value) { model.set(key, value); model.save_changes(); } },
    on(keys, f) {
      for (const key of keys) { model.on(`change:${key}`, f); endings.push(() => model.off(`change:${key}`, f)); }
      f();
    },
    add: (...nodes) => root.append(...nodes.filter(Boolean)),
    say(...said) {
      words.replaceChildren(...said);
      if (!words.parentNode) root.append(words); else speak();
    },
    words,
    close() { watcher.disconnect(); dark.removeEventListener("change", shade); for (const end of endings.splice(0)) end(); },
  };
  return page;
}

// Controls

export function slider(page, key, { label, min = 0, max = 1, step = 1, values = null, format = String, hint = null }) {
  const output = h("output", {}), last = values ? values.length - 1 : max;
  const input = h("input", { type: "range", min: values ? 0 : min, max: last, step: values ? 1 : step, "aria-label": label,
    oninput() { page.set(key, values ? values[+input.value] : +input.value); } });
  page.on([key], () => {
    const value = page.get(key), first = +input.min;
    input.value = values ? values.reduce((best, v, k) => Math.abs(v - value) < Math.abs(values[best] - value) ? k : best, 0) : value;
    input.style.setProperty("--at", `${100 * (input.value - first) / (last - first || 1)}%`);
    output.textContent = format(value);
    input.setAttribute("aria-valuetext", format(value));
  });
  return h("label", { class: "control", title: hint }, h("span", { class: "head" }, h("span", { class: "name" }, label), output), input);
}

let groups = 0;
export function choice(page, key, { label, options }) {
  const group = `choice${++groups}`;
  const inputs = options.map(([value]) => h("input", { type: "radio", name: group, onchange() { page.set(key, value); } }));
  page.on([key], () => inputs.forEach((input, k) => { input.checked = options[k][0] === page.get(key); }));
  return h("fieldset", { class: "control" }, h("legend", {}, label),
    h("div", { class: "options" }, options.map(([, text], k) => h("label", {}, inputs[k], h("span", {}, text)))));
}

export function toggle(page, key, { label }) {
  const input = h("input", { type: "checkbox", onchange() { page.set(key, input.checked); } });
  page.on([key], () => { input.checked = Boolean(page.get(key)); });
  return h("label", { class: "control toggle" }, input, h("span", {}, label));
}

export function gallery(page, key, { label, url, names, words }) {
  const group = `choice${++groups}`, all = names.map((_, k) => {
    const input = h("input", { type: "radio", name: group, onchange() { page.set(key, k); } }), picture = frames(url, names.length), text = h("span");
    picture.setAttribute("aria-hidden", "true");
    picture.show(k);
    return { input, text, node: h("label", {}, input, picture, text) };
  });
  const element = h("fieldset", { class: "gallery" }, h("legend", {}, label), h("div", { class: "all" }, all.map(({ node }) => node)));
  element.show = () => all.forEach(({ input, text }, k) => { input.checked = k === page.get(key); text.textContent = words(k); input.setAttribute("aria-label", `${names[k]}, ${words(k)}`); });
  page.on([key], element.show);
  return element;
}

const ICONS = { back: "M11 1 3 7l8 6z", on: "M3 1l8 6-8 6z", play: "M2 0l11 7-11 7z", pause: "M2 1h3.6v12H2zM8.4 1H12v12H8.4z" };
const icon = name => { const drawn = tag("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }); drawn.append(tag("path", { d: ICONS[name] })); return drawn; };

export function stepper(page, key, { label, count, format = k => `${k + 1} of ${count}`, interval = 700, text = null }) {
  let timer = null;
  const go = k => page.set(key, Math.max(0, Math.min(count - 1, k)));
  const back = button(icon("back"), () => go(page.get(key) - 1), { label: `${label}: one step back` });
  const on = button(icon("on"), () => go(page.get(key) + 1), { label: `${label}: one step on` });
  const play = button("", () => (timer ? stop() : start()), { label: `play: ${label}` });
  const show = () => { play.replaceChildren(icon(timer ? "pause" : "play")); play.setAttribute("aria-label", `${timer ? "pause" : "play"}: ${label}`); };
  function stop() { clearInterval(timer); timer = null; show(); }
  function start() {
    if (page.get(key) >= count - 1) go(0);
    timer = setInterval(() => { go(page.get(key) + 1); if (page.get(key) >= count - 1 || !page.root.isConnected) stop(); }, interval);
    show();
  }
  const scrub = slider(page, key, { label, max: count - 1, format });
  scrub.addEventListener("input", stop);
  page.on([key], () => { back.disabled = page.get(key) <= 0; on.disabled = page.get(key) >= count - 1; });
  page.endings.push(stop);
  show();
  return h("div", { class: "control stepper" }, scrub, h("div", { class: "keys" }, back, page.still ? null : play, on, text ? caption(text) : null));
}

// Charts: drawn anew at the width there is, so that letters keep their size

const paint = color => (color?.includes?.("(") || color?.startsWith?.("#") ? color : `var(--${color ?? "ink"})`);
function tag(name, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) if (value != null) element.setAttribute(key, value);
  return element;
}
function steps([low, high], count) {
  const rough = (high - low) / Math.max(1, count), base = 10 ** Math.floor(Math.log10(rough));
  const step = base * [1, 2, 2.5, 5, 10].find(k => k * base >= rough * 0.999), found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(+(k * step).toPrecision(12));
  return found.length < 2 && count < 12 ? steps([low, high], count + 1) : found;
}

export function chart(page, options) {
  const svg = tag("svg", { role: "img", "aria-label": options.label ?? "chart" }), box = h("div", { class: "chart" }, svg);
  box.options = options;
  let scale = null;
  box.repaint = () => {
    const o = box.options, width = Math.max(120, box.clientWidth || 560), height = o.height ?? 220;
    const [top, right, bottom, left] = o.pad ?? [o.yLabel ? 24 : 8, 10, o.xLabel ? 40 : o.xTicks === 0 ? 6 : 24, o.yTicks === 0 ? 6 : 40];
    const x = v => left + (v - o.x[0]) / (o.x[1] - o.x[0]) * (width - left - right), y = v => height - bottom - (v - o.y[0]) / (o.y[1] - o.y[0]) * (height - top - bottom);
    const put = (name, attributes, title) => {
      const element = tag(name, attributes);
      if (title) { const words = tag("title"); words.textContent = title; element.append(words); }
      svg.append(element);
      return element;
    };
    const path = points => points.map(([a, b], k) => `${k ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    const g = { x, y, width, height, top, right: width - right, bottom: height - bottom, left, add: put,
      line: (points, { color = "ink", width: w = 2, dash = null, opacity = 1, title } = {}) =>
        put("path", { d: path(points), fill: "none", style: `stroke: ${paint(color)}`, "stroke-width": w, "stroke-dasharray": dash, opacity, "stroke-linejoin": "round", "stroke-linecap": dash ? "butt" : "round" }, title),
      area: (points, { color = "panel", opacity = 1, title } = {}) => put("path", { d: path(points) + "Z", style: `fill: ${paint(color)}`, opacity }, title),
      dot: (a, b, { color = "blue", r = 4, opacity = 1, ring = null, title } = {}) =>
        put("circle", { cx: x(a), cy: y(b), r, opacity, style: `fill: ${paint(color)}` + (ring ? `; stroke: ${paint(ring)}; stroke-width: 2px` : "") }, title),
      bar: (x0, y0, x1, y1, { color = "blue", opacity = 1, r = 2, title } = {}) => put("rect", { x: Math.min(x(x0), x(x1)), y: Math.min(y(y0), y(y1)),
        width: Math.max(0, Math.abs(x(x1) - x(x0))), height: Math.max(0, Math.abs(y(y1) - y(y0))), rx: r, style: `fill: ${paint(color)}`, opacity }, title),
      text(a, b, words, { color = "soft", anchor = "middle", dx = 0, dy = 0, bold = false, size = null } = {}) {
        const element = put("text", { x: x(a) + dx, y: y(b) + dy, "text-anchor": anchor, style: `fill: ${paint(color)}` + (bold ? "; font-weight: 650" : "") + (size ? `; font-size: ${size}px` : "") });
        element.textContent = words;
        return element;
      },
      rule: ({ x: at = null, y: level = null, color = "gray", width: w = 1.5, dash = "4 4", opacity = 1 }) =>
        put("line", { ...(at == null ? { x1: left, x2: width - right, y1: y(level), y2: y(level) } : { x1: x(at), x2: x(at), y1: top, y2: height - bottom }), style: `stroke: ${paint(color)}`, "stroke-width": w, "stroke-dasharray": dash, opacity }) };
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    svg.setAttribute("aria-label", o.label ?? "chart");
    const marks = (ticks, range, room, format) => (Array.isArray(ticks) ? ticks : steps(range, ticks ?? Math.max(2, Math.min(6, room))).map(v => [v, (format ?? String)(v)]));
    if (o.xTicks !== 0) for (const [v, words] of marks(o.xTicks, o.x, Math.floor((width - left - right) / 70), o.xFormat)) g.text(v, o.y[0], words, { dy: 18 });
    if (o.yTicks !== 0) for (const [v, words] of marks(o.yTicks, o.y, Math.floor((height - top - bottom) / 40), o.yFormat)) {
      g.text(o.x[0], v, words, { anchor: "end", dx: -8, dy: 4 });
      g.rule({ y: v, color: "line", width: 1, dash: null, opacity: 0.7 });
    }
    if (o.xLabel) { const words = tag("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }); words.textContent = o.xLabel; svg.append(words); }
    if (o.yLabel) { const words = tag("text", { x: 0, y: 12 }); words.textContent = o.yLabel; svg.append(words); }
    scale = { left, top, width, height, right, bottom };
    o.paint(g);
  };
  if (options.onPoint) {
    box.classList.add("input");
    const point = event => {
      const o = box.options, at = svg.getBoundingClientRect(), clip = v => Math.max(0, Math.min(1, v));
      const a = clip((event.clientX - at.left - scale.left) / (scale.width - scale.left - scale.right)), b = clip((scale.height - scale.bottom - (event.clientY - at.top)) / (scale.height - scale.top - scale.bottom));
      o.onPoint(o.x[0] + a * (o.x[1] - o.x[0]), o.y[0] + b * (o.y[1] - o.y[0]));
    };
    svg.addEventListener("pointerdown", event => { svg.setPointerCapture(event.pointerId); point(event); });
    svg.addEventListener("pointermove", event => { if (event.buttons & 1) point(event); });
  }
  let drawn = 0;
  const sizes = new ResizeObserver(() => { if (box.clientWidth && box.clientWidth !== drawn) { drawn = box.clientWidth; box.repaint(); } });
  sizes.observe(box);
  page.endings.push(() => sizes.disconnect());
  return box;
}

// Pictures

const place = (k, count) => `0 ${count > 1 ? 100 * k / (count - 1) : 0}%`;
export function backdrop(element, url, count, k) {
  Object.assign(element.style, { backgroundImage: `url("${url}")`, backgroundSize: `100% ${100 * count}%`, backgroundPosition: place(k, count) });
  return element;
}

export function frames(url, count, { label = "", width = null } = {}) {
  const element = backdrop(h("div", { class: "frame", role: "img", "aria-label": label }), url, count, 0);
  element.style.aspectRatio = "1";
  if (width) element.style.width = `${width}px`;
  const look = new Image();
  look.onload = () => { element.style.aspectRatio = `${look.naturalWidth} / ${look.naturalHeight / count}`; };
  look.src = url;
  element.show = (k, words = null) => {
    element.style.backgroundPosition = place(k, count);
    if (words != null) element.setAttribute("aria-label", words);
  };
  return element;
}

export function pixels(label = "", width = null) {
  const canvas = h("canvas", { class: "pixels", role: "img", "aria-label": label });
  if (width) canvas.style.width = `${width}px`;
  canvas.draw = (columns, rows, color) => {
    [canvas.width, canvas.height] = [columns, rows];
    const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
    for (let k = 0; k < columns * rows; k++) { const [r, g, b, a = 255] = color(k); image.data.set([r, g, b, a], 4 * k); }
    context.putImageData(image, 0, 0);
  };
  return canvas;
}

export const unpack = ({ shape, bytes }) => ({ shape, data: Uint8Array.from(atob(bytes), letter => letter.charCodeAt(0)) });

const HEAT = [[0.26, 0.04, 0.41], [0.58, 0.15, 0.40], [0.87, 0.32, 0.23], [0.99, 0.65, 0.04], [0.99, 1.00, 0.64]];
export function heat(value) {
  const at = Math.max(0, Math.min(1, value)) * (HEAT.length - 1), k = Math.min(HEAT.length - 2, Math.floor(at));
  return HEAT[k].map((low, c) => Math.round(255 * (low + (at - k) * (HEAT[k + 1][c] - low))));
}
