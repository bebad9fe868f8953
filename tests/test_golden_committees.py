"""Golden numbers of SPEC section 5 that belong to the committees, gradients and coverings of floor 1: G43-G49 and G51; and each quick form against the plain one."""
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import kmeans_plusplus

from active_defects.baselines.max_kl import divergence
from active_defects.formulas.coverage import covering_scores, distances_to, farthest_first, nearest_distances, picks_and_distances
from active_defects.formulas.disagreement import bald, batch_bald, map_disagreement, rank_product, variance
from active_defects.formulas.entropy import entropy
from active_defects.formulas.gradients import decision_gradient, entropy_length, expected_length, outer_distances, plus_plus
from active_defects.formulas.representatives import cluster_middles, cosine_cover, greedy_cover, unit_vectors
from active_defects.loop.stopping import compared, found_rate, most_left, predicted_change, score_stability, stopping_round
from active_defects.data.round_log import Round

FOUR = np.array([[0.1, 0.1, 0.1], [0.9, 0.9, 0.1], [0.1, 0.1, 0.9], [0.9, 0.9, 0.9]])
ALIKE = np.array([[1, 0.9, 0.1, 0.2], [0.9, 1, 0.2, 0.1], [0.1, 0.2, 1, 0.6], [0.2, 0.1, 0.6, 1]])


# ---- golden numbers

@pytest.mark.parametrize("members, value", [((0.1, 0.9), 0.368064207), ((0.2, 0.5, 0.8), 0.128496505)], ids=["G43-two", "G43-three"])
def test_bald(members, value):
    assert bald(np.array(members)) == pytest.approx(value, abs=1e-9)


def joint(p):
    "H of all joint answers minus the mean entropies, by the definition."
    each = np.where(np.array(list(product([0, 1], repeat=p.shape[1])))[:, None], p, 1 - p).prod(axis=2).mean(axis=1)
    return -(each * np.log(np.where(each > 0, each, 1))).sum() - entropy(p).mean(axis=0).sum()


@pytest.mark.parametrize("parts, value", [((0,), 0.368064207), ((0, 1), 0.514374721), ((0, 2), 0.736128414), ((0, 1, 2), 0.882438928)], ids=["G44-a", "G44-ab", "G44-ac", "G44-abc"])
def test_batch_bald(parts, value):
    members = FOUR[:, list(parts)]
    assert batch_bald(members, len(parts))[1].sum() == pytest.approx(value, abs=1e-9)
    assert joint(members) == pytest.approx(value, abs=1e-9)


def test_batch_bald_leaves_the_copy_for_last():
    assert batch_bald(FOUR, 3)[0].tolist() == [0, 2, 1]


def test_badge_gradient():
    g = decision_gradient(np.array([0.7]), np.array([[1.0, 2.0]]), bias=False)
    assert np.linalg.norm(g) == pytest.approx(0.670820393, abs=1e-9), "G45, sigmoid"
    assert np.linalg.norm(np.outer([0.7 - 1, 0.3], [1, 2])) == pytest.approx(0.948683298, abs=1e-9), "G45, softmax of two"


@pytest.mark.parametrize("p, egl, flat", [(0.5, 0.5, 0), (0.7, 0.42, 0.177932551), (0.9, 0.18, 0.197750212)], ids=["G46-0.5", "G46-0.7", "G46-0.9"])
def test_gradient_norm(p, egl, flat):
    assert expected_length(p) == pytest.approx(egl) and entropy_length(p) == pytest.approx(flat, abs=1e-9)


@pytest.mark.parametrize("model, yes, asked, value", [(0.8, 1, 4, 0.666169480), (0.6, 1, 1, 1.175086609), (0.9, 2, 2, 0.209260051), (0.5, 1, 2, 0), (0.3, 0, 1, 0.777721989)], ids=[f"G47-{k}" for k in range(5)])
def test_max_kl(model, yes, asked, value):
    assert divergence([model], [yes], [asked])[0] == pytest.approx(value, abs=1e-8)


