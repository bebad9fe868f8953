"""Learners forget nothing and depend on nothing but what they say: the same to the last bit after an interruption, alike for any batch, for any picture."""
import dataclasses
import json
import os
import pickletools
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from active_defects.data.batches import image_tensor
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.synth import synth_surfaces
from active_defects.formulas.masked_error import block_masks, msmr, pixel_errors, turn_masks
from active_defects.formulas.reduction import top_mean
from active_defects.learners import training
from active_defects.learners.pixel import PixelLearner
from active_defects.learners.reconstruction import ReconstructionLearner, batch_block_errors, batch_pixel_errors
from active_defects.learners.segdec import SegDecLearner
from active_defects.learners.segmenter import UNetLearner
from active_defects.learners.shelf import Shelf, load_weights, model_key, save_weights
from active_defects.learners.training import Schedule, rate_at
from scipy.stats import spearmanr
from interrupt import equal, killed_after, weights
from tiny import no_room, tiny

LEARNERS = {"M": ReconstructionLearner, "S": UNetLearner, "pixel": PixelLearner, "SegDecNet": SegDecLearner}
NETWORKS = {name: LEARNERS[name] for name in ("M", "S", "SegDecNet")}


@pytest.fixture(scope="module")
def world():
    return synth_surfaces(n=24, seed=2, size=32, prevalence=0.4)


def opinion(model, pool, half=None):
    "One number per image, whatever the model is for."
    size = model.learner.size
    if hasattr(model, "squares"): return batch_block_errors(model, image_tensor(pool, size, model.learner.channels), block_masks((size, size)), half=half).max(axis=1)
    return model(pool).defective.to_numpy()


# ---- interrupted and resumed

@pytest.mark.parametrize("schedule", [Schedule(5, 8, 0.05), Schedule(5, 8, 0.05, last=3), Schedule(5, 8, 0.05, shape="steps", steps=(2, 4)), Schedule(5, 8, 0.05, shape="constant", clip=1.0)],
                         ids=["one cycle", "best of three", "steps", "clipped"])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_interrupted_training_ends_like_an_uninterrupted_one(world, name, schedule, tmp_path, monkeypatch):
    pool, truth = world
    learner = replace(tiny(NETWORKS[name]()), schedule=schedule)
    calm = learner.fit(pool, truth, seed=3)
    killed_after(monkeypatch, lambda: learner.fit(pool, truth, seed=3, checkpoint=tmp_path / "m.checkpoint"))
    torch.rand(7), np.random.rand(7)
    resumed = learner.fit(pool, truth, seed=3, checkpoint=tmp_path / "m.checkpoint")
    assert equal(weights(calm), weights(resumed))
    assert not equal(weights(calm), weights(learner.fit(pool, truth, seed=4)))


@pytest.mark.parametrize("name", LEARNERS)
def test_training_leaves_the_global_generators_alone(world, name):
    pool, truth = world
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = tiny(LEARNERS[name]()).fit(pool, truth, seed=1)
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])
    torch.manual_seed(77), np.random.seed(77)
    assert equal(weights(first), weights(tiny(LEARNERS[name]()).fit(pool, truth, seed=1)))


@pytest.mark.parametrize("name", LEARNERS)
def test_the_order_of_pool_and_labels_means_nothing(world, name):
    "As the key says: it is made of sorted ids."
    pool, truth = world
    learner, mixed = tiny(LEARNERS[name]()), np.random.default_rng(0).permutation(pool.ids)
    first = weights(learner.fit(pool, truth, seed=1))
    assert equal(first, weights(learner.fit(pool, truth[mixed], seed=1))), "the order of the answers"
    assert equal(first, weights(learner.fit(pool[mixed], truth, seed=1))), "the order of the pool"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_start_is_where_it_begins(world, name):
    pool, truth = world
    learner = tiny(NETWORKS[name]())
    first = learner.fit(pool, truth, seed=1)
    before = weights(first)
    still = replace(learner, schedule=Schedule(1, 8, 0.0, decay=0.0))
    went_on = weights(still.fit(pool, truth, seed=9, start=first))
    assert all(np.array_equal(before[k], went_on[k]) for k in before if "running" not in k and "num_batches" not in k and k != "typical"), "a rate of zero changes no weight"
    assert equal(before, weights(first)), "the model it starts from is changed"


