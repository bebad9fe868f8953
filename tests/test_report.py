"""The report is one safe file; curves count what they should."""
import re
import stat
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from active_defects.data.labels import Labels
from active_defects.data.overlay import overlay, show_images, to_data_url
from active_defects.data.round_log import Round
from active_defects.data.store import LabelStore
from active_defects.loop.learning_curve import cost_table, learning_curve, minutes, plot_learning_curve, random_curve, ranking_curve
from active_defects.studio.disputes import Dispute
from active_defects.studio.panels import fitted, hottest_place, panels, part_panel
from active_defects.studio.report import html_table, manager_sentence, milestones, readable, write_report
from active_defects.studio.tallies import round_table

LINKS = {"src", "href", "srcset", "action", "data", "poster", "background"}
EVIL = '<script>window.pwned=1</script>"><img src=x onerror=window.pwned=1>'


@pytest.fixture(scope="module")
def material():
    "A ranking of 60 parts, half of them labeled, with hostile, broken, tiny, huge and color pictures."
    rng = np.random.default_rng(0)
    ids = [EVIL, "broken", "big", "color", *(f"part{k:03d}" for k in range(56))]
    defective = pd.Series(rng.random(60) < 0.3, index=ids)
    images = {i: rng.random((48, 64), dtype=np.float32) for i in ids} | {"big": rng.random((1500, 2500), dtype=np.float32), "color": rng.random((40, 40, 3), dtype=np.float32)}
    masks = {i: np.pad(np.ones((8, 8), bool), ((4, images[i].shape[0] - 12), (4, images[i].shape[1] - 12))) for i in ids}

    def look(i):
        if i == "broken": raise ValueError(f"cannot read {EVIL}: the file ends in the middle")
        return images[i], rng.random((8, 8)), masks[i] if defective[i] else None

    log = pd.DataFrame(dict(sample=ids[:30], defective=defective[:30].to_numpy(), has_mask=defective[:30].to_numpy(), round=np.repeat([1, 2], 15)))
    parts = pd.DataFrame(dict(id=ids, rank=range(1, 61), score=np.linspace(1, 0, 60), asked_round=[1] * 30 + [None] * 30, defective=pd.array([*defective[:30], *[None] * 30], "boolean")))
    found = int(defective.sum())
    curves = {f"labeled {EVIL}": learning_curve(log), "median filter": ranking_curve(ids[::-1], defective), "random order (mean)": random_curve(60, found)}
    rounds = pd.DataFrame({"round": [1, 2], EVIL: [EVIL, None], "answered": [15, 15], "found": [3, 4], "hit_rate": [0.2, np.nan]})
    views = (f"ana {EVIL}", masks["part000"], None), (f"model {EVIL}", None, rng.random((8, 8)))
    disputes = {f"Where annotators differ {EVIL}": ([Dispute(i, f"different verdicts {EVIL}", views) for i in ("part000", "part001", "broken")], 7), "nobody differs": ([], 0)}
    tallies = [(f"By {EVIL}", "by category", pd.DataFrame({"category": [EVIL, None], "parts": [3, 4], "hit_rate": [0.5, np.nan]})), ("Annotators", "who", pd.DataFrame({"annotator": [EVIL], "seconds": [7.5]})),
               ("Annotators", "how far they agree", pd.DataFrame({"first": ["ana"], "same_verdict": [0.96], "kappa": [0.12], "iou": [0.5]})), ("Empty", "nothing", pd.DataFrame())]
    return dict(title=f"Parts {EVIL}", sentence=manager_sentence(30, 60, int(defective[:30].sum()), found), rounds=rounds, curves=curves, parts=parts, pictures=look,
                settings={"data": EVIL, "seed": 0}, defects=found, tallies=tallies, disputes=disputes, how=f"as known today {EVIL}")


@pytest.fixture(scope="module")
def written(material, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("report") / "deep" / "report.html", **material)


