"""Sessions lose nothing, mix nobody up, and refuse what cannot be meant."""
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from active_defects.baselines.median import MedianDeviation
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.round_log import Round
from active_defects.data.store import LabelStore
from active_defects.data.synth import synth_surfaces
from active_defects.learners.pixel import PixelLearner
from active_defects.loop.oracle import TruthOracle
from active_defects.loop.rounds import Loop
from active_defects.strategies.likely_defect import LikelyDefect
from active_defects.strategies.strategy import Random
from active_defects.studio.canvas import Canvas, part_message, reply, state_message, where_to_begin
from active_defects.studio.forecast import next_batch
from active_defects.studio.queue import VERDICTS, left_of, next_open, queue_of
from active_defects.studio.reasons import places, smaller
from active_defects.studio.screen import pack_mask, to_screen, unpack_mask, watched
from active_defects.studio.session import Session, advance, annotate, compare, part_of, standing
from effort import calls

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


def test_a_draft_of_another_size_or_a_damaged_one_is_said_and_blocks_nothing(world):
    session = session_of(world[0])
    store, (a, b, c, d) = session.loop.store, session.round.asked
    store.draft(a, "ana", np.ones((8, 8), bool), {"seconds": 3.0})
    store.draft(b, "ana", bar(), {})
    store.db.run("update draft set mask = ? where sample = ?", b"no picture", b)
    session.submit(c, "defective", bar(), 2.0)
    store.draft(c, "ana", np.ones((8, 8), bool), {})
    store.draft(d, "ana", bar(), {})
    store.db.run("update draft set note = '{' where sample = ?", d)
    small, broken, answered, unreadable = (part_of(session, i) for i in (a, b, c, d))
    assert small.mask is None and "8 x 8" in small.trouble and small.note["seconds"] == 3.0
    assert broken.mask is None and "no PNG" in broken.trouble and unreadable.mask is None and "cannot be read" in unreadable.trouble
    assert np.array_equal(answered.mask, bar()) and "8 x 8" in answered.trouble
    assert all(part.screen is not None for part in (small, broken, answered, unreadable)) and part_message(broken)[0]["width"] == 64
    state_message(session)
    session.draft(b, bar(), {})
    assert np.array_equal(part_of(session, b).mask, bar()) and part_of(session, b).trouble == ""


def test_a_damaged_answer_is_said_and_can_be_given_again(world):
    session = session_of(world[0])
    part = session.round.asked[0]
    session.loop.store.db.run("insert into answer (sample, round, defective, maskable, annotator, seconds, time, mask) values (?,1,1,1,'ana',1,'2020',?)", part, b"torn")
    assert part_of(session, part).screen is not None and "no PNG" in part_of(session, part).trouble
    session.submit(part, "defective", bar())
    assert np.array_equal(part_of(session, part).mask, bar())


def test_a_draft_without_a_note_counts(world):
    session = session_of(world[0])
    session.loop.store.draft(session.round.asked[0], "ana", bar(), {})
    assert np.array_equal(part_of(session, session.round.asked[0]).mask, bar())


def test_an_answer_beats_drafts_that_were_sent_before_it(world):
    session = session_of(world[0])
    part, other = session.round.asked[:2]
    say = lambda do, number, *masks, **more: reply(session, {"do": do, "sample": part, "number": number, **more}, [pack_mask(m) for m in masks], None)[0]  # noqa: E731
    assert say("draft", 4007, bar(), note={})["late"] is False
    say("submit", 6007, verdict="good", seconds=1.0)
    assert say("draft", 5007, bar(), note={}) == {"is": "kept", "late": True, "painted": True, "do": "draft", "sample": part, "number": 5007}
    assert list(session.loop.store.drafts("ana")) == [] and part_of(session, part).mask is None
    assert say("draft", 1, bar(top=30), note={})["late"] is False and np.array_equal(part_of(session, part).mask, bar(top=30)), "a page that counts from one again"
    session.submit(other, "good", number=90_007)
    assert session.draft(other, bar(), {}, number=91_007) and session.draft(other, bar(), {}) and not session.draft(other, bar(), {}, number=80_007)
    assert session.draft(other, bar(), {}, number=89_050), "a second view of the same canvas has other numbers"


