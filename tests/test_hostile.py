"""What comes from outside is text, stays in its folder, and is refused where it is absurdly large."""
import ast
import inspect
import os
import re
import stat
import time
import xml.parsers.expat
import zipfile
import zlib
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from active_defects.cli import main
from active_defects.data.archive import BadArchive, unpack
from active_defects.data.folders import BadImage, check_image, read_folder, read_image, read_mask
from active_defects.data.labels import Labels
from active_defects.data.overlay import show_images
from active_defects.data.packed_masks import LIMIT_PIXELS, PackedMasks, decode_mask, encode_mask
from active_defects.data.store import LabelStore
from active_defects.data.synth import synth_surfaces
from active_defects.loop.learning_curve import plot_learning_curve, random_curve
from active_defects.studio.disputes import Dispute, dispute_panels
from active_defects.studio.masks import write_pngs
from active_defects.studio.panels import panels
from active_defects.studio.report import html_table, manager_sentence, readable, report_page, tally_sections, write_report
from active_defects.studio.tallies import annotator_table, group_table
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

ROOT = Path(__file__).resolve().parent.parent
EVIL = '<script>window.pwned=1</script>"><img src=x onerror=window.pwned=1>'
NAMES = ['<script>window.pwned=1<', 'weld <b> & "seam"', "it's 'quoted'", '"><img src=x onerror=window.pwned=1>', "&lt;script&gt;", "javascript:window.pwned=1", "{{7*7}} ${7*7} `id`", "=1+1",
         "--help", "a..b", "日本語 \u202e gnp", "line 3/<svg onload=window.pwned=1>", "line 3/style='background:red'"]


def tags(page):
    "Every tag of a page with its attributes, scripts' contents left out."
    found, parser = [], HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(page)
    return found


def harmless(page):
    "No element and no attribute that a name could have smuggled in."
    for tag, attributes in tags(page):
        assert tag not in {"iframe", "object", "embed", "form", "base"} and not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert not (tag == "img" and attributes.get("src") == "x") and (tag != "svg" or "onload" not in attributes)
    assert "<script>window" not in page
    return page


# ---- names are text: every place that makes HTML

@pytest.mark.parametrize("name", [EVIL, *NAMES])
def test_a_name_is_text_in_every_piece_of_a_page(name):
    image, mask = np.zeros((20, 20)), np.eye(20, dtype=bool)
    log = pd.DataFrame(dict(sample=[name], defective=pd.array([True], "boolean"), has_mask=[True], maskable=[True], annotator=[name], seconds=[3.0], round=[1], number=[1]))
    parts = pd.DataFrame(dict(id=[name, "gone"], rank=[1, 2], score=[0.5, 0.4], asked_round=[1, None], defective=pd.array([True, None], "boolean")))

    def look(i):
        if i == "gone": raise BadImage(f"{name} cannot be decoded")
        return image, np.eye(5), mask

    pieces = [*panels(parts, look)[0], *dispute_panels([Dispute(name, name, ((name, mask, None), (name, None, np.eye(4))))], lambda i: image),
              *dispute_panels([Dispute(name, name, ((name, np.eye(3, dtype=bool), None),))], lambda i: image), html_table(pd.DataFrame({name: [name]}), name), show_images([image], [name])._repr_html_(),
              *(text for _, text in tally_sections([(name, name, group_table(log, pd.Series([name], [name]), name)), (name, name, annotator_table(log))])),
              report_page(name, name, [(name, html_table(readable(pd.DataFrame({name: [name]})), name))])]
    assert len(pieces) == 8
    for piece in pieces:
        harmless(piece)
        assert {tag for tag, _ in tags(piece)} <= {"figure", "div", "img", "p", "b", "br", "span", "figcaption", "table", "thead", "tbody", "tr", "th", "td", "html", "head", "meta", "link", "title", "style",
                                                   "body", "main", "h1", "h2", "section"}


def test_a_name_does_not_end_the_script_of_a_plot():
    shown = plot_learning_curve({EVIL: random_curve(10, 2), "</script><script>window.pwned=1": random_curve(10, 2)})._repr_mimebundle_()["text/html"]
    assert "window.pwned" in shown and "</script><script>window" not in shown.lower() and "<img src=x" not in shown


# ---- the whole way: a folder with such names, three people, a report, a browser

