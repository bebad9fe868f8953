"""Every strategy keeps the contract of scores. Strategies are found by themselves: a newcomer's module is tested the moment it exists."""
import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import pytest
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.round_log import Round
from active_defects.data.synth import synth_surfaces
from active_defects.formulas.contracts import require_scores
from active_defects.formulas.reduction import top_mean
from active_defects.formulas.selection import select
from active_defects.learners.shelf import Shelf
from active_defects.pieces import score_in_pieces
from active_defects.strategies.strategy import State, candidates
from scipy.stats import spearmanr
from tiny import learner_for, public_classes, tiny

STRATEGIES = {name: c for name, c in public_classes("active_defects.strategies", "active_defects.baselines").items() if callable(getattr(c, "score", None))}
CHANCE = {"Random"}  # scores that are a hash of the id on purpose: they change with its spelling
BATCH = 5


# ---- a small world, and variations of it

@cache
def world(n=40, size=64, categories=False):
    "Pool and labels: a third is answered, with every kind of answer. Categories, where wanted, tell nothing about the verdict."
    pool, truth = synth_surfaces(n=n, seed=3, size=size, prevalence=0.4)
    known = truth[pool.ids[:14]]
    table = known.table.drop(columns="category").assign(round=1)
    assert known.table.defective.sum() >= 3, "the small world needs a few labeled defects"
    table.loc[pool.ids[0], "defective"] = pd.NA
    if categories: pool = Pool(pool.table.assign(category=[f"kind {int(group[-3:]) % 3}" for group in pool.table.group]), pool.images)
    return pool, Labels(table, {i: m for i, m in known.masks.items() if i != pool.ids[0]})


def world_for(strategy):
    "The world, with categories in the pool's table only for a strategy that says it needs them."
    return world(categories=getattr(strategy, "needs_category", False))


def renamed(pool, labels, names):
    "The same world under other ids."
    new = dict(zip(pool.ids, names))
    return (Pool(pool.table.rename(index=new), {new[i]: pool.images[i] for i in pool.ids}),
            Labels(labels.table.rename(index=new), {new[i]: m for i, m in labels.masks.items()}))


def enlarged(pool, labels, factor):
    "The same world with every pixel repeated."
    larger = lambda image: np.kron(image, np.ones((factor, factor), image.dtype))  # noqa: E731
    return Pool(pool.table, {i: larger(pool.images[i]) for i in pool.ids}), Labels(labels.table, {i: larger(m) for i, m in labels.masks.items()})


class SameModels(Shelf):
    "A shelf that gives every state the models of the first one, so that only the scoring differs."
    def __init__(self):
        super().__init__()
        self.models = {}

    def get(self, key, train, load):
        name = key.rsplit("-", 1)[0]
        if name not in self.models: self.models[name] = train(None)
        return self.models[name]


def state_of(strategy, pool, labels, shelf=None, batch=BATCH, order=None):
    "Round two: round one asked about all that is answered."
    ids = candidates(pool, labels) if order is None else order
    values = {i: float(pool.images[i].mean()) for i in pool.ids}  # the same for a part of any name, in any place and at any size
    first = Round(1, pd.Index(labels.ids), pd.Series(values, name="score").reindex(pool.ids), pd.Index([], dtype=object), "MSMR", 0)
    return State(pool, ids, labels, learner_for(strategy), shelf or Shelf(), batch=batch, round=2, seed=11, history=(first,))


def scored(strategy, pool, labels, **how):
    state = state_of(strategy, pool, labels, **how)
    return require_scores(strategy.score(state), state.candidates)


def fingerprint(pool, labels, ids):
    "Digest of everything a strategy could reach and must not change."
    digest = hashlib.sha256()
    for i in pool.ids: digest.update(i.encode() + np.ascontiguousarray(pool.images[i]).tobytes())
    for i in labels.masks: digest.update(i.encode() + np.ascontiguousarray(labels.masks[i]).tobytes())
    digest.update(f"{pool.table.to_dict()}{labels.table.to_dict()}{list(ids)}{list(pool.table.columns)}".encode())
    return digest.hexdigest()


# ---- the contract, one check each

def check_flags(strategy):
    "Constructible without arguments, and says what it is."
    again = type(strategy)()
    for flag in ("pointwise", "nested"):
        assert isinstance(getattr(again, flag, None), bool), f"{type(strategy).__name__}.{flag} must be True or False"


