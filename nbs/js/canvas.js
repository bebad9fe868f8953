import { Painting, pack, unpack } from "./painting.js";
import { Easel } from "./easel.js";

// The canvas: a queue of parts, a brush, and four verdicts. All bookkeeping is Python's; this file shows, paints and sends.

const TOOLS = [["brush", "Brush", "b"], ["eraser", "Eraser", "e"], ["polygon", "Polygon", "o"], ["fill", "Fill", "f"], ["hand", "Move", "h"]];
const VERDICTS = [["good", "Whole part is good", "g"], ["defective", "Defective, as painted", "d"], ["no-mask", "Defective, no mask", "m"], ["skip", "Skip", "s"]];
const WORDS = { open: "open", good: "good", defective: "defective", "no-mask": "defective, no mask", skip: "skipped" };
const KEYS = [["B E O F H", "brush, eraser, polygon, fill, move"], ["[ ]", "smaller, larger brush"], ["arrows", "move the cursor (Shift: farther, Alt: one pixel)"], ["Space", "pen down and up; corner of a polygon; fill here"],
  ["Enter, Backspace, Esc", "close a polygon, take back its last corner, give it up"], ["Z, Shift+Z", "undo, redo; Z after a verdict: back to its part"], ["+ − 0", "zoom in, out, whole picture"], ["Ctrl+arrows", "move the picture"], ["C", "contrast on and off"],
  ["V", "map on and off"], ["A, R", "accept, reject the proposed mask"], ["I", "say where the cursor is"], ["G D M S", "good, defective, no mask to be had, skip"], ["N, P", "next, previous part"], ["Q", "ask for the next round"]];
const IDLE = 60; // seconds without any movement that still count as work
const PATIENCE = { each: 5, advance: 20 }; // seconds of silence before a warning; a round may learn without a bar

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.close();
  },
};

class View {
  constructor(model, el) {
    this.model = model;
    this.state = { queue: [], standing: null };
    this.ahead = new Map(); // parts that were sent before they were wanted
    this.letters = []; // what Python has not answered yet, oldest first
    this.number = 1000 * Date.now() + Math.floor(1000 * Math.random()); // of the last letter: more than before a reload, and unlike those of a second view, which hears all answers, too
    this.changes = 0; // strokes and the like, over all parts
    this.active = -Infinity; // the last movement of the hand; the clock begins with the first
    this.unsaved = new Map(); // parts that left the desk before their last draft was kept
    this.times = new Map(); // seconds at parts that left the desk
    this.tool = "brush";
    this.size = 12;
    this.sending = Promise.resolve(); // everything goes out in order
    this.heard = (content, buffers) => this.hear(content, buffers).catch((error) => this.say(`Something went wrong: ${error.message}`, true));
    model.on("msg:custom", this.heard);
    this.build(el);
    this.clock = setInterval(() => this.tick(), 1000);
    this.send({ do: "ready" });
  }

  close() {
    this.lift();
    if (this.part?.made > this.part?.sent) this.draft(this.part, false);
    for (const part of [this.part, ...this.unsaved.values()]) clearTimeout(part?.retry);
    clearInterval(this.clock);
    clearTimeout(this.patience);
    this.sizes.disconnect();
    this.model.off("msg:custom", this.heard);
  }

  // The page