def without_scripts(path):
    return re.sub(r"<script>.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.S)


def test_it_says_how_its_curves_count(written, material, tmp_path):
    assert re.search(r'<h2>Defects found</h2><p class="note">as known today ', written.read_text(encoding="utf-8"))
    assert "as known today" not in write_report(tmp_path / "mute.html", **{**material, "how": ""}).read_text(encoding="utf-8")


def test_it_is_one_file_of_bounded_size(written):
    assert 4_000_000 < written.stat().st_size < 8_000_000
    assert [p.name for p in written.parent.iterdir()] == ["report.html"]
    assert stat.S_IMODE(written.stat().st_mode) & 0o444


def test_it_loads_nothing_from_anywhere(written):
    own, links = without_scripts(written), []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: links.extend((tag, name, value) for name, value in attributes if name in LINKS)
    parser.feed(own)
    assert len(links) > 40 and [link for link in links if not link[2].startswith("data:")] == []
    assert "http://" not in own and "https://" not in own and "url(" not in own and "@import" not in own
    assert "default-src 'none'" in own


def test_ids_and_names_are_escaped(written):
    text = written.read_text(encoding="utf-8")
    assert "<script>window" not in text and "<img src=x" not in text
    assert "&lt;script&gt;window.pwned=1&lt;/script&gt;" in text
    assert text.count("<script>") == text.count("</script>") == 5


def test_every_picture_has_words(written):
    images = re.findall(r"<img [^>]*>", without_scripts(written))
    assert len(images) >= 40 and all(re.search(r'alt="[^"]{8,}"', image) for image in images)
    assert len(re.findall(r'class="plot"[^>]*aria-label="Defects found', written.read_text(encoding="utf-8"))) == 2


def test_a_broken_picture_is_named_and_the_others_are_there(written):
    own = without_scripts(written)
    assert own.count("<figure") == 27 and "broken: no picture (cannot read" in own and re.search("broken: different verdicts.*; no picture", own)


def test_it_says_who_said_what(written):
    own = without_scripts(written)
    headings = re.findall(r"<h[23]>(.*?)</h[23]>", own)
    assert [heading.split(" &lt;")[0] for heading in headings] == ["Defects found", "Rounds", "By", "Annotators", "Look at these again", "Where annotators differ", "First in the ranking", "Where the numbers come from"]
    assert "the worst 3 of 7" in own and "<td>96%</td>" in own and "<td>50%</td>" in own and '<th scope="col">hit rate</th>' in own and '<th scope="col">IoU</th>' in own
    assert own.count("<table>") == 6 and own.index("by category") < own.index("how far they agree")


def test_many_parts_stay_within_the_limit(material, tmp_path):
    path = write_report(tmp_path / "r.html", **{**material, "top": 60}, limit=5_200_000)
    assert path.stat().st_size <= 5_200_000 and "are shown; the others" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="more than limit"): write_report(tmp_path / "s.html", **material, limit=100_000)
    assert not (tmp_path / "s.html").exists()


def test_an_interrupted_write_leaves_the_old_report(material, tmp_path):
    path = tmp_path / "r.html"
    path.write_text("old")

    def stop(i): raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt): write_report(path, **{**material, "pictures": stop})
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_little_is_enough(tmp_path):
    parts = pd.DataFrame(dict(id=["a"], rank=[1], score=[0.5]))
    path = write_report(tmp_path / "r.html", "t", "s", pd.DataFrame(), {}, parts, {"a": (np.zeros((4, 4)), None, None)})
    assert "not labeled" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="no column"): write_report(tmp_path / "s.html", "t", "s", pd.DataFrame(), {}, parts[["id"]], {})


