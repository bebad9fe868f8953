"""Sessions lose nothing, mix nobody up, and refuse what cannot be meant."""
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest
from active_defects.baselines.median import MedianDeviation
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.store import LabelStore
from active_defects.data.synth import synth_surfaces
from active_defects.learners.pixel import PixelLearner
from active_defects.loop.oracle import TruthOracle
from active_defects.loop.rounds import Loop
from active_defects.strategies.likely_defect import LikelyDefect
from active_defects.strategies.strategy import Random
from active_defects.studio.canvas import Canvas, part_message, reply, state_message
from active_defects.studio.forecast import next_batch
from active_defects.studio.queue import VERDICTS, left_of, next_open, queue_of
from active_defects.studio.reasons import places, smaller
from active_defects.studio.screen import pack_mask, to_screen, unpack_mask
from active_defects.studio.session import Session, advance, annotate, compare, part_of, standing, watched

EVIL = '"><script>window.pwned=1</script>&\'; drop table answer; --'


@pytest.fixture(scope="module")
def world():
    return synth_surfaces(n=40, seed=3, prevalence=0.25)


def session_of(pool, path=":memory:", name="ana", strategy=None, batch=4, **more):
    return Session(Loop(pool, LabelStore(path), PixelLearner(), strategy or LikelyDefect(), first=MedianDeviation(), batch=batch), name, **more)


def bar(side=64, top=20):
    mask = np.zeros((side, side), bool)
    mask[top:top + 4, 10:40] = True
    return mask


# Nothing is lost

PAINTER = """
    import sys
    import numpy as np
    from active_defects.api import LabelStore, Loop, MedianDeviation, PixelLearner, synth_surfaces
    from active_defects.studio.session import Session
    session = Session(Loop(synth_surfaces(n=40, seed=3, prevalence=0.25)[0], LabelStore(sys.argv[1]), PixelLearner(), MedianDeviation(), batch=4), "ana")
    first, second = session.round.asked[:2]
    mask = np.zeros((64, 64), bool)
    mask[5, 5] = True
    session.submit(first, "defective", mask, 3.0)
    for row in range(64):
        mask[row] = True
        session.draft(second, mask, {"seconds": float(row)})
        print(row, flush=True)
    while True: pass
"""


def test_kill_minus_nine_loses_at_most_the_stroke_under_the_hand(tmp_path, world):
    path = tmp_path / "parts.db"
    painter = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PAINTER), str(path)], stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        for line in painter.stdout:
            if int(line) >= 9: break
    finally:
        os.kill(painter.pid, signal.SIGKILL)
        painter.wait()
        painter.stdout.close()
    session = session_of(world[0], path, strategy=MedianDeviation())
    first, second = session.round.asked[:2]
    assert session.queue.state[first] == "defective" and left_of(session.queue) == list(session.round.asked[1:])
    part = part_of(session, second)
    assert part.mask[:10].all() and part.note["seconds"] >= 9 and part_of(session, first).mask.sum() == 1


def test_an_answer_takes_its_draft_with_it_and_a_correction_shows_the_last_mask(world):
    session = session_of(world[0])
    part = session.round.asked[0]
    session.draft(part, bar(), {"seconds": 2.0})
    session.submit(part, "defective", bar(), 2.5)
    assert list(session.loop.store.drafts("ana")) == [] and np.array_equal(part_of(session, part).mask, bar())
    session.draft(part, bar(top=30), {"seconds": 4.0})
    assert np.array_equal(part_of(session, part).mask, bar(top=30)) and session.queue.state[part] == "defective"
    session.submit(part, "good", seconds=1.0)
    assert part_of(session, part).mask is None and session.queue.state[part] == "good" and len(session.loop.store.log()) == 2


def test_a_draft_of_another_size_is_not_shown(world):
    session = session_of(world[0])
    session.draft(session.round.asked[0], np.ones((8, 8), bool), {})
    assert part_of(session, session.round.asked[0]).mask is None


# Nobody is mixed up

def label_everything(path, name, start):
    pool, _ = synth_surfaces(n=40, seed=3, prevalence=0.25)
    session = session_of(pool, path, name, Random(), batch=30, blind=True)
    start.wait()
    for k, sample in enumerate(session.round.asked):
        session.draft(sample, bar(top=k), {"by": name})
        session.submit(sample, "defective", bar(top=k), 1.0)


