"""The race: every method runs under its name, begins as published, and writes its rows once."""
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from test_seed_b import TRUTH, options  # noqa: F401
from tiny import tiny

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))
import race
import seed_b


@pytest.fixture
def small(options, monkeypatch):  # noqa: F811
    for names in (race.CLASSICAL, race.PRETEXT, race.LEARNED, race.MIXED):
        for name, one in names.items(): monkeypatch.setitem(names, name, tiny(one))
    options.prefix, options.methods = "race", race.methods
    return options


def test_every_baseline_of_the_book_is_in_the_race():
    from tiny import public_classes
    books = {name.rpartition(":")[2] for name, c in public_classes("active_defects.baselines").items() if callable(getattr(c, "score", None))}
    assert books == {type(one).__name__ for one in (race.CLASSICAL | race.PRETEXT | race.LEARNED).values()} - {"Uncertainty", "LikelyDefect", "Margin"}


def test_the_learned_begin_by_chance_and_the_others_with_their_own_order():
    arms = race.methods(seed_b.LEARNERS["small"][0])
    assert all(type(arms[name].first).__name__ == "Random" and arms[name].assume == 0 for name in race.LEARNED)
    assert all(arms[name].first is None and arms[name].assume == 0 for name in race.CLASSICAL | race.PRETEXT)
    assert {name for name, arm in arms.items() if not arm.warm} == {"maxKL"}
    assert all(type(arms[name].first).__name__ == "MSMR" and arms[name].assume == 1 for name in race.MIXED)


@pytest.mark.parametrize("arm", race.methods(seed_b.LEARNERS["small"][0]))
def test_every_method_finds_its_way_through_the_rounds(small, arm):
    small.methods = lambda *models: {name: replace(one, rounds=2) for name, one in race.methods(*models).items()}
    for _ in range(2): seed_b.work(("found", ("ksdd", arm, 0)), small, race.STAGES)
    table = pd.read_csv(small.results / "race_found.csv")
    assert table["round"].tolist() == [1, 2] and table.asked.tolist() == [6, 12] and table.method.eq(arm).all()


def test_a_run_that_was_stopped_early_goes_on_where_it_was(small):
    small.rounds = 2
    seed_b.work(("found", ("ksdd", "entropy", 0)), small, race.STAGES)
    begun = pd.read_csv(small.results / "race_found.csv")
    small.rounds = 6
    seed_b.work(("found", ("ksdd", "entropy", 0)), small, race.STAGES)
    table = pd.read_csv(small.results / "race_found.csv")
    assert begun["round"].tolist() == [1, 2] and table["round"].tolist() == [1, 2, 3, 4, 5, 6] and table[:2].equals(begun)


def test_a_run_whose_rounds_are_gone_is_made_anew_and_a_whole_one_is_not_made_again(small):
    small.rounds = 2
    for arm in ("entropy", "CoreSet"): seed_b.work(("found", ("ksdd", arm, 0)), small, race.STAGES)
    begun = pd.read_csv(small.results / "race_found.csv")
    small.keep = small.keep / "another machine"
    seed_b.work(("found", ("ksdd", "entropy", 0)), small, race.STAGES)
    assert pd.read_csv(small.results / "race_found.csv").equals(begun) and not list(small.keep.rglob("*.checkpoint")) and not list(small.keep.rglob("models-*/*"))
    small.rounds = 3
    seed_b.work(("found", ("ksdd", "entropy", 0)), small, race.STAGES)
    table = pd.read_csv(small.results / "race_found.csv")
    assert table.method.tolist() == ["CoreSet"] * 2 + ["entropy"] * 3 and table["round"].tolist() == [1, 2, 1, 2, 3] and table[table.method == "CoreSet"].reset_index(drop=True).equals(begun[begun.method == "CoreSet"].reset_index(drop=True))
    assert table[table.method == "entropy"].seconds.notna().all() and not pd.read_csv(small.results / "race_kinds.csv").duplicated("key").any()


def test_held_out_rows_of_a_run_go_on_where_its_rounds_are_kept_and_are_of_one_piece_where_not(small):
    def examined(rounds, keep, *arms):
        small.rounds, small.keep = rounds, keep
        for arm in arms:
            for stage in ("iou", "hits"): seed_b.work((stage, ("ksdd", arm, 0)), small, race.STAGES)
        tables = [pd.read_csv(small.results / f"race_{stage}.csv") for stage in ("iou", "hits")]
        assert set(tables[0].key) == set(tables[1].key) and not tables[1].duplicated("key").any()
        return tables[0]
    here, there = small.keep, small.keep / "another machine"
    begun = examined(1, here, "entropy", "CoreSet")
    assert begun.percent.tolist() == [10, 10] and examined(1, there, "entropy").equals(begun) and not list(there.rglob("models-*/*"))
    grown = examined(2, here, "entropy")
    assert grown[:2].equals(begun) and grown.percent.tolist() == [10, 10, 20]
    anew = examined(3, there, "entropy")
    assert anew.method.tolist() == ["CoreSet"] + ["entropy"] * 3 and anew.percent.tolist() == [10, 10, 20, 30] and anew[:1].reset_index(drop=True).equals(begun[1:].reset_index(drop=True))
    assert pd.read_csv(small.results / "race_hits.csv").percent.tolist() == [10, 10, 20, 30]
    (small.results / "race_hits.csv").unlink()
    small.keep = here / "a third machine"
    with pytest.raises(SystemExit, match="run race.py --stage iou --arms 'entropy' --results ELSEWHERE first"): seed_b.work(("hits", ("ksdd", "entropy", 0)), small, race.STAGES)


