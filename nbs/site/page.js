// What every page of the book needs, on the site and in the preview: whatever scrolls sideways can be reached by keyboard, and printing opens the answers.
(() => {
  function reach() {
    for (const box of document.querySelectorAll("main pre, main .cell-output, main table, main math[display=block], main .long, nav")) {
      const scrolls = box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible";
      if (scrolls) box.setAttribute("tabindex", "0"); else box.removeAttribute("tabindex");
    }
  }
  addEventListener("DOMContentLoaded", reach);
  addEventListener("load", reach);
  addEventListener("resize", reach);
  addEventListener("beforeprint", () => { for (const answer of document.querySelectorAll("main details")) answer.open = true; });
})();
