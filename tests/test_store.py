"""Nothing that was answered is lost: not by two writers, not by kill -9, not by a full disk, not by a newer program."""
import copy
import errno
import os
import pickle
import re
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest
from active_defects.data.atomic import write_whole
from active_defects.data.database import StoreError
from active_defects.data.labels import Labels
from active_defects.data.packed_masks import decode_mask, encode_mask
from active_defects.data.round_log import Round
from active_defects.data.store import SCHEMA, LabelStore
from active_defects.learners.shelf import Shelf, load_weights, save_weights
from effort import calls
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import no_room

MASK = np.eye(8, dtype=bool)


def question(number=1, ids=("a", "b", "c")):
    return Round(number, pd.Index(ids, dtype=object), pd.Series(range(len(ids)), ids, dtype=float), pd.Index([], dtype=object), "Random", 0)


# ---- two at once

def answer_alone(path, start, name, count):
    "One of several writers: opens the store when all are ready, and answers one part at a time."
    start.wait(60)
    store = LabelStore(path)
    for k in range(count): store.add(Labels.of({f"{name}{k:03d}": k % 2 == 0}, {f"{name}{k:03d}": MASK} if k % 2 == 0 else {}, annotator=name), round=1)


def test_two_processes_answer_at_once(tmp_path):
    path, spawn = tmp_path / "parts.db", get_context("spawn")
    start = spawn.Barrier(2)
    writers = [spawn.Process(target=answer_alone, args=(path, start, name, 200)) for name in ("ann", "bob")]
    for writer in writers: writer.start()
    for writer in writers: writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    log = LabelStore(path).log()
    assert log.number.tolist() == list(range(1, 401)) and log["sample"].is_unique
    assert log.groupby("annotator").size().to_dict() == {"ann": 200, "bob": 200} and log.has_mask.sum() == 200
    assert all(log[log.annotator == name]["sample"].is_monotonic_increasing for name in ("ann", "bob"))
    assert LabelStore(path).db.run("pragma integrity_check") == [("ok",)]


def open_many(folder, start, failures):
    "One of two processes that meet at every new store."
    for k in range(60):
        start.wait(60)
        try: LabelStore(folder / f"{k}.db").db.close()
        except Exception as error: failures.put(str(error))  # noqa: BLE001


def test_two_processes_open_a_new_store_at_once(tmp_path):
    "Whoever comes first creates the tables, the other one waits; also while the file is turned into write-ahead mode, where SQLite itself does not wait."
    spawn = get_context("spawn")
    start, failures = spawn.Barrier(2), spawn.Queue()
    both = [spawn.Process(target=open_many, args=(tmp_path, start, failures)) for _ in range(2)]
    for process in both: process.start()
    for process in both: process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert failures.empty(), f"{failures.get()} (and {failures.qsize()} more)"
    assert all(LabelStore(tmp_path / f"{k}.db").db.run("pragma journal_mode") == [("wal",)] for k in range(60))


def test_whoever_writes_a_round_first_has_it(tmp_path):
    stores = [LabelStore(tmp_path / "parts.db") for _ in range(8)]
    with ThreadPoolExecutor(8) as threads: got = list(threads.map(lambda k: stores[k].rounds.add(question(1, (f"a{k}", f"b{k}"))), range(8)))
    assert len({tuple(r.asked) for r in got}) == 1 and len(stores[0].rounds) == 1
    assert set(got[0].scores.index) == set(got[0].asked), "scores of two questions are mixed up"


# ---- kill -9

WRITER = """
import sys
import numpy as np
from active_defects.data.labels import Labels
from active_defects.data.store import LabelStore
store, rng = LabelStore(sys.argv[1]), np.random.default_rng(0)
for k in range(100_000):
    ids = [f"{k:06d}-{j}" for j in range(10)]
    store.add(Labels.of(dict.fromkeys(ids, True), {i: rng.random((64, 64)) < 0.5 for i in ids}), round=k)
    print(k, flush=True)
"""


