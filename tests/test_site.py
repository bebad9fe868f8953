"""The book as its readers meet it: the preview is built once, every page of it is read as text and opened in a browser with the network off."""
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import docs
import pages
import pytest
import yaml
from book import chapters, citations, known_works
from lab import chromium_pages

ROOT = Path(__file__).resolve().parent.parent
PREVIEW = ROOT / "_preview"
PAGE_BYTES = 500_000
DESK, PHONE = {"width": 1200, "height": 800}, {"width": 320, "height": 640}
EVERY = int(os.environ.get("ACTIVE_DEFECTS_EVERY", 4))  # how many pages lie between two that axe looks at
METHODS = (3, 5, 6)  # floors of published methods
OURS = ("strategies.strategy", "strategies.likely_defect", "strategies.blend")
READERS = ("read_ksdd", "read_ksdd2", "read_magnetic_tile", "read_rsdds", "read_dagm")
PICTURE = re.compile(r"data:image/(?:png|webp|jpeg)|\"image/(?:png|jpeg)\"")


class Seen(HTMLParser):
    "What a page's HTML holds, as far as the checks ask: names, links, pictures, headings."

    def __init__(self, path):
        super().__init__()
        self.path, self.inside = path, Counter()
        self.ids, self.links, self.pictures, self.headings, self.loaded = [], [], [], [], []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, pairs):
        held = dict(pairs)
        self.inside[tag] += 1
        if held.get("id"): self.ids.append(held["id"])
        if tag == "a" and held.get("href"): self.links.append((held["href"], self.inside["main"] > 0))
        if tag == "img" or held.get("role") == "img": self.pictures.append(held.get("alt" if tag == "img" else "aria-label"))
        if re.fullmatch("h[1-6]", tag): self.headings.append(int(tag[1]))
        if tag in {"script", "img", "iframe", "link", "source"}: self.loaded.append(held.get("src") or held.get("href") or "")

    def handle_endtag(self, tag): self.inside[tag] -= 1

    @cached_property
    def targets(self):
        "Where links inside the site lead: (page, anchor, whether the link stands in the text)."
        local = [(unquote(href), text) for href, text in self.links if not re.match(r"[a-z]+:", href)]
        return [((self.path.parent / href.partition("#")[0]).resolve() if href.partition("#")[0] else self.path, href.partition("#")[2], text) for href, text in local]


