"""Splits never cut a group, crops cover every pixel, resized masks keep their area: for any sizes."""
import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from active_defects.data.crops import crop_corners
from active_defects.data.pool import Pool
from active_defects.data.resize import content_box, resize, resize_mask
from active_defects.data.splits import group_folds, hold_out

few = settings(max_examples=100, deadline=None)


@st.composite
def pools(draw):
    "A pool of up to 80 samples in at least 4 groups, and a kind for each sample."
    groups = draw(st.lists(st.integers(0, 15), min_size=8, max_size=80).filter(lambda g: len(set(g)) >= 4))
    kinds = draw(st.lists(st.sampled_from(["good", "bad", "worse"]), min_size=len(groups), max_size=len(groups)))
    ids = [f"s{n}" for n in range(len(groups))]
    return Pool(pd.DataFrame({"group": [f"g{g}" for g in groups]}, index=ids), {}), pd.Series(kinds, index=ids)


@few
@given(pools(), st.integers(2, 4), st.integers(0, 10**6), st.booleans())
def test_folds_never_cut_a_group(made, k, seed, stratified):
    pool, kinds = made
    folds = group_folds(pool, k, seed, kinds if stratified else None)
    assert folds.index.equals(pool.ids) and set(folds) == set(range(k))
    assert folds.groupby(pool.table.group).nunique().max() == 1
    assert folds.equals(group_folds(pool, k, seed, kinds if stratified else None))


@few
@given(pools(), st.floats(0.2, 0.8), st.integers(0, 10**6))
def test_hold_out_never_cuts_a_group(made, share, seed):
    pool, kinds = made
    train, test = hold_out(pool, share, seed, kinds)
    assert len(train) + len(test) == len(pool) and len(train) and len(test)
    assert not set(pool.table.group[train]) & set(pool.table.group[test])
    backwards = hold_out(pool[pool.ids[::-1]], share, seed, kinds)[1]
    assert set(backwards) == set(test)


def test_seeds_deal_differently_and_every_group_gets_its_turn():
    ids = [f"t{n // 6}-{n % 6}" for n in range(180)]
    pool = Pool(pd.DataFrame({"group": [i.split("-")[0] for i in ids]}, index=ids), {})
    turns = sum(pool.ids.isin(hold_out(pool, 0.2, seed)[1]).astype(int) for seed in range(200))
    assert turns.min() > 15 and turns.max() < 75


@few
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_crops_cover_every_pixel(height, width, side):
    side = min(side, height, width)
    seen = np.zeros((height, width), int)
    corners = crop_corners((height, width), side)
    for top, left in corners:
        assert 0 <= top <= height - side and 0 <= left <= width - side
        seen[top:top + side, left:left + side] += 1
    assert seen.min() >= 1 and len(corners) == -(-height // side) * -(-width // side)


@few
@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 99))
def test_resized_images_stay_in_range_and_have_the_size(height, width, new_height, new_width, pad, seed):
    image = np.random.default_rng(seed).random((height, width), np.float32)
    small = resize(image, (new_height, new_width), pad)
    assert small.shape == (new_height, new_width) and small.dtype == np.float32
    assert image.min() - 1e-6 <= small.min() and small.max() <= image.max() + 1e-6
    top, left, h, w = content_box(image.shape, (new_height, new_width))
    assert 0 <= top and 0 <= left and top + h <= new_height and left + w <= new_width and (h == new_height or w == new_width)
    full = resize_mask(np.ones((height, width), bool), (new_height, new_width), pad)
    np.testing.assert_allclose(full.sum(), h * w if pad else full.size, rtol=1e-5)


def test_a_score_of_the_resized_image_does_not_depend_on_how_large_the_file_was():
    coarse = np.random.default_rng(0).random((16, 16), np.float32).repeat(8, 0).repeat(8, 1)
    fine = coarse.repeat(4, 0).repeat(4, 1)
    np.testing.assert_allclose(resize(coarse, 16), resize(fine, 16), atol=2e-2)
