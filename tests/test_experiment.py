"""An experiment survives what happens in a night: kill -9, a second process, a broken line, a training that fails; and nothing is trained twice."""
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from active_defects.data.labels import Labels
from active_defects.data.synth import synth_surfaces
from active_defects.learners.pixel import PixelLearner
from active_defects.loop import experiment
from active_defects.loop.comparison import choice, curves, group_interval, plot_methods
from active_defects.loop.experiment import Training, add_row, attempt, exam, read_rows, run
from tiny import no_room

SAME = ["what", "data", "parts", "masks", "seed", "ap", "ap_trapezoid", "auc", "best_f", "prevalence", "learner"]


@dataclass(frozen=True)
class Counted(PixelLearner):
    "A PixelLearner that writes down every fit it begins and ends, and takes its time; some seeds fail."
    diary: str = ""
    wait: float = 0.0
    fails: int = -1

    def fit(self, pool, labels, seed=0, start=None, checkpoint=None):
        self.note(f"begin {seed}")
        checkpoint.write_text("half")
        time.sleep(self.wait)
        if seed == self.fails: raise ValueError("the training diverged")
        model = super().fit(pool, labels, seed)
        self.note(f"end {seed}")
        return model

    def note(self, text):
        with open(self.diary, "a") as diary: diary.write(text + "\n")


def world():
    return synth_surfaces(n=24, seed=2, size=32, prevalence=0.4)


def plan(diary, count=6, **more):
    pool, truth = world()
    train, test = truth[truth.ids[:14]], truth[truth.ids[14:]]
    learner = Counted(size=32, diary=str(diary), **more)
    return pool, [Training(train, test, learner, seed, "small world", f"seed {seed}") for seed in range(count)]


def diary(path, word):
    return sorted(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(word)) if path.exists() else []


def reference(tmp_path, count=6):
    pool, trainings = plan(tmp_path / "reference.txt", count)
    return run(trainings, pool, tmp_path / "reference.csv", progress=False)


def same(rows, calm):
    drop = lambda table: table.reset_index()[SAME].assign(learner="").sort_values("seed").reset_index(drop=True)
    pd.testing.assert_frame_equal(drop(rows), drop(calm))


def start(tmp_path, file, count=6, wait=0.2, jobs=1):
    "The same experiment in another process."
    code = f"""if __name__ == "__main__":
    import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})
    from test_experiment import plan, run
    pool, trainings = plan({str(tmp_path / "diary.txt")!r}, {count}, wait={wait})
    run(trainings, pool, {str(file)!r}, jobs={jobs}, threads=1, progress=False)
"""
    script = tmp_path / "night.py"
    script.write_text(code)
    return subprocess.Popen([sys.executable, str(script)], start_new_session=True)


# ---- the night

@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_and_resumed_gives_the_same_rows_and_no_training_twice(tmp_path, jobs):
    file = tmp_path / "rows.csv"
    process = start(tmp_path, file, wait=0.5, jobs=jobs)
    limit = time.monotonic() + 300
    while len(read_rows(file)) < 2 and time.monotonic() < limit: time.sleep(0.02)
    time.sleep(0.25)  # into the next fit, which takes half a second
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = read_rows(file)
    assert 2 <= len(before) < 6, before
    pool, trainings = plan(tmp_path / "diary.txt", wait=0.5)
    rows = run(trainings, pool, file, progress=False)
    same(rows, reference(tmp_path))
    ended = diary(tmp_path / "diary.txt", "end")
    assert set(before.seed) <= set(ended) and all(ended.count(seed) == 1 for seed in before.seed), "a finished training was done again"
    assert len(diary(tmp_path / "diary.txt", "begin")) <= 6 + jobs, "only what was under way begins again"
    assert rows.resumed.any(), "the checkpoint of the killed training was there"
    assert not list((tmp_path / "rows.running").iterdir()), "nothing is left over"