@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    "A project on a folder of hostile names after two rounds and three annotators; its report."
    place = tmp_path_factory.mktemp("hostile")
    world, truth = synth_surfaces(n=len(NAMES) + 7, size=48, prevalence=0.4, seed=3)
    names, project = [*NAMES, *(f"part{k}" for k in range(7))], place / 'p & "q"'
    by_name = dict(zip(names, world.ids))
    for name, i in by_name.items():
        path = place / "<b>images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(world.images[i] * 255)).save(path)
    words = ["--project", str(project), "--quiet"]
    small = ["--size", "32", "--epochs", "2", "--device", "cpu"]
    assert main(["ask", str(place / "<b>images"), *words, *small, "--batch", "10", "--first", "baselines.median:MedianDeviation"]) == 0

    def answer(who, number, shift=0, wrong=0):
        asked = pd.read_csv(project / f"queue-{number:03d}.csv").id.tolist()
        folder = place / f"answers of {who[:3]}"
        for k, name in enumerate(asked):
            defective = bool(truth.table.defective[by_name[name]]) != (k < wrong)
            mask = np.roll(truth.masks[by_name[name]] if by_name[name] in truth.masks else np.eye(48, dtype=bool), shift, axis=1) if defective else np.zeros((48, 48), bool)
            path = folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.uint8(mask) * 255).save(path)
        assert main(["tell", *words, "--answers", str(folder), "--annotator", who, "--seconds", "7"]) == 0

    answer("ana", 1)
    answer(EVIL, 1, shift=2, wrong=1)
    assert main(["ask", *words, "--device", "cpu"]) == 0
    answer("bea", 2)
    assert main(["report", *words, "--device", "cpu"]) == 0
    return place, project, names


def test_the_report_of_several_annotators(reported):
    _, project, names = reported
    text = (project / "report.html").read_text(encoding="utf-8")
    own = harmless(re.sub(r"<script>.*?</script>", "", text, flags=re.S))
    headings = re.findall(r"<h[23]>(.*?)</h[23]>", own)
    assert headings[:5] == ["Defects found", "Rounds", "By folder", "Annotators", "Look at these again"] and "Where annotators differ" in headings
    assert re.fullmatch(r"Where the model of the last round contradicts a label \(it calls \d+ of 20 answered parts defective\)", headings[6]) or len(headings) == 8, headings
    log = LabelStore(project / "labels.db").log()
    assert log.groupby("annotator").size().to_dict() == {"ana": 10, EVIL: 10, "bea": 10}, "an annotator's answers took another's place"
    assert "&lt;script&gt;window.pwned=1&lt;/script&gt;" in own and text.count("<script>") == text.count("</script>") == 5
    assert set(log["sample"]) <= set(names) and (project / "report.html").stat().st_size < 8_000_000


def test_nothing_is_written_outside_of_the_project(reported):
    place, project, names = reported
    assert sorted(p.name for p in place.iterdir()) == sorted(["<b>images", "answers of <sc", "answers of ana", "answers of bea", project.name])
    assert {p.relative_to(project).parts[0] for p in project.rglob("*")} <= {"project.json", "labels.db", "labels.db-wal", "labels.db-shm", "labels.models", "answers", "report.html", "skipped.csv", "rejected.csv", "taken.json",
                                                                           "queue-001.csv", "queue-002.csv"}
    assert set(pd.read_csv(project / "queue-001.csv").id) <= set(names), "the queue does not give ids back as they are"


@pytest.mark.browser
def test_the_report_shows_names_as_text(reported, chromium):
    _, project, names = reported
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"])
        try:
            page = browser.new_context(offline=True, viewport=dict(width=360, height=800)).new_page()
            said = []
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto((project / "report.html").as_uri(), timeout=60_000)
            page.wait_for_selector("#per-round .main-svg", timeout=60_000)
            assert said == [] and page.evaluate("window.pwned") is None
            shown = page.evaluate("[...document.querySelectorAll('figure .id')].map(e => e.textContent)")
            assert set(shown) <= set(names) and len(set(shown) & set(NAMES)) >= 10
            assert EVIL in page.evaluate("[...document.querySelectorAll('td')].map(e => e.textContent)")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
        finally: browser.close()


# ---- nothing leaves its folder

OUTSIDE = ["../evil", "a/../../evil", "/evil", "..\\evil", "C:\\evil", "C:/evil", "\\\\server\\evil", "a\\..\\..\\evil", "..", "line/.."]


def contents(folder): return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_archive_writes_only_into_the_cache(tmp_path, monkeypatch, name):
    monkeypatch.setenv("ACTIVE_DEFECTS_CACHE", str(tmp_path / "a" / "b" / "cache"))
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as opened:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        opened.writestr("fine.txt", "fine")
        opened.writestr(info, "evil")
    with pytest.raises(BadArchive, match="points outside"): unpack(tmp_path / "evil.zip")
    assert not [path for path in contents(tmp_path) if path.endswith(("evil", ".txt"))]