def test_two_annotators_at_once(tmp_path, world):
    path = tmp_path / "parts.db"
    session_of(world[0], path, strategy=Random(), batch=30)
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    people = [context.Process(target=label_everything, args=(path, name, start)) for name in ("ana", "ben")]
    for person in people: person.start()
    start.set()
    for person in people: person.join(120)
    assert [person.exitcode for person in people] == [0, 0]
    store = LabelStore(path)
    log = store.log()
    assert len(store.rounds) == 1 and log.groupby(["sample", "annotator"]).size().eq(1).all() and len(log) == 60
    assert list(store.drafts("ana")) == list(store.drafts("ben")) == []


def test_blind_sessions_finish_their_own_queue_first(tmp_path, world):
    ana, ben = (session_of(world[0], tmp_path / "p.db", name, Random(), blind=True) for name in ("ana", "ben"))
    for sample in ana.round.asked: ana.submit(sample, "skip")
    assert len(left_of(ben.queue)) == 4 and advance(ana).number == 2
    late = session_of(world[0], tmp_path / "p.db", "ben", Random(), blind=True)
    assert late.round.number == 2 and ben.round.number == 1
    for sample in ben.round.asked: ben.submit(sample, "good")
    assert advance(ben).number == 2 and list(ben.round.asked) == list(ana.round.asked)


def test_queues_see_other_people_and_wrap_around(world):
    ana, store = session_of(world[0]), None
    store = ana.loop.store
    ben = Session(ana.loop, "ben")
    a, b, c, d = ana.round.asked
    assert ana.submit(c, "good") == d and ben.submit(d, "skip") == a and ana.submit(a, "no-mask") == b and ana.submit(b, "good") is None
    assert ana.queue.state.tolist() == ["no-mask", "good", "good", "skip"] and ana.queue.by.tolist() == ["ana", "ana", "ana", "ben"]
    assert queue_of(store, ana.round, "ben", blind=True).state.tolist() == ["open", "open", "open", "skip"]
    assert next_open(ana.queue) is None and len(store.unanswered(ana.round)) == 0


# Rounds

def test_a_whole_round_gives_the_loop_what_an_oracle_would(world):
    pool, truth = world
    by_hand, by_truth = session_of(pool), session_of(pool)
    for _ in range(2):
        for sample in list(by_hand.round.asked): by_hand.submit(sample, "defective" if sample in truth.masks else "good", truth.masks.get(sample), 5.0)
        asked = by_truth.loop.ask()
        by_truth.loop.tell(asked, TruthOracle(truth).annotate(asked.ids))
        assert list(advance(by_hand).asked) == list(by_truth.loop.ask().asked)
    assert by_hand.round.strategy == "LikelyDefect"


def test_the_end_of_the_pool_is_said(world):
    session = session_of(world[0][world[0].ids[:4]], strategy=Random())
    for sample in session.round.asked: session.submit(sample, "good")
    with pytest.raises(ValueError, match="nothing left to ask"): advance(session)
    assert standing(session).left_in_pool == 0 and standing(session).forecast == ""


def test_progress_is_passed_on_and_given_back(world):
    from tqdm.auto import tqdm as auto
    from tqdm.std import tqdm
    update, seen = tqdm.update, []
    with pytest.raises(KeyboardInterrupt), watched(lambda *said: seen.append(said)):
        for _ in auto(range(3), desc="looking", mininterval=0): pass
        with auto(total=2, desc="S: training") as progress: progress.update(2)
        with auto(total=2, disable=True) as silent: silent.update(1)
        raise KeyboardInterrupt
    assert tqdm.update is update and seen[-1] == ("S: training", 1.0) and all(0 <= share <= 1 for _, share in seen)


def test_the_oracle_over_a_bare_pool(tmp_path, world):
    pool, truth = world
    store = LabelStore(tmp_path / "loop.db")
    loop, canvas = Loop(pool, store, PixelLearner(), Random(), batch=3), Canvas(pool, "ana", store=tmp_path / "ana.db")
    asked = loop.ask()
    assert len(canvas.annotate(asked.ids)) == 0 and "3 parts asked, 3 left" in repr(canvas)
    canvas.session.submit(asked.ids[1], "defective", bar(), 7.0)
    again = Canvas(pool, "ana", store=tmp_path / "ana.db")
    loop.tell(asked, again.annotate(asked.ids))
    assert store.log()["sample"].tolist() == [asked.ids[1]] and store.log().seconds.tolist() == [7.0] and np.array_equal(store.latest().masks[asked.ids[1]], bar())
    with pytest.raises(KeyError): canvas.annotate(["nobody"])
    with pytest.raises(ValueError, match="no loop behind"): advance(canvas.session)
    assert len(annotate(session_of(pool), pool.ids[:2])) == 0