@pytest.mark.parametrize("confirmed", [1, 40])
def test_a_killed_writer_leaves_whole_transactions_only(tmp_path, confirmed):
    path = tmp_path / "parts.db"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    for _ in range(confirmed): assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    confirmed += len(process.stdout.read().split("\n")[:-1])
    assert process.wait() == -signal.SIGKILL
    store = LabelStore(path)
    log = store.log()
    assert (log.groupby("round").size() == 10).all(), "half of a transaction"
    assert len(log) >= 10 * confirmed, "an answer that had been confirmed is gone"
    assert log.number.tolist() == list(range(1, len(log) + 1))
    assert store.db.run("pragma integrity_check") == [("ok",)]
    assert all(mask.shape == (64, 64) and mask.any() for mask in store.latest().masks.values())
    store.add(Labels.of({"after": False}))
    assert not store.latest().table.defective["after"] and len(store.log()) == len(log) + 1


# ---- files of other versions, and of no version

def test_a_newer_store_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "parts.db"
    store = LabelStore(path)
    store.add(Labels.of({"a": True}, {"a": MASK}))
    store.db.run(f"pragma user_version = {SCHEMA + 1}")
    store.db.run("pragma wal_checkpoint(truncate)")
    store.db.close()
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreError, match="newer version.*update active_defects") as raised: LabelStore(path)
        assert str(path) in str(raised.value)
    del raised
    assert path.read_bytes() == before


def test_an_opened_store_is_not_rewritten(tmp_path):
    path = tmp_path / "parts.db"
    store = LabelStore(path)
    store.add(Labels.of({"a": True}))
    store.db.close()
    before = path.read_bytes()
    again = LabelStore(path)
    assert len(again.log()) == 1
    again.db.close()
    assert path.read_bytes() == before


def test_what_is_no_store_is_refused_and_left_alone(tmp_path):
    text = tmp_path / "notes.db"
    text.write_text("these are not the answers you are looking for" * 50)
    before = text.read_bytes()
    with pytest.raises(StoreError, match="another file") as raised: LabelStore(text)
    assert "notes.db" in str(raised.value) and text.read_bytes() == before
    with pytest.raises(StoreError, match="folder"): LabelStore(tmp_path / "absent" / "parts.db")


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "bookmarks.db"
    raw = sqlite3.connect(path)
    raw.executescript("create table bookmark (url text); insert into bookmark values ('x');")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not a label store"): LabelStore(path)
    assert path.read_bytes() == before


# ---- it only grows

@pytest.mark.parametrize("statement", [f"{verb} {table}" for table in ("answer", "round", "score") for verb in ("delete from", "update")])
def test_the_log_only_grows(tmp_path, statement):
    store = LabelStore(tmp_path / "parts.db")
    store.rounds.add(question())
    store.add(Labels.of({"a": True}, {"a": MASK}), round=1)
    raw = sqlite3.connect(tmp_path / "parts.db", isolation_level=None)
    column = {"answer": "sample", "round": "strategy", "score": "value"}[statement.split()[-1]]
    with pytest.raises(sqlite3.IntegrityError, match="only grows"): raw.execute(statement + (f" set {column} = 0" if statement.startswith("update") else ""))
    with pytest.raises(StoreError, match="only grows"): store.db.run(statement + (f" set {column} = 0" if statement.startswith("update") else ""))
    raw.close()
    assert len(store.log()) == 1 and len(store.rounds) == 1


# ---- the latest verdict and the latest mask are two questions

MASKS = [np.arange(12).reshape(3, 4) == k for k in range(4)]
ANSWERS = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([True, False, None]), st.sampled_from([None, 0, 1, 2, 3]), st.booleans(), st.sampled_from(["ana", "ben"])), max_size=12)


