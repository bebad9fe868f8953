// The preview's two buttons.
const theme = document.getElementById("frame-theme"), chapters = document.getElementById("frame-chapters"), sidebar = document.getElementById("frame-sidebar");

function shade() {
  const dark = document.body.classList.contains("quarto-dark");
  theme.setAttribute("aria-pressed", String(dark));
}
theme.addEventListener("click", () => {
  const dark = !document.body.classList.contains("quarto-dark");
  document.body.className = dark ? "quarto-dark" : "quarto-light";
  try { localStorage.setItem("theme", dark ? "dark" : "light"); } catch {}
  shade();
});
chapters.addEventListener("click", () => chapters.setAttribute("aria-expanded", String(sidebar.classList.toggle("open"))));
shade();
sidebar.querySelector("[aria-current]")?.scrollIntoView({ block: "center" });
window.scrollTo(0, 0);
if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
