"""Properties of floor 1 that hold for every input."""
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import entr
from scipy.stats import rankdata
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

from active_defects.formulas.budget import chance_of_missing, expected_labels_until, labels_for, plot_budget
from active_defects.formulas.confidence import known_label_confidence, least_confidence
from active_defects.formulas.contracts import ranked, require_probability, require_scores, seed_of, tie_break
from active_defects.formulas.deviation import median_deviation
from active_defects.formulas.entropy import entropy, entropy_of_classes, plot_entropy
from active_defects.formulas.margin import margin, margin_of_classes
from active_defects.formulas.masked_error import block_errors, block_masks, msmr
from active_defects.formulas.metrics import average_precision, best_f, found_by_group, found_curve, labels_needed, plot_found, plot_groups, pooled_iou, share_found
from active_defects.formulas.reduction import top_mean
from active_defects.formulas.selection import assume_good_ids, select

settings.register_profile("formulas", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("formulas")

thousandths = st.lists(st.integers(0, 1000), min_size=1, max_size=60).map(lambda k: np.array(k) / 1000) # apart enough for float64
seeds = st.integers(0, 2**32 - 1)


@st.composite
def scored(draw, values=st.integers(0, 4)):
    "A Series with many ties under unique ids."
    ids = draw(st.lists(st.text("abc/0", min_size=1, max_size=6), min_size=1, max_size=40, unique=True))
    return pd.Series([float(draw(values)) for _ in ids], index=ids)


@given(thousandths)
def test_entropy_margin_and_least_confidence_rank_alike(p):
    by_entropy, by_margin, by_confidence = (rankdata(u.round(9), method="min") for u in (entropy(p), 1 - margin(p), least_confidence(p)))
    assert (by_entropy == by_margin).all() and (by_margin == by_confidence).all()


@given(thousandths)
def test_the_two_answers_are_two_classes(p):
    rows = np.stack([p, 1 - p], axis=-1)
    assert np.allclose(entropy(p), entr(p) + entr(1 - p)) and np.allclose(entropy(p), entropy_of_classes(rows))
    assert np.allclose(margin(p), margin_of_classes(rows)) and np.allclose(known_label_confidence(p, False), 1 - p)
    assert not np.signbit(entropy(p)).any()


@pytest.mark.parametrize("bad", [[np.nan], [0.5, np.nan], [-0.1], [1.1], [np.inf]], ids=str)
def test_no_formula_takes_what_is_no_probability(bad):
    for formula in (entropy, margin, least_confidence, known_label_confidence):
        with pytest.raises(ValueError, match="probabilities must lie in"): formula(np.array(bad))


def test_single_precision_stays_single():
    p = np.array([0, 0.25, 1], np.float32)
    assert {f(p).dtype for f in (require_probability, entropy, margin, least_confidence)} == {np.dtype(np.float32)}
    assert entropy(p) == pytest.approx([0, 0.562335, 0], abs=1e-6)


@given(scored(), seeds, st.randoms())
def test_ties_do_not_depend_on_the_order_of_the_series(scores, seed, random):
    mixed = scores.sample(frac=1, random_state=random.randrange(2**32))
    assert ranked(mixed, seed).equals(ranked(scores, seed))
    assert select(mixed, 3, seed=seed).equals(select(scores, 3, seed=seed))


@given(scored(), seeds, st.integers(1, 50))
def test_the_partition_gives_the_top_of_the_full_ranking(scores, seed, batch):
    assert select(scores, batch, seed=seed).equals(ranked(scores, seed)[:batch])
    assert assume_good_ids(scores, batch, seed=seed).equals(ranked(scores, seed)[::-1][:batch])


@given(scored(), seeds, st.integers(0, 4), st.integers(1, 30))
def test_selections_are_nested(scores, seed, at_least, batch):
    by = pd.Series(scores.index.str[0], index=scores.index)
    for options in ({}, {"by": by, "at_least": at_least}, {"by": by, "quotas": {"a": at_least, "b": 1}}):
        assert select(scores, batch, seed=seed, **options).equals(select(scores, batch + 7, seed=seed, **options)[:batch])


@given(scored(), st.integers(1, 3))
def test_a_guarantee_that_fits_is_kept(scores, at_least):
    by = pd.Series(scores.index.str[0], index=scores.index)
    taken = by[select(scores, at_least * by.nunique(), by=by, at_least=at_least)].value_counts()
    there = by.value_counts().clip(upper=at_least)
    assert (taken.reindex(there.index, fill_value=0) >= there).all()


@given(scored(), st.integers(1, 20))
def test_equal_quotas_are_a_guarantee(scores, batch):
    by = pd.Series(scores.index.str[0], index=scores.index)
    assert select(scores, batch, by=by, quotas=dict.fromkeys(by.unique(), 2)).equals(select(scores, batch, by=by, at_least=2))


@given(scored(), seeds, st.integers(0, 20), st.integers(1, 20))
def test_nobody_is_both_asked_and_assumed(scores, seed, good, batch):
    asked = select(scores, batch, seed=seed)
    assumed = assume_good_ids(scores, good, seed=seed, exclude=asked)
    assert not asked.intersection(assumed).size and len(assumed) == min(good, len(scores) - len(asked))


@pytest.mark.parametrize("spelling", ["bad{}", "zzz{}", "a/very/long/folder/blowhole/part{}", "{}"])
def test_a_score_without_content_finds_its_share(spelling):
    ids = [spelling.format(n) for n in range(20)] + [f"free/part{n}" for n in range(180)]
    defective = pd.Series(np.arange(200) < 20, index=ids)
    shares = [share_found(defective, pd.Series(0.0, index=ids), seed=seed) for seed in range(300)]
    assert np.mean(shares) == pytest.approx(0.1, abs=4 * 0.067 / 300**0.5) # 0.067: standard deviation of one hypergeometric share
    assert max(shares) < 0.5


def test_ties_are_the_same_in_another_process():
    code = "from active_defects.formulas.contracts import tie_break, seed_of; print(tie_break(['a/1', 'ž'], 7).tolist(), seed_of(3, 'folds', 1))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == f"{tie_break(['a/1', 'ž'], 7).tolist()} {seed_of(3, 'folds', 1)}"


@given(st.integers(0, 99), st.integers(0, 99), st.sampled_from(["folds", "model", ""]), st.sampled_from(["folds", "model", 1]))
def test_named_seeds_differ(seed, other, name, another):
    assert 0 <= seed_of(seed, name) < 2**32
    assert (seed_of(seed, name) == seed_of(other, another)) == ((seed, name) == (other, another))


@given(scored())
def test_scores_come_back_in_the_order_asked(scores):
    ids = sorted(scores.index)
    assert require_scores(scores, ids).index.tolist() == ids
    with pytest.raises(ValueError, match="missing"): require_scores(scores, [*ids, "another one"])
    with pytest.raises(ValueError, match="unexpected|missing"): require_scores(scores, ids[1:])


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 3), seeds, st.sampled_from(["block", "full", "visible"]))
def test_msmr_is_the_worst_block(across, scale, seed, region):
    image = np.random.default_rng(seed).random((across * scale * 2, across * scale))
    masks = block_masks(image.shape, across)
    guess = lambda visible, hidden: np.roll(visible, 1, axis=0)
    alone = [msmr(image, guess, masks[z:z + 1], region) for z in range(across**2)]
    assert msmr(image, guess, masks, region) == max(alone)
    assert np.allclose(block_errors(image, guess, masks, region), alone)
    assert (masks.sum(axis=0) == 1).all() and len(set(masks.sum(axis=(1, 2)))) == 1


