"""The plug for scikit-activeml: the same probabilities, the same values and the same rows."""
import warnings

import numpy as np
import pytest
from active_defects.activeml import Query
from active_defects.baselines.coreset import Coreset
from active_defects.strategies.margin import Margin
from active_defects.strategies.strategy import Random
from active_defects.strategies.uncertainty import Uncertainty
from sklearn.linear_model import LogisticRegression

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    skactiveml = pytest.importorskip("skactiveml.pool")
    from skactiveml.classifier import SklearnClassifier


def world(seed):
    random = np.random.default_rng(seed)
    truth = (random.random(80) < 0.3).astype(float)
    x = random.normal(size=(80, 5)) + truth[:, None]
    return x, np.where(np.arange(80) < 25, truth, np.nan)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("ours", "theirs", "same"), [(Uncertainty(of="part"), "entropy", lambda v: v), (Margin(), "margin_sampling", lambda v: v / 2), (Margin(), "least_confident", lambda v: v)])
def test_values_and_rows_are_those_of_scikit_activeml(seed, ours, theirs, same):
    x, y = world(seed)
    own, values = Query(ours).query(x, y, LogisticRegression(), batch_size=7, return_utilities=True)
    reference, utilities = skactiveml.UncertaintySampling(method=theirs, random_state=0).query(x, y, SklearnClassifier(LogisticRegression(), classes=[0, 1]), batch_size=7, return_utilities=True)
    assert own.tolist() == reference.tolist() and values.shape == utilities.shape == (7, 80)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(utilities))
    np.testing.assert_allclose(values, same(utilities), atol=1e-12)


def test_their_classifier_and_their_candidates_fit():
    x, y = world(1)
    some = np.array([30, 70, 41, 55])
    own = Query(Uncertainty(of="part")).query(x, y, SklearnClassifier(LogisticRegression(), classes=[0, 1]), candidates=some, batch_size=2)
    reference = skactiveml.UncertaintySampling(method="entropy", random_state=0).query(x, y, SklearnClassifier(LogisticRegression(), classes=[0, 1]), candidates=some, batch_size=2)
    assert own.tolist() == reference.tolist()


def test_a_fitted_classifier_is_taken_as_it_is():
    x, y = world(2)
    fitted = LogisticRegression().fit(x[:10], y[:10])
    before = fitted.coef_.copy()
    rows, values = Query(Margin()).query(x, y, fitted, fit_clf=False, return_utilities=True)
    np.testing.assert_allclose(values[0, 25:], 0.5 - np.abs(fitted.predict_proba(x)[25:, 1] - 0.5))
    Query(Margin()).query(x, y, fitted)
    np.testing.assert_array_equal(fitted.coef_, before)


def test_the_same_seed_asks_the_same_rows_whatever_the_gaps_are_called():
    x, y = world(3)
    gaps = np.array([None if np.isnan(v) else v for v in y], object)
    for strategy in (Random(), Coreset(), Margin()):
        assert Query(strategy, 4).query(x, y, LogisticRegression(), batch_size=9).tolist() == Query(strategy, 4).query(x, gaps, LogisticRegression(), batch_size=9).tolist()
    assert Query(Random(), 4).query(x, y, batch_size=9).tolist() != Query(Random(), 5).query(x, y, batch_size=9).tolist()


@pytest.mark.parametrize(("change", "says"), [(dict(y=np.zeros(3)), "X has 80 rows and y 3"), (dict(candidates=np.array([0.5])), "row numbers of X"), (dict(candidates=np.array([80])), "from 0 to 79"), (dict(candidates=np.ones((2, 5))), "row numbers")])
def test_what_cannot_be_asked_is_said(change, says):
    x, y = world(0)
    with pytest.raises(ValueError, match=says): Query(Margin()).query(**(dict(X=x, y=y, clf=LogisticRegression()) | change))


def test_a_labeled_defect_covers_its_neighbors():
    "A row has no mask to wait for: its verdict settles it, and what lies beside it is near something known."
    x, y = np.array([[0.0, 0.0], [10.0, 0.0], [9.5, 0.0], [5.0, 0.0]]), np.array([0, 1, np.nan, np.nan])
    rows, values = Query(Coreset()).query(x, y, LogisticRegression(), return_utilities=True)
    assert rows.tolist() == [3] and values[0, 2:].tolist() == [0.5, 5.0]