def test_a_draft_older_than_the_answer_does_not_come_back(world):
    session = session_of(world[0])
    store, (part, mine, _, _) = session.loop.store, session.round.asked
    session.submit(part, "defective", bar(), 1.0)
    session.submit(mine, "good")
    for i in (part, mine): store.draft(i, "ana", bar(top=40), {})
    store.db.run("update draft set time = '2020-01-01T00:00:00.000+00:00' where sample = ?", part)
    assert np.array_equal(part_of(session, part).mask, bar()) and np.array_equal(part_of(session, mine).mask, bar(top=40))
    assert [row["draft"] for row in state_message(session)["queue"]] == [False, True, False, False]


@pytest.mark.parametrize("verdict", ["good", "no-mask"])
def test_a_mask_can_be_taken_back_and_no_model_learns_from_it(world, verdict):
    session = session_of(world[0])
    part = session.round.asked[0]
    session.submit(part, "defective", bar())
    Session(session.loop, "ben").submit(part, "defective", bar(top=40))
    assert np.array_equal(session.loop.store.latest().masks[part], bar(top=40))
    Session(session.loop, "ben").submit(part, verdict)
    assert np.array_equal(session.loop.store.latest().masks[part], bar()), "Ana's mask is not Ben's to take back"
    session.submit(part, verdict)
    labels = session.loop.store.latest()
    assert part not in labels.masks and part in labels.settled_ids and (part in labels.strong_ids) == (verdict == "good")
    session.submit(part, "defective", bar(top=30))
    assert np.array_equal(session.loop.store.latest().masks[part], bar(top=30))


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
    for sample in ana.round.asked: ana.submit(sample, "skip")
    assert advance(ana).number == 3
    late = session_of(world[0], tmp_path / "p.db", "ben", Random(), blind=True)
    assert late.round.number == 1 and ben.round.number == 1, "what is open for him is not passed over"
    for sample in ben.round.asked: ben.submit(sample, "good")
    assert advance(ben).number == 2 and left_of(ben.queue) == list(ben.round.asked)
    for sample in ben.round.asked: ben.submit(sample, "good")
    assert advance(ben).number == 3 and list(ben.round.asked) == list(ana.round.asked) and len(ben.loop.store.rounds) == 3


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


def test_a_done_round_stays_on_the_desk_until_somebody_presses_the_button(world, tmp_path):
    session = session_of(world[0], tmp_path / "p.db")
    for sample in session.round.asked: session.submit(sample, "defective", bar())
    def never(*_, **__): raise AssertionError("opening trains nothing")
    loop = Loop(world[0], LabelStore(tmp_path / "p.db"), PixelLearner(), LikelyDefect(), first=MedianDeviation(), batch=4, score=never)
    canvas = Canvas(loop, "ana")
    assert canvas.session.round.number == 1 and left_of(canvas.session.queue) == [] and len(loop.store.rounds) == 1
    assert reply(canvas.session, {"do": "ready"}, [], None)[0]["open"] is None
    loop.score = lambda strategy, state: strategy.score(state)
    assert advance(canvas.session).number == 2


def test_the_page_is_there_before_the_first_question(world):
    session = Canvas(Loop(world[0], LabelStore(), PixelLearner(), LikelyDefect(), first=MedianDeviation(), batch=4), "ana").session
    store, heard = session.loop.store, []
    say = lambda **content: reply(session, content, [], lambda *message: heard.append(message))[0]  # noqa: E731
    assert len(store.rounds) == 0 and say(do="ready", number=7)["state"]["unbegun"] and say(do="ready", number=7)["number"] == 7
    first = say(do="advance", first=True)
    assert (first["state"]["round"], first["state"]["unbegun"], first["open"]) == (1, False, session.round.asked[0])
    assert say(do="advance", first=True)["state"]["round"] == 1, "a second page is asked the same"
    with pytest.raises(ValueError, match="4 parts of this round are open"): say(do="advance", first=False)
    assert "asks its first question" in repr(Canvas(Loop(world[0], LabelStore(), PixelLearner(), Random()))) and Session(session.loop, "ben", begin=False).round.number == 1


