"""Blends of rankings, and the strategy that asks for the likeliest defects: against SciPy, against known truths, and over random scores."""
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from active_defects.data.labels import Labels
from active_defects.data.synth import synth_surfaces
from active_defects.learners.pixel import PixelLearner
from active_defects.learners.prediction import from_maps
from active_defects.loop.rounds import check_needs
from active_defects.strategies.average_margin import AverageMargin
from active_defects.strategies.blend import Blend, blended, heard, places
from active_defects.strategies.likely_defect import LikelyDefect
from active_defects.strategies.margin import Margin
from active_defects.strategies.msmr import MSMR
from active_defects.strategies.sdr import SDR
from active_defects.strategies.strategy import Random, State, candidates
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

fast = settings(deadline=None, max_examples=60, derandomize=True)
pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000)), min_size=1, max_size=30)


@dataclass(frozen=True)
class Says:
    "A member with given scores."
    scores: pd.Series
    pointwise: bool = True
    nested: bool = True
    suspicion: bool = True
    needs: tuple = ()

    def score(self, state):
        return self.scores[state.candidates]


@dataclass(frozen=True)
class Maps:
    "A learner whose model gives fixed maps."
    maps: object
    gives = ("maps",)

    def __repr__(self): return "Maps()"
    def fit(self, pool, labels, seed=0, start=None, checkpoint=None): return lambda parts: from_maps(parts.ids, np.stack([self.maps[i] for i in parts.ids]))
    load = None


def state_of(n=12, learner=None):
    pool, truth = synth_surfaces(n=n, size=16, prevalence=0.5, seed=1)
    return State(pool, pool.ids, truth[[]] if learner is None else truth, learner or PixelLearner(size=16))


def series(pairs):
    ids = [f"part{k}" for k in range(len(pairs))]
    return [pd.Series(values, ids, dtype=float) for values in zip(*pairs)]


@fast
@given(pairs, st.floats(0.1, 10))
def test_places_are_those_of_scipy_and_the_blend_is_their_mean(pairs, weight):
    a, b = series(pairs)
    n = len(a)
    assert np.allclose(places(a), rankdata(a) / n)
    assert np.allclose(blended([a, b], (1, weight)), (rankdata(a) + weight * rankdata(b)) / n / (1 + weight))
    assert np.allclose(blended([a, b], how="best"), np.maximum(rankdata(a), rankdata(b)) / n)


@fast
@given(pairs, st.sampled_from(["mean", "best"]))
def test_only_the_order_of_a_member_counts(pairs, how):
    a, b = series(pairs)
    before = blended([a, b], how=how)
    assert np.allclose(blended([np.exp(a), b / 1e6 - 3], how=how), before)
    assert np.allclose(blended([b, a], how=how), before)
    mixed = a.index[::-1]
    assert np.allclose(blended([a[mixed], b], how=how)[a.index], before)


@fast
@given(pairs)
def test_a_blend_keeps_what_all_members_agree_on(pairs):
    a, b = series(pairs)
    both = blended([a, b])
    for i in a.index:
        worse = (a < a[i]) & (b < b[i])
        assert (both[worse] < both[i]).all()
    assert both.between(0, 1).all() and both.gt(0).all()


def test_a_member_alone_and_a_member_with_itself():
    state = state_of()
    own = Says(pd.Series(np.random.default_rng(0).permutation(np.arange(12.0)), state.candidates))
    for blend in (Blend((own,)), Blend((own, own)), Blend((own, Random()), (2, 0)), Blend((own, own), how="best")):
        assert np.allclose(blend.score(state), places(own.scores))
    assert Blend((own,)).score(state.piece(state.candidates[:1])).tolist() == [1.0]