@pytest.mark.parametrize("arms", [None, ["entropy", "DSAL", "BADGE"]])
def test_the_rivals_of_the_papers_table_are_examined_on_held_out_groups(small, arms):
    small.arms, small.sets, small.seeds = arms, ["ksdd", "tiles"], [0, 1]
    planned = list(race.jobs_of(small, race.methods(*seed_b.LEARNERS["small"][::2])))
    jobs, looks = ([job for stage, job in planned if stage == wanted] for wanted in ("iou", "hits"))
    rivals = ["entropy", "CoreSet", "LearningLoss", "TA-VAAL", "SuggestiveAnnotation", "DSAL", "PT4AL, rotation"]
    assert jobs == looks == [(name, arm, 0) for name in small.sets for arm in rivals if arms is None or arm in arms]


def test_what_needs_the_rounds_of_a_run_says_so_where_they_are_gone(options):  # noqa: F811
    seed_b.work(("found", ("ksdd", "SDR", 0)), options)
    options.keep = options.keep / "another machine"
    for _ in range(2):
        with pytest.raises(SystemExit, match="run seed_b.py --stage found --arms 'SDR' --results ELSEWHERE first"): seed_b.work(("next", ("ksdd", 0)), options)


def test_what_stands_beside_the_race_is_written_once(small):
    for _ in range(2):
        small.methods, small.prefix = seed_b.arms, "seed_b"
        seed_b.work(("found", ("ksdd", "SDR", 0)), small)
        small.methods, small.prefix = race.methods, "race"
        for stage, job in (("groups", ("ksdd", 0)), ("ahead", ("ksdd", 0)), ("stops", ("ksdd", "SDR", 0)), ("picks", ("small world", 0)), ("iou", ("ksdd", "entropy", 0)), ("hits", ("ksdd", "entropy", 0))): seed_b.work((stage, job), small, race.STAGES)
    groups, ahead, stops, picks, iou, hits = (pd.read_csv(small.results / f"race_{name}.csv") for name in ("groups", "ahead", "stops", "picks", "iou", "hits"))
    assert {*race.LEARNED, *race.CLASSICAL, *race.PRETEXT, *race.MIXED, "SDR", "confidence", "random"} <= set(picks.method) and not picks.duplicated("key").any() and picks.asked.str.split().map(len).eq(8).all()
    assert groups.filter(like="group").sum(axis=1).eq(TRUTH.table.defective.sum()).all() and groups.score.tolist() == [*race.CLASSICAL, *race.PRETEXT]
    assert set(ahead.method) == {*race.LEARNED, *race.CLASSICAL, *race.PRETEXT, *race.MIXED} and (ahead.found <= ahead.left).all() and not ahead.duplicated("key").any()
    assert iou.percent.tolist() == [10, 20, 30, 60]
    assert set(hits.percent) <= set(iou.percent) and not hits.duplicated("key").any() and hits.taught.gt(0).all() and hits.taught.is_monotonic_increasing and (hits.defects + hits.good).eq(iou.test[0]).all()
    assert stops["round"].tolist() == [1, 2, 3, 4, 5, 6] and (stops.parts_left + stops.asked.cumsum()).eq(40).all() and (stops.left + stops.found.cumsum()).eq(TRUTH.table.defective.sum()).all()
    assert stops.stability.notna().tolist() == [False, True, True, True, True, True] and stops.change.notna().tolist() == [False, True, True, True, True, False]


def test_a_round_of_the_rivals_is_timed_from_one_state(small):
    for _ in range(2): seed_b.work(("minutes", ("ksdd", 0)), small, race.STAGES)
    table = pd.read_csv(small.results / "race_minutes.csv").set_index("method")
    assert table.index.tolist() == list(race.TIMED) and table.labels.eq(6).all() and table.asked.eq(6).all() and (table[["training", "choosing"]] >= 0).all(axis=None)
    assert table.training[["SDR", "confidence", "entropy", "CoreSet"]].nunique() == 1 and (table.seconds - table.training - table.choosing).abs().max() < 0.11
