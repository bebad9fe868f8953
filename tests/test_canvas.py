"""The canvas as people use it: first on a bare page with Python answering beside it, then in a real JupyterLab."""
import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from lab import Lab, chromium_pages, jupyter_lab, notebook

from active_defects.baselines.median import MedianDeviation
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.store import LabelStore
from active_defects.learners.pixel import PixelLearner
from active_defects.loop.rounds import Loop
from active_defects.strategies.likely_defect import LikelyDefect
from active_defects.strategies.strategy import Random
from active_defects.studio.canvas import Canvas
from active_defects.studio.screen import javascript, joined, unpack_mask
from active_defects.studio.session import part_of

pytestmark = pytest.mark.browser
EVIL = '"><img src=x onerror=window.pwned=1><script>window.pwned=1</script>&amp;\''

MOUNT = """async ([code, css]) => {
  const bytes = (text) => { const raw = atob(text), out = new Uint8Array(raw.length); for (let k = 0; k < raw.length; k++) out[k] = raw.charCodeAt(k); return new DataView(out.buffer); };
  const text = (buffer) => { let raw = ""; for (const b of new Uint8Array(buffer)) raw += String.fromCharCode(b); return btoa(raw); };
  const heard = new Set();
  const model = { on: (name, f) => heard.add(f), off: (name, f) => heard.delete(f), get: () => null,
    send: (content, callbacks, buffers = []) => { window.toPython(content, buffers.map(text)).then(window.fromPython); } };
  window.fromPython = (said) => { for (const [message, beside] of said) for (const f of heard) f(message, beside.map(bytes)); };
  document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  const { default: widget } = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  window.mount = () => widget.render({ model, el: document.body.appendChild(document.createElement("div")) });
  window.unmount = window.mount();
}"""

# Milliseconds of script in every handler of pointermove and in every frame, as the page runs
STOPWATCH = """() => {
  window.times = [];
  const timed = (f) => function (...a) { const start = performance.now(); try { return f.apply(this, a); } finally { window.times.push(performance.now() - start); } };
  const add = EventTarget.prototype.addEventListener, frame = window.requestAnimationFrame.bind(window);
  EventTarget.prototype.addEventListener = function (kind, f, ...more) { return add.call(this, kind, kind === "pointermove" ? timed(f) : f, ...more); };
  window.requestAnimationFrame = (f) => frame(timed(f));
}"""


# Waiting passes twenty times faster
HURRY = "() => { const wait = window.setTimeout.bind(window); window.setTimeout = (f, ms = 0, ...more) => wait(f, ms >= 1000 ? ms / 20 : ms, ...more); }"


@pytest.fixture(scope="module")
def new_page(chromium):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with chromium_pages(chromium) as new:
        yield new


class Desk:
    "A canvas on a bare page; Python answers as in a kernel."

    def __init__(self, new_page, canvas, hurry=False, wait="[data-part]", **context):
        self.canvas, self.said, self.letters, self.held, self.breaks, self.echo = canvas, [], [], None, lambda content: None, True
        canvas.send = lambda message, buffers=None: self.out.append([message, [base64.b64encode(bytes(b)).decode() for b in buffers or []]])
        self.page = new_page(**{"viewport": dict(width=1200, height=1000), **context})
        self.page.set_default_timeout(15_000)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", lambda message: self.said.append(message.text) if message.type == "error" else None)
        self.page.expose_function("toPython", self.answer)
        self.page.add_init_script(f"({STOPWATCH})(); ({HURRY if hurry else '() => 0'})()")
        self.page.goto("about:blank")
        self.page.evaluate(MOUNT, [joined(javascript("canvas.js")), canvas._css])
        self.stage = self.page.locator(".ad-stage")
        self.page.wait_for_selector(wait)

    def answer(self, content, buffers):
        self.letters.append(content)
        if self.held is None: return self.work(content, buffers)
        self.held.append((content, buffers))
        return []

    def work(self, content, buffers):
        self.out, words = [], self.breaks(content)
        if words: return [[{"is": "trouble", "words": words, **({k: content.get(k) for k in ("do", "sample", "number")} if self.echo else {})}, []]]
        self.canvas.hear(content, [base64.b64decode(b) for b in buffers])
        return self.out

    def busy(self):
        "The kernel computes something else; what the page says waits."
        self.held = []

    def free(self, count=None):
        "The kernel answers what waits (the first `count` letters of it)."
        self.page.wait_for_timeout(150)
        now, rest = self.held[:count], self.held[count:] if count else None
        self.held = rest
        for letter in now: self.page.evaluate("said => window.fromPython(said)", self.work(*letter))

    def sent(self, do, sample=None): return [each for each in self.letters if each["do"] == do and sample in (None, each.get("sample"))]

    @property
    def store(self): return self.canvas.session.loop.store

    @property
    def part(self): return self.page.get_attribute(".ad-canvas", "data-part")

    def status(self): return self.page.inner_text(".ad-status")

    def press(self, *keys):
        self.stage.focus()
        for key in keys: self.page.keyboard.press(key)

    def drag(self, *places, steps=6):
        "Press at the first place, move over the others, let go; places as shares of the stage."
        box = self.stage.bounding_box()
        spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
        self.page.mouse.move(*spots[0])
        self.page.mouse.down()
        for spot in spots[1:]: self.page.mouse.move(*spot, steps=steps)
        self.page.mouse.up()

    def drafted(self):
        "The draft of the part on the desk, as the store has it once the page has been told."
        self.page.wait_for_function("() => document.querySelector('.ad-saved').textContent === 'draft saved'")
        return self.store.drafts(self.canvas.session.annotator)[self.part][0]

    def answered(self, count):
        self.page.wait_for_selector(f"[data-answered='{count}']")
        self.page.wait_for_function("() => !document.querySelector('.ad-canvas').hasAttribute('aria-busy')")