@pytest.mark.browser
@pytest.mark.parametrize("scheme, width", [("light", 320), ("dark", 320), ("dark", 1280)])
def test_it_opens_without_a_network(written, chromium, scheme, width):
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"])
        try:
            page = browser.new_context(viewport=dict(width=width, height=800), color_scheme=scheme, offline=True).new_page()
            asked, said = [], []
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(written.as_uri(), timeout=60_000)
            page.wait_for_selector("#found-over-minutes .main-svg", timeout=60_000)
            assert [url for url in asked if not url.startswith(("data:", "file:", "blob:"))] == [] and said == []
            assert page.evaluate("window.pwned") is None
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            back, text = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
            dark = lambda color: sum(map(int, re.findall(r"\d+", color)[:3])) < 300  # noqa: E731
            assert dark(back) == (scheme == "dark") != dark(text)
            assert page.locator("figure.panel").count() == 27 and page.locator("svg .scatterlayer .trace").count() == 6 and page.locator("#per-round .bars .point").count() == 4
            boxes = [page.locator(f"#found-over-{x}").bounding_box() for x in ("labels", "minutes")]
            assert boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"] or boxes[1]["x"] >= boxes[0]["x"] + boxes[0]["width"]
        finally: browser.close()


@pytest.mark.browser
def test_it_prints(written, chromium, tmp_path):
    "Dark ink on white paper even from a dark screen; plots as wide as the paper, whole panels, and afterwards the screen is as it was."
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"])
        try:
            page = browser.new_context(viewport=dict(width=1200, height=800), color_scheme="dark", offline=True).new_page()
            page.goto(written.as_uri(), timeout=60_000)
            page.wait_for_selector("#per-round .main-svg", timeout=60_000)
            widths = "[...document.querySelectorAll('.plot .main-svg')].map(e => Math.round(e.getBoundingClientRect().width))"
            before = page.evaluate(widths)
            page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=False)
            content = (tmp_path / "report.pdf").read_bytes()
            assert content.startswith(b"%PDF") and 4 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 14 and page.evaluate(widths) == before
            page.set_viewport_size(dict(width=688, height=1000))
            page.emulate_media(media="print")
            page.evaluate("dispatchEvent(new Event('beforeprint'))")
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)" and page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
            assert max(page.evaluate(widths)) <= 688 and page.evaluate("document.documentElement.scrollWidth") <= 688
            assert page.evaluate("getComputedStyle(document.querySelector('.panel')).breakInside") == "avoid" and page.evaluate("getComputedStyle(document.querySelector('.wide')).overflowX") == "visible"
        finally: browser.close()


def test_the_sentence():
    assert manager_sentence(120, 1197, 38, 62) == "Labeling 120 of 1,197 parts found 38 of 62 defects; a random order needs about 720 for that."
    assert "about 56 for" in manager_sentence(20, 99, 5, 8)
    assert "about 1,200 for" in manager_sentence(120, 5000, 38, 62, random_needed=1203.4)
    assert "not known" in manager_sentence(1, 1, 0) and "none of 1 defects" in manager_sentence(1, 1, 0, 1)
    with pytest.raises(ValueError, match="pool_size"): manager_sentence(5, 4, 0, 1)


def test_tables_hold_any_value():
    table = pd.DataFrame(dict(a=[1, 2], b=[0.25, np.nan], c=[True, None], d=["<b>", ["x", "<y>"]], e=pd.array([1, None], "Int64")))
    page = html_table(table, "x & y")
    assert "<b>" not in page and "<y>" not in page and "x &amp; y" in page and page.count("–") == 3 and "nan" not in page.lower()


def test_tables_are_read_by_people():
    table = readable(pd.DataFrame(dict(round=[1, 2], hit_rate=[0.125, np.nan], same_verdict=[1.0, 0.0], iou=[0.5, np.nan], minutes=[0.5, 1.0])))
    assert table.columns.tolist() == ["round", "hit rate", "same verdict", "IoU", "minutes"] and table["hit rate"].tolist()[0] == "12%" and pd.isna(table["hit rate"][1]) and table["same verdict"].tolist() == ["100%", "0%"]
    assert html_table(table, "x").count("–") == 2


