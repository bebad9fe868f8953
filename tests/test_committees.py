"""Committees, gradients and coverings in a loop: equipped from a plain segmenter, the same when the store is opened again, and with every option."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from active_defects.baselines.badge import Badge
from active_defects.baselines.bald import BALD, BatchBALD
from active_defects.baselines.coreset import Coreset
from active_defects.baselines.gradient_norm import GradientNorm
from active_defects.baselines.kmeans import KMeans
from active_defects.baselines.max_kl import MaxKL, confirmed, grouped
from active_defects.baselines.median import MedianDeviation
from active_defects.baselines.suggestive import SuggestiveAnnotation
from active_defects.baselines.teacher_student import TeacherStudent
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.store import LabelStore
from active_defects.data.synth import synth_surfaces
from active_defects.learners.prediction import Prediction
from active_defects.learners.segmenter import UNetLearner
from active_defects.learners.training import Schedule
from active_defects.loop.oracle import TruthOracle
from active_defects.loop.rounds import Loop, check_needs
from test_strategies import CHECKS
from tiny import tiny

STRATEGIES = [Coreset(), KMeans(), Badge(), GradientNorm(), BALD(3), BatchBALD(3), SuggestiveAnnotation(members=2), TeacherStudent(), MaxKL()]
PLAIN = replace(tiny(UNetLearner()), schedule=Schedule(1, 8, 0.05))


def equipped(strategy, learner):
    return strategy.equip(learner) if hasattr(strategy, "equip") else learner


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
def test_a_loop_from_a_plain_segmenter_goes_on_where_it_was(strategy, tmp_path):
    pool, truth = synth_surfaces(n=24, seed=3, size=32, prevalence=0.5)
    learner = equipped(strategy, PLAIN)
    check_needs(strategy, learner)
    assert equipped(strategy, learner) is learner, "equipped twice"
    def loop(): return Loop(pool, LabelStore(tmp_path / "parts.db"), learner, strategy, first=MedianDeviation(size=32), batch=6, warm=not isinstance(strategy, MaxKL))
    first = loop()
    first.tell(asked := first.ask(), TruthOracle(truth).annotate(asked.ids))
    second = loop().ask()
    assert second.strategy == type(strategy).__name__ and len(set(second.ids)) == 6 and not set(second.ids) & set(asked.ids)
    again = loop()
    again.tell(second, TruthOracle(truth).annotate(second.ids))
    third = again.ask()
    files = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "parts.models").iterdir()}
    assert not any(name.endswith(".checkpoint") or "members" in name for name in files), "a training left something behind"
    state = loop().state(2)
    pd.testing.assert_series_equal(strategy.score(state).reindex(third.scores.index), third.scores, check_exact=False, rtol=1e-5, check_names=False)
    assert files == {f.name: f.stat().st_mtime_ns for f in (tmp_path / "parts.models").iterdir()}, "a model was trained again"


@pytest.mark.parametrize("strategy", [Badge("part"), GradientNorm("entropy"), GradientNorm(of="part"), TeacherStudent("squared"), SuggestiveAnnotation(1.0), BatchBALD(exact=0, samples=50), MaxKL(buckets=1), MaxKL(buckets=1000), KMeans(starts=1)], ids=str)
def test_other_settings_keep_the_contract(strategy):
    for name in ("scores", "seed", "prefix"): CHECKS[name](strategy)


def test_confirmed_is_intersection_over_union():
    random = np.random.default_rng(0)
    ids = list("abcdef")
    masks, maps = random.random((6, 8, 8)) > 0.6, random.random((6, 8, 8)).astype(np.float32)
    maps[0], maps[1], maps[2] = masks[0] * 0.9, masks[1] * 0.4, 0
    pool = Pool(pd.DataFrame(index=ids), dict(zip(ids, random.random((6, 8, 8)).astype(np.float32))))
    labels = Labels.of({i: i != "f" for i in ids}, {i: m for i, m in zip(ids, masks) if i != "f"})
    said = Prediction(pd.Series(0.5, ids), maps)
    truth = [m if i != "f" else np.zeros((8, 8), bool) for i, m in zip(ids, masks)]
    plain = [bool((t & (p >= 0.5)).sum() >= 0.5 * (t | (p >= 0.5)).sum() > 0) and bool((t & (p >= 0.5)).any()) for t, p in zip(truth, maps)]
    assert confirmed(pool, labels, said).tolist() == plain and plain[:3] == [True, False, False] and not plain[5]


@pytest.mark.parametrize("count", [1, 3, 10, 50])
def test_groups_are_of_about_equal_size_and_keep_equals_together(count):
    values = pd.Series(np.random.default_rng(0).integers(0, 12, 40) / 12.0)
    group = grouped(values, count)
    assert group.between(0, count - 1).all() and (values.groupby(group).min().diff().dropna() > 0).all() and (group.groupby(values).nunique() == 1).all()
    distinct = grouped(pd.Series(np.random.default_rng(1).permutation(40) / 40.0), count).value_counts()
    assert distinct.max() - distinct.min() <= 1


def test_the_core_set_covers_better_than_chance_and_its_scores_are_distances():
    from scipy.spatial.distance import cdist
    from active_defects.learners.shelf import Shelf
    from active_defects.strategies.strategy import State, candidates
    pool, truth = synth_surfaces(n=60, seed=3, size=32, prevalence=0.4)
    labels = truth[pool.ids[:20]]
    state = State(pool, candidates(pool, labels), labels, PLAIN, Shelf(), batch=8)
    scores, x = Coreset().score(state), state.predict(pool).features
    batch = scores.nlargest(8).index
    row = pool.ids.get_indexer
    for k, i in enumerate(batch):
        assert scores[i] == pytest.approx(cdist(x[row([i])], x[row([*labels.ids, *batch[:k]])]).min(), rel=1e-5)
    radius = lambda ids: cdist(x, x[row([*labels.ids, *ids])]).min(axis=1).max()  # noqa: E731
    assert radius(batch) <= min(radius(np.random.default_rng(s).choice(state.candidates, 8, replace=False)) for s in range(20))
