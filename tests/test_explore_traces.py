"""What explorers show is what strategies say: the traces of picks, SegDecNet, MSMR, SDR and the guess, against the strategies' and learners' own numbers."""
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from active_defects.data.batches import image_tensor
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.synth import synth_surfaces
from active_defects.data.weaken import weaken
from active_defects.formulas.contracts import ranked
from active_defects.formulas.coverage import covering_scores, farthest_first
from active_defects.formulas.masked_error import block_errors
from active_defects.formulas.selection import select
from active_defects.learners.pixel import PixelLearner
from active_defects.learners.reconstruction import ReconstructionLearner
from active_defects.learners.segdec import SegDecLearner
from active_defects.learners.supervised_reconstruction import SupervisedReconstructionLearner
from active_defects.learners.training import Schedule
from active_defects.strategies.likely_defect import LikelyDefect
from active_defects.strategies.msmr import MSMR
from active_defects.strategies.sdr import SDR
from active_defects.strategies.strategy import Random, State, candidates
from active_defects.studio.explore_guess import explore_guess, features_of, three_orders
from active_defects.studio.explore_msmr import block_trace, explore_msmr, guessed
from active_defects.studio.explore_picks import explore_picks, picks, scores_of
from active_defects.studio.explore_sdr import THRESHOLDS, explore_sdr, suspect_trace
from active_defects.studio.explore_segdecnet import explore_segdecnet, knows, lesson_weights, segdec_trace, stages_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from lab import chromium_pages
from test_explorers import EVIL, Sight

FORM = ReconstructionLearner(32, 1 / 16, patch=8, schedule=Schedule(2, 8), progress=False, device="cpu")
BLOCKS = MSMR(FORM, hide="blocks")
CAREFUL = SDR(SupervisedReconstructionLearner(FORM, schedule=Schedule(2, 8)), MSMR(FORM))
NETWORK = SegDecLearner(size=(64, 128), width=1 / 32, kernel=3, schedule=Schedule(3, 4, 0.02, decay=0.0, clip=20.0), progress=False, device="cpu")


@cache
def world(n=30, prevalence=0.4): return synth_surfaces(n=n, seed=3, size=32, prevalence=prevalence)


@cache
def second_round():
    "Ten of thirty answered; the same trained models for every test."
    pool, truth = world()
    said = truth[pool.ids[:10]]
    known = Labels(said.table.drop(columns="category").assign(round=1), said.masks)
    return State(pool, candidates(pool, known), known, PixelLearner(size=32), round=2), truth


@cache
def trained_m(): return FORM.fit(world()[0], seed=0)


def hostile(pool, truth):
    "The same parts under names that would like to be HTML."
    new = {i: f"{k}{EVIL}" for k, i in enumerate(pool.ids)}
    return (Pool(pool.table.rename(index=new), {new[i]: pool.images[i] for i in pool.ids}), Labels(truth.table.rename(index=new).assign(category=[c if c == "good" else EVIL for c in truth.table.category]),
        {new[i]: truth.masks[i] for i in truth.masks}))


# Farthest first

@settings(deadline=None, max_examples=60)
@given(arrays(float, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.floats(-100, 100)), st.integers(0, 12))
def test_farthest_first_keeps_its_promises(x, count):
    order, scores = farthest_first(x), covering_scores(x)
    assert sorted(order) == list(range(len(x))) and (farthest_first(x, count) == order[:count]).all()
    assert (np.diff(scores[order]) <= 1e-9).all() and (scores >= 0).all()
    table = np.linalg.norm(x[:, None] - x[None], axis=2)
    own, at = [0, *farthest_first(x[1:], start=x[:1]) + 1], covering_scores(x[1:], start=x[:1])
    for k in range(1, len(x)): assert at[own[k] - 1] == pytest.approx(table[own[k], own[:k]].min()) == pytest.approx(table[own[k:]][:, own[:k]].min(axis=1).max())
    for k in range(1, min(4, len(x))):
        own = [0, *farthest_first(x, k - 1, start=x[:1])]
        best = min(table[:, list(chosen)].min(axis=1).max() for chosen in combinations(range(len(x)), k))
        assert table[:, own].min(axis=1).max() <= 2 * best + 1e-9