def believed(answers):
    "The rule in plain words: the last verdict that is one counts, with whether it says a mask can be had; the last mask counts that its author has not taken back by saying good, or not maskable."
    state = {}
    for number, (sample, verdict, mask, maskable, who) in enumerate(answers, 1):
        old = state.setdefault(sample, dict(verdict=None, masks=[], maskable=maskable, round=number))
        if verdict is not None or old["verdict"] is None: old.update(verdict=verdict, maskable=maskable, round=number)
        if verdict is False or verdict is not None and not maskable: old["masks"] = [(by, drawn) for by, drawn in old["masks"] if by != who]
        if mask is not None: old["masks"].append((who, mask))
    for known in state.values(): known["mask"] = known["masks"][-1][1] if known["masks"] else None
    return state


def agree(labels, model):
    assert set(labels.ids) == set(model)
    for sample, known in model.items():
        row = labels.table.loc[sample]
        assert (None if pd.isna(row.defective) else bool(row.defective)) == known["verdict"]
        assert bool(row.maskable) == known["maskable"] and row["round"] == known["round"]
        assert (sample in labels.masks) == (known["mask"] is not None)
        if known["mask"] is not None: assert np.array_equal(labels.masks[sample], MASKS[known["mask"]])
    strong = {s for s, k in model.items() if k["verdict"] is False or k["verdict"] and k["mask"] is not None}
    assert set(labels.strong_ids) == strong
    assert set(labels.settled_ids) == strong | {s for s, k in model.items() if k["verdict"] is None or not k["maskable"]}


@settings(max_examples=150, deadline=None)
@given(ANSWERS, st.integers(0, 12))
def test_verdict_and_mask_are_resolved_separately_in_all_orders(answers, until):
    store = LabelStore()
    for number, (sample, verdict, mask, maskable, who) in enumerate(answers, 1):
        store.add(Labels.of({sample: verdict}, {} if mask is None else {sample: MASKS[mask]}, who, maskable=maskable), round=number)
    agree(store.latest(), believed(answers))
    agree(store.latest(until), believed(answers[:until]))
    assert len(store.log()) == len(answers)
    store.db.close()


def test_only_its_author_takes_a_mask_back():
    store = LabelStore()
    tell = lambda who, verdict, mask=None, maskable=True: store.add(Labels.of({"a": verdict}, {} if mask is None else {"a": mask}, who, maskable=maskable), round=len(store.log()) + 1)  # noqa: E731
    tell("ana", True, MASKS[0])
    for verdict, maskable in ((True, False), (False, True), (None, True)): tell("ben", verdict, maskable=maskable)
    tell("ana", None)
    tell("ana", True)
    assert np.array_equal(store.latest().masks["a"], MASKS[0]), "skips, confirmations and other people's verdicts erase nothing"
    tell("ana", True, maskable=False)
    tell("ben", True)
    now = store.latest()
    assert "a" not in now.masks and "a" not in now.strong_ids and "a" not in now.settled_ids
    assert store.unanswered(store.rounds.add(Round(1, pd.Index(["b", "a"]), pd.Series({"a": 1.0, "b": 1.0}), pd.Index([]), "r", 0))).tolist() == ["b"], "asked in round 1 and answered there"
    assert np.array_equal(store.latest(6).masks["a"], MASKS[0]), "what was known then stays known"
    assert len(store.latest(annotator="ana").masks) == 0 and store.log().has_mask.sum() == 1
    tell("ben", True, MASKS[1])
    assert np.array_equal(store.latest().masks["a"], MASKS[1])


# ---- when it was said

def told(store, who, verdict, seconds=None, masks={}, **more):
    labels = Labels.of({"p": verdict}, masks, annotator=who, **more)
    store.add(labels if seconds is None else Labels(labels.table.assign(time=float(seconds)), labels.masks), round=1)