def test_an_archive_cannot_build_a_bridge(tmp_path, monkeypatch):
    "A link first, then a file through it."
    monkeypatch.setenv("ACTIVE_DEFECTS_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as opened:
        link = zipfile.ZipInfo("bridge")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, str(tmp_path))
        opened.writestr("bridge/evil.txt", "evil")
    with pytest.raises(BadArchive, match="link"): unpack(tmp_path / "evil.zip")
    assert contents(tmp_path) == ["evil.zip"]


@pytest.mark.parametrize("name", OUTSIDE[:-2])
def test_an_id_names_no_file_outside(tmp_path, name):
    inside = tmp_path / "a" / "masks"
    with pytest.raises(ValueError, match="outside") as error: write_pngs({"fine": np.eye(4, dtype=bool), name: np.eye(4, dtype=bool)}, inside)
    assert repr(name)[1:-1] in str(error.value) and contents(tmp_path) == [], "something was written before the bad id was noticed"


def test_an_odd_id_names_a_file_inside(tmp_path):
    paths = write_pngs({name: np.eye(4, dtype=bool) for name in [*NAMES, "..", "line/.."]}, tmp_path / "masks")
    assert all(path.resolve().is_relative_to((tmp_path / "masks").resolve()) for path in paths) and len(set(paths)) == len(NAMES) + 2


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_store_keeps_any_id_and_writes_no_file_for_it(tmp_path, name):
    store = LabelStore(tmp_path / "a" / "labels.db") if (tmp_path / "a").mkdir() is None else None
    store.add(Labels.of({name: True}, {name: np.eye(4, dtype=bool)}, annotator=name))
    store.draft(name, name, np.eye(4, dtype=bool), {"tool": name})
    assert store.latest().ids.tolist() == [name] and list(store.drafts(name)) == [name]
    store.db.close()
    assert {p.name for p in tmp_path.iterdir()} == {"a"} and {p.name.split("-")[0] for p in (tmp_path / "a").iterdir()} == {"labels.db"}


def test_ids_are_values_and_no_sql(tmp_path):
    name = "'; drop table answer; --"
    store = LabelStore(tmp_path / "labels.db")
    store.add(Labels.of({name: True, 'a"b': False}, annotator=name))
    store.draft(name, name, None, {name: name})
    assert set(store.latest().ids) == {name, 'a"b'} and store.drafts(name) == {name: (None, {name: name})} and len(store.latest(annotator=name)) == 2
    store.drop_draft("%", "%")
    assert list(store.drafts(name)) == [name]


# ---- SVG and XML

LAUGHS = ('<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 12))
          + ']><svg xmlns="http://www.w3.org/2000/svg"><text>&a11;</text></svg>')
READS = '<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg"><text>&x;</text></svg>'


@pytest.mark.parametrize("text", [LAUGHS, READS])
@pytest.mark.parametrize("suffix", [".svg", ".png", ".tif"])
def test_a_drawing_is_no_picture_and_is_not_opened_as_one(tmp_path, text, suffix):
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "fine.png")
    (tmp_path / f"evil{suffix}").write_text(text)
    start = time.monotonic()
    pool, skipped = read_folder(tmp_path)
    assert pool.ids.tolist() == ["fine"] and time.monotonic() - start < 5
    assert len(skipped) == (suffix != ".svg") and not skipped.reason.str.contains("root:").any()
    for read in (read_image, read_mask, check_image):
        with pytest.raises(BadImage, match="is no JPEG"): read(tmp_path / f"evil{suffix}")


def modules_with_xml():
    "Modules of the package that import a parser of XML."
    for path in sorted((ROOT / "active_defects").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names} | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
        if any(name.split(".")[0] in {"xml", "lxml", "defusedxml"} for name in names): yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("text", [LAUGHS, READS])
def test_no_door_expands_entities(tmp_path, text):
    "Whatever reads XML refuses a file that defines entities, at once and by name, and shows nothing of another file."
    (tmp_path / "evil.xml").write_text(text)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as opened: opened.writestr("annotations.xml", text)
    assert (names := list(modules_with_xml())), "no door reads XML any more; take this test out"
    for name in names:
        module = import_module(name)
        readers = [thing for key, thing in vars(module).items() if key.startswith("read_") and inspect.isfunction(thing) and thing.__module__ == name]
        assert readers, f"{name} parses XML, but has no read_…; say here how it is tested"
        for read in readers:
            needed = [p.name for p in list(inspect.signature(read).parameters.values())[1:] if p.default is p.empty]
            stand_ins = {name: {"ids": ["fine"], "shape": lambda i: (20, 20)}[name] for name in needed}
            for file in ("evil.xml", "evil.zip"):
                start = time.monotonic()
                with pytest.raises(ValueError, match="document type or entities") as error: read(tmp_path / file, **stand_ins)
                assert time.monotonic() - start < 5 and len(str(error.value)) < 1000 and "root:" not in str(error.value), f"{name}.{read.__name__}"