def test_farthest_first_on_the_line_and_at_its_limits():
    line = np.array([[1.0], [5.0], [6.0], [10.0]])
    assert line[farthest_first(line, start=np.zeros((1, 1))), 0].tolist() == [10, 5, 1, 6]  # G51
    assert farthest_first(np.zeros((0, 3))).tolist() == [] and covering_scores(np.zeros((0, 3))).shape == (0,)
    assert farthest_first(line, 0).tolist() == [] and farthest_first(line, 99).shape == (4,)
    assert (farthest_first(line, start=np.zeros((0, 1))) == farthest_first(line)).all()
    with pytest.raises(ValueError, match="finite"): farthest_first(np.array([1.0, 2.0]))


# Picks

def test_picks_are_what_select_selects():
    state, truth = second_round()
    scores = scores_of(state, {"Random": Random(), "belief": LikelyDefect()})
    assert all(scores["belief"] == LikelyDefect().score(state)) and all(scores["Random"] == Random().score(state))
    table = picks(scores, 12, seed=5)
    for name in scores:
        for k in (1, 5, 12): assert table[name][:k].tolist() == select(scores[name], k, seed=5).tolist()
    page = explore_picks(state.pool, truth, scores, 12, seed=5).state
    for name, order, ranks in zip(page["names"], page["order"], page["ranks"]):
        assert [page["ids"][k] for k in order] == table[name].tolist()
        assert [ranks[k] for k in order] == list(range(1, 13))
        assert all(ranked(scores[name], 5).get_loc(i) + 1 == rank for i, rank in zip(page["ids"], ranks))
    assert page["bad"] == truth.table.defective[page["ids"]].astype(int).tolist()
    assert (page["defects"], page["candidates"]) == (int(truth.table.defective[state.candidates].sum()), len(state.candidates))


def test_ties_are_settled_as_everywhere():
    ids = [f"p{k}" for k in range(9)]
    flat = pd.Series(0.0, ids)
    assert picks({"flat": flat}, 4, seed=2)["flat"].tolist() == select(flat, 4, seed=2).tolist()
    with pytest.raises(ValueError, match="between 1 and the 9"): picks({"flat": flat}, 10)
    with pytest.raises(ValueError, match="no scores"): picks({})


# MSMR

def test_blocks_are_the_strategys():
    pool, truth = world()
    model, errors = trained_m(), block_trace(trained_m(), pool, BLOCKS)
    state = State(pool, pool.ids, Labels.of({}), None)
    state.shelf.get(state.model("M", FORM) and state.used["M"], None, None)
    assert (errors.max(axis=1) == BLOCKS.score_images(model, image_tensor(pool, 32))).all()
    for i in pool.ids[:3]: np.testing.assert_allclose(errors.loc[i], block_errors(pool.images[i], model.guess, BLOCKS.masks()), rtol=0.03, atol=1e-6)  # bfloat16 where the hardware has it
    page = explore_msmr(pool, truth, model, BLOCKS).state
    order = ranked(errors.max(axis=1))
    assert page["ranks"] == [order.get_loc(i) + 1 for i in page["ids"]] and page["scores"] == sorted(page["scores"], reverse=True)
    for i, values, rank in zip(page["ids"], page["values"], page["ranks"]):
        np.testing.assert_allclose(values, 1e4 * errors.loc[i], rtol=1e-3)
        assert max(values) == page["scores"][rank - 1]
    assert page["bad"] == truth.table.defective[order].astype(int).tolist()


def test_each_pixel_is_guessed_while_it_is_hidden():
    image, masks = world()[0].images["part003"], BLOCKS.masks()
    painted = guessed(trained_m(), image, masks)
    for hidden in masks[::5]:
        expected = np.clip(trained_m().guess(np.where(hidden, 0, image), hidden), 0, 1)
        np.testing.assert_allclose(painted[hidden], expected[hidden], atol=1e-6)


# SDR

@pytest.mark.parametrize("ties", ["msmr", "id"])
def test_suspicions_are_the_strategys(ties):
    state, truth = second_round()
    strategy = replace(CAREFUL, ties=ties)
    trace = suspect_trace(state, strategy)
    for t in (THRESHOLDS[3], THRESHOLDS[9], THRESHOLDS[-1]):
        own = replace(strategy, threshold=float(t)).score(state)
        np.testing.assert_allclose(trace.scores[t], own, rtol=0.02, atol=1e-7)
        silent = trace.errors[t] == 0
        assert (silent == ((trace.maps < t).all(axis=(1, 2)))).all()
    page = explore_sdr(state, truth, strategy).state
    alone = ranked(LikelyDefect().score(state))
    assert page["alone"] == [alone.get_loc(i) + 1 for i in page["ids"]]
    for t, ranks, errors in zip(THRESHOLDS, page["ranks"], page["errors"]):
        assert ranks == (ranked(trace.scores[t]).get_indexer(trace.ids) + 1).tolist()
        np.testing.assert_allclose(errors, 1e4 * trace.errors[t], rtol=0.01, atol=1e-9)
    assert [trace.ids[n] for n in page["rows"]] == page["ids"]