def test_the_answer_that_was_given_last_counts_whenever_it_is_told(tmp_path):
    store = LabelStore(tmp_path / "p.db")
    told(store, "ann", True, 1_000, {"p": MASK})
    told(store, "bea", False, 500)
    assert store.latest().table.annotator["p"] == "ann" and store.latest(annotator="bea").table.annotator["p"] == "bea" and np.array_equal(store.latest().masks["p"], MASK)
    assert store.log().annotator.tolist() == ["bea", "ann"] and store.log()["number"].tolist() == [2, 1]
    told(store, "cem", False, 1_000)
    assert store.latest().table.annotator["p"] == "cem", "of one moment the one that was told later"
    told(store, "ann", False, 999)
    assert np.array_equal(store.latest().masks["p"], MASK), "what she took back before she drew is not taken back"
    told(store, "ann", True, 1_001, maskable=False)
    assert not len(store.latest().masks) and LabelStore(tmp_path / "p.db").latest().table.equals(store.latest().table)


def test_a_clock_that_goes_back_hides_no_correction(monkeypatch):
    store, now = LabelStore(), [2_000_000_000.0]
    monkeypatch.setattr("active_defects.data.store.time.time", lambda: now[0])
    told(store, "ann", True, masks={"p": MASK})
    now[0] = 1_000_000_000.0
    told(store, "ann", False)
    assert not store.latest().table.defective["p"] and not len(store.latest().masks) and store.log()["time"].nunique() == 1
    store.add(Labels.of({"q": True}, annotator="ann"))
    assert store.log()["sample"].tolist() == ["q", "p", "p"], "another part has a time of its own"


def test_an_old_answer_that_is_told_late_leaves_the_draft_of_today():
    store = LabelStore()
    store.draft("p", "ann", MASK, {})
    told(store, "ann", True, 1_000)
    assert list(store.drafts("ann")) == ["p"]
    told(store, "ann", True)
    assert list(store.drafts("ann")) == []


def test_an_answer_with_a_time_is_written_once():
    store = LabelStore()
    for _ in range(3): told(store, "ann", True, 1_700_000_000.123)
    for who, when in (("ann", 1_700_000_000.124), ("bea", 1_700_000_000.123)): told(store, who, True, when)
    for _ in range(2): told(store, "cem", True)
    assert store.log().annotator.value_counts().to_dict() == {"ann": 2, "cem": 2, "bea": 1} and store.log()["time"][0] == "2023-11-14T22:13:20.123+00:00"


def test_answers_of_some_parts_are_read_alone():
    store = LabelStore()
    store.add(Labels.of({"a": True, "b'\"": False, "c": None}, annotator="ann"), 1)
    assert store.log(["b'\"", "nobody"])["sample"].tolist() == ["b'\""] and len(store.log([])) == 0 and len(store.log()) == 3


def test_taking_back_keeps_the_view_quick(tmp_path):
    store, ids = LabelStore(tmp_path / "parts.db"), [f"p{k}" for k in range(5000)]
    store.add(Labels.of(dict.fromkeys(ids, True), dict.fromkeys(ids, MASKS[0]), "ana"))
    store.add(Labels.of(dict.fromkeys(ids, False), annotator="ana"))
    labels = store.latest()
    assert calls(store.latest, store.db) < 15 * len(ids) and len(labels.masks) == 0 and len(labels.strong_ids) == 5000


# ---- masks

@settings(max_examples=80, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(["random", "empty", "full", "one", "stripes", "turned"]), st.integers(0, 2 ** 32 - 1))
def test_masks_come_back_as_they_went(height, width, kind, seed):
    rng = np.random.default_rng(seed)
    mask = {"random": lambda: rng.random((height, width)) < rng.random(), "empty": lambda: np.zeros((height, width), bool), "full": lambda: np.ones((height, width), bool),
            "one": lambda: np.arange(height * width).reshape(height, width) == rng.integers(height * width),
            "stripes": lambda: (rng.random((2 * height, 3 * width)) < 0.5)[::2, ::3], "turned": lambda: (rng.random((width, height)) < 0.5).T}[kind]()
    assert mask.shape == (height, width)
    png = encode_mask(mask)
    back = decode_mask(png)
    assert back.dtype == bool and np.array_equal(back, mask) and png.startswith(b"\x89PNG")