def test_curves_without_answers_and_with_corrections():
    empty = learning_curve(pd.DataFrame(dict(sample=pd.Series(dtype=object), defective=pd.array([], "boolean"))))
    assert empty[["asked", "found", "seconds"]].to_numpy().tolist() == [[0, 0, 0]]
    log = pd.DataFrame(dict(sample=["a", "a", "a"], defective=pd.array([True, None, True], "boolean"), has_mask=[True, False, True], seconds=[9.0, 1.0, 5.0]))
    curve = learning_curve(log)
    assert curve.asked.tolist() == [0, 1, 1, 1] and curve.found.tolist() == [0, 1, 0, 1] and curve.seconds.tolist() == [0, 60, 63, 123]
    assert learning_curve(log, seconds_good=None).seconds.iloc[-1] == 15
    assert len(plot_learning_curve({"empty": empty, "c": curve}, "minutes").data) == 2
    with pytest.raises(ValueError, match="labels"): plot_learning_curve({"c": curve}, "hours")


def test_costs():
    labels = Labels.of({"a": True, "b": False, "c": None, "d": True}, {"a": np.ones((2, 2), bool)})
    assert minutes(labels) == pytest.approx((60 + 3 * 3) / 60) and minutes(labels, 6, 0) == pytest.approx(18 / 60)
    with pytest.raises(ValueError, match="at least 0"): minutes(labels, -1)
    defective = pd.Series({"a": True, "b": False, "c": True})
    table = cost_table({"good": ["a", "c", "b"], "bad": ["b", "a", "c"]}, defective, found=1.0)
    assert table.labels.tolist() == [2, 3] and table["minutes at 120 s"].tolist() == [4.0, pytest.approx(243 / 60, abs=0.06)]
    with pytest.raises(ValueError, match="complete orders"): cost_table({"short": ["b"]}, defective)
    with pytest.raises(ValueError, match="cannot hold"): random_curve(3, 4)
    assert milestones({"short": ranking_curve(["b"], defective)}, 2).iloc[0, 1:].isna().all()


def test_pictures_of_any_kind():
    assert overlay(np.zeros((4, 4, 3), np.uint8)).shape == (4, 4, 3) and overlay(np.zeros((4, 4, 1))).shape == (4, 4, 3)
    assert overlay(np.zeros((4, 4)), np.zeros((4, 4), bool), np.full((2, 2), 7.0)).max() == 0
    with pytest.raises(ValueError, match="resize the mask"): overlay(np.zeros((4, 4)), np.zeros((4, 5), bool))
    with pytest.raises(ValueError, match="shape"): overlay(np.zeros(4))
    with pytest.raises(ValueError, match="format"): to_data_url(np.zeros((4, 4)), "jpg")
    with pytest.raises(ValueError, match="alternative"): show_images([np.zeros((4, 4))], ["a", "b"])
    page = show_images([np.zeros((4, 4))], ['<"x">'])._repr_html_()
    assert "<figcaption" in page and '<"x">' not in page
    image, mask = fitted(np.zeros((3, 2000)), np.ones((3, 2000), bool))
    assert image.shape == (1, 320, 3) and mask.all()
    assert hottest_place(np.full((3, 3), np.nan)) == "upper left"
    assert "hottest" not in part_panel(dict(id="p", rank=1, score=np.float64(1e-7)), np.zeros((4, 4)))
    assert panels(pd.DataFrame(dict(id=[], rank=[], score=[])), {}) == ([], "")


def test_a_round_counts_what_it_asked():
    store, ids = LabelStore(), [f"p{k:02d}" for k in range(20)]
    store.rounds.add(Round(1, pd.Index(ids[:6]), pd.Series(0.0, ids), pd.Index([]), "MSMR", 0))
    store.add(Labels.of({ids[0]: True, ids[1]: False, **dict.fromkeys(ids[6:], False)}), round=1)
    row = round_table(store.log(), store.rounds).iloc[0]
    assert (row.asked, row.answered, row.found, row.hit_rate) == (6, 2, 1, 0.5)