def test_suggestive_annotation():
    assert ALIKE.sum(axis=1) == pytest.approx([2.2, 2.2, 1.9, 1.9]), "G48, singles"
    rows, gains = greedy_cover(ALIKE.__getitem__, ALIKE.sum(axis=1), 2)
    assert rows.tolist() == [0, 2] and gains.sum() == pytest.approx(3.5), "G48, greedy"


def test_bootstrap_variance():
    assert variance(np.array([0.1, 0.9, 0.5, 0.5])) == pytest.approx(0.08), "G49"


def test_core_set():
    rows, distance = picks_and_distances(np.array([[1.0], [5], [6], [10]]), 3, np.array([[0.0]]))
    assert rows.tolist() == [3, 1, 0] and distance[rows].tolist() == [10, 5, 1], "G51"


# ---- the quick form against the plain one

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n, d, m, seed", [(1, 1, 0, 0), (50, 3, 0, 1), (200, 16, 1, 2), (300, 64, 7, 3), (300, 5, 90, 4)])
def test_farthest_first_is_the_loop(dtype, n, d, m, seed):
    random = np.random.default_rng(seed)
    x, centers = random.normal(size=(n, d)).astype(dtype), random.normal(size=(m, d)).astype(dtype)
    chosen = []
    for _ in range(min(30, n)):
        near = cdist(x, np.concatenate([centers, x[chosen]])).min(axis=1) if m or chosen else -np.linalg.norm(x - x.mean(axis=0), axis=1)
        chosen.append(int(np.where(np.isin(np.arange(n), chosen), -np.inf, near).argmax()))
    rows, distance = picks_and_distances(x, 30, centers, begin="nearest")
    assert np.array_equal(farthest_first(x, 30, centers, "nearest"), rows) and np.array_equal(covering_scores(x, 30, centers, "nearest"), distance)
    assert rows.tolist() == chosen
    assert (np.diff(distance[rows]) <= 1e-9).all(), "the radius grows"
    if len(rows) < n: assert np.delete(distance, rows).max() <= distance[rows].min()


def test_blocks_and_many_centers_change_nothing():
    random = np.random.default_rng(0)
    x, centers = random.normal(100, 1, (500, 20)).astype(np.float32), random.normal(100, 1, (300, 20)).astype(np.float32)
    for block in (1, 64, 10 ** 9):
        assert np.array_equal(distances_to(x, x[3], block), distances_to(x, x[3]))
        np.testing.assert_allclose(nearest_distances(x, centers, block), (cdist(x, centers) ** 2).min(axis=1), rtol=1e-5)
    assert (nearest_distances(x, x) == 0).all() and np.isinf(nearest_distances(x, x[:0])).all()


