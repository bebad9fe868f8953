"""The small world keeps what it promises, for any size, prevalence and texture."""
import numpy as np
import pandas as pd
import pytest
from active_defects.data.flaws import KINDS, cut
from active_defects.data.surfaces import MATERIALS, weighed
from active_defects.data.synth import exposures, flaw_contrast, flaw_facts, plot_facts, synth_surfaces, verdicts
from active_defects.formulas.deviation import median_deviation
from active_defects.formulas.metrics import share_found
from active_defects.formulas.reduction import top_mean
from effort import calls


def stack(pool):
    return np.stack([pool.images[i] for i in pool.ids])


def test_the_same_seed_gives_the_same_world_and_another_seed_another():
    (a, truth_a), (b, truth_b), (c, _) = (synth_surfaces(n=40, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(stack(a), stack(b)) and not np.array_equal(stack(a), stack(c))
    pd.testing.assert_frame_equal(truth_a.table, truth_b.table)
    assert all(np.array_equal(truth_a.masks[i], truth_b.masks[i]) for i in truth_a.ids if i in truth_a.masks)


def test_the_global_generator_is_neither_used_nor_touched():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = stack(synth_surfaces(n=10)[0])
    assert np.array_equal(before, np.random.get_state()[1])
    np.random.seed(99)
    assert np.array_equal(first, stack(synth_surfaces(n=10)[0]))


@pytest.mark.parametrize("texture", MATERIALS)
@pytest.mark.parametrize("size", [16, 33, 64, 100])
def test_every_texture_and_size(texture, size):
    pool, truth = synth_surfaces(n=50, size=size, texture=texture, prevalence=0.3)
    images = stack(pool)
    assert images.dtype == np.float32 and images.shape == (50, size, size)
    assert np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1
    assert all(m.dtype == bool and m.shape == (size, size) and m.any() for m in truth.masks.values())


@pytest.mark.parametrize("prevalence", [0, 0.01, 0.06, 0.5, 1])
def test_the_prevalence_is_exact_and_masks_belong_to_defects(prevalence):
    pool, truth = synth_surfaces(n=100, prevalence=prevalence)
    assert truth.table.defective.sum() == round(100 * prevalence) == len(truth.masks)
    assert set(truth.masks) == set(truth.ids[truth.table.defective.astype(bool)])
    assert (truth.table.category == "good").equals(~truth.table.defective.astype(bool))


def test_the_pool_knows_groups_and_nothing_else():
    pool, truth = synth_surfaces(n=600, prevalence=0.06)
    assert pool.table.columns.tolist() == ["group"] and pool.ids.tolist() == [f"part{k:03d}" for k in range(600)]
    sizes = pool.table.groupby("group").size()
    assert sizes.iloc[:-1].between(2, 4).all()
    assert truth.table.defective.astype(int).groupby(pool.table.group).sum().max() == 1


def test_ids_and_order_carry_no_truth():
    position = [truth.table.defective.to_numpy(float).nonzero()[0].mean() for _, truth in (synth_surfaces(n=200, seed=s, size=16) for s in range(30))]
    assert abs(np.mean(position) - 99.5) < 10
    assert synth_surfaces(n=1001, size=16)[0].ids[0] == "part0000"


def test_areas_lie_between_a_tenth_and_five_percent_for_every_seed():
    areas = [100 * m.mean() for seed in range(5) for m in synth_surfaces(n=200, seed=seed, prevalence=0.5)[1].masks.values()]
    assert 0.1 <= min(areas) and max(areas) <= 5


def test_kinds_are_balanced_and_can_be_chosen():
    _, truth = synth_surfaces(n=100, prevalence=0.1)
    assert truth.table.category.drop(truth.ids[truth.table.category == "good"]).value_counts().eq(2).all()
    _, truth = synth_surfaces(n=60, categories=["pit"])
    assert set(truth.table.category) == {"good", "pit"}


def test_a_flaw_changes_its_surroundings_only():
    (with_flaws, truth), (without, _) = synth_surfaces(n=100, seed=1, prevalence=0.3), synth_surfaces(n=100, seed=1, prevalence=0)
    for i in with_flaws.ids:
        change = np.abs(with_flaws.images[i] - without.images[i])
        if i not in truth.masks: assert change.max() == 0
        else: assert change[truth.masks[i]].mean() > 3 * change[~truth.masks[i]].mean()


def test_exposures_differ_in_brightness_and_pieces_share_their_lines():
    pool, _ = synth_surfaces(n=300, prevalence=0)
    brightness = pd.Series({i: pool.images[i].mean() for i in pool.ids}).groupby(pool.table.group)
    assert 0.02 < brightness.std().median() < 0.13 and 0.03 < brightness.mean().std() < 0.13


def test_classical_filters_find_more_than_chance_and_far_from_everything():
    shares = []
    for seed in range(3):
        pool, truth = synth_surfaces(n=600, seed=seed, prevalence=0.06)
        shares.append(share_found(truth.table.defective, pd.Series(top_mean(median_deviation(stack(pool)), 0.001), pool.ids)))
    assert 0.15 < np.mean(shares) < 0.6
    assert share_found(truth.table.defective, pd.Series(stack(pool).mean(axis=(1, 2)), pool.ids)) < 0.3


def test_the_world_is_made_at_once_and_not_picture_by_picture():
    few, many = (calls(lambda: synth_surfaces(n=n, prevalence=0.06)) for n in (60, 600))
    assert many < 10_000 and many < 1.5 * few, f"{few:,} calls for 60 pictures, {many:,} for 600"


@pytest.mark.parametrize("wrong, advice", [
    (dict(categories=["dent"]), "scratch"), (dict(categories=[]), "choose some"), (dict(texture="wood"), "brushed"), (dict(prevalence=5), "0.05"),
    (dict(prevalence=-0.1), "share"), (dict(n=0), "n >= 1"), (dict(size=8), "16")])
def test_wrong_wishes_end_in_advice(wrong, advice):
    with pytest.raises(ValueError, match=advice): synth_surfaces(**wrong)


def test_small_parts_of_the_world():
    piece = exposures(1, np.random.default_rng(0))
    assert piece.tolist() == [0] and verdicts(piece, 1.0, ["pit"], np.random.default_rng(0)).tolist() == ["pit"]
    with pytest.raises(ValueError, match="noise"): weighed(np.zeros((4, 4)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="share"): cut(np.zeros((1, 4, 4)), np.array([0.0]), np.array([0.1]))
    with pytest.raises(ValueError, match="inside the mask"): flaw_contrast(np.zeros((4, 4)), np.zeros((4, 4), bool))
    facts = flaw_facts(*synth_surfaces(n=50, prevalence=0.2))
    assert len(facts) == 10 and set(facts.category) == set(KINDS)
    assert len(plot_facts(facts, "contrast").data) == 5
    assert len(flaw_facts(*synth_surfaces(n=10, prevalence=0))) == 0