  build(el) {
    const button = (name, words, key, act, more = {}) => {
      const b = make("button", { type: "button", class: `ad-${name}`, "aria-keyshortcuts": key?.toUpperCase(), title: key ? `${words} (${key.toUpperCase()})` : words, ...more }, words, key ? make("kbd", { "aria-hidden": "true" }, key.toUpperCase()) : "");
      b.addEventListener("click", act);
      return (this[`b_${name}`] = b);
    };
    const slider = (name, words, min, max, value, act) => {
      const input = make("input", { type: "range", min, max, value, class: `ad-${name}` }), out = make("output", {}, "");
      input.addEventListener("input", () => act(Number(input.value)));
      this[`s_${name}`] = input;
      this[`o_${name}`] = out;
      return make("label", { class: "ad-slider" }, make("span", {}, words), input, out);
    };
    this.root = make("section", { class: "ad-canvas", "aria-label": "Labeling canvas", "data-lm-suppress-shortcuts": "true" });
    this.title = make("h3", { class: "ad-title" }, "Opening …");
    this.saved = make("span", { class: "ad-saved" });
    this.timer = make("span", { class: "ad-timer", role: "timer", "aria-label": "time on this part" });
    const tools = make("div", { class: "ad-tools", role: "toolbar", "aria-label": "Tools" }, ...TOOLS.map(([name, words, key]) => button(name, words, key, () => this.choose(name), { "aria-pressed": "false" })),
      button("undo", "Undo", "z", () => this.step("undo")), button("redo", "Redo", null, () => this.step("redo"), { "aria-keyshortcuts": "Shift+Z", title: "Redo (Shift+Z)" }),
      button("out", "−", null, () => this.zoom(1 / 1.4), { "aria-label": "Zoom out", title: "Zoom out (−)" }), button("fit", "Fit", "0", () => this.zoom(0)), button("in", "+", null, () => this.zoom(1.4), { "aria-label": "Zoom in", title: "Zoom in (+)" }));
    const sliders = make("div", { class: "ad-sliders" }, slider("size", "Brush", 0, 100, 50, (v) => this.setSize(Math.round(1.06 ** v))), slider("tolerance", "Tolerance", 0, 255, 24, () => this.labels()),
      slider("contrast", "Contrast", 0, 100, 0, (v) => this.setContrast(v)), slider("opacity", "Map", 0, 100, 35, (v) => this.setOpacity(v)));
    this.proposed = make("div", { class: "ad-proposed", hidden: "" }, make("span", {}, "The model proposes the hatched mask."), button("accept", "Accept", "a", () => this.accept()), button("reject", "Reject", "r", () => this.reject()));
    this.stage = make("div", { class: "ad-stage", tabindex: "0", role: "application", "aria-roledescription": "painting surface", "aria-description": "Arrow keys move the cursor, Space puts the pen down and up. All keys are listed under Keys." });
    this.trouble = make("p", { class: "ad-trouble", hidden: "" });
    this.stage.append(this.trouble);
    const verdicts = make("div", { class: "ad-verdicts", role: "toolbar", "aria-label": "Verdict" }, button("previous", "Previous", "p", () => this.turn(-1)), ...VERDICTS.map(([name, words, key]) => button(name, words, key, () => this.submit(name))), button("next", "Next", "n", () => this.turn(1)));
    this.status = make("p", { class: "ad-status", role: "status", "aria-live": "polite" });
    this.why = make("div", { class: "ad-why" });
    this.list = make("ol", { class: "ad-queue" });
    this.found = make("div", { class: "ad-found" });
    this.bar = make("progress", { max: "1", value: "0", "aria-label": "Progress of the next round", hidden: "" });
    const help = make("details", { class: "ad-help" }, make("summary", {}, "Keys"), make("dl", {}, ...KEYS.flatMap(([keys, words]) => [make("dt", {}, keys), make("dd", {}, words)])));
    const main = make("div", { class: "ad-main" }, tools, sliders, make("div", { class: "ad-said" }, this.status, this.proposed), this.stage, verdicts); // what comes and goes has its place, so that no button moves
    const side = make("div", { class: "ad-side" }, panel("Why this part?", this.why, button("compare", "Compare with other strategies", null, () => this.compare())), panel("Queue", this.list), panel("Found so far", this.found, button("advance", "Ask for the next round", "q", () => this.advance()), this.bar), help);
    this.root.append(make("div", { class: "ad-head" }, this.title, this.saved, this.timer), make("div", { class: "ad-body" }, main, side));
    el.append(this.root);
    this.easel = new Easel(this.stage);
    this.sizes = new ResizeObserver(() => (this.moved ? this.easel.ask("all") : this.easel.fit()));
    this.sizes.observe(this.stage);
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave"]) this.stage.addEventListener(kind, (event) => this.pointer(event));
    this.stage.addEventListener("dblclick", () => this.tool === "polygon" && this.closePolygon());
    this.stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.root.addEventListener("keydown", (event) => this.key(event));
    for (const kind of ["pointermove", "keydown"]) this.root.addEventListener(kind, () => (this.active = performance.now()));
    this.choose("brush");
    this.setSize(this.size);
    this.labels();
    this.enable();
  }

  say(words, alarm = false) {
    this.status.textContent = words;
    this.status.classList.toggle("ad-alarm", alarm);
  }

  labels() {
    this.o_size.textContent = `${this.size} px`;
    this.o_tolerance.textContent = this.s_tolerance.value;
    this.o_contrast.textContent = `${this.s_contrast.value} %`;
    this.o_opacity.textContent = `${this.s_opacity.value} %`;
  }

  enable() {
    const inside = this.root.contains(document.activeElement), part = this.part, can = Boolean(part?.width) && !this.busy, painting = part?.painting;
    for (const [name] of TOOLS) this[`b_${name}`].disabled = !can;
    for (const [name] of VERDICTS) this[`b_${name}`].disabled = !can && (name !== "skip" || !part || this.busy); // what nobody sees, nobody judges
    this.b_undo.disabled = !can || !(painting.done.length || this.last);
    this.b_redo.disabled = !can || !painting.undone.length;
    this.b_previous.disabled = this.b_next.disabled = !part || this.busy || this.state.queue.length < 2;
    this.b_compare.disabled = !part || this.busy;
    const open = this.state.queue.filter((row) => row.state === "open").length;
    this.b_advance.disabled = this.busy || open > 0 || !this.state.asks;
    this.b_advance.hidden = !this.state.asks;
    if (inside && (document.activeElement.disabled || !this.root.contains(document.activeElement))) this.stage.focus({ preventScroll: true });
  }

  // Python's side

  // Sends in order, and remembers until it is answered; `mask` is packed when its turn comes. Gives the letter's number.
  send(content, mask = null, length = 0, more = {}) {
    const letter = { ...content, number: (this.number += 1000), ...more };
    this.letters.push(letter);
    this.watch();
    this.sending = this.sending.then(async () => {
      const buffers = mask ? [(await pack(mask, length)).buffer] : [];
      try { this.model.send({ ...content, number: letter.number }, undefined, buffers); }
      catch {
        this.settle(letter);
        if (letter.do === "submit") this.reopen(letter.sample); // it was not sent
        if (letter.number === this.waiting) this.release();
        this.gone = true;
        this.unheard("The kernel behind this canvas is gone. Run all cells from the top again: everything that was saved comes back.");
      }
    });
    return letter.number;
  }

  // The kernel answers everything, so silence means trouble.
  watch() {
    clearTimeout(this.patience);
    if (!this.letters.length) return;
    const learns = this.busy === "advance", seconds = learns ? PATIENCE.advance : PATIENCE.each;
    this.patience = setTimeout(() => {
      if (!this.gone) this.unheard(learns ? `Nothing was heard from the kernel for ${seconds} seconds. It may learn without a bar; if it was restarted, run all cells from the top again: everything that was saved comes back.`
        : "The kernel does not answer. It may be busy; if it was restarted, run all cells from the top again: everything that was saved comes back.");
      if (learns) this.watch();
    }, 1000 * seconds);
  }

