"""SDR asks where S suspects something that G would change: trained once, tied by MSMR, and aloud where it cannot do either."""
import logging
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from active_defects.data.batches import image_tensor
from active_defects.data.labels import Labels, join
from active_defects.data.round_log import Round
from active_defects.data.synth import synth_surfaces
from active_defects.formulas.contracts import require_scores
from active_defects.formulas.suspect_error import sdr
from active_defects.learners import training
from active_defects.learners.prediction import from_maps
from active_defects.learners.reconstruction import ReconstructionLearner
from active_defects.learners.shelf import Shelf
from active_defects.learners.supervised_reconstruction import SupervisedReconstructionLearner, shows_progress
from active_defects.pieces import score_in_pieces
from active_defects.strategies.msmr import MSMR
from active_defects.strategies.sdr import SDR, first_lessons, maps_at
from active_defects.strategies.strategy import State, candidates
from interrupt import killed_after
from tiny import tiny

POOL, TRUTH = synth_surfaces(n=40, seed=3, size=32, prevalence=0.4)
BAD = [i for i in TRUTH.ids if TRUTH.table.defective[i]]
GOOD = [i for i in TRUTH.ids if not TRUTH.table.defective[i]]
M = tiny(ReconstructionLearner())
COLD = MSMR(M)
ASK = SDR(tiny(SupervisedReconstructionLearner(M)), COLD)


@dataclass(frozen=True)
class Suspects:
    "An S that suspects a square in the parts it was told to, and nothing elsewhere."
    where: tuple[str, ...] = ()
    size: int = 32
    level: float = 0.5
    gives = ("maps",)

    def fit(self, pool, labels, seed=0, start=None, checkpoint=None): return self
    def save(self, path): path.write_text("")
    def load(self, path): return self

    def __call__(self, pool):
        maps = np.zeros((len(pool), self.size, self.size), np.float32)
        k = self.size // 4
        maps[[i in self.where for i in pool.ids], k:2 * k, k:3 * k] = self.level
        return from_maps(pool.ids, maps)


def said(ids, round):
    "The truth about these parts, as answered in a round."
    return Labels(TRUTH[ids].table.assign(round=round), TRUTH[ids].masks)


def record(number, strategy="MSMR", assumed=(), scores=None):
    scores = pd.Series({i: float(POOL.images[i].std()) for i in POOL.ids}) if scores is None else scores
    return Round(number, pd.Index([], dtype=object), scores, pd.Index(list(assumed), dtype=object), strategy, 0)


def state(labels=None, s=None, history=None, **more):
    "Round two: three defects and six good parts are known."
    labels = said(BAD[:3] + GOOD[:6], 1) if labels is None else labels
    history = (record(1),) if history is None else history
    return State(POOL, candidates(POOL, labels), labels, s or Suspects(tuple(BAD)), more.pop("shelf", SHELF), batch=5, round=2, seed=7, history=history, **more)


SHELF = Shelf()


def model_of(state, strategy=ASK):
    "G as this state has it."
    strategy.score(state)
    return state.shelf.get(state.used["G"], None, None)


# ---- the value

@pytest.mark.parametrize("size", [16, 32, 64, 50])
def test_scores_are_the_equation_part_by_part(size):
    now = state(s=Suspects(tuple(BAD), size=size, level=0.9))
    scores, g = require_scores(ASK.score(now), now.candidates), model_of(now)
    for i in scores.index[scores > 0][:6]:
        image = image_tensor(POOL[[i]], 32)
        by_hand = sdr(image[0, 0].numpy(), g.restore(image)[0, 0].numpy(), maps_at(now.predict(POOL[[i]]).maps, 32)[0])
        assert scores[i] == pytest.approx(by_hand, rel=1e-5)
    assert set(scores.index[scores > 0]) == set(BAD[3:])


def test_one_half_is_suspected_and_a_little_less_is_not():
    suspected = lambda level, **how: (replace(ASK, **how).score(state(s=Suspects(tuple(BAD), level=level))) > 0).sum()  # noqa: E731
    assert suspected(0.5) == len(BAD) - 3 and suspected(0.4999) == 0 and suspected(0.4999, threshold=0.49) == len(BAD) - 3


def test_maps_at_another_size():
    chance = np.random.default_rng(0).random((3, 32, 32), np.float32)
    assert maps_at(chance, 32) is chance
    for size in (16, 48, 64):
        there = maps_at(chance, size)
        assert there.shape == (3, size, size) and there.dtype == np.float32 and 0 <= there.min() and there.max() <= 1
        assert there.max() == pytest.approx(chance.max(), abs=0.1) and (size < 32 or there.mean() == pytest.approx(chance.mean(), abs=0.01))
    np.testing.assert_array_equal(maps_at(chance, 16), chance.reshape(3, 16, 2, 16, 2).max(axis=(2, 4)))
    assert maps_at(np.ones((2, 7, 29)), 32) == pytest.approx(1)
    np.testing.assert_allclose(maps_at(np.kron(chance, np.ones((1, 2, 2), np.float32)), 32)[:, 8:24, 8:24].mean(), chance[:, 8:24, 8:24].mean(), atol=0.01)