# ---- diverging, and other wrong wishes

@pytest.mark.parametrize("name", NETWORKS)
def test_a_diverging_training_says_so(world, name):
    learner = replace(tiny(NETWORKS[name]()), schedule=Schedule(3, 8, 1e30))
    with pytest.raises(ValueError, match=r"the training diverged \(loss (nan|inf)\) in epoch \d; lower the rate, or clip the gradient"): learner.fit(*world)


@pytest.mark.parametrize("name", ["M", "S"])
def test_a_size_that_does_not_fit_says_so(world, name):
    for size, other in ((40, 32), (16, 32), (0, 32), (-16, 32), (50, 48)):
        with pytest.raises(ValueError, match=f"multiple of 16 and at least 32, got {size}; try {other}"): replace(tiny(NETWORKS[name]()), size=size).fit(*world)


@pytest.mark.parametrize("name", ["M", "S"])
def test_the_smallest_size_learns_from_batches_of_one(world, name):
    "At 16 pixels the coarsest map is a single one, which batch normalization refuses."
    learner = tiny(NETWORKS[name](), epochs=1)
    assert learner.size == 32
    replace(learner, schedule=replace(learner.schedule, batch=1)).fit(*world)


# ---- the light of S

@pytest.mark.parametrize("channels", [1, 3])
def test_the_lamp_of_s_is_a_setting(world, channels):
    learner = replace(tiny(UNetLearner(), epochs=1), channels=channels)
    assert (learner.brightness, learner.contrast) == (0.1, 0.2), "as they were before they were settings"
    same = lambda **light: equal(weights(learner.fit(*world)), weights(replace(learner, **light).fit(*world)))
    assert same() and not same(brightness=0.0) and not same(contrast=0.0) and same(color=0.0) == (channels == 1)
    with pytest.raises(ValueError, match="contrast must lie in"): replace(learner, contrast=1.0).fit(*world)


def test_s_without_strong_labels_says_what_can_be_done(world):
    pool, truth = world
    with pytest.raises(ValueError, match=r"begin with Loop\(first=MSMR\(\)\), which ranks without labels, or label some parts by chance"): tiny(UNetLearner()).fit(pool, truth[[]])
    flawed = truth.ids[truth.table.defective.astype(bool)]
    with pytest.raises(ValueError, match="draw the masks, or label another round"): tiny(UNetLearner()).fit(pool, Labels.of(dict.fromkeys(flawed, True)))
    with pytest.raises(ValueError, match=r"none of the \d+ strong labels shows a defect.*label another round$"): tiny(UNetLearner()).fit(pool, truth[truth.ids.difference(flawed)])


def test_an_unknown_shape_says_so():
    with pytest.raises(ValueError, match="unknown shape 'cosine'"): rate_at(Schedule(shape="cosine"), 0.0)
    with pytest.raises(ValueError, match="cuda:9"): training.device_of("cuda:9")


def test_no_room_for_a_checkpoint_says_so(world, tmp_path, monkeypatch):
    "torch raises a RuntimeError about positions in a file for this."
    pool, truth = world
    monkeypatch.setattr(training.train, "__defaults__", (*training.train.__defaults__[:-1], -1.0))
    with no_room(), pytest.raises(OSError, match="cannot write .*m.checkpoint"): tiny(UNetLearner()).fit(pool, truth, checkpoint=tmp_path / "m.checkpoint")
    assert list(tmp_path.iterdir()) == []


# ---- MSMR: fast and slow agree

@pytest.fixture(scope="module")
def trained():
    "M after a short training, and 200 parts it has not seen."
    return tiny(ReconstructionLearner(), epochs=6).fit(synth_surfaces(n=60, seed=0, size=32)[0], seed=0), synth_surfaces(n=200, seed=7, size=32, prevalence=0.1)[0]


@pytest.mark.parametrize("region", ["block", "full", "visible"])
@pytest.mark.parametrize("across", [1, 2, 4])
def test_msmr_in_batches_equals_the_formula(trained, region, across):
    if region == "visible" and across == 1: return  # one block hides everything, nothing is visible
    (model, pool), masks = trained, block_masks((32, 32), across)
    ids = pool.ids[:5]
    fast = batch_block_errors(model, image_tensor(pool[ids], 32), masks, region, half=False).max(axis=1)
    np.testing.assert_allclose(fast, [msmr(pool.images[i], model.guess, masks, region) for i in ids], rtol=1e-5)


