"""Ask, tell, be killed, and go on: the loop loses nothing, asks nobody twice, and its questions follow from the seed alone."""
import logging
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from active_defects.baselines.bald import BALD
from active_defects.baselines.learning_loss import LearningLoss
from active_defects.baselines.max_kl import MaxKL
from active_defects.baselines.median import MedianDeviation
from active_defects.data.labels import Labels
from active_defects.data.store import LabelStore
from active_defects.data.synth import synth_surfaces
from active_defects.formulas.selection import select
from active_defects.learners.pixel import PixelLearner
from active_defects.learners.reconstruction import ReconstructionLearner
from active_defects.learners.segmenter import UNetLearner
from active_defects.learners.shelf import load_weights
from active_defects.learners.training import train
from active_defects.loop.oracle import TruthOracle
from active_defects.loop.rounds import Loop, training_labels
from active_defects.strategies.blend import Blend
from active_defects.strategies.likely_defect import LikelyDefect
from active_defects.strategies.margin import Margin
from active_defects.strategies.msmr import MSMR
from active_defects.strategies.strategy import Random
from active_defects.strategies.uncertainty import Uncertainty
from tiny import tiny


def small_world(n=48, seed=1):
    return synth_surfaces(n=n, seed=seed, size=32, prevalence=0.4)


def small_loop(path=":memory:", **changes):
    "The whole chain with networks, tiny: M for the cold start, S afterwards."
    pool, _ = small_world()
    options = dict(learner=tiny(UNetLearner()), strategy=Uncertainty(), first=MSMR(tiny(ReconstructionLearner())), batch=10, assume_good=4, seed=5)
    return Loop(pool, LabelStore(path), **(options | changes))


def pixel_loop(path=":memory:", pool=None, **changes):
    "Milliseconds per round."
    options = dict(learner=tiny(PixelLearner()), strategy=Uncertainty(), first=tiny(MedianDeviation()), batch=8)
    return Loop(small_world()[0] if pool is None else pool, LabelStore(path), **(options | changes))


def same(a, b):
    "Two records of a round are one question."
    assert a.number == b.number and list(a.asked) == list(b.asked) and list(a.assumed) == list(b.assumed)
    pd.testing.assert_series_equal(a.scores.sort_index(), b.scores.sort_index(), check_names=False)


# ---- the ten lines

def test_the_ten_lines_of_the_plan(tmp_path):
    from active_defects.api import MSMR, SDR, LabelStore, Loop, TruthOracle, UNetLearner
    pool, truth = small_world()
    loop = Loop(pool, LabelStore(tmp_path / "parts.db"), tiny(UNetLearner()), tiny(SDR()), first=tiny(MSMR()), batch=10, assume_good=5, warm=True)
    oracle = TruthOracle(truth)
    for _ in range(3):
        asked = loop.ask()
        loop.tell(asked, oracle.annotate(asked.ids))
    loop.model().save(tmp_path / "segmenter.safetensors")
    table = loop.store.log().groupby("round").agg({"defective": "sum", "seconds": "sum"})

    asked = [list(r.asked) for r in loop.store.rounds]
    assert [len(a) for a in asked] == [10, 10, 10] and len(set(sum(asked, []))) == 30
    assert [r.strategy for r in loop.store.rounds] == ["MSMR", "SDR", "SDR"]
    assert table.index.tolist() == [1, 2, 3] and table.defective.sum() == truth.table.defective[sum(asked, [])].sum()
    assert (table.seconds == 3 * (10 - table.defective) + 60 * table.defective).all()
    again = tiny(UNetLearner()).load(tmp_path / "segmenter.safetensors")
    assert np.array_equal(again(pool).maps, loop.model()(pool).maps)


def test_a_round_says_which_models_it_used(tmp_path):
    _, truth = small_world()
    loop = small_loop(tmp_path / "parts.db")
    for _ in range(2):
        asked = loop.ask()
        loop.tell(asked, truth[asked.ids])
    first, second = loop.store.rounds
    assert set(first.models) == {"M"} and set(second.models) == {"S"}
    assert all((tmp_path / "parts.models" / f"{key}.safetensors").exists() for r in (first, second) for key in r.models.values())
    assert not list((tmp_path / "parts.models").glob("*.checkpoint"))


