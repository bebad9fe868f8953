"""Every explorer runs from a file with the network off, by keyboard, in light and dark, narrow and wide; where JavaScript computes, it computes what Python does."""
import base64
import importlib
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from active_defects.formulas.budget import chance_of_missing, labels_for
from active_defects.formulas.calibration import calibrate
from active_defects.formulas.confidence import least_confidence
from active_defects.formulas.contracts import ranked
from active_defects.formulas.entropy import entropy
from active_defects.formulas.margin import margin
from active_defects.formulas.metrics import average_precision
from active_defects.formulas.reduction import top_mean
from active_defects.formulas.selection import select
from active_defects.loop.race import labeling_minutes, share_while_labeling
from active_defects.studio import explorer as host
from active_defects.studio.explorer import Explorer, packed, page_json, strip
from active_defects.studio.screen import javascript, joined
from lab import Lab, chromium_pages, jupyter_lab, notebook

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(path.stem.removeprefix("explore_") for path in (ROOT / "active_defects" / "studio").glob("explore_*.py"))
EVIL = '</script><script>window.pwned=1</script>"\'&amp;<img src=x onerror=window.pwned=1>'
BYTES = 60_000
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><title>explorer</title></head>
<body style="margin: 12px">{body}</body></html>"""


def module_of(name): return importlib.import_module(f"active_defects.studio.explore_{name}")


def explorer_of(name): return getattr(module_of(name), f"explore_{name}")


def make(name): return explorer_of(name)()


@cache
def stored(path):
    "Each explorer in the stored outputs of a notebook: (name of the program, state, program)."
    text, found = path.read_text(encoding="utf-8"), []
    if "data-program=" not in text: return found
    for cell in json.loads(text)["cells"]:
        for output in cell.get("outputs", ()):
            page = "".join(output.get("data", {}).get("text/html", ""))
            found += re.findall(r'data-program="([^"]*)".*?<script type="application/json">(.*?)</script>\n<script type="text/plain">\n(.*?)</script>', page, re.S)
    return found


@cache
def explorer(name):
    "The explorer that its own chapter shows: the state as it is stored, because some take a training to compute; the program as it is now."
    path, = (ROOT / "nbs").glob(f"8??_studio.explore_{name}.ipynb")
    state = json.loads(next(state for program, state, _ in stored(path) if program == name))
    return Explorer(name, state, state.pop("title"), state.pop("alt"))


def test_there_is_a_program_for_each_module_and_a_module_for_each_program():
    programs = sorted(path.stem.removeprefix("explore_") for path in (ROOT / "nbs" / "js").glob("explore_*.js"))
    assert programs == NAMES and len(NAMES) >= 5


# The host

def test_no_text_ends_its_script():
    value = {"a": EVIL, "b": [1.5, None, True], "\u2028": "</SCRIPT>"}
    text = page_json(value)
    assert json.loads(text) == value and not re.search("[<>&\u2028]", text)
    with pytest.raises(ValueError, match="no NaN"): page_json({"a": float("nan")})
    with pytest.raises(ValueError, match="packed"): page_json({"a": np.zeros(3)})
    assert page_json([np.float32(0.5), np.int64(3), np.bool_(True)]) == "[0.5,3,true]"


def test_arrays_travel_as_bytes():
    assert packed(np.array([[0, 0.5, 1]])) == {"shape": [1, 3], "bytes": "AID/"}
    assert packed(np.array([True, False])) == {"shape": [2], "bytes": "AQA="}
    for bad, words in ((np.array([1.5]), "scale"), (np.array([300]), "convert")):
        with pytest.raises(ValueError, match=words): packed(bad)
    assert strip(np.zeros((3, 4, 5))).startswith("data:image/webp;base64,")
    with pytest.raises(ValueError, match="one size"): strip([np.zeros((3, 4)), np.zeros((4, 4))])
    with pytest.raises(ValueError, match="16383"): strip(np.zeros((300, 64, 4)))


def test_programs_are_joined_without_leaks():
    shared = "export const a = 1;\nconst hidden = 2; // kept\n  // dropped\nexport function b() { return hidden; }\n"
    beside = {"explorer.js": shared, "more.js": 'import { a } from "./explorer.js";\nexport async function c() { return a; }\n'}.get
    text = joined('import { a, b } from "./explorer.js";\nconst hidden = 3;\nexport default { a, b };\n', beside)
    assert text.startswith("const { a, b } = (() => {") and "import" not in text and "dropped" not in text and text.count("export") == 1
    with pytest.raises(ValueError, match="does not export"): joined('import { c } from "./explorer.js";\n', beside)
    two = joined('import { a } from "./explorer.js";\nimport { c } from "./more.js";\nexport default { a, c };\n', beside)
    assert two.count("const { a } = (() => {") == 2 and "const { c } = (() => {" in two and "import" not in two and two.count("export") == 1
    for line in ('import d3 from "./explorer.js";', 'import { a } from "https://x.example/a.js";', '  import "./explorer.js";'):
        with pytest.raises(ValueError, match="no other file to load"): joined(line + "\n", beside)
    with pytest.raises(ValueError, match="would end it"): Explorer("x", {}, "t", "a", "const x = '</script>';\n")
    assert joined(javascript("canvas.js")).count("export ") == 1


def test_reserved_names_are_refused():
    with pytest.raises(ValueError, match="another name"): Explorer("x", {"title": 1}, "t", "a", "export default {};")
    with pytest.raises(ValueError, match="another name"): Explorer("x", {"layout": 1}, "t", "a", "export default {};").widget()


# Every explorer, without a browser

@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_self_contained(name):
    made = explorer(name)
    page = made._repr_html_()
    own = re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]*", "", page)
    assert made.html_bytes == len(own.encode()) <= BYTES
    assert set(re.findall(r"https?://[^\s\"'`]*", own)) <= {"http://www.w3.org/2000/svg"} and "@import" not in own
    assert page.lower().count("<script") == page.lower().count("</script") == 3
    assert len(made.alt) >= 60 and made.title and len(page) < 450_000


@pytest.mark.parametrize("name", [name for name in NAMES if "learners" not in Path(module_of(name).__file__).read_text(encoding="utf-8")])
def test_python_makes_the_page_that_is_stored(name):
    "Those that take a training are made by their notebooks' own test."
    assert make(name)._repr_html_() == make(name)._repr_html_() == explorer(name)._repr_html_()


@pytest.mark.parametrize("name", NAMES)
def test_python_reads_and_moves_the_widget(name):
    made = explorer(name)
    widget = made.widget()
    assert widget._esm == made.code and {key: getattr(widget, key) for key in made.state} == made.state
    key = next(key for key, value in made.state.items() if isinstance(value, (int, float)))
    seen = []
    widget.observe(seen.append, key)
    setattr(widget, key, made.state[key] + 1)
    assert len(seen) == 1 and made.state == json.loads(json.dumps(made.state)) != {k: getattr(widget, k) for k in made.state}


def test_the_book_shows_the_present_programs():
    shown = [(path.name, *output) for path in sorted((ROOT / "nbs").rglob("*.ipynb")) if ".ipynb_checkpoints" not in path.parts for output in stored(path)]
    stale = {f"{notebook}: {name}" for notebook, name, _, program in shown if name in NAMES and program != explorer(name).code}
    assert stale == set(), "run these notebooks again"
    assert {name for _, name, _, _ in shown} >= set(NAMES)


# Every explorer in Chromium

@pytest.fixture(scope="module")
def new_page(chromium):
    "A function that opens a page of a Chromium that plays no tricks."
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with chromium_pages(chromium) as new: yield new


class Sight:
    "A page from a file with the network off, and what went wrong on it."
    def __init__(self, new_page, folder, html, **context):
        self.file = folder / "page.html"
        self.file.write_text(PAGE.format(body=html), encoding="utf-8")
        self.page, self.asked, self.said = new_page(offline=True, viewport=dict(width=context.pop("width", 1200), height=900), **context), [], []
        self.page.set_default_timeout(20_000)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(self.file.as_uri())
        self.page.wait_for_selector(".page .title")
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def look(self):
        "All that is visible, as one text."
        return self.page.evaluate("""() => { const root = document.querySelector('.explorer > div').shadowRoot;
            return [...root.querySelectorAll('.page > *:not(.live)')].map(e => e.outerHTML).join('')
              + [...root.querySelectorAll('input')].map(e => e.value + e.checked).join() + [...root.querySelectorAll('canvas')].map(e => e.toDataURL()).join(); }""")

    def fine(self):
        assert self.said == [] and [url for url in self.asked if not url.startswith(("data:", "file:", "blob:"))] == []
        assert self.page.evaluate("window.pwned") is None

    def __enter__(self): return self
    def __exit__(self, *_): self.page.context.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme, width", [("light", 360), ("dark", 360), ("light", 1200), ("dark", 1200)])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_shown(name, scheme, width, new_page, tmp_path):
    with Sight(new_page, tmp_path, explorer(name)._repr_html_(), color_scheme=scheme, width=width) as sight:
        page = sight.page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate("""() => { const root = document.querySelector('.explorer > div').shadowRoot, frame = root.querySelector('.page').getBoundingClientRect(), found = [];
            for (const e of root.querySelectorAll('.page *:not(.live)')) { const r = e.getBoundingClientRect();
              if (r.width && (r.left < frame.left - 2 || r.right > frame.right + 2)) found.push(`${e.tagName} ${e.textContent.slice(0, 30)} ${Math.round(r.left)}..${Math.round(r.right)}`); }
            return found; }""")
        assert outside == []
        ink, ground = page.evaluate("""() => [getComputedStyle(document.querySelector('.explorer > div').shadowRoot.querySelector('.page')).color, getComputedStyle(document.body).backgroundColor]""")
        light = [sum(map(int, re.findall(r"\d+", color)[:3])) for color in (ink, ground)]
        assert (light[0] > 600 and scheme == "dark") or (light[0] < 165 and scheme == "light"), (ink, ground)
        assert len(page.locator(".words").inner_text()) > 40 and "NaN" not in page.locator(".page").inner_text() and "undefined" not in page.locator(".page").inner_text()
        svgs = page.locator(".page svg[role=img]")
        assert all(len(svgs.nth(k).get_attribute("aria-label") or "") > 20 for k in range(svgs.count()))
        sight.fine()


CONTROLS = "input, select, button, [tabindex='0']"


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_the_keyboard_is_enough(name, new_page, tmp_path):
    with Sight(new_page, tmp_path, explorer(name)._repr_html_()) as sight:
        page, controls = sight.page, sight.page.locator(f".page :is({CONTROLS})")
        assert controls.count() >= 1
        unnamed = page.evaluate(f"""() => [...document.querySelector('.explorer > div').shadowRoot.querySelectorAll("{CONTROLS}")]
            .filter(e => !(e.getAttribute('aria-label') || e.closest('label')?.textContent || e.textContent).trim()).map(e => e.outerHTML.slice(0, 200))""")
        assert unnamed == []
        kinds = [controls.nth(k).evaluate("e => e.type || e.tagName") for k in range(controls.count())]
        moved = set()
        for k in [k for kind in ("range", "select-one", "radio", "checkbox") for k in range(len(kinds)) if kinds[k] == kind]:
            control = controls.nth(k)
            if kinds[k] == "radio" and control.evaluate("e => e.checked"): continue
            before = sight.look()
            control.focus()
            full = kinds[k] == "range" and control.evaluate("e => e.value === e.max")
            page.keyboard.press({"range": "ArrowLeft" if full else "ArrowRight", "select-one": "ArrowDown"}.get(kinds[k], "Space"))
            assert sight.look() != before, control.evaluate("e => e.outerHTML")
            moved.add(kinds[k])
        for k in [k for k in range(len(kinds)) if kinds[k] not in {"range", "select-one", "radio", "checkbox"}]:
            control = controls.nth(k)
            if control.evaluate("e => e.disabled || e.tabIndex < 0 || !e.getClientRects().length"): continue
            before = sight.look()
            control.focus()
            page.keyboard.press("Enter")
            page.wait_for_timeout(30)
            moved |= {"button"} if sight.look() != before else set()
            if (control.get_attribute("aria-label") or "").startswith("pause"): page.keyboard.press("Enter")
        assert moved
        outline = page.evaluate("(() => { const e = document.querySelector('.explorer > div').shadowRoot.activeElement; return e ? getComputedStyle(e).outlineStyle + getComputedStyle(e.nextElementSibling ?? e).outlineStyle : ''; })()")
        assert "solid" in outline
        page.wait_for_timeout(700)
        assert page.locator(".live").text_content().strip()
        sight.fine()


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_tab_reaches_every_control(name, new_page, tmp_path):
    with Sight(new_page, tmp_path, explorer(name)._repr_html_()) as sight:
        wanted = sight.page.evaluate(f"""() => {{ const all = [...document.querySelector('.explorer > div').shadowRoot.querySelectorAll("{CONTROLS}")].filter(e => !e.disabled && e.tabIndex >= 0 && e.getClientRects().length);
            all.forEach((e, k) => {{ e.dataset.stop = k; }}); return all.filter(e => e.type !== 'radio' || e.checked).length; }}""")
        reached = set()
        for _ in range(wanted + 3):
            sight.page.keyboard.press("Tab")
            reached.add(sight.page.evaluate("document.querySelector('.explorer > div').shadowRoot.activeElement?.dataset.stop ?? null"))
        assert len(reached - {None}) == wanted


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_reduced_motion_is_respected(name, new_page, tmp_path):
    with Sight(new_page, tmp_path, explorer(name)._repr_html_(), reduced_motion="reduce") as sight:
        assert sight.page.locator(".page button[aria-label^=play]").count() == 0
        before = sight.look()
        sight.page.wait_for_timeout(800)
        assert sight.look() == before
        sight.fine()


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_text_from_outside_stays_text(name, new_page, tmp_path):
    made = explorer(name)
    hostile = Explorer(made.name, made.state, EVIL, EVIL)
    with Sight(new_page, tmp_path, hostile._repr_html_()) as sight:
        assert sight.page.locator(".page .title").inner_text() == EVIL
        sight.fine()


def hostile_probability(): return explorer_of("probability")(others={EVIL: 0.3, "b": 0.6})


def hostile_calibration():
    table = module_of("calibration").two_folds().rename(index=lambda i: f"{i}{EVIL}")
    return explorer_of("calibration")(table.p, table.defective, table.fold.map(lambda fold: fold + EVIL))


def hostile_categories():
    parts = pd.Series(np.linspace(0.1, 0.9, 8), [f"{k}{EVIL}" for k in range(8)])
    return explorer_of("categories")(parts, pd.Series([EVIL, "b"] * 4, parts.index), {i: np.zeros((9, 9)) for i in parts.index}, score_name=EVIL)


@pytest.mark.browser
@pytest.mark.parametrize("hostile", [hostile_probability, hostile_calibration, hostile_categories], ids=lambda f: f.__name__)
def test_hostile_names_are_shown(hostile, new_page, tmp_path):
    with Sight(new_page, tmp_path, hostile()._repr_html_(), width=360) as sight:
        assert sight.page.evaluate("document.documentElement.scrollWidth") <= 360
        sight.fine()


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_a_widgets_model_drives_it(name, new_page, tmp_path):
    "The form that anywidget calls: render({ model, el }) returns a function that ends it; the model moves it, and hears of every move."
    made = explorer(name)
    with Sight(new_page, tmp_path, made._repr_html_()) as sight:
        page = sight.page
        page.evaluate("""async ([code, state]) => {
            const module = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
            const heard = {}, box = document.body.appendChild(document.createElement("div"));
            window.saved = 0;
            window.model = { get: k => state[k], save_changes() { window.saved++; }, set(k, v) { state[k] = v; [...(heard["change:" + k] ?? [])].forEach(f => f()); },
                on(n, f) { (heard[n] ??= new Set()).add(f); }, off(n, f) { heard[n]?.delete(f); } };
            window.listeners = () => Object.values(heard).reduce((sum, all) => sum + all.size, 0);
            window.close = module.default.render({ model: window.model, el: box });
            window.box = box;
            window.keys = () => Object.keys(heard).filter(n => heard[n].size).map(n => n.slice(7)); }""", [made.code, {"title": made.title, "alt": made.alt, **made.state}])
        assert page.evaluate("typeof window.close") == "function" and page.evaluate("window.keys()")
        assert set(page.evaluate("window.keys()")) <= set(made.state)
        page.evaluate("window.box.shadowRoot.querySelector('input, button').focus()")
        kind = page.evaluate("window.box.shadowRoot.activeElement.type")
        if kind == "range": page.keyboard.press("ArrowLeft" if page.evaluate("window.box.shadowRoot.activeElement.value === window.box.shadowRoot.activeElement.max") else "ArrowRight")
        else: page.keyboard.press("Enter" if kind == "button" else "Space")
        page.wait_for_timeout(50)
        assert page.evaluate("window.saved") >= 1 or kind == "button"
        number = next(key for key in page.evaluate("window.keys()") if isinstance(made.state[key], (int, float)) and not isinstance(made.state[key], bool))
        look = "() => window.box.shadowRoot.querySelector('.page').innerHTML + [...window.box.shadowRoot.querySelectorAll('input')].map(e => e.value + e.checked).join()"
        before, now = page.evaluate(look), page.evaluate("key => window.model.get(key)", number)  # the key press may have moved it
        page.evaluate("([key, value]) => window.model.set(key, value)", [number, now + (-0.1 if not isinstance(made.state[number], int) else 1 if now < 1 else -1)])
        assert page.evaluate(look) != before
        page.evaluate("window.close()")
        assert page.evaluate("window.listeners()") == 0
        sight.fine()


@pytest.mark.browser
def test_in_jupyterlab(new_page, tmp_path):
    "As HTML and as a widget; arrow keys move the slider and not the notebook's cells, and Python reads where it is."
    make_it = "from active_defects.studio.explore_probability import explore_probability"
    (tmp_path / "explore.ipynb").write_text(notebook(f"{make_it}\nexplore_probability()", "widget = explore_probability().widget()\nwidget", "print(f'p is {widget.p:.2f}')", "widget.p = 0.25"), encoding="utf-8")
    with jupyter_lab(tmp_path) as address:
        page = new_page(viewport=dict(width=1200, height=1400))
        said = []
        page.on("pageerror", lambda error: said.append(str(error)))
        lab = Lab(page, address, "explore.ipynb").open()
        cell = "window.jupyterapp.shell.currentWidget.content.activeCellIndex"
        activate = "k => { const book = window.jupyterapp.shell.currentWidget.content; book.activeCellIndex = k; book.mode = 'command'; }"
        lab.run_all()
        sliders = page.locator(".page input[type=range]")
        sliders.nth(1).wait_for(timeout=30_000)
        assert sliders.count() == 2 and page.locator(".page .words").count() == 2
        page.wait_for_function("() => [...document.querySelectorAll('*')].some(e => e.shadowRoot?.querySelector('.words')?.textContent.startsWith('At p = 0.25'))", timeout=10_000)
        for k, start in enumerate((0.70, 0.25)):
            page.evaluate(activate, k)
            sliders.nth(k).focus()
            for key, step in (("ArrowRight", 0.01), ("ArrowUp", 0.02), ("ArrowUp", 0.03), ("ArrowDown", 0.02)):
                page.keyboard.press(key)
                assert page.evaluate(cell) == k
                assert page.locator(".page .words").nth(k).inner_text().startswith(f"At p = {start + step:.2f}")
        page.evaluate(activate, 2)
        page.wait_for_timeout(300)
        lab.command("notebook:run-cell")
        page.get_by_text("p is 0.27").wait_for(timeout=10_000)
        page.screenshot(path=tmp_path / "lab.png")
        assert said == []
        page.context.close()


# JavaScript's numbers are Python's

@pytest.fixture
def run(new_page, tmp_path):
    "run(name, expression, argument): a JavaScript expression of `m`, the explorer's module, and of `a`."
    with Sight(new_page, tmp_path, explorer("probability")._repr_html_()) as sight:
        def evaluate(name, expression, argument):
            code = f'async ([code, a]) => {{ const m = await import(URL.createObjectURL(new Blob([code], {{ type: "text/javascript" }}))); return {expression}; }}'
            return sight.page.evaluate(code, [explorer(name).code, argument])
        yield evaluate


@pytest.mark.browser
def test_probability_computes_as_python(run):
    p = np.linspace(0, 1, 201)
    for name, formula in (("entropy", entropy), ("margin", margin), ("leastConfidence", least_confidence)):
        np.testing.assert_allclose(run("probability", f"a.map(m.{name})", p.tolist()), formula(p), atol=1e-12)
    order = [2, 3, 1, 4, 5, 0]  # G22
    assert np.argsort(run("probability", "m.ranks(a, m.entropy)", [0.02, 0.35, 0.48, 0.55, 0.71, 0.97])).tolist() == order


@pytest.mark.browser
def test_reduction_computes_as_python(run):
    values = np.random.default_rng(0).random((1, 50, 37))
    for share in (0, 0.001, 0.00027, 0.5 / 1850, 1.5 / 1850, 2.5 / 1850, 0.01, 0.2, 1):
        assert run("reduction", "m.topMean(a.values, a.share)", dict(values=np.sort(values.ravel())[::-1].tolist(), share=share)) == pytest.approx(top_mean(values, share)[0], abs=1e-12)


@pytest.mark.browser
def test_reduction_ranks_as_python(run, new_page, tmp_path):
    made = explorer("reduction")
    state = made.state
    rough, quiet = (np.frombuffer(base64.b64decode(state[key]["bytes"]), np.uint8).reshape(64, 64) / 255 for key in ("rough", "quiet"))
    flat = quiet.ravel().copy()
    flat[state["path"][:30]] = np.maximum(flat[state["path"][:30]], 0.8)
    for share in (0.01, 1.0):
        scores = np.append(np.array(state["others"])[:, state["shares"].index(share)], top_mean(np.stack([rough, flat.reshape(64, 64)]), share))
        rank = 1 + int((scores > scores[-1]).sum())
        with Sight(new_page, tmp_path, Explorer("reduction", {**state, "share": share}, "t", "a")._repr_html_()) as sight:
            assert f"scores {scores[-1]:.3f} and ranks {rank}" in sight.page.locator(".words").inner_text()


@pytest.mark.browser
def test_calibration_computes_as_python(run):
    random = np.random.default_rng(1)
    for p in (random.random(40), np.array([0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0]), np.array([0.1, 0.2, 0.3]), np.array([0.6])):
        for reading in ("unit", "range", "keep"):
            for t in (0, 0.1, 0.2, 0.5, 0.8, 1):
                found = run("calibration", "m.calibrate(a.p, a.t, a.reading)", dict(p=p.tolist(), t=t, reading=reading))
                try: wanted = calibrate(p, t, reading)
                except ValueError: assert found is None
                else: np.testing.assert_allclose(found, wanted, atol=1e-9)
    for values in (random.random(30), random.integers(0, 5, 30) / 5, np.zeros(30)):
        truth = random.random(30) < 0.3
        assert run("calibration", "m.averagePrecision(a.truth, a.values)", dict(truth=truth.astype(int).tolist(), values=values.tolist())) == pytest.approx(average_precision(pd.Series(truth), pd.Series(values)), abs=1e-12)


@pytest.mark.browser
def test_categories_select_as_python(run):
    random = np.random.default_rng(2)
    scores = pd.Series(random.random(60).round(1), [f"p{k}" for k in range(60)])
    category = pd.Series(random.choice(list("abcd"), 60, p=[0.6, 0.25, 0.1, 0.05]), scores.index)
    order = ranked(scores)
    names = category[order].tolist()
    for batch in (1, 3, 7, 20, 60):
        for at_least in (0, 1, 2, 5, 30):
            found = run("categories", "m.select(a.names, a.batch, a.atLeast)", dict(names=names, batch=batch, atLeast=at_least))
            assert order[found].tolist() == select(scores, batch, by=category, at_least=at_least).tolist()


@pytest.mark.browser
def test_the_race_computes_as_python(run):
    random = np.random.default_rng(0)
    for _ in range(20):
        asked = np.cumsum(random.integers(5, 40, 6))
        found = np.sort(random.integers(0, 6, 6)).cumsum().clip(max=asked)
        good, mask = random.uniform(1, 5), random.uniform(5, 240)
        minutes = labeling_minutes(asked, found, good, mask)
        assert run("race", "a[0].map((n, k) => m.labelingMinutes(n, a[1][k], a[2], a[3]))", [asked.tolist(), found.tolist(), good, mask]) == pytest.approx(minutes.tolist())
        for share in (0.2, 0.7, 1):
            x, y = [0, *minutes.tolist()], [0, *(found / 30).tolist()]
            assert run("race", "m.shareWhileLabeling(...a)", [x, y, share * x[-1]]) == pytest.approx(share_while_labeling(asked, found, 30, share * x[-1], good, mask))


@pytest.mark.browser
def test_budget_computes_as_python(run):
    for pool, defects, labels in ((1000, 20, 50), (100, 1, 100), (100, 100, 1), (50_000, 37, 4000), (7, 0, 3), (10, 9, 5)):
        assert run("budget", "m.chanceOfMissing(...a)", [pool, defects, labels]) == pytest.approx(chance_of_missing(pool, defects, labels), abs=1e-9)
    for pool, defects, wanted, certainty in ((1000, 20, 5, 0.95), (1000, 20, 1, 0.99), (100_000, 2000, 5, 0.95), (100, 1, 1, 0.95), (200, 30, 30, 0.8), (100_000, 100, 30, 0.95)):
        assert run("budget", "m.labelsFor(...a)", [pool, defects, wanted, certainty]) == labels_for(pool, defects, wanted, certainty)


def test_the_hosts_names_are_few():
    assert host.__all__ == ["page_json", "packed", "strip", "Explorer"]
