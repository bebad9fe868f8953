"""Out-of-fold opinions: nobody judges what it has seen, whatever the seed, the groups and the interruptions."""
import pickle
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.splits import hold_out
from active_defects.data.synth import synth_surfaces
from active_defects.formulas.contracts import tie_break
from active_defects.learners.folds import Folds, FoldsModel, deal, plain_folds
from active_defects.learners.pixel import PixelLearner
from active_defects.learners.prediction import Prediction, concat
from active_defects.learners.segmenter import UNetLearner
from active_defects.learners.shelf import Shelf, load_weights, save_weights
from active_defects.strategies.strategy import State
from tiny import tiny


@dataclass(frozen=True)
class Spy:
    "A learner that knows nothing, and notes whom it was fitted on and asked about."
    note: list = field(default_factory=list, repr=False) # one [seed, ids fitted on, ids asked about] per training
    fail: dict = field(default_factory=dict, repr=False) # number of the training -> exception to raise in it
    wide: int = 1 # number of features
    gives = ("maps", "features", "members")

    def fit(self, pool, labels, seed=0, start=None, checkpoint=None):
        assert set(labels.ids) == set(pool.ids) and start is None
        if checkpoint: checkpoint.parent.mkdir(parents=True, exist_ok=True), checkpoint.write_text("half")
        self.note.append([seed, set(pool.ids), set()])
        if (error := self.fail.get(len(self.note))) is not None: raise error
        return SpyModel(self, seed, self.note[-1][2])

    def load(self, path):
        weights, about = load_weights(path)
        seed = int(weights["seed"][0])
        return SpyModel(self, seed, next((asked for own, _, asked in self.note if own == seed), set()))


@dataclass(frozen=True)
class SpyModel:
    learner: Spy
    seed: int
    asked: set

    def __call__(self, pool):
        self.asked.update(pool.ids)
        p = tie_break(pool.ids, self.seed) / 2.0 ** 64
        maps = np.broadcast_to(p[:, None, None], (len(p), 2, 2)).astype(np.float32)
        extras = {"logit": np.log(p / (1 - p)), "name": pool.ids.to_numpy(), "count": np.arange(len(p))}
        return Prediction(pd.Series(p, pool.ids), maps, p[:, None], np.zeros((3, len(p))), extras)

    def save(self, path):
        return save_weights(path, {"seed": np.array([self.seed])}, {})


