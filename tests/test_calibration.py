"""Calibration, quotas, and the strategies of mixed supervision: golden numbers G24-G32 of SPEC section 5, independent loops, and properties over seeds."""
import dataclasses
from fractions import Fraction
from functools import partial

import numpy as np
import pandas as pd
import pytest
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.weaken import weaken
from active_defects.data.synth import synth_surfaces
from active_defects.formulas.calibration import calibrate, expected_calibration_error, plot_calibration, plot_reliability, reliability, temperature
from active_defects.formulas.contracts import require_scores
from active_defects.formulas.metrics import best_f
from active_defects.formulas.quotas import average_margins, normalized_margins, quotas
from active_defects.formulas.selection import select
from active_defects.learners.prediction import Prediction
from active_defects.strategies.average_margin import AverageMargin
from active_defects.strategies.category import stand_in_categories
from active_defects.strategies.least_confidence import LeastConfidence
from active_defects.strategies.margin import Margin
from active_defects.strategies.strategy import State, candidates
from scipy.special import expit

SEEDS = range(20)
READINGS = ("unit", "range", "keep")


# ---- the hinge

P9 = [0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1]
P5 = [0.05, 0.1, 0.2, 0.575, 0.95]


@pytest.mark.parametrize("p, t, reading, value", [
    pytest.param(P9, 0.2, "unit", [0, 0.125, 0.25, 0.5, 0.625, 0.75, 0.875, 0.9375, 1], id="G24"),
    pytest.param(P9, 0.8, "unit", [0, 0.03125, 0.0625, 0.125, 0.25, 0.375, 0.5, 0.75, 1], id="G25"),
    pytest.param(P5, 0.2, "range", [0, 1 / 6, 0.5, 0.75, 1], id="G26-b"), pytest.param(P5, 0.2, "keep", [0.05, 0.2, 0.5, 0.725, 0.95], id="G26-c")])
def test_golden_hinges(p, t, reading, value):
    assert calibrate(p, t, reading) == pytest.approx(value, abs=1e-15, rel=1e-15)