@pytest.mark.parametrize("s", [Suspects(tuple(BAD[::2])), Suspects(tuple(BAD), size=64, level=0.9)], ids=["half of it tied", "larger maps"])
def test_pieces_equal_the_whole(s):
    now = state(s=s)
    whole = ASK.score(now)
    for size in (1, 7): np.testing.assert_allclose(score_in_pieces(ASK, now, size=size).reindex(whole.index), whole, rtol=1e-5)
    np.testing.assert_allclose(score_in_pieces(ASK, now, size=9, workers=2).reindex(whole.index), whole, rtol=1e-5)


# ---- ties

def test_ties_go_in_the_order_of_the_first_msmr_round_and_below_every_suspect():
    first = record(1)
    later = record(3, scores=-first.scores)
    now = state(s=Suspects(tuple(BAD[3:6])), history=(record(2, "SDR"), later, first))
    scores = ASK.score(now)
    tied = scores.index[scores < 0]
    assert set(scores.index[scores > 0]) == set(BAD[3:6]) and (scores[tied] >= -1).all()
    assert list(scores[tied].sort_values().index) == list(first.scores[tied].sort_values().index)


def test_ties_without_a_record_are_what_msmr_says_now():
    now = state(s=Suspects(tuple(BAD[3:6])), history=(record(1, "Random"),))
    scores, msmr = ASK.score(now), COLD.score(now)
    tied = scores.index[scores < 0]
    np.testing.assert_allclose(scores[tied], -1 / (1 + msmr[tied]), rtol=1e-6)


def test_parts_that_joined_later_are_scored_by_msmr_and_nobody_else_is(monkeypatch):
    new = GOOD[-4:]
    asked, real = [], MSMR.score
    monkeypatch.setattr(MSMR, "score", lambda self, state: asked.append(list(state.candidates)) or real(self, state))
    now = state(s=Suspects(tuple(BAD + new[:1])), history=(record(1, scores=record(1).scores.drop(new)),))
    scores = ASK.score(now)
    assert asked == [new[1:]], "only those without a score and without an error"
    monkeypatch.undo()
    assert scores[new[1]] == pytest.approx(-1 / (1 + COLD.score(now)[new[1]]), rel=1e-5)


def test_ties_left_to_chance_are_zero(monkeypatch):
    monkeypatch.setattr(MSMR, "score", None)
    scores = replace(ASK, ties="id").score(state(s=Suspects(tuple(BAD[3:6]))))
    assert set(scores.index[scores > 0]) == set(BAD[3:6]) and (scores.drop(BAD[3:6]) == 0).all()


def test_without_candidates_there_are_no_scores():
    assert len(ASK.score(state().piece([]))) == 0


# ---- too early

@pytest.mark.parametrize("labels, missing", [
    (lambda: said(GOOD[:6], 1), "no defect is drawn"), (lambda: said(BAD[:3], 1), "no part is known to be good"), (lambda: Labels.of({}), "no defect is drawn"),
    (lambda: Labels.of({i: True for i in BAD[:3]} | {i: False for i in GOOD[:3]}, round=1), "no defect is drawn")], ids=["only good", "only defects", "nothing", "no masks"])
@pytest.mark.parametrize("once", [True, False])
def test_where_g_cannot_be_trained_msmr_goes_on_aloud(labels, missing, once, caplog):
    now = state(labels(), used={})
    with caplog.at_level(logging.WARNING): scores = replace(ASK, once=once).score(now)
    assert [r.getMessage() for r in caplog.records] == [f"SDR: {missing} yet, so G cannot be trained; the order of MSMR goes on"]
    pd.testing.assert_series_equal(scores, COLD.score(now))
    assert set(now.used) == {"M"}, "neither S nor G is trained"


def test_parts_assumed_good_are_good_enough(caplog):
    now = state(said(BAD[:3], 1), history=(record(1, assumed=GOOD[:6]),), used={})
    ASK.score(now)
    assert not caplog.records and "G" in now.used


# ---- what G is trained on

def test_g_learns_from_the_first_round_that_shows_a_defect():
    history = (record(1, assumed=GOOD[10:12]), record(2, assumed=GOOD[12:15]), record(3, assumed=GOOD[15:18]))
    labels = join(join(said(GOOD[:4], 1), said([*BAD[:2], GOOD[4]], 2)), said([*BAD[2:5], GOOD[12]], 3))
    known = first_lessons(labels, history)
    assert set(known.ids) == {*GOOD[:5], *BAD[:2], *GOOD[12:15]}
    assert set(known.ids[known.table.annotator == "assumed"]) == set(GOOD[12:15]), "assumed then, whatever was said later"
    assert set(known.masks) == set(BAD[:2])