@settings(max_examples=30)
@given(seeds, st.floats(1, 3))
def test_msmr_grows_with_the_error_of_the_guess(seed, factor):
    rng = np.random.default_rng(seed)
    image, wrong, masks = rng.random((8, 8)), rng.normal(0, 0.1, (8, 8)), block_masks((8, 8))
    near, far = (msmr(image, lambda visible, hidden: image + by * wrong, masks) for by in (1, factor))
    assert far >= near
    assert np.isclose(far, near * factor**2)


@given(st.integers(1, 6), seeds)
def test_top_mean_does_not_grow_with_the_image(times, seed):
    maps = np.random.default_rng(seed).random((2, 10, 10))
    larger = np.kron(maps, np.ones((1, times, times)))
    assert np.allclose(top_mean(larger, share=0.05), top_mean(maps, share=0.05))


@settings(max_examples=25)
@given(seeds, st.sampled_from([1, 3, 5]))
def test_dark_and_bright_add_up(seed, size):
    images = np.random.default_rng(seed).random((2, 9, 9))
    dark, bright, both = (median_deviation(images, size, side) for side in ("dark", "bright", "both"))
    assert np.allclose(dark + bright, both)
    assert np.allclose(median_deviation(1 - images, size, "bright"), dark)
    assert np.allclose(median_deviation(images[:1], size), both[:1]) # images do not look at each other


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=50).filter(lambda rows: any(d for d, _ in rows)))
def test_average_precision_agrees_with_scikit_learn(rows):
    defective, scores = np.array([d for d, _ in rows]), np.array([s for _, s in rows], float)
    precision, recall, _ = precision_recall_curve(defective, scores)
    assert average_precision(defective, scores) == pytest.approx(average_precision_score(defective, scores))
    assert average_precision(defective, scores, "trapezoid") == pytest.approx(auc(recall, precision))
    f = 2 * precision[:-1] * recall[:-1] / (precision[:-1] + recall[:-1] + 1e-8)
    assert best_f(defective, scores)[1] == pytest.approx(f.max())