def world(n=6, side=96, seed=0, ids=None):
    "Gray noise; every other part carries a dark bar."
    rng = np.random.default_rng(seed)
    ids, images, masks = ids or [f"part{k}" for k in range(n)], {}, {}
    for k, i in enumerate(ids):
        image = rng.normal(0.5, 0.03, (side, side)).clip(0, 1).astype(np.float32)
        if k % 2 == 0:
            masks[i] = np.zeros((side, side), bool)
            masks[i][side // 3:side // 3 + side // 12, side // 4:3 * side // 4] = True
            image[masks[i]] = 0.2
        images[i] = image
    import pandas as pd
    return Pool(pd.DataFrame(index=pd.Index(ids, dtype=object)), images), Labels.of({i: i in masks for i in ids}, masks)


def desk_of(new_page, pool=None, annotator="ana", store=None, strategy=None, batch=4, context={}, hurry=False, **more):
    pool = world()[0] if pool is None else pool
    loop = Loop(pool, store or LabelStore(), PixelLearner(), strategy or LikelyDefect(), first=MedianDeviation(), batch=batch)
    return Desk(new_page, Canvas(loop, annotator, **more), hurry, **context)


# Arithmetic in the browser, against NumPy

def test_painting_agrees_with_numpy(new_page):
    page = new_page()
    rng = np.random.default_rng(1)
    h, w = 75, 133
    gray = rng.integers(0, 40, (h, w)).astype(np.uint8)
    strokes = [[*rng.uniform(-5, 138, 4).round(2), int(rng.integers(1, 22)), int(rng.random() < 0.7)] for _ in range(60)]
    corners = [[10.2, 5.1], [120.7, 30.3], [60, 70.9], [15, 60], [90, 10]]
    result = page.evaluate("""async ([code, w, h, strokes, corners, gray]) => {
      const { Painting, pack, unpack } = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
      const p = new Painting(w, h), out = {}, now = () => Array.from(p.mask.subarray(0, w * h)), step = (f) => { p.begin(); f(); p.end(); };
      const history = [now()];
      for (const [x0, y0, x1, y1, size, value] of strokes) { p.begin(); p.stroke(x0, y0, x1, y1, size, value); if (p.end()) history.push(now()); }
      out.strokes = now(); out.area = p.area();
      out.steps = history.length;
      out.undone = true; for (let k = history.length - 2; k >= 0; k--) { p.undo(); out.undone &&= now().join() === history[k].join(); }
      out.nothing = p.undo();
      for (let k = 1; k < history.length; k++) p.redo();
      out.redone = now().join() === history.at(-1).join() && !p.redo();
      const packed = await pack(p.mask, w * h); out.packed = Array.from(packed);
      out.unpacked = (await unpack(packed, w * h)).subarray(0, w * h).join() === now().join();
      step(() => p.take(new Uint8Array(w * h), true)); out.empty = p.area();
      step(() => p.polygon(corners, 1)); out.polygon = now();
      step(() => p.take(new Uint8Array(w * h), true));
      step(() => p.flood(60, 40, Uint8Array.from(gray), 12, 1)); out.flood = now();
      p.begin(); p.flood(60, 40, Uint8Array.from(gray), 12, 0); out.erased = p.end() && p.area() === 0;
      return out;
    }""", [joined(javascript("painting.js")), w, h, strokes, corners, gray.ravel().tolist()])
    y, x = np.mgrid[:h, :w] + 0.5
    mask = np.zeros((h, w), bool)
    for x0, y0, x1, y1, size, value in strokes:
        a, b = np.floor([x0, y0]) + 0.5, np.floor([x1, y1]) + 0.5
        d = b - a
        t = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / max(d @ d, 1e-12), 0, 1)
        near = np.hypot(x - a[0] - t * d[0], y - a[1] - t * d[1])
        mask[near <= size / 2 + 1e-9] = value
    shaped = lambda name: np.array(result[name], bool).reshape(h, w)  # noqa: E731
    assert np.array_equal(shaped("strokes"), mask) and result["area"] == mask.sum()
    assert result["steps"] > 40 and result["undone"] and result["nothing"] is False and result["redone"] and result["unpacked"] and result["erased"] and result["empty"] == 0
    assert np.array_equal(unpack_mask(bytes(result["packed"]), (h, w)), mask)
    inside = np.zeros((h, w), bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1]):
        if y0 != y1: inside ^= ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    assert np.array_equal(shaped("polygon"), inside)
    from scipy.ndimage import label
    like = abs(gray.astype(int) - int(gray[40, 60])) <= 12
    pieces = label(like)[0]
    assert np.array_equal(shaped("flood"), pieces == pieces[40, 60])


# By mouse

def test_paint_by_mouse_and_hand_in(new_page):
    desk = desk_of(new_page)
    first = desk.part
    assert first == desk.canvas.session.round.asked[0] and "4 left" in desk.page.inner_text(".ad-title")
    desk.drag((0.4, 0.4), (0.6, 0.6))
    drawn = desk.drafted()
    assert drawn.any() and drawn[48, 48] and not drawn[10, 10]
    desk.page.click(".ad-eraser")
    desk.drag((0.5, 0.5), (0.51, 0.5))
    assert 0 < desk.drafted().sum() < drawn.sum()
    desk.page.click(".ad-undo")
    desk.page.wait_for_function("() => document.querySelector('.ad-redo').disabled === false")
    assert np.array_equal(desk.drafted(), drawn)
    desk.page.click(".ad-defective")
    desk.answered(1)
    log = desk.store.log()
    assert log["sample"].tolist() == [first] and log.has_mask.tolist() == [True] and 0 < log.seconds[0] < 60
    assert np.array_equal(desk.store.latest().masks[first], drawn) and list(desk.store.drafts("ana")) == []
    assert desk.part == desk.canvas.session.round.asked[1] and "3 left" in desk.page.inner_text(".ad-title") and "1 defect in 1 part" in desk.page.inner_text(".ad-found")
    assert desk.said == []


