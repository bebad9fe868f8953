"""Gray and color in one pool, pictures of other shapes than the network's: what is seen, what is refused, and what is said about it."""
import logging
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny import tiny

from active_defects.baselines.median import MedianDeviation
from active_defects.data import batches
from active_defects.data.batches import image_tensor, relight, stream
from active_defects.data.folders import read_folder
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.synth import synth_surfaces
from active_defects.learners.pixel import PixelLearner
from active_defects.learners.reconstruction import ReconstructionLearner
from active_defects.pieces import score_in_pieces
from active_defects.strategies.msmr import MSMR
from active_defects.strategies.strategy import State

GRAY, TRUTH = synth_surfaces(n=12, size=32, prevalence=0.25, seed=2)


def pool_of(images): return Pool(pd.DataFrame(index=list(images)), dict(images))


def repeated(gray): return np.repeat(gray[..., None], 3, axis=2)


@pytest.fixture
def mixed():
    "The same parts; every second one was saved in color, though it is gray."
    return pool_of({i: repeated(GRAY.images[i]) if k % 2 else GRAY.images[i] for k, i in enumerate(GRAY.ids)})


@pytest.fixture
def said(caplog, monkeypatch):
    "What was said about the size that is looked at, as (level, message), by a process that has said nothing yet."
    monkeypatch.setattr(batches, "_reported", set())
    caplog.set_level(logging.INFO, logger="active_defects")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records if record.getMessage().startswith("pictures of")]


# Gray and color

@pytest.mark.parametrize("channels", [1, 3])
def test_a_gray_part_looks_the_same_however_it_was_saved(mixed, channels):
    gray, both = image_tensor(GRAY, 32, channels), image_tensor(mixed, 32, channels)
    assert gray.shape == both.shape == (12, channels, 32, 32)
    torch.testing.assert_close(both, gray, rtol=0, atol=1e-6)
    assert torch.equal(both[::2], gray[::2])


@pytest.mark.parametrize("channels", [1, 3])
def test_neighbors_in_a_batch_change_nothing(mixed, channels):
    whole = image_tensor(mixed, 16, channels)
    alone = torch.cat([images for _, images in stream(mixed, 16, channels, batch=1)])
    backwards = image_tensor(mixed[mixed.ids[::-1]], 16, channels)
    assert torch.equal(whole, alone) and torch.equal(whole, backwards.flip(0))


def test_every_form_of_gray_is_one_picture():
    gray = GRAY.images[GRAY.ids[0]]
    alpha = np.random.default_rng(0).random((32, 32, 1), dtype=np.float32)
    forms = pool_of({"plain": gray, "one channel": gray[..., None], "three": repeated(gray), "with alpha": np.concatenate([repeated(gray), alpha], axis=2)})
    for channels in (1, 3):
        seen = image_tensor(forms, 32, channels)
        torch.testing.assert_close(seen, seen[:1].expand_as(seen), rtol=0, atol=1e-6)


def test_color_keeps_its_channels_beside_gray():
    color = np.random.default_rng(1).random((24, 24, 3), dtype=np.float32)
    pool = pool_of({"gray": color[..., 0], "color": color})
    seen = image_tensor(pool, 24, 3)
    assert torch.equal(seen[1], torch.from_numpy(color.transpose(2, 0, 1).copy())) and torch.equal(seen[0], seen[0, :1].expand(3, -1, -1))
    np.testing.assert_allclose(image_tensor(pool, 24, 1)[1, 0], color @ [0.299, 0.587, 0.114], atol=1e-6)


def test_without_a_size_gray_and_color_still_fit_together(mixed):
    assert image_tensor(mixed, None, 1).shape == (12, 1, 32, 32) and image_tensor(mixed, None, 3).shape == (12, 3, 32, 32)


@pytest.mark.parametrize("hide", ["patches", "blocks"])
def test_a_score_does_not_depend_on_how_gray_was_saved(mixed, hide):
    strategy = MSMR(tiny(ReconstructionLearner()), hide)
    state = State(GRAY, GRAY.ids, Labels.of({}), PixelLearner())
    scores, model = strategy.score(state), state.model("M", strategy.learner)
    again = np.concatenate([strategy.score_images(model, images) for _, images in stream(mixed, 32)])
    np.testing.assert_allclose(again, scores.to_numpy(), rtol=0.02 if hide == "patches" else 1e-2)  # rounding in half precision, where the hardware has it
    assert np.isfinite(strategy.score(State(mixed, mixed.ids, Labels.of({}), PixelLearner()))).all()