def test_members_that_may_be_asked_in_pieces_are(monkeypatch):
    state, sizes = state_of(), []
    scores = pd.Series(np.arange(12.0), state.candidates)
    monkeypatch.setattr(Says, "score", lambda self, part: (sizes.append(len(part.candidates)), self.scores[part.candidates])[1])
    assert heard(Says(scores), state, 5).equals(scores) and sizes == [5, 5, 2]
    sizes.clear()
    assert heard(Says(scores, pointwise=False), state, 5).equals(scores) and sizes == [12]
    sizes.clear()
    assert Blend((Says(scores), Says(-scores)), at_once=4).score(state).nunique() == 1 and sizes == [4] * 6


def test_nobody_left_to_ask_is_no_error():
    state = state_of().piece([])
    for member in (Says(pd.Series(dtype=float)), Says(pd.Series(dtype=float), pointwise=False)):
        assert len(Blend((member, member)).score(state)) == 0


def test_a_member_that_breaks_the_contract_is_named_by_what_it_did():
    state = state_of()
    bad = Says(pd.Series(np.r_[np.nan, np.arange(11.0)], state.candidates))
    with pytest.raises(ValueError, match="must be finite"): Blend((Random(), bad)).score(state)


def test_flags_are_those_of_the_least_member():
    assert (Blend().nested, Blend().suspicion, Blend().needs, Blend().pointwise) == (True, True, ("maps",), False)
    assert Blend().members == (SDR(), LikelyDefect())
    assert not Blend((AverageMargin(), Random())).nested and Blend((AverageMargin("normalize"), Random())).nested
    assert not Blend((LikelyDefect(), Margin())).suspicion and Blend((LikelyDefect(), MSMR())).suspicion
    scores = pd.Series(dtype=float)
    assert Blend((Says(scores, needs=("members", "maps")), Says(scores, needs=("features", "maps")), Random())).needs == ("features", "maps", "members")
    with pytest.raises(ValueError, match="needs features, members"): check_needs(Blend((Says(scores, needs=("members", "features")), LikelyDefect())), PixelLearner())


@pytest.mark.parametrize("how, words", [
    (dict(members=()), "at least one member"), (dict(weights=(1,)), "2 numbers"), (dict(weights=(1, -1)), ">= 0"), (dict(weights=(0, 0)), "not all 0"),
    (dict(weights=(1, float("nan"))), "2 numbers"), (dict(weights=(1, 1), how="best"), "leave them out"), (dict(how="max"), "got 'max'"), (dict(at_once=0), "at least 1")], ids=str)
def test_what_cannot_be_blended_is_refused_at_once(how, words):
    with pytest.raises(ValueError, match=words): Blend(**how)


# ---- the likeliest defects

@pytest.mark.parametrize("share, value", [(0, 0.9), (2 / 256, 0.8), (1, (0.9 + 0.7) / 256)])
def test_likely_defect_is_the_mean_of_the_likeliest_pixels(share, value):
    maps = {f"part{k:03d}": np.zeros((16, 16), np.float32) for k in range(12)}
    maps["part003"][[2, 9], [5, 5]] = 0.9, 0.7
    scores = LikelyDefect(share).score(state_of(learner=Maps(maps)))
    assert scores["part003"] == pytest.approx(value, rel=1e-5) and scores.drop("part003").eq(0).all() and scores.idxmax() == "part003"


def test_likely_defect_says_what_it_needs():
    assert LikelyDefect().suspicion and LikelyDefect().needs == ("maps",)
    with pytest.raises(ValueError, match="share must lie in"): LikelyDefect(-0.1).score(state_of(learner=PixelLearner(size=16)))


def test_both_ask_candidates_only():
    pool, truth = synth_surfaces(n=20, size=16, prevalence=0.5, seed=1)
    labels = Labels(truth.table.drop(columns="category"), truth.masks)[pool.ids[:8]]
    state = State(pool, candidates(pool, labels), labels, PixelLearner(size=16))
    for strategy in (LikelyDefect(), Blend((LikelyDefect(), Random()))):
        assert strategy.score(state).index.equals(pool.ids[8:])