def test_what_goes_wrong_is_said_and_logged_with_its_trace(world, caplog, monkeypatch):
    canvas, heard = Canvas(session_of(world[0])), []
    canvas.send = lambda message, buffers=None: heard.append(message)
    def breaks(*_): raise RuntimeError("a bolt is loose")
    monkeypatch.setattr("active_defects.studio.canvas.part_of", breaks)
    canvas.hear({"do": "open", "sample": canvas.session.round.asked[0], "number": 5}, [])
    assert heard[0]["words"] == "a bolt is loose" and heard[0]["number"] == 5
    assert caplog.records[0].exc_info[1].args == ("a bolt is loose",) and "in breaks" in caplog.text


def test_an_oracle_keeps_its_question_where_another_wrote_one_first(world, tmp_path):
    pool, _ = world
    ana, ben = (Session(pool, name, store=tmp_path / "both.db") for name in ("ana", "ben"))
    first, add = Round(1, pool.ids[:2], pd.Series(0.0, pool.ids[:2]), pool.ids[:0], "asked", 0), ana.loop.store.rounds.add
    def beaten(record):
        if record.number == 1: ben.loop.store.rounds.add(first)
        return add(record)
    ana.loop.store.rounds.add = beaten
    annotate(ana, pool.ids[2:4])
    assert list(ana.round.asked) == list(pool.ids[2:4]) and ana.round.number == 2


def test_a_settled_pool_opens(world, tmp_path):
    pool, store = world[0], LabelStore(tmp_path / "p.db")
    store.add(Labels.of(dict.fromkeys(pool.ids, False)))
    canvas = Canvas(Loop(pool, store, PixelLearner(), Random()), "ana")
    assert canvas.session.round is None and "0 parts asked" in repr(canvas) and reply(canvas.session, {"do": "ready"}, [], None)[0]["open"] is None
    with pytest.raises(ValueError, match="nothing left to ask"): advance(canvas.session)
    assert len(Canvas(pool).session.queue) == 0
    done = session_of(pool[pool.ids[:4]], tmp_path / "q.db", strategy=Random())
    for sample in done.round.asked: done.submit(sample, "good")
    assert session_of(pool[pool.ids[:4]], tmp_path / "q.db", strategy=Random()).round.number == 1


def test_a_round_whose_file_is_gone_can_be_finished(world, tmp_path):
    session = session_of(world[0], tmp_path / "p.db")
    gone, *rest = session.round.asked
    session.draft(gone, bar(), {"seconds": 2.0})
    session = session_of(world[0].without([gone]), tmp_path / "p.db")
    part = part_of(session, gone)
    assert part.screen is None and "bring its file back, or skip" in part.trouble and part.reason.place == 1 and part_message(part)[0]["width"] == 0
    for act in (lambda: session.submit(gone, "good"), lambda: session.draft(gone, bar(), {})):
        with pytest.raises(ValueError, match="skip the part"): act()
    assert gone not in compare(session, [Random()])["Random"].index
    session.submit(gone, "skip")
    for sample in rest: session.submit(sample, "defective", bar())
    state_message(session)
    assert advance(session).number == 2 and part_of(session, session.round.asked[0]).heat_words == "probability of defect"


@pytest.mark.parametrize("seen", [False, True])
def test_a_picture_that_cannot_be_seen_is_not_judged(world, seen):
    class Images(dict):
        def __getitem__(self, key):
            if key in torn: raise OSError(f"{key}.png is torn")
            return super().__getitem__(key)

    torn = set()
    session = session_of(Pool(world[0].table, Images(world[0].images)))
    sample, blank, *_ = session.round.asked
    if seen: part_of(session, sample)
    torn.add(sample)
    if seen: assert part_of(session, sample).screen is None
    session.loop.pool.images[blank] = np.full((64, 64), np.nan, np.float32)
    for i in (sample, blank):
        for verdict in ("good", "defective", "no-mask"):
            with pytest.raises(ValueError, match="nobody can judge"): session.submit(i, verdict, bar())
    assert len(session.loop.store.log()) == 0 and session.submit(sample, "skip") == blank


