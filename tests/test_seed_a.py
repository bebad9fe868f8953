"""What each method of seed A would have drawn, and that the experiment's plan holds on the real tiles."""
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.formulas.metrics import best_f
from active_defects.formulas.selection import select
from active_defects.learners.prediction import Prediction
from active_defects.strategies.average_margin import AverageMargin
from active_defects.strategies.least_confidence import LeastConfidence
from active_defects.strategies.strategy import State
from scipy.special import expit

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def seed_a():
    spec = importlib.util.spec_from_file_location("seed_a", ROOT / "experiments" / "seed_a.py")
    module = sys.modules["seed_a"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["seed_a"]


@pytest.fixture(scope="module")
def opinion():
    "300 parts, a third of them defective in three categories; two folds whose models are calibrated differently."
    random = np.random.default_rng(0)
    ids = pd.Index([f"part{n:03}" for n in range(300)], name="sample")
    verdicts = pd.Series(random.random(300) < 1 / 3, ids)
    category = pd.Series(random.choice(["crack", "pit", "scratch"], 300, p=[0.1, 0.3, 0.6]), ids).where(verdicts, "good")
    fold = random.integers(2, size=300)
    logit = random.normal(size=300) + 1.5 * verdicts + 2.0 * fold
    return pd.DataFrame(dict(fold=fold, logit=logit), ids), verdicts, category, ids[verdicts]


def draw(seed_a, opinion, method, n, repeat=0):
    oof, verdicts, category, candidates = opinion
    return seed_a.asked(method, n, oof, verdicts, category, candidates, repeat)


@pytest.mark.parametrize("n", [1, 7, 30, 80])
def test_every_method_asks_for_n_defective_parts(seed_a, opinion, n):
    for method in seed_a.METHODS:
        ids = draw(seed_a, opinion, method, n)
        assert len(ids) == n and ids.is_unique and ids.isin(opinion[3]).all(), method
        assert ids.equals(draw(seed_a, opinion, method, n)), "the same again"


def test_methods_without_categories_are_nested_in_n(seed_a, opinion):
    for method in ("random", "entropy (= margin)", "least confidence", "least confidence, calibrated"):
        assert draw(seed_a, opinion, method, 30)[:9].equals(draw(seed_a, opinion, method, 9))


def test_least_confidence_takes_what_was_missed(seed_a, opinion):
    oof, _, _, candidates = opinion
    assert set(draw(seed_a, opinion, "least confidence", 10)) == set(oof.logit[candidates].nsmallest(10).index)
    assert set(draw(seed_a, opinion, "entropy (= margin)", 10)) == set(oof.logit[candidates].abs().nsmallest(10).index), "which is margin's order too"


def test_calibration_changes_the_merge_of_folds_not_the_order_inside(seed_a, opinion):
    oof, verdicts, _, candidates = opinion
    plain, better = (draw(seed_a, opinion, method, len(candidates)) for method in ("least confidence", "least confidence, calibrated"))
    assert not plain.equals(better)
    for fold, part in oof.groupby("fold"): assert plain[plain.isin(part.index)].equals(better[better.isin(part.index)])
    share = lambda ids: (oof.fold[ids[:40]] == 1).mean()
    assert share(better) > share(plain), "the fold whose logits are too high comes into its own"
    assert best_f(verdicts[oof.fold == 1], oof.logit[oof.fold == 1])[0] > best_f(verdicts[oof.fold == 0], oof.logit[oof.fold == 0])[0]


class Remembered:
    "A learner that knows all opinions already."
    def __init__(self, p): self.p = p
    def __repr__(self): return "Remembered()"
    def fit(self, pool, labels, seed=0, start=None, checkpoint=None): return lambda some: Prediction(self.p.loc[some.ids])
    def load(self, path): raise ValueError("nothing is kept")


@pytest.mark.parametrize("n", [8, 40])
def test_the_strategies_of_the_package_ask_for_the_same(seed_a, opinion, n):
    oof, verdicts, category, candidates = opinion
    state = State(Pool(category.to_frame("category"), {}), candidates, Labels.of(verdicts), Remembered(pd.Series(expit(oof.logit), oof.index)), batch=n)
    for method, strategy in {"least confidence": LeastConfidence(), "average margin": AverageMargin()}.items():
        assert set(select(strategy.score(state), n)) == set(draw(seed_a, opinion, method, n)), method


def test_guarantees_per_category_hold(seed_a, opinion):
    _, _, category, _ = opinion
    for at_least in (1, 2, 4):
        assert category[draw(seed_a, opinion, f"least confidence, M = {at_least}", 12)].value_counts().reindex(["crack", "pit", "scratch"]).min() >= at_least


def test_random_differs_by_repeat(seed_a, opinion):
    assert not draw(seed_a, opinion, "random", 9, 0).equals(draw(seed_a, opinion, "random", 9, 1))


def test_unknown_methods_are_refused(seed_a, opinion):
    with pytest.raises(ValueError, match="unknown method 'nonsense'"): draw(seed_a, opinion, "nonsense", 5)


@pytest.mark.realdata
def test_the_tiles_test_side(seed_a, data_folder):
    pool, truth, train, test = seed_a.tiles(data_folder)
    assert 0.28 < len(test) / len(pool) < 0.32
    assert not set(pool.table.group[train]) & set(pool.table.group[test])
    kinds = truth.table.category[test]
    assert pool.table.group[test].groupby(kinds).nunique().min() >= 2 and kinds.nunique() == 6
    assert seed_a.budgets(len(truth[train].masks)) == [17, 35, 58, 87, 134]
