"""What a first user stumbled over at the doors: names, slips in files, and what is said too often or not at all."""
import json
import logging

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from active_defects.cli import TOOLS, main
from active_defects.data import batches
from active_defects.data.database import Database, StoreError
from active_defects.data.store import LabelStore
from active_defects.data.synth import synth_surfaces
from active_defects.studio.coco import read_coco
from active_defects.studio.cvat import read_cvat

WORLD, TRUTH = synth_surfaces(n=8, size=48, prevalence=0.4, seed=3)
SMALL = ["--size", "32", "--device", "cpu"]
SQUARE = [[2, 2, 9, 2, 9, 9]]


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    for i in WORLD.ids: Image.fromarray(np.uint8(WORLD.images[i] * 255)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def project(images, tmp_path):
    (tmp_path / "here").mkdir()
    assert main(["ask", str(tmp_path / "here" / ".." / "images"), "--project", str(tmp_path / "p"), "--batch", "4", "--first", "MedianDeviation", "--quiet", *SMALL]) == 0
    return tmp_path / "p"


def asked(project): return pd.read_csv(project / "queue-001.csv").id.tolist()


def shape(i): return WORLD.images[i].shape


# The command line

def test_a_strategy_is_known_by_its_class_and_the_folder_by_its_place(project, images):
    kept = json.loads((project / "project.json").read_text())
    assert kept["first"] == "MedianDeviation" and kept["images"] == str(images)
    assert all(".." not in path for path in pd.read_csv(project / "queue-001.csv").path)


@pytest.mark.parametrize("name, says", [("", "needs a name"), (" ", "needs a name"), ("ann ", "take the space away"), ("assumed", "take another name")])
def test_an_answer_without_a_name_is_refused(project, capsys, name, says):
    (project / "answers" / "v.csv").write_text(f"id,verdict\n{asked(project)[0]},good\n")
    assert main(["tell", "--project", str(project), "--annotator", name]) == 2
    assert says in capsys.readouterr().err and len(LabelStore(project / "labels.db").log()) == 0


@pytest.mark.parametrize("word, more", [("good", "mend the mask"), ("ok", "'ok' is none of good")])
def test_a_verdict_that_falls_with_its_mask_is_named_too(project, word, more):
    first, second = asked(project)[:2]
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(project / "answers" / f"{first}.png")
    (project / "answers" / "v.csv").write_text(f"id,verdict\n{first},{word}\n{second},good\n")
    assert main(["tell", "--project", str(project)]) == 0
    rejected = pd.read_csv(project / "rejected.csv")
    assert len(rejected) == 2 and "50 x 50" in rejected.reason[0] and f"{first}: the verdict {word!r} is not taken either" in rejected.reason[1] and more in rejected.reason[1]
    assert LabelStore(project / "labels.db").latest().ids.tolist() == [second]


@pytest.mark.parametrize("suffix", [".json", ".xml", ".zip"])
def test_the_file_of_a_tool_without_its_name(project, tmp_path, capsys, suffix):
    (tmp_path / f"x{suffix}").write_text("[]")
    assert main(["tell", "--project", str(project), "--answers", str(tmp_path / f"x{suffix}")]) == 2
    said = capsys.readouterr().err
    assert all(f"--from {tool}" in said for tool in TOOLS)


def test_what_was_left_out_is_said_once_and_again_when_there_is_more(images, tmp_path, capsys):
    (images / "broken.png").write_text("no picture")
    def ask():
        assert main(["ask", str(images), "--project", str(tmp_path / "q"), "--batch", "2", "--first", "MedianDeviation", *SMALL]) == 0
        (tmp_path / "q" / "answers").mkdir(exist_ok=True)
        said, queues = capsys.readouterr().out, sorted((tmp_path / "q").glob("queue-*.csv"))
        (tmp_path / "q" / "answers" / "v.csv").write_text("id,verdict\n" + "".join(f"{i},good\n" for i in pd.read_csv(queues[-1]).id))
        assert main(["tell", "--project", str(tmp_path / "q"), "--quiet"]) == 0
        return said
    assert "1 file was left out" in ask()
    assert "left out" not in ask()
    (images / "other.webp").write_bytes(b"RIFF")
    assert "2 files were left out" in ask()


@pytest.mark.parametrize("quiet", [False, True])
def test_a_large_picture_is_a_warning_and_quiet_is_quiet(tmp_path, caplog, monkeypatch, quiet):
    monkeypatch.setattr(batches, "_reported", set())
    (tmp_path / "large").mkdir()
    Image.fromarray(np.zeros((700, 900), np.uint8)).save(tmp_path / "large" / "a.png")
    assert main(["rank", str(tmp_path / "large"), "--out", str(tmp_path / "r.csv"), "--strategy", "MedianDeviation", *SMALL, *["--quiet"] * quiet]) == 0
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("pictures of 900 x 700")]
    assert len(said) == (not quiet) and logging.getLogger("active_defects").level == logging.NOTSET
    assert quiet or "--size 64" in said[0]


# Files of tools

def test_a_category_that_the_file_does_not_list_is_no_defect_unless_all_are():
    one = dict(id=1, file_name=f"{WORLD.ids[0]}.png")
    document = {"images": [one], "categories": [{"id": 1, "name": "defect"}], "annotations": [{"image_id": 1, "category_id": 7, "segmentation": SQUARE}]}
    read = read_coco(document, WORLD.ids, shape)
    assert len(read.labels) == 0 and "category 7, which the file does not list" in read.rejected.reason[0]
    assert bool(read_coco(document, WORLD.ids, shape, category=None).labels.table.defective.iloc[0])
    assert bool(read_coco(document | {"categories": []}, WORLD.ids, shape).labels.table.defective.iloc[0])


def test_corners_that_are_no_numbers():
    source = f'<annotations><image name="{WORLD.ids[0]}.png" width="48" height="48"><polygon label="defect" points="a,b;c"/></image></annotations>'.encode()
    [reason] = read_cvat(source, WORLD.ids, shape).rejected.reason
    assert "the corners of a polygon must be numbers such as 10.5,3;12,8, got 'a,b;c'" in reason


def test_a_damaged_store_does_not_call_itself_safe(tmp_path):
    db = Database(tmp_path / "x.db", ["create table t (x)"], schema=1)
    with db: db.run("insert into t values (?)", "x" * 50_000)
    db.run("pragma wal_checkpoint(truncate)")
    db.close()
    content = bytearray((tmp_path / "x.db").read_bytes())
    content[4096:20_000] = b"\xff" * (20_000 - 4096)
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(StoreError) as said: Database(tmp_path / "x.db", ["create table t (x)"], schema=1).run("select * from t")
    assert "malformed: it is damaged; put a copy" in str(said.value) and "safe" not in str(said.value)


def test_help_says_what_silence_means_in_label_studio(capsys):
    with pytest.raises(SystemExit): main(["tell", "--help"])
    assert "In Label Studio a task that was submitted\nwithout marks is good" in capsys.readouterr().out