def test_two_processes_share_the_work(tmp_path):
    file = tmp_path / "rows.csv"
    both = [start(tmp_path, file, count=8) for _ in range(2)]
    assert [process.wait(timeout=180) for process in both] == [0, 0], "each waits until the other's rows are there"
    assert diary(tmp_path / "diary.txt", "begin") == list(range(8)), "each training once"
    same(read_rows(file), reference(tmp_path, 8))


def test_several_jobs_do_what_one_does(tmp_path):
    pool, trainings = plan(tmp_path / "diary.txt")
    rows = run(trainings, pool, tmp_path / "rows.csv", jobs=3, threads=1, progress=False)
    assert rows.index.tolist() == [t.key for t in trainings], "in the order of the plan, whoever was first"
    assert diary(tmp_path / "diary.txt", "begin") == list(range(6))
    assert (rows.threads == 1).all()
    same(rows, reference(tmp_path))


def test_an_interrupt_leaves_everything_consistent(tmp_path):
    pool, trainings = plan(tmp_path / "diary.txt")

    def impatient(training, model, pool):
        if training.seed == 3: raise KeyboardInterrupt
        return exam(training, model, pool)

    with pytest.raises(KeyboardInterrupt): run(trainings, pool, tmp_path / "rows.csv", impatient, progress=False)
    assert read_rows(tmp_path / "rows.csv").seed.tolist() == [0, 1, 2]
    rows = run(trainings, pool, tmp_path / "rows.csv", progress=False)
    assert diary(tmp_path / "diary.txt", "begin") == [0, 1, 2, 3, 3, 4, 5]
    assert rows.resumed.tolist() == [False, False, False, True, False, False]
    same(rows, reference(tmp_path))


def test_a_failing_training_is_told_and_the_others_go_on(tmp_path, caplog):
    pool, trainings = plan(tmp_path / "diary.txt", fails=2)
    with pytest.raises(RuntimeError, match=r"1 of 6 trainings gave no row \(seed 2: the training diverged\); the others are in rows.csv, run again to retry"):
        run(trainings, pool, tmp_path / "rows.csv", progress=False)
    assert "seed 2 failed: the training diverged" in caplog.text
    assert sorted(read_rows(tmp_path / "rows.csv").seed) == [0, 1, 3, 4, 5]
    assert diary(tmp_path / "diary.txt", "begin").count(2) == 1, "once in a run"
    with pytest.raises(RuntimeError): run(trainings, pool, tmp_path / "rows.csv", jobs=2, threads=1, progress=False)
    assert diary(tmp_path / "diary.txt", "begin").count(2) == 2, "and once more in the next, by one of the two jobs"
    assert len(read_rows(tmp_path / "rows.csv")) == 5


def test_workers_that_die_are_told(tmp_path):
    pool, trainings = plan(tmp_path / "diary.txt", count=2)
    with pytest.raises(RuntimeError, match="2 of 2 trainings gave no row .their processes ended early"):
        run(trainings, pool, tmp_path / "rows.csv", die, jobs=2, threads=1, progress=False)


def die(training, model, pool):
    os._exit(9)


# ---- each training once

def test_wishes_for_the_same_training_are_one(tmp_path):
    pool, trainings = plan(tmp_path / "diary.txt", count=2)
    again = [replace(t, what="under another name") for t in trainings]
    rows = run([*trainings, *again], pool, tmp_path / "rows.csv", progress=False)
    assert len(rows) == 2 and diary(tmp_path / "diary.txt", "begin") == [0, 1]
    assert rows.what.tolist() == ["seed 0", "seed 1"], "under the first name"