def test_polygon_fill_zoom_and_pan_by_mouse(new_page):
    desk = desk_of(new_page)
    box = desk.stage.bounding_box()
    at = lambda x, y: desk.page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
    desk.page.click(".ad-polygon")
    for place in ((0.4, 0.3), (0.6, 0.3), (0.5, 0.6), (0.4, 0.3)): at(*place)
    triangle = desk.drafted()
    assert triangle[38, 48] and not triangle[60, 36]
    desk.page.click(".ad-undo")
    desk.page.click(".ad-fill")
    desk.page.locator(".ad-slider input.ad-tolerance").fill("60")
    at(0.5, (96 / 3 + 4) / 96 if box["height"] < box["width"] else 0.5)
    desk.page.wait_for_timeout(200)
    filled = desk.drafted()
    bar = world()[1].masks[desk.part]
    assert (filled & bar).sum() > 0.9 * bar.sum() and (filled & ~bar).sum() < 20
    before = desk.page.screenshot()
    desk.stage.focus()
    desk.page.mouse.move(box["x"] + 300, box["y"] + 200)
    desk.page.mouse.wheel(0, -300)
    desk.page.wait_for_timeout(100)
    zoomed = desk.page.screenshot()
    desk.page.click(".ad-hand")
    desk.drag((0.5, 0.5), (0.3, 0.4))
    desk.page.wait_for_timeout(100)
    assert before != zoomed != desk.page.screenshot()
    desk.page.click(".ad-fit")
    assert np.array_equal(desk.drafted(), filled) and desk.said == []


# By keyboard

def test_everything_by_keyboard(new_page):
    desk = desk_of(new_page, batch=6)
    asked = list(desk.canvas.session.round.asked)
    desk.press("]", "]", "Space", *["ArrowRight"] * 10, "Space")
    stroke = desk.drafted()
    assert stroke.sum() > 100 and stroke[48, 48:58].all()
    desk.press("z")
    desk.page.wait_for_function("() => document.querySelector('.ad-undo').disabled")
    desk.press("Shift+z")
    assert np.array_equal(desk.drafted(), stroke)
    desk.press("o", "Space", *["ArrowDown"] * 12, "Space", *["ArrowLeft"] * 12, "Space", "Enter")
    desk.page.wait_for_timeout(150)
    assert desk.drafted().sum() > stroke.sum()
    desk.press("g")
    assert "Press again" in desk.status() and len(desk.store.log()) == 0
    desk.press("d")
    desk.answered(1)
    assert desk.page.evaluate("document.activeElement.className") == "ad-stage"
    desk.press("g")
    desk.answered(2)
    desk.press("d")
    assert "Nothing is painted" in desk.status()
    desk.press("m")
    desk.answered(3)
    desk.press("s")
    desk.answered(4)
    desk.press("p")
    desk.page.wait_for_selector(f"[data-part='{asked[3]}']")
    desk.press("n")
    desk.page.wait_for_selector(f"[data-part='{asked[4]}']")
    assert desk.page.input_value("input.ad-contrast") == "100"  # a flat picture is stretched unasked
    desk.press("i", "c", "v", "+", "+", "Control+ArrowLeft", "-", "0")
    assert "pixels painted in all" in desk.status() and desk.page.input_value("input.ad-contrast") == "0" and desk.page.input_value("input.ad-opacity") == "0"
    desk.press("g")
    desk.answered(5)
    desk.press("g")
    desk.answered(6)
    log = desk.store.log()
    assert log["sample"].tolist() == asked and log.defective.tolist()[:3] == [True, False, True] and log.maskable.tolist() == [True, True, False, True, True, True]
    assert bool(log.defective.isna()[3]) and log.seconds[0] > 0 and (log.seconds >= 0).all() and desk.said == []


def test_the_next_round_with_map_proposal_and_reasons(new_page):
    pool, truth = world(12)
    desk = desk_of(new_page, pool, batch=4)
    for k, i in enumerate(desk.canvas.session.round.asked):
        if i in truth.masks: desk.drag((0.38, 0.38), (0.62, 0.38))
        desk.press("d" if i in truth.masks else "g")
        desk.answered(k + 1)
    assert desk.page.is_enabled(".ad-advance") and desk.page.evaluate("document.activeElement.className") == "ad-advance"
    desk.page.keyboard.press("Enter")
    desk.page.wait_for_function("() => document.querySelector('.ad-title').textContent.startsWith('Round 2')")
    desk.page.wait_for_selector(f"[data-part='{desk.canvas.session.round.asked[0]}']")
    why = desk.page.inner_text(".ad-why")
    assert "Ask first where a defect is most certain" in why and "LikelyDefect" in why and "1 of 8" in why and "probability of defect" in why and "MedianDeviation" in why
    desk.page.click(".ad-compare")
    desk.page.wait_for_function("() => document.querySelector('.ad-why').textContent.includes('Uncertainty')")
    assert "next 4 parts: about" in desk.page.inner_text(".ad-forecast") and desk.page.locator(".ad-curve").get_attribute("aria-label").startswith("Defects found")
    assert desk.page.is_visible(".ad-proposed")
    desk.press("a")
    accepted = desk.drafted()
    assert accepted.any() and not desk.page.is_visible(".ad-proposed")
    desk.press("n")
    desk.page.wait_for_selector(f"[data-part='{desk.canvas.session.round.asked[1]}']")
    if desk.page.is_visible(".ad-proposed"):
        desk.press("r")
        desk.page.wait_for_function("() => document.querySelector('.ad-saved').textContent === 'draft saved'")
        assert desk.store.drafts("ana")[desk.part][1]["rejected"] is True
    assert desk.said == []


def test_two_annotators_do_not_overwrite_each_other(new_page, tmp_path):
    pool, _ = world()
    desks = [desk_of(new_page, pool, name, LabelStore(tmp_path / "parts.db"), Random()) for name in ("ana", "ben")]
    assert desks[0].part == desks[1].part
    part = desks[0].part
    desks[0].drag((0.4, 0.4), (0.6, 0.4))
    desks[1].drag((0.4, 0.6), (0.6, 0.6))
    masks = [desk.drafted() for desk in desks]
    assert not (masks[0] & masks[1]).any()
    for desk in desks:
        desk.press("d")
        desk.answered(1)
    log = desks[0].store.log()
    assert log.annotator.tolist() == ["ana", "ben"] and log["sample"].tolist() == [part, part]
    given = desks[0].store.db.run("select annotator, mask from answer order by number")
    from active_defects.data.packed_masks import decode_mask
    assert all(np.array_equal(decode_mask(png), mask) for (_, png), mask in zip(given, masks))
    desks[0].press("g")
    desks[0].answered(2)
    desks[1].press("g")
    desks[1].answered(2)
    assert desks[1].said == []