def test_sdr_without_teachers_is_refused():
    state, truth = second_round()
    calm = replace(state, labels=state.labels[[i for i in state.labels.ids if not truth.table.defective[i]]])
    with pytest.raises(ValueError, match="nothing to remove"): suspect_trace(calm, CAREFUL)


# SegDecNet

@cache
def three_trainings():
    pool, truth = world()
    said, test = truth[pool.ids[:20]], pool[pool.ids[20:]]
    drawn = [i for i in said.ids if said.table.defective[i]]
    known = {"none": weaken(said), "two": weaken(said, drawn[:2])}
    return pool, truth, known, test, {name: segdec_trace(NETWORK, pool, labels, test, test.ids[:2], every=1) for name, labels in known.items()}


def test_watching_changes_nothing():
    pool, truth, known, test, traces = three_trainings()
    for name, labels in known.items():
        said = NETWORK.fit(pool, labels, seed=0)(test)
        np.testing.assert_allclose(traces[name].defective[3], said.defective, atol=1e-6)
        np.testing.assert_allclose(traces[name].maps[-1], said.maps, atol=1e-6)
        assert traces[name].epochs == [0, 1, 2, 3] and (traces[name].maps[0] != traces[name].maps[-1]).any()
    assert traces["none"].balance == [None] * 4 and traces["two"].balance == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_stages_lead_to_the_map():
    pool, _, known, test, _ = three_trainings()
    model, images = NETWORK.fit(pool, known["two"], seed=0), image_tensor(test[test.ids[:2]], NETWORK.size)
    stages, kept = stages_of(model.network, images), []
    hook = model.network.volume.register_forward_hook(lambda *args: kept.append(args[-1]))
    first = model.network.volume[:3](images)
    with torch.inference_mode(): torch.testing.assert_close(stages[-1], model.network.volume[3:](first).mean(dim=1), rtol=1e-4, atol=1e-5)
    hook.remove()
    assert [tuple(stage.shape[1:]) for stage in stages] == [(32, 64), (16, 32), (8, 16), (8, 16)]


def test_weights_are_those_of_the_loss():
    for balance, where, whether in ((1.0, 1.0, 0.0), (0.25, 0.25, 0.75), (0.0, 0.0, 1.0), (None, 1.0, 1.0)):
        table = lesson_weights(balance, delta=2.0)
        assert table.loc["good part"].tolist() == pytest.approx([where, 2 * whether], abs=1e-5)
        assert table.loc["defect with its mask"].tolist() == pytest.approx([where, 2 * whether], abs=1e-5)
        assert table.loc["defect without a mask"].tolist() == pytest.approx([0, 2 * whether], abs=1e-5)


def test_the_page_holds_the_trace():
    pool, truth, known, test, traces = three_trainings()
    page = explore_segdecnet(pool, truth, known, test, list(test.ids[:2]), NETWORK, traces=traces).state
    for n, trace in enumerate(traces.values()):
        table = knows(trace, test, truth)
        assert page["where"][n] == pytest.approx(table["where"].tolist(), abs=1e-3) and page["whether"][n] == pytest.approx(table.whether.tolist(), abs=1e-3)
        np.testing.assert_allclose(page["p"][n], trace.defective.iloc[:2].T, atol=1e-3)


# The guess

def test_the_guess_shows_what_the_orders_say():
    pool, truth = world()
    strategy = MSMR(FORM)
    orders = three_orders(pool, strategy)
    state = State(pool, pool.ids, Labels.of({}), None)
    assert orders["MSMR"].tolist() == ranked(strategy.score(state)).tolist() and orders["random"].tolist() == ranked(Random().score(state)).tolist()
    features = features_of(state.model("M", FORM), pool)
    assert orders["k-center"].tolist() == pool.ids[farthest_first(features)].tolist() and abs(features.mean(axis=0)).max() < 1e-8
    page = explore_guess(pool, truth, orders, count=4).state
    assert [[page["ids"][k] for k in list_] for list_ in page["others"]] == [list(order[:4]) for order in orders.values()]
    assert page["bad"] == truth.table.defective.astype(int).tolist() and page["picked"] == [] and page["revealed"] is False


