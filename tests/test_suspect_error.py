"""SDR: golden number G35 of SPEC section 5, the loop over the equation, and properties over many random images."""
import numpy as np
import pandas as pd
import pytest
from active_defects.formulas.suspect_error import order_with_ties, sdr, suspect_errors
from hypothesis import given, settings
from hypothesis import strategies as st

I, G, PRE = np.array([[0.2, 0.8], [0.5, 0.1]]), np.array([[0.2, 0.2], [0.5, 0.1]]), np.array([[0.1, 0.9], [0.5, 0.3]])
fast = settings(deadline=None, max_examples=60, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
channels = st.sampled_from([None, 1, 3])


def drawn(seed, n=5, channels=None, height=6, width=9, dtype=np.float32):
    "Random images, restored images that leave half of the pixels alone, and maps with values at, above and below the threshold."
    chance = np.random.default_rng(seed)
    shape = (n, height, width) if channels is None else (n, channels, height, width)
    images, guesses = chance.random((2, *shape)).astype(dtype)
    guesses = np.where(chance.random(shape) < 0.5, images, guesses)
    return images, guesses, chance.choice([0.0, 0.49, 0.5, 0.51, 1.0], (n, height, width)).astype(dtype)


def by_pixels(image, guess, predicted, threshold=0.5):
    "Eqs. 8 and 9 as printed, one pixel at a time, channels averaged."
    image, guess = (np.asarray(a, float).reshape(*predicted.shape, -1) for a in (image, guess))
    total = 0.0
    for i in range(predicted.shape[0]):
        for j in range(predicted.shape[1]):
            g1 = 1.0 if predicted[i, j] >= threshold else 0.0
            total += np.mean([(g1 * guess[i, j, c] - g1 * image[i, j, c]) ** 2 for c in range(image.shape[2])])
    return total / predicted.size


def last(images):
    "Channels last, as one image comes."
    return images if images.ndim == 3 else images.transpose(0, 2, 3, 1)


def test_golden_sdr():
    assert sdr(I, G, PRE) == pytest.approx(0.09, abs=1e-12)
    assert suspect_errors(I[None], G[None], PRE[None]) == pytest.approx([0.09], abs=1e-12)


def test_one_half_is_suspected():
    half = np.full((2, 2), 0.5)
    assert sdr(I, G, half) == pytest.approx(0.36 / 4) and sdr(I, G, half, threshold=0.51) == 0


@fast
@given(seeds, channels, st.sampled_from([0.0, 0.3, 0.5, 0.51, 1.0]), st.sampled_from([np.float32, np.float64]))
def test_batched_equals_the_loop_over_the_equation(seed, channels, threshold, dtype):
    images, guesses, maps = drawn(seed, channels=channels, dtype=dtype)
    loop = [by_pixels(*three, threshold) for three in zip(last(images), last(guesses), maps)]
    np.testing.assert_allclose(suspect_errors(images, guesses, maps, threshold), loop, rtol=1e-5)
    np.testing.assert_allclose([sdr(*three, threshold) for three in zip(last(images), last(guesses), maps)], loop, rtol=1e-5)


@fast
@given(seeds, channels)
def test_zero_if_and_only_if_nothing_is_suspected_or_it_is_restored_perfectly(seed, channels):
    images, guesses, maps = drawn(seed, n=8, channels=channels, height=2, width=2)
    wrong = (images != guesses).reshape(8, -1, 2, 2).any(axis=1)
    blind = ~((maps >= 0.5) & wrong).any(axis=(1, 2))
    assert ((suspect_errors(images, guesses, maps) == 0) == blind).all()
    assert (suspect_errors(images, guesses, np.zeros_like(maps)) == 0).all() and (suspect_errors(images, images, maps) == 0).all()


def test_the_smallest_difference_of_single_precision_counts():
    image = np.full((1, 2, 2), 1e-30, np.float32)
    assert suspect_errors(image, 2 * image, np.ones((1, 2, 2)))[0] > 0


@fast
@given(seeds)
def test_what_is_not_suspected_does_not_count(seed):
    images, guesses, maps = drawn(seed)
    elsewhere = np.where(maps >= 0.5, guesses, np.random.default_rng(seed).random(guesses.shape, np.float32))
    assert (suspect_errors(images, guesses, maps) == suspect_errors(images, elsewhere, maps)).all()


@fast
@given(seeds)
def test_a_lower_threshold_never_lowers_a_score_and_zero_is_the_mean_squared_error(seed):
    images, guesses, maps = drawn(seed)
    falling = np.array([suspect_errors(images, guesses, maps, t) for t in (0.0, 0.49, 0.5, 0.51, 1.0)])
    assert (np.diff(falling, axis=0) <= 1e-15).all()
    np.testing.assert_allclose(falling[0], ((guesses.astype(float) - images) ** 2).mean(axis=(1, 2)), rtol=1e-12)


@fast
@given(seeds, st.integers(2, 4))
def test_more_pixels_of_the_same_are_not_more_suspicious(seed, factor):
    larger = [np.kron(a, np.ones((1, factor, factor), a.dtype)) for a in drawn(seed)]
    np.testing.assert_allclose(suspect_errors(*larger), suspect_errors(*drawn(seed)), rtol=1e-12)


@fast
@given(seeds)
def test_equal_channels_change_nothing_and_pieces_equal_the_whole(seed):
    images, guesses, maps = drawn(seed)
    whole = suspect_errors(images, guesses, maps)
    color = suspect_errors(images[:, None].repeat(3, axis=1), guesses[:, None].repeat(3, axis=1), maps)
    np.testing.assert_allclose(color, whole, rtol=1e-12)
    assert (np.concatenate([suspect_errors(images[k:k + 2], guesses[k:k + 2], maps[k:k + 2]) for k in range(0, 5, 2)]) == whole).all()


def test_no_image_at_all_is_no_error():
    assert suspect_errors(*(np.zeros((0, 4, 4)),) * 3).shape == (0,)
    assert suspect_errors(np.zeros((0, 3, 4, 4)), np.zeros((0, 3, 4, 4)), np.zeros((0, 4, 4))).shape == (0,)


def test_images_and_maps_are_left_as_they_are():
    three = drawn(0)
    before = [a.copy() for a in three]
    suspect_errors(*three)
    assert all((a == b).all() for a, b in zip(three, before))


@pytest.mark.parametrize("change, words", [
    (lambda i, g, m: (i, g, m[:, :2]), "bring them to"), (lambda i, g, m: (i, g[:2], m), "restore these very images"), (lambda i, g, m: (i[0], g[0], m[0]), "bring them to"),
    (lambda i, g, m: (i, g, m + 1), "apply the sigmoid"), (lambda i, g, m: (i, g, m * np.nan), "not a number"), (lambda i, g, m: (i, g + np.inf, m), "G has diverged")], ids=range(6))
def test_what_does_not_fit_is_refused(change, words):
    with pytest.raises(ValueError, match=words): suspect_errors(*change(*drawn(0)))


# ---- ties

values = st.lists(st.tuples(st.sampled_from([0.0, 0.0, 1e-12, 1e-3, 0.2]), st.integers(0, 10**6).map(lambda k: k / 1000)), min_size=1, max_size=30)


@fast
@given(values)
def test_errors_decide_and_first_scores_settle_ties(pairs):
    errors, first = np.array(pairs).T
    order = order_with_ties(errors, first)
    assert np.isfinite(order).all() and (order[errors > 0] == errors[errors > 0]).all() and ((order[errors == 0] >= -1) & (order[errors == 0] < 0)).all()
    key = pd.MultiIndex.from_arrays([errors, np.where(errors == 0, first, 0)])
    assert (pd.Series(order).rank(method="min") == pd.Series(pd.factorize(key, sort=True)[0]).rank(method="min")).all()


@fast
@given(values)
def test_each_settled_score_is_its_own(pairs):
    errors, first = np.array(pairs).T
    assert [order_with_ties([e], [f])[0] for e, f in pairs] == order_with_ties(errors, first).tolist()


def test_first_scores_matter_at_ties_only():
    assert order_with_ties([0.3, 0.0], [np.nan, 0.0]).tolist() == [0.3, -1.0]
    for bad in (np.nan, np.inf, -0.1):
        with pytest.raises(ValueError, match="first scores must be finite"): order_with_ties([0.3, 0.0], [1.0, bad])
    for bad in (np.nan, -1e-9):
        with pytest.raises(ValueError, match="none is negative or missing"): order_with_ties([0.3, bad], [1.0, 1.0])
    with pytest.raises(ValueError, match="one of each"): order_with_ties([0.0], [1.0, 2.0])
    assert order_with_ties([], []).shape == (0,)