def test_the_key_says_what_the_row_depends_on():
    pool, truth = world()
    a, b = truth[truth.ids[:14]], truth[truth.ids[14:]]
    first = Training(a, b, PixelLearner(), 0, "world", "a name")
    masked = list(a.masks)
    same = [Training(a, b, PixelLearner(), 0, "world", "another name"), Training(a[a.ids[::-1]], b[b.ids[::-1]], PixelLearner(), 0, "world"), Training(Labels(a.table.assign(round=3, seconds=9.0), a.masks), b, PixelLearner(), 0, "world")]
    other = [Training(b, a, PixelLearner(), 0, "world"), Training(a, b, PixelLearner(share=0.1), 0, "world"), Training(a, b, PixelLearner(), 1, "world"), Training(a, b, PixelLearner(), 0, "another world"),
             Training(Labels(a.table, {i: a.masks[i] for i in masked[1:]}), b, PixelLearner(), 0, "world"), Training(Labels(a.table.assign(trust=0.5), a.masks), b, PixelLearner(), 0, "world"),
             Training(Labels.of({**a.table.defective, masked[0]: False}), b, PixelLearner(), 0, "world"), Training(a, b[b.ids[:-1]], PixelLearner(), 0, "world")]
    assert {t.key for t in same} == {first.key}
    assert len({t.key for t in [first, *other]}) == 1 + len(other)


def test_the_key_reads_no_mask():
    pool, truth = world()

    class Locked(dict):
        def __getitem__(self, key): raise AssertionError("read")

    assert Training(Labels(truth.table, Locked(truth.masks)), truth, PixelLearner(), 0).key == Training(truth, truth, PixelLearner(), 0).key


def test_a_row_of_another_process_is_not_done_again(tmp_path):
    "It may appear between the look at the table and the claim."
    pool, trainings = plan(tmp_path / "diary.txt", count=1)
    add_row(tmp_path / "rows.csv", dict(key=trainings[0].key))
    assert not attempt(trainings[0], pool, tmp_path / "rows.csv", exam, tmp_path)
    assert not (tmp_path / "diary.txt").exists()


# ---- the table

def test_a_line_that_was_cut_short_does_not_count(tmp_path):
    file = tmp_path / "rows.csv"
    for n in range(3): add_row(file, dict(key=f"t{n}", what='with, comma and "quote"\nand break', ap=0.1 * n))
    whole = file.read_bytes()
    for cut in range(1, len(whole)):
        file.write_bytes(whole[:cut])
        rows = read_rows(file)
        assert len(rows) == max(0, whole[:cut].count(b"\n") - 1)
        add_row(file, dict(key="t9", what="next", ap=1.0))
        after = read_rows(file)
        assert after.key.tolist() == [*rows.key, "t9"] and after.ap.iloc[-1] == 1.0
    assert rows.what[0] == 'with, comma and "quote" and break'


def test_keys_stay_text(tmp_path):
    add_row(tmp_path / "rows.csv", dict(key="12345e67", ap=np.float64(0.1)))
    assert read_rows(tmp_path / "rows.csv").to_dict("records") == [dict(key="12345e67", ap=0.1)]


def test_rows_with_other_columns_are_refused(tmp_path):
    add_row(tmp_path / "rows.csv", dict(key="t1", ap=0.5))
    with pytest.raises(ValueError, match=r"other columns than this row \(differing: \['ap', 'auc'\]\); write to another file"): add_row(tmp_path / "rows.csv", dict(key="t2", auc=0.5))
    add_row(tmp_path / "rows.csv", dict(ap=0.7, key="t2"))
    assert read_rows(tmp_path / "rows.csv").ap.tolist() == [0.5, 0.7]


def test_a_full_disk_costs_no_row(tmp_path):
    file = tmp_path / "rows.csv"
    for n in range(2): add_row(file, dict(key=f"t{n}", text="x" * 300))
    with no_room(800), pytest.raises(OSError): add_row(file, dict(key="t2", text="x" * 300))
    assert read_rows(file).key.tolist() == ["t0", "t1"]
    add_row(file, dict(key="t2", text="x" * 300))
    assert read_rows(file).key.tolist() == ["t0", "t1", "t2"]


def test_many_writers_lose_nothing(tmp_path):
    code = "import sys; from active_defects.loop.experiment import add_row\nfor n in range(40): add_row(sys.argv[1], dict(key=f'{sys.argv[2]}-{n}', text='x' * 500))"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "rows.csv"), str(w)]) for w in range(3)]
    assert [w.wait(timeout=120) for w in writers] == [0, 0, 0]
    rows = read_rows(tmp_path / "rows.csv")
    assert sorted(rows.key) == sorted(f"{w}-{n}" for w in range(3) for n in range(40)) and (rows.text.str.len() == 500).all()