def test_a_folder_of_both(tmp_path):
    for k, i in enumerate(GRAY.ids[:4]):
        byte = np.uint8(GRAY.images[i] * 255)
        Image.fromarray(byte).convert(["L", "RGB", "RGBA", "LA"][k]).save(tmp_path / f"{i}.png")
    pool, skipped = read_folder(tmp_path)
    assert len(skipped) == 0 and Counter(pool.images[i].ndim for i in pool.ids) == {2: 2, 3: 2}
    expected = image_tensor(GRAY[pool.ids], 32)
    np.testing.assert_allclose(image_tensor(pool, 32), expected, atol=1 / 255)


def test_two_channels_are_no_picture_and_the_part_is_named(mixed):
    broken = pool_of(mixed.images | {mixed.ids[5]: np.zeros((32, 32, 2), np.float32)})
    with pytest.raises(ValueError, match=f"'{mixed.ids[5]}': a color image has 3 or 4 channels"): image_tensor(broken, 16)
    with pytest.raises(ValueError, match=f"'{mixed.ids[5]}'"): list(stream(broken, 16, batch=2))
    assert len(image_tensor(broken.without([mixed.ids[5]]), 16)) == 11


# Stretched pictures

CAMERAS = {"a": np.zeros((126, 50), np.float32), "b": np.zeros((64, 64), np.float32), "c": np.zeros((126, 50, 3), np.float32), "d": np.zeros((40, 80), np.float32)}


LARGE = np.broadcast_to(np.float32(0.5), (600, 800))


def test_another_shape_is_a_note_once_for_a_size(said):
    pool = pool_of(CAMERAS)
    for _ in range(3): image_tensor(pool, 32)
    for i in pool.ids: list(stream(pool[[i]], 32))
    [(level, text)] = said()
    assert level == "INFO" and text == "pictures of 50 x 126 pixels (width x height), for example, are stretched to 32 x 32, which changes their shape"
    image_tensor(pool, 48)
    assert len(said()) == 2 and "48 x 48" in said()[1][1]


def test_a_large_picture_looked_at_small_is_a_warning_with_what_helps(said):
    image_tensor(pool_of({"a": LARGE}), 32)
    [(level, text)] = said()
    assert level == "WARNING" and text.startswith("pictures of 800 x 600 pixels (width x height) are looked at as 32 x 32: one pixel there stands for 25 x 19 here, so small defects fade")
    assert "size=64" in text and "--size 64" in text and "crop_pool" in text and "SegDec" not in text


def test_one_run_is_one_warning_whatever_comes_first(said):
    pool = pool_of({"small": CAMERAS["b"], "wide": np.zeros((100, 600), np.float32), "large": LARGE, **CAMERAS})
    for ids in (["wide"], ["large"], pool.ids, ["small", "large"]): image_tensor(pool[ids], 32)
    assert [level for level, _ in said()] == ["WARNING"]
    image_tensor(pool, 64)
    assert [level for level, _ in said()] == ["WARNING", "INFO"] and "64 x 64" in said()[1][1]


def test_a_note_does_not_swallow_the_warning_of_a_later_piece(said):
    pool = pool_of(CAMERAS | {"large": LARGE})
    for ids in (["b"], ["d"], ["large"]): image_tensor(pool[ids], 32)
    assert [level for level, _ in said()] == ["INFO", "WARNING"]


@pytest.mark.parametrize("side, told", [(15 * 32, 0), (16 * 32 - 1, 0), (16 * 32, 1)])
def test_the_usual_reduction_is_worth_no_word(said, side, told):
    image_tensor(pool_of({"a": np.broadcast_to(np.float32(0), (side, side))}), 32)
    assert len(said()) == told


def test_the_example_is_the_picture_that_loses_most(said):
    image_tensor(pool_of(CAMERAS | {"large": LARGE, "long": np.zeros((1000, 20), np.float32)}), 32)
    [(_, text)] = said()
    assert text.startswith("pictures of 20 x 1000 pixels (width x height), for example, are looked at as 32 x 32: one pixel there stands for 0.6 x 31 here")