def test_a_map_that_cannot_be_drawn_keeps_nobody_from_painting(world, monkeypatch):
    session = session_of(world[0])
    def fails(*_): raise RuntimeError("out of memory")
    monkeypatch.setattr("active_defects.studio.reasons.heat_of", fails)
    part = part_of(session, session.round.asked[0])
    assert part.screen.pixels.shape == (64, 64) and part.heat is part.proposal is None and "out of memory" in part.heat_words and part.trouble == ""


def test_left_in_the_pool_are_those_nobody_was_asked_about(world):
    session = session_of(world[0])
    assert standing(session).left_in_pool == 36
    session.submit(session.round.asked[0], "defective", bar())
    session.loop.store.add(Labels.of({session.round.asked[1]: True}, annotator="ben"), 1)
    assert standing(session).left_in_pool == 36 and standing(session).ahead is not None


def test_reasons_are_quick_after_many_rounds(tmp_path, monkeypatch):
    ids = pd.Index([f"p{k}" for k in range(10_000)], dtype=object)
    pool, store = Pool(pd.DataFrame(index=ids), dict.fromkeys(ids, np.zeros((16, 16), np.float32))), LabelStore(tmp_path / "p.db")
    scores = pd.Series(np.random.default_rng(0).random(len(ids)), ids)
    for number in range(1, 51): store.rounds.add(Round(number, ids[:2], scores, ids[:0], f"S{number % 3}", 0))
    session = Session(Loop(pool, store, PixelLearner(), Random()), "ana")
    read, run = [], store.db.run
    monkeypatch.setattr(store.db, "run", lambda statement, *values, **more: (read.append(values) if "from score" in statement else None) or run(statement, *values, **more))
    reasons = []
    assert calls(lambda: reasons.append(part_of(session, ids[0]).reason), store.db) < 3 * len(ids) and set(reasons[0].elsewhere) == {"S0", "S1"}
    assert read == [(47,), (48,), (49,)], "of each other strategy the last scores, and of no round that nobody looks at"
    assert calls(lambda: part_of(session, ids[1]), store.db) < 2 * len(ids) and len(read) == 3, "what was read once is known"


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


def test_an_oracle_returns_each_answer_once(tmp_path, world):
    pool, _ = world
    oracle = Session(pool, "ana", store=tmp_path / "ana.db")
    ids = list(pool.ids[:3])
    assert len(annotate(oracle, ids)) == 0
    oracle.submit(ids[1], "defective", bar(), 7.0)
    assert annotate(oracle, ids).ids.tolist() == [ids[1]] and len(annotate(oracle, ids)) == 0
    oracle.submit(ids[0], "good")
    assert annotate(oracle, ids[::-1]).ids.tolist() == [ids[0]] and len(oracle.loop.store.rounds) == 1, "the order of ids makes no new question"
    oracle.submit(ids[1], "no-mask")
    again = annotate(oracle, ids)
    assert again.ids.tolist() == [ids[1]] and not again.table.maskable.iloc[0] and len(again.masks) == 0, "a correction is news"
    assert set(annotate(Session(pool, "ana", store=tmp_path / "ana.db"), ids).ids) == set(ids[:2]), "a new session begins from the first answer"


def test_what_an_oracle_returns_again_is_written_once_and_with_its_time(tmp_path, world):
    pool, _ = world
    loop = Loop(pool, LabelStore(), PixelLearner(), Random(), batch=3)
    asked, oracle = loop.ask(), Session(pool, "ana", store=tmp_path / "ana.db")
    annotate(oracle, asked.ids)
    oracle.submit(asked.ids[1], "defective", bar(), 7.0)
    for _ in range(2): loop.tell(asked, annotate(Session(pool, "ana", store=tmp_path / "ana.db"), asked.ids))
    assert loop.store.log()["time"].tolist() == oracle.loop.store.log()["time"].tolist() and len(loop.store.log()) == 1
    oracle.submit(asked.ids[1], "good")
    loop.tell(asked, annotate(oracle, asked.ids))
    assert not loop.store.latest().table.defective[asked.ids[1]]


