// What every page of the book needs, on the site and in the preview: whatever scrolls sideways can be reached by keyboard, letters of formulas say what they mean, what a reader is asked to predict waits to be revealed, empty corners of tables are no headings, and printing opens the answers.
(() => {
  const ROWS = ["math", "semantics", "mrow", "mstyle", "msqrt", "mtd", "mpadded"], AWAY = 300;

  function reach() {
    for (const box of document.querySelectorAll("main pre, main .cell-output, main table, main math[display=block], main .long, nav")) {
      const scrolls = box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible";
      if (scrolls || (box.localName === "math" && box.querySelector("[data-symbol]"))) box.setAttribute("tabindex", "0"); else box.removeAttribute("tabindex");
    }
  }

  // Letters: the list "Symbols on this page" says what they mean. A letter of a formula that stands in the list shows its line when pointed at; a formula shows all of its lines when stepped to by keyboard.
  const signs = element => {
    const inner = element.firstElementChild;
    if (["math", "semantics"].includes(element.localName)) return signs(inner);
    return element.localName === "mrow" ? [...element.children] : [element];
  };

  function name(element) {
    const [base, below] = element.children, text = element.textContent.trim();
    if (["msub", "msubsup"].includes(element.localName)) return `${name(base)}_${below.textContent.replace(/\s/g, "")}`;
    if (["mover", "msup"].includes(element.localName)) return `${name(base)}^${below.textContent}`;
    return element.getAttribute("mathvariant") === "normal" && /^[A-Za-z]$/.test(text) ? "" : text;
  }

  function mark(element, known) {
    const parts = [...element.children];
    for (let k = 0; k < parts.length; k++) {
      const found = known.findIndex(({ names }) => names.every((sign, n) => parts[k + n] && name(parts[k + n]) === sign) && (names.length === 1 || ROWS.includes(element.localName)));
      if (found < 0) { if (parts[k].localName !== "annotation") mark(parts[k], known); continue; }
      for (const part of parts.slice(k, k + known[found].names.length)) part.dataset.symbol = found;
      k += known[found].names.length - 1;
    }
  }

  function letters() {
    const list = document.querySelector("main .symbols dl");
    if (!list) return;
    const known = [...list.querySelectorAll("dt math")].map(math => ({ math, names: signs(math).map(name), meaning: math.closest("dt").nextElementSibling }));
    known.sort((a, b) => b.names.length - a.names.length);
    for (const math of document.querySelectorAll("main math")) if (!math.closest("dl, .symbols")) mark(math, known);

    const hint = document.createElement("p"), tip = document.createElement("div");
    hint.textContent = "Point at a letter of a formula, or step to the formula with the Tab key, and it says this there.";
    list.after(hint);
    Object.assign(tip, { id: "symbol-meaning", className: "symbol-meaning", hidden: true });
    tip.setAttribute("role", "tooltip");
    document.querySelector("main").append(tip);
    let shownBy = null, going = 0;

    function show(element, meant) {
      clearTimeout(going);
      if (shownBy === element && !tip.hidden) return;
      tip.replaceChildren(...[...new Set(meant.map(n => known[n].meaning))].flatMap(meaning => {
        const term = document.createElement("span"), said = document.createElement("span");
        for (const n of meant.filter(n => known[n].meaning === meaning)) term.append(...(term.childNodes.length ? [", "] : []), known[n].math.cloneNode(true));
        said.append(...[...meaning.cloneNode(true).childNodes].flatMap(node => node.localName === "p" ? [...node.childNodes] : [node]));
        return [term, " ", said];
      }));
      shownBy = element;
      tip.hidden = false;
      tip.style.left = tip.style.top = "0px";
      const from = tip.getBoundingClientRect(), at = element.closest("math").getBoundingClientRect(), wide = document.documentElement.clientWidth;
      const below = at.bottom + 6 + from.height <= innerHeight || at.top < from.height + 6;
      tip.style.left = `${Math.max(8, Math.min(element.getBoundingClientRect().left, wide - from.width - 8)) - from.left}px`;
      tip.style.top = `${(below ? at.bottom + 6 : at.top - 6 - from.height) - from.top}px`;
    }
    function hide() { clearTimeout(going); shownBy?.removeAttribute("aria-describedby"); shownBy = null; tip.hidden = true; }

    document.addEventListener("pointerover", event => {
      const letter = event.target.closest?.("[data-symbol]");
      if (letter) show(letter, [Number(letter.dataset.symbol)]);
      else if (tip.contains(event.target)) clearTimeout(going);
      else if (!tip.hidden && shownBy?.localName !== "math") { clearTimeout(going); going = setTimeout(hide, AWAY); }
    });
    document.addEventListener("focusin", event => {
      const formula = event.target;
      if (formula.localName !== "math" || !formula.matches(":focus-visible")) return;
      show(formula, [...new Set([...formula.querySelectorAll("[data-symbol]")].map(letter => Number(letter.dataset.symbol)))]);
      formula.setAttribute("aria-describedby", tip.id);
    });
    document.addEventListener("focusout", event => { if (event.target === shownBy) hide(); });
    document.addEventListener("keydown", event => { if (event.key === "Escape") hide(); });
    document.addEventListener("pointerdown", event => { if (!event.target.closest?.("[data-symbol]") && !tip.contains(event.target)) hide(); });
  }

  // The empty corner of a table heads nothing.
  function corners() { for (const corner of document.querySelectorAll("main th:empty")) corner.replaceWith(document.createElement("td")); }

  // Predict, then reveal: the first output below a **Predict** waits for a click, unless it is a figure to play with, and so do the code and the value below a folded answer.
  function fold() {
    for (const answer of document.querySelectorAll("main details")) {
      if (answer.firstElementChild?.textContent.trim() !== "Answer") continue;
      while (answer.nextElementSibling?.matches(".cell")) answer.append(answer.nextElementSibling);
    }
    for (const asked of document.querySelectorAll("main p strong")) {
      if (!asked.textContent.startsWith("Predict") || asked.closest(".cell, details")) continue;
      let next = asked.closest("p");
      while (next && !/^H[1-6]$/.test(next.tagName) && !next.querySelector?.(".cell-output") ) next = next.nextElementSibling;
      if (!next?.matches(".cell") || next.querySelector(".reveal, .explorer")) continue;
      const said = document.createElement("details"), press = document.createElement("summary"), first = next.querySelector(":scope > .cell-output");
      if (!first) continue;
      said.className = "reveal";
      press.textContent = "Reveal";
      first.before(said);
      said.append(press, ...next.querySelectorAll(":scope > .cell-output"));
    }
    document.addEventListener("toggle", event => { if (event.target.open) { dispatchEvent(new Event("resize")); reach(); } }, true);
  }

  addEventListener("DOMContentLoaded", () => { letters(); corners(); fold(); reach(); });
  addEventListener("load", reach);
  addEventListener("resize", reach);
  addEventListener("beforeprint", () => { for (const answer of document.querySelectorAll("main details")) answer.open = true; });
})();
