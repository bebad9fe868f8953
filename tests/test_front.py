"""The front page and the README: they say the same, their picture is the chapter's, their numbers are those of the rows, and what is to be cited is right."""
import ast
import configparser
import re
from pathlib import Path
from statistics import mean

import front
import pytest
import yaml
from book import chapters, sections
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"": ROOT / "nbs" / "index.qmd", "nbs/": ROOT / "README.md"}
MARKS = ("figure", "results", "chapters", "citation")
KSDD, TILES = front.SETS


def text(below):
    return PAGES[below].read_text(encoding="utf-8")


def written(below, mark):
    "What stands between two marks."
    return re.search(rf"(?s)<!-- {mark} begin[^>]*-->\n(.*?)<!-- {mark} end -->", text(below))[1]


def prose(below):
    "The paragraphs that people wrote, without what is written by prepare, and as the front page links."
    kept = re.sub(r"(?s)\A---\n.*?\n---\n", "", text(below))
    for mark in MARKS: kept = re.sub(rf"(?s)<!-- {mark} begin.*?{mark} end -->", "", kept)
    kept = re.sub(r"(?m)^:::.*\n?", "", kept).replace(f"]({below}", "](")
    return [part.strip() for part in kept.split("\n\n") if part.strip()]


@pytest.mark.parametrize("below", PAGES)
def test_each_part_stands_between_its_marks(below):
    assert all(len(written(below, mark)) > 100 for mark in MARKS)


def test_the_readme_says_all_that_the_front_page_says():
    "Apart from the words around the live picture, which the README cannot have."
    readme = prose("nbs/")
    assert [part for part in prose("") if part not in readme] == ["## Try it", "Nobody has labeled anything yet. Where would you look first?"]


def test_the_first_paragraph_has_three_sentences():
    first = re.sub(r"\]\([^)]*\)", "]", prose("")[0])
    assert len(re.findall(r"[.?!](?= |$)", first)) == 3 and len(first.split()) < 90


@pytest.mark.parametrize("below", PAGES)
def test_every_chapter_is_on_the_map_once(below):
    listed = re.findall(r"(?m)^- \[.+?\]\(([^)\s]+)\)", written(below, "chapters"))
    assert sorted(listed) == sorted(below + member.name for _, _, members in sections(ROOT) for member in members)
    assert {below + chapter.name for chapter in chapters(ROOT)} <= set(listed)


def test_every_floor_and_every_page_of_the_map_has_a_sentence():
    assert not [title for title, line, members in sections(ROOT) if not line.endswith(".") or not all(member.blurb for member in members)]


# The picture

def test_the_live_picture_is_the_chapters():
    assert written("", "figure").strip() == "```{=html}\n" + front.explorer(ROOT) + "\n```" and "```" not in front.explorer(ROOT)


def test_the_still_picture_is_the_same_picture():
    path = ROOT / "nbs" / front.STILL
    drawn, kept = front.still(ROOT), Image.open(path)
    assert not front.differs(drawn, kept) and path.stat().st_size < 150_000 and kept.convert("RGBA").getpixel((0, 0))[3] == 0
    assert front.differs(drawn, drawn.rotate(180))
    described = re.search(r"!\[(.+?)\]\((.+?)\)", written("nbs/", "figure"))
    assert (ROOT / described[2]) == path and all(f"{name} ({letter})" in described[1] for name, (letter, _) in front.found(ROOT).items())


def test_what_is_said_about_the_picture_is_true():
    state, met = front.state(ROOT), front.found(ROOT)
    assert not state["picked"] and not state["revealed"] and set(met) == set(front.COLORS) - {"bad"} == {"random", "k-center", "MSMR"}
    assert met["MSMR"][1] > max(met["random"][1], met["k-center"][1])


# The numbers