  unheard(words) {
    this.silent = true;
    if (this.part) this.part.underway = null; // the next stroke tries again
    if (this.part?.made > this.part?.saved) this.notSaved();
    this.say(words, true);
  }

  notSaved() {
    this.saved.textContent = "not saved yet";
    this.saved.classList.add("ad-alarm");
  }

  // The letter that a message answers; Python answers in order, so all before it are done with.
  answeredBy({ is, sample, number, ahead }) {
    const kinds = { state: ["ready", "advance"], part: [ahead ? "peek" : "open"], kept: ["draft"], answered: ["submit"], reason: ["compare"], news: ["news"] }[is];
    const letter = number ? this.letters.find((each) => each.number === number)
      : is === "trouble" ? this.letters[0] : this.letters.find((each) => kinds?.includes(each.do) && (!each.sample || !sample || each.sample === sample));
    if (letter && is !== "progress") this.settle(letter);
    return letter;
  }

  settle(letter) {
    for (const old of this.letters.splice(0, this.letters.indexOf(letter) + 1)) {
      const part = this.book(old.sample);
      if (part?.underway === old.number) part.underway = null;
      if (old !== letter && old.do === "draft" && part && !part.closed && part.saved < old.made) this.later(part); // it was lost
    }
  }

  // A part on the desk, or one that left it with something unsaved.
  book(sample) { return this.part?.sample === sample ? this.part : this.unsaved.get(sample); }

  async hear(content, buffers = []) {
    const letter = content.is === "progress" ? null : this.answeredBy(content);
    this.gone = false;
    if (this.silent) { this.silent = false; this.say("The kernel answers again."); }
    this.watch();
    const bytes = (k) => { const b = buffers[k]; return new Uint8Array(b.buffer ?? b, b.byteOffset ?? 0, b.byteLength); };
    const does = {
      state: () => this.take(content, letter),
      part: () => this.receive(content, (name) => (content.buffers.includes(name) ? bytes(content.buffers.indexOf(name)) : null)),
      kept: () => (letter ? this.kept(letter) : this.rivaled(content)),
      news: () => this.refresh(content.state),
      answered: () => this.answered(content, letter),
      reason: () => { this.state.compared = true; this.ahead.clear(); this.release(); if (this.part?.sample === content.sample) this.showReason((this.part.reason = content.reason)); },
      progress: () => this.progress(content),
      trouble: () => this.failed(letter, content),
    };
    await does[content.is]?.();
  }

  // One letter could not be done: only what waits for this letter is released.
  failed(letter, { words, number }) {
    const kind = letter?.do, part = kind && this.book(letter.sample);
    if (kind === "peek" || kind === "news") return;
    if (kind === "draft") {
      if (!part || part.closed || part.underway) return;
      if (part === this.part) this.notSaved();
      this.say(`${words} (The draft of ${part.sample} is not saved yet; it is tried again.)`, true);
      return this.later(part);
    }
    if (kind === "submit") this.reopen(letter.sample);
    if (kind === "open" && this.wanted === letter.sample) this.wanted = null;
    if (letter ? letter.number === this.waiting : !number) { if (this.busy === "advance") this.bar.hidden = true; this.release(); }
    this.say(words, true);
  }

  later(part) {
    clearTimeout(part.retry);
    part.tries = (part.tries ?? 0) + 1;
    part.retry = setTimeout(() => this.draft(part), Math.min(30, 2 ** part.tries) * 1000);
  }

  // An answer was not written: drafts of its part are wanted again.
  reopen(sample) {
    const part = this.book(sample);
    if (!part) return;
    part.closed = false;
    if (part.made > part.saved) this.draft(part);
  }

  release() { this.busy = this.waiting = null; this.root.removeAttribute("aria-busy"); this.enable(); this.watch(); }
  occupy(what, content, ...more) { this.busy = what; this.root.setAttribute("aria-busy", "true"); this.enable(); this.waiting = this.send(content, ...more); }

  // Another view's state changes what is known, not what is on the desk, unless that is asked about no more.
  take({ state, open, number }, letter) {
    const mine = !number || letter, waited = mine && this.busy === "advance", answers = this.busy === "answer"; // its receipt opens the next part
    this.state = state;
    if (mine) this.bar.hidden = true;
    if (mine && !answers) this.release();
    if (waited) this.say(`Round ${state.round} is on the desk: ${count(state.queue.length, "part")}, asked by ${state.strategy}.`);
    this.showQueue();
    this.showFound();
    for (const [sample, part] of this.unsaved) if (!this.row(sample)) { clearTimeout(part.retry); this.unsaved.delete(sample); }
    if (mine ? !answers : !this.busy && !this.row(this.part?.sample)) { this.ahead.clear(); this.open(open ?? state.queue[0]?.sample, waited); }
    this.showTitle();
    if (mine && state.unbegun && !this.busy) this.advance();
  }

  // What others have said meanwhile; what is on the desk stays there.
  refresh(state) {
    if (!state) return;
    this.state = state;
    this.showQueue();
    this.showFound();
    this.showTitle();
    this.enable();
  }

  // Another view has painted here: what was sent ahead is old.
  stale(sample) { this.elsewhere = (this.elsewhere ?? 0) + 1; this.ahead.delete(sample); }

  open(sample, focus = false) {
    if (!sample) { this.showTitle(); return; }
    this.leave();
    this.refocus = focus;
    this.wanted = sample;
    const ready = this.ahead.get(sample);
    this.ahead.delete(sample);
    if (ready) { this.show(ready); return; }
    this.occupy("open", { do: "open", sample });
  }

