"""The command that measures seed B: what it builds is what its names say."""
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from active_defects.data.synth import synth_surfaces
from active_defects.learners.reconstruction import ReconstructionLearner
from active_defects.learners.supervised_reconstruction import SupervisedReconstructionLearner
from tiny import tiny

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))
import seed_b

POOL, TRUTH = synth_surfaces(n=40, seed=2, size=32, prevalence=0.3)


@pytest.fixture
def options(tmp_path, monkeypatch):
    m, s, _ = seed_b.LEARNERS["trial"]
    small = tiny(ReconstructionLearner())
    monkeypatch.setitem(seed_b.LEARNERS, "trial", (small, tiny(s), tiny(SupervisedReconstructionLearner(small))))
    monkeypatch.setitem(seed_b.SETS, "ksdd", ("a small world", 6))
    monkeypatch.setattr(seed_b, "parts", lambda name, data: (POOL, TRUTH))
    return SimpleNamespace(learner="trial", keep=tmp_path / "keep", results=tmp_path, data=None, progress=False, threads=1, prefix="seed_b", methods=seed_b.arms, arms=None, rounds=6)


@pytest.mark.parametrize("arm", seed_b.arms(ReconstructionLearner()))
def test_a_run_has_the_seed_and_the_start_of_its_name(options, arm):
    loop, said = seed_b.loop_of(options, "ksdd", arm, 2, POOL, 6, f"x-{arm}")
    assert loop.seed == 2 and type(loop.seed) is int and loop.warm is said.warm and loop.batch == 6
    assert loop.assume_good == (0 if arm in ("MSMR only", "random", "SDR, nothing assumed") else 6) and loop.warm is (arm != "SDR, S from scratch")


def test_the_papers_learners_are_the_papers():
    m, s, g = seed_b.LEARNERS["paper"]
    assert m.width == s.width == g.form.width == 1 and g.schedule == m.schedule and g.schedule.steps == (30, 60, 90) and s.schedule.last == 20


def test_every_stage_writes_its_rows_once(options):
    for _ in range(2):
        for stage, job in (("found", ("ksdd", "SDR", 0)), ("found", ("ksdd", "SDR after random", 0)), ("next", ("ksdd", 0)), ("groups", ("ksdd", 0)), ("losses", ("ksdd", 0)),
                           ("iou", ("ksdd", "SDR", 0)), ("iou", ("ksdd", "random", 0)), ("iou", ("ksdd", "all labels", 0)), ("hits", ("ksdd", "SDR", 0))): seed_b.work((stage, job), options)
    tables = {file.stem.removeprefix("seed_b_"): pd.read_csv(file) for file in options.results.glob("seed_b_*.csv")}
    assert set(tables) == {"found", "kinds", "next", "groups", "losses", "iou", "hits"} and not any(table.duplicated(["key"]).any() for name, table in tables.items() if name != "losses")
    found = tables["found"].set_index("method")
    assert found.loc["SDR", "round"].tolist() == [1, 2, 3, 4, 5, 6] and found.loc["SDR after random", "round"].tolist() == [1, 2]
    assert found.loc["SDR", "asked"].tolist() == [6, 12, 18, 24, 30, 36] and found.loc["SDR", "found"].is_monotonic_increasing and found.loc["SDR", "trained"].iloc[0] == "M"
    assert tables["groups"].filter(like="group").sum(axis=1).eq(TRUTH.table.defective.sum()).all()
    assert tables["iou"].groupby("method").percent.apply(list).to_dict() == {"SDR": [10, 20, 30, 60], "random": [10, 20, 30, 60], "all labels": [100]} and tables["iou"].iou.between(0, 1).all()
    hits = tables["hits"]
    assert hits.percent.isin([10, 20, 30, 60]).all() and (hits.hit <= hits.defects).all() and (hits.marked <= hits.good).all() and hits.own.between(0, 1).all()
    assert len(tables["losses"]) == 34 and tables["losses"].loss.ge(0).all()


def test_rows_of_other_settings_are_not_gone_on_with(options, monkeypatch):
    before = seed_b.settings(options)
    monkeypatch.setitem(seed_b.LEARNERS, "trial", tuple(seed_b.LEARNERS["small"]))
    assert seed_b.settings(options) != before
