"""Algorithm 1 of seed B as a whole: from the cold start through rounds of S and G, killed inside every kind of training, and with pools that it was not made for."""
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.store import LabelStore
from active_defects.data.synth import synth_surfaces
from active_defects.formulas.selection import assume_good_ids
from active_defects.learners.reconstruction import ReconstructionLearner
from active_defects.learners.segmenter import UNetLearner
from active_defects.learners.supervised_reconstruction import SupervisedReconstructionLearner
from active_defects.loop.oracle import TruthOracle
from active_defects.loop.rounds import Loop, training_labels
from active_defects.strategies.msmr import MSMR
from active_defects.strategies.sdr import SDR
from active_defects.strategies.strategy import prediction_key
from tiny import tiny

POOL, TRUTH = synth_surfaces(n=48, seed=1, size=32, prevalence=0.3)
M = tiny(ReconstructionLearner())
ASK = SDR(tiny(SupervisedReconstructionLearner(M)), MSMR(M))


def algorithm(path=":memory:", pool=POOL, **changes):
    return Loop(pool, LabelStore(path), **(dict(learner=tiny(UNetLearner()), strategy=ASK, first=MSMR(M), batch=8, assume_good=6, seed=2, warm=True) | changes))


def go(loop, rounds, truth=TRUTH):
    while len(loop.store.rounds) < rounds or len(loop.store.unanswered(loop.store.rounds[rounds])):
        asked = loop.ask()
        loop.tell(asked, TruthOracle(truth).annotate(asked.asked))
    return loop


# ---- killed inside every kind of training

CHILD = """
import os, sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
import active_defects.learners.training as training
from test_sid4ds import algorithm, go
training.train.__defaults__ = (*training.train.__defaults__[:-1], 0.0)
finish, step, armed = training.Run.finish_epoch, torch.optim.SGD.step, []
def finishing(self, *more, **named):
    finish(self, *more, **named)
    if self.checkpoint.name.startswith(sys.argv[3] + "-"): armed.append(1)
def killing(self, *more):
    if armed: os.kill(os.getpid(), 9)
    return step(self, *more)
training.Run.finish_epoch, torch.optim.SGD.step = finishing, killing
go(algorithm(sys.argv[2]), 3)
"""