def test_this_pythons_own_parser_stops_the_laughing():
    "The second line of defense, of expat itself (2.4 and later)."
    assert xml.parsers.expat.version_info >= (2, 4)


# ---- absurdly large

def bomb(width, height, depth=1, color=0):
    "A PNG of a few bytes that claims any size."
    number = lambda value: value.to_bytes(4, "big")  # noqa: E731
    chunk = lambda kind, data: number(len(data)) + kind + data + number(zlib.crc32(kind + data))  # noqa: E731
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", number(width) + number(height) + bytes([depth, color, 0, 0, 0])) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60_000, 60_000), (2 ** 31 - 1, 2 ** 31 - 1), (1, 2 ** 31 - 1)])
def test_a_huge_mask_is_refused_before_it_is_unpacked(size, monkeypatch):
    monkeypatch.setattr(PngImageFile, "load", lambda self: pytest.fail("it was unpacked"))
    for read in (decode_mask, lambda png: PackedMasks({"p": png})["p"]):
        with pytest.raises(ValueError, match=f"limit_pixels={LIMIT_PIXELS:,}; raise `limit_pixels`") as error: read(bomb(*size))
        assert f"{size[0]} x {size[1]}" in str(error.value)


def test_the_limit_of_masks_can_be_raised(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's own limit stands in nobody's way
    mask = np.random.default_rng(0).random((40, 50)) < 0.5
    for refuse in (lambda: encode_mask(mask, limit_pixels=1999), lambda: decode_mask(encode_mask(mask), limit_pixels=1999)):
        with pytest.raises(ValueError, match="raise `limit_pixels`"): refuse()
    small, wide = LabelStore(tmp_path / "labels.db", limit_pixels=1999), LabelStore(tmp_path / "labels.db", limit_pixels=2000)
    with pytest.raises(ValueError, match="limit_pixels=1,999"): small.add(Labels.of({"p": True, "q": False}, {"p": mask}))
    with pytest.raises(ValueError, match="limit_pixels=1,999"): small.draft("p", "ana", mask, {})
    assert len(small.log()) == 0 and small.drafts("ana") == {}
    wide.add(Labels.of({"p": True}, {"p": mask}))
    wide.draft("p", "ana", mask, {})
    assert np.array_equal(wide.latest().masks["p"], mask) and np.array_equal(wide.drafts("ana")["p"][0], mask)
    with pytest.raises(ValueError, match="raise `limit_pixels`"): small.latest().masks["p"]
    assert len(small.latest()) == 1, "a verdict does not need its mask"


@pytest.mark.parametrize("junk", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" * 10, bomb(3000, 3000), encode_mask(np.eye(300, dtype=bool))[:-30], LAUGHS.encode()], ids=["nothing", "a start", "a GIF", "a hollow PNG", "cut short", "XML"])
def test_what_is_no_mask_is_told(junk):
    with pytest.raises(ValueError) as error: decode_mask(junk)
    assert "draw it again" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("read", [read_image, read_mask, check_image])
def test_a_huge_picture_is_refused_and_the_limit_can_be_raised(tmp_path, read):
    (tmp_path / "bomb.png").write_bytes(bomb(60_000, 60_000, 8, 0))
    with pytest.raises(BadImage, match="enormous.*raise `limit_pixels`") as error: read(tmp_path / "bomb.png")
    assert "bomb.png" in str(error.value)
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "fine.png")
    with pytest.raises(BadImage, match="raise `limit_pixels`"): read(tmp_path / "fine.png", limit_pixels=899)
    assert read(tmp_path / "fine.png", limit_pixels=900) is not None


def test_a_huge_picture_does_not_hide_the_others(tmp_path):
    (tmp_path / "bomb.png").write_bytes(bomb(60_000, 60_000, 8, 0))
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "fine.png")
    pool, skipped = read_folder(tmp_path)
    assert pool.ids.tolist() == ["fine"] and "limit_pixels" in skipped.reason[0]


def test_a_report_stays_small_whatever_it_is_given(tmp_path):
    parts = pd.DataFrame(dict(id=["p" * 5000, "q"], rank=[1, 2], score=[1.0, 0.5]))
    sight = (np.random.default_rng(0).random((400, 400, 3)), None, None)
    many = [Dispute(f"d{k}", "different verdicts", (("ana", None, None), ("ben", None, None))) for k in range(200)]
    path = write_report(tmp_path / "r.html", "t" * 1000, manager_sentence(0, 0, 0), pd.DataFrame(), {}, parts, lambda i: sight, limit=5_300_000, disputes={"x": (many, 200)})
    text = path.read_text(encoding="utf-8")
    assert os.path.getsize(path) <= 5_300_000 and re.search(r"the worst \d+ of 200", text) and "</html>" in text