# In the browser

@pytest.fixture(scope="module")
def new_page(chromium):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with chromium_pages(chromium) as new: yield new


@pytest.mark.browser
def test_a_reader_picks_by_keyboard_and_reveals(new_page, tmp_path):
    pool, truth = world()
    bad = [k for k, i in enumerate(pool.ids) if truth.table.defective[i]]
    made = explore_guess(pool, truth, {"first": pool.ids[:5], "last": pool.ids[::-1]})
    with Sight(new_page, tmp_path, made._repr_html_()) as sight:
        page = sight.page
        assert not page.locator(".parts .bad").count() and page.get_by_role("button", name="Pick 5 more").is_disabled()
        page.locator(".parts button").first.focus()
        for k in range(7):
            page.keyboard.press("Space")
            if k < 6: page.keyboard.press("ArrowRight")
        assert page.locator(".parts [aria-pressed=true]").count() == 5
        page.get_by_role("button", name="Reveal").press("Enter")
        assert page.locator(".parts .bad").count() == len(bad)
        assert f"You found {sum(k < 5 for k in bad)} of the {len(bad)} defects" in page.locator(".words").inner_text()
        assert page.get_by_role("button", name="Pick again").evaluate("e => e.getRootNode().activeElement === e")
        page.keyboard.press("Enter")
        assert page.locator(".parts [aria-pressed=true]").count() == 0 and not page.locator(".parts .bad").count()
        sight.fine()


@pytest.mark.browser
def test_javascript_counts_and_ranks_as_python_does(new_page, tmp_path):
    state, truth = second_round()
    scores = scores_of(state, {"Random": Random(), "belief": LikelyDefect()})
    with Sight(new_page, tmp_path, explore_picks(state.pool, truth, scores, 8)._repr_html_()) as sight:
        sight.page.locator("input[type=range]").press("End")
        found = [int(truth.table.defective[picks(scores, 8)[name]].sum()) for name in scores]
        assert [int(text.split()[0]) for text in sight.page.locator(".who small").all_inner_texts()] == found
        sight.fine()
    pool, truth = world()
    errors, page = block_trace(trained_m(), pool, BLOCKS), explore_msmr(pool, truth, trained_m(), BLOCKS)
    with Sight(new_page, tmp_path, page._repr_html_()) as sight:
        part = page.state["ids"][page.state["part"]]
        for block in (0, 6, 15):
            sight.page.locator("input[type=range]").evaluate(f"e => {{ e.value = {block}; e.dispatchEvent(new Event('input')); }}")
            value = errors.loc[part][: block + 1].max()
            rank = 1 + int((errors.max(axis=1).drop(part) > value).sum())
            assert f"rank {rank} of {len(pool)}" in sight.page.locator(".words").inner_text()
        sight.fine()


@pytest.mark.browser
@pytest.mark.parametrize("name", ["picks", "msmr", "sdr", "guess", "segdecnet"])
def test_hostile_names_stay_text(name, new_page, tmp_path):
    pool, truth = hostile(*world())
    said = Labels(truth[pool.ids[:10]].table.drop(columns="category").assign(round=1), truth[pool.ids[:10]].masks)
    state = State(pool, candidates(pool, said), said, PixelLearner(size=32), round=2)
    made = {"picks": lambda: explore_picks(pool, truth, {EVIL: Random().score(state)}, 5), "msmr": lambda: explore_msmr(pool, truth, trained_m(), BLOCKS), "sdr": lambda: explore_sdr(state, truth, CAREFUL),
        "guess": lambda: explore_guess(pool, truth, {EVIL: pool.ids[:5]}), "segdecnet": lambda: explore_segdecnet(pool, truth, {EVIL: weaken(truth[pool.ids[:20]]), "b": truth[pool.ids[:20]]}, pool[pool.ids[20:]], learner=NETWORK, every=2)}[name]()
    with Sight(new_page, tmp_path, made._repr_html_(), width=360) as sight:
        assert sight.page.evaluate("document.documentElement.scrollWidth") <= 360
        if name == "guess":
            for k in range(5): sight.page.locator(".parts button").nth(k).click()
            sight.page.get_by_role("button", name="Reveal").click()
        assert "<img" in sight.page.locator(".page").inner_text()
        sight.fine()
