"""Golden numbers of SPEC section 5 that belong to floor 1: G18-G23, G31-G34, G54."""
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from active_defects.formulas.budget import chance_of_missing, expected_labels_until, labels_for
from active_defects.formulas.confidence import known_label_confidence, least_confidence, least_confidence_of_classes
from active_defects.formulas.entropy import entropy, entropy_of_classes
from active_defects.formulas.margin import margin, margin_of_classes
from active_defects.formulas.masked_error import block_errors, block_masks, msmr
from active_defects.formulas.metrics import average_precision, best_f, found_curve
from active_defects.formulas.selection import select

FIVE = ([1, 0, 1, 0, 1], [0.9, 0.8, 0.7, 0.4, 0.3])
TIED = ([1, 1, 0, 0], [0.9, 0.6, 0.6, 0.1])
SIX = np.array([0.02, 0.35, 0.48, 0.55, 0.71, 0.97])


@pytest.mark.parametrize("case, how, value", [
    pytest.param(FIVE, "step", 0.755556, id="G18-step"), pytest.param(FIVE, "trapezoid", 0.711111, id="G18-trapezoid"),
    pytest.param(TIED, "step", 0.833333, id="G19-step"), pytest.param(TIED, "trapezoid", 0.916667, id="G19-trapezoid")])
def test_average_precision(case, how, value):
    assert average_precision(*case, how=how) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("case, auc, threshold, f", [pytest.param(FIVE, 0.5, 0.3, 0.75, id="G18"), pytest.param(TIED, 0.875, 0.6, 0.8, id="G19")])
def test_auc_and_best_f(case, auc, threshold, f):
    assert roc_auc_score(*case) == pytest.approx(auc)
    assert best_f(*case) == pytest.approx((threshold, f), abs=1e-6)


@pytest.mark.parametrize("case, threshold", [pytest.param(FIVE, 0.3, id="G18-lowest-stays"), pytest.param(TIED, 0.35, id="G19-halfway-to-0.1")])
def test_best_f_at_the_midpoint(case, threshold):
    assert best_f(*case, midpoint=True)[0] == pytest.approx(threshold)


@pytest.mark.parametrize("p, value", [pytest.param(p, h, id=f"G20-H({p})") for p, h in {
    0.5: 0.693147181, 0.9: 0.325082973, 0.7: 0.610864302, 0.25: 0.562335145, 0.01: 0.056001534, 0.0: 0.0, 1.0: 0.0}.items()])
def test_entropy(p, value):
    assert float(entropy(p)) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("p, value", [pytest.param(p, q, id=f"G21-Q({p})") for p, q in {0.5: 0.0, 0.9: 0.8, 0.25: 0.5, 0.01: 0.98}.items()])
def test_margin(p, value):
    assert float(margin(p)) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("urgency, order", [
    pytest.param(entropy(SIX), [2, 3, 1, 4, 5, 0], id="G22-entropy"), pytest.param(-margin(SIX), [2, 3, 1, 4, 5, 0], id="G22-margin"),
    pytest.param(least_confidence(SIX), [2, 3, 1, 4, 5, 0], id="G22-classic"),
    pytest.param(-known_label_confidence(SIX, np.full(6, True)), [0, 1, 2, 3, 4, 5], id="G22-known-label")])
def test_most_urgent_first(urgency, order):
    assert (-urgency).argsort().tolist() == order
    assert select(pd.Series(urgency), 6).tolist() == order


@pytest.mark.parametrize("formula, value", [
    pytest.param(entropy_of_classes, 1.029653014, id="G23-H"), pytest.param(margin_of_classes, 0.2, id="G23-Q"),
    pytest.param(least_confidence_of_classes, 0.5, id="G23-1-max")])
def test_three_classes(formula, value):
    assert float(formula([0.5, 0.3, 0.2])) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("batch, at_least, picks", [
    pytest.param(4, 2, [0.1, 0.15, 0.6, 0.2], id="G31-N4-M2"), pytest.param(5, 2, [0.1, 0.15, 0.6, 0.2, 0.7], id="G32-N5-M2"),
    pytest.param(5, 1, [0.1, 0.15, 0.6, 0.2, 0.3], id="G32-N5-M1"), pytest.param(3, 0, [0.1, 0.15, 0.2], id="G32-N3-M0"),
    pytest.param(2, 1, [0.1, 0.15], id="G32-N2-M1")])
def test_category_rounds(batch, at_least, picks):
    p = pd.Series([0.1, 0.2, 0.3, 0.15, 0.6, 0.7], index=["a1", "a2", "a3", "b1", "c1", "c2"])
    by = p.index.str[0].to_series(index=p.index)
    assert p[select(-p, batch, by=by, at_least=at_least)].tolist() == picks


@pytest.mark.parametrize("region, errors, score", [
    pytest.param("block", [1 / 36, 1 / 36, 1 / 36, 0.25], 0.25, id="G33-block"),
    pytest.param("full", [0.194444] * 3 + [0.25], 0.25, id="G34-full"), pytest.param("visible", [0.166667] * 3 + [0], 0.166667, id="G34-visible")])
def test_masked_error(region, errors, score):
    image = np.zeros((4, 4)); image[2:, 2:] = 1
    case = (image, lambda visible, hidden: np.full((4, 4), visible[~hidden].mean()), block_masks((4, 4), across=2), region)
    assert block_errors(*case) == pytest.approx(errors, abs=1e-6)
    assert msmr(*case) == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("found, defects, share", [
    pytest.param(*case, id=f"G54-{case[0]}of{case[1]}") for case in [
        (51, 99, .515), (38, 62, .613), (174, 189, .921), (92, 99, .929), (61, 62, .984), (187, 189, .989), (187 - 174, 189 - 174, .867), (95, 99, .960)]])
def test_share_of_defects_found(found, defects, share):
    defective = pd.Series(np.arange(3 * defects) < defects)
    order = [*range(found), *range(defects, 2 * defects)]
    assert found_curve(defective, order).iloc[-1] == pytest.approx(share, abs=5e-4)


def test_the_budget_that_the_product_promises():
    assert 0.98 ** 50 == pytest.approx(0.364, abs=5e-4) # PRODUCT's 36 %: with replacement
    assert chance_of_missing(1000, 20, 50) == pytest.approx(0.354871, abs=1e-6) # the urn itself
    assert labels_for(1000, 20, at_least=5) == 400
    assert round(expected_labels_until(1197, 62, 38)) == 723