def test_another_verdict_is_told_and_can_be_seen(new_page, tmp_path):
    pool, _ = world()
    ana, ben = (desk_of(new_page, pool, name, LabelStore(tmp_path / "parts.db"), Random()) for name in ("ana", "ben"))
    first, second, third, _ = ana.canvas.session.round.asked
    ana.drag((0.4, 0.4), (0.6, 0.4))
    drawn = ana.drafted()
    ana.press("d")
    ana.answered(1)
    assert ben.part == first and "open" in ben.page.inner_text(".ad-row >> nth=0")  # Ben has not heard of it
    ben.press("g")
    ben.answered(1)
    said(ben, f"{first}: good, saved. ana said “defective” at ")
    assert "the later one counts" in ben.status() and ben.store.log().annotator.tolist() == ["ana", "ben"] and not ben.store.latest().table.defective[first]
    on_desk(ben, second)
    ben.press("z")
    on_desk(ben, first)
    assert "ana has drawn the hatched mask" in ben.page.inner_text(".ad-proposed") and "defective, at" in ben.page.inner_text(".ad-why")
    ben.press("a")
    assert np.array_equal(ben.drafted(), drawn)
    ben.press("d")
    ben.answered(1)
    assert "ana said" not in ben.status() and ben.store.latest().table.defective[first]
    ana.press("g")  # what others have said meanwhile is seen at the next part that is opened
    ana.answered(2)
    on_desk(ana, third)
    ben.press("p", "n")
    ben.page.wait_for_function("() => document.querySelectorAll('.ad-row')[1].textContent.includes('good, by ana')")
    assert ana.said == ben.said == []


def test_whoever_comes_second_begins_elsewhere(new_page, tmp_path):
    pool, _ = world()
    ana = desk_of(new_page, pool, "ana", LabelStore(tmp_path / "parts.db"), Random())
    ana.drag((0.4, 0.4), (0.6, 0.4))
    ana.drafted()
    ben = desk_of(new_page, pool, "ben", LabelStore(tmp_path / "parts.db"), Random())
    assert [ana.part, ben.part] == list(ana.canvas.session.round.asked[:2]) and ben.said == []


def test_hostile_names_are_text(new_page):
    pool, _ = world(ids=[f"{EVIL}{k}" for k in range(4)])
    desk = desk_of(new_page, pool, annotator=EVIL)
    assert desk.page.inner_text(".ad-why dd >> nth=0") == desk.part and desk.page.inner_text(".ad-id >> nth=0").startswith('"><img src=x')
    desk.press("g")
    desk.answered(1)
    assert EVIL in desk.status() and desk.store.log().annotator.tolist() == [EVIL]
    assert desk.page.evaluate("window.pwned") is None and desk.page.locator(".ad-canvas img, .ad-canvas script").count() == 0 and desk.said == []


def test_a_broken_picture_is_named_and_can_be_skipped(new_page):
    class Images(dict):
        def __getitem__(self, key):
            if key == "part1": raise ValueError("pictures/part1.png is damaged <b>here</b>; copy it again")
            return super().__getitem__(key)

    pool, _ = world(3)
    session = Canvas(Pool(pool.table, Images(pool.images)), "ana")
    session.annotate(["part1", "part0"])
    desk = Desk(new_page, session)
    assert "damaged <b>here</b>" in desk.page.inner_text(".ad-trouble") and not desk.page.is_visible(".ad-advance")
    assert [desk.page.is_enabled(f".ad-{name}") for name in ("good", "defective", "no-mask", "skip", "next")] == [False, False, False, True, True]
    for verdict in "gdm":
        desk.press(verdict)
        assert "nobody can judge it" in desk.status() and desk.sent("submit") == []
    desk.press("s")
    desk.answered(1)
    desk.press("g")
    desk.answered(2)
    assert desk.canvas.annotate(["part1", "part0"]).table.defective.isna().tolist() == [True, False]


# A kernel that is busy, that fails, that dies

def on_desk(desk, sample): desk.page.wait_for_function("sample => document.querySelector('.ad-canvas').dataset.part === sample && !document.querySelector('[aria-busy]')", arg=sample)


def said(desk, words): desk.page.wait_for_function("words => document.querySelector('.ad-status').textContent.includes(words)", arg=words)


def note_of(desk, sample): return desk.store.drafts("ana")[sample]


def test_leaving_a_part_while_the_kernel_is_busy_loses_no_stroke(new_page):
    desk = desk_of(new_page)
    first, second = desk.canvas.session.round.asked[:2]
    desk.page.wait_for_timeout(200)  # the next part has come
    desk.busy()
    desk.drag((0.4, 0.4), (0.6, 0.4))
    desk.drag((0.4, 0.6), (0.6, 0.6))  # its draft waits for the first one's receipt
    desk.press("n")
    on_desk(desk, second)
    desk.drag((0.5, 0.5), (0.52, 0.5))
    desk.free()
    drawn = desk.drafted()
    assert drawn[48, 48] and not drawn[38, 48] and not drawn[58, 48]
    kept = note_of(desk, first)[0]
    assert kept[38, 48] and kept[58, 48] and not kept[48, 48]
    desk.press("p")
    on_desk(desk, first)
    desk.press("i")
    assert f"{kept.sum()} pixels painted" in desk.status() and desk.said == []