  async receive({ state, ...content }, bytes) {
    const { elsewhere } = this;
    this.refresh(state);
    const part = { ...content, pixels: bytes("image"), heat: bytes("heat"), length: content.width * content.height };
    part.ready = {};
    for (const name of ["mask", "proposal"]) part.ready[name] = bytes(name) ? await unpack(bytes(name), part.length) : null;
    if (content.sample === this.wanted) await this.show(part);
    else if (content.ahead && elsewhere === this.elsewhere && !this.letters.some((each) => each.do === "draft" && each.sample === part.sample)) { this.ahead.set(part.sample, part); for (const old of [...this.ahead.keys()].slice(0, -2)) this.ahead.delete(old); }
  }

  async show(part) {
    const left = this.part;
    if (left && left.sample !== part.sample && left.made > left.saved && !left.closed) this.unsaved.set(left.sample, left);
    this.part = part;
    this.wanted = null;
    this.doubt = null;
    this.moved = false;
    part.told = part.note.seconds ?? 0;
    part.seconds = Math.max(part.told, this.times.get(part.sample) ?? 0);
    this.counted = performance.now();
    part.made = part.sent = part.saved = 0; // the change that was last made, sent, kept
    part.underway = null; // the letter that carries the newest draft
    const unsaved = left?.sample === part.sample && left.made > left.saved && !left.closed ? left : this.unsaved.get(part.sample);
    this.unsaved.delete(part.sample);
    this.easel.cursor = null;
    this.drag = this.pen = null;
    this.saved.textContent = "";
    this.saved.classList.remove("ad-alarm");
    this.trouble.hidden = !part.trouble || part.width > 0;
    this.trouble.textContent = part.trouble;
    if (part.trouble && part.width) this.say(part.trouble, true); // the picture is there, something beside it is not
    if (part.width) {
      part.painting = new Painting(part.width, part.height);
      if (unsaved?.width === part.width && unsaved.height === part.height) { // newer than what Python has
        for (const name of ["painting", "made", "sent", "saved", "underway"]) part[name] = unsaved[name];
        part.note = { ...part.note, ...judgedIn(unsaved.note) };
        clearTimeout(unsaved.retry);
        this.notSaved();
        this.draft(part);
      } else if (part.ready.mask) part.painting.load(part.ready.mask);
      if (!this.chose) this.s_contrast.value = part.high - part.low < 0.5 ? 100 : 0;
      this.easel.contrast = this.s_contrast.value / 100;
      this.easel.show(part, part.painting);
      if (part.heat) this.easel.setHeat(part.heat, part.heat_width, part.heat_height);
      this.showProposal();
    } else { this.easel.clear(); this.proposed.hidden = true; }
    this.s_opacity.disabled = !part.heat;
    this.stage.setAttribute("aria-label", `Painting surface, part ${part.sample}` + (part.width ? `, ${part.width} by ${part.height} pixels` : ", no picture"));
    this.release();
    this.labels();
    this.showReason(part.reason);
    this.showQueue();
    this.showTitle();
    const beside = this.besides(part.others);
    const before = this.status.textContent;
    if (beside && !part.trouble && !before.includes(beside)) this.say((before.endsWith("saved.") ? `${before} ` : "") + beside);
    if (this.refocus) this.stage.focus({ preventScroll: true });
    const next = this.following(part.sample, 1, true);
    if (next && next !== part.sample && !this.ahead.has(next)) this.send({ do: "peek", sample: next });
    else if (part.ahead) this.send({ do: "news" }); // every other answer brings the state along
    requestAnimationFrame(() => this.root.setAttribute("data-part", part.sample));
  }

  // Answers and drafts

  note(part) { return { seconds: Math.round(part.seconds * 10) / 10, ...judgedIn(part.note) }; }

  row(sample) { return this.state.queue.find((each) => each.sample === sample); }

  // Another window of the same person has kept a draft of the part on the desk: whichever saves last is kept, so that is said before anything is painted over.
  rivaled({ sample, painted, late }) {
    this.stale(sample);
    const { part } = this;
    if (!painted || late || part?.sample !== sample || part.closed || part.rival) return;
    part.rival = true;
    if (part.made) this.sayRival();
  }

  sayRival() {
    this.part.rival = "said";
    this.say(`${this.part.sample} is being painted in another window of yours, too, and only the mask that is saved last is kept. Go on in one of the two; in this one, open another part and come back to see the other's paint.`, true);
  }

  // Something changed: keep it, unless something is on its way already; then keep the newest as soon as that has arrived.
  changed() {
    this.part.made = ++this.changes;
    if (this.part.rival === true) this.sayRival();
    this.doubt = this.last = null;
    this.draft(this.part);
    this.enable();
  }

  // No draft follows the answer; where nothing new was painted, the seconds go alone, and Python leaves the paint as it is.
  draft(part, waits = true) {
    if (part.closed || (waits && part.underway) || !this.row(part.sample)) return;
    const mask = part.made > part.saved ? part.painting.mask : null;
    clearTimeout(part.retry);
    part.sent = part.made;
    part.told = part.seconds;
    this.ahead.delete(part.sample);
    if (part === this.part && mask) this.saved.textContent = "saving …";
    part.underway = this.send({ do: "draft", sample: part.sample, note: this.note(part) }, mask, part.length, { made: part.made, painted: Boolean(mask) });
  }

