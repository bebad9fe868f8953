"""The command line does its errands on mixed folders, in separate processes, and always the same way."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from active_defects import __version__
from active_defects import demo as demo_module
from active_defects import ranking as ranking_module
from active_defects.answers import VERDICTS
from active_defects.cli import BUILT_IN, main
from active_defects.data.folders import read_folder
from active_defects.data.store import LabelStore
from active_defects.data.synth import synth_surfaces
from active_defects.named import load_strategy, tuned
from active_defects.ranking import rank_pool

COMMAND = Path(sys.executable).parent / "active-defects"
SMALL = ["--size", "32", "--epochs", "2", "--device", "cpu", "--quiet"]
WORLD, TRUTH = synth_surfaces(n=24, size=64, prevalence=0.25, seed=3)


def save(path, gray, color=False, deep=False):
    "A gray picture in [0, 1] as a file, in color or with 16 bits if wanted."
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.uint16(gray * 65535) if deep else np.uint8(gray * 255)
    Image.fromarray(np.stack([levels] * 3, axis=-1) if color else levels).save(path)


def write_images(folder, ids=WORLD.ids):
    for i in ids:
        save(folder / f"{i}.png", WORLD.images[i])
    return folder


def write_masks(answers, ids, truth=TRUTH):
    for i in ids:
        Image.fromarray(np.uint8(truth.masks.get(i, np.zeros((64, 64)))) * 255).save(answers / f"{i.replace('/', '__')}.png")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    "Every format, depth and several sizes, at several depths; and what is no picture."
    folder, kinds = tmp_path_factory.mktemp("mixed") / "images", [("a.png", False, False), ("b.png", True, False), ("deep/c.png", False, True), ("d.jpg", False, False), ("e.JPG", True, False), ("f.bmp", False, False),
             ("deep/er/g.bmp", True, False), ("h.tif", False, False), ("i.tiff", True, False), ("j.tif", False, True), ("deep/er/k.jpeg", True, False), ("a.jpg", False, False)]
    for k, (name, color, deep) in enumerate(kinds):
        save(folder / name, WORLD.images[WORLD.ids[k]][:20 + 4 * k, :64 - 3 * k], color, deep)
    (folder / "notes.txt").write_text("no picture, and not called one")
    (folder / "text.png").write_text("a text that is called a picture")
    (folder / "zero.png").touch()
    whole = (folder / "a.png").read_bytes()
    (folder / "deep" / "truncated.png").write_bytes(whole[:len(whole) // 2])
    (folder / "enormous.png").write_bytes(whole[:16] + (50_000).to_bytes(4, "big") * 2 + whole[24:])
    save(folder / "tiny.png", WORLD.images[WORLD.ids[0]][:8, :8])
    return folder


@pytest.fixture(scope="module")
def ranked_once(mixed, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "ranking.csv"
    assert main(["rank", str(mixed), "--out", str(out), *SMALL]) == 0
    return out


def test_a_mixed_folder_is_ranked_completely(mixed, ranked_once):
    table = pd.read_csv(ranked_once)
    assert list(table) == ["id", "path", "score", "rank"] and len(table) == 12
    assert table["rank"].tolist() == list(range(1, 13)) and table.score.is_monotonic_decreasing and np.isfinite(table.score).all()
    assert {"a.png", "a.jpg", "b", "deep/c", "deep/er/k"} <= set(table.id)
    assert all(Path(path).is_file() for path in table.path)


def test_what_is_no_picture_is_listed_with_a_reason(ranked_once):
    skipped = pd.read_csv(ranked_once.with_name("skipped.csv"))
    reasons = {Path(path).name: reason for path, reason in zip(skipped.path, skipped.reason)}
    assert set(reasons) == {"text.png", "zero.png", "truncated.png", "enormous.png", "tiny.png"}
    for name, words in {"text.png": "whatever its name says", "zero.png": "empty", "truncated.png": "cut short", "enormous.png": "enormous", "tiny.png": "at least 16"}.items():
        assert words in reasons[name]


def test_the_summary_says_what_was_left_out(mixed, ranked_once, capsys):
    assert main(["rank", str(mixed), "--out", str(ranked_once), *SMALL[:-1]]) == 0
    said = capsys.readouterr().out
    assert "12 pictures" in said and "5 files were left out" in said and "nothing had to be trained" in said


def test_a_second_call_trains_nothing_and_writes_the_same(mixed, ranked_once, monkeypatch):
    before = ranked_once.read_bytes()
    monkeypatch.setattr("active_defects.learners.reconstruction.train", None)
    assert main(["rank", str(mixed), "--out", str(ranked_once), *SMALL]) == 0
    assert ranked_once.read_bytes() == before


def test_the_same_seed_gives_the_same_table_and_another_one_does_not(mixed, ranked_once, tmp_path):
    seeds = {}
    for seed in ("0", "1"):
        assert main(["rank", str(mixed), "--out", str(tmp_path / f"{seed}.csv"), "--keep", str(tmp_path / "models"), "--seed", seed, *SMALL]) == 0
        seeds[seed] = (tmp_path / f"{seed}.csv").read_bytes()
    assert seeds["0"] == ranked_once.read_bytes() != seeds["1"]


def test_quiet_says_nothing(mixed, tmp_path, capfd):
    assert main(["rank", str(mixed), "--out", str(tmp_path / "r.csv"), "--strategy", "baselines.median:MedianDeviation", *SMALL]) == 0
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    folder = write_images(tmp_path_factory.mktemp("plates"))
    return read_folder(folder)[0], tuned(load_strategy("strategies.msmr:MSMR"), 32, "cpu", 2, False), tmp_path_factory.mktemp("shelf")


def test_one_worker_and_two_give_identical_tables(plates):
    pool, strategy, shelf = plates
    one, two = (rank_pool(pool, strategy, shelf=shelf, workers=workers, piece=5) for workers in (1, 2))
    pd.testing.assert_frame_equal(one.table, two.table, check_exact=True)
    assert two.trained == ()


@pytest.mark.parametrize("piece", [1, 7])
def test_the_size_of_the_pieces_changes_nothing(plates, piece):
    pool, strategy, shelf = plates
    whole, cut = (rank_pool(pool, strategy, shelf=shelf, piece=size).table for size in (1000, piece))
    assert whole.id.tolist() == cut.id.tolist()
    np.testing.assert_allclose(whole.score, cut.score, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["strategies.msmr:MSMR", "baselines.median:MedianDeviation"])
def test_a_score_does_not_grow_with_the_picture(tmp_path, name):
    for i in WORLD.ids[:8]:
        for times in (1, 4):
            save(tmp_path / f"{i}x{times}.png", WORLD.images[i].repeat(times, axis=0).repeat(times, axis=1))
    ranking = rank_pool(read_folder(tmp_path)[0], tuned(load_strategy(name), 32, "cpu", 2, False)).table.set_index("id").score
    ratio = np.array([ranking[f"{i}x4"] / ranking[f"{i}x1"] for i in WORLD.ids[:8]])
    assert (0.8 < ratio).all() and (ratio < 1.25).all()


def test_a_strategy_from_anywhere(mixed, tmp_path, monkeypatch):
    (tmp_path / "shortest.py").write_text("import pandas as pd\nclass Shortest:\n    pointwise = nested = True\n    def score(self, state): return pd.Series([-float(len(i)) for i in state.candidates], state.candidates)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["rank", str(mixed), "--out", str(tmp_path / "r.csv"), "--strategy", "shortest:Shortest", "--quiet"]) == 0
    assert pd.read_csv(tmp_path / "r.csv").id.str.len().is_monotonic_increasing


# A project, with a process for each command

def run(*words, cwd):
    return subprocess.run([COMMAND, *words], cwd=cwd, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_ask_tell_and_report_in_separate_processes(tmp_path):
    write_images(tmp_path / "images" / "lot1")
    asked = run("ask", "images", "--project", "plates", "--batch", "6", *SMALL[:-1], cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    queue = pd.read_csv(tmp_path / "plates" / "queue-001.csv")
    assert list(queue) == ["round", "id", "path", "score", "rank", "why"] and len(queue) == 6 and queue.why.str.startswith("MSMR").all()
    assert "queue-001.csv" in asked.stdout and (tmp_path / "plates" / "answers").is_dir()
    truth = {f"lot1/{i}": mask for i, mask in TRUTH.masks.items()}
    for i in queue.id[:4]:
        Image.fromarray(np.uint8(truth.get(i, np.zeros((64, 64)))) * 255).save(tmp_path / "plates" / "answers" / f"{i.replace('/', '__')}.png")
    told = run("tell", "--project", "plates", "--annotator", "ann", "--seconds", "7", cwd=tmp_path)
    assert told.returncode == 0 and "4 answers taken" in told.stdout and "2 open" in told.stdout, told.stderr
    log = LabelStore(tmp_path / "plates" / "labels.db").log()
    assert set(log["sample"]) == set(queue.id[:4]) and (log.seconds == 7).all() and (log.annotator == "ann").all()
    assert log.set_index("sample").defective.to_dict() == {i: i in truth for i in queue.id[:4]}
    report = run("report", "--project", "plates", "--device", "cpu", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    page = (tmp_path / "plates" / "report.html").read_text(encoding="utf-8")
    assert "Labeling 4 of 24 parts" in page and "M-" in page and page.count("with its heat map") == 24


@pytest.fixture
def project(tmp_path):
    "A project with an open round of six, asked by the median filter."
    images = write_images(tmp_path / "images")
    assert main(["ask", str(images), "--project", str(tmp_path / "p"), "--batch", "6", "--first", "baselines.median:MedianDeviation", *SMALL]) == 0
    return tmp_path / "p"


def test_asking_again_writes_the_same_queue(project, capsys):
    queue = project / "queue-001.csv"
    before = queue.read_bytes()
    queue.unlink()
    assert main(["ask", "--project", str(project)]) == 0
    assert queue.read_bytes() == before and "6 parts by MedianDeviation, 6 of them open" in capsys.readouterr().out
    assert not (project / "queue-002.csv").exists()


def test_telling_twice_adds_nothing(project, capsys):
    write_masks(project / "answers", pd.read_csv(project / "queue-001.csv").id)
    for said in ("6 answers taken", "0 answers taken"):
        assert main(["tell", "--project", str(project)]) == 0
        assert said in capsys.readouterr().out
    store = LabelStore(project / "labels.db")
    assert len(store.log()) == 6
    i = store.log()["sample"][0]
    (project / "answers" / f"{i}.png").unlink()
    (project / "late.csv").write_text(f"id,verdict\n{i},skip\n")
    assert [main(["tell", "--project", str(project), "--answers", str(project / "late.csv"), "--quiet"]) for _ in range(2)] == [0, 0]
    assert len(store.log()) == 7


def write_table(path, **verdicts):
    path.write_text("id,verdict\n" + "".join(f"{i},{word}\n" for i, word in verdicts.items()))


def test_an_old_file_does_not_overturn_a_correction(project, capsys):
    ids = pd.read_csv(project / "queue-001.csv").id.tolist()
    for i in ids[:2]: write_masks(project / "answers", [i], SimpleNamespace(masks={i: np.eye(64)}))
    tell = ["tell", "--project", str(project), "--annotator", "ann"]
    assert main(tell) == 0 and "→" not in capsys.readouterr().out
    write_table(project / "corrections.csv", **{ids[0]: "good"})
    assert main([*tell, "--answers", str(project / "corrections.csv")]) == 0
    assert f"changed: {ids[0]}: defective → good" in capsys.readouterr().out
    store = LabelStore(project / "labels.db")
    for _ in range(2):
        assert main(tell) == 0
        said = capsys.readouterr().out
        assert "0 answers taken" in said and "2 known already" in said and "→" not in said
    assert not store.latest().table.defective[ids[0]] and store.latest().table.defective[ids[1]] and len(store.log()) == 3
    later = time.time() + 5
    os.utime(project / "answers" / f"{ids[0]}.png", (later, later))
    assert main(tell) == 0 and f"changed: {ids[0]}: good → defective" in capsys.readouterr().out
    assert store.latest().table.defective[ids[0]]


def test_bob_does_not_sign_what_anna_drew(project, capsys):
    ids = pd.read_csv(project / "queue-001.csv").id.tolist()
    write_masks(project / "answers", ids[:3])
    tell = ["tell", "--project", str(project), "--annotator"]
    assert main([*tell, "anna"]) == 0 and "3 answers taken from anna" in capsys.readouterr().out
    write_masks(project / "answers", ids[3:5])
    for words, taken in ((["bob"], 2), (["bob"], 0), (["bob", "--answers", str(project / "answers")], 0)):
        assert main([*tell, *words]) == 0
        said = capsys.readouterr().out
        assert f"{taken} answers taken" in said and said.count("3 answers taken from anna before, in files that have not changed since") == 1
    store = LabelStore(project / "labels.db")
    assert store.log().annotator.tolist() == ["anna"] * 3 + ["bob"] * 2
    assert main([*tell, "anna"]) == 0 and "2 answers taken from bob before" in capsys.readouterr().out and len(store.log()) == 5
    (project / "bobs").mkdir()
    write_masks(project / "bobs", ids[:3])
    for path in (project / "bobs").iterdir(): os.utime(path, (0, 0))
    assert main([*tell, "bob", "--answers", str(project / "bobs")]) == 0 and "3 answers taken from bob" in capsys.readouterr().out
    write_masks(project / "answers", ids[3:4])
    os.utime(project / "answers" / f"{ids[3]}.png", (time.time() + 5, time.time() + 5))
    assert main([*tell, "anna"]) == 0 and "1 answer taken from anna" in capsys.readouterr().out


def test_a_redrawn_mask_is_taken_whatever_its_date(project):
    i, store = pd.read_csv(project / "queue-001.csv").id[0], LabelStore(project / "labels.db")
    for k, mask in enumerate((np.eye(64), np.eye(64)[::-1])):
        write_masks(project / "answers", [i], SimpleNamespace(masks={i: mask}))
        os.utime(project / "answers" / f"{i}.png", (0, 0))
        assert main(["tell", "--project", str(project), "--quiet"]) == 0 and len(store.log()) == k + 1
    assert store.latest().masks[i][0, 63]


def test_the_words_of_tell(project, capsys):
    ids = pd.read_csv(project / "queue-001.csv").id.tolist()
    other = next(i for i in WORLD.ids if i not in ids)
    write_table(project / "answers" / "a.csv", **{ids[0]: "good", other: "skip"})
    assert main(["tell", "--project", str(project)]) == 0
    said = capsys.readouterr().out
    assert "2 answers taken" in said and "1 answer about parts that were not asked" in said
    write_table(project / "answers" / "b.csv", **{ids[1]: "good"})
    assert main(["tell", "--project", str(project)]) == 0
    said = capsys.readouterr().out
    assert "1 answer taken" in said and "not asked" not in said


def test_options_typed_while_a_round_is_open(project, capsys):
    assert main(["ask", "--project", str(project), "--batch", "3", "--device", "cpu"]) == 0
    assert "round 1 is open with 6 unanswered; --batch counts from the next round" in capsys.readouterr().out
    assert main(["ask", "--project", str(project), "--device", "cpu"]) == 0 and "next round" not in capsys.readouterr().out
    write_table(project / "answers" / "all.csv", **dict.fromkeys(pd.read_csv(project / "queue-001.csv").id, "good"))
    assert main(["tell", "--project", str(project), "--quiet"]) == main(["ask", "--project", str(project), "--assume-good", "1", "--device", "cpu"]) == 0
    assert len(pd.read_csv(project / "queue-002.csv")) == 3 and "next round" not in capsys.readouterr().out


def test_two_rankings_in_a_folder_keep_both_lists(mixed, tmp_path, capsys):
    for name in ("ranking.csv", "median.csv"):
        assert main(["rank", str(mixed), "--out", str(tmp_path / name), "--strategy", "baselines.median:MedianDeviation", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert {file.name for file in tmp_path.glob("*.csv")} == {"ranking.csv", "skipped.csv", "median.csv", "median.skipped.csv"}
    assert str(tmp_path / "skipped.csv") in said and str(tmp_path / "median.skipped.csv") in said


def test_a_table_with_all_verdicts(project):
    ids = pd.read_csv(project / "queue-001.csv").id.tolist()
    (project / "answers" / "verdicts.csv").write_text("\ufeffid;verdict\n" + "".join(f"{i};{v}\n" for i, v in zip(ids, ["good", "defective", "skip", "no-mask", ""])), encoding="utf-8")
    assert main(["tell", "--project", str(project), "--quiet"]) == 0
    labels = LabelStore(project / "labels.db").latest()
    assert len(labels) == 4 and set(labels.settled_ids) == {ids[0], ids[2], ids[3]} and set(labels.strong_ids) == {ids[0]}
    assert labels.table.maskable[ids[:4]].tolist() == [True, True, True, False]


def test_rounds_follow_each_other(project, capsys):
    for number in (1, 2):
        write_masks(project / "answers", pd.read_csv(project / f"queue-{number:03d}.csv").id)
        assert main(["tell", "--project", str(project), "--quiet"]) == main(["ask", "--project", str(project), "--quiet"]) == 0
    queues = [pd.read_csv(project / f"queue-{number:03d}.csv") for number in (1, 2, 3)]
    assert len(set(pd.concat(queues).id)) == 18 and queues[1].why.str.startswith("LikelyDefect").all()
    assert main(["report", "--project", str(project), "--device", "cpu"]) == 0
    page = (project / "report.html").read_text(encoding="utf-8")
    assert "S-" in page and "by LikelyDefect" in page and "with its heat map" in page


def test_pictures_that_are_gone_can_be_skipped(project, capsys):
    gone = pd.read_csv(project / "queue-001.csv").id[0]
    (project.parent / "images" / f"{gone}.png").unlink()
    assert main(["ask", "--project", str(project)]) == 0
    assert f"{gone} for example; put it back, or tell 'skip'" in capsys.readouterr().out
    for verdict, code in (("good", 2), ("skip", 0)):
        (project / "answers" / "gone.csv").write_text(f"id,verdict\n{gone},{verdict}\n")
        assert main(["tell", "--project", str(project), "--quiet"]) == code
    assert LabelStore(project / "labels.db").log()["sample"].tolist() == [gone]


# The door itself

def test_demo_hands_over_what_was_typed(monkeypatch, tmp_path, capsys):
    calls = []
    monkeypatch.setattr(demo_module, "run", lambda settings, out, device, progress, say: calls.append((settings, out, device, progress)) or say("hello") or out / "report.html")
    assert main(["demo", "--out", str(tmp_path), "--seed", "3", "--rounds", "2", "--size", "32", "--device", "cpu"]) == 0
    settings, *rest = calls[0]
    assert (settings.data, settings.seed, settings.size, settings.rounds) == (None, 3, 32, 2) and rest == [tmp_path, "cpu", True]
    assert "hello" in capsys.readouterr().out


def test_an_interruption_is_130(monkeypatch, tmp_path, capsys):
    def stop(*anything): raise KeyboardInterrupt

    monkeypatch.setattr(ranking_module, "rank_folder", stop)
    assert main(["rank", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "interrupted; run the same command again to go on\n"


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in ("rank", "ask", "tell", "report", "demo"))])
def test_help_of_every_command(words, capsys):
    with pytest.raises(SystemExit) as end: main(words)
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert len(words) < 2 or all(option in said for option in ("--seed", "--device", "--size", "--quiet"))
    unused = {"tell": 3, "report": 2}
    assert said.count("not used by this command") == unused.get(words[0], 0)
    if words[0] in ("rank", "ask"): assert all(name in said.replace("\n", "") for name in BUILT_IN.split(", "))
    if words[0] == "tell": assert all(f"\n  {word} " in said for word in VERDICTS) and "white on the defect" in said


def test_no_words_show_the_help(capsys):
    assert main([]) == 2 and "rank a folder of pictures" in capsys.readouterr().out


def test_the_version(capsys):
    with pytest.raises(SystemExit) as end: main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"active-defects {__version__}\n"


def test_built_in_names_are_strategies():
    assert all(load_strategy(name) for name in BUILT_IN.split(", "))


def test_seed_b_on_the_command_line(project, tmp_path, capsys):
    def answer(number):
        for i in pd.read_csv(project / f"queue-{number:03d}.csv").id:
            mask = TRUTH.masks.get(i, np.zeros((64, 64)))
            Image.fromarray(np.uint8(np.asarray(mask) > 0) * 255).save(project / "answers" / f"{i}.png")
        assert main(["tell", "--project", str(project), "--quiet"]) == 0
    answer(1)
    assert main(["ask", "--project", str(project), "--strategy", "strategies.sdr:SDR", "--warm", "--assume-good", "4", "--size", "32", "--epochs", "2", "--device", "cpu", "--quiet"]) == 0
    answer(2)
    assert main(["ask", "--project", str(project), "--device", "cpu", "--quiet"]) == 0
    store = LabelStore(project / "labels.db")
    assert [record.strategy for record in store.rounds] == ["MedianDeviation", "SDR", "SDR"] and store.rounds[2].models["G"] == store.rounds[3].models["G"]
    kept = lambda: json.loads((project / "project.json").read_text())["warm"]
    assert kept() is True and "training" not in capsys.readouterr().err
    assert main(["ask", "--project", str(project), "--no-warm", "--device", "cpu", "--quiet"]) == 0
    assert kept() is False
    answer(3)
    assert main(["ask", "--project", str(project), "--strategy", "baselines.bald:BALD", "--device", "cpu", "--quiet"]) == 0
    assert LabelStore(project / "labels.db").rounds[4].strategy == "BALD", "a strategy that looks at more than a segmenter says equips the learner by itself"