@pytest.mark.parametrize("echo", [True, False])
def test_a_draft_that_fails_is_tried_again(new_page, echo):
    desk = desk_of(new_page, hurry=True)
    desk.echo, left = echo, [2]

    def breaks(content):
        if content["do"] != "draft" or not left[0]: return None
        left[0] -= 1
        return "the disk is full"

    desk.breaks = breaks
    desk.busy()
    desk.drag((0.4, 0.4), (0.6, 0.4))
    desk.free(1)
    said(desk, "the disk is full")
    assert desk.page.inner_text(".ad-saved") == "not saved yet"
    desk.free()
    assert desk.drafted().any() and len(desk.sent("draft")) == 3 and left == [0]
    left[0] = 1
    desk.drag((0.4, 0.6), (0.6, 0.6))
    desk.page.wait_for_timeout(50)
    assert desk.drafted()[58, 48] and desk.said == []


def test_a_part_left_with_an_unsaved_draft_keeps_its_paint(new_page):
    desk = desk_of(new_page, hurry=True)
    first, second = desk.canvas.session.round.asked[:2]
    full = [True]
    desk.breaks = lambda content: "the disk is full" if full[0] and content["do"] == "draft" else None
    desk.drag((0.4, 0.4), (0.6, 0.4))
    desk.press("n")
    on_desk(desk, second)
    assert first not in desk.store.drafts("ana")
    desk.press("p")
    on_desk(desk, first)
    desk.press("z", "Shift+z", "i")
    assert " 0 pixels" not in desk.status() and first not in desk.store.drafts("ana")
    desk.press("n")
    on_desk(desk, second)
    full[0] = False
    for _ in range(40):
        if first in desk.store.drafts("ana"): break
        desk.page.wait_for_timeout(100)
    assert note_of(desk, first)[0][38, 48] and desk.said == []


@pytest.mark.parametrize("echo", [True, False])
def test_an_answer_is_written_once(new_page, echo):
    desk = desk_of(new_page)
    desk.echo, desk.breaks = echo, lambda content: "the disk is full" if content["do"] == "draft" else None
    first = desk.part
    desk.busy()
    desk.drag((0.4, 0.4), (0.6, 0.4))
    desk.press("d")
    desk.free(1)  # the draft fails, the answer is under way
    desk.page.wait_for_timeout(100)
    assert desk.page.get_attribute(".ad-canvas", "aria-busy") == "true"
    desk.press("d")
    desk.free()
    desk.answered(1)
    assert desk.store.log()["sample"].tolist() == [first] and desk.said == []


def test_an_answer_that_fails_can_be_given_again(new_page):
    desk = desk_of(new_page, hurry=True)
    left = [1]
    desk.breaks = lambda content: "locked" if content["do"] == "submit" and left and left.pop() else None
    desk.drag((0.4, 0.4), (0.6, 0.4))
    desk.press("d")
    said(desk, "locked")
    desk.drag((0.4, 0.6), (0.6, 0.6))
    assert desk.drafted()[58, 48]
    desk.press("d")
    desk.answered(1)
    assert len(desk.store.log()) == 1 and desk.store.drafts("ana") == {} and desk.said == []


@pytest.fixture
def proposing(monkeypatch):
    "Every part comes with a proposed mask: its lowest rows."
    mask = np.zeros((96, 96), bool)
    mask[80:90, 20:70] = True
    monkeypatch.setattr("active_defects.studio.canvas.part_of", lambda session, sample: replace(part_of(session, sample), proposal=mask))
    return mask


def test_nothing_is_painted_while_an_answer_is_under_way(new_page, proposing):
    desk = desk_of(new_page)
    first = desk.part
    desk.drag((0.4, 0.4), (0.6, 0.4))
    drawn = desk.drafted()
    desk.busy()
    desk.press("d", "a", "Enter", "f", "Space", "r", "z")
    desk.drag((0.4, 0.6), (0.6, 0.6))
    desk.free()
    desk.answered(1)
    assert np.array_equal(desk.store.latest().masks[first], drawn) and desk.store.drafts("ana") == {}
    assert [each["do"] for each in desk.letters if each.get("sample") == first and each["do"] != "open"][-1] == "submit" and desk.said == []


def test_accepting_lifts_the_pen(new_page, proposing):
    desk = desk_of(new_page)
    desk.press("Space", *["ArrowRight"] * 6, "a")
    desk.page.wait_for_timeout(100)
    both = desk.drafted()
    assert both[proposing].all() and both[48, 48:54].all()
    desk.press("z")
    desk.page.wait_for_timeout(100)
    stroke = desk.drafted()
    assert not stroke[proposing].any() and stroke[48, 48:54].all()
    desk.press("z")
    desk.page.wait_for_function("() => document.querySelector('.ad-undo').disabled")
    assert desk.said == []


def test_undo_takes_back_what_was_done_with_a_proposal(new_page, proposing):
    desk = desk_of(new_page)
    first, second = desk.canvas.session.round.asked[:2]
    seen = lambda: desk.page.is_visible(".ad-proposed")  # noqa: E731
    desk.press("a", "n")
    on_desk(desk, second)
    desk.press("p")
    on_desk(desk, first)
    assert not seen() and np.array_equal(note_of(desk, first)[0], proposing) and note_of(desk, first)[1]["accepted"] is True
    desk.press("n")
    on_desk(desk, second)
    for key in "ar":
        desk.press(key)
        assert not seen()
        desk.press("z")
        assert seen() and desk.status() != "Nothing to undo."
        desk.press("Shift+z")
        assert not seen()
        desk.press("z")
    desk.page.wait_for_timeout(200)
    mask, note = desk.drafted(), note_of(desk, second)[1]
    assert not mask.any() and "rejected" not in note and "accepted" not in note and seen() and desk.said == []


def test_undo_after_a_verdict_leads_back_to_it(new_page):
    desk = desk_of(new_page)
    first, second = desk.canvas.session.round.asked[:2]
    desk.press("g")
    desk.answered(1)
    on_desk(desk, second)
    desk.press("z")
    on_desk(desk, first)
    assert "another verdict replaces it" in desk.status()
    desk.press("m")
    desk.answered(1)
    assert desk.store.log()["sample"].tolist() == [first, first] and desk.store.latest().table.defective[first] and desk.said == []