@given(scored(), seeds)
def test_found_curve_ends_with_everything(scores, seed):
    defective = pd.Series(np.arange(len(scores)) % 3 == 0, index=scores.index)
    order = ranked(scores, seed)
    curve = found_curve(defective, order)
    assert curve.iloc[0] == 0 and curve.iloc[-1] == 1 and curve.is_monotonic_increasing
    assert curve[labels_needed(defective, order, found=0.5)] >= 0.5 > curve[labels_needed(defective, order, found=0.5) - 1]


@given(scored(), seeds, st.data())
def test_groups_cut_the_ranking_where_array_split_does(scores, seed, data):
    defective = pd.Series(np.arange(len(scores)) % 3 == 0, index=scores.index)
    groups = data.draw(st.integers(1, len(scores)))
    found = found_by_group(defective, scores, groups, seed)
    curve = found_curve(defective, ranked(scores, seed)) * defective.sum()
    ends = np.cumsum([0, *map(len, np.array_split(np.arange(len(scores)), groups))])
    assert found.index.tolist() == list(range(1, groups + 1)) and found.tolist() == pytest.approx(np.diff(curve.to_numpy()[ends]))
    shuffled = scores.sample(frac=1, random_state=seed % 2**32)
    assert found_by_group(defective, shuffled, groups, seed).equals(found) and found_by_group(defective.reindex(shuffled.index), scores, groups, seed).equals(found)


def test_groups_of_the_paper_and_what_they_refuse():
    defective = pd.Series(np.arange(2286) < 99)
    found = found_by_group(defective, pd.Series(-np.arange(2286.0)))
    assert found.tolist() == [99, *[0] * 9] and found.dtype == np.int64 and found.index.name == "group"
    assert share_found(defective, pd.Series(-np.arange(2286.0)), 0.1) == 1
    for groups in (0, -1, 2287):
        with pytest.raises(ValueError, match="use 1 to 2286"): found_by_group(defective, pd.Series(-np.arange(2286.0)), groups)
    with pytest.raises(ValueError, match="Series under sample ids"): found_by_group(defective, np.zeros(2286))
    with pytest.raises(ValueError, match="nothing to find"): found_by_group(defective & False, defective.astype(float))


def test_the_plot_of_groups_has_one_trace_per_method_and_says_its_numbers():
    table = pd.DataFrame({"MSMR": [38.5, 12, 8, 3.5], "chance": [16, 15, 15, 16]}, index=pd.RangeIndex(1, 5, name="group"))
    figure = plot_groups(table)
    assert [(bar.type, bar.name, list(bar.y)) for bar in figure.data] == [("bar", "MSMR", [38.5, 12, 8, 3.5]), ("bar", "chance", [16, 15, 15, 16])]
    assert figure.layout.shapes[0].y0 == 15.5 and "MSMR, 38.5 of 62 in the first group and 3.5 in the last" in figure.layout.meta["alt"]


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
def test_pooled_iou_is_the_iou_of_the_mosaic(first, second):
    true, predicted = (np.array([bits >> k & 1 for k in range(16)], bool).reshape(4, 4) for bits in (first, second))
    iou = pooled_iou([true], [predicted])
    assert iou == pooled_iou(np.split(true, 2), np.split(predicted, 2)) == pooled_iou([predicted], [true])
    assert iou == ((true & predicted).sum() / (true | predicted).sum() if (true & predicted).any() else 0)


def test_skipped_parts_have_no_say():
    with pytest.raises(ValueError, match="1 parts have no verdict"): share_found(pd.Series([True, None], dtype="boolean"), pd.Series([0.1, 0.2]))


@settings(max_examples=10)
@given(st.integers(20, 200), st.integers(1, 10), st.floats(0.05, 0.9), seeds)
def test_the_urn_agrees_with_a_simulation(pool, defects, share, seed):
    labels = round(share * pool)
    found = np.random.default_rng(seed).hypergeometric(defects, pool - defects, labels, size=20_000)
    assert chance_of_missing(pool, defects, labels) == pytest.approx((found == 0).mean(), abs=0.02)


@settings(max_examples=50)
@given(st.integers(5, 300), st.data())
def test_labels_for_is_the_smallest_number(pool, data):
    defects = data.draw(st.integers(1, pool))
    labels = labels_for(pool, defects, 1, certainty=0.9)
    assert chance_of_missing(pool, defects, labels) <= 0.1 + 1e-12 and (labels == 0 or chance_of_missing(pool, defects, labels - 1) > 0.1 - 1e-12)
    assert expected_labels_until(pool, defects, defects) <= pool + 1e-9


def test_figures_are_small_named_by_content_and_described():
    curve = found_curve(pd.Series([True, False, True]), [0, 1, 2])
    for draw in (plot_entropy, plot_budget, lambda: plot_found({"a <b>": curve})):
        bundle, again = draw()._repr_mimebundle_(), draw()._repr_mimebundle_()
        assert bundle == again and set(bundle) >= {"application/vnd.plotly.v1+json", "text/html"}
        assert len(bundle["text/html"]) < 20_000 and 'role="figure" aria-label="' in bundle["text/html"] and "cdn" not in bundle["text/html"]
        assert len(bundle["text/plain"]) > 20