def check_scores(strategy):
    "One finite number for each candidate and for nobody else; also for one candidate, and for all of the pool."
    pool, labels = world_for(strategy)
    scored(strategy, pool, labels)
    scored(strategy, pool, labels, order=candidates(pool, labels)[:1])


def check_seed(strategy):
    "Two runs with one seed agree to the last bit."
    pool, labels = world_for(strategy)
    pd.testing.assert_series_equal(scored(strategy, pool, labels), scored(strategy, pool, labels), check_exact=True)


def check_order(strategy):
    "The order in which the pool happens to be listed means nothing, neither to the training nor to the scoring."
    pool, labels = world_for(strategy)
    mixed = np.random.default_rng(1).permutation(pool.ids)
    there = scored(strategy, pool[mixed], labels[[i for i in mixed if i in labels.ids]])
    here = scored(strategy, pool, labels)
    np.testing.assert_allclose(there.reindex(here.index), here, rtol=1e-4, atol=1e-7)


def check_pieces(strategy):
    "If it claims to be pointwise: pieces of any size and order give what the whole gives."
    if not strategy.pointwise: return
    pool, labels = world_for(strategy)
    state = state_of(strategy, pool, labels)
    whole = require_scores(strategy.score(state), state.candidates)
    for size in (1, 7, len(whole) - 1):
        pieces = require_scores(score_in_pieces(strategy, state, size=size), state.candidates)
        np.testing.assert_allclose(pieces, whole, rtol=1e-5, err_msg=f"pieces of {size}")
    back = require_scores(strategy.score(state.piece(state.candidates[::-1])), state.candidates)
    np.testing.assert_allclose(back, whole, rtol=1e-5, err_msg="reverse order")


def check_untouched(strategy):
    "Images, masks, tables and candidates are as they were."
    pool, labels = world_for(strategy)
    pool = Pool(pool.table.copy(), {i: pool.images[i].copy() for i in pool.ids})
    labels = Labels(labels.table.copy(), {i: m.copy() for i, m in labels.masks.items()})
    state = state_of(strategy, pool, labels)
    before = fingerprint(pool, labels, state.candidates)
    strategy.score(state)
    assert fingerprint(pool, labels, state.candidates) == before, f"{type(strategy).__name__} changes what it was given"


def check_prefix(strategy):
    "The `batch` highest scores are the batch; if nested, those of a smaller batch are its beginning."
    pool, labels = world_for(strategy)
    shelf, batches = SameModels(), {}
    for batch in (1, 3, BATCH):
        scores = scored(strategy, pool, labels, shelf=shelf, batch=batch)
        batches[batch] = list(select(scores, batch))
        lowest = scores[batches[batch]].min()
        assert len(set(batches[batch])) == batch and (scores.drop(batches[batch]) <= lowest).all()
        assert [list(select(scores, k)) for k in range(1, batch)] == [batches[batch][:k] for k in range(1, batch)]
    if strategy.nested: assert batches[1] == batches[BATCH][:1] and batches[3] == batches[BATCH][:3], "claims to be nested, but a small batch is not the beginning of a large one"


def check_ids(strategy):
    """The spelling of an id means nothing, ties aside. The models are trained once, for both spellings: which images they see first, and which are left out of a
    sample, may depend on a hash of the ids; what they think of an image may not."""
    if type(strategy).__name__ in CHANCE: return
    pool, labels = world_for(strategy)
    shelf, names = SameModels(), [f"Teil/{7919 * k % 1009:04d} ß" for k in range(len(pool))]
    here, there = scored(strategy, pool, labels, shelf=shelf), scored(strategy, *renamed(pool, labels, names), shelf=shelf)
    np.testing.assert_allclose(there, here, rtol=1e-6)


def check_size(strategy):
    "Images of more pixels are not more interesting: the same world, two and three times as large, scores alike."
    pool, labels = world_for(strategy)
    shelf = SameModels()
    here = scored(strategy, pool, labels, shelf=shelf)
    for factor in (2, 3):
        there = scored(strategy, *enlarged(pool, labels, factor), shelf=shelf)
        assert abs(there.mean() - here.mean()) <= 0.05 * here.abs().mean(), f"{factor} times as large: mean {there.mean():.4g} instead of {here.mean():.4g}"
        assert spearmanr(here, there).statistic > 0.9, f"{factor} times as large: another ranking"


CHECKS = {check.__name__.removeprefix("check_"): check for check in
          (check_flags, check_scores, check_seed, check_order, check_pieces, check_untouched, check_prefix, check_ids, check_size)}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_contract(name, check):
    strategy = STRATEGIES[name]()
    CHECKS[check](tiny(strategy) if dataclasses.is_dataclass(strategy) else strategy)