  kept({ number, sample, made, painted }) {
    const part = this.book(sample), row = this.row(sample);
    if (row && painted && !row.draft) { row.draft = true; this.showQueue(); }
    if (!part) return;
    part.saved = Math.max(part.saved, made);
    part.tries = 0;
    if (part.saved < part.made) return this.draft(part);
    if (part !== this.part) { this.unsaved.delete(sample); return; }
    if (!painted) return;
    this.saved.classList.remove("ad-alarm");
    this.saved.textContent = "draft saved";
    this.root.setAttribute("data-kept", String(number));
  }

  // The hand leaves this part: what was painted last goes out at once, and so does the time.
  leave() {
    const { part } = this;
    if (!part) return;
    this.lift();
    this.tick();
    if (part.closed) return;
    this.times.set(part.sample, part.seconds);
    if (part.made > part.sent || (this.row(part.sample)?.state === "open" && part.seconds >= part.told + 1)) this.draft(part, false);
  }

  // Corners that are not closed yet are neither painted nor forgotten.
  unfinished() {
    if (!this.easel.corners.length) return false;
    this.say("A polygon is unfinished. Close it (Enter), or give it up (Esc).", true);
    this.stage.focus({ preventScroll: true });
    return true;
  }

  submit(verdict) {
    const { part } = this;
    if (!part || this.busy || this.unfinished()) return;
    if (!part.width && verdict !== "skip") return this.say("This picture cannot be read, so nobody can judge it. Skip it (S), or go on (N) and bring its file back.", true);
    this.lift();
    const painted = part.painting?.area() ?? 0;
    if (verdict === "defective" && !painted) return this.say("Nothing is painted. Paint the defect, or say that no mask is to be had (M).", true);
    if (verdict !== "defective" && painted && this.doubt !== verdict) {
      this.doubt = verdict;
      return this.say(`${painted.toLocaleString("en")} pixels are painted. Press again to say “${WORDS[verdict]}” without them.`, true);
    }
    this.tick();
    part.closed = true;
    clearTimeout(part.retry);
    this.say("Saving …");
    this.occupy("answer", { do: "submit", sample: part.sample, verdict, seconds: Math.round(part.seconds * 10) / 10 }, verdict === "defective" ? part.painting.mask.slice() : null, part.length);
  }

  answered({ sample, verdict, next, state, number, others }, letter) {
    this.state = state;
    if (number && !letter) { this.stale(sample); this.showQueue(); this.showFound(); this.showTitle(); return; } // said in another view
    this.times.delete(sample);
    this.unsaved.delete(sample);
    const beside = this.besides(others, verdict);
    this.last = { sample, verdict };
    this.say(`${sample}: ${WORDS[verdict]}, saved.` + (beside && ` ${beside} Your “${WORDS[verdict]}” stands beside it; the later one counts. Z goes back to see it.`) + (next ? "" : " The queue is done."), Boolean(beside));
    this.root.setAttribute("data-answered", String(state.queue.filter((row) => row.state !== "open").length));
    this.release();
    this.showQueue();
    this.showFound();
    if (this.part?.sample === sample) Object.assign(this.part, { closed: false, made: 0, sent: 0, saved: 0, seconds: 0, told: 0 }); // it may be answered again
    if (next) return this.open(next, true);
    this.saved.textContent = "";
    this.showTitle();
    if (state.asks) this.b_advance.focus();
  }

  // Who has said something else, and when.
  besides(others, verdict = null) {
    return (others ?? []).filter(([, word]) => word !== verdict && !(verdict && [word, verdict].includes("skip"))).map(([name, word, time]) => `${name} said “${WORDS[word]}” ${moment(time)}.`).join(" ");
  }

  following(sample, step, openOnly = false) {
    const ids = this.state.queue.map((row) => row.sample), at = ids.indexOf(sample), count = ids.length;
    for (let k = 1; k < count; k++) {
      const row = this.state.queue[(at + step * k + count * k) % count];
      if (!openOnly || row.state === "open") return row.sample;
    }
    return null;
  }

  turn(step) {
    if (this.part) this.go(this.following(this.part.sample, step));
  }

  go(sample) {
    if (!sample || this.busy || this.unfinished()) return;
    if (sample === this.part?.sample && this.part.width) return this.stage.focus({ preventScroll: true }); // it is on the desk
    this.open(sample, true);
  }

  compare() { this.lift(); this.say("Asking other strategies …"); this.occupy("compare", { do: "compare", sample: this.part.sample }); }

  advance() {
    if (this.b_advance.disabled || this.b_advance.hidden || this.unfinished()) return;
    this.leave();
    this.bar.hidden = false;
    this.bar.removeAttribute("value");
    this.say(this.state.unbegun ? "The loop looks at all parts, and asks its first question …" : "The loop learns from the answers and asks again …");
    this.occupy("advance", { do: "advance", first: Boolean(this.state.unbegun) });
  }

  progress({ words, share }) {
    this.bar.hidden = false;
    this.bar.value = share;
    this.say(`${words || "Working"}: ${Math.round(100 * share)} %`);
  }

  tick() {
    const now = performance.now();
    if (this.part && !document.hidden && now - this.active < 1000 * IDLE && !(this.busy && this.busy !== "answer")) this.part.seconds += Math.min(2, (now - this.counted) / 1000);
    this.counted = now;
    if (this.part) this.timer.textContent = clock(this.part.seconds);
  }

  // Painting

  choose(tool) {
    this.lift();
    this.tool = tool;
    if (tool !== "polygon" && this.easel.corners.length) { this.easel.corners = []; this.say("The unfinished polygon is given up."); }
    for (const [name] of TOOLS) this[`b_${name}`].setAttribute("aria-pressed", String(name === tool));
    this.stage.dataset.tool = tool;
    this.pen = null;
    this.cursorTo(this.easel.cursor?.x, this.easel.cursor?.y);
  }