def test_a_click_on_the_row_of_the_part_on_the_desk_changes_nothing(new_page):
    desk = desk_of(new_page)
    desk.busy()
    desk.drag((0.4, 0.4), (0.6, 0.4))
    desk.drag((0.4, 0.6), (0.6, 0.6))
    opened = len(desk.sent("open"))
    desk.page.click(".ad-row[aria-current]")
    desk.free()
    drawn = desk.drafted()
    assert drawn[38, 48] and drawn[58, 48] and len(desk.sent("open")) == opened and desk.said == []


def test_an_unfinished_polygon_is_not_dropped(new_page):
    desk = desk_of(new_page)
    first = desk.part
    desk.press("o", "Space", *["ArrowDown"] * 12, "Space", *["ArrowLeft"] * 12, "Space", "d")
    assert "polygon is unfinished" in desk.status() and len(desk.store.log()) == 0
    desk.press("n")
    desk.page.click(".ad-row >> nth=2")
    assert desk.part == first and "polygon is unfinished" in desk.status()
    desk.press("Enter", "d")
    desk.answered(1)
    assert desk.store.latest().masks[first].sum() > 40
    desk.press("Space", "g")
    assert "polygon is unfinished" in desk.status()
    desk.press("Escape", "g")
    desk.answered(2)
    assert desk.said == []


def test_time_without_a_stroke_counts(new_page):
    desk = desk_of(new_page)
    first, second = desk.canvas.session.round.asked[:2]
    desk.page.wait_for_timeout(1300)
    assert desk.page.inner_text(".ad-timer") == "0:00"  # nobody is there yet
    desk.stage.hover()
    desk.page.wait_for_timeout(1300)
    desk.press("n")
    on_desk(desk, second)
    desk.page.wait_for_timeout(200)
    mask, note = note_of(desk, first)
    assert mask is None and note["seconds"] >= 1 and second not in desk.store.drafts("ana")
    desk.press("p")
    on_desk(desk, first)
    desk.press("g")
    desk.answered(1)
    assert desk.store.log().seconds[0] >= 1 and desk.said == []


def test_a_silent_kernel_is_named_while_the_loop_learns(new_page):
    desk = desk_of(new_page, hurry=True, batch=2)
    desk.press("g")
    desk.answered(1)
    desk.press("g")
    desk.answered(2)
    desk.busy()
    desk.press("q")
    said(desk, "Nothing was heard from the kernel for 20 seconds")
    desk.page.evaluate("said => window.fromPython(said)", [[{"is": "progress", "words": "Training", "share": 0.5}, []]])
    said(desk, "Training: 50 %")
    said(desk, "Nothing was heard")
    desk.free()
    said(desk, "Round 2")
    assert desk.said == []


def test_focus_stays_in_a_queue_that_is_drawn_anew(new_page):
    desk = desk_of(new_page)
    desk.busy()
    desk.drag((0.4, 0.4), (0.6, 0.4))
    desk.page.focus(".ad-row >> nth=2")
    desk.free()
    desk.drafted()
    assert "draft" in desk.page.inner_text(".ad-row >> nth=0")
    assert desk.page.evaluate("document.activeElement.dataset.sample") == desk.canvas.session.round.asked[2] and desk.said == []


def test_a_second_finger_does_not_paint(new_page):
    desk = desk_of(new_page)
    box = desk.stage.bounding_box()
    at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
    other = """([kind, x, y]) => document.querySelector('.ad-stage').dispatchEvent(new PointerEvent(kind, { pointerId: 99, pointerType: "touch", clientX: x, clientY: y, bubbles: true, cancelable: true }))"""
    desk.page.mouse.move(*at(0.4, 0.4))
    desk.page.mouse.down()
    for kind in ("pointerdown", "pointermove", "pointerup"): desk.page.evaluate(other, [kind, *at(0.5, 0.7)])
    desk.page.mouse.move(*at(0.6, 0.4), steps=4)
    desk.page.mouse.up()
    drawn = desk.drafted()
    assert drawn[38, 40:56].all() and not drawn[50:].any() and desk.said == []


def test_brackets_of_the_third_level(new_page):
    desk = desk_of(new_page)
    size = lambda: desk.page.evaluate("document.querySelector('.ad-slider output').textContent")  # noqa: E731
    key = "([key, more]) => document.querySelector('.ad-stage').dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more }))"
    graph = dict(ctrlKey=True, altKey=True, modifierAltGraph=True)  # as Windows sends AltGr
    desk.page.evaluate(key, ["]", graph])
    assert size() == "15 px"
    desk.page.evaluate(key, ["[", graph])
    assert size() == "12 px"
    desk.page.evaluate(key, ["]", dict(altKey=True)])  # as a Mac sends it
    assert size() == "15 px" and desk.said == []


def test_a_second_view_minds_its_own_receipts(new_page):
    desk = desk_of(new_page)
    first = desk.part
    desk.page.evaluate("window.second = [window.mount()]")
    desk.page.wait_for_function("() => document.querySelectorAll('[data-part]').length === 2")
    desk.stage = desk.page.locator(".ad-stage >> nth=1")
    desk.stage.scroll_into_view_if_needed()
    desk.drag((0.4, 0.4), (0.6, 0.4))
    desk.page.wait_for_function("() => document.querySelectorAll('.ad-saved')[1].textContent === 'draft saved'")
    assert desk.page.inner_text(".ad-saved >> nth=0") == ""
    desk.press("d")
    desk.page.wait_for_function("first => document.querySelectorAll('.ad-canvas')[1].dataset.part !== first", arg=first)
    assert desk.part == first and "3 left" in desk.page.inner_text(".ad-title >> nth=0") and "saved" not in desk.status()
    assert len(desk.store.log()) == 1 and desk.said == []


