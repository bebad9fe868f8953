"""Frequency of use: the printed numbers, the bound, the same rows from the same seed, and what is refused."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active_defects.data.sampling import draw_negatives, epoch_rows, plot_unseen, unseen, usage_probabilities

KSDD2 = np.arange(246), np.arange(246, 2331)
few = settings(max_examples=100, deadline=None)


def lists(rows):
    return [epoch.tolist() for epoch in rows]


def test_golden_four_parts():  # G16
    assert usage_probabilities(np.array([1, 1, 0, 2])).round(6).tolist() == [0.087004, 0.087004, 0.824129, 0.001863]
    assert round(4 * np.log(4), 6) == 5.545177


def test_golden_after_the_first_epoch_of_ksdd2():  # G17
    p = usage_probabilities(np.repeat([1, 0], [246, 1839]))
    assert (p[:246] == 0).all() and f"{p[-1]:.6e}" == "5.437738e-04"
    assert p[-1] == pytest.approx(1 / 1839, rel=1e-12) and f"{4 * np.log(2085):.6f}" == "30.570097"


def test_the_exponent_is_4_ln_n():
    p = usage_probabilities(np.repeat([1, 0], [1900, 185]))
    assert np.log2(p[-1] / p[0]) == pytest.approx(30.570097, abs=1e-6)


def test_nothing_used_yet_is_uniform():
    np.testing.assert_allclose(usage_probabilities(np.zeros(7)), 1 / 7)
    assert usage_probabilities(np.array([3])).tolist() == [1.0]


@few
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=400))
def test_probabilities_sum_to_one_and_prefer_the_less_used(used):
    p = usage_probabilities(np.array(used))
    assert np.isfinite(p).all() and (p >= 0).all() and p.sum() == pytest.approx(1)
    assert (np.diff(p[np.argsort(used, kind="stable")]) <= 1e-15).all()


@pytest.mark.parametrize("seed", range(5))
def test_every_good_part_is_shown_within_the_bound(seed):
    rows = epoch_rows(*KSDD2, epochs=50, seed=seed)
    bound = -(-2085 // 246)
    assert unseen(rows, KSDD2[1]).tolist() == [max(0, 2085 - 246 * (epoch + 1)) for epoch in range(50)]
    assert set(np.concatenate(rows[:bound])) == set(range(2331))
    turns = np.bincount(np.concatenate(rows))[246:]
    assert turns.min() >= 4 and turns.max() <= 7


def test_a_fresh_permutation_misses_a_third_of_them():
    left = unseen(epoch_rows(*KSDD2, epochs=9, seed=0, frequency=False), KSDD2[1])[-1]
    assert left / 2085 == pytest.approx((1839 / 2085) ** 9, abs=0.03)


def test_an_epoch_holds_every_positive_once_and_as_many_different_negatives():
    for epoch in epoch_rows(*KSDD2, epochs=12, seed=3):
        assert len(epoch) == len(set(epoch)) == 492 and set(range(246)) <= set(epoch)
        assert 80 < (epoch[:246] < 246).sum() < 166  # shuffled together


def test_rows_may_be_any_numbers_in_any_order():
    positives, negatives = np.array([90, 4]), np.array([7, 50, 3, 11])
    for epoch in epoch_rows(positives, negatives, epochs=4, seed=0):
        assert {4, 90} <= set(epoch.tolist()) <= {4, 90, 7, 50, 3, 11} and len(epoch) == 4


def test_the_first_epoch_is_uniform():
    first = np.concatenate([epoch_rows(np.arange(2), np.arange(2, 12), 1, seed)[0] for seed in range(2000)])
    np.testing.assert_allclose(np.bincount(first)[2:] / 2000, 0.2, atol=0.035)


def test_a_resumed_training_draws_the_same_rows_and_another_seed_others():
    whole = epoch_rows(*KSDD2, epochs=50, seed=7)
    assert lists(epoch_rows(*KSDD2, epochs=20, seed=7)) == lists(whole[:20])
    assert lists(epoch_rows(*KSDD2, epochs=50, seed=7)) == lists(whole)
    assert lists(epoch_rows(*KSDD2, epochs=2, seed=8)) != lists(whole[:2])
    np.random.seed(0)
    before = np.random.random()
    np.random.seed(0)
    epoch_rows(*KSDD2, epochs=1, seed=7)
    assert np.random.random() == before  # the global generator is not touched


@few
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6), st.booleans())
def test_any_numbers_of_both_kinds(bad, good, seed, frequency):
    rows = epoch_rows(np.arange(bad), np.arange(bad, bad + good), 15, seed, frequency=frequency)
    for epoch in rows:
        turns = np.bincount(epoch, minlength=bad + good)
        assert (turns[:bad] == 1).all() and turns[bad:].sum() == bad
        assert turns[bad:].max() - turns[bad:].min() <= 1
    if bad <= good:
        assert lists(rows) == lists(epoch_rows(np.arange(bad), np.arange(bad, bad + good), 15, seed, replace_if_few=False, frequency=frequency))


def test_few_good_parts_are_repeated_evenly_or_refused():
    for good in (2, 3, 4):
        with pytest.raises(ValueError, match=f"6 defective parts and only {good} good ones"):
            epoch_rows(np.arange(6), np.arange(6, 6 + good), 3, seed=0, replace_if_few=False)
    turns = np.bincount(np.concatenate(epoch_rows(np.arange(6), np.arange(6, 10), 100, seed=0)))[6:]
    assert turns.sum() == 600 and turns.max() - turns.min() <= 12


def test_the_draw_is_without_replacement_unless_too_few_have_a_chance():
    random, used = np.random.default_rng(0), np.repeat([1, 0], [10, 15])
    assert set(draw_negatives(used, 15, random)) == set(range(10, 25))
    assert len(set(draw_negatives(used, 15, random, replace=True))) == 15
    with pytest.raises(ValueError, match="16 good parts are asked for and 15 of 25 have a chance"):
        draw_negatives(used, 16, random)
    assert set(draw_negatives(used, 40, random, replace=True)) <= set(range(10, 25))
    assert draw_negatives(used, 0, random).tolist() == []


@pytest.mark.parametrize("positives, negatives, says", [
    ([], [1, 2], "label at least one"), ([1, 2], [], "give good parts too"), ([1, 1], [2, 3], "stands twice"),
    ([1, 2], [2, 3], "stands twice"), ([0.5], [1.0], "whole numbers"), ([True, False], [False, True], "np.flatnonzero")])
def test_what_is_refused(positives, negatives, says):
    with pytest.raises(ValueError, match=says):
        epoch_rows(np.array(positives), np.array(negatives), 2, seed=0)


@pytest.mark.parametrize("used", [np.zeros(0), np.zeros((2, 2)), np.array([1, -1]), np.array([np.nan, 1])])
def test_counts_that_are_none_are_refused(used):
    with pytest.raises(ValueError):
        usage_probabilities(used)


def test_the_picture_says_what_it_shows():
    figure = plot_unseen({"frequency": unseen(epoch_rows(*KSDD2, epochs=10, seed=0), KSDD2[1])})
    assert "frequency, 0 left after 10, none from epoch 9 on" in figure.layout.meta["alt"]
    assert list(figure.data[0].y)[:2] == [1839, 1593]


def test_rows_of_two_integer_types_stay_integers():
    rows = epoch_rows(np.uint64([0, 1]), np.int64([2, 3, 4]), epochs=2, seed=0)
    assert {row.dtype.kind for row in rows} == {"i"}
    assert lists(rows) == lists(epoch_rows(np.arange(2), np.arange(2, 5), epochs=2, seed=0))


def test_numbers_below_zero_and_tables_are_refused():
    with pytest.raises(ValueError, match="epochs must not be negative"): epoch_rows(np.arange(2), np.arange(2, 5), -1, 0)
    with pytest.raises(ValueError, match="one row each"): epoch_rows(np.arange(2)[None], np.arange(2, 5)[None], 1, 0)
    with pytest.raises(ValueError, match="count must not be negative"): draw_negatives([0, 1], -1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="got inf"): usage_probabilities([np.inf, 2])