def test_a_blind_oracle_returns_its_own_answers(tmp_path, world):
    pool, _ = world
    ana, ben = (Session(pool, name, blind=True, store=tmp_path / "both.db") for name in ("ana", "ben"))
    annotate(ana, pool.ids[:2])
    ben = Session(pool, "ben", blind=True, store=tmp_path / "both.db")
    ana.submit(pool.ids[0], "good")
    assert len(annotate(ben, pool.ids[:2])) == 0
    ben.submit(pool.ids[0], "no-mask")
    assert annotate(ana, pool.ids[:2]).table.annotator.tolist() == ["ana"] and annotate(ben, pool.ids[:2]).table.annotator.tolist() == ["ben"]


def test_a_mask_over_the_limit_of_the_store_is_not_unpacked(tmp_path, world):
    session = session_of(world[0], tmp_path / "p.db")
    part = session.round.asked[0]
    session.submit(part, "defective", bar())
    session.loop.store.limit_pixels = 100
    assert part_of(session, part).mask is None and "limit_pixels=100" in part_of(session, part).trouble


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


def test_another_verdict_is_named_unless_blind(world, tmp_path):
    ana, ben, eve = (session_of(world[0], tmp_path / "p.db", name, blind=name == "eve") for name in ("ana", "ben", "eve"))
    first, second, *_ = ana.round.asked
    ana.draft(second, bar(), {})
    ana.submit(first, "defective", bar())
    hear = lambda desk: reply(desk, {"do": "submit", "sample": first, "verdict": "good", "seconds": 1.0}, [], None)[0]["others"]  # noqa: E731
    assert [name for name, *_ in hear(ben)] == ["ana"] and hear(ben)[0][1] == "defective" and hear(eve) == []
    part = part_of(ben, first)
    assert part.drawn_by == "ana" and np.array_equal(part.proposal, bar()) and list(part.others) == ["ana", "eve"]
    assert part_of(eve, first).others == {} and part_of(eve, first).proposal is None
    assert ben.submit(first, "good") not in (None, second) and where_to_begin(ben) != second == where_to_begin(ana)


def test_a_draft_of_seconds_leaves_the_paint(world):
    session = session_of(world[0])
    first, second = session.round.asked[:2]
    for sample in (first, second): session.draft(sample, bar(), {"seconds": 1})
    session.draft(first, None, {"seconds": 5})
    mask, note = session.loop.store.drafts("ana")[first]
    assert np.array_equal(mask, bar()) and note["seconds"] == 5
    session.draft(first, np.zeros((64, 64), bool), {})
    assert not session.loop.store.drafts("ana")[first][0].any()
    session.submit(second, "good")
    session.draft(second, None, {})
    assert session.loop.store.drafts("ana")[second][0] is None, "what was answered came back"


def test_the_curve_counts_each_part_once(world):
    session = session_of(world[0])
    first, second, third, _ = session.round.asked
    for sample, verdict in ((first, "defective"), (second, "good"), (first, "good"), (third, "no-mask"), (first, "skip")): session.submit(sample, verdict, bar(), 6.0)
    assert standing(session).curve == [(0, 0, 0.0), (2, 0, 0.4), (3, 1, 0.5)]


def test_a_probability_that_is_low_everywhere_is_stretched(world):
    part = part_of(session := session_of(world[0]), session.round.asked[0])
    low, sure = (replace(part, heat=np.array([[0, top / 2, top]]), heat_words="probability of defect") for top in (0.04, 0.8))
    levels = lambda part: list(dict(zip(part_message(part)[0]["buffers"], part_message(part)[1]))["heat"])  # noqa: E731
    assert levels(low) == [0, 128, 255] and "not sure of any pixel (highest 4 %), so the colors run from 0 to 4 %" in part_message(low)[0]["heat_words"]
    assert levels(sure) == [0, 102, 204] and part_message(sure)[0]["heat_words"] == "probability of defect"


