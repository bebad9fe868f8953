"""Learners with several opinions: dropout, ensemble, teacher and student, last layer. Nothing depends on order, company or an interruption."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from active_defects.data.synth import synth_surfaces
from active_defects.learners import training
from active_defects.learners.dropout import ChannelDropout, Dropout
from active_defects.learners.ensemble import Ensemble, bootstrap
from active_defects.learners.last_layer import LastLayer
from active_defects.learners.mean_teacher import MeanTeacher
from active_defects.learners.pixel import PixelLearner
from active_defects.learners.prediction import concat
from active_defects.learners.segmenter import UNetLearner
from active_defects.learners.training import Schedule
from interrupt import equal, killed_after, weights
from tiny import tiny

LEARNERS = {c.__name__: c for c in (Dropout, Ensemble, MeanTeacher, LastLayer)}
NETWORKS = [name for name in LEARNERS if name != "Ensemble"]


@pytest.fixture(scope="module")
def world():
    return synth_surfaces(n=24, seed=2, size=32, prevalence=0.4)


def small(name, **changes):
    learner = tiny(LEARNERS[name]())
    return replace(learner, learner=replace(learner.learner, schedule=Schedule(3, 8, 0.05)), **(dict(members=2) if name == "Ensemble" else {}) | changes)


def same(a, b):
    "Whether two models say the same to the last digit."
    return np.array_equal(a.maps, b.maps) and all(np.array_equal(a.extras[k], b.extras[k]) for k in a.extras) and (a.members is None or np.array_equal(a.members, b.members))


@pytest.mark.parametrize("name", LEARNERS)
def test_it_gives_what_it_says_and_loads_what_it_saved(world, name, tmp_path):
    pool, truth = world
    learner = small(name)
    model = learner.fit(pool, truth[pool.ids[:12]], seed=1)
    said = model(pool)
    for what in learner.gives:
        value = getattr(said, what, None) if what in ("maps", "features", "members") else said.extras[what]
        assert value is not None and np.isfinite(value).all(), what
    model.save(tmp_path / "m")
    assert same(said, learner.load(tmp_path / "m")(pool))
    there = concat([model(pool[pool.ids[:7]]), model(pool[pool.ids[7:]])])
    for k, v in said.extras.items(): np.testing.assert_allclose(there.extras[k], v, rtol=1e-4, atol=1e-6, err_msg=k)
    assert len(model(pool[[]]).defective) == 0


@pytest.mark.parametrize("name", LEARNERS)
def test_order_and_the_global_generators_mean_nothing(world, name):
    pool, truth = world
    learner, mixed = small(name), np.random.default_rng(0).permutation(pool.ids)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = learner.fit(pool, truth, seed=1)(pool)
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])
    torch.manual_seed(77), np.random.seed(77)
    assert same(first, learner.fit(pool[mixed], truth[mixed], seed=1)(pool))
    assert not same(first, learner.fit(pool, truth, seed=2)(pool))


@pytest.mark.parametrize("name", NETWORKS)
def test_an_interrupted_training_ends_like_an_uninterrupted_one(world, name, tmp_path, monkeypatch):
    pool, truth = world
    learner = small(name)
    calm = learner.fit(pool, truth, seed=3)
    killed_after(monkeypatch, lambda: learner.fit(pool, truth, seed=3, checkpoint=tmp_path / "m.checkpoint"), stops=(1, 2))
    resumed = learner.fit(pool, truth, seed=3, checkpoint=tmp_path / "m.checkpoint")
    assert equal(weights(calm), weights(resumed)) and same(calm(pool), resumed(pool))


def test_an_interrupted_ensemble_goes_on_with_the_member_it_was_at(world, tmp_path, monkeypatch):
    pool, truth = world
    learner, file = small("Ensemble"), tmp_path / "m.checkpoint"
    calm = learner.fit(pool, truth, seed=3)
    fit, trained = UNetLearner.fit, []
    def counted(self, *given, **named):
        if len(trained) == 1 and "again" not in trained: raise KeyboardInterrupt
        trained.append(named["seed"])
        return fit(self, *given, **named)
    monkeypatch.setattr(UNetLearner, "fit", counted)
    with pytest.raises(KeyboardInterrupt): learner.fit(pool, truth, seed=3, checkpoint=file)
    trained.append("again")
    resumed = learner.fit(pool, truth, seed=3, checkpoint=file)
    assert len(trained) == 3 and same(calm(pool), resumed(pool))
    assert same(calm(pool), learner.fit(pool, truth, seed=3, checkpoint=file)(pool)) and len(trained) == 3, "a finished ensemble is trained again"


@pytest.mark.parametrize("name", LEARNERS)
def test_a_start_is_taken(world, name):
    pool, truth = world
    learner = small(name)
    first = learner.fit(pool, truth, seed=1)
    still = replace(learner, learner=replace(learner.learner, schedule=Schedule(1, 8, 0.0, decay=0.0)))
    again = still.fit(pool, truth, seed=9, start=first)
    pairs = zip(first.models, again.models) if name == "Ensemble" else [(first, again)]
    for a, b in pairs:
        a, b = weights(a), weights(b)
        assert all(np.allclose(a[k], b[k]) for k in a if "running" not in k and "num_batches" not in k and "steps" not in k and "teacher" not in k)


def test_bootstrap_draws_with_replacement_and_has_both_kinds(world):
    pool, truth = world
    counts = np.zeros(len(pool))
    for seed in range(300):
        drawn, answers = bootstrap(pool, truth, seed)
        old = [i.partition("\0")[0] for i in drawn.ids]
        assert len(drawn) == len(pool) and len(set(answers.table.defective)) == 2
        assert np.array_equal(drawn.images[drawn.ids[-1]], pool.images[old[-1]])
        counts += np.isin(pool.ids, old)
    assert counts.mean() / 300 == pytest.approx(1 - (1 - 1 / 24) ** 24, abs=0.02)


def test_dropout_judges_are_the_same_for_every_part_and_differ_from_each_other():
    dropout, x = ChannelDropout(0.5, place=1).eval(), torch.rand(3, 32, 2, 2)
    assert torch.equal(dropout(x), x)
    dropout.judge = 4
    first = dropout(x)
    assert torch.equal(first, dropout(x)) and torch.equal((first[0] == 0), (first[1] == 0))
    assert torch.allclose(first[first != 0], 2 * x[first != 0])
    dropout.judge = 5
    assert not torch.equal(first, dropout(x))


def test_a_student_that_is_watched_is_the_student(world):
    pool, truth = world
    learner = small("MeanTeacher")
    assert np.array_equal(learner.fit(pool, truth, seed=1)(pool).maps, learner.learner.fit(pool, truth, seed=1)(pool).maps)


@pytest.mark.parametrize("name", NETWORKS)
def test_another_network_is_refused_before_it_is_trained(name):
    with pytest.raises(ValueError, match="of a UNetLearner, got a PixelLearner"): LEARNERS[name](PixelLearner())


def test_training_is_still_what_it_was():
    assert training.train.__defaults__[-1] == 10.0