def test_two_views_keep_each_others_paint(new_page):
    desk = desk_of(new_page)
    first, second = desk.canvas.session.round.asked[:2]
    desk.page.evaluate("window.second = [window.mount()]")
    desk.page.wait_for_function("() => document.querySelectorAll('[data-part]').length === 2")
    desk.stage = desk.page.locator(".ad-stage >> nth=0")
    desk.drag((0.4, 0.4), (0.6, 0.4))
    drawn = desk.drafted()
    other = desk.page.locator(".ad-stage >> nth=1")
    other.scroll_into_view_if_needed()
    other.hover()
    desk.page.wait_for_timeout(1500)
    other.focus()
    desk.page.keyboard.press("n")  # its seconds go out, and no mask
    desk.page.wait_for_function("id => document.querySelectorAll('.ad-canvas')[1].dataset.part === id", arg=second)
    assert desk.sent("draft", first)[-1]["note"]["seconds"] >= 1 and np.array_equal(note_of(desk, first)[0], drawn)
    desk.press("n")  # the first view has the second part on the desk, the second view the third one ahead of time
    on_desk(desk, second)
    desk.drag((0.4, 0.6), (0.6, 0.6))
    painted = desk.drafted()
    other.focus()
    assert not np.array_equal(painted, drawn)
    for part in (first, second):
        desk.page.keyboard.press("p" if part == first else "n")
        desk.page.wait_for_function("id => document.querySelectorAll('.ad-canvas')[1].dataset.part === id", arg=part)
    desk.page.keyboard.press("i")
    assert f"{painted.sum()} pixels" in desk.page.inner_text(".ad-status >> nth=1") and desk.said == []


def test_two_windows_at_one_part_are_told_before_one_paints_over_the_other(new_page):
    desk = desk_of(new_page)
    desk.page.evaluate("window.second = [window.mount()]")
    desk.page.wait_for_function("() => document.querySelectorAll('[data-part]').length === 2")
    told = lambda k: "in another window of yours" in desk.page.inner_text(f".ad-status >> nth={k}")
    desk.stage = desk.page.locator(".ad-stage >> nth=0")
    desk.drag((0.4, 0.4), (0.6, 0.4))
    desk.drafted()
    assert not told(0) and not told(1)  # nothing is painted in the second window yet
    desk.stage = desk.page.locator(".ad-stage >> nth=1")
    desk.stage.scroll_into_view_if_needed()
    desk.drag((0.4, 0.6), (0.6, 0.6))
    desk.page.wait_for_function("() => document.querySelectorAll('.ad-saved')[1].textContent === 'draft saved'")
    assert told(1)
    desk.page.wait_for_function("() => document.querySelectorAll('.ad-status')[0].textContent.includes('in another window of yours')")
    assert desk.said == []


def test_a_second_view_leaves_the_first_where_it_is(new_page):
    desk = desk_of(new_page)
    second = desk.canvas.session.round.asked[1]
    desk.press("n")
    on_desk(desk, second)
    desk.page.evaluate("window.second = [window.mount()]")
    desk.page.wait_for_function("() => document.querySelectorAll('[data-part]').length === 2")
    desk.page.wait_for_timeout(200)
    assert desk.page.get_attribute(".ad-canvas >> nth=0", "data-part") == second and len(desk.sent("advance")) == 1 and desk.said == []


def test_the_page_is_there_before_the_first_question(new_page):
    loop = Loop(world()[0], LabelStore(), PixelLearner(), LikelyDefect(), first=MedianDeviation(), batch=4)
    score, faults = loop.score, [ValueError("the disk is full")]
    def scored(*given):
        if faults: raise faults.pop()
        return score(*given)
    loop.score = scored
    desk = Desk(new_page, Canvas(loop, "ana"), wait=".ad-status.ad-alarm")
    assert "the disk is full" in desk.status() and desk.page.inner_text(".ad-title") == "The first question is on its way." and not desk.page.is_visible("progress")
    desk.busy()
    desk.page.click(".ad-advance")
    desk.page.wait_for_selector("progress")
    assert "asks its first question" in desk.status() and desk.page.is_disabled(".ad-good")
    desk.free()
    desk.page.wait_for_selector("[data-part]")
    assert "Round 1 is on the desk: 4 parts" in desk.status() and [letter["first"] for letter in desk.sent("advance")] == [True, True] and len(loop.store.rounds) == 1 and desk.said == []


def test_trouble_beside_a_picture_is_said(new_page, monkeypatch):
    monkeypatch.setattr("active_defects.studio.canvas.part_of", lambda session, sample: replace(part_of(session, sample), trouble="The mask cannot be read."))
    desk = desk_of(new_page)
    assert desk.status() == "The mask cannot be read." and not desk.page.is_visible(".ad-trouble") and desk.said == []


# What it looks like, and how fast it is

@pytest.mark.parametrize("scheme, width", [("light", 1200), ("dark", 1200), ("dark", 360), ("light", 360)])
def test_light_dark_wide_and_narrow(new_page, scheme, width):
    desk = desk_of(new_page, context=dict(viewport=dict(width=width, height=900), color_scheme=scheme))
    assert desk.page.evaluate("document.documentElement.scrollWidth") <= width
    luminance = "c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number); return (c.startsWith('color') ? 255 : 1) * (0.2126 * r + 0.7152 * g + 0.0722 * b); }"
    back, text = desk.page.evaluate(f"() => {{ const f = {luminance}, s = getComputedStyle(document.querySelector('.ad-canvas')); return [f(s.backgroundColor), f(s.color)]; }}")
    assert (back < 60 and text > 180) if scheme == "dark" else (back > 200 and text < 60)
    unnamed = desk.page.evaluate("() => [...document.querySelectorAll('.ad-canvas button, .ad-canvas input, .ad-stage, .ad-canvas progress')].filter(n => !(n.ariaLabel || n.textContent.trim() || n.labels?.length)).map(n => n.className)")
    assert unnamed == []
    desk.page.keyboard.press("Tab")
    for _ in range(4): desk.page.keyboard.press("Tab")
    assert desk.page.evaluate("() => getComputedStyle(document.activeElement).outlineWidth") == "3px"
    first, last = (desk.page.locator(f".ad-{name}").bounding_box() for name in ("main", "side"))
    assert last["x"] >= first["x"] + first["width"] if width > 1000 else last["y"] >= first["y"] + first["height"]