# Reasons, maps, forecast

def test_reasons_name_every_ranking(world):
    pool, truth = world
    session = session_of(pool, batch=8)
    for sample in list(session.round.asked): session.submit(sample, "defective" if sample in truth.masks else "good", truth.masks.get(sample), 5.0)
    advance(session)
    assert list(compare(session)) == ["MedianDeviation", "Uncertainty"]
    for k, sample in enumerate(session.round.asked, 1):
        part = part_of(session, sample)
        assert part.reason.place == k and part.reason.candidates == 32 and set(part.reason.elsewhere) == {"MedianDeviation", "Uncertainty"}
        assert part.heat_words == "probability of defect" and part.heat.shape == (64, 64) and (part.proposal is None or part.proposal.shape == (64, 64))
    assert list(compare(session, [Random()])) == ["Random"]


def test_reasons_survive_late_answers_and_lost_models(world, tmp_path):
    pool, truth = world
    session = session_of(pool, tmp_path / "p.db", batch=8)
    first = session.round
    for sample in first.asked: session.submit(sample, "defective" if sample in truth.masks else "good", truth.masks.get(sample), 5.0)
    advance(session)
    session.loop.store.add(Labels.of({first.asked[0]: True}, {first.asked[0]: bar()}, "late"), 1)
    assert part_of(session, session.round.asked[0]).heat_words == "probability of defect" and "LikelyDefect" not in compare(session)
    for file in (tmp_path / "p.models").glob("*"): file.unlink()
    again = session_of(pool, tmp_path / "p.db", batch=8)
    assert "no model took part" in part_of(again, again.round.asked[0]).heat_words


def test_places_and_forecasts(world):
    assert smaller(np.arange(32.0).reshape(4, 8), 4).tolist() == [[4.5, 6.5, 8.5, 10.5], [20.5, 22.5, 24.5, 26.5]]
    assert smaller(np.ones((1000, 300))).shape == (250, 75) and smaller(np.ones((3, 4096))).shape == (1, 1365) and smaller(np.ones((5, 7))).shape == (5, 7)
    assert places(pd.Series({"a": 1.0, "b": 3.0, "c": 2.0})).to_dict() == {"b": 1, "c": 2, "a": 3}
    log = pd.DataFrame(dict(sample=["a", "b", "b", "c"], round=1, defective=pd.array([None, False, True, None], "boolean"), has_mask=[False, False, True, False], seconds=[1.0, 2.0, 50.0, 0.0]))
    ahead = next_batch(log, 3, 10)
    assert ahead.expected == pytest.approx(3 * 1.5 / 2) and ahead.low <= ahead.expected <= ahead.high <= 3
    assert next_batch(log[log.defective.isna()], 3, 10) is None and next_batch(log, 3, 0) is None
    assert standing(session_of(world[0])).curve == [(0, 0, 0.0)]


# What is refused

@pytest.mark.parametrize("act, words", [
    (lambda s, i: s.submit(i, "perhaps"), "no verdict"), (lambda s, i: s.submit(i, "defective"), "nothing is painted"), (lambda s, i: s.submit(i, "defective", np.zeros((64, 64), bool)), "nothing is painted"),
    (lambda s, i: s.submit("elsewhere", "good"), "not in this question"), (lambda s, i: s.draft("elsewhere", None, {}), "not in this question"), (lambda s, i: s.submit(i, "good", seconds=-1), "at least 0"),
    (lambda s, i: s.submit(i, "good", seconds=float("nan")), "at least 0"), (lambda s, i: advance(s), "4 parts of this round are open"), (lambda s, i: part_of(s, "elsewhere"), "not in this question"),
    (lambda s, i: Session(s.loop, "  "), "needs a name")])