def straight(p, t, reading):
    "The equations, in exact fractions, one value at a time."
    q = [Fraction(x) for x in p]
    t = Fraction(t)
    (a, b), (c, d) = {"unit": ((0, 0), (1, 1)), "range": ((min(q), 0), (max(q), 1)), "keep": ((min(q), min(q)), (max(q), max(q)))}[reading]
    half = Fraction(1, 2)
    return [float(half if x == t else b + (x - a) * (half - b) / (t - a) if x < t else half + (x - t) * (d - half) / (c - t)) for x in q]


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_hinge_against_exact_fractions(reading, seed):
    rng = np.random.default_rng(seed)
    p = np.concatenate([rng.uniform(0.01, 0.4, 30), rng.uniform(0.55, 0.99, 30)])
    t = float(rng.choice(p[5:-5])) if seed % 2 else float(rng.uniform(0.1, 0.9))
    c = calibrate(p, t, reading)
    assert c == pytest.approx(straight(p.tolist(), t, reading), abs=1e-14)
    assert c.min() >= 0 and c.max() <= 1
    assert (c.argsort(kind="stable") == p.argsort(kind="stable")).all()
    assert ((c > 0.5) == (p > t)).all() and ((c < 0.5) == (p < t)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_it_never_falls_between_neighbors(seed):
    "Not even between two probabilities that differ in the last bit."
    rng = np.random.default_rng(seed)
    t = rng.uniform(0.001, 0.999)
    p = np.sort(np.concatenate([rng.random(1000), np.nextafter(t, [0, 1]), [t, 0, 1], np.nextafter(rng.random(50), 1)]))
    assert (np.diff(calibrate(p, t)) >= 0).all()
    assert (np.diff(calibrate(p, t, "range")) >= 0).all()


@pytest.mark.parametrize("t", [0, 1e-9, 1, 1 - 1e-9])
def test_thresholds_at_the_ends_are_clipped(t):
    c = calibrate([0.0, 1e-6, 0.5, 1 - 1e-6, 1.0], t)
    assert np.isfinite(c).all() and (np.diff(c) >= 0).all() and c[0] == 0 and c[-1] == 1
    assert calibrate([np.clip(t, 1e-6, 1 - 1e-6)], t) == pytest.approx([0.5])


@pytest.mark.parametrize("p, t, value", [([0.3, 0.6, 0.9], 0.3, [0.5, 0.75, 1]), ([0.3, 0.6, 0.9], 0.9, [0, 0.25, 0.5]), ([0.3, 0.3], 0.3, [0.5, 0.5]),
                                         ([1.0, 1.0], 1.0, [1, 1]), ([0.6, 0.8], 0.4, [0.75, 1]), ([], 0.4, [])])
def test_a_threshold_at_or_beyond_the_extremes(p, t, value):
    assert calibrate(p, t, "range") == pytest.approx(value)


def test_extremes_of_the_whole_part_serve_its_pieces():
    p = np.random.default_rng(0).random(50)
    whole = calibrate(p, 0.3, "range")
    pieces = [calibrate(piece, 0.3, "range", low=p.min(), high=p.max()) for piece in (p[:20], p[20:])]
    assert (np.concatenate(pieces) == whole).all()
    assert calibrate([0.0, 1.0], 0.3, "keep", low=0.1, high=0.9) == pytest.approx([0.1, 0.9])


@pytest.mark.parametrize("p", [[0.1, 0.3], [0.6, 0.9]])
def test_keep_is_refused_where_it_would_turn_the_order_around(p):
    with pytest.raises(ValueError, match="turn the order around"): calibrate(p, 0.2 if p[0] < 0.5 else 0.7, "keep")


def test_the_shape_stays_and_single_precision_is_welcome():
    p = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    t, _ = best_f(np.arange(20) < 8, p.ravel())
    assert calibrate(p, t).shape == (4, 5) and calibrate(p, t)[p == np.float32(t)] == pytest.approx(0.5)


@pytest.mark.parametrize("p, t, reading, says", [([np.nan, 0.2], 0.5, "unit", "not a number"), ([1.2], 0.5, "unit", "sigmoid"), ([-0.1], 0.5, "range", "sigmoid"), ([np.inf], 0.5, "unit", "sigmoid"),
                                                 ([0.2], np.nan, "unit", "not a number"), ([0.2], 1.5, "unit", "must lie in"), ([0.2], 0.5, "c", "'unit', 'range' or 'keep'")])
def test_what_the_hinge_refuses(p, t, reading, says):
    with pytest.raises(ValueError, match=says): calibrate(p, t, reading)


def test_a_fold_without_a_positive_has_no_threshold():
    with pytest.raises(ValueError, match="take a set with defects"): best_f([False, False], [0.2, 0.3])


# ---- temperature

def log_loss(z, y, t):
    "Negative log-likelihood, straight from its definition."
    z = np.asarray(z, float) / t
    return np.sum(np.where(y, np.logaddexp(0, -z), np.logaddexp(0, z)))


@pytest.mark.parametrize("seed", SEEDS)
def test_temperature_against_a_grid(seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(-0.5, 2, 300)
    y, z = rng.random(300) < expit(z), z * rng.uniform(0.3, 4)
    grid = np.exp(np.linspace(np.log(0.1), np.log(10), 4001))
    best = grid[np.argmin([log_loss(z, y, t) for t in grid])]
    assert temperature(z, y) == pytest.approx(best, rel=2e-3)
    assert log_loss(z, y, temperature(z, y)) <= log_loss(z, y, best) + 1e-9


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_temperature_recovers_a_known_one(true):
    rng = np.random.default_rng(1)
    z = rng.normal(-1, 2, 200_000)
    assert temperature(true * z, rng.random(len(z)) < expit(z)) == pytest.approx(true, rel=0.02)


def test_temperature_at_its_bounds():
    z = np.array([-2.0, -1, 1, 3])
    assert temperature(z, z > 0) == 0.01 and temperature(z, z < 0) == 100 and temperature(z, z > 0, bounds=(0.5, 2)) == 0.5
    assert temperature(np.zeros(4), z > 0) == 100


def test_series_are_matched_by_their_ids():
    z, y = pd.Series([2.0, -1, -0.5, 1], list("abcd")), pd.Series([True, False, True, False], list("abcd"))
    assert temperature(z[::-1], y) == temperature(z, y)
    assert expected_calibration_error(expit(z)[::-1], y) == expected_calibration_error(expit(z), y)


@pytest.mark.parametrize("z, y, says", [([np.inf, 1], [True, False], "logits are not finite"), ([np.nan, 1], [True, False], "not finite"), ([1, 2], [True, True], "one verdict"),
                                        ([1, 2], [True, None], "no verdict"), ([1, 2, 3], [True, False], "do not fit"), ([], [], "no parts")])
def test_what_temperature_refuses(z, y, says):
    with pytest.raises(ValueError, match=says): temperature(np.array(z, float), y)


# ---- expected calibration error

def error_by_loop(p, y, bins, of):
    "One bin after the other, as in the reference: above the lower end, up to and with the upper one."
    total = 0.0
    for b in range(bins):
        inside = []
        for one, bad in zip(p, y):
            believed, happened = (max(one, 1 - one), (one >= 0.5) == bad) if of == "answer" else (one, bad)
            if b / bins < believed <= (b + 1) / bins or (b == 0 and believed == 0): inside.append((believed, happened))
        if inside: total += len(inside) / len(p) * abs(np.mean([i[0] for i in inside]) - np.mean([i[1] for i in inside]))
    return total


@pytest.mark.parametrize("of", ["answer", "defect"])
@pytest.mark.parametrize("bins", [1, 2, 10, 15])
def test_error_against_a_loop(of, bins):
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        p = np.concatenate([rng.random(100), np.arange(bins + 1) / bins, [0, 0.5, 1]])
        y = rng.random(len(p)) < 0.3
        assert expected_calibration_error(p, y, bins, of) == pytest.approx(error_by_loop(p.tolist(), y.tolist(), bins, of), abs=1e-12)


def test_bins_are_closed_on_the_right():
    table = reliability([0.2, 0.4, 0.400001, 1.0, 0.0], [True] * 5, bins=5, of="defect")
    assert table.up_to.round(9).tolist() == [0.2, 0.4, 0.6, 1.0] and table.parts.tolist() == [2, 1, 1, 1]


@pytest.mark.parametrize("p, y, options, says", [([0.2, 1.3], [True, False], {}, "sigmoid"), ([0.2, np.nan], [True, False], {}, "not a number"), ([0.2], [None], {}, "no verdict"),
                                                 ([0.2], [True, False], {}, "do not fit"), ([0.2], [True], dict(bins=0), "at least 1"), ([0.2], [True], dict(of="part"), "'defect'"), ([], [], {}, "no parts")])
def test_what_reliability_refuses(p, y, options, says):
    with pytest.raises(ValueError, match=says): expected_calibration_error(np.array(p, float), y, **options)


def test_figures_can_be_read_aloud():
    p, y = np.array([0.1, 0.7, 0.9]), [False, True, True]
    assert "calibration error 0.167" in plot_reliability(p, y).layout.meta["alt"]
    hinge = plot_calibration({"fold 1": p, "fold 2": p / 2}, {"fold 1": 0.7, "fold 2": 0.2})
    assert "fold 2: from 0.05 to 0.45, 0.20 becomes one half" in hinge.layout.meta["alt"] and len(hinge.data) == 2


# ---- average margin

Q = pd.Series({"a1": 0.1, "a2": 0.2, "a3": 0.9, "b1": 0.8, "b2": 0.9, "b3": 1.0, "b4": 0.7, "c1": 0.4, "c2": 0.6})
KIND = Q.index.str[0].str.upper().to_series(Q.index)


def test_average_margins_g28():
    average = average_margins(Q, KIND)
    assert average.index.tolist() == ["A", "B", "C"] and average.to_numpy() == pytest.approx([0.4, 0.85, 0.5], abs=1e-15)
    assert ((1 - average) / (1 - average).sum()).to_numpy() == pytest.approx([0.48, 0.12, 0.4], abs=1e-15)


@pytest.mark.parametrize("batch, value", [pytest.param(5, [2, 1, 2], id="G29-5"), pytest.param(3, [2, 0, 1], id="G29-3")])
def test_quotas_g29(batch, value):
    assert quotas(average_margins(Q, KIND), KIND.value_counts(), batch).tolist() == value


def test_normalized_margins_g30():
    assert normalized_margins(Q, KIND).to_numpy() == pytest.approx([0.25, 0.5, 2.25, 16 / 17, 18 / 17, 20 / 17, 14 / 17, 0.8, 1.2], abs=1e-12)


def dealt_by_hand(average, sizes, batch):
    "Exact fractions; a category that is over its size is filled and set aside, and the rest is dealt out again."
    weight, left, filled = [1 - Fraction(a) for a in average], min(batch, sum(sizes)), {n: 0 for n, s in enumerate(sizes) if s == 0}
    while len(filled) < len(sizes):
        free = [n for n in range(len(sizes)) if n not in filled]
        total, count = sum(weight[n] for n in free), left - sum(filled.values())
        ideal = {n: count * weight[n] / total if total else Fraction(count, len(free)) for n in free}
        share = {n: int(v) for n, v in ideal.items()}
        for n in sorted(free, key=lambda n: (share[n] - ideal[n], n))[:count - sum(share.values())]: share[n] += 1
        over = [n for n in free if share[n] > sizes[n]]
        if not over: return [{**filled, **share}[n] for n in range(len(sizes))]
        filled |= {n: sizes[n] for n in over}
    return [filled[n] for n in range(len(sizes))]


@pytest.mark.parametrize("seed", range(200))
def test_quotas_against_exact_fractions(seed):
    rng = np.random.default_rng(seed)
    names = [f"k{n}" for n in range(rng.integers(1, 12))]
    average = rng.choice([0, 0.25, 0.5, 0.75, 1], len(names)) if seed % 2 else rng.random(len(names))
    sizes, batch = rng.integers(0, 15, len(names)), int(rng.integers(1, 80))
    dealt = quotas(pd.Series(average, names), pd.Series(sizes, names)[rng.permutation(names)], batch)
    assert dealt.sum() == min(batch, sizes.sum()) and (dealt.to_numpy() <= sizes).all() and dealt.dtype.kind == "i" and dealt.index.tolist() == names
    assert dealt.tolist() == dealt_by_hand(average.tolist(), sizes.tolist(), batch)


def test_ties_and_certainty():
    names = list("abc")
    assert quotas(pd.Series(0.5, names), pd.Series(9, names), 4).tolist() == [2, 1, 1]
    assert quotas(pd.Series(1.0, names), pd.Series(9, names), 6).tolist() == [2, 2, 2]
    assert quotas(pd.Series([1.0, 1.0, 0.2], names), pd.Series([9, 9, 2], names), 6).tolist() == [2, 2, 2]
    assert quotas(pd.Series([0.1, 0.1, 0.1], names), pd.Series([0, 9, 1], names), 5).tolist() == [0, 4, 1]


def test_a_category_of_coin_tosses_comes_first():
    assert normalized_margins(pd.Series({"a": 0.0, "b": 0.5, "c": 1.0}), pd.Series({"a": "x", "b": "y", "c": "y"})).tolist() == [0, 2 / 3, 4 / 3]


@pytest.mark.parametrize("run, says", [
    (lambda: quotas(pd.Series({"a": 0.5}), pd.Series({"a": 3}), 0), "at least 1"), (lambda: quotas(pd.Series({"a": 1.5}), pd.Series({"a": 3}), 1), "must lie in"),
    (lambda: quotas(pd.Series({"a": np.nan}), pd.Series({"a": 3}), 1), "not a number"), (lambda: quotas(pd.Series({"a": 0.5}), pd.Series({"b": 3}), 1), "value_counts"),
    (lambda: average_margins(Q, KIND.drop("b2")), "'b2' for example"), (lambda: average_margins(Q, pd.concat([KIND, KIND])), "twice"), (lambda: normalized_margins(2 * Q, KIND), "must lie in")])
def test_what_quotas_refuse(run, says):
    with pytest.raises(ValueError, match=says): run()


# ---- category rounds

KNOWN = pd.Series({"a1": 0.1, "a2": 0.2, "a3": 0.3, "b1": 0.15, "c1": 0.6, "c2": 0.7})


@pytest.mark.parametrize("batch, at_least, value", [pytest.param(4, 2, [0.1, 0.15, 0.6, 0.2], id="G31"), pytest.param(5, 2, [0.1, 0.15, 0.6, 0.2, 0.7], id="G32-5-2"),
                                                    pytest.param(5, 1, [0.1, 0.15, 0.6, 0.2, 0.3], id="G32-5-1"), pytest.param(3, 0, [0.1, 0.15, 0.2], id="G32-3-0"), pytest.param(2, 1, [0.1, 0.15], id="G32-2-1")])
def test_least_confidence_by_category(batch, at_least, value):
    "The strategy's scores, through `partial(select, …)`, as a loop would have them."
    scores = LeastConfidence().score(told(KNOWN, True))
    assert KNOWN[partial(select, by=KNOWN.index.to_series().str[0], at_least=at_least)(scores, batch)].tolist() == value


# ---- the strategies

def told(p, defective, category=None, **changes):
    "A state whose model believes `p`, and whose labels are `defective` (one verdict for all, or some ids' verdicts)."
    table = pd.DataFrame({"group": p.index}, index=p.index) if category is None else pd.DataFrame({"group": p.index, "category": category}, index=p.index)
    pool = Pool(table, {i: np.zeros((4, 4), np.float32) for i in p.index})
    state = State(pool, p.index, Labels.of({i: defective for i in p.index} if isinstance(defective, bool) else defective), learner=None, **changes)
    vars(state)["predict"] = lambda parts: Prediction(p[parts.ids])
    return state


@pytest.mark.parametrize("seed", SEEDS)
def test_least_confidence_is_disbelief_where_known_and_doubt_elsewhere(seed):
    rng = np.random.default_rng(seed)
    p = pd.Series(rng.random(30), [f"s{n}" for n in range(30)])
    verdicts = {i: [True, False, None][rng.integers(3)] for i in rng.permutation(p.index)[:20]}
    scores = require_scores(LeastConfidence().score(told(p, verdicts)), p.index)
    for i in p.index:
        said = verdicts.get(i)
        assert scores[i] == pytest.approx(min(p[i], 1 - p[i]) if said is None else 1 - p[i] if said else p[i], abs=1e-15)
    classic = LeastConfidence(known=False).score(told(p, verdicts))
    assert (classic.rank() == Margin().score(told(p, verdicts)).rank()).all()


def test_least_confidence_asks_about_misses_on_the_small_world():
    pool, truth = synth_surfaces(n=40, prevalence=0.4, seed=3, size=32)
    labels = weaken(truth)
    state = State(pool, candidates(pool, labels), labels, learner=None)
    p = pd.Series(np.random.default_rng(0).random(len(pool)), pool.ids)
    vars(state)["predict"] = lambda parts: Prediction(p[parts.ids])
    assert truth.table.defective[state.candidates].all()
    assert list(select(LeastConfidence().score(state), 5)) == list(p[state.candidates].nsmallest(5).index)


def believed(n=40, seed=0):
    rng = np.random.default_rng(seed)
    ids = [f"s{k:02d}" for k in range(n)]
    return pd.Series(rng.random(n), ids), pd.Series(rng.choice(["pit", "scratch", "stain"], n, p=[0.6, 0.3, 0.1]), ids)


@pytest.mark.parametrize("batch", [1, 3, 10, 39, 40, 99])
@pytest.mark.parametrize("seed", range(5))
def test_average_margin_puts_its_quotas_on_top(batch, seed):
    p, kind = believed(seed=seed)
    q = (2 * p - 1).abs()
    scores = require_scores(AverageMargin().score(told(p, True, kind, batch=batch)), p.index)
    top, share = select(scores, batch), quotas(average_margins(q, kind), kind.value_counts(), batch)
    assert kind[top].value_counts().reindex(share.index, fill_value=0).tolist() == share.tolist()
    for name, count in share.items(): assert set(top[kind[top] == name]) == set(q[kind == name].nsmallest(count).index)
    assert scores[top].min() >= 2 and (scores.drop(top) <= 1).all()


def test_normalized_variant_is_nested_and_the_quota_variant_is_not():
    p, kind = believed()
    normalize, quota = AverageMargin("normalize"), AverageMargin()
    assert normalize.nested is True and quota.nested is False and quota.pointwise is False and dataclasses.replace(quota, variant="normalize").nested
    few, many = (normalize.score(told(p, True, kind, batch=n)) for n in (3, 20))
    assert few.equals(many)
    assert few.to_numpy() == pytest.approx(-normalized_margins((2 * p - 1).abs(), kind).to_numpy())


def test_average_margin_needs_categories():
    p, kind = believed()
    with pytest.raises(ValueError, match="stand_in_categories"): AverageMargin().score(told(p, True))
    with pytest.raises(ValueError, match="1 candidates have no category"): AverageMargin().score(told(p, True, kind.mask(kind.index == "s03")))
    with pytest.raises(ValueError, match="'quota' or 'normalize'"): AverageMargin("scale").score(told(p, True, kind))


# ---- stand-in categories

def test_stand_ins_depend_on_features_and_seed_only():
    x = np.random.default_rng(0).normal(size=(50, 6))
    ids = [f"s{n}" for n in range(50)]
    mixed = np.random.default_rng(1).permutation(50)
    here = stand_in_categories(x, ids, k=7, seed=2)
    there = stand_in_categories(x[mixed], [f"other {ids[n]}" for n in mixed], k=7, seed=2)
    assert here.index.tolist() == ids and there[[f"other {i}" for i in ids]].tolist() == here.tolist()
    assert here.equals(stand_in_categories(x, ids, k=7, seed=2)) and here.nunique() == 7
    assert here.value_counts().reindex(sorted(here.unique())).is_monotonic_decreasing


def test_ten_stand_ins_sort_as_they_count():
    found = stand_in_categories(np.random.default_rng(0).normal(size=(40, 3)), range(40))
    assert sorted(found.unique())[-1] == "stand-in 10" and found.min() == "stand-in 01"


@pytest.mark.parametrize("x, count, k, says", [(np.zeros((5, 2)), 5, 2, "between 1 and 1"), (np.eye(3), 3, 4, "between 1 and 3"), (np.eye(3), 3, 0, "between 1 and 3"), (np.eye(3), 2, 2, "do not fit 2 ids"),
                                               (np.zeros(3), 3, 1, "do not fit"), (np.full((3, 2), np.nan), 3, 1, "not finite")])
def test_what_stand_ins_refuse(x, count, k, says):
    with pytest.raises(ValueError, match=says): stand_in_categories(x, [f"s{n}" for n in range(count)], k=k)


# ---- found by a second reader

def test_a_threshold_that_float32_rounds_does_not_turn_the_order():
    p = np.float32([0.1, 0.6])  # float32 0.1 lies above 0.1
    assert calibrate(p, 0.1, "range") == pytest.approx([0.5, 1], abs=1e-6)
    assert calibrate(np.float32([0.3, 0.7]), 0.7, "range") == pytest.approx([0, 0.5], abs=1e-6)


@pytest.mark.parametrize("low, high, message", [(0.9, 0.1, "exchange them"), (-3, None, "must lie in"), (np.nan, 1, "not a number")])
def test_ends_of_the_hinge_are_probabilities_in_order(low, high, message):
    with pytest.raises(ValueError, match=message): calibrate([0.1, 0.9], 0.5, "range", low, high)


def test_calibration_names_what_does_not_fit():
    with pytest.raises(ValueError, match="one model has one threshold"): calibrate([0.1], [0.2, 0.3])
    for bad in ([0.3], ["good"]):
        with pytest.raises(ValueError, match="True or False"): expected_calibration_error([0.1], bad)
    with pytest.raises(ValueError, match="one row"): expected_calibration_error([[0.1]], [[True]])
    with pytest.raises(ValueError, match="no value, 'b' for example"): expected_calibration_error(pd.Series([0.1], ["a"]), pd.Series([True, False], ["a", "b"]))
    for bounds in ((0, 1), (100, 0.01), (np.nan, 1), (1, np.inf)):
        with pytest.raises(ValueError, match="above 0"): temperature([-1.0, 2.0, 1.0], [False, True, False], bounds)


def test_quotas_deal_whole_parts():
    average = pd.Series({"A": 0.2, "B": 0.3})
    for size in (1.5, np.inf, np.nan, -1):
        with pytest.raises(ValueError, match="number of parts"): quotas(average, pd.Series({"A": size, "B": 1}), 1)
    with pytest.raises(ValueError, match="whole number"): quotas(average, pd.Series({"A": 2, "B": 1}), 2.5)


def test_select_takes_quotas_as_they_come_and_refuses_what_cannot_be_kept():
    scores, by = pd.Series({"a": 0.3, "b": 0.2, "c": 0.1}), pd.Series({"a": "x", "b": "x", "c": "y"})
    assert select(scores, 1, by=by, quotas=pd.Series({"y": 1})).tolist() == ["c"]
    with pytest.raises(ValueError, match="'zzz' are guaranteed, and there is none"): select(scores, 2, by=by, quotas={"zzz": 2}, strict=True)
    assert select(scores, 2, by=by, quotas={"zzz": 2}).tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="missing"): select(scores, 2, by=by, quotas={"y": np.nan})
    with pytest.raises(ValueError, match="whole number"): select(scores, 2.5)


def test_stand_ins_need_each_id_once_and_a_feature():
    with pytest.raises(ValueError, match="named twice"): stand_in_categories(np.eye(3), ["a", "a", "b"], 2)
    with pytest.raises(ValueError, match="one row per part"): stand_in_categories(np.zeros((3, 0)), ["a", "b", "c"], 1)