@pytest.mark.parametrize("turns, repeats", [(2, 1), (4, 2)])
def test_pixel_errors_in_batches_equal_the_formula(trained, turns, repeats):
    "With a network that float32 computes exactly, in whatever order: eighths of 256 gray levels."
    (model, pool), masks = trained, turn_masks((32, 32), 2, turns, repeats)
    network = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False).requires_grad_(False)
    network.weight.fill_(1 / 8)
    model = replace(model, network=network.eval())
    pool = Pool(pool.table[:5], {i: np.float32(np.round(pool.images[i] * 256) / 256) for i in pool.ids[:5]})
    fast = batch_pixel_errors(model, image_tensor(pool, 32), masks, half=False)
    np.testing.assert_allclose(fast, [pixel_errors(pool.images[i], model.guess, masks) for i in pool.ids], rtol=1e-6, atol=1e-9)


def test_bfloat16_ranks_alike(trained):
    model, pool = trained
    images = image_tensor(pool, 32)
    for score in (lambda half: batch_block_errors(model, images, block_masks((32, 32)), half=half).max(axis=1),
                  lambda half: top_mean(batch_pixel_errors(model, images, turn_masks((32, 32), 2, 4, 2), half), 0.001)):
        assert spearmanr(score(False), score(True)).statistic >= 0.999


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_the_same_for_any_batch(world, name, half, monkeypatch):
    pool, truth = world
    model = tiny(NETWORKS[name]()).fit(pool, truth, seed=0)
    exact = training.half_precision
    monkeypatch.setattr("active_defects.learners.segmenter.half_precision", lambda device, wanted=None: exact(device, half))
    pool = synth_surfaces(n=70, seed=5, size=48)[0]
    whole = opinion(model, pool, half)
    for size in (1, 3, 64):
        pieces = np.concatenate([opinion(model, pool[pool.ids[k:k + size]], half) for k in range(0, len(pool), size)])
        np.testing.assert_allclose(pieces, whole, rtol=1e-5, err_msg=f"batches of {size}")


@pytest.mark.parametrize("copies", [1, 16, 48, 1000])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_msmr_is_the_same_for_any_number_of_copies_at_once(trained, copies, half):
    model, pool = trained
    images, masks = image_tensor(pool[pool.ids[:10]], 32), block_masks((32, 32))
    for errors in (batch_block_errors, batch_pixel_errors):
        np.testing.assert_allclose(errors(model, images, masks, half=half, copies=copies), errors(model, images, masks, half=half), rtol=1e-5, atol=1e-9)


# ---- keys

def test_the_key_changes_with_everything_that_matters(world):
    pool, truth = world
    mask = {pool.ids[0]: np.eye(32, dtype=bool)}
    said = Labels.of({i: False for i in pool.ids[1:6]} | {pool.ids[0]: True}, mask)
    learner, ids = UNetLearner(), list(pool.ids[:6])
    key = model_key("S", learner, ids, said, 0)
    changed = [
        model_key("M", learner, ids, said, 0), model_key("S", learner, ids[:5], said, 0), model_key("S", learner, ids, said, 1), model_key("S", learner, ids, None, 0),
        model_key("S", learner, ids, said, 0, start="S-0123456789abcdef"), model_key("S", PixelLearner(), ids, said, 0), model_key("S", UNetLearner.paper(), ids, said, 0),
        model_key("S", learner, ids, Labels.of(said.table.defective.to_dict() | {pool.ids[1]: True}, mask), 0),
        model_key("S", learner, ids, Labels.of(said.table.defective.to_dict() | {pool.ids[1]: None}, mask), 0),
        model_key("S", learner, ids, Labels.of(said.table.defective.to_dict()), 0),
        model_key("S", learner, ids, Labels.of(said.table.defective.to_dict(), {pool.ids[0]: np.eye(32, dtype=bool)[::-1]}), 0)]
    for field in dataclasses.fields(learner):
        value = getattr(learner, field.name)
        if field.name not in ("device", "progress"): changed.append(model_key("S", replace(learner, **{field.name: Schedule(epochs=31, batch=16, rate=0.05) if field.name == "schedule" else value * 2 + 1}), ids, said, 0))
    assert len({key, *changed}) == len(changed) + 1
    unchanged = [
        model_key("S", replace(learner, device="cpu"), ids, said, 0), model_key("S", replace(learner, device="cuda"), ids, said, 0), model_key("S", replace(learner, progress=False), ids, said, 0),
        model_key("S", learner, ids[::-1], said, 0), model_key("S", learner, ids, said[list(said.ids[::-1])], 0),
        model_key("S", learner, ids, Labels(said.table.assign(seconds=9.0, annotator="other", round=4), said.masks), 0)]
    assert set(unchanged) == {key} and key.startswith("S-")