  setSize(size) {
    this.size = Math.max(1, Math.min(339, size));
    this.s_size.value = Math.round(Math.log(this.size) / Math.log(1.06));
    this.labels();
    this.cursorTo(this.easel.cursor?.x, this.easel.cursor?.y);
  }

  setContrast(value) { this.chose = true; this.s_contrast.value = value; this.easel.setContrast(value / 100); this.labels(); }
  setOpacity(value) { this.s_opacity.value = value; this.easel.setOpacity(value / 100); this.labels(); }

  cursorTo(x, y, cross = this.easel.cursor?.cross) {
    if (x === undefined || !this.part?.width) return;
    this.easel.cursor = { x, y, cross, size: this.tool === "brush" || this.tool === "eraser" ? this.size : 0 };
    this.easel.ask("over");
  }

  get idle() { return Boolean(this.part?.width) && !this.busy; }

  change(paint) {
    if (!this.idle) return;
    this.lift(); // a stroke under way is a step of its own
    const { painting } = this.part;
    painting.begin();
    paint(painting);
    if (painting.end()) this.changed();
    this.easel.dip();
  }

  step(which) {
    if (!this.part?.width || this.busy || this.drag) return;
    const done = this.part.painting[which]();
    if (done) {
      if (done.mark) this.judge(which === "undo" ? null : done.mark);
      this.changed();
    } else if (which === "undo" && this.last) this.takeBack(this.last);
    else this.say(`Nothing to ${which}.`);
    this.easel.dip();
  }

  // The log only grows: a verdict is taken back by another one.
  takeBack({ sample, verdict }) {
    if (this.unfinished()) return;
    this.last = null;
    this.say(`${sample} is on the desk again. You said “${WORDS[verdict]}”; another verdict replaces it.`);
    if (sample !== this.part.sample && this.row(sample)) this.open(sample, true);
  }

  accept() {
    if (this.settled("accepted", (painting) => painting.take(this.part.ready.proposal))) this.say("The proposed mask is painted; correct it where it is wrong.");
  }

  reject() {
    if (this.settled("rejected", () => {})) this.say("The proposed mask is gone.");
  }

  // A proposal is settled in one step, which undo takes back as a whole.
  settled(word, paint) {
    if (this.proposed.hidden || !this.idle) return false;
    this.lift();
    const { painting } = this.part;
    painting.begin();
    paint(painting);
    painting.end(word);
    this.judge(word);
    this.changed();
    this.easel.dip();
    this.stage.focus({ preventScroll: true });
    return true;
  }

  judge(word) {
    this.part.note = { ...this.part.note, accepted: word === "accepted", rejected: word === "rejected" };
    this.showProposal();
  }

  showProposal() {
    const { note, ready, drawn_by: who } = this.part, open = Boolean(ready.proposal) && !note.rejected && !note.accepted;
    this.proposed.hidden = !open;
    this.proposed.firstChild.textContent = who ? `${who} has drawn the hatched mask.` : "The model proposes the hatched mask.";
    this.easel.setProposal(open ? ready.proposal : null);
  }

  closePolygon() {
    const { corners } = this.easel;
    if (!this.idle || !corners.length) return;
    if (corners.length < 3) this.say("A polygon needs three corners; this one is given up.");
    this.easel.corners = [];
    this.easel.ask("over");
    if (corners.length > 2) this.change((painting) => painting.polygon(corners, 1));
  }

  // What the tool does at a place of the image, by mouse or by Space.
  apply(x, y) {
    if (this.tool === "polygon") {
      const [first] = this.easel.corners;
      if (first && this.easel.corners.length > 2 && Math.hypot(first[0] - x, first[1] - y) * this.easel.scale < 8) return this.closePolygon();
      this.easel.corners = [...this.easel.corners, [x, y]];
      return this.cursorTo(x, y);
    }
    if (this.tool === "fill") return this.change((painting) => painting.flood(x, y, this.easel.gray, Number(this.s_tolerance.value), 1));
  }

  press(x, y, value, pointer = null) {
    this.part.painting.begin();
    this.drag = { x, y, value, pointer };
    this.drawTo(x, y);
  }

  drawTo(x, y) {
    const { drag } = this;
    this.part.painting.stroke(drag.x, drag.y, x, y, this.size, drag.value);
    Object.assign(drag, { x, y });
    this.easel.dip();
  }

  // The pen leaves the picture: the stroke is a step, and is kept.
  lift() {
    const was = this.drag;
    this.drag = this.pen = null;
    if (was && !was.pan && this.part.painting.end()) this.changed();
  }

  pointer(event) {
    if (!this.part?.width || this.busy) return;
    const [x, y] = this.easel.toImage(event), { drag } = this;
    if (drag && !this.pen && drag.pointer !== event.pointerId) return; // a second finger
    if (event.type === "pointerdown") {
      this.stage.focus({ preventScroll: true });
      if (this.pen) this.lift();
      const pan = this.tool === "hand" || event.button === 1 || (event.button === 0 && event.ctrlKey);
      if (event.button > 1 || drag) return;
      event.preventDefault();
      if (pan || this.tool === "brush" || this.tool === "eraser") this.stage.setPointerCapture(event.pointerId);
      if (pan) this.drag = { pan: true, x: event.clientX, y: event.clientY, pointer: event.pointerId };
      else if (this.tool === "brush" || this.tool === "eraser") this.press(x, y, this.tool === "brush" && !event.shiftKey ? 1 : 0, event.pointerId);
      else this.apply(x, y);
    } else if (event.type === "pointermove") {
      if (drag?.pan) { this.moved = true; this.easel.pan(event.clientX - drag.x, event.clientY - drag.y); Object.assign(drag, { x: event.clientX, y: event.clientY }); }
      else if (drag && !this.pen) for (const e of event.getCoalescedEvents?.() ?? [event]) this.drawTo(...this.easel.toImage(e));
      this.cursorTo(x, y, false);
    } else if (event.type === "pointerleave") { if (!drag && this.easel.cursor && !this.easel.cursor.cross) { this.easel.cursor = null; this.easel.ask("over"); } }
    else if (drag && !this.pen) this.lift();
  }

