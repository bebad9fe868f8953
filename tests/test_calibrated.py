"""Scales of folds: measured on each model's own part, bent before they are mixed, kept and refused in words."""
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.formulas.calibration import calibrate, temperature
from active_defects.formulas.contracts import tie_break
from active_defects.formulas.metrics import best_f, no_miss_threshold
from active_defects.learners.calibrated import Bent, Calibrated, logits
from active_defects.learners.folds import Folds
from active_defects.learners.pixel import PixelLearner
from active_defects.learners.prediction import Prediction
from active_defects.learners.segmenter import UNetLearner
from active_defects.learners.shelf import load_weights, save_weights
from active_defects.strategies.strategy import State
from scipy.special import expit
from tiny import tiny


@dataclass(frozen=True)
class Voice:
    "Knows the truth, more or less, and speaks louder or softer by its seed."
    truth: tuple
    logit: bool = True
    gives = ("maps",)

    def fit(self, pool, labels, seed=0, start=None, checkpoint=None): return VoiceModel(self, seed)
    def load(self, path): return VoiceModel(self, int(load_weights(path)[0]["seed"][0]))


@dataclass(frozen=True)
class VoiceModel:
    learner: Voice
    seed: int

    def __call__(self, pool):
        noise = tie_break(pool.ids, self.seed) / 2.0 ** 64
        z = np.array([2.0 * (i in self.learner.truth) for i in pool.ids]) + 4 * noise - 3 + self.seed % 5 - 2
        return Prediction(pd.Series(expit(z), pool.ids), np.zeros((len(pool), 2, 2), np.float32), extras={"logit": z.astype(np.float32)} if self.learner.logit else {})

    def save(self, path): return save_weights(path, {"seed": np.array([self.seed])}, {})


@pytest.fixture(scope="module")
def world():
    random = np.random.default_rng(0)
    ids = [f"p{i:03}" for i in range(200)]
    bad = random.random(200) < 0.2
    pool = Pool(pd.DataFrame({"group": [f"g{i // 2}" for i in range(200)]}, ids), {})
    return pool, Labels.of(dict(zip(ids, bad))), Voice(tuple(np.array(ids)[bad])), bad


@pytest.mark.parametrize("reading", ["unit", "range"])
@pytest.mark.parametrize("best", ["f", "midpoint", "no miss"])
def test_every_part_is_bent_by_the_threshold_of_its_own_fold(world, reading, best):
    pool, labels, voice, bad = world
    train = pool.ids[:150]
    folds = Folds(voice, 3).fit(pool[train], labels, 2)
    model = Calibrated(Folds(voice, 3), reading=reading, best=best).fit(pool[train], labels, 2)
    raw, said = folds(pool), model(pool)
    assert model.fold.equals(folds.fold) and np.array_equal(said.extras["raw"], raw.defective) and "logit" not in said.extras
    truth, bent = pd.Series(bad, pool.ids), []
    for number, inner in enumerate(folds.models):
        own = folds.fold.index[folds.fold == number]
        p = raw.defective[own]
        t = no_miss_threshold(truth[own], p) if best == "no miss" else best_f(truth[own], p, best == "midpoint")[0]
        ends = p.min(), p.max()
        np.testing.assert_array_equal(said.defective[own], calibrate(p.to_numpy(), t, reading, *ends))
        assert said.defective[own].rank(method="dense").equals(p.rank(method="dense")), "inside a fold the order stays"
        bent.append(calibrate(inner(pool[pool.ids[150:]]).defective.to_numpy(), t, reading, *ends))
    np.testing.assert_allclose(said.defective[pool.ids[150:]], np.mean(bent, axis=0), atol=1e-15)