def test_the_strategies_of_the_book_are_found():
    assert {"strategies.strategy:Random", "strategies.uncertainty:Uncertainty", "strategies.margin:Margin", "strategies.msmr:MSMR",
            "strategies.least_confidence:LeastConfidence", "strategies.average_margin:AverageMargin", "baselines.median:MedianDeviation"} <= set(STRATEGIES)
    assert "strategies.strategy:Strategy" not in STRATEGIES and "strategies.strategy:State" not in STRATEGIES


@pytest.mark.parametrize("options", [dict(of="part"), dict(share=0.0), dict(share=1.0)], ids=str)
def test_other_settings_of_uncertainty_keep_it_too(options):
    for check in CHECKS.values(): check(tiny(STRATEGIES["strategies.uncertainty:Uncertainty"](**options)))


@pytest.mark.parametrize("options", [dict(hide="blocks"), dict(hide="blocks", region="full"), dict(hide="blocks", region="visible", across=2), dict(share=0.05, turns=2, repeats=1)], ids=str)
def test_other_settings_of_msmr_keep_it_too(options):
    for name in ("scores", "pieces", "size"): CHECKS[name](tiny(STRATEGIES["strategies.msmr:MSMR"](**options)))


@pytest.mark.parametrize("options", [dict(threshold=0.97), dict(threshold=0.97, ties="id"), dict(once=False)], ids=str)
def test_other_settings_of_sdr_keep_it_too(options):
    "At 0.97 most parts are tied: nothing is suspected in them."
    for name in ("scores", "order", "pieces", "prefix", "ids"): CHECKS[name](tiny(STRATEGIES["strategies.sdr:SDR"](**options)))


@pytest.mark.parametrize("name, options", [("least_confidence:LeastConfidence", dict(known=False)), ("average_margin:AverageMargin", dict(variant="normalize"))], ids=str)
def test_other_settings_for_mixed_supervision_keep_it_too(name, options):
    for check in CHECKS.values(): check(STRATEGIES[f"strategies.{name}"](**options))


@pytest.mark.parametrize("name", ["least_confidence:LeastConfidence", "average_margin:AverageMargin"])
def test_mixed_supervision_keeps_it_too(name, monkeypatch):
    "All verdicts are known, some masks: the candidates are the defective parts without one."
    def mixed(categories=False):
        pool, labels = world(categories=categories)
        _, truth = synth_surfaces(n=40, seed=3, size=64, prevalence=0.4)
        return pool, Labels(truth.table.drop(columns="category"), labels.masks)
    monkeypatch.setitem(globals(), "world_for", lambda strategy: mixed(getattr(strategy, "needs_category", False)))
    for check in CHECKS.values(): check(STRATEGIES[f"strategies.{name}"]())


def test_a_network_of_another_learner_keeps_it_too():
    "Pieces equal the whole for a convolutional network as well, in the precision this machine uses."
    from active_defects.learners.segmenter import UNetLearner
    for name in ("strategies.uncertainty:Uncertainty", "strategies.margin:Margin"):
        strategy, (pool, labels) = STRATEGIES[name](), world()
        state = dataclasses.replace(state_of(strategy, pool, labels), learner=tiny(UNetLearner()))
        whole = strategy.score(state)
        for size in (1, 7): np.testing.assert_allclose(score_in_pieces(strategy, state, size=size), whole, rtol=1e-5)


@pytest.mark.parametrize("options, message", [(dict(masks=0), "at least 1, got 0"), (dict(masks=-1), "at least 1, got -1"), (dict(masks=1.5), "whole number"), (dict(hide="half"), "'random' or 'nothing'")], ids=str)
def test_ReconstructionError_refuses_what_it_cannot_hide(options, message):
    with pytest.raises(ValueError, match=message): dataclasses.replace(STRATEGIES["strategies.reconstruction_error:ReconstructionError"](), **options)


def test_pieces_over_two_processes_give_the_same():
    strategy, (pool, labels) = tiny(STRATEGIES["strategies.msmr:MSMR"]()), world()
    state = state_of(strategy, pool, labels)
    np.testing.assert_allclose(score_in_pieces(strategy, state, size=9, workers=2), strategy.score(state), rtol=1e-5)


# ---- strategies that break the contract, and the check that notices

def fine(state):
    "A contract-keeping score: the worst pixels of each part."
    return pd.Series([float(top_mean(state.pool.images[i][None])[0]) for i in state.candidates], state.candidates)