def test_a_large_mask_comes_back_from_the_file(tmp_path):
    mask = np.random.default_rng(0).random((1500, 777)) < 0.01
    LabelStore(tmp_path / "parts.db").add(Labels.of({"a": True}, {"a": mask}))
    assert np.array_equal(LabelStore(tmp_path / "parts.db").latest().masks["a"], mask)


# ---- masks are read when they are asked for

def test_ids_and_table_need_no_mask_and_a_mask_needs_one_row(tmp_path, monkeypatch):
    store = LabelStore(tmp_path / "parts.db")
    store.add(Labels.of(dict.fromkeys("abc", True), {i: MASK for i in "abc"}))
    asked, run = [], store.db.run
    monkeypatch.setattr(store.db, "run", lambda statement, *values, **more: asked.append(statement) or run(statement, *values, **more))
    labels = store.latest()
    assert labels.ids.tolist() == list("abc") and labels.strong_ids.tolist() == list("abc") and labels[["b"]].settled_ids.tolist() == ["b"]
    assert not [statement for statement in asked if re.search(r"select[^?]*\bmask\b(?! is not null)", statement)], "a picture was read that nobody asked for"
    assert np.array_equal(labels[["b"]].masks["b"], MASK) and asked[-1].startswith("select mask from answer where number")
    with pytest.raises(KeyError): labels.masks["z"]


def test_labels_travel_with_their_pictures(tmp_path):
    store = LabelStore(tmp_path / "parts.db")
    store.add(Labels.of({"a": True, "b": False}, {"a": MASK}))
    sent, some = pickle.dumps(store.latest()), pickle.dumps(store.latest()[["a"]])
    (other := copy.deepcopy(store.latest())).masks["a"]
    store.db.close()
    (tmp_path / "parts.db").unlink()
    for packed in (pickle.loads(sent), pickle.loads(some), other): assert np.array_equal(packed.masks["a"], MASK) and list(packed.masks) == ["a"]


def test_masks_of_yesterday_are_those_of_yesterday(tmp_path):
    "What was read from the log does not change when the log grows."
    store = LabelStore(tmp_path / "parts.db")
    store.add(Labels.of({"a": True}, {"a": MASK}), round=1)
    before = store.latest()
    store.add(Labels.of({"a": True}, {"a": ~MASK}), round=2)
    assert np.array_equal(before.masks["a"], MASK) and np.array_equal(store.latest(1).masks["a"], MASK) and np.array_equal(store.latest().masks["a"], ~MASK)


# ---- drafts

def test_drafts_come_and_go_and_are_no_answers(tmp_path):
    store = LabelStore(tmp_path / "parts.db")
    assert store.drafts("ana") == {}
    store.drop_draft("a", "ana")
    for k in range(5): store.draft("a", "ana", np.roll(MASK, k), {"strokes": k, "zoom": 1.5, "tool": "brush"})
    store.draft("b", "ana", None, {})
    store.draft("a", "ben", ~MASK, {"strokes": 1})
    assert len(store.log()) == 0 and list(store.drafts("ana")) == ["a", "b"]
    again = LabelStore(tmp_path / "parts.db")
    mask, note = again.drafts("ana")["a"]
    assert np.array_equal(mask, np.roll(MASK, 4)) and note == {"strokes": 4, "zoom": 1.5, "tool": "brush"} and again.drafts("ana")["b"] == (None, {})
    again.add(Labels.of({"a": True, "c": False}, {"a": MASK}, annotator="ana"))
    assert list(store.drafts("ana")) == ["b"] and np.array_equal(store.drafts("ben")["a"][0], ~MASK), "an answer took another's draft along"
    again.drop_draft("b", "ana")
    assert store.drafts("ana") == {} and len(store.log()) == 2