# ---- killed in the middle

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from test_loop import long_loop
loop = long_loop(sys.argv[2])
print("asking", flush=True)
print(list(loop.ask().asked), flush=True)
"""


def long_loop(path):
    "As `small_loop`, but the trainings take a while and save after every epoch."
    train.__defaults__ = (*train.__defaults__[:-1], 0.0)
    return small_loop(path, learner=tiny(UNetLearner(), epochs=20), first=MSMR(tiny(ReconstructionLearner(), epochs=8)))


def killed_while_training(path, delay):
    "Start `ask` in another process and kill it some time after its first checkpoint; whether it was still training then."
    folder = Path(path).with_suffix(".models")
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(Path(__file__).parent), str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "asking\n"
        before = {f: f.stat().st_mtime_ns for f in folder.glob("*.checkpoint")} if folder.exists() else {}
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            if any(before.get(f) != mtime(f) for f in folder.glob("*.checkpoint")): break
            time.sleep(0.005)
        time.sleep(delay)
    finally:
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read()
        process.wait()
    return said == ""


def mtime(file):
    try: return file.stat().st_mtime_ns
    except FileNotFoundError: return None


@pytest.fixture
def own_pace():
    "The pace of saving that `long_loop` changes comes back afterwards."
    before = train.__defaults__
    yield
    train.__defaults__ = before


def test_killed_three_times_it_asks_what_it_would_have_asked(tmp_path, own_pace):
    _, truth = small_world()
    chance, path = random.Random(), tmp_path / "killed.db"
    in_time = [killed_while_training(path, chance.uniform(0, 0.2)) for _ in range(2)]
    assert in_time[0], "the first kill came too late to interrupt anything"
    assert len(LabelStore(path).rounds) == 0 or not all(in_time)
    loop = long_loop(path)
    first = loop.ask()
    loop.tell(first, truth[first.ids])
    loop.store.db.close()
    assert killed_while_training(path, chance.uniform(0, 0.05)), "the last kill came too late to interrupt anything"
    assert list((tmp_path / "killed.models").glob("S-*.checkpoint")) and len(LabelStore(path).rounds) == 1
    long_loop(path).ask()
    assert not list((tmp_path / "killed.models").glob("*.checkpoint"))

    calm = long_loop(tmp_path / "calm.db")
    for _ in range(2):
        asked = calm.ask()
        if asked.number == 1: calm.tell(asked, truth[asked.ids])
    for a, b in zip(calm.store.rounds, LabelStore(path).rounds, strict=True): same(a, b)


def test_an_open_round_is_asked_again_and_again(tmp_path):
    path, (_, truth) = tmp_path / "parts.db", small_world()
    first = pixel_loop(path).ask()
    same(pixel_loop(path).ask(), first)
    same(pixel_loop(path, strategy=Margin(), batch=3, seed=99).ask(), first)
    pixel_loop(path).tell(first, truth[first.ids[:3]])
    same(pixel_loop(path).ask(), first)
    assert list(LabelStore(path).unanswered(first)) == list(first.ids[3:])
    pixel_loop(path).tell(first, truth[first.ids[5:]])
    assert list(LabelStore(path).unanswered(first)) == list(first.ids[3:5])
    pixel_loop(path).tell(first, truth[first.ids[3:5]])
    second = pixel_loop(path).ask()
    assert second.number == 2 and not set(second.ids) & set(first.ids)
    assert not set(second.scores.index) & set(first.ids), "answered parts are still candidates"


def ask_alone(path, start, seed, out):
    loop = pixel_loop(path, first=Random(), seed=seed)
    start.wait(60)
    out.put((seed, list(loop.ask().asked)))


def test_two_processes_that_ask_at_once_share_one_round(tmp_path):
    path, spawn = tmp_path / "parts.db", get_context("spawn")
    start, out = spawn.Barrier(2), spawn.Queue()
    both = [spawn.Process(target=ask_alone, args=(path, start, seed, out)) for seed in (1, 2)]
    for process in both: process.start()
    got = dict(out.get(timeout=90) for _ in both)
    for process in both: process.join(30)
    store = LabelStore(path)
    assert len(store.rounds) == 1 and got[1] == got[2] == list(store.rounds[1].asked)
    assert len(store.rounds[1].scores) == 48


# ---- the seed decides everything

def test_the_same_seed_asks_the_same_for_three_rounds(tmp_path):
    _, truth = small_world()

    def run(name, **changes):
        loop = small_loop(tmp_path / f"{name}.db", **changes)
        for _ in range(3):
            asked = loop.ask()
            loop.tell(asked, truth[asked.ids])
        return list(loop.store.rounds)

    np.random.seed(0)
    one = run("one")
    np.random.seed(1)
    for a, b in zip(one, run("two"), strict=True): same(a, b)
    assert [list(r.asked) for r in one] != [list(r.asked) for r in run("three", seed=6)]


def test_the_order_of_pool_and_answers_decides_nothing(tmp_path):
    "The same parts, listed and answered in another order, are asked about in the same order."
    pool, truth = small_world()
    mixed = np.random.default_rng(0).permutation(pool.ids)
    rounds = []
    for ordered, turn in [(pool, 1), (pool[mixed], -1)]:
        loop = pixel_loop(pool=ordered)
        for _ in range(2):
            asked = loop.ask()
            for i in asked.ids[::turn]: loop.tell(asked, truth[[i]])
        rounds.append([list(r.asked) for r in loop.store.rounds])
    assert rounds[0] == rounds[1]


def test_pieces_and_whole_ask_the_same():
    from active_defects.pieces import score_in_pieces
    _, truth = small_world()
    loops = [pixel_loop(), pixel_loop(score=partial(score_in_pieces, size=7))]
    for _ in range(2):
        asked = [loop.ask() for loop in loops]
        assert list(asked[0].ids) == list(asked[1].ids)
        for loop, record in zip(loops, asked): loop.tell(record, truth[record.ids])


# ---- odd beginnings and the end

def test_a_first_batch_of_one_class_is_asked_again_by_first(caplog):
    pool, truth = small_world()
    good = Labels.of(dict.fromkeys(pool.ids, False))
    loop = pixel_loop()
    with caplog.at_level(logging.WARNING, logger="active_defects"):
        first = loop.ask()
        loop.tell(first, good[first.ids])
        with pytest.raises(ValueError, match="none of the 8 strong labels shows a defect.*label another round"): loop.model()
        second = loop.ask()
    assert second.strategy == first.strategy == "MedianDeviation" and not set(first.ids) & set(second.ids)
    assert "none of the 8 answers shows a defect: MedianDeviation asks again" in caplog.text
    loop.tell(second, truth[second.ids])
    assert loop.ask().strategy == "Uncertainty"


def test_without_first_a_batch_of_one_class_ends_in_the_sentence():
    pool, _ = small_world()
    loop = pixel_loop(first=None, strategy=Uncertainty())
    with pytest.raises(ValueError, match="none of the 0 strong labels shows a defect"): loop.ask()
    assert len(loop.store.rounds) == 0
    for learner in (tiny(PixelLearner()), tiny(UNetLearner())):
        loop = pixel_loop(learner=learner, first=Random())
        asked = loop.ask()
        loop.tell(asked, Labels.of(dict.fromkeys(asked.ids, True)))
        with pytest.raises(ValueError, match="label another round"): loop.model()
        assert loop.ask().strategy == "Random", "defects without masks teach no segmenter"


def test_a_first_batch_of_defects_only_is_enough():
    pool, truth = small_world()
    flawed = [i for i in pool.ids if i in truth.masks]
    for learner in (tiny(PixelLearner()), tiny(UNetLearner())):
        loop = pixel_loop(learner=learner)
        loop.store.add(truth[flawed[:3]])
        assert loop.ask().strategy == "Uncertainty"


def test_until_everything_is_settled():
    pool, truth = small_world()
    loop, asked = pixel_loop(batch=20), []
    for size in (20, 20, 8):
        record = loop.ask()
        assert len(record.ids) == size
        loop.tell(record, truth[record.ids])
        asked += list(record.ids)
    assert sorted(asked) == sorted(pool.ids)
    with pytest.raises(ValueError, match="all 48 parts are settled; there is nothing left to ask"): loop.ask()
    assert set(loop.model()(pool).ids) == set(pool.ids)


def test_skipped_and_unmaskable_parts_are_never_asked_again():
    pool, truth = small_world()
    loop = pixel_loop(batch=16)
    first = loop.ask()
    skipped, blurred, weak = first.ids[0], first.ids[1], first.ids[2]
    loop.tell(first, truth[first.ids[3:]])
    loop.tell(first, Labels.of({skipped: None}))
    loop.tell(first, Labels.of({blurred: True}, maskable=False))
    loop.tell(first, Labels.of({weak: True}))
    asked = []
    for _ in range(5):
        try: record = loop.ask()
        except ValueError: break
        asked += list(record.ids)
        loop.tell(record, truth[record.ids])
    assert not {skipped, blurred} & set(asked) and asked.count(weak) == 1, "a defect that could be drawn is asked for until it is"
    assert sorted(asked + list(first.ids)) == sorted([*pool.ids, weak])
    assert skipped not in loop.store.latest().strong_ids and blurred not in loop.store.latest().strong_ids


def test_answers_out_of_turn_count_at_once():
    "Someone labels a part that is asked about, but in no round; and a part that is not asked about at all."
    pool, truth = small_world()
    loop = pixel_loop(batch=4)
    first = loop.ask()
    other = [i for i in pool.ids if i not in first.ids][0]
    loop.store.add(truth[[first.ids[0], other]], round=0)
    assert list(loop.store.unanswered(first)) == list(first.ids[1:])
    loop.tell(first, truth[first.ids[1:]])
    second = loop.ask()
    assert second.number == 2 and not {*first.ids, other} & set(second.ids)


# ---- wrong answers

def test_wrong_answers_end_in_a_sentence_and_change_nothing():
    pool, truth = small_world()
    loop = pixel_loop()
    asked = loop.ask()
    i, j = asked.ids[:2]
    for labels, sentence in [
            (Labels.of({i: False, "stranger": True}), "'stranger', which is not in this pool of 48 parts"),
            (Labels.of({i: True, j: True}, {j: np.ones((8, 8), bool)}), r"the mask of .* is \(8, 8\), its image \(32, 32\)")]:
        with pytest.raises(ValueError, match=sentence): loop.tell(asked, labels)
        assert len(loop.store.log()) == 0
    loop.tell(asked, Labels.of({i: None}, {i: np.ones((32, 32), bool)}))
    assert loop.store.latest().settled_ids.tolist() == [i]


def test_a_mask_of_the_wrong_size_is_refused_whatever_the_verdict():
    "It would count as soon as somebody calls the part defective."
    loop = pixel_loop()
    asked = loop.ask()
    for verdict in (False, None):
        with pytest.raises(ValueError, match=r"\(8, 8\)"): loop.tell(asked, Labels.of({asked.ids[0]: verdict}, {asked.ids[0]: np.ones((8, 8), bool)}))
    assert len(loop.store.log()) == 0


def test_bad_scores_are_not_written_down():
    class Broken:
        pointwise = nested = True
        def score(self, state): return pd.Series(np.nan, state.candidates)

    loop = pixel_loop(first=Broken())
    with pytest.raises(ValueError, match="scores must be finite"): loop.ask()
    assert len(loop.store.rounds) == 0
    with pytest.raises(ValueError, match="Hungry needs members, which PixelLearner does not give"): pixel_loop(strategy=type("Hungry", (), {"needs": ("members",)})())


# ---- assumptions

def test_parts_assumed_good_train_one_round_and_are_asked_later():
    pool, truth = small_world()
    loop = pixel_loop(assume_good=6)
    first = loop.ask()
    assert len(first.assumed) == 6 and not set(first.assumed) & set(first.asked)
    assert first.scores[first.assumed].max() <= first.scores[first.asked].min()
    assert list(first.assumed) == list(first.scores[first.assumed].sort_values().index)
    loop.tell(first, truth[first.ids])
    training = training_labels(loop.store)
    assert set(training.ids) == {*first.ids, *first.assumed} and (training.table.annotator[first.assumed] == "assumed").all()
    assert set(first.assumed) <= set(loop.state().candidates), "an assumption is not an answer"
    second = loop.ask()
    loop.tell(second, truth[second.ids])
    assert set(training_labels(loop.store).ids) == {*first.ids, *second.ids, *second.assumed}
    assert set(training_labels(loop.store, 1).ids) == {*first.ids, *first.assumed}
    loop.store.add(Labels.of({second.assumed[0]: True}, {second.assumed[0]: np.ones((32, 32), bool)}), round=2)
    assert training_labels(loop.store).table.defective[second.assumed[0]], "what people say beats what was assumed"


def test_a_small_rest_assumes_no_more_than_there_is():
    pool, truth = small_world(n=20)
    loop = pixel_loop(pool=pool, batch=15, assume_good=50)
    first = loop.ask()
    assert len(first.asked) == 15 and sorted([*first.asked, *first.assumed]) == sorted(pool.ids)


def test_models_of_earlier_rounds_are_still_there(tmp_path):
    pool, truth = small_world()
    loop = pixel_loop(tmp_path / "parts.db", assume_good=3)
    for _ in range(3):
        asked = loop.ask()
        loop.tell(asked, truth[asked.ids])
    later = pixel_loop(tmp_path / "parts.db", assume_good=3)
    files = set((tmp_path / "parts.models").iterdir())
    second, third = loop.store.rounds[2], loop.store.rounds[3]
    for number, record in ((1, second), (2, third)):
        before = later.state(number)
        _ = before.predict
        assert before.used["S"] == record.models["S"], "the model after a round is the one that asked in the next"
    assert set((tmp_path / "parts.models").iterdir()) == files, "something was trained again"


# ---- mixed supervision

def test_mixed_supervision_in_one_shot():
    "Seed A: all verdicts are known beforehand, masks are missing; categories share the batch."
    pool, truth = synth_surfaces(n=120, seed=2, size=32, prevalence=0.3)
    category = truth.table.category
    store = LabelStore()
    store.add(Labels.of(truth.table.defective), round=0)
    loop = Loop(pool, store, tiny(PixelLearner()), Uncertainty(), first=tiny(MedianDeviation()), batch=12, select=partial(select, by=category, at_least=2))
    first = loop.ask()
    assert set(first.scores.index) == set(truth.ids[truth.table.defective.astype(bool)]), "candidates are the defective parts without a mask"
    assert first.strategy == "MedianDeviation"
    assert category[first.asked].value_counts().reindex(category[first.scores.index].unique(), fill_value=0).min() >= 2
    loop.tell(first, TruthOracle(truth).annotate(first.ids))
    second = loop.ask()
    assert second.strategy == "Uncertainty" and set(second.scores.index) == set(first.scores.index) - set(first.asked)
    best = second.scores.groupby(category).idxmax()
    assert set(best) <= set(second.asked), "the best of each category comes before anyone's third"


# ---- models can be made again

def test_the_store_of_a_loop_is_all_it_needs(tmp_path):
    "The models' folder may be deleted at any time: everything in it can be made again."
    _, truth = small_world()
    path = tmp_path / "parts.db"
    loop = small_loop(path)
    first = loop.ask()
    loop.tell(first, truth[first.ids])
    for file in (tmp_path / "parts.models").iterdir(): file.unlink()
    (tmp_path / "parts.models").rmdir()
    second = small_loop(path).ask()
    same(second, small_loop(path).ask())
    assert os.listdir(tmp_path / "parts.models")


def test_a_damaged_model_is_trained_again(tmp_path, caplog):
    _, truth = small_world()
    path = tmp_path / "parts.db"
    loop = pixel_loop(path)
    first = loop.ask()
    loop.tell(first, truth[first.ids])
    loop.ask()
    file, = (tmp_path / "parts.models").glob("S-*.safetensors")
    whole, weights = file.read_bytes(), load_weights(file)[0]
    for damage in (whole[:40], whole[:-8], b"", b"not a model at all, but long enough to look like one"):
        file.write_bytes(damage)
        caplog.clear()
        again = pixel_loop(path)
        with caplog.at_level(logging.WARNING, logger="active_defects"): again.model()
        assert "is not a whole safetensors file" in caplog.text and str(file) in caplog.text
        assert all(np.array_equal(value, weights[name]) for name, value in load_weights(file)[0].items())


def test_settings_that_ask_for_nothing():
    with pytest.raises(ValueError, match="batch must be a whole number of at least 1"): pixel_loop(batch=0).ask()
    loop = pixel_loop()
    assert len(replace(loop, batch=500).ask().asked) == 48


def test_a_loop_equips_its_learner_with_what_the_strategies_look_at():
    assert type(pixel_loop(learner=UNetLearner(), strategy=BALD()).learner).__name__ == "Dropout"
    assert type(pixel_loop(learner=UNetLearner(), strategy=Random(), first=Blend((LikelyDefect(), LearningLoss()))).learner).__name__ == "WithLoss"
    plain = UNetLearner()
    assert pixel_loop(learner=plain, strategy=Random()).learner is plain
    with pytest.raises(ValueError, match="warm=False"): pixel_loop(learner=plain, strategy=MaxKL(), warm=True)