# What is refused

@pytest.mark.parametrize("act, words", [
    (lambda s, i: s.submit(i, "perhaps"), "no verdict"), (lambda s, i: s.submit(i, "defective"), "nothing is painted"), (lambda s, i: s.submit(i, "defective", np.zeros((64, 64), bool)), "nothing is painted"),
    (lambda s, i: s.submit("elsewhere", "good"), "not in this question"), (lambda s, i: s.draft("elsewhere", None, {}), "not in this question"), (lambda s, i: s.submit(i, "good", seconds=-1), "at least 0"),
    (lambda s, i: s.submit(i, "good", seconds=float("nan")), "at least 0"), (lambda s, i: advance(s), "4 parts of this round are open"), (lambda s, i: part_of(s, "elsewhere"), "not in this question"),
    (lambda s, i: Session(s.loop, "  "), "needs a name"), (lambda s, i: Session(s.loop, "assumed"), "nobody has looked at"), (lambda s, i: Session(s.loop, " ana"), "space"), (lambda s, i: Session(s.loop, "ana\n"), "space"),
    (lambda s, i: s.submit(i, "defective", np.ones((8, 8), bool)), r"\(8, 8\), its image \(64, 64\)"), (lambda s, i: s.draft(i, np.ones((64, 65), bool), {}), "its image"), (lambda s, i: s.submit(i, "defective", bar()[None]), "its image"),
    (lambda s, i: Session(s.loop, "ana", store="other.db"), "its own store"), (lambda s, i: Canvas(s, "ben"), "already"), (lambda s, i: Canvas(s, blind=True), "already"), (lambda s, i: Canvas(s, store="x.db"), "already"),
    (lambda s, i: Canvas(s.loop.pool, rivals=[Random()]), "nothing to compare")])
def test_what_cannot_be_meant_is_refused_and_nothing_is_written(world, act, words):
    session = session_of(world[0])
    with pytest.raises(ValueError, match=words): act(session, session.round.asked[0])
    assert len(session.loop.store.log()) == len(session.loop.store.drafts("ana")) == 0


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
    whole = pack_mask(np.random.default_rng(1).random(shape) < 0.5)
    for cut in range(1, len(whole)):
        with pytest.raises(ValueError): unpack_mask(whole[:-cut], shape)
        if cut > 20: break
    with pytest.raises(ValueError, match="behind its end"): unpack_mask(whole + b"more", shape)
    for odd in ((0, 5), (5,), (-8, -8), (4, 4, 3)):
        with pytest.raises(ValueError, match="two sides"): unpack_mask(whole, odd)


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
    assert [tuple(message[key] for key in ("do", "sample", "number")) for message in heard[-4:]] == [("dance", None, None), (None, None, None), ("open", "elsewhere", None), ("draft", session.round.asked[0], 1)]
    echoed = say({"do": "submit", "sample": session.round.asked[0], "verdict": "skip", "seconds": 2.0, "number": 12}, np.ones((3, 3), bool))
    assert (echoed["is"], echoed["do"], echoed["sample"], echoed["number"]) == ("answered", "submit", session.round.asked[0], 12)


def test_the_queue_is_quick_in_a_long_log(tmp_path):
    ids = [f"p{k}" for k in range(5000)]
    pool = Pool(pd.DataFrame(index=pd.Index(ids, dtype=object)), dict.fromkeys(ids, np.zeros((16, 16), np.float32)))
    session = session_of(pool, tmp_path / "p.db", strategy=Random(), batch=20)
    session.loop.store.add(Labels.of(dict.fromkeys([i for i in ids if i not in session.round.asked], False)), 0)
    assert calls(lambda: session.queue, session.loop.store.db) < 2 * len(ids)