@pytest.mark.parametrize("name", NETWORKS)
def test_neither_device_nor_progress_stand_in_the_settings(name):
    learner = NETWORKS[name]()
    assert repr(learner) == repr(replace(learner, device="cpu", progress=False)) and repr(learner) != repr(replace(learner, size=128))


def test_a_key_is_the_same_in_every_process(world):
    "It is a file name: no hash of this process may enter it."
    code = "from active_defects.learners.shelf import model_key; print(model_key('S', 1.5, ['a', 'b'], None, 3))"
    keys = {subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout.strip() for seed in "12"}
    assert keys == {model_key("S", 1.5, ["b", "a"], None, 3)}


# ---- files

@pytest.mark.parametrize("name", LEARNERS)
def test_a_saved_model_is_numbers_and_nothing_else(world, name, tmp_path):
    pool, truth = world
    model = tiny(LEARNERS[name]()).fit(pool, truth, seed=0)
    path = model.save(tmp_path / "m.safetensors")
    data = path.read_bytes()
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    meta = header.pop("__metadata__")
    assert all(isinstance(v, str) for v in meta.values()) and json.loads(meta["settings"])["learner"] == repr(model.learner)
    spans = sorted(tensor["data_offsets"] for tensor in header.values())
    assert spans[0][0] == 0 and spans[-1][1] == len(data) - 8 - length and all(a[1] == b[0] for a, b in zip(spans, spans[1:])), "bytes that belong to no tensor"
    assert {tensor["dtype"] for tensor in header.values()} <= {"F32", "F64", "I64"}
    for start in (0, 8, 8 + length):
        with pytest.raises(Exception): list(pickletools.genops(data[start:]))  # noqa: B017, PT011
    again = tiny(LEARNERS[name]()).load(path)
    assert equal(weights(model), weights(again)) and np.array_equal(opinion(model, pool), opinion(again, pool))


