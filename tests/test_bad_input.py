"""Whatever people, files and disks do: one clear sentence that names the file, exit code 2, no traceback, and nothing labeled is lost."""
import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from active_defects.cli import main
from active_defects.data.database import Database
from active_defects.data.store import LabelStore
from active_defects.data.synth import synth_surfaces
from active_defects.learners.training import Run, train

WORLD, TRUTH = synth_surfaces(n=16, size=48, prevalence=0.3, seed=3)
SMALL = ["--size", "32", "--epochs", "2", "--device", "cpu", "--quiet"]
MEDIAN = ["--strategy", "baselines.median:MedianDeviation", "--quiet"]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in WORLD.ids:
        Image.fromarray(np.uint8(WORLD.images[i] * 255)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def project(images, tmp_path):
    "A project with an open round of four, asked by the median filter."
    assert main(["ask", str(images), "--project", str(tmp_path / "p"), "--batch", "4", "--first", "baselines.median:MedianDeviation", *SMALL]) == 0
    return tmp_path / "p"


@pytest.fixture
def fails(capsys):
    "Runs a command that must fail, and returns its one sentence."
    def run(*words, says=()):
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and "Traceback" not in err and len(err) < 700, err
        assert err.startswith(f"active-defects {words[0]}: ") and all(str(part) in err for part in says), err
        return err
    return run


def asked(project, number=1): return pd.read_csv(project / f"queue-{number:03d}.csv").id.tolist()


def draw(project, i, mask=None, shape=(48, 48)):
    mask = TRUTH.masks.get(i, np.zeros(shape)) if mask is None else mask
    Image.fromarray(np.uint8(mask) * 255).save(project / "answers" / f"{i}.png")


def answered(project): return LabelStore(project / "labels.db").log()["sample"].tolist()


# Folders and pictures

def test_a_folder_that_is_not_there(fails, tmp_path):
    fails("rank", tmp_path / "none", *MEDIAN, says=["none is not a folder", "give the folder"])
    fails("ask", tmp_path / "none", "--project", tmp_path / "p", says=["none is not a folder"])


def test_a_folder_without_pictures(fails, tmp_path):
    fails("rank", tmp_path, "--out", tmp_path / "r.csv", *MEDIAN, says=[tmp_path, "no usable picture", ".bmp"])


@pytest.mark.parametrize("name, content, says", [
    ("zero.png", b"", "empty"), ("text.png", b"a text that is called a picture", "whatever its name says"),
    ("enormous.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0", "enormous")])
def test_nothing_but_a_bad_file(fails, tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    fails("rank", tmp_path, "--out", tmp_path / "r.csv", *MEDIAN, says=[name, says])


def test_nothing_but_a_picture_below_the_minimum(fails, tmp_path):
    Image.fromarray(np.zeros((40, 9), np.uint8)).save(tmp_path / "narrow.png")
    fails("rank", tmp_path, "--out", tmp_path / "r.csv", *MEDIAN, says=["narrow.png", "at least 16"])


def test_damage_in_the_middle_is_found_before_the_training(images, fails, tmp_path, capsys):
    for i in WORLD.ids[:2]:
        content = bytearray((images / f"{i}.png").read_bytes())
        content[500:700] = bytes(200)
        (images / f"{i}.png").write_bytes(content)
    assert main(["rank", str(images), "--out", str(tmp_path / "r.csv"), "--strategy", "baselines.median:MedianDeviation"]) == 0
    assert "2 files were left out" in capsys.readouterr().out and len(pd.read_csv(tmp_path / "r.csv")) == 14
    assert pd.read_csv(tmp_path / "r.skipped.csv").reason.str.contains("damaged").all()
    for file in images.iterdir():
        if file.stem not in WORLD.ids[:2]: file.unlink()
    fails("rank", images, "--out", tmp_path / "r.csv", *MEDIAN, says=["no picture below", "can be decoded"])


def test_an_archive_that_points_outside(fails, tmp_path, monkeypatch):
    monkeypatch.setenv("ACTIVE_DEFECTS_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive: archive.writestr("../evil.jpg", b"x")
    fails("demo", "--data", tmp_path / "bad.zip", "--out", tmp_path / "demo", "--quiet", says=["bad.zip", "points outside"])
    assert not (tmp_path / "evil.jpg").exists() and not list(tmp_path.rglob("evil.jpg"))


# What is typed

def test_an_output_that_is_a_folder(fails, images, tmp_path):
    fails("rank", images, "--out", tmp_path, *MEDIAN, says=["is a folder"])
    fails("rank", images, "--out", tmp_path / "no" / "such" / "r.csv", *MEDIAN, says=[tmp_path / "no", "check the spelling"])
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("device, says", [("cuda:7", "GPUs; use 'cpu'"), ("toaster", "no device 'toaster'")])
def test_a_device_that_is_not_there(fails, images, device, says):
    fails("rank", images, "--device", device, says=[says])


@pytest.mark.parametrize("words", [["--size", "100"], ["--size", "-16"], ["--seed", "-1"], ["--workers", "0"], ["--epochs", "many"]])
def test_numbers_that_make_no_sense(images, words, capsys):
    with pytest.raises(SystemExit) as end: main(["rank", str(images), *words])
    assert end.value.code == 2 and f"argument {words[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "1e999", "long"])
def test_seconds_are_finite_and_not_negative(project, seconds, capsys):
    with pytest.raises(SystemExit) as end: main(["tell", "--project", str(project), "--seconds", seconds])
    assert end.value.code == 2 and f"argument --seconds: must be a number of at least 0, got '{seconds}'" in capsys.readouterr().err


@pytest.mark.parametrize("words, usage", [(["tell", "--anotator", "ann", "--project", "p"], "tell"), (["ask", "images", "--project", "p", "--strat", "x"], "ask"), (["rank"], "rank")])
def test_a_mistyped_option_shows_the_usage_of_its_command(words, usage, capsys):
    with pytest.raises(SystemExit) as end: main(words)
    assert end.value.code == 2 and capsys.readouterr().err.startswith(f"usage: active-defects {usage} ")


MODULE = """import numpy as np
import pandas as pd
class NaN:
    pointwise = nested = True
    def score(self, state): return pd.Series(0.0, state.candidates).where(state.candidates != state.pool.ids[3], np.nan)
class Bug(NaN):
    def score(self, state): return None + 1
class Few(NaN):
    pointwise = False
    def score(self, state): return pd.Series(0.0, state.candidates[1:])
class Needy(NaN):
    def __init__(self, model): self.model = model
class Nothing: pass
"""


@pytest.mark.parametrize("name, says", [
    ("mine:NaN", f"NaN: scores must be finite, got nan for '{WORLD.ids[3]}'"), ("mine:Bug", "something unexpected happened (TypeError"), ("mine:Few", "missing ["),
    ("mine:Needy", "cannot be made without arguments"), ("mine:Nothing", "no 'score'"), ("mine:Other", "has no 'Other'"), ("yours:NaN", "no module 'yours'"), ("broken:X", "SyntaxError"), ("plain", "package.module:Class"),
    ("strategies.uncertainty:Uncertainty", "learns from labels"), ("strategies.margin:Margin", "learns from labels")])
def test_a_strategy_that_does_not_work(fails, images, tmp_path, monkeypatch, name, says):
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("class X(:")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    fails("rank", images, "--out", tmp_path / "r.csv", "--strategy", name, "--device", "cpu", "--quiet", says=[says])
    assert not (tmp_path / "r.csv").exists()


def test_nan_scores_in_a_project_ask_nothing(fails, images, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    fails("ask", images, "--project", tmp_path / "p", "--first", "mine:NaN", "--device", "cpu", "--quiet", says=["finite", WORLD.ids[3], "--first mine:NaN"])
    assert not (tmp_path / "p" / "project.json").exists()
    assert len(LabelStore(tmp_path / "p" / "labels.db").rounds) == 0


# Answers

def test_bad_answers_do_not_hold_up_the_good_ones(project, capsys):
    ids = asked(project)
    draw(project, ids[0])
    draw(project, ids[1], np.zeros((10, 12)))
    draw(project, ids[2], np.eye(48) / 255)
    draw(project, "nobody", np.zeros((48, 48)))
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(project / "answers" / f"{ids[3]}.jpg")
    (project / "answers" / "text.png").write_text("no mask")
    (project / "answers" / "more.csv").write_text(f"id,verdict\n{ids[3]},perhaps\nsomeone,good\n")
    assert main(["tell", "--project", str(project), "--quiet"]) == 0
    rejected = pd.read_csv(project / "rejected.csv")
    for words in ("12 x 10 pixels, its picture 48 x 48", "nobody.png names no part", "is a JPEG", "text.png names no part", "'perhaps' is no verdict", "more.csv: someone names no part"):
        assert rejected.reason.str.contains(words, regex=False).sum() == 1, words
    assert "not taken" in capsys.readouterr().err and set(answered(project)) <= {ids[0], ids[2]} and ids[0] in answered(project)


def test_masks_of_ones_are_not_taken_for_good_parts(fails, project):
    i = asked(project)[0]
    Image.fromarray(np.eye(48, dtype=np.uint8)).save(project / "answers" / f"{i}.png")
    fails("tell", "--project", project, says=[f"{i}.png", "brighter than half", "rejected.csv"])
    Image.fromarray(np.full((48, 48, 4), (255, 0, 0, 9), np.uint8)).save(project / "answers" / f"{i}.png")
    fails("tell", "--project", project, says=[f"{i}.png", "transparent"])
    assert answered(project) == []


def test_answers_that_contradict_each_other(fails, project):
    i, defect = asked(project)[0], np.eye(48)
    draw(project, i, defect)
    for verdict in ("good", "skip", "no-mask"):
        (project / "answers" / "a.csv").write_text(f"id,verdict\n{i},{verdict}\n")
        fails("tell", "--project", project, says=["keep one of the two"])
    draw(project, i, 0 * defect)
    (project / "answers" / "a.csv").write_text(f"id,verdict\n{i},defective\n")
    fails("tell", "--project", project, says=["all black"])


@pytest.mark.parametrize("source, says", [("nowhere", "nowhere does not exist"), ("empty", "no answers in"), ("queue-001.csv", "no column 'verdict'"), ("latin.csv", "not in UTF-8"), ("nothing.csv", "not a table")])
def test_answers_that_are_none(fails, project, source, says):
    (project / "empty").mkdir()
    (project / "latin.csv").write_bytes("id,verdict\nTür,good\n".encode("latin-1"))
    (project / "nothing.csv").touch()
    fails("tell", "--project", project, "--answers", project / source, says=[source, says])


def test_a_round_that_was_never_asked(fails, images, tmp_path):
    for command in ("tell", "report", "ask"):
        fails(command, "--project", tmp_path, says=["is no project yet"])
    (tmp_path / "project.json").write_text(f'{{"images": "{images}"}}')
    for command in ("tell", "report"):
        fails(command, "--project", tmp_path, says=["asked nothing yet"])
    assert not (tmp_path / "labels.db").exists()


@pytest.mark.parametrize("words, says", [
    (["IMAGES", "--first", "strategies.nothing:X"], "no module 'strategies.nothing'"), (["IMAGES", "--strategy", "mzmr"], "did you mean MSMR"),
    (["EMPTY"], "no usable picture"), (["IMAGES/none"], "not a folder"), (["IMAGES", "--device", "toaster"], "no device")])
def test_an_ask_that_fails_keeps_nothing(fails, images, tmp_path, words, says):
    (tmp_path / "empty").mkdir()
    typed = [word.replace("IMAGES", str(images)).replace("EMPTY", str(tmp_path / "empty")) for word in words]
    assert "project.json" not in fails("ask", *typed, "--project", tmp_path / "p", "--quiet", says=[says])
    assert not (tmp_path / "p").exists()


def test_a_first_strategy_that_needs_labels_begins_no_project(fails, images, tmp_path):
    words = ["ask", images, "--project", tmp_path / "p", "--device", "cpu", "--quiet"]
    fails(*words, "--first", "strategies.margin:Margin", says=["--first strategies.margin:Margin: ", "nothing to learn"])
    assert not (tmp_path / "p" / "project.json").exists()
    fails("ask", "--project", tmp_path / "p", says=["is no project yet", "ask PICTURES"])
    assert main([*map(str, words), "--first", "strategies.strategy:Random"]) == 0


def test_a_change_that_fails_leaves_the_project_as_it_was(fails, project, tmp_path):
    before = (project / "project.json").read_bytes()
    (tmp_path / "other").mkdir()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "other" / "x.png")
    for words in (["--first", "strategies.nothing:X"], ["--strategy", "nothing"], [tmp_path / "none"], [tmp_path / "other"], ["--batch", "3", "--device", "toaster"]):
        fails("ask", *words, "--project", project, "--quiet")
        assert (project / "project.json").read_bytes() == before
    assert main(["ask", "--project", str(project), "--device", "cpu", "--quiet"]) == 0


def test_a_folder_whose_pictures_are_all_damaged_begins_no_project(fails, tmp_path, images):
    for file in list(images.iterdir())[1:]: file.unlink()
    file = next(images.iterdir())
    content = bytearray(file.read_bytes())
    content[500:700] = bytes(200)
    file.write_bytes(content)
    fails("ask", images, "--project", tmp_path / "p", "--device", "cpu", "--quiet", says=["can be decoded", file.name])
    assert not (tmp_path / "p").exists()


def test_a_project_that_is_a_file(fails, images, tmp_path):
    (tmp_path / "ranking.csv").touch()
    fails("ask", images, "--project", tmp_path / "ranking.csv", "--quiet", says=["ranking.csv is a file; name a folder"])
    fails("ask", images, "--project", tmp_path / "ranking.csv" / "p", "--quiet", says=["ranking.csv is a file; name a folder"])
    for command in ("tell", "report"): fails(command, "--project", tmp_path / "ranking.csv", says=["ranking.csv is a file; name a folder"])


@pytest.mark.parametrize("name, value, says", [
    ("strategy", "strategies.gone:X", "--strategy"), ("first", "strategies.gone:X", "--first"), ("images", "/nowhere", "ask PICTURES --project"), ("batch", "many", "--batch"), ("assume_good", -1, "--assume-good"), ("size", 100, "--size"), ("first", 3, "--first")])
def test_a_kept_setting_that_went_bad_is_named(fails, project, name, value, says):
    settings = json.loads((project / "project.json").read_text())
    (project / "project.json").write_text(json.dumps(settings | {name: value}))
    fails("ask", "--project", project, "--device", "cpu", "--quiet", says=["project.json", says, "change it with"])
    typed = [value if name == "images" else f"--{name.replace('_', '-')}", *([] if name == "images" else [str(settings[name])])]
    if name != "images": assert main(["ask", *typed, "--project", str(project), "--device", "cpu", "--quiet"]) == 0
    else: assert main(["ask", settings["images"], "--project", str(project), "--device", "cpu", "--quiet"]) == 0


def test_the_pictures_of_another_project(fails, project, tmp_path):
    (tmp_path / "other").mkdir()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "other" / "x.png")
    fails("ask", tmp_path / "other", "--project", project, "--quiet", says=["lacks 4 of the 4 parts", min(asked(project))])


def test_a_folder_that_renames_the_parts_is_refused(fails, images, tmp_path):
    (images / "lot1").mkdir()
    for path in list(images.glob("*.png"))[:12]: path.rename(images / "lot1" / path.name)
    project = tmp_path / "q"
    assert main(["ask", str(images), "--project", str(project), "--batch", "16", "--first", "baselines.median:MedianDeviation", *SMALL]) == 0
    (project / "answers" / "a.csv").write_text("id,verdict\n" + "".join(f"{i},good\n" for i in asked(project)[:3]))
    assert main(["tell", "--project", str(project), "--quiet"]) == 0
    before = (project / "project.json").read_bytes()
    for folder in (images / "lot1", images.parent):
        fails("ask", folder, "--project", project, "--quiet", says=[f"{folder} lacks 16 of the 16 parts", "ids are paths below the folder", str(images)])
    assert (project / "project.json").read_bytes() == before
    moved = images.rename(tmp_path / "moved")
    assert main(["ask", str(moved), "--project", str(project), "--quiet"]) == 0


def test_pictures_of_the_same_folder_may_go(project, images):
    for i in asked(project)[1:]: (images / f"{i}.png").unlink()
    assert main(["ask", "--project", str(project), "--quiet"]) == 0



def test_a_damaged_project_file(fails, project):
    (project / "project.json").write_text('{"images": ')
    fails("tell", "--project", project, says=["project.json is damaged", "labels.db keeps all answers"])


@pytest.mark.parametrize("verdict, next_one", [("good", "MedianDeviation"), ("skip", "MedianDeviation"), ("no-mask", "MedianDeviation"), (None, "LikelyDefect")])
def test_a_first_batch_of_one_class_only(project, verdict, next_one):
    if verdict: (project / "answers" / "all.csv").write_text("id,verdict\n" + "".join(f"{i},{verdict}\n" for i in asked(project)))
    else:
        for i in asked(project): draw(project, i, np.eye(48))
    assert main(["tell", "--project", str(project), "--quiet"]) == 0
    assert main(["ask", "--project", str(project), "--device", "cpu", "--quiet"]) == 0
    assert pd.read_csv(project / "queue-002.csv").why.str.startswith(next_one).all()
    assert len(answered(project)) == 4


def test_nothing_left_to_ask(images, tmp_path, capsys):
    project = tmp_path / "p"
    assert main(["ask", str(images), "--project", str(project), "--batch", "99", "--first", "strategies.strategy:Random", "--device", "cpu", "--quiet"]) == 0
    (project / "answers" / "all.csv").write_text("id,verdict\n" + "".join(f"{i},skip\n" for i in WORLD.ids))
    assert main(["tell", "--project", str(project), "--quiet"]) == 0
    assert main(["ask", "--project", str(project), "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert "all 16 parts are settled; see `active-defects report" in out and not (project / "queue-002.csv").exists()


# Stores and disks

def test_a_store_of_a_newer_schema(fails, project):
    with sqlite3.connect(project / "labels.db") as db: db.execute("pragma user_version = 99")
    before = (project / "labels.db").read_bytes()
    for command in ("ask", "tell", "report"):
        fails(command, "--project", project, *(["--quiet"] if command == "ask" else []), says=["labels.db", "newer version (schema 99", "update active_defects"])
    assert (project / "labels.db").read_bytes() == before


def test_a_store_that_is_none(fails, project):
    for file in project.glob("labels.db-*"): file.unlink()
    (project / "labels.db").write_bytes(b"this is not a database " * 100)
    fails("tell", "--project", project, says=["labels.db", "not a label store"])


@pytest.mark.parametrize("pragma, says", [("max_page_count = 1", "the disk is full"), ("query_only = 1", "read-only")])
def test_a_full_and_a_read_only_store(fails, project, monkeypatch, pragma, says):
    ids, opened = asked(project), Database.__init__
    draw(project, ids[0])
    assert main(["tell", "--project", str(project), "--quiet"]) == 0
    for k, i in enumerate(WORLD.ids): draw(project, i, np.random.default_rng(k).random((48, 48)) > 0.5)
    with monkeypatch.context() as patched:
        patched.setattr(Database, "__init__", lambda self, *given: (opened(self, *given), self.run(f"pragma {pragma}"))[0])
        fails("tell", "--project", project, says=["labels.db", says, "What was answered before is safe"])
    assert answered(project) == ids[:1]
    assert main(["tell", "--project", str(project), "--quiet"]) == 0 and set(answered(project)) == set(WORLD.ids)


def failing(number, after=0):
    "A replacement for a function of the disk, which fails from some call on."
    calls = []

    def refuse(*anything, **more):
        calls.append(anything)
        if len(calls) > after: raise OSError(number, os.strerror(number))
    return refuse


@pytest.mark.parametrize("after, file", [(0, "skipped.csv"), (1, ".safetensors"), (2, "r.csv")])
def test_a_full_disk_while_ranking(fails, images, tmp_path, monkeypatch, after, file):
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing(errno.ENOSPC, after))
        fails("rank", images, "--out", tmp_path / "r.csv", *SMALL, says=[file, "the disk is full", "free some space"])
    assert not (tmp_path / "r.csv").exists() and not list(tmp_path.rglob(".*"))
    if after == 2: monkeypatch.setattr("active_defects.learners.reconstruction.train", None)
    assert main(["rank", str(images), "--out", str(tmp_path / "r.csv"), *SMALL]) == 0


@pytest.mark.parametrize("number, says", [(errno.EROFS, "read-only"), (errno.EACCES, "no permission")])
def test_a_folder_that_cannot_be_written(fails, images, tmp_path, monkeypatch, number, says):
    monkeypatch.setattr(tempfile, "mkstemp", failing(number))
    fails("rank", images, "--out", tmp_path / "r.csv", *SMALL, says=["skipped.csv", says])
    fails("ask", images, "--project", tmp_path / "p", *SMALL, says=["skipped.csv", says])
    assert not (tmp_path / "p").exists() or not list((tmp_path / "p").iterdir())


def test_a_store_in_a_closed_folder(fails, project, monkeypatch):
    def refuse(*anything, **more): raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    fails("tell", "--project", project, says=["labels.db", "choose another one"])


def test_a_part_of_the_path_that_is_a_file(fails, images, tmp_path):
    (tmp_path / "file").touch()
    fails("rank", images, "--out", tmp_path / "file" / "r.csv", *MEDIAN, says=["skipped.csv", "cannot write"])


def test_a_full_disk_while_asking_loses_no_answer(fails, project, monkeypatch):
    ids = asked(project)
    for i in ids: draw(project, i, np.eye(48))
    assert main(["tell", "--project", str(project), "--quiet"]) == 0
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing(errno.ENOSPC, 1))
        fails("ask", "--project", project, "--device", "cpu", "--quiet", says=["the disk is full"])
    assert set(answered(project)) == set(ids) and not (project / "queue-002.csv").exists()
    assert main(["ask", "--project", str(project), "--device", "cpu", "--quiet"]) == 0 and len(asked(project, 2)) == 4


# Interruptions

WRAPPER = "import sys; from active_defects.learners.training import train; train.__defaults__ = (*train.__defaults__[:-1], 0.0); from active_defects.cli import main; sys.exit(main(sys.argv[1:]))"


def test_killed_in_the_middle_of_a_training_it_goes_on_from_there(images, tmp_path, monkeypatch):
    words = ["rank", str(images), "--size", "32", "--epochs", "30", "--device", "cpu", "--quiet"]
    run = subprocess.Popen([sys.executable, "-c", WRAPPER, *words, "--out", str(tmp_path / "r.csv")], env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not (saved := list(tmp_path.glob("r.models/*/*.checkpoint"))) and run.poll() is None and time.monotonic() < deadline: time.sleep(0.02)
        assert saved and run.poll() is None, run.stderr.read() if run.poll() is not None else "no checkpoint appeared"
        run.send_signal(signal.SIGKILL)
    finally:
        run.kill()
        run.communicate()
    assert not (tmp_path / "r.csv").exists()
    resumed, resume = [], Run.resume
    monkeypatch.setattr(Run, "resume", lambda self: (resume(self), resumed.append(len(self.history)))[0])
    assert main([*words, "--out", str(tmp_path / "r.csv")]) == 0
    assert main([*words, "--out", str(tmp_path / "whole.csv")]) == 0
    assert 0 < resumed[0] < 30 and resumed[1] == 0
    assert pd.read_csv(tmp_path / "r.csv").id.tolist() == pd.read_csv(tmp_path / "whole.csv").id.tolist()
    np.testing.assert_allclose(pd.read_csv(tmp_path / "r.csv").score, pd.read_csv(tmp_path / "whole.csv").score, rtol=1e-5)
    assert not list(tmp_path.glob("r.models/*/*.checkpoint"))


def test_an_interrupted_ask_keeps_every_answer(project, monkeypatch, capsys):
    ids = asked(project)
    for i in ids: draw(project, i, np.eye(48))
    assert main(["tell", "--project", str(project), "--quiet"]) == 0
    with monkeypatch.context() as patched:
        def stop(self, loss, keep): raise KeyboardInterrupt

        patched.setattr(Run, "finish_epoch", stop)
        assert main(["ask", "--project", str(project), "--device", "cpu", "--quiet"]) == 130
    assert "run the same command again" in capsys.readouterr().err and set(answered(project)) == set(ids)
    assert len(LabelStore(project / "labels.db").rounds) == 1
    assert main(["ask", "--project", str(project), "--device", "cpu", "--quiet"]) == 0 and len(asked(project, 2)) == 4


def test_killed_between_the_round_and_its_queue(project):
    queue = (project / "queue-001.csv").read_bytes()
    (project / "queue-001.csv").unlink()
    assert main(["ask", "--project", str(project), "--quiet"]) == 0
    assert (project / "queue-001.csv").read_bytes() == queue
    assert train.__defaults__[-1] > 0