def test_a_frame_without_a_stage_leaves_the_picture(new_page):
    desk = desk_of(new_page)
    desk.page.evaluate("""() => new Promise((done) => { // as a change of JupyterLab's theme does it
      const root = document.querySelector(".ad-canvas");
      requestAnimationFrame(() => (root.style.display = "none"));
      root.querySelector(".ad-fit").click();
      requestAnimationFrame(() => { root.style.display = ""; done(); });
    })""")
    desk.page.wait_for_timeout(200)
    assert desk.page.evaluate("() => { const c = document.querySelector('.ad-stage canvas'); return c.width > 0 && c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data[3]; }") == 255 and desk.said == []


def test_a_small_laptop_shows_all_and_nothing_jumps(new_page, proposing):
    desk = desk_of(new_page, context=dict(viewport=dict(width=1366, height=768)))
    places = lambda: {name: desk.page.locator(f".ad-{name}").bounding_box() for name in ("status", "stage", "previous", "good", "defective", "no-mask", "skip", "next")}  # noqa: E731
    before = places()
    assert max(box["y"] + box["height"] for box in before.values()) <= 640, "JupyterLab leaves 640 of 768 rows"
    desk.press("a")
    assert {name: box["y"] for name, box in places().items() if name != "status"} == {name: box["y"] for name, box in before.items() if name != "status"}
    desk.page.set_viewport_size(dict(width=1030, height=768))
    rows = places()
    assert rows["next"]["width"] < 300 and rows["next"]["y"] == rows["skip"]["y"] == rows["no-mask"]["y"] and rows["previous"]["y"] == rows["good"]["y"] and desk.said == []


def test_a_stroke_follows_the_hand(new_page):
    pool, _ = world(2, side=2048)
    desk = desk_of(new_page, pool, batch=2)
    desk.page.evaluate("window.times.length = 0")
    desk.drag((0.3, 0.3), (0.6, 0.5), (0.35, 0.6), steps=40)
    desk.drafted()
    times = np.sort(desk.page.evaluate("window.times"))
    assert len(times) >= 60 and np.percentile(times, 95) <= 16, f"ms of script: median {np.median(times):.1f}, 95 % {np.percentile(times, 95):.1f}, largest {times[-1]:.1f}"
    desk.page.locator("input.ad-size").fill("85")
    desk.page.evaluate("window.times.length = 0")
    desk.drag((0.7, 0.3), (0.3, 0.7), steps=40)
    desk.page.wait_for_timeout(300)
    assert np.percentile(desk.page.evaluate("window.times"), 95) <= 16


# In JupyterLab

SETUP = """import os
os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np, pandas as pd
from active_defects.api import LabelStore, LikelyDefect, Loop, MedianDeviation, PixelLearner, Pool
from active_defects.studio.canvas import Canvas
rng = np.random.default_rng(0)
images = {f"part{k}": rng.normal(0.5, 0.03, (2048, 2048)).astype("float32").clip(0, 1) for k in range(6)}
pool = Pool(pd.DataFrame(index=pd.Index(list(images), dtype=object)), images)
loop = lambda: Loop(pool, LabelStore("parts.db"), PixelLearner(), LikelyDefect(), first=MedianDeviation(), batch=2)"""


def test_in_jupyterlab(new_page, tmp_path):
    (tmp_path / "label.ipynb").write_text(notebook(SETUP, 'Canvas(loop(), "ana")'))
    with jupyter_lab(tmp_path) as address:
        page = new_page(viewport=dict(width=1300, height=1000))
        page.set_default_timeout(30_000)
        page.add_init_script(f"({STOPWATCH})()")
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        lab = Lab(page, address, "label.ipynb").open().run_all()
        store = LabelStore(tmp_path / "parts.db")
        stage = page.locator(".ad-stage")
        page.wait_for_selector("[data-part]")

        def painted(moves, up=True):
            stage.scroll_into_view_if_needed()
            box = stage.bounding_box()
            spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in moves]
            page.mouse.move(*spots[0])
            page.mouse.down()
            for spot in spots[1:]: page.mouse.move(*spot, steps=30)
            if up:
                page.mouse.up()
                page.wait_for_function("() => document.querySelector('.ad-saved').textContent === 'draft saved'")

        part = page.get_attribute(".ad-canvas", "data-part")
        page.evaluate("window.times.length = 0")
        painted([(0.3, 0.5), (0.6, 0.5)])
        assert np.percentile(page.evaluate("window.times"), 95) <= 16
        painted([(0.3, 0.55), (0.6, 0.55)])
        kept = store.drafts("ana")[part][0]
        assert kept.shape == (2048, 2048) and kept.sum() > 2000
        painted([(0.3, 0.7), (0.5, 0.7)], up=False)  # the stroke under the hand
        lab.restart()
        page.mouse.up()
        page.wait_for_function("() => document.querySelector('.ad-status').textContent.startsWith('The kernel')")
        lab.run_all()
        page.wait_for_selector(f"[data-part='{part}']")
        assert np.array_equal(store.drafts("ana")[part][0], kept)
        stage.focus()
        page.keyboard.press("i")
        assert f"{kept.sum():,} pixels painted" in page.inner_text(".ad-status")

        lab.command("docmanager:save")
        lab.open()  # the browser is loaded anew, the kernel lives
        page.wait_for_selector(f"[data-part='{part}']")
        stage.focus()
        page.keyboard.press("i")
        assert f"{kept.sum():,} pixels painted" in page.inner_text(".ad-status")

        cells = page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length")
        page.keyboard.press("d")  # in a notebook, `d d` would delete the cell
        page.wait_for_selector("[data-answered='1']")
        page.wait_for_function("() => !document.querySelector('.ad-canvas').hasAttribute('aria-busy')")
        page.keyboard.press("g")
        page.wait_for_selector("[data-answered='2']")
        assert np.array_equal(store.latest().masks[part], kept) and len(store.log()) == 2
        page.wait_for_function("() => document.activeElement.classList.contains('ad-advance')")
        page.keyboard.press("q")
        page.wait_for_function("() => document.querySelector('.ad-title').textContent.startsWith('Round 2')")
        page.wait_for_selector(f"[data-part='{store.rounds[2].asked[0]}']")
        assert "probability of defect" in page.inner_text(".ad-why")
        assert page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length") == cells and problems == []