# ---- exam and comparison

def test_an_exam_without_good_parts_has_no_auc():
    pool, truth = world()
    model = PixelLearner(size=32).fit(pool, truth)
    bad = truth[truth.ids[truth.table.defective]]
    marks = exam(Training(truth, bad, None, 0), model, pool)
    assert np.isnan(marks["auc"]) and marks["ap"] == 1 == marks["prevalence"]


def test_curves_are_means_over_repeats():
    random = np.random.default_rng(0)
    rows = pd.DataFrame(dict(key=[f"t{n}" for n in range(12)], ap=random.random(12)))
    choices = pd.DataFrame([dict(method=method, k=2, n=n, repeat=repeat, key=f"t{(j * 2 + m) * 3 + repeat}") for m, method in enumerate("ab") for j, n in enumerate((5, 9)) for repeat in range(3)])
    choices = pd.concat([choices, pd.DataFrame([dict(method="a", k=2, n=99, repeat=0, key="t-missing")])])
    table = curves(choices, rows).set_index(["method", "n"])
    assert table.index.tolist() == [("a", 5), ("a", 9), ("b", 5), ("b", 9)] and (table["count"] == 3).all()
    values = rows.ap[[3, 4, 5]]
    assert np.isclose(table["mean"]["b", 5], values.mean()) and np.isclose(table["std"]["b", 5], np.std(values, ddof=1))
    with pytest.raises(ValueError, match="none of the 13 choices has a row yet"): curves(choices, rows.assign(key="other"))


def test_groups_widen_the_interval():
    random = np.random.default_rng(1)
    strength = np.repeat(random.normal(size=40), 6)
    truth = pd.Series(np.repeat(random.random(40) < 0.4, 6))
    scores = pd.Series(strength + truth)
    width = lambda group: (lambda x: x["high"] - x["low"])(group_interval(truth, scores, group, draws=300))
    together, alone = width(pd.Series(np.repeat(np.arange(40), 6))), width(pd.Series(np.arange(240)))
    assert together > 1.7 * alone, "six copies of a part are not six parts: about the square root of six"
    useless = group_interval(truth, pd.Series(random.random(240)), pd.Series(np.repeat(np.arange(40), 6)), draws=300)
    assert useless["gain_low"] < 0 < useless["gain_high"] + 0.1


def test_a_plot_says_what_it_shows():
    table = pd.DataFrame([dict(method=m, n=n, mean=0.5 + n / 100, std=0.01, count=5) for m in ("random", "least confidence") for n in (5, 10)] + [dict(method="all masks", n=40, mean=0.8, std=0.02, count=5)])
    figure = plot_methods(table)
    assert "random: 0.550 at 5, 0.600 at 10" in figure.layout.meta["alt"] and "all masks: 0.800 at 40" in figure.layout.meta["alt"]
    assert len(figure.data) == 2 and len(figure.layout.shapes) == 2
    x = np.array([trace.x for trace in figure.data])
    assert (x[0] < [5, 10]).all() and (x[1] > [5, 10]).all() and np.allclose(x.mean(axis=0), [5, 10])


def test_a_choice_names_its_masks():
    pool, truth = world()
    row = choice(Training(truth, truth, PixelLearner(), 0), method="all", k=2, n=3, repeat=0)
    fewer = choice(Training(Labels(truth.table), truth, PixelLearner(), 0), method="none", k=2, n=0, repeat=0)
    assert row["masks"] == len(truth.masks) and fewer["masks"] == 0 and row["chosen"] != fewer["chosen"] and list(row) == ["method", "k", "n", "repeat", "key", "masks", "chosen"]


def test_no_jobs_is_no_plan(tmp_path):
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"): run([], None, tmp_path / "rows.csv", jobs=0)


def test_tables_are_read_without_torch_or_plotly():
    code = "import sys, active_defects.loop.experiment as e, active_defects.loop.comparison; e.read_rows('absent.csv'); sys.exit(bool({'plotly', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert experiment.log.name == "active_defects"