def test_an_answer_that_does_not_fit_leaves_its_draft(tmp_path):
    store = LabelStore(tmp_path / "parts.db")
    store.draft("a", "ana", MASK, {})
    store.db.run("pragma max_page_count = 1")
    with pytest.raises(StoreError, match="full"): store.add(Labels.of({"a": True}, {"a": np.random.default_rng(0).random((512, 512)) < 0.5}, annotator="ana"))
    assert np.array_equal(store.drafts("ana")["a"][0], MASK) and len(store.log()) == 0


OLD = """create table answer (number integer primary key, sample text not null, round integer not null, defective integer, mask blob,
    maskable integer not null, annotator text not null, seconds real not null, time text not null);
create index answer_sample on answer (sample);
create table round (number integer primary key, strategy text not null, seed integer not null, asked text not null, assumed text not null, models text not null, time text not null);
create table score (round integer not null, sample text not null, value real not null, primary key (round, sample)) without rowid;
create trigger answer_no_update before update on answer begin select raise(abort, 'the log only grows'); end;
pragma user_version = 1"""


def test_a_store_of_an_earlier_version_is_read_and_gets_drafts_with_the_first_one(tmp_path):
    path = tmp_path / "parts.db"
    raw = sqlite3.connect(path)
    raw.executescript(OLD)
    raw.execute("insert into answer values (1, 'a', 1, 1, ?, 1, 'ana', 40.0, '2026-01-01T00:00:00.000+00:00')", (encode_mask(MASK),))
    raw.commit()
    raw.close()
    before = path.read_bytes()
    store = LabelStore(path)
    assert np.array_equal(store.latest().masks["a"], MASK) and store.latest().table.seconds["a"] == 40 and store.drafts("ana") == {}
    store.db.close()
    assert path.read_bytes() == before, "looking at it changed it"
    store = LabelStore(path)
    store.draft("b", "ana", MASK, {"strokes": 3})
    store.add(Labels.of({"b": True}, {"b": ~MASK}, annotator="ben"))
    assert np.array_equal(store.latest().masks["b"], ~MASK) and list(store.drafts("ana")) == ["b"]
    assert store.db.run("pragma user_version") == [(1,)], "the earlier version could not open it any more"


DRAWER = """
import sys
import numpy as np
from active_defects.data.store import LabelStore
store, mask = LabelStore(sys.argv[1]), np.zeros((64, 64), bool)
for k in range(100_000):
    mask[k // 64 % 64, k % 64] = True
    store.draft("a", "ana", mask, {"strokes": k})
    print(k, flush=True)
"""