def test_killed_in_a_training_of_m_of_g_and_of_s_it_asks_what_it_would_have_asked(tmp_path):
    path, threads = tmp_path / "killed.db", torch.get_num_threads()
    for training in "MGS":
        child = subprocess.run([sys.executable, "-c", CHILD, os.path.dirname(__file__), str(path), training], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert child.returncode == -signal.SIGKILL, child.stderr
        assert [file.name[0] for file in path.with_suffix(".models").glob("*.checkpoint")] == [training]
    torch.set_num_threads(1)
    try: killed, calm = go(algorithm(path), 3), go(algorithm(tmp_path / "calm.db"), 3)
    finally: torch.set_num_threads(threads)
    for a, b in zip(killed.store.rounds, calm.store.rounds, strict=True):
        assert a.asked.equals(b.asked) and a.assumed.equals(b.assumed) and a.models == b.models and (a.scores == b.scores[a.scores.index]).all()
    assert not list(path.with_suffix(".models").glob("*.checkpoint"))


# ---- the algorithm, letter by letter

def test_m_and_g_are_trained_once_and_s_every_round_from_the_one_before():
    loop = go(algorithm(), 4)
    models = [record.models for record in loop.store.rounds]
    assert set(models[0]) == {"M"} and all(set(m) == {"M", "S", "G"} for m in models[1:])
    assert len({m["M"] for m in models}) == len({m["G"] for m in models[1:]}) == 1 and len({m["S"] for m in models[1:]}) == 3
    state = loop.state(3)
    assert prediction_key(state) == models[3]["S"] and prediction_key(state.before) == models[2]["S"] and state.before.before.before is None
    cold = replace(loop, warm=False).state(3)
    assert cold.before is None and prediction_key(cold) != prediction_key(state)


def test_the_bottom_v_count_as_good_for_one_round_only():
    loop = go(algorithm(), 3)
    for number in (1, 2, 3):
        record, training = loop.store.rounds[number], training_labels(loop.store, number).table
        assert set(training.index[training.annotator == "assumed"]) == set(record.assumed) and not training.defective[record.assumed].any()
        assert record.assumed.equals(assume_good_ids(record.scores, 6, loop.seed, exclude=record.asked))
    assert not set(loop.store.latest().ids) & set(loop.store.rounds[3].assumed), "what is assumed is never written down as said"


def test_an_answer_that_is_repeated_later_changes_neither_g_nor_who_taught_it():
    loop = go(algorithm(), 2)
    first = loop.store.rounds[1].asked
    loop.store.add(Labels(TRUTH[first].table.assign(annotator="ben", seconds=1.0), TRUTH[first].masks), 2)
    assert loop.ask().models["G"] == loop.store.rounds[2].models["G"]


def test_g_on_the_shelf_needs_no_m(tmp_path):
    loop = go(algorithm(tmp_path / "parts.db"), 2)
    (tmp_path / "parts.models" / f"{loop.store.rounds[1].models['M']}.safetensors").unlink()
    again = go(algorithm(tmp_path / "parts.db"), 3)
    assert again.store.rounds[3].models["M"] == loop.store.rounds[1].models["M"] and not list((tmp_path / "parts.models").glob("M-*"))


def test_a_chain_of_warm_starts_reads_every_round_once(monkeypatch):
    loop, reads = go(algorithm(), 4), []
    run = loop.store.db.run
    monkeypatch.setattr(loop.store.db, "run", lambda text, *more, **named: (reads.append(text), run(text, *more, **named))[1])
    state = loop.state(4)
    assert [state.round, state.before.round, state.before.before.round] == [5, 4, 3]
    assert sum("from score" in text for text in reads) == 4


def test_another_m_than_the_first_rounds_is_said_aloud(caplog):
    loop = go(algorithm(first=MSMR(replace(M, flips=False))), 1)
    with caplog.at_level(logging.WARNING, logger="active_defects"): go(loop, 2)
    assert sum("another M" in message for message in caplog.messages) == 1


# ---- pools that it was not made for

def test_a_pool_without_any_defect_is_asked_by_msmr_to_the_end(caplog):
    good = POOL[TRUTH.ids[~TRUTH.table.defective.astype(bool)][:20]]
    loop = algorithm(pool=good)
    with caplog.at_level(logging.WARNING, logger="active_defects"): go(loop, 3)
    assert [record.strategy for record in loop.store.rounds] == ["MSMR"] * 3 and len(loop.store.rounds[3].asked) == 4
    assert sum("shows a defect" in message for message in caplog.messages) == 2
    with pytest.raises(ValueError, match="nothing left to ask"): loop.ask()
    with pytest.raises(ValueError, match="label another round"): loop.model()


def test_a_first_selection_without_a_defect_leaves_g_for_the_round_that_finds_one(caplog):
    loop = algorithm()
    first = loop.ask()
    loop.tell(first, Labels.of({i: False for i in first.asked}))
    with caplog.at_level(logging.WARNING, logger="active_defects"): second = loop.ask()
    assert second.strategy == "MSMR" and "MSMR asks again" in caplog.text
    loop.tell(second, Labels.of({i: True for i in second.asked}, {i: np.pad(np.ones((4, 4), bool), (4, 24)) for i in second.asked}))
    third = loop.ask()
    assert third.strategy == "SDR" and set(third.models) == {"M", "S", "G"}
    loop.tell(third, TruthOracle(TRUTH).annotate(third.asked))
    assert loop.ask().models["G"] == third.models["G"], "trained on what was known after round 2, once"


def test_a_pool_smaller_than_k_and_v_larger_than_what_is_left():
    some = [*TRUTH.ids[TRUTH.table.defective.astype(bool)][:3], *TRUTH.ids[~TRUTH.table.defective.astype(bool)][:7]]
    all_at_once = go(algorithm(pool=POOL[some], batch=50, assume_good=50), 1)
    record = all_at_once.store.rounds[1]
    assert len(record.asked) == 10 and not len(record.assumed)
    rest = go(algorithm(pool=POOL[some], batch=6, assume_good=50), 1).store.rounds[1]
    assert len(rest.asked) == 6 and len(rest.assumed) == 4, "never more than |X_U| - K"


def test_gray_and_color_pictures_of_several_sizes_in_one_pool():
    images = {i: np.repeat(POOL.images[i][..., None], 3, axis=2) if k % 2 else np.pad(POOL.images[i], ((0, 13), (0, 5)), mode="edge") for k, i in enumerate(POOL.ids)}
    masks = {i: TRUTH.masks[i] if images[i].ndim == 3 else np.pad(TRUTH.masks[i], ((0, 13), (0, 5))) for i in TRUTH.masks}
    loop = go(algorithm(pool=Pool(POOL.table, images)), 2, Labels(TRUTH.table, masks))
    assert loop.ask().strategy == "SDR" and np.isfinite(loop.ask().scores).all()