def test_what_cannot_be_meant_is_refused_and_nothing_is_written(world, act, words):
    session = session_of(world[0])
    with pytest.raises(ValueError, match=words): act(session, session.round.asked[0])
    assert len(session.loop.store.log()) == 0


def test_hostile_names_travel_as_they_are(tmp_path):
    ids = [f"{EVIL}{k}" for k in range(3)] + ["../../outside", "/absolute", "a\x00b"[:1] + "\u202etxt.exe"]
    pool = Pool(pd.DataFrame(index=pd.Index(ids, dtype=object)), {i: np.full((16, 16), 0.5, np.float32) for i in ids})
    session = session_of(pool, tmp_path / "p.db", EVIL, Random(), batch=6)
    for sample in session.round.asked:
        session.draft(sample, np.eye(16, dtype=bool), {"words": EVIL})
        assert part_message(part_of(session, sample))[0]["sample"] == sample
        session.submit(sample, "defective", np.eye(16, dtype=bool), 1.0)
    assert sorted(session.loop.store.log()["sample"]) == sorted(ids) and set(session.loop.store.log().annotator) == {EVIL}
    assert state_message(session)["annotator"] == EVIL and sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in tmp_path.glob("p.*"))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (37, 51), (64, 64), (3, 4096)])
def test_masks_survive_the_wire(shape):
    for mask in (np.zeros(shape, bool), np.ones(shape, bool), np.random.default_rng(0).random(shape) < 0.3):
        assert np.array_equal(unpack_mask(pack_mask(mask), shape), mask)
    with pytest.raises(ValueError, match="its image"): unpack_mask(pack_mask(np.ones(shape, bool)), (shape[0] + 8, shape[1] + 1))


@pytest.mark.parametrize("image, channels", [(np.zeros((5, 7)), 1), (np.ones((5, 7, 1)), 1), (np.random.rand(5, 7, 3), 3), (np.random.rand(5, 7, 4), 3), (np.full((5, 7), 0.4), 1)])
def test_pictures_of_any_kind_reach_the_screen(image, channels):
    screen = to_screen(image)
    assert screen.pixels.dtype == np.uint8 and screen.pixels.shape == ((5, 7) if channels == 1 else (5, 7, 3))
    back = screen.low + screen.pixels / 255 * (screen.high - screen.low)
    shown = image if image.ndim == 2 else image[:, :, 0] if channels == 1 else image[:, :, :3]
    assert abs(back - shown).max() <= 0.51 * (screen.high - screen.low) / 255 + 1e-6


def test_every_message_gets_an_answer(world):
    session = session_of(world[0])
    part, heard = session.round.asked[0], []
    say = lambda content, *masks: reply(session, content, [pack_mask(m) for m in masks], lambda *message: heard.append(message))[0]  # noqa: E731
    assert say({"do": "ready"})["open"] == part and say({"do": "peek", "sample": part})["ahead"] is True
    assert say({"do": "draft", "sample": part, "note": {"seconds": 1}, "number": 3}, bar())["number"] == 3
    assert say({"do": "ready"})["state"]["queue"][0]["draft"] is True
    for verdict, sample in zip(VERDICTS, session.round.asked): assert say({"do": "submit", "sample": sample, "verdict": verdict, "seconds": 2.0}, *([bar()] if verdict == "defective" else []))["is"] == "answered"
    assert say({"do": "advance"})["state"]["round"] == 2
    canvas = Canvas(session)
    canvas.send = lambda message, buffers=None: heard.append(message)
    for content in ({"do": "dance"}, {}, {"do": "open", "sample": "elsewhere"}, {"do": "draft", "sample": session.round.asked[0], "note": {}, "number": 1, "extra": EVIL}):
        canvas.hear(content, [b"no mask"])
    assert [message["is"] for message in heard[-4:]] == ["trouble"] * 4


def test_the_queue_is_quick_in_a_long_log(tmp_path):
    ids = [f"p{k}" for k in range(5000)]
    pool = Pool(pd.DataFrame(index=pd.Index(ids, dtype=object)), dict.fromkeys(ids, np.zeros((16, 16), np.float32)))
    session = session_of(pool, tmp_path / "p.db", strategy=Random(), batch=20)
    session.loop.store.add(Labels.of(dict.fromkeys([i for i in ids if i not in session.round.asked], False)), 0)
    start = time.perf_counter()
    session.queue
    assert time.perf_counter() - start < 0.5