def test_a_first_round_of_nothing_but_defects_waits_for_the_first_good_part():
    labels = join(said(BAD[:2], 1), said([BAD[2], *GOOD[:2]], 2))
    assert set(first_lessons(labels).ids) == {*BAD[:3], *GOOD[:2]}
    assert set(first_lessons(labels, (record(1, assumed=GOOD[5:7]),)).ids) == {*BAD[:2], *GOOD[5:7]}


def test_skipped_and_undrawn_parts_teach_nothing():
    labels = join(said([*BAD[:2], *GOOD[:3]], 1), Labels.of({BAD[3]: True, BAD[4]: None}, round=1))
    assert set(first_lessons(labels).ids) == {*BAD[:2], *GOOD[:3]}


def test_g_is_trained_once_and_its_key_stays():
    first, keys, trained = said([*BAD[:3], *GOOD[:6]], 1), [], []
    history, labels = (record(1, assumed=GOOD[10:14]),), first
    shelf = Shelf()
    get = shelf.get
    shelf.get = lambda key, train, load: get(key, lambda checkpoint: trained.append(key) or train(checkpoint), load)
    for number in (2, 3, 4):
        now = state(labels, history=history, used={}, shelf=shelf)
        ASK.score(now)
        keys.append(now.used["G"])
        labels = join(labels, said([BAD[number + 2], GOOD[number + 8]], number))
        history = (*history, record(number, "SDR", assumed=GOOD[14:18]))
    assert len(set(keys)) == 1 and trained.count(keys[0]) == 1 and sum(key[0] == "M" for key in trained) == 1


def test_anew_every_round_if_wanted():
    anew, labels = replace(ASK, once=False), said([*BAD[:3], *GOOD[:6]], 1)
    more = join(labels, said([BAD[4], GOOD[8]], 2))
    states = [state(labels, used={}), state(more, used={}), state(more, training=join(Labels.of({GOOD[9]: False}, annotator="assumed", round=2), more), used={})]
    for now in states: anew.score(now)
    assert len({now.used["G"] for now in states}) == 3


def test_g_is_of_the_form_of_m_unless_told(monkeypatch):
    found = []
    monkeypatch.setattr(SupervisedReconstructionLearner, "fit", lambda self, *more, **named: found.append((self, named["start"])) or (_ for _ in ()).throw(InterruptedError))
    now = state(shelf=Shelf())
    with pytest.raises(InterruptedError): SDR(msmr=COLD).score(now)
    (learner, start), m = found[0], now.shelf.get(now.used["M"], None, None)
    assert repr(learner) == repr(SupervisedReconstructionLearner(M)) and learner.device is None and shows_progress(learner) == M.progress
    assert start is m


# ---- killed in the middle

def test_a_kill_during_gs_training_resumes(tmp_path, monkeypatch):
    ask = replace(ASK, learner=tiny(SupervisedReconstructionLearner(M), epochs=5))
    calm = ask.score(state(shelf=Shelf(tmp_path / "calm")))
    finish, folder = training.Run.finish_epoch, tmp_path / "killed"
    COLD.score(state(shelf=Shelf(folder)))  # M is there already
    killed_after(monkeypatch, lambda: ask.score(state(shelf=Shelf(folder))), stops=(3,))
    assert [f.name[0] for f in folder.glob("*.checkpoint")] == ["G"]
    epochs = []
    monkeypatch.setattr(training.Run, "finish_epoch", lambda run, *loss, **more: epochs.append(len(run.history)) or finish(run, *loss, **more))
    pd.testing.assert_series_equal(ask.score(state(shelf=Shelf(folder))), calm)
    assert epochs == [3, 4], "two epochs were left"
    assert not list(folder.glob("*.checkpoint"))
    epochs.clear()
    pd.testing.assert_series_equal(ask.score(state(shelf=Shelf(folder))), calm)
    assert epochs == [], "a new process loads M and G"


# ---- settings

def test_settings():
    paper = SDR.paper()
    assert paper.learner == SupervisedReconstructionLearner.paper() and paper.msmr == MSMR.paper() and (paper.threshold, paper.ties, paper.once) == (0.5, "msmr", True)
    assert SDR().learner is None and SDR.pointwise and SDR.nested and SDR.suspicion and SDR.needs == ("maps",)
    with pytest.raises(ValueError, match="ties must be 'msmr' or 'id', got 'name'"): SDR(ties="name")
    with pytest.raises(ValueError, match="threshold is a probability"): SDR(threshold=-0.1)


def test_a_g_of_another_form_than_m_says_so():
    for change, said in ((dict(width=1 / 8), "width=0.125, M's 0.0625"), (dict(size=64), "size=64, M's 32"), (dict(skips=False), "skips=False, M's True")):
        with pytest.raises(ValueError, match=said): replace(ASK, learner=SupervisedReconstructionLearner(replace(M, **change)))