@pytest.fixture(scope="session")
def preview():
    "The preview, brought up to date: {page: what is in it}."
    run = subprocess.run([sys.executable, str(ROOT / "tests" / "preview.py")], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    return {page.url: Seen(PREVIEW / page.url) for page in pages.pages(ROOT, PREVIEW / ".made")}


def processed():
    return [(page, cell) for page in pages.pages(ROOT, PREVIEW / ".made") for cell in page.processed]


# Text

def test_every_notebook_has_a_page(preview):
    assert {pages.to_html(c.name) for c in chapters(ROOT)} <= preview.keys()


def test_no_page_shows_an_error(preview):
    assert not [page.source for page, cell in processed() for out in cell.get("outputs", []) if out["output_type"] == "error" or out.get("name") == "stderr"]


def test_every_page_is_reached_from_the_front_page(preview):
    reached, ahead = set(), [PREVIEW / "index.html"]
    while ahead:
        here = ahead.pop()
        seen = preview.get(here.relative_to(PREVIEW).as_posix()) if here not in reached else None
        if seen is None: continue
        reached.add(here)
        ahead += [target for target, _, text in seen.targets if text]
    assert {PREVIEW / url for url in preview} == reached


def test_every_link_and_every_anchor_leads_somewhere(preview):
    ids = {PREVIEW / url: set(seen.ids) for url, seen in preview.items()}
    broken = [f"{url}: {target.name}#{anchor}" for url, seen in preview.items() for target, anchor, _ in seen.targets
              if not target.exists() or (anchor and target.suffix == ".html" and anchor not in ids[target])]
    assert not sorted(set(broken))


def test_no_name_stands_twice_on_a_page(preview):
    twice = [f"{url}: {name}" for url, seen in preview.items() for name, count in Counter(seen.ids).items() if count > 1]
    assert not twice


def test_every_picture_has_a_description(preview):
    silent = [f"{url}: {text!r}" for url, seen in preview.items() for text in seen.pictures if not (text or "").strip() or text in {"plot", "image", "picture"}]
    assert not silent


def test_headings_go_down_one_step_at_a_time(preview):
    jumps = [f"{url}: h{a} then h{b}" for url, seen in preview.items() for a, b in zip(seen.headings, seen.headings[1:]) if b > a + 1]
    assert not jumps and all(seen.headings.count(1) == 1 for seen in preview.values())


def test_pages_are_small_and_load_only_what_lies_beside_them(preview):
    assert not [f"{url}: {len(seen.text.encode()) // 1000} KB" for url, seen in preview.items() if len(seen.text.encode()) > PAGE_BYTES]
    assert not [f"{url}: {what}" for url, seen in preview.items() for what in seen.loaded if re.match(r"(?:https?:)?//", what)]


def test_every_work_that_is_cited_is_in_the_bibliography_and_the_other_way_round(preview):
    known = known_works(ROOT)
    cited = {(c.name, key) for c in chapters(ROOT) for cell in c.cells for key in citations(cell.source)}
    assert sorted(known) == sorted(set(known)) and not sorted((name, key) for name, key in cited if key not in known)
    assert {key for _, key in cited} == set(known)
    assert {f"ref-{key}" for key in known} <= set(preview["back/bibliography.html"].ids)


def test_every_method_is_cited_where_it_is_taught():
    silent = [c.name for c in chapters(ROOT) if c.numbered and c.floor in METHODS and c.module not in OURS and not any(citations(cell.source) for cell in c.cells)]
    assert not silent


def test_no_output_holds_a_path_a_warning_or_a_bar(preview):
    bad = re.compile(r"\b\w*Warning: |\d+%\|[█▉▊▋▌▍▎▏ #]|\bit/s\]|(?<![\w.:/])/(?:tmp|usr|opt|mnt|var|Users)/\w|[A-Z]:\\\\Users")
    texts = [(c.name, json.dumps(out, ensure_ascii=False)) for c in chapters(ROOT) for cell in c.code_cells for out in cell.outputs]
    assert not [f"{name}: {hit[0]}" for name, text in texts if (hit := bad.search(text))]


def test_no_output_holds_a_real_photograph():
    "Cells that need the real data store no picture, and no notebook that stores one reads real data outside them."
    shown = [(c, cell, bool(PICTURE.search(json.dumps(cell.outputs)))) for c in chapters(ROOT) for cell in c.code_cells]
    bad = [f"{c.name}: {cell.source.splitlines()[0]}" for c, cell, picture in shown if picture and "data" in cell.directives]
    bad += [c.name for c, cell, picture in shown if picture and any(reader in other.source for other in c.lessons if "data" not in other.directives and not other.only_imports for reader in READERS)]
    assert not sorted(set(bad))


def test_quarto_reads_the_settings_of_the_book(preview):
    settings = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))
    assert all((ROOT / "nbs" / name).exists() for name in settings["project"]["resources"])