def test_temperature_divides_logits_and_says_so(world):
    pool, labels, voice, bad = world
    truth = pd.Series(bad, pool.ids)
    for given in (voice, replace(voice, logit=False)):
        model = Calibrated(Folds(given), "temperature").fit(pool, labels, 1)
        said = model(pool)
        np.testing.assert_allclose(expit(said.extras["logit"]), said.defective, rtol=1e-12)
        for number, inner in enumerate(model.folds.models):
            own = model.fold.index[model.fold == number]
            z = logits(inner(pool[own]))
            assert model.scale["at"][number] == temperature(z, truth[own].to_numpy())
            np.testing.assert_allclose(said.defective[own], expit(z / model.scale["at"][number]))


def test_probabilities_without_a_logit_get_one_at_the_edge():
    z = logits(Prediction(pd.Series([0.0, 0.5, 1.0], list("abc"))))
    assert z[1] == 0 and np.isfinite(z).all() and abs(z[2] + z[0]) < 1e-6 and 13.8 < z[2] < 13.9


@pytest.mark.parametrize("how", ["threshold", "temperature"])
def test_kept_carried_and_resumed(world, how, tmp_path):
    pool, labels, voice, _ = world
    learner = Calibrated(Folds(voice, 4), how, "range")
    model = learner.fit(pool, labels, 3, checkpoint=tmp_path / "c")
    expected = model(pool)
    for other in (learner.load(model.save(tmp_path / "m")), pickle.loads(pickle.dumps(model)), learner.fit(pool, labels, 3, checkpoint=tmp_path / "c")):
        assert other(pool).defective.equals(expected.defective) and other.scale.equals(model.scale) and other.fold.equals(model.fold)
    with pytest.raises(ValueError, match="holds no calibrated folds"): learner.load(tmp_path / "c")
    with pytest.raises(ValueError, match="holds 4 folds"): Calibrated(Folds(voice, 2)).load(tmp_path / "m")
    assert State(pool, pool.ids, labels, learner).predict(pool).ids.equals(pool.ids)


def test_what_is_refused(world):
    pool, labels, voice, bad = world
    with pytest.raises(ValueError, match=r"take Calibrated\(Folds\(UNetLearner"): Calibrated(UNetLearner())
    for wrong in ({"how": "platt"}, {"reading": "ends"}, {"best": "youden"}):
        with pytest.raises(ValueError, match="is unknown; choose"): Calibrated(Folds(voice), **wrong)
    few = labels[[*pool.ids[~bad], *pool.ids[bad][:3]]]
    with pytest.raises(ValueError, match="take fewer folds"): Calibrated(Folds(Forbidden(), 4)).fit(pool, few)
    shy = Voice((), True)
    with pytest.raises(ValueError, match="turn the order around"):
        for seed in range(30): Calibrated(Folds(shy), reading="keep").fit(pool, labels, seed)


class Forbidden:
    gives = ()
    def fit(self, *_, **__): raise AssertionError("trained before it was looked at")


def test_certain_models_stay_within_bounds(world):
    pool, labels, voice, bad = world
    class Sure:
        def __call__(self, asked): return Prediction(pd.Series([float(i in voice.truth) for i in asked.ids], asked.ids))
    for how, at in (("threshold", 1.0), ("threshold", 0.0), ("temperature", 0.01), ("temperature", 100.0)):
        p = Bent(Calibrated(Folds(voice), how), Sure(), at, 0.0, 1.0)(pool).defective
        assert p.between(0, 1).all() and p[pool.ids[bad]].min() >= p[pool.ids[~bad]].max()


def test_around_real_learners_and_repr():
    from active_defects.data.synth import synth_surfaces
    pool, truth = synth_surfaces(n=40, seed=1, size=32, prevalence=0.4)
    for inner in (PixelLearner(size=32), tiny(UNetLearner())):
        said = Calibrated(Folds(inner)).fit(pool[pool.ids[:30]], truth)(pool)
        assert said.maps is not None and said.features is None and list(said.ids) == list(pool.ids)
    learner = Calibrated(Folds(PixelLearner(), 4), "temperature", "keep", "no miss")
    assert repr(learner) == f"Calibrated(learner={Folds(PixelLearner(), 4)!r}, how='temperature', reading='keep', best='no miss')" and learner.gives == ("maps", "folds")
