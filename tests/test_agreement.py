"""Several people on one store: nobody's answer takes another's place, and where they differ is listed."""
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
from active_defects.data.agreement import agreement, answer_pairs, compared, disagreements, kappa, opinions
from active_defects.data.labels import Labels
from active_defects.data.store import LabelStore
from active_defects.learners.prediction import Prediction, from_maps
from active_defects.studio.disputes import Dispute, against_model, dispute_panels, model_disputes, people_disputes
from active_defects.studio.tallies import annotator_table, group_table, plot_rounds, round_table
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

PEOPLE, PARTS = ("ana", "ben", "eva"), ("p", "q", "r")
MASKS = [np.arange(12).reshape(3, 4) % 5 == k for k in range(3)] + [np.ones((4, 3), bool)]
ANSWERS = st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(PARTS), st.sampled_from([True, False, None]), st.sampled_from([None, 0, 1, 2, 3])), max_size=14)


def told(answers):
    store = LabelStore()
    for who, part, verdict, mask in answers: store.add(Labels.of({part: verdict}, {} if mask is None or not verdict else {part: MASKS[mask]}, annotator=who))
    return store


def in_plain_words(answers):
    "Who says what now: the last verdict that is one, the last mask."
    said = {}
    for who, part, verdict, mask in answers:
        old = said.setdefault((who, part), [None, None])
        if verdict is not None: old[0] = verdict
        if verdict and mask is not None: old[1] = mask
    return said


@settings(max_examples=30, deadline=None)
@given(ANSWERS)
def test_every_pair_of_people_is_compared_by_what_they_say_now(answers):
    store, said = told(answers), in_plain_words(answers)
    pairs = answer_pairs(opinions(store))
    expected = {(part, a, b) for part in PARTS for i, a in enumerate(PEOPLE) for b in PEOPLE[i + 1:] if all(said.get((who, part), [None])[0] is not None for who in (a, b))}
    assert set(pairs[["sample", "first", "second"]].itertuples(index=False, name=None)) == expected and len(pairs) == len(expected)
    for row in pairs.itertuples():
        (one, drawn), (two, outlined) = said[row.first, row.sample], said[row.second, row.sample]
        assert (row.first_defective, row.second_defective) == (one, two) and (row.about == "verdict") == (one != two)
        if one and two and drawn is not None and outlined is not None:
            a, b = MASKS[drawn], MASKS[outlined]
            assert row.about == "size" and np.isnan(row.iou) if a.shape != b.shape else row.iou == pytest.approx((a & b).sum() / (a | b).sum())
    assert len(disagreements(store)) == (pairs.about != "").sum() and len(disagreements(store, 0)) == pairs.about.isin(["verdict", "size"]).sum()
    shown, number = people_disputes(store, top=5)
    assert number == len(disagreements(store)) and len(shown) == min(5, number)
    assert len(store.log()) == len(answers), "an answer took another's place"
    table = annotator_table(store.log())
    assert table.parts.sum() == len(said) and table.changed.sum() == len(answers) - len(said)
    assert (table.defective + table.good + table.skipped == table.parts).all()
    store.db.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_kappa_is_scikit_learns(pairs):
    one, two = map(pd.Series, zip(*pairs))
    ours = kappa(one, two)
    if one.nunique() == two.nunique() == 1 and one[0] == two[0]: assert np.isnan(ours)
    else: assert ours == pytest.approx(cohen_kappa_score(one, two))


def test_kappa_needs_the_same_parts():
    with pytest.raises(ValueError, match="both answered"): kappa(pd.Series([True]), pd.Series([True, False]))
    assert np.isnan(kappa(pd.Series([], dtype=bool), pd.Series([], dtype=bool)))


def answer_all(path, start, who, verdict):
    "One of two people who answer the same parts at the same time."
    start.wait(60)
    store = LabelStore(path)
    for k in range(25):
        mask = np.zeros((16, 16), bool)
        mask[k % 16, :4 if verdict else 8] = True
        store.draft(f"p{k}", who, mask, {"k": k})
        store.add(Labels.of({f"p{k}": True}, {f"p{k}": mask}, annotator=who), round=1)


def test_two_people_at_the_same_parts_at_the_same_time(tmp_path):
    path, spawn = tmp_path / "parts.db", get_context("spawn")
    start = spawn.Barrier(2)
    both = [spawn.Process(target=answer_all, args=(path, start, who, who == "ana")) for who in ("ana", "ben")]
    for process in both: process.start()
    for process in both: process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    store = LabelStore(path)
    assert store.log().groupby("annotator").size().to_dict() == {"ana": 25, "ben": 25} and store.drafts("ana") == store.drafts("ben") == {}
    table = disagreements(store)
    assert len(table) == 25 and (table.iou == 0.5).all() and (table.about == "outline").all()
    assert all(store.latest(annotator="ana").masks[f"p{k}"].sum() == 4 and store.latest(annotator="ben").masks[f"p{k}"].sum() == 8 for k in range(25))
    assert agreement(answer_pairs(opinions(store))).iloc[0][["parts", "same_verdict", "outlines", "iou"]].tolist() == [25, 1.0, 25, 0.5]