def test_a_killed_painter_loses_at_most_the_stroke_under_the_hand(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", DRAWER, str(tmp_path / "parts.db")], stdout=subprocess.PIPE, text=True)
    for _ in range(30): assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    confirmed = 29 + len(process.stdout.read().split("\n")[:-1])
    assert process.wait() == -signal.SIGKILL
    mask, note = LabelStore(tmp_path / "parts.db").drafts("ana")["a"]
    assert confirmed <= note["strokes"] <= confirmed + 1 and mask.sum() == note["strokes"] + 1


# ---- the size that the book promises

def test_a_tenth_of_the_promise(tmp_path):
    "1,000 painted masks of 512 × 512 in under 5 MB; ids and table without a look at them, one mask with little work (the full size, in seconds: experiments/bench_store.py)."
    rng, store = np.random.default_rng(0), LabelStore(tmp_path / "parts.db")
    y, x = np.mgrid[:512, :512]
    def painted():
        (top, left), turn, width = rng.integers(100, 400, 2), rng.uniform(0, np.pi), rng.uniform(2, 12)
        along, across = (y - top) * np.sin(turn) + (x - left) * np.cos(turn), (y - top) * np.cos(turn) - (x - left) * np.sin(turn)
        return (abs(along) < 90) & (abs(across + 8 * np.sin(along / 15)) < width)
    plates = [painted() for _ in range(40)]
    for k in range(0, 1000, 100):
        ids = [f"line1/part{j:04d}" for j in range(k, k + 100)]
        store.add(Labels.of(dict.fromkeys(ids, True), {i: np.roll(plates[j % 40], j, 0) for j, i in enumerate(ids, k)}, annotator="ana"), round=k)
    assert sum(f.stat().st_size for f in tmp_path.iterdir() if not f.name.endswith(("-wal", "-shm"))) < 5e6
    labels = store.latest()
    assert calls(lambda: store.latest().table, store.db) < 20_000 and calls(lambda: labels.masks["line1/part0500"], store.db) < 400


# ---- a full disk

def test_a_full_disk_keeps_what_was_answered_and_takes_more_later(tmp_path):
    path, rng = tmp_path / "parts.db", np.random.default_rng(0)
    store = LabelStore(path)
    store.add(Labels.of({"a": True, "b": False}, {"a": MASK}), round=1)
    noise = lambda: rng.random((512, 512)) < 0.5  # noqa: E731
    store.db.run("pragma max_page_count = 1")  # SQLite raises this to what the file already needs, so that every new page is one too many
    for _ in range(2):
        with pytest.raises(StoreError, match="disk is full; free some space and send these answers again") as raised:
            store.add(Labels.of(dict.fromkeys("cdef", True), {i: noise() for i in "cdef"}), round=2)
        assert "parts.db" in str(raised.value)
        assert store.log()["sample"].tolist() == ["a", "b"] and np.array_equal(store.latest().masks["a"], MASK)
    with pytest.raises(StoreError, match="full"): store.rounds.add(question(1, [f"part{k}" for k in range(5000)]))
    assert len(store.rounds) == 0 and store.db.run("select count(*) from score") == [(0,)]
    store.db.run("pragma max_page_count = 1000000")
    store.add(Labels.of(dict.fromkeys("cdef", True), {i: noise() for i in "cdef"}), round=2)
    store.db.close()
    assert LabelStore(path).log()["sample"].tolist() == list("abcdef")


class Weights:
    "A trained model that is one array."
    def __init__(self, value): self.value = value
    def save(self, path): return save_weights(path, {"w": np.full(1000, self.value)}, {})


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["os.fsync", "os.replace", "tempfile.mkstemp"])
def test_a_full_disk_while_a_model_is_saved_leaves_the_old_one(tmp_path, monkeypatch, where):
    path = Weights(1.0).save(tmp_path / "S.safetensors")
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(f"active_defects.data.atomic.{where}", full)
        with pytest.raises(OSError, match="disk is full; free some space and run again") as raised: Weights(2.0).save(path)
        assert raised.value.errno == errno.ENOSPC and str(path) in str(raised.value)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["S.safetensors"]
    Weights(2.0).save(path)
    assert load_weights(path)[0]["w"][0] == 2


def test_no_room_for_the_weights_themselves_ends_in_the_same_sentence(tmp_path):
    "safetensors has its own kind of error for this."
    path = Weights(1.0).save(tmp_path / "S.safetensors")
    before = path.read_bytes()
    with no_room(), pytest.raises(OSError, match="cannot write .*S.safetensors"): Weights(2.0).save(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["S.safetensors"]


def test_a_half_written_model_is_never_seen(tmp_path):
    path = tmp_path / "m.safetensors"

    def half(file):
        file.write_bytes(b"half")
        full()

    with pytest.raises(OSError, match="disk is full"): write_whole(path, half)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_could_not_be_saved_is_saved_the_next_time(tmp_path, monkeypatch):
    "The disk was full for a moment: asking for the model again keeps it, without training it again if it is still here."
    shelf, trained = Shelf(tmp_path / "models"), []

    def train(checkpoint):
        trained.append(checkpoint)
        return Weights(3.0)

    with monkeypatch.context() as patch:
        patch.setattr("active_defects.data.atomic.os.replace", full)
        with pytest.raises(OSError, match="disk is full"): shelf.get("S-1", train, None)
    assert not shelf.file("S-1").exists()
    shelf.get("S-1", train, None)
    assert shelf.file("S-1").exists() and len(trained) <= 2