  wheel(event) {
    if (!this.part?.width || !(event.ctrlKey || this.root.contains(document.activeElement))) return; // else the page scrolls
    event.preventDefault();
    const box = this.stage.getBoundingClientRect();
    this.moved = true;
    this.easel.zoom(Math.exp(-Math.max(-60, Math.min(60, event.deltaY)) / 200), event.clientX - box.left, event.clientY - box.top);
  }

  zoom(factor) {
    this.moved = factor !== 0;
    if (!factor) return this.easel.fit();
    const at = this.easel.cursor?.cross ? this.easel.cursor : null;
    this.easel.zoom(factor, ...(at ? [at.x * this.easel.scale + this.easel.x, at.y * this.easel.scale + this.easel.y] : []));
  }

  // Keys

  key(event) {
    const third = event.getModifierState?.("AltGraph") || (event.altKey && !event.ctrlKey && "[]".includes(event.key)); // many keyboards have brackets on a third level
    if (event.altKey && !third && !event.key.startsWith("Arrow")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, on = event.target, command = (event.ctrlKey || event.metaKey) && !third;
    const does = command ? this.commandKey(key, event, on) : this.plainKey(key, event, on);
    if (!does) return;
    event.preventDefault();
    event.stopPropagation();
    does();
  }

  commandKey(key, event, on) {
    if (key === "z") return () => this.step(event.shiftKey ? "redo" : "undo");
    if (key === "y") return () => this.step("redo");
    if (key.startsWith("Arrow") && on === this.stage) return () => { const [dx, dy] = arrow(key, 60); this.moved = true; this.easel.pan(-dx, -dy); };
  }

  plainKey(key, event, on) {
    if (event.target.matches("summary, button") && (key === " " || key === "Enter")) return;
    const letters = Object.fromEntries([...TOOLS.map(([name, , k]) => [k, () => this.part?.width && this.choose(name)]), ...VERDICTS.map(([name, , k]) => [k, () => event.repeat || this.submit(name)])]);
    const more = { z: () => this.step(event.shiftKey ? "redo" : "undo"), "[": () => this.setSize(Math.min(this.size - 1, Math.round(this.size / 1.25))), "]": () => this.setSize(Math.max(this.size + 1, Math.round(this.size * 1.25))),
      "+": () => this.zoom(1.4), "=": () => this.zoom(1.4), "-": () => this.zoom(1 / 1.4), 0: () => this.zoom(0), c: () => this.setContrast(Number(this.s_contrast.value) ? 0 : 100),
      v: () => this.setOpacity(Number(this.s_opacity.value) ? 0 : 35), a: () => this.accept(), r: () => this.reject(), n: () => this.turn(1), p: () => this.turn(-1), q: () => this.advance(), i: () => this.where() };
    if (letters[key] ?? more[key]) return letters[key] ?? more[key];
    if (on !== this.stage || !this.part?.width) return;
    if (key.startsWith("Arrow")) return () => this.moveCursor(...arrow(key, event.altKey ? 1 : Math.max(1, Math.round(4 / this.easel.scale)) * (event.shiftKey ? 8 : 1)));
    const drop = (corners) => { this.easel.corners = corners; this.easel.ask("over"); };
    return { " ": () => event.repeat || this.space(), Enter: () => this.closePolygon(), Backspace: () => drop(this.easel.corners.slice(0, -1)), Escape: () => { drop([]); if (this.pen) this.lift(); } }[key];
  }

  moveCursor(dx, dy) {
    const { part, easel } = this, at = easel.cursor ?? { x: part.width / 2, y: part.height / 2 };
    const x = Math.min(part.width - 0.5, Math.max(0.5, Math.floor(at.x) + 0.5 + dx)), y = Math.min(part.height - 0.5, Math.max(0.5, Math.floor(at.y) + 0.5 + dy));
    this.cursorTo(x, y, true);
    if (this.pen) this.drawTo(x, y);
    easel.reveal(x, y);
  }

  space() {
    if (this.busy) return;
    if (!this.easel.cursor) this.moveCursor(0, 0);
    const { x, y } = this.easel.cursor;
    this.easel.cursor.cross = true;
    if (this.pen) { this.lift(); return this.say("Pen up."); }
    if (this.tool === "polygon" || this.tool === "fill") return this.apply(x, y);
    if (this.tool === "hand" || this.drag) return;
    this.press(x, y, this.tool === "brush" ? 1 : 0);
    this.pen = true;
    this.say("Pen down: the arrow keys paint, Space lifts it.");
  }

  where() {
    const { easel, part } = this, at = easel.cursor;
    if (!part?.width) return;
    const place = at ? `Cursor at ${Math.floor(at.x)}, ${Math.floor(at.y)}, ` + (part.painting.mask[Math.floor(at.y) * part.width + Math.floor(at.x)] ? "painted. " : "not painted. ") : "";
    this.say(`${place}${part.painting.area().toLocaleString("en")} pixels painted in all.`);
  }

  // Words beside the picture. Everything that comes from outside is text.

  showTitle() {
    const { queue, round, strategy } = this.state, left = queue.filter((row) => row.state === "open").length, at = queue.findIndex((row) => row.sample === this.part?.sample);
    this.title.textContent = !queue.length ? (this.state.unbegun ? "The first question is on its way." : "Nothing is asked. Give the canvas some ids with annotate().") : `Round ${round} · part ${at + 1} of ${queue.length} · ${left ? `${left} left` : "all answered"}`;
    this.title.title = strategy;
    if (this.part) this.timer.textContent = clock(this.part.seconds);
  }

  showReason(reason) {
    const rows = [["Part", this.part.sample]];
    if (reason) rows.push(["Asked by", reason.strategy], ...(this.state.why ? [["Because", this.state.why]] : []), ["Score", `${reason.score.toPrecision(4)}, higher is asked first`], ["Place", `${reason.place.toLocaleString("en")} of ${reason.candidates.toLocaleString("en")}`],
      ...reason.elsewhere.map(([name, place, count]) => [name, `place ${place.toLocaleString("en")} of ${count.toLocaleString("en")}`]));
    for (const [name, word, time] of this.part.others ?? []) rows.push([name, `${WORDS[word]}, ${moment(time)}`]);
    if (this.part.heat_words) rows.push(["Map", this.part.heat_words]);
    this.why.replaceChildren(make("dl", {}, ...rows.flatMap(([name, words]) => [make("dt", {}, name), make("dd", {}, words)])));
    this.b_compare.hidden = !reason || this.state.compared;
    if (this.status.textContent.startsWith("Asking other")) this.say("");
  }

  showQueue() {
    const at = this.list.contains(document.activeElement) ? document.activeElement.dataset.sample : undefined;
    this.list.replaceChildren(...this.state.queue.map((row) => {
      const here = row.sample === this.part?.sample, words = row.state === "open" ? (row.draft ? "draft" : "open") : WORDS[row.state] + (row.by && row.by !== this.state.annotator ? `, by ${row.by}` : "");
      const item = make("button", { type: "button", class: `ad-row ad-is-${row.state}`, ...(here ? { "aria-current": "true" } : {}), "data-sample": row.sample }, make("span", { class: "ad-id" }, row.sample), make("span", { class: "ad-verdict" }, words));
      item.addEventListener("click", () => this.go(row.sample));
      return make("li", {}, item);
    }));
    if (at !== undefined) ([...this.list.querySelectorAll("button")].find((each) => each.dataset.sample === at) ?? this.stage).focus({ preventScroll: true });
    const here = this.list.querySelector("[aria-current]");
    if (here) this.list.scrollTop = here.parentElement.offsetTop - this.list.clientHeight / 2;
  }

  showFound() {
    const { standing } = this.state;
    if (!standing) return;
    const [asked, found, minutes] = standing.curve.at(-1);
    const words = `${count(found, "defect")} in ${count(asked, "part")}, ${minutes.toFixed(1)} minutes of labeling.`;
    this.found.replaceChildren(drawCurve(standing, words), make("p", {}, words), make("p", { class: "ad-forecast" }, standing.forecast));
  }
}

// Small helpers of this page

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function panel(heading, ...children) { return make("section", { class: "ad-panel" }, make("h4", {}, heading), ...children); }

function arrow(key, step) { return { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[key]; }

function count(number, word) { return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`; }

function judgedIn({ accepted, rejected }) { return { ...(accepted ? { accepted: true } : {}), ...(rejected ? { rejected: true } : {}) }; }

// "at 10:31"; with the day, if it was another one
function moment(time) {
  const at = new Date(time), hour = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return at.toDateString() === new Date().toDateString() ? `at ${hour}` : `on ${at.toLocaleDateString()} at ${hour}`;
}

function clock(seconds) { return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`; }

// Defects found over parts asked, and the forecast as a wedge.
function drawCurve({ curve, ahead }, words) {
  const space = "http://www.w3.org/2000/svg", W = 260, H = 120, L = 26, B = 18, T = 8, R = 8;
  const draw = (tag, attributes, text) => { const node = document.createElementNS(space, tag); for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v); if (text !== undefined) node.textContent = text; return node; };
  const [asked, found] = curve.at(-1), right = Math.max(1, asked + (ahead?.[0] ?? 0)), top = Math.max(1, found + (ahead?.[3] ?? 0));
  const x = (v) => L + (v / right) * (W - L - R), y = (v) => H - B - (v / top) * (H - B - T), points = (list) => list.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
  const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `Defects found over parts asked: ${words}`, class: "ad-curve" });
  svg.append(draw("line", { x1: L, y1: y(0), x2: W - R, y2: y(0), class: "ad-axis" }), draw("line", { x1: L, y1: T, x2: L, y2: y(0), class: "ad-axis" }));
  if (ahead) {
    svg.append(draw("polygon", { points: points([[asked, found], [right, found + ahead[3]], [right, found + ahead[2]]]), class: "ad-wedge" }));
    svg.append(draw("polyline", { points: points([[asked, found], [right, found + ahead[1]]]), class: "ad-ahead" }));
  }
  svg.append(draw("polyline", { points: points(curve), class: "ad-line" }), draw("circle", { cx: x(asked), cy: y(found), r: 3, class: "ad-dot" }));
  svg.append(draw("text", { x: L - 4, y: T + 8, class: "ad-tick", "text-anchor": "end" }, top), draw("text", { x: L - 4, y: y(0), class: "ad-tick", "text-anchor": "end" }, 0),
    draw("text", { x: W - R, y: H - 4, class: "ad-tick", "text-anchor": "end" }, count(right, "part")));
  return svg;
}