@dataclass(frozen=True)
class Fine:
    pointwise = nested = True
    def score(self, state): return fine(state)

class NotANumber(Fine):
    def score(self, state): return fine(state).where(state.candidates != state.candidates[0])

class Infinite(Fine):
    def score(self, state): return fine(state).where(state.candidates != state.candidates[-1], np.inf)

class Forgets(Fine):
    def score(self, state): return fine(state).iloc[1:]

class Invents(Fine):
    def score(self, state): return pd.concat([fine(state), pd.Series({"nobody": 1.0})])

class Positions(Fine):
    def score(self, state): return fine(state).to_numpy()

class OwnDice(Fine):
    def score(self, state): return fine(state) + np.random.rand(len(state.candidates))  # noqa: NPY002

class PaintsOnImages(Fine):
    def score(self, state):
        scores = fine(state)
        state.pool.images[state.candidates[0]][:] = 0
        return scores

class NotesInTheTable(Fine):
    def score(self, state):
        state.pool.table["score"] = 1.0
        return fine(state)

class AnswersItself(Fine):
    def score(self, state):
        state.labels.table.loc[state.labels.ids[3], "defective"] = pd.NA
        return fine(state)

class Centers(Fine):
    def score(self, state): return fine(state) - fine(state).mean()

@dataclass(frozen=True)
class CentersAndSaysSo(Centers):
    pointwise = False

@dataclass(frozen=True)
class CountsFromTheTop(Fine):
    pointwise = False
    def score(self, state): return fine(state) + 0.01 * np.arange(len(state.candidates))

class ChangesItsMind(Fine):
    def score(self, state): return fine(state) * (-1) ** (state.batch == 1)

class ReadsNames(Fine):
    def score(self, state): return fine(state) + [sum(i.encode()) / 100 for i in state.candidates]

class AddsUpPixels(Fine):
    def score(self, state): return fine(state) * [state.pool.images[i].size for i in state.candidates]

@dataclass(frozen=True)
class WantsArguments(Fine):
    learner: object = dataclasses.field(kw_only=True)

class SaysNothing:
    def score(self, state): return fine(state)


BROKEN = {
    NotANumber: {"scores"}, Infinite: {"scores"}, Forgets: {"scores"}, Invents: {"scores"}, Positions: {"scores"},
    OwnDice: {"seed", "order", "pieces", "ids", "size", "prefix"}, PaintsOnImages: {"untouched"}, NotesInTheTable: {"untouched"}, AnswersItself: {"untouched"},
    Centers: {"pieces"}, CountsFromTheTop: {"order"}, ChangesItsMind: {"prefix"}, ReadsNames: {"ids"}, AddsUpPixels: {"size"}}
SINGLE_FAULTS = {NotesInTheTable, Centers, CountsFromTheTop, ChangesItsMind, ReadsNames, AddsUpPixels}  # the others break more than one promise


def complaints(strategy):
    "Names of the checks that a strategy fails."
    failed = set()
    for name, check in CHECKS.items():
        if BROKEN.get(type(strategy)) == {"untouched"}: world.cache_clear()  # it spoils the world for the next check
        try: check(strategy)
        except (AssertionError, ValueError, TypeError): failed.add(name)
    world.cache_clear()
    return failed


@pytest.mark.parametrize("broken", BROKEN, ids=lambda c: c.__name__)
def test_a_broken_strategy_is_noticed_by_its_check(broken):
    noticed = complaints(broken())
    assert BROKEN[broken] <= noticed
    if broken in SINGLE_FAULTS: assert noticed == BROKEN[broken], "another check blames it for something it does not do"


def test_a_strategy_with_arguments_or_without_flags_is_noticed():
    with pytest.raises(TypeError): check_flags(WantsArguments(learner=None))
    with pytest.raises(AssertionError, match="pointwise"): check_flags(SaysNothing())


def test_honest_strategies_pass():
    assert complaints(Fine()) == set() and complaints(CentersAndSaysSo()) == set()


def test_a_planted_strategy_is_discovered(tmp_path, monkeypatch):
    "One new module is enough: the suite finds it without being told."
    import active_defects.strategies as home
    (tmp_path / "planted.py").write_text("class Mine:\n    pointwise = nested = True\n    def score(self, state): ...\n", encoding="utf-8")
    monkeypatch.setattr(home, "__path__", [*home.__path__, str(tmp_path)])
    assert "strategies.planted:Mine" in public_classes("active_defects.strategies")
