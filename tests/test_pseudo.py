"""Guessed masks: whom they are guessed for, what they are worth, and that no drawn mask is ever touched."""
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.synth import synth_surfaces
from active_defects.data.weaken import weaken
from active_defects.learners.folds import Folds
from active_defects.learners.pixel import PixelLearner
from active_defects.learners.prediction import Prediction
from active_defects.learners.pseudo import PseudoMasks, guess, nearest
from active_defects.learners.segdec import SegDecLearner, lesson_of
from active_defects.learners.segmenter import UNetLearner
from active_defects.learners.shelf import load_weights, save_weights
from active_defects.learners.training import Schedule


@dataclass(frozen=True)
class Spy:
    "A learner with a map and a feature for each part, known by its name, that notes what it was given."
    note: list = field(default_factory=list, repr=False) # labels of each training
    fail: dict = field(default_factory=dict, repr=False) # number of the training -> exception
    wide: int = 1
    gives = ("maps", "features")

    def fit(self, pool, labels, seed=0, start=None, checkpoint=None):
        self.note.append(labels)
        if (error := self.fail.get(len(self.note))) is not None: raise error
        return SpyModel(len(labels.masks))

    def load(self, path): return SpyModel(int(load_weights(path)[0]["masks"][0]))


@dataclass(frozen=True)
class SpyModel:
    masks: int

    def __call__(self, pool):
        place = np.array([float(i[1:]) for i in pool.ids])
        maps = np.zeros((len(pool), 4, 4), np.float32)
        maps[np.flatnonzero(place % 7 != 0), 1:3, 1:3] = 1
        angle = np.deg2rad(place)
        return Prediction(pd.Series(0.5, pool.ids), maps, np.stack([np.cos(angle), np.sin(angle)], axis=1) * (1 + place % 3)[:, None])

    def save(self, path): return save_weights(path, {"masks": np.array([self.masks])}, {})


@pytest.fixture
def world():
    ids = [f"p{i:02}" for i in range(40)]
    pool = Pool(pd.DataFrame(index=ids), {i: np.zeros((8, 12), np.float32) for i in ids})
    labels = Labels.of({i: True for i in ids[:30]} | {i: False for i in ids[30:38]} | {ids[38]: None}, {ids[10]: np.eye(8, 12, dtype=bool)}, maskable=[i for i in ids if i != ids[11]])
    return pool, labels


def test_the_nearest_of_the_bare_get_a_mask_and_nobody_else(world):
    pool, labels = world
    given = guess(PseudoMasks(Spy(), neighbors=5, trust=0.2), SpyModel(1), pool, labels)
    new = {i: mask for i, mask in given.masks.items() if i != "p10"}
    assert set(new) == {"p09", "p08", "p12", "p13"}, "five nearest by angle: 9, 8, 12, 13, and 7, whose guess is empty; 11 cannot be drawn"
    assert all(mask.shape == (8, 12) and mask.dtype == bool and mask.any() for mask in new.values())
    assert np.array_equal(given.masks["p10"], labels.masks["p10"]), "a drawn mask is never overwritten"
    assert given.table.trust[list(new)].eq(0.2).all() and given.table.trust.drop(list(new)).eq(1).all()
    pd.testing.assert_frame_equal(given.table.drop(columns="trust"), labels.table)
    assert set(labels.masks) == {"p10"} and "trust" not in labels.table, "the answers themselves are untouched"


def test_trust_that_somebody_gave_stays(world):
    pool, labels = world
    given = guess(PseudoMasks(Spy(), neighbors=2), SpyModel(1), pool, Labels(labels.table.assign(trust=0.7), labels.masks))
    assert set(given.table.trust.unique()) == {0.1, 0.7} and given.table.trust["p10"] == 0.7


def test_a_larger_threshold_or_a_least_size_leaves_guesses_out(world):
    pool, labels = world
    sizes = {i: m.sum() for i, m in guess(PseudoMasks(Spy()), SpyModel(1), pool, labels).masks.items() if i != "p10"}
    assert len(sizes) == 29 - 1 - 5, "all bare ones but the undrawable; 0, 7, 14, 21, 28 are empty"
    assert set(guess(PseudoMasks(Spy(), at_least=max(sizes.values()) + 1), SpyModel(1), pool, labels).masks) == {"p10"}
    tight = guess(PseudoMasks(Spy(), threshold=0.9), SpyModel(1), pool, labels).masks
    assert all(tight[i].sum() < sizes[i] for i in sizes if i in tight)