def world(parts=300, seed=0, prevalence=0.1, group=4):
    "A pool without pictures: names, groups and verdicts."
    random = np.random.default_rng(seed)
    ids = [f"p{i:05}" for i in random.permutation(parts)]
    groups = [f"g{i}" for i in random.integers(0, max(1, parts // group), parts)]
    return Pool(pd.DataFrame({"group": groups}, ids), {}), Labels.of(dict(zip(ids, random.random(parts) < prevalence)))


def seen_by(model, spy):
    "For each fold model: ids fitted on, ids asked about."
    return [next((fitted, asked) for own, fitted, asked in spy.note if own == inner.seed) for inner in model.models]


# ---- nobody judges what it has seen

@pytest.mark.parametrize("parts,k", [(40, 2), (300, 4), (701, 3), (2331, 2), (2331, 4)])
@pytest.mark.parametrize("stratify", [True, False])
@pytest.mark.parametrize("by_group", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_nobody_judges_a_part_it_saw_nor_its_group(parts, k, stratify, by_group, seed):
    pool, labels = world(parts, seed, 0.3 if parts < 100 else 0.1)
    train, rest = hold_out(pool, 0.2, seed)
    extra = Pool(pd.DataFrame({"group": [pool.table.group[train[0]]]}, ["late"]), {})
    everything = Pool(pd.concat([pool.table, extra.table]), {})
    model = Folds(spy := Spy(), k, stratify, by_group).fit(pool[train], labels[train], seed)
    prediction = model(everything)
    assert list(prediction.ids) == list(everything.ids) and set(model.fold.index) == set(train)
    group = everything.table.group
    for number, (fitted, asked) in enumerate(seen_by(model, spy)):
        assert not fitted & asked & set(train) and fitted == set(train) - set(model.fold.index[model.fold == number])
        assert set(rest) <= asked
        if by_group: assert not set(group[list(fitted)]) & set(group[list(asked)])
    assert len(spy.note) == k and len({own for own, _, _ in spy.note}) == k
    assert set.union(*(asked for _, asked in seen_by(model, spy))) == set(everything.ids)


def test_each_model_looks_only_at_what_it_must_and_others_get_the_mean():
    pool, labels = world(200)
    train, rest = hold_out(pool, 0.3, 0)
    model = Folds(spy := Spy(), 4).fit(pool[train], labels)
    prediction = model(pool)
    alone = np.stack([inner(pool).defective for inner in model.models])
    for row, i in enumerate(pool.ids):
        expected = alone[model.fold[i], row] if i in model.fold.index else alone[:, row].sum() / 4
        assert prediction.defective[i] == expected and np.allclose(prediction.maps[row], expected)
        assert prediction.extras["fold"][row] == (model.fold[i] if i in model.fold.index else -1)
    assert prediction.features is None and prediction.members is None and set(prediction.extras) == {"logit", "fold"}
    for _, _, asked in spy.note: asked.clear()
    model(pool[train])
    assert [asked for _, asked in seen_by(model, spy)] == [set(model.fold.index[model.fold == number]) for number in range(4)]


def test_a_group_that_plain_folds_cut_is_judged_by_all_and_one_in_a_single_fold_by_its_stranger():
    ids, group = [f"p{i}" for i in range(8)], ["a", "a", "b", "c", "d", "e", "f", "g"]
    pool = Pool(pd.DataFrame({"group": group}, ids), {})
    table = pool.table.assign(fold=[0, 1, 0, 1, 0, 1, 2, 2])
    model = FoldsModel(Folds(Spy(), 3), (None, None, None), table)
    late = Pool(pd.DataFrame({"group": ["a", "b", "new"]}, ["x", "y", "z"]), {})
    assert model.judges(late).tolist() == [[True, True, True], [True, False, False], [True, True, True]]
    assert FoldsModel(Folds(Spy(), 3), (None,) * 3, table.drop("p1")).judges(late)[0].tolist() == [True, False, False]


def test_a_pool_in_another_order_or_in_pieces_changes_nothing():
    pool, labels = world(120)
    model, turned = Folds(Spy(), 3).fit(pool, labels, 5), Folds(Spy(), 3).fit(pool[pool.ids[::-1]], labels[labels.ids[::-1]], 5)
    whole = model(pool)
    pd.testing.assert_series_equal(whole.defective, turned(pool).defective)
    joined = concat([model(pool[pool.ids[start:start + 50]]) for start in range(0, 120, 50)])
    pd.testing.assert_series_equal(whole.defective, joined.defective)
    assert np.array_equal(whole.maps, joined.maps) and all(np.array_equal(whole.extras[n], joined.extras[n]) for n in whole.extras)
    assert len(model(pool[[]]).defective) == 0 and model(pool[[]]).maps.shape == (0, 2, 2)


def test_ten_sure_models_do_not_exceed_one():
    class Sure:
        def __call__(self, pool): return Prediction(pd.Series(1.0, pool.ids), np.ones((len(pool), 2, 2), np.float32))
    table = pd.DataFrame({"group": [f"g{i}" for i in range(10)], "fold": range(10)}, [f"p{i}" for i in range(10)])
    said = FoldsModel(Folds(Spy(), 10), (Sure(),) * 10, table)(Pool(pd.DataFrame(index=["new"]), {}))
    assert said.defective["new"] == 1 and said.maps.max() == 1


def test_parts_without_a_verdict_are_not_trained_on():
    pool, labels = world(60, prevalence=0.4)
    skipped = list(pool.ids[:5])
    labels = Labels(labels.table.assign(defective=labels.table.defective.mask(labels.ids.isin(skipped))))
    model = Folds(spy := Spy()).fit(pool[pool.ids[:50]], labels)
    assert set(model.fold.index) == set(pool.ids[5:50])
    assert not set.union(*(fitted for _, fitted, _ in spy.note)) & set(skipped)


# ---- dealing

@pytest.mark.parametrize("k,sizes", [(2, [1166, 1165]), (4, [583, 583, 583, 582])])
def test_sizes_of_the_paper(k, sizes):
    defective = pd.Series(np.arange(2331) < 246, [f"{i}" for i in range(10000, 12331)])
    alone = Pool(pd.DataFrame(index=defective.index), {})
    plain = deal(alone, defective, k, seed=0, stratify=False, by_group=False)
    assert plain.value_counts().sort_index().tolist() == sizes
    for by_group in (True, False):
        even = deal(alone, defective, k, seed=0, by_group=by_group)
        assert sorted(even.value_counts(), reverse=True) == sizes
        assert np.ptp(defective.groupby(even).sum()) <= 1


def test_dealing_depends_on_seed_and_names_alone():
    pool, labels = world(100)
    verdict = labels.table.defective.astype(bool)
    for stratify in (True, False):
        for by_group in (True, False):
            a, b = (deal(p, verdict, 3, 7, stratify, by_group) for p in (pool, pool[pool.ids[::-1]]))
            pd.testing.assert_series_equal(a.sort_index(), b.sort_index(), check_names=False)
            assert not a.equals(deal(pool, verdict, 3, 8, stratify, by_group))


def test_plain_folds_are_redrawn_until_each_has_both():
    defective = pd.Series([True] * 2 + [False] * 18, [f"p{i}" for i in range(20)])
    for seed in range(30):
        assert (defective.groupby(plain_folds(defective, 2, seed)).sum() == 1).all()


@pytest.mark.parametrize("learner,defects,match", [
    (Folds(Spy(), 2), 1, "of 1 and 19; every model needs both"), (Folds(Spy(), 2, by_group=False), 1, "0 defective and"), (Folds(Spy(), 2), 0, "0 defective and"),
    (Folds(Spy(), 2, False, False), 1, "take fewer folds"), (Folds(Spy(), 1, False, False), 5, "at least 2"), (Folds(Spy(), 2), 20, "0 good parts"),
    (Folds(Spy(), 1), 5, "k must lie between"), (Folds(Spy(), 21), 5, "k must lie between"), (Folds(Spy(), 21, False, False), 5, "take fewer folds")])
def test_folds_that_cannot_be(learner, defects, match):
    ids = [f"p{i}" for i in range(20)]
    with pytest.raises(ValueError, match=match):
        learner.fit(Pool(pd.DataFrame(index=ids), {}), Labels.of(dict(zip(ids, np.arange(20) < defects))))
    assert not learner.learner.note


def test_no_head_start():
    pool, labels = world(50)
    with pytest.raises(ValueError, match="leave `start` out"): Folds(Spy()).fit(pool, labels, start=object())


# ---- kept, killed, resumed

def test_saved_and_loaded_it_says_the_same(tmp_path):
    pool, truth = synth_surfaces(n=40, seed=1, size=32, prevalence=0.4)
    for inner in (PixelLearner(size=32), tiny(UNetLearner())):
        learner = Folds(inner)
        model = learner.fit(pool[pool.ids[:30]], truth, 3)
        loaded = learner.load(model.save(tmp_path / "folds.safetensors"))
        here, there, carried = model(pool), loaded(pool), pickle.loads(pickle.dumps(model))(pool)
        assert here.defective.equals(there.defective) and np.array_equal(here.maps, there.maps) and here.defective.equals(carried.defective)
        assert loaded.fold.equals(model.fold) and loaded.key == model.key
    with pytest.raises(ValueError, match="holds 2 folds"): Folds(inner, 3).load(tmp_path / "folds.safetensors")
    with pytest.raises(ValueError, match="no folds"): learner.load(PixelLearner(size=32).fit(pool, truth).save(tmp_path / "one.safetensors"))
    with pytest.raises(ValueError): Folds(tiny(UNetLearner(), width=1 / 8)).load(tmp_path / "folds.safetensors")


def test_killed_in_the_second_fold_the_first_is_not_trained_again(tmp_path):
    pool, labels = world(80, prevalence=0.3)
    calm = Folds(Spy(), 3).fit(pool, labels, 1)(pool).defective
    spy = Spy(fail={2: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt): Folds(spy, 3).fit(pool, labels, 1, checkpoint=tmp_path / "c")
    assert len(spy.note) == 2 and not (tmp_path / "c").exists()
    running = [f for f in (tmp_path / "c.folds").iterdir() if f.suffix == ".checkpoint"]
    assert len(running) == 1, "the checkpoint of the fold under way stays"
    model = Folds(spy, 3).fit(pool, labels, 1, checkpoint=tmp_path / "c")
    assert len(spy.note) == 4 and spy.note[1][:2] == spy.note[2][:2]
    assert model(pool).defective.equals(calm)
    assert [f.name for f in tmp_path.iterdir()] == ["c"], "only the caller's file is left"
    again = Folds(spy, 3).fit(pool, labels, 1, checkpoint=tmp_path / "c")
    assert len(spy.note) == 4 and again(pool).defective.equals(calm), "complete, but nobody fetched it: nothing is trained again"


@pytest.mark.parametrize("change", ["inner", "seed", "verdict", "trust", "k", "by_group"])
def test_what_other_settings_left_is_not_used(tmp_path, change):
    pool, labels = world(80, prevalence=0.3)
    spy = Spy(fail={2: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt): Folds(spy).fit(pool, labels, 1, checkpoint=tmp_path / "c")
    learner, seed = Folds(spy, by_group=False) if change == "by_group" else Folds(replace(spy, wide=2) if change == "inner" else spy, 3 if change == "k" else 2), 2 if change == "seed" else 1
    if change == "verdict": labels = Labels(labels.table.assign(defective=~labels.table.defective))
    if change == "trust": labels = Labels(labels.table.assign(trust=0.5))
    before = len(spy.note)
    model = learner.fit(pool, labels, seed, checkpoint=tmp_path / "c")
    assert len(spy.note) == before + learner.k
    assert model(pool).defective.equals(replace(learner, learner=Spy()).fit(pool, labels, seed)(pool).defective)


@pytest.mark.parametrize("rubbish", [b"", b"half a file", b"\x08\0\0\0\0\0\0\0{}      "])
def test_rubbish_beside_the_training_is_trained_over(tmp_path, rubbish):
    pool, labels = world(80, prevalence=0.3)
    (tmp_path / "c").write_bytes(rubbish)
    spy = Spy(fail={2: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt): Folds(spy).fit(pool, labels, checkpoint=tmp_path / "c")
    for file in (tmp_path / "c.folds").iterdir(): file.write_bytes(rubbish)
    Folds(spy).fit(pool, labels, checkpoint=tmp_path / "c")
    assert len(spy.note) == 4


def test_a_real_network_interrupted_ends_like_an_uninterrupted_one(tmp_path, monkeypatch):
    pool, truth = synth_surfaces(n=24, seed=2, size=32, prevalence=0.4)
    learner = Folds(tiny(UNetLearner()))
    calm = learner.fit(pool, truth, 3)(pool)
    fit, calls = UNetLearner.fit, []
    def killed(self, *args, **more):
        calls.append(1)
        if len(calls) == 2: raise KeyboardInterrupt
        return fit(self, *args, **more)
    monkeypatch.setattr(UNetLearner, "fit", killed)
    with pytest.raises(KeyboardInterrupt): learner.fit(pool, truth, 3, checkpoint=tmp_path / "c")
    torch.rand(3)
    resumed = learner.fit(pool, truth, 3, checkpoint=tmp_path / "c")(pool)
    assert len(calls) == 3 and resumed.defective.equals(calm.defective) and np.array_equal(resumed.maps, calm.maps)


def test_on_a_shelf_and_in_a_state(tmp_path):
    pool, labels = world(80, prevalence=0.3)
    spy = Spy()
    first = State(pool, pool.ids, labels, Folds(spy), Shelf(tmp_path)).predict(pool).defective
    second = State(pool, pool.ids, labels, Folds(spy), Shelf(tmp_path)).predict(pool).defective
    assert len(spy.note) == 2 and first.equals(second) and [Path(f).suffix for f in tmp_path.iterdir()] == [".safetensors"]


def test_repr_shows_all_that_matters():
    assert repr(Folds(PixelLearner(pixels=7), 4, False, False)) == f"Folds(learner={PixelLearner(pixels=7)!r}, k=4, stratify=False, by_group=False)"
    assert Folds(UNetLearner()).gives == ("maps", "folds") and Folds(PixelLearner(), k=3) == Folds(PixelLearner(), k=3) and Folds(object()).gives == ("folds",)