def test_there_is_clean_markdown_of_every_page(preview):
    listed = re.findall(r"(?m)^- \[.+?\]\(([^)\s]+)\)", (PREVIEW / "llms.txt").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(url.removesuffix(".html") + ".md" for url in preview)
    for name in listed:
        text = (PREVIEW / name).read_text(encoding="utf-8")
        assert text.startswith("# ") and not re.search(r"(?m)^:::|^#\||;base64,[A-Za-z0-9+/]{40}", text), name
        broken = [target for target in re.findall(r"\]\(([^)\s:#]+\.md)", re.sub(r"(?s)```.*?```|`[^`\n]*`", "", text)) if not (PREVIEW / name).parent.joinpath(target).exists()]
        assert not broken, name


def test_colab_gets_every_chapter_that_needs_no_local_data(preview):
    buttons = {page.source for page in pages.pages(ROOT, PREVIEW / ".made") if pages.colab(page)}
    assert buttons == {c.name for c in chapters(ROOT) if not any("data" in cell.directives for cell in c.code_cells)}
    for source in buttons:
        first = json.loads((PREVIEW / "colab" / Path(source).name).read_text(encoding="utf-8"))["cells"][0]["source"]
        assert first[1].startswith("!git clone") and "Open in Colab" in preview[pages.to_html(source)].text


def test_what_quarto_gets_is_opened_once(preview, tmp_path):
    for page in [page for page in pages.pages(ROOT, PREVIEW / ".made") if page.chapter][::10]:
        once = docs.opened(page)
        (tmp_path / page.source).parent.mkdir(exist_ok=True)
        (tmp_path / page.source).write_text(once, encoding="utf-8")
        assert docs.opened(replace(page, made=tmp_path)) == once
        cells = json.loads(once)["cells"]
        assert cells[0]["cell_type"] == "raw" and "title:" in "".join(cells[0]["source"]) and cells[1]["source"].startswith("::: {.opening}")
        assert not [cell for cell in cells if "id" not in cell or "metadata" not in cell]


def test_two_pythons_are_tested_and_a_release_publishes_the_site():
    test, site = (yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8")) for name in ("test.yml", "site.yml"))
    assert len(test["jobs"]["test"]["strategy"]["matrix"]["python"]) == 2 and {"run": ".ci/run"} in test["jobs"]["test"]["steps"]
    assert site[True]["release"] == {"types": ["published"]} and {"run": "make docs"} in site["jobs"]["publish"]["steps"]


def test_docs_without_quarto_say_how_to_get_it():
    run = subprocess.run([sys.executable, str(ROOT / "tests" / "docs.py")], env=os.environ | {"PATH": os.devnull}, capture_output=True, text=True)
    assert run.returncode == 2 and "quarto.org" in run.stderr and "make preview" in run.stderr


# A browser without a network

@pytest.fixture(scope="session")
def axe():
    "The program that looks for faults of accessibility."
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None: pytest.skip("axe-playwright-python is not installed")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


FAULTS = """async colors => {
  const found = [], themes = colors ? ["quarto-light", "quarto-dark"] : [];
  const look = async (where, what, options) => {
    const { violations } = await axe.run(where, { resultTypes: ["violations"], elementRef: false, preload: false, ...options });
    for (const { id, impact, nodes } of violations) if (["serious", "critical"].includes(impact)) found.push(`${what}${id} ${nodes.length}x ${nodes[0].target} ${nodes[0].html.slice(0, 160)}`);
  };
  await look(colors ? document : "main", "", { rules: { "color-contrast": { enabled: false } } });
  for (const theme of themes) {
    document.body.className = theme;
    await look(document, `${theme} `, { runOnly: ["color-contrast"] });
  }
  return found;
}"""
LETTERS = """() => {
  const silent = [...document.querySelectorAll("main math mi:not([mathvariant=normal])")].filter(letter => /^\\p{L}$/u.test(letter.textContent) && !letter.closest("[data-symbol], .symbols, .symbol-meaning"));
  const shown = new Set([...document.querySelectorAll("main [data-symbol]")].map(letter => letter.dataset.symbol)), listed = document.querySelectorAll("main .symbols dt math").length;
  return [...new Set(silent.map(letter => `what does ${letter.textContent} mean? nbs/back/notation.qmd does not say`)), ...(shown.size < listed ? [`${listed - shown.size} of the symbols that it lists stand in none of its formulas`] : [])];
}"""
COLORS = ("index.html", "formulas.entropy.html", "data.overlay.html", "learners.reconstruction.html", "studio.panels.html", "studio.disputes.html", "howto/label_your_own_parts.html", "explanations/weak_or_strong.html")


@pytest.mark.browser
def test_every_page_works_without_a_network_and_for_everybody(preview, axe, chromium):
    "Every page is opened; faults of structure are looked for on those with an explorer and every fourth other (ACTIVE_DEFECTS_EVERY=1: on all), contrast, which takes longest, in light and dark on one page of each kind."
    faults = []
    with chromium_pages(chromium) as new:
        tab = new(offline=True, viewport=DESK)
        here = ""
        tab.on("console", lambda message: faults.append(f"{here}: {message.text}") if message.type in {"error", "warning"} else None)
        tab.on("pageerror", lambda error: faults.append(f"{here}: {error}"))
        tab.on("request", lambda request: faults.append(f"{here}: asks for {request.url}") if not request.url.startswith(("file:", "data:", "blob:")) else None)
        for number, (here, seen) in enumerate(preview.items()):
            tab.set_viewport_size(DESK)
            tab.goto(seen.path.as_uri())
            for explorer in tab.locator(".explorer").all():
                explorer.locator("input, button").first.wait_for()
                for slider in explorer.locator("input[type=range]").all()[:1]:
                    before = slider.input_value()
                    slider.press("ArrowRight")
                    if slider.input_value() == before: slider.press("ArrowLeft")
                    faults += [] if slider.input_value() != before else [f"{here}: a slider does not move"]
            if here in COLORS or "data-explorer" in seen.text or number % EVERY == 0:
                tab.evaluate("for (const fold of document.querySelectorAll('main details')) fold.open = true")
                tab.evaluate(axe)
                faults += [f"{here}: {fault}" for fault in tab.evaluate(FAULTS, here in COLORS)]
            if "<math" in seen.text and here != "back/notation.html": faults += [f"{here}: {fault}" for fault in tab.evaluate(LETTERS)]
            tab.set_viewport_size(PHONE)
            if (width := tab.evaluate("document.documentElement.scrollWidth")) > PHONE["width"]: faults.append(f"{here}: {width} pixels wide on a small telephone")
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.browser
def test_what_a_reader_predicts_is_revealed_by_a_click(preview, chromium):
    "The output below a **Predict** and the code below an answer are out of sight until somebody asks for them, and all of them are printed."
    with chromium_pages(chromium) as new:
        tab = new(offline=True, viewport=DESK)
        tab.goto(preview["begin/one_round.html"].path.as_uri())
        reveals, answers = tab.locator("details.reveal"), tab.locator("details:has(> summary:text-is('Answer'))")
        assert reveals.count() >= 2 and answers.count() >= 3
        hidden = reveals.first.locator(".cell-output").first
        assert not hidden.is_visible() and not answers.first.locator(".cell").first.is_visible()
        reveals.first.locator("summary").press("Enter")
        answers.first.locator("summary").click()
        assert hidden.is_visible() and answers.first.locator(".cell").first.is_visible()
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert tab.locator("main details:not([open])").count() == 0


@pytest.mark.browser
def test_a_letter_of_a_formula_says_what_it_means(preview, chromium):
    "To whoever points at it, to whoever steps to the formula by keyboard, and in a list that needs neither."
    seen = preview["formulas.pixel_weights.html"]
    with chromium_pages(chromium) as new:
        tab = new(offline=True, viewport=DESK)
        tab.goto(seen.path.as_uri())
        formula, tip, listed = tab.locator("main math[display=block]").first, tab.get_by_role("tooltip"), tab.locator(".symbols dl")
        formula.locator("[data-symbol]").first.hover()
        assert tip.inner_text().split() == ["Ω", "weight", "of", "a", "pixel", "in", "the", "loss"]
        tab.keyboard.press("Escape")
        assert tip.count() == 0 and not listed.is_visible()
        tab.locator(".symbols summary").focus()
        tab.keyboard.press("Enter")
        assert "distance to the nearest good pixel" in listed.inner_text() and "probability" not in listed.inner_text()
        while tab.evaluate("document.activeElement.localName") != "math": tab.keyboard.press("Shift+Tab")
        assert "power" in tip.inner_text() and formula.get_attribute("aria-describedby") == tip.get_attribute("id")
        tab.keyboard.press("Tab")
        assert tip.count() == 0


# What no preview shows

def test_pages_load_nothing_from_another_server():
    outside = re.compile(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)\s*=\s*\\?["']\s*(?:https?:)?//""")
    files = [f for f in sorted((ROOT / "nbs").rglob("*")) if f.suffix in {".ipynb", ".qmd", ".js", ".css", ".scss", ".yml"} and f.name != "plotly.min.js"]
    loading = [f.name for f in files if outside.search(f.read_text(encoding="utf-8")) or re.search(r"@import\s+(?:url\()?[\"']?https?:|from\s+[\"']https?:", f.read_text(encoding="utf-8"))]
    assert not loading


def markdown(path):
    "The prose of a page."
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "markdown")


def test_links_in_the_repository_lead_somewhere():
    broken = []
    for page in [*(c.path for c in chapters(ROOT)), *sorted((ROOT / "nbs").rglob("*.qmd")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]:
        prose = re.sub(r"(?s)```.*?```|`[^`\n]*`", "", markdown(page))
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if not re.match(r"[a-z]+:|#", target) and not (page.parent / target.split("#")[0]).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_the_readme_and_the_front_page_agree():
    blocks = [re.findall(r"(?s)```python\n.*?```|```bash\nmake demo +# .*?```", (ROOT / name).read_text(encoding="utf-8")) for name in ("README.md", "nbs/index.qmd")]
    assert blocks[0] == blocks[1] and len(blocks[0]) == 2
    assert "SDR()" in blocks[0][1] and len(blocks[0][1].splitlines()) == 2 + 10