def test_copies_are_taken_last():
    x = np.repeat(np.random.default_rng(1).normal(size=(10, 4)), 3, axis=0).astype(np.float32)
    rows, distance = picks_and_distances(x, 30)
    assert sorted(rows[:10] // 3) == list(range(10)) and (distance[rows[10:]] == 0).all()


@pytest.mark.parametrize("n, t, k, seed", [(12, 3, 5, 0), (30, 7, 8, 1), (6, 20, 6, 2)])
def test_batch_bald_is_the_greedy_maximum_of_the_definition(n, t, k, seed):
    p = np.random.default_rng(seed).beta(0.4, 0.8, (t, n))
    chosen = []
    for _ in range(k):
        values = [-np.inf if i in chosen else joint(p[:, [*chosen, i]]) for i in range(n)]
        chosen.append(int(np.argmax(values)))
    rows, gains, left = batch_bald(p, k)
    assert rows.tolist() == chosen and gains.sum() == pytest.approx(joint(p[:, chosen]), abs=1e-9)
    assert gains.sum() <= bald(p)[rows].sum() + 1e-12 and (np.diff(gains) <= 1e-12).all()
    assert left.max() <= gains[-1] + 1e-12 and (left >= 0).all()


def test_batch_bald_drawn_is_near_the_listed_and_keeps_to_its_memory():
    p = np.random.default_rng(3).beta(0.5, 0.5, (10, 40))
    listed, gains, _ = batch_bald(p, 9)
    drawn, about, _ = batch_bald(p, 9, exact=0, samples=20_000, seed=5)
    assert drawn[0] == listed[0] and about.sum() == pytest.approx(gains.sum(), rel=0.02)
    small = batch_bald(p, 9, memory=1)
    assert small[0].tolist() == listed.tolist() and small[1] == pytest.approx(gains)
    assert batch_bald(p, 12, seed=1)[0].tolist() == batch_bald(p, 12, seed=1)[0].tolist()


@pytest.mark.parametrize("members", [np.zeros((4, 6)), np.ones((4, 6)), np.repeat([[0.0], [1.0]], 6, axis=1), np.full((1, 6), 0.3)], ids=["all no", "all yes", "two camps", "one judge"])
def test_batch_bald_of_the_extremes(members):
    rows, gains, left = batch_bald(members, 6, exact=2, samples=100)
    assert sorted(rows) == list(range(6)) and np.isfinite(gains).all() and np.isfinite(left).all()
    assert gains.sum() == pytest.approx(np.log(2) if np.ptp(members, axis=0).any() else 0, abs=1e-9)


def test_pixel_gradients_are_the_mean_of_single_ones():
    random = np.random.default_rng(0)
    p, h = random.random((4, 9)), random.normal(size=(4, 9, 3))
    plain = np.array([np.mean([(q - (q >= 0.5)) * np.append(v, 1) for q, v in zip(row, vectors)], axis=0) for row, vectors in zip(p, h)])
    np.testing.assert_allclose(decision_gradient(p, h), plain)
    with pytest.raises(ValueError, match="do not fit"): decision_gradient(p, h[:, :5])


def test_outer_distances_are_distances_of_outer_products():
    random = np.random.default_rng(1)
    a, b = random.normal(size=(30, 5)), random.normal(size=(30, 7))
    products = np.einsum("nc,nd->ncd", a, b).reshape(30, -1)
    for row in range(30): np.testing.assert_allclose(outer_distances(a, b, row), ((products - products[row]) ** 2).sum(axis=1), atol=1e-9)


def test_plus_plus_draws_as_often_as_scikit_learn():
    "scikit-learn with one trial, given the same first point, draws the second with the same chances."
    x = np.random.default_rng(2).normal(size=(6, 2))
    first = int(np.linalg.norm(x, axis=1).argmax())
    ours = np.bincount([plus_plus(np.ones((6, 1)), x, 2, seed)[0][1] for seed in range(3000)], minlength=6) / 3000
    theirs = np.zeros(6)
    for seed in range(6000):
        _, rows = kmeans_plusplus(x, 2, random_state=seed, n_local_trials=1)
        if rows[0] == first: theirs[rows[1]] += 1
    assert np.abs(ours - theirs / theirs.sum()).max() < 0.06
    expected = ((x - x[first]) ** 2).sum(axis=1)
    assert np.abs(ours - expected / expected.sum()).max() < 0.03


@pytest.mark.parametrize("seed", range(5))
def test_plus_plus_is_nested_and_blind_to_order(seed):
    random = np.random.default_rng(seed)
    a, b, mixed = random.normal(size=(40, 2)), random.normal(size=(40, 3)), random.permutation(40)
    rows, near = plus_plus(a, b, 15, seed)
    assert len(set(rows)) == 15 and plus_plus(a, b, 5, seed)[0].tolist() == rows[:5].tolist()
    again, there = plus_plus(a[mixed], b[mixed], 15, seed)
    assert mixed[again].tolist() == rows.tolist()
    np.testing.assert_allclose(there, near[mixed])


@pytest.mark.parametrize("seed", range(5))
def test_the_lazy_cover_is_the_plain_one(seed):
    random = np.random.default_rng(seed)
    x, pool = random.random((40, 3, 6)), np.arange(5, 35)
    similar = unit_vectors(x) @ unit_vectors(x).T
    chosen = []
    for _ in range(10):
        values = np.array([-np.inf if i in chosen else similar[[*chosen, i]].max(axis=0).sum() for i in pool])
        chosen.append(int(pool[np.argmax(values >= values.max() - 1e-9)]))
    rows, gains = cosine_cover(x, pool, 10)
    assert rows.tolist() == chosen and gains.sum() == pytest.approx(similar[chosen].max(axis=0).sum())


def test_middles_are_members_of_different_clusters():
    x = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (n, 3)) for c, n in ((0, 9), (5, 20), (9, 4))])
    rows, distance = cluster_middles(x, 3)
    assert [int(np.digitize(r, [9, 29])) for r in rows] == [1, 0, 2] and distance.max() < 1
    mixed = np.random.default_rng(1).permutation(len(x))
    assert mixed[cluster_middles(x[mixed], 3)[0]].tolist() == rows.tolist()