@pytest.mark.parametrize("distance,expected", [("cosine", [0, 2]), ("euclidean", [1, 2])])
def test_near_by_direction_or_by_place(distance, expected):
    drawn, bare = np.array([[1.0, 0.0]]), np.array([[50.0, 0.1], [1.0, 0.6], [1.2, 0.1], [-1.0, 0.0]])
    assert nearest(drawn, bare, 2, distance).tolist() == expected
    assert nearest(drawn, bare, 99, distance).tolist() == [0, 1, 2, 3]
    assert nearest(np.zeros((1, 2)), np.zeros((3, 2)), 2, distance).tolist() == [0, 1]


def test_nothing_to_guess_from_means_one_training(world):
    pool, labels = world
    for given in (weaken(labels), labels[["p10", *labels.ids[30:]]]):
        spy = Spy()
        PseudoMasks(spy).fit(pool, given)
        assert len(spy.note) == 1
    assert guess(PseudoMasks(Spy()), SpyModel(0), pool, weaken(labels)).masks == {}


def test_ids_outside_of_the_pool_are_left_alone(world):
    pool, labels = world
    given = guess(PseudoMasks(Spy()), SpyModel(1), pool[pool.ids[5:]], labels)
    assert set(given.ids) == set(labels.ids) and not set(given.masks) & set(pool.ids[:5])


def test_killed_while_the_pupil_learns_the_teacher_is_not_trained_again(world, tmp_path):
    pool, labels = world
    spy = Spy(fail={2: KeyboardInterrupt()})
    learner = PseudoMasks(spy)
    with pytest.raises(KeyboardInterrupt): learner.fit(pool, labels, checkpoint=tmp_path / "c")
    model = learner.fit(pool, labels, checkpoint=tmp_path / "c")
    assert len(spy.note) == 3 and model.masks == len(spy.note[-1].masks) > 1 and "trust" not in spy.note[0].table
    assert [f.name for f in tmp_path.iterdir()] == ["c"]
    assert learner.fit(pool, labels, checkpoint=tmp_path / "c") == model and len(spy.note) == 3
    for other, more in ((replace(learner, trust=0.5), {}), (replace(learner, learner=replace(spy, wide=2)), {}), (learner, {"seed": 1})):
        before = len(spy.note)
        other.fit(pool, labels, checkpoint=tmp_path / "c", **more)
        assert len(spy.note) == before + 2, "what other settings left is not used"
    (tmp_path / "c").write_bytes(b"rubbish")
    assert learner.fit(pool, labels, checkpoint=tmp_path / "c") == model


def test_what_is_refused():
    with pytest.raises(ValueError, match="gives no features"): PseudoMasks(PixelLearner())
    with pytest.raises(ValueError, match="gives no features"): PseudoMasks(Folds(UNetLearner()))
    for wrong in ({"trust": 0}, {"trust": 1.5}, {"neighbors": 0}, {"at_least": 0}):
        with pytest.raises(ValueError, match="trust lies in"): PseudoMasks(Spy(), **wrong)
    with pytest.raises(ValueError, match="'cosine' or 'euclidean'"): PseudoMasks(Spy(), distance="taxi")


def test_with_the_real_network_and_inside_folds():
    pool, truth = synth_surfaces(n=40, seed=1, size=32, prevalence=0.4)
    labels = weaken(truth, list(truth.masks)[:6])
    small = SegDecLearner(size=(64, 128), width=1 / 16, kernel=3, dilate=3, schedule=Schedule(1, 8, 0.02), device="cpu", progress=False)
    teacher = small.fit(pool, labels, 0)
    given = guess(PseudoMasks(small, threshold=1e-6), teacher, pool, labels)
    gamma = lesson_of(small, pool, given).known.numpy()
    guessed = np.array([i in given.masks and i not in labels.masks for i in pool.ids])
    assert guessed.sum() == 10 and np.allclose(gamma[guessed], 0.1) and set(gamma[~guessed]) == {1.0}
    model = PseudoMasks(small, threshold=1e-6).fit(pool, labels, 0)
    again = small.fit(pool, given, 0)
    assert model(pool).defective.equals(again(pool).defective) and not model(pool).defective.equals(teacher(pool).defective)
    folded = Folds(PseudoMasks(small)).fit(pool, labels)
    assert folded(pool).defective.between(0, 1).all() and PseudoMasks(small).gives == small.gives