def test_a_round_and_a_person_at_once():
    store = LabelStore()
    store.add(Labels.of({"p": False}, annotator="ana"), round=1)
    store.add(Labels.of({"p": True}, {"p": MASKS[0]}, annotator="ana"), round=2)
    assert not store.latest(1, "ana").table.defective["p"] and store.latest(annotator="ana").table.defective["p"] and len(store.latest(annotator="nobody")) == 0
    assert opinions(LabelStore()) == {} and len(disagreements(LabelStore())) == 0 and len(agreement(answer_pairs({}))) == 0
    with pytest.raises(ValueError, match="IoU"): disagreements(store, 2)


def test_what_two_answers_differ_about():
    say = lambda verdict, mask=None: Labels.of({"p": verdict}, {} if mask is None else {"p": MASKS[mask]})  # noqa: E731
    assert compared("p", say(False), say(False)) == (1.0, "") and compared("p", say(True, 0), say(True, 0)) == (1.0, "")
    assert compared("p", say(False), say(True, 0)) == (0.0, "verdict") and np.isnan(compared("p", say(False), say(True))[0])
    assert np.isnan(compared("p", say(True, 0), say(True))[0]) and compared("p", say(True, 0), say(True, 3))[1] == "size"
    assert compared("p", say(True, 0), say(True, 1)) == (0.0, "outline")


# ---- model and label

@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2 ** 32 - 1), st.integers(1, 8))
def test_a_contradiction_is_what_the_model_gives_the_other_verdict(seed, count):
    rng = np.random.default_rng(seed)
    ids = [f"p{k}" for k in range(count)]
    prediction = from_maps(ids, rng.random((count, 4, 4)), share=0)
    verdicts = {i: [True, False, None][rng.integers(3)] for i in ids}
    drawn = {i: rng.random((8, 8)) < 0.3 for i in ids if verdicts[i] and rng.random() < 0.7}
    labels = Labels.of(verdicts, drawn)
    table = against_model(labels, prediction)
    wrong = {i for i in ids if verdicts[i] is not None and abs(prediction.defective[i] - verdicts[i]) > 0.5}
    assert set(table["sample"][table.about == "verdict"]) == wrong
    assert not (set(table["sample"]) & {i for i in ids if verdicts[i] is None}) and (table.iou[table.about == "outline"] < 0.5).all()
    first = table[table.about == "verdict"]
    assert first.index.tolist() == list(range(len(first))) and first.contradiction.is_monotonic_decreasing and table.iou[len(first):].is_monotonic_increasing
    shown, number = model_disputes(labels, prediction, top=3)
    assert number == len(table) and [d.sample for d in shown] == table["sample"].head(3).tolist()


def test_a_thin_defect_is_not_lost_on_the_way_to_the_models_size():
    mask, seen = np.zeros((400, 400), bool), np.zeros((1, 10, 10))
    mask[200, 40:360], seen[0, 5, 1:9] = True, 1.0
    assert len(against_model(Labels.of({"p": True}, {"p": mask}), from_maps(["p"], seen, share=0))) == 0
    with pytest.raises(ValueError, match="no maps"): against_model(Labels.of({"p": True}), Prediction(pd.Series([0.1], ["p"])))


def test_a_dispute_whose_picture_is_gone_is_named_and_the_others_are_shown():
    disputes = [Dispute(name, "different verdicts", (("ana", None, None), ("model", None, np.full((3, 3), np.nan)))) for name in ("gone", "there")]
    figures = dispute_panels(disputes, {"there": np.zeros((9, 5, 3))})
    assert len(figures) == 2 and "no picture" in figures[0] and figures[1].count("<img") == 2
    assert dispute_panels(disputes[1:] * 50, {"there": np.zeros((9, 5))}, budget=3000) != [] and len("".join(dispute_panels(disputes[1:] * 50, {"there": np.zeros((9, 5))}, budget=3000))) <= 3000
    assert dispute_panels(disputes, {}, budget=10) == []


# ---- tallies

def test_tallies_of_nothing():
    store = LabelStore()
    assert len(annotator_table(store.log())) == 0 and len(round_table(store.log(), store.rounds)) == 0
    assert group_table(store.log(), pd.Series(["A", "B"], ["p", "q"])).parts.tolist() == [1, 1]
    assert len(plot_rounds(pd.DataFrame(dict(round=[], answered=[], found=[]))).data) == 2


def test_parts_without_a_category_and_parts_that_are_gone():
    store = LabelStore()
    store.add(Labels.of({"p": True, "gone": True, "q": None}, {"p": MASKS[0]}, annotator="ana"))
    table = group_table(store.log(), pd.Series(["A", None, "A"], ["p", "q", "r"])).set_index("category")
    assert table.parts.to_dict() == {"A": 2, "–": 2} and table.found.to_dict() == {"A": 1, "–": 1} and table.answered.to_dict() == {"A": 1, "–": 2}
    assert table.outlined.to_dict() == {"A": 1, "–": 0} and table.minutes.to_dict() == {"A": 1.0, "–": 0.1}


def test_a_mask_that_was_taken_back_is_not_counted_as_an_outline():
    store = told([("ana", "p", True, 0)])
    groups = pd.Series(["A"], ["p"])
    assert annotator_table(store.log()).outlined.tolist() == [1] and group_table(store.log(), groups).outlined.tolist() == [1]
    store.add(Labels.of({"p": True}, annotator="ana", maskable=False))
    assert annotator_table(store.log()).outlined.tolist() == [0] and group_table(store.log(), groups).outlined.tolist() == [0]