def shares(below, data, name):
    "The shares in one row of the table, as numbers."
    table = written(below, "results").split(f"| {front.SETS[data]}:")[1].split("\n\n")[0]
    return [int(cell) for cell in re.findall(r"(\d+)\u00a0%", next(line for line in table.split("\n") if line.startswith(f"| {name}")))]


@pytest.mark.parametrize("below", PAGES)
def test_the_table_holds_the_measured_shares(below):
    import pandas as pd
    table = pd.read_csv(ROOT / "nbs" / "results" / "seed_b_found.csv").query("learner == 'small'")
    for data in front.SETS:
        for method, name in front.WAYS.items():
            rounds = table[(table.data == data) & (table.method == method)].pivot(index="seed", columns="round", values="found").reindex(columns=[1, 2, 3]).dropna()
            if rounds.empty: continue
            defects = table[table.data == data].defects.iloc[0]
            assert shares(below, data, name) == [round(100 * value) for value in rounds.mean() / defects]
    assert shares(below, KSDD, "Chance") == shares(below, TILES, "Chance") == [10, 20, 30]


def test_what_did_not_work_is_still_what_did_not_work():
    "Each sentence below the table, against the rows or the page that it comes from."
    sdr, confidence = ([mean(values) for values in zip(*front.runs(ROOT, KSDD, method))] for method in front.WAYS)
    assert abs(sdr[1] - confidence[1]) < 3 and sdr[2] >= confidence[2]
    assert 40 < 100 - mean(third for *_, third in front.runs(ROOT, TILES, "SDR")) < 60
    paper = (ROOT / "nbs" / "papers" / "sid4ds.ipynb").read_text(encoding="utf-8")
    assert re.search(rf"classical filter.{{0,160}}{front.DARK} %.{{0,80}}fifty draws", paper)
    ledger = (ROOT / "nbs" / "papers" / "mixed_supervision.ipynb").read_text(encoding="utf-8")
    assert "no way of choosing masks is reliably better than chance" in ledger
    none, every, masks, seeds = front.masks_worth(ROOT)
    assert every > none and (masks, seeds) == (268, 5)


def test_one_case_in_three_is_what_the_budget_says():
    from active_defects.formulas.budget import chance_of_missing
    assert "one case of three" in prose("")[0] and 1 / 3 < chance_of_missing(1000, 20, 50) < 0.4


# The lines, and what to cite

def test_the_ten_lines_use_stable_names():
    import active_defects.api as api
    code = re.search(r"(?s)```python\n(.*?)```", text(""))[1]
    used = {node.attr for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ad"}
    assert used and used <= set(api.__all__) and len(code.splitlines()) == 10 and max(map(len, code.splitlines())) <= 88


def test_what_to_cite_is_what_the_bibliography_says():
    cited, books = written("", "citation"), (ROOT / "nbs" / "references.bib").read_text(encoding="utf-8")
    assert cited == written("nbs/", "citation")
    for key in front.PAPERS:
        kind, fields = front.entry(books, key)
        assert f"@{kind}{{{key}," in cited and all(f"{name} = {{{value}}}" in cited for name, value in fields.items() if name not in front.ASIDES)


def test_the_citation_file_agrees():
    said, settings = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")), configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    book, books = settings["DEFAULT"], (ROOT / "nbs" / "references.bib").read_text(encoding="utf-8")
    assert said["cff-version"] == "1.2.0" and said["version"] == book["version"] and said["repository-code"] == book["git_url"] and said["authors"][0]["name"] == book["author"]
    plain = lambda words: re.sub(r"[{}]", "", words)  # noqa: E731
    for key, work in zip(front.PAPERS, said["references"]):
        fields = front.entry(books, key)[1]
        assert work["title"] == plain(fields["title"]) and work.get("doi") == fields.get("doi") and str(work.get("year", "")) == fields.get("year", "")
        if "author" in fields: assert [f"{one['family-names']}, {one['given-names']}" for one in work["authors"]] == plain(fields["author"]).split(" and ")