@pytest.mark.parametrize("size, pad", [(32, True), (None, False)])
def test_padded_or_untouched_is_not_stretched(said, size, pad):
    for i in CAMERAS: image_tensor(pool_of({i: CAMERAS[i]}), size, pad=pad)
    assert said() == []


def test_padded_pictures_are_small_as_well(said):
    image_tensor(pool_of({"a": LARGE}), 32, pad=True)
    assert [level for level, _ in said()] == ["WARNING"] and "25 x 25" in said()[0][1]


def test_workers_do_not_say_it_again(capfd):
    pool = pool_of({f"p{k}": np.full((1024, 20), 0.5, np.float32) for k in range(3)})
    scores = score_in_pieces(MedianDeviation(), State(pool, pool.ids, Labels.of({}), None), size=1, workers=2)
    assert len(scores) == 3 and "pictures of" not in capfd.readouterr().err


def test_a_shape_chosen_on_purpose_is_a_note_and_a_fitting_one_is_nothing(said):
    pool = pool_of({"a": CAMERAS["a"], "c": CAMERAS["c"]})
    image_tensor(pool, (126, 50)), image_tensor(pool, (63, 25))
    assert said() == []
    image_tensor(pool, (64, 32)), image_tensor(pool_of({"a": LARGE}), (32, 16))
    assert [level for level, _ in said()] == ["INFO", "INFO"] and "stretched to 32 x 64" in said()[0][1]


@pytest.mark.parametrize("rows, told", [(100, 0), (104, 0), (97, 0), (107, 1), (94, 1)])
def test_a_few_percent_are_not_worth_a_word(said, rows, told):
    image_tensor(pool_of({"a": np.zeros((rows, 100), np.float32)}), 32)
    assert len(said()) == told


def test_a_folder_of_all_sizes_is_one_sentence(said):
    random = np.random.default_rng(0)
    pool = pool_of({f"p{k}": np.zeros(random.integers(20, 90, 2), np.float32) for k in range(60)})
    for k in range(0, 60, 8): image_tensor(pool[pool.ids[k:k + 8]], 16)
    [(_, text)] = said()
    assert "for example" in text and len(text) < 200


# Under another lamp

def relight_before_there_was_color(images, generator, brightness=0.1, contrast=0.2):
    shift, spread = ((torch.rand(2, len(images), 1, 1, 1, generator=generator) * 2 - 1) * torch.tensor([brightness, contrast]).view(2, 1, 1, 1, 1)).to(images.device)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return ((images - mean) * (1 + spread) + mean + shift).clamp(0, 1)


@pytest.mark.parametrize("color", [0, 0.1, 0.5])
def test_gray_images_are_lit_as_ever_bit_by_bit_and_draw_no_more(color):
    images, old, new = torch.rand(7, 1, 16, 16, generator=torch.Generator().manual_seed(5)), torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    for _ in range(3): assert torch.equal(relight(images, new, color=color), relight_before_there_was_color(images, old))
    assert torch.equal(new.get_state(), old.get_state())


def test_channels_of_a_color_image_change_apart_within_their_strength():
    plate, most = torch.full((500, 3, 2, 2), 0.5), 0.3
    lit = relight(plate, torch.Generator().manual_seed(0), 0, 0, most)
    gains = lit.mean(dim=(2, 3)) / 0.5
    assert (gains - 1).abs().max() <= most + 1e-6 and gains.min() < 1 - 0.9 * most and gains.max() > 1 + 0.9 * most
    assert np.abs(np.corrcoef(gains.T) - np.eye(3)).max() < 0.15, "each channel has a draw of its own"
    assert (lit.amax(dim=(2, 3)) - lit.amin(dim=(2, 3))).max() == 0, "one factor for a whole channel"
    assert torch.equal(lit, relight(plate, torch.Generator().manual_seed(0), 0, 0, most))


def test_color_without_strength_moves_all_channels_alike():
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(relight(images, torch.Generator().manual_seed(2), color=0), relight_before_there_was_color(images, torch.Generator().manual_seed(2)))
    with pytest.raises(ValueError, match=r"color must lie in \[0, 1\), got 1.2"): relight(images, torch.Generator(), color=1.2)