def test_a_model_of_another_format_or_shape_is_refused(world, tmp_path):
    pool, truth = world
    path = tiny(UNetLearner()).fit(pool, truth).save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="m.safetensors.*other settings"): replace(tiny(UNetLearner()), width=1 / 8).load(path)
    save_weights(tmp_path / "n.safetensors", {"w": np.ones(3)}, {})
    data = (tmp_path / "n.safetensors").read_bytes().replace(b'"format":"1"', b'"format":"7"')
    (tmp_path / "n.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="has format 7, this version reads 1; train again"): load_weights(tmp_path / "n.safetensors")


def test_a_shelf_trains_once_and_then_loads(world, tmp_path):
    pool, truth = world
    learner, trained = tiny(UNetLearner()), []

    def train(checkpoint):
        trained.append(checkpoint)
        return learner.fit(pool, truth, checkpoint=checkpoint)

    one = Shelf(tmp_path).get("S-1", train, learner.load)
    two = Shelf(tmp_path).get("S-1", train, learner.load)
    assert trained == [tmp_path / "S-1.checkpoint"] and equal(weights(one), weights(two))
    memory = Shelf()
    assert memory.get("S-1", train, learner.load) is memory.get("S-1", train, learner.load) and trained[1:] == [None]


# ---- unusual material

@pytest.mark.parametrize("name", ["S", "pixel"])
def test_one_labeled_defect_is_enough(world, name):
    pool, truth = world
    only = truth[[i for i in pool.ids if i in truth.masks][:1]]
    prediction = tiny(LEARNERS[name]()).fit(pool, only, seed=0)(pool)
    assert list(prediction.ids) == list(pool.ids) and np.isfinite(prediction.maps).all()


@pytest.mark.parametrize("name", ["S", "pixel"])
def test_labels_without_a_mask_are_left_out(world, name):
    pool, truth = world
    drawn = [i for i in pool.ids if i in truth.masks]
    known = truth[list(drawn[:2]) + [i for i in pool.ids if i not in drawn][:4]]
    weak = Labels.of({drawn[2]: True, drawn[3]: None})
    table = pd.concat([known.table.drop(columns="category"), weak.table])
    learner = tiny(LEARNERS[name]())
    assert equal(weights(learner.fit(pool, known, seed=0)), weights(learner.fit(pool, Labels(table, known.masks), seed=0)))


@pytest.fixture(scope="module")
def zoo():
    "Gray and color, tall and wide, tiny and large, with and without a channel axis, in one pool; every other part has a defect."
    rng = np.random.default_rng(0)
    shapes = [(40, 20), (20, 40, 3), (33, 47, 1), (16, 16), (90, 30, 3), (31, 31, 4), (64, 64), (17, 100)]
    images = {f"z{k}": rng.random(shape, dtype=np.float32) for k, shape in enumerate(shapes)}
    masks = {}
    for k, shape in enumerate(shapes):
        if k % 2 == 0:
            masks[f"z{k}"] = np.zeros(shape[:2], bool)
            masks[f"z{k}"][shape[0] // 4:shape[0] // 2, shape[1] // 4:shape[1] // 2] = True
    return Pool(pd.DataFrame(index=list(images)), images), Labels.of({i: i in masks for i in images}, masks)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LEARNERS)
def test_pictures_of_any_shape_in_one_pool(zoo, name, channels):
    pool, truth = zoo
    learner = tiny(LEARNERS[name](), **({} if name == "pixel" else {"channels": channels}))
    model = learner.fit(pool, truth, seed=0)
    assert np.isfinite(opinion(model, pool)).all() and len(opinion(model, pool)) == len(pool)
    if name != "M":
        prediction = model(pool)
        side = np.broadcast_to(model.learner.size, 2) // (8 if name == "SegDecNet" else 1)
        assert prediction.maps.shape == (8, *side) and prediction.maps.min() >= 0 and prediction.maps.max() <= 1
        assert list(model(pool[["z5", "z1"]]).ids) == ["z5", "z1"]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_color_learner_sees_color(name, monkeypatch):
    "Red and green of one brightness: gray cannot tell them apart, color can."
    exact = training.half_precision
    monkeypatch.setattr("active_defects.learners.segmenter.half_precision", lambda device, wanted=None: exact(device, False))
    texture = np.random.default_rng(0).random((32, 32, 1), dtype=np.float32)
    red, green = texture * np.float32([0.587, 0.0, 0.1]), texture * np.float32([0.0, 0.299, 0.1])
    pool = Pool(pd.DataFrame(index=list("abcd")), {"a": red, "b": green, "c": red, "d": green})
    truth = Labels.of({i: i in "ac" for i in "abcd"}, {i: np.ones((32, 32), bool) for i in "ac"})
    for channels, differ in [(1, False), (3, True)]:
        seen = opinion(tiny(NETWORKS[name](), epochs=10, channels=channels).fit(pool, truth, seed=0), pool, half=False)
        assert (abs(seen[0] - seen[1]) > 1e-6 * abs(seen[0])) == differ


@pytest.mark.parametrize("name", ["S", "pixel"])
def test_nobody_to_judge_is_no_error(world, name):
    pool, truth = world
    prediction = tiny(LEARNERS[name]()).fit(pool, truth)(pool[[]])
    assert len(prediction.ids) == 0 and prediction.maps.shape == (0, 32, 32)


def test_a_large_pool_is_sampled_by_a_hash(world):
    "Training may use a documented part of the pool; which one follows from seed and ids."
    pool, _ = world
    learner = tiny(ReconstructionLearner(), sample=10)
    mixed = np.random.default_rng(0).permutation(pool.ids)
    assert equal(weights(learner.fit(pool, seed=2)), weights(learner.fit(pool[mixed], seed=2)))
    assert not equal(weights(learner.fit(pool, seed=2)), weights(replace(learner, sample=11).fit(pool, seed=2)))