def test_maps_and_ranks():
    random = np.random.default_rng(0)
    s, t = random.random((2, 5, 4, 4))
    plain = [1 - (2 * (a * b).sum() + 1) / ((a * a).sum() + (b * b).sum() + 1) for a, b in zip(s, t)]
    np.testing.assert_allclose(map_disagreement(s, t), plain)
    np.testing.assert_allclose(map_disagreement(s, t, "squared"), ((s - t) ** 2).mean(axis=(1, 2)))
    assert (map_disagreement(np.zeros((2, 3, 3)), np.zeros((2, 3, 3))) == 0).all()
    values = np.array([3.0, 1, 3, 2])
    np.testing.assert_allclose(rank_product(values, np.ones(4)), pd.Series(values).rank(pct=True) * 0.625)


# ---- stopping

def test_rules_of_stopping():
    log = pd.DataFrame(dict(sample=list("abcdefgh"), round=[1, 1, 2, 2, 3, 3, 4, 4], defective=pd.array([True, True, True, False, False, False, None, False], dtype="boolean")))
    assert found_rate(log).tolist() == [1, 0.5, 0, 0]
    assert stopping_round(found_rate(log), 0.05, patience=2) == 4 and stopping_round(found_rate(log), 0.05, patience=3) is None
    truth = pd.Series([True, True, True, False, False, False, True, False, True], list("abcdefghi"))
    table = compared({"early": 2, "never": None}, log, truth)
    assert table.loc["early", ["labels", "found", "left"]].tolist() == [4, 3, 2] and table.loc["never", "left"] == 1


def test_stability_is_spearman_over_what_both_scored():
    random = np.random.default_rng(0)
    records = [Round(k, pd.Index([]), pd.Series(random.random(20 - k), [f"p{j}" for j in range(k, 20)]), pd.Index([]), "X", 0) for k in (1, 2, 3)]
    got = score_stability(records)
    for before, now in zip(records, records[1:]):
        assert got[now.number] == pytest.approx(before.scores.reindex(now.scores.index).corr(now.scores, method="spearman"))


def test_predicted_change_is_one_minus_f():
    from sklearn.metrics import f1_score
    random = np.random.default_rng(1)
    opinions = {k: pd.Series(random.random(50), [f"p{j}" for j in range(50)]) for k in (3, 1, 2)}
    got = predicted_change(opinions)
    for k in (2, 3): assert got[k] == pytest.approx(1 - f1_score(opinions[k - 1] >= 0.5, opinions[k] >= 0.5))


@pytest.mark.parametrize("found, asked", [(0, 10), (3, 40), (9, 10)])
def test_the_bound_is_where_so_few_would_be_rare(found, asked):
    from scipy.stats import binom, hypergeom
    for left in (7, 40, 1000):
        most = most_left(found, asked, left)
        assert hypergeom.cdf(found, asked + left, found + most, asked) > 0.05
        assert most == left or hypergeom.cdf(found, asked + left, found + most + 1, asked) <= 0.05
    assert binom.cdf(found, asked, most_left(found, asked, 10 ** 6) / 10 ** 6) == pytest.approx(0.05, abs=1e-4)
    assert most_left(asked, asked, 7) == 7
