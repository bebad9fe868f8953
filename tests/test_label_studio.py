"""Label Studio: tasks out, annotations in, by file and by a server; what a real server said is replayed."""
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from test_coco import POOL, renamed, sizes

from active_defects.data.store import LabelStore
from active_defects.data.synth import synth_surfaces
from active_defects.loop.oracle import Oracle
from active_defects.studio.label_studio import INTERFACE, brush_result, read_label_studio, to_label_studio, write_label_studio
from active_defects.studio.label_studio_server import LabelStudio, call, open_label_studio

RECORDED = Path(__file__).parent / "data" / "label_studio_api.json"


def answered(i, *marks, number=7, who=None, **more):
    return {"id": number, "data": {"id": i}, "annotations": [{"id": 10 * number, "completed_by": who, "result": list(marks)} | more]}


def word(text):
    return {"type": "choices", "from_name": "verdict", "value": {"choices": [text]}}


def polygon(points, width=64, height=64, **more):
    return {"type": "polygonlabels", "original_width": width, "original_height": height, "image_rotation": 0, "value": {"points": points}} | more


# By file

def test_there_and_back_with_odd_names_and_sizes(tmp_path):
    pool, truth = renamed()
    scores = pd.Series(np.linspace(0, 1, 12), pool.ids)
    path = write_label_studio(to_label_studio(pool, pool.ids, scores, "MSMR", truth.masks), tmp_path / "tasks.json")
    tasks = json.loads(path.read_text(encoding="utf-8"))
    assert [t["data"]["id"] for t in tasks] == pool.ids.tolist() and [t["data"]["score"] for t in tasks] == scores.tolist()
    for number, task in enumerate(tasks, start=1):  # a person accepts every proposal as it is, and calls the rest good
        assert [p["score"] for p in task["predictions"]] == [task["data"]["score"]] and task["predictions"][0]["model_version"] == "MSMR"
        task |= {"id": number, "annotations": [{"id": number, "result": task["predictions"][0]["result"], "lead_time": 5}]}
    path.write_text(json.dumps(tasks), encoding="utf-8")
    received = read_label_studio(path, pool.ids, sizes(pool), annotator="ann")
    assert not len(received.rejected) and received.labels.ids.tolist() == pool.ids.tolist()
    assert received.labels.table.defective.tolist() == truth.table.defective.tolist() and all(np.array_equal(received.labels.masks[i], truth.masks[i]) for i in truth.masks)
    assert (received.labels.table.annotator == "ann").all() and (received.labels.table.seconds == 5).all()


def test_addresses_are_quoted_and_pictures_can_travel_inside():
    pool, _ = renamed()
    assert to_label_studio(pool, ["percent%20"], prefix="http://images/?a=1&d=")[0]["data"]["image"] == "http://images/?a=1&d=percent%2520.png"
    assert to_label_studio(pool, ["<script>alert(1)</script>"])[0]["data"]["image"] == "/data/local-files/?d=%3Cscript%3Ealert%281%29%3C/script%3E.png"
    assert to_label_studio(pool, ["a b"], prefix=None)[0]["data"]["image"].startswith("data:image/png;base64,")


def test_the_interface_names_what_the_results_name():
    root = ElementTree.fromstring(INTERFACE)
    names = {element.get("name") for element in root.iter() if element.get("name")}
    result = brush_result(np.eye(4, dtype=bool))
    assert {result["from_name"], result["to_name"], "verdict"} <= names
    assert [c.get("value") for c in root.iter("Choice")] == ["good", "no-mask", "skip"] and root.find("BrushLabels/Label").get("value") == result["value"]["brushlabels"][0]


@pytest.mark.parametrize("data", [{"image": "/data/upload/3/0a1b2c3d-part000.png"}, {"image": "/data/local-files/?d=deep/part000.png"}, {"image": "http://host/x/part000.png?token=1"}, {"id": "part000", "image": "s3://bucket/nobody.png"}, {"id": None, "image": "part000.jpg"}])
def test_pictures_that_were_uploaded_otherwise(data):
    received = read_label_studio([answered("", word("good")) | {"data": data}], POOL.ids, sizes(POOL))
    assert received.labels.ids.tolist() == ["part000"], received.rejected


def test_who_when_and_how_long():
    tasks = [answered(POOL.ids[0], who={"email": "ann@x.org", "id": 3}, lead_time=2.5, updated_at="2026-03-02T09:00:00.123456Z"), answered(POOL.ids[1], who=4, lead_time=None), answered(POOL.ids[2], lead_time=float("inf")), answered(POOL.ids[3], who={"id": 5}, lead_time="slow")]
    received = read_label_studio(tasks, POOL.ids, sizes(POOL), annotator="me", seconds=9)
    assert received.labels.table.annotator.tolist() == ["ann@x.org", "user 4", "me", "user 5"] and received.labels.table.seconds.tolist() == [2.5, 9, 9, 9]
    assert received.labels.table["time"].dropna().to_dict() == {POOL.ids[0]: pytest.approx(1772442000.123456)}
    assert read_label_studio(tasks, POOL.ids, sizes(POOL), by="user 4").labels.ids.tolist() == [POOL.ids[1]]


def test_the_latest_answer_counts_and_the_other_is_kept():
    task = answered(POOL.ids[0], brush_result(np.eye(64, dtype=bool)), who=1, updated_at="2026-03-02T09:00:00Z")
    task["annotations"].insert(0, {"id": 71, "completed_by": 2, "updated_at": "2026-03-04T09:00:00Z", "result": []})
    for order in (1, -1):
        received = read_label_studio([task | {"annotations": task["annotations"][::order]}], POOL.ids, sizes(POOL))
        assert received.labels.table.annotator.tolist() == ["user 2"] and [labels.table.annotator.tolist() for labels in received.others] == [["user 1"]] and not len(received.rejected)
    store = LabelStore()
    for name in ("user 1", "user 2"): store.add(read_label_studio([task], POOL.ids, sizes(POOL), by=name).labels)
    assert len(store.log()) == 2 and set(store.log().annotator) == {"user 1", "user 2"}
    store.add(read_label_studio([task], POOL.ids, sizes(POOL), by="user 1").labels)
    assert store.latest().table.annotator[POOL.ids[0]] == "user 2", "what was said last counts, not what was told last"


def by(who, time, *marks, **more):
    return {"id": 10 * who + time, "completed_by": who, "updated_at": f"2026-03-0{time}T09:00:00Z", "result": list(marks)} | more


def test_two_annotators_in_one_file_are_both_recorded():
    mark, other = brush_result(np.eye(64, dtype=bool)), brush_result(np.eye(64, dtype=bool)[::-1])
    tasks = [{"id": 1, "data": {"id": POOL.ids[0]}, "annotations": [by(2, 3, mark), by(1, 4, was_cancelled=True), by(1, 2, other), by(3, 5, was_cancelled=True)]},
             {"id": 2, "data": {"id": POOL.ids[1]}, "annotations": [by(1, 1, word("good"))]}]
    received = read_label_studio(tasks, POOL.ids, sizes(POOL))
    assert received.labels.table.annotator.tolist() == ["user 2", "user 1"] and np.array_equal(received.labels.masks[POOL.ids[0]], np.eye(64, dtype=bool))
    assert [(labels.ids.tolist(), labels.table.annotator.tolist(), labels.table.defective.isna().all()) for labels in received.others] == [([POOL.ids[0]], ["user 1"], True), ([POOL.ids[0]], ["user 3"], True)]
    assert received.rejected.answer.tolist() == ["task 1, annotation 12"] and received.labels.table["time"][POOL.ids[0]] == pytest.approx(1772528400)
    store = LabelStore()
    for labels in (*received.others, received.labels): store.add(labels)
    assert len(store.log()) == 4 and store.latest().table.annotator[POOL.ids[0]] == "user 2"


def test_a_skip_never_beats_a_verdict_of_somebody_else():
    tasks = [{"id": 1, "data": {"id": POOL.ids[0]}, "annotations": [by(1, 1, word("no-mask")), by(2, 9, was_cancelled=True)]}]
    received = read_label_studio(tasks, POOL.ids, sizes(POOL))
    assert received.labels.table.annotator.tolist() == ["user 1"] and received.others[0].table.annotator.tolist() == ["user 2"]
    tasks[0]["annotations"].append(by(1, 9, was_cancelled=True))
    assert read_label_studio(tasks, POOL.ids, sizes(POOL)).labels.table.defective.isna().all()


@pytest.mark.parametrize("mark", [brush_result(np.zeros((64, 64), bool)), polygon([[10, 1], [10.05, 1], [10.05, 99]]), polygon([[105, 105], [120, 105], [120, 120]])])
def test_a_defect_without_pixels_is_never_good(mark):
    received = read_label_studio([answered(POOL.ids[0], mark)], POOL.ids, sizes(POOL))
    assert not len(received.labels) and "a mark covers no pixel; draw it wider, or say no-mask" in received.rejected.reason[0]
    assert not read_label_studio([answered(POOL.ids[0], mark, word("no-mask"))], POOL.ids, sizes(POOL)).labels.table.maskable[POOL.ids[0]]


def test_only_an_empty_result_is_good():
    for text, says in (("NO-MASK", [True]), (" Skip ", [pd.NA]), ("Good", [False]), ("Defective", [True])):
        table = read_label_studio([answered(POOL.ids[0], word(text))], POOL.ids, sizes(POOL)).labels.table
        assert table.defective.tolist() == says and table.maskable.tolist() == [text != "NO-MASK"]
    assert read_label_studio([answered(POOL.ids[0])], POOL.ids, sizes(POOL)).labels.table.defective.tolist() == [False]
    for result in (word("bad part"), word(5), {"type": "rating", "value": {"rating": 3}}, {"type": "rating", "original_width": 64, "original_height": 64, "value": {"rating": 3}}, {"type": "relation"}):
        received = read_label_studio([answered(POOL.ids[0], result)], POOL.ids, sizes(POOL))
        assert not len(received.labels) and "neither a mark nor one of the words" in received.rejected.reason[0]


def test_a_mark_of_another_label_is_no_defect():
    named = lambda name: brush_result(np.eye(64, dtype=bool)) | {"value": brush_result(np.eye(64, dtype=bool))["value"] | {"brushlabels": [name]}}
    received = read_label_studio([answered(POOL.ids[0], named("ignore")), answered(POOL.ids[1], named("defect")), answered(POOL.ids[2], named("good"))], POOL.ids, sizes(POOL))
    assert received.labels.ids.tolist() == [POOL.ids[1]] and ["which is neither 'defect'" in r or "keep one of the two" in r for r in received.rejected.reason] == [True, True]
    assert read_label_studio([answered(POOL.ids[0], named("scratch"))], POOL.ids, sizes(POOL)).labels.table.defective.tolist() == [True]
    two = [answered(POOL.ids[0], named("scratch")), answered(POOL.ids[1], named("pit")), answered(POOL.ids[2], named("dust"))]
    for category, ids in (("defect", []), (["Scratch", "pit"], [0, 1]), (["pit"], [1]), (None, [0, 1, 2])):
        assert read_label_studio(two, POOL.ids, sizes(POOL), category=category).labels.ids.tolist() == [POOL.ids[k] for k in ids]


@pytest.mark.parametrize("data, i", [
    ({"image": "/data/upload/3/0a1b2c3d-20240131-x.png"}, "20240131-x"), ({"image": "/data/local-files/?d=deep/20240131-x.png"}, "20240131-x"), ({"image": "/data/upload/3/20240131-x.png"}, "20240131-x"),
    ({"image": "http://host/20240131-x.png?id=7&d2=y"}, "20240131-x"), ({"image": "/data/local-files/?id=5&d=in/a%2Bb.png"}, "a+b"), ({"image": "/data/local-files/?d=in/a+b.png"}, "a+b"),
    ({"id": 17, "image": "in/17b.png"}, "17b"), ({"id": "row 4", "image": "in/17b.png"}, "17b"), ({"id": 18, "image": "data:image/png;base64,AA"}, "18"), ({"id": 18, "image": "in/17b.png"}, "17b"), ({"id": "18", "image": "in/17b.png"}, "18")])
def test_addresses_and_numbers_of_somebody_else(data, i):
    ids = ["20240131-x", "x-1", "a+b", "17b", "18"]
    received = read_label_studio([answered("", word("good")) | {"data": data}], ids, lambda i: (64, 64))
    assert received.labels.ids.tolist() == [i], received.rejected.reason.tolist()


def test_eight_digits_are_part_of_a_name_outside_of_uploads():
    for image in ("/data/local-files/?d=20240131-x.png", "http://host/20240131-x.png"):
        received = read_label_studio([answered("", word("good")) | {"data": {"image": image}}], ["x", "y"], lambda i: (64, 64))
        assert not len(received.labels) and "is none of the 2 parts" in received.rejected.reason[0]


def test_tasks_that_nobody_answered_say_nothing():
    tasks = [{"id": 1, "data": {"id": POOL.ids[0]}, "annotations": []}, answered(POOL.ids[1], was_cancelled=True)]
    table = read_label_studio(tasks, POOL.ids, sizes(POOL)).labels.table
    assert table.index.tolist() == [POOL.ids[1]] and table.defective.isna().all()


def test_other_controls_and_relations_are_passed_over():
    extra = [{"type": "textarea", "value": {"text": ["hm"]}}, {"type": "relation", "from_id": "a", "to_id": "b"}, {"type": "choices", "value": {"choices": ["shiny"]}}, {"type": "rating", "value": {"rating": 3}}]
    received = read_label_studio([answered(POOL.ids[0], *extra, word("good")), answered(POOL.ids[1], *extra, brush_result(np.eye(64, dtype=bool)))], POOL.ids, sizes(POOL))
    assert received.labels.table.defective.tolist() == [False, True] and not len(received.rejected)


def test_brush_and_polygon_together_are_one_mask():
    received = read_label_studio([answered(POOL.ids[0], brush_result(np.eye(64, dtype=bool)), polygon([[0, 50], [50, 50], [50, 100], [0, 100]]))], POOL.ids, sizes(POOL))
    expected = np.eye(64, dtype=bool)
    expected[32:, :32] = True
    assert np.array_equal(received.labels.masks[POOL.ids[0]], expected)


GOOD = brush_result(np.eye(64, dtype=bool))


@pytest.mark.parametrize("bad, says", [
    (answered("nobody", word("good")), "is none of the 12 parts"),
    (answered(POOL.ids[0], GOOD | {"original_width": 640}), "picture of 640 x 64"),
    (answered(POOL.ids[0], GOOD | {"original_height": None}), "must be numbers"),
    (answered(POOL.ids[0], GOOD | {"image_rotation": 90}), "turned picture"),
    (answered(POOL.ids[0], GOOD, GOOD | {"value": {"rle": GOOD["value"]["rle"][:-8]}}), "cut short"),
    (answered(POOL.ids[0], GOOD | {"value": {"rle": "abc"}}), "a list of bytes"),
    (answered(POOL.ids[0], {"type": "brushlabels"}), "malformed"),
    (answered(POOL.ids[0], GOOD, word("good")), "keep one of the two"),
    (answered(POOL.ids[0], word("good"), word("skip")), "two verdicts"),
    (answered(POOL.ids[0], polygon([[1, 1], [2, 2]])), "three corners"),
    (answered(POOL.ids[0], polygon([[1, 1], [2, 2], ["x", 3]])), "x"),
    (answered(POOL.ids[0], polygon([[1, 1], [2, 2], [1e9, 3]])), "far outside"),
    (answered(POOL.ids[0], polygon([], type="ellipselabels", value={"x": 1, "radiusX": 3})), "'ellipselabels' does not say"),
    (answered(POOL.ids[0], updated_at="yesterday"), "isoformat"),
    (answered(POOL.ids[0], 5), "malformed"),
    (answered(POOL.ids[0], result=5), "malformed"),
    (answered(POOL.ids[0], GOOD, word("good"), who=["x"]), "keep one of the two"),
    (answered(POOL.ids[0], GOOD) | {"data": {"image": "http://[bad/a.png"}}, "is none of the 12 parts"),
    (answered(POOL.ids[0], GOOD) | {"data": 5}, "malformed"),
    ({"id": 7, "data": {}, "annotations": [{"id": 70, "result": []}]}, "neither an id nor an image"),
    ({"id": 7, "data": {"id": POOL.ids[0]}, "annotations": ["x"]}, "malformed"),
    ({"id": 7, "data": {"id": POOL.ids[0]}, "annotations": [{"id": 70}]}, "malformed"),
])
def test_one_bad_answer_is_named_and_the_others_count(bad, says):
    received = read_label_studio([answered(POOL.ids[1], word("good"), number=1), bad, answered(POOL.ids[2], GOOD, number=2)], POOL.ids, sizes(POOL))
    assert received.labels.ids.tolist() == [POOL.ids[1], POOL.ids[2]] and len(received.rejected) == 1 and says in received.rejected.reason[0]


@pytest.mark.parametrize("content", ["", "{}", "5", '[{"id": 1, "image": "a.png"}]', '[1]', '[{"annotations": 1}]', "[" * 100_000, '"abc"'])
def test_files_that_are_no_export(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"a\.json"):
        read_label_studio(path, POOL.ids, sizes(POOL))


def test_huge_masks_are_refused_by_a_limit_that_can_be_raised():
    tasks = [answered(POOL.ids[0], GOOD)]
    assert "raise `limit_pixels`" in read_label_studio(tasks, POOL.ids, sizes(POOL), limit_pixels=4095).rejected.reason[0]
    assert len(read_label_studio(tasks, POOL.ids, sizes(POOL), limit_pixels=4096).labels) == 1


# By a server

@contextmanager
def server(reply):
    "A server on this machine; `reply(method, path, token, body)` gives status and answer."
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *anything): pass
        def do_GET(self): self.answer(None)
        def do_POST(self): self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, body):
            status, said, *headers = reply(self.command, self.path, self.headers["Authorization"] or "", body)
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in headers: self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try: yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        running.server_close()


@pytest.fixture(scope="module")
def recorded():
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def test_a_real_server_is_asked_and_understood(recorded):
    "Recorded by experiments/record_label_studio.py: our requests must be the same ones, and what the server said then must be understood."
    steps = iter(recorded["steps"])

    def reply(method, path, token, body):
        step = next(steps)
        assert (method, path, token.split(" ")[0]) == (step["method"], step["path"], step["token"]) and body == step["body"]
        return 200, step["said"]

    pool, truth = synth_surfaces(n=12, prevalence=0.3, seed=3)
    queue, scores = recorded["queue"], pd.Series(np.linspace(0, 1, 12), pool.ids)
    with server(reply) as url:
        studio = open_label_studio(url, "secret", pool)
        assert studio.project == recorded["project"]
        assert studio.send(queue, scores, "MSMR", {queue[2]: truth.masks[queue[2]]}) == queue == recorded["sent"]
        assert studio.send(queue, scores, "MSMR") == [] == recorded["sent_again"]
        answers = studio.annotate(queue)
        assert answers.ids.tolist() == queue[:4] == recorded["answered"]
        if recorded["newer_token"]: assert len(LabelStudio(url, "a.b.c", studio.project, pool).tasks()) == 5
    assert next(steps, None) is None
    assert np.array_equal(answers.masks[queue[0]], truth.masks[queue[0]]) and int(answers.masks[queue[2]].sum()) == 32 * 16
    assert answers.table.defective.fillna(False).tolist() == [True, False, True, False] and pd.isna(answers.table.defective[queue[3]])
    assert answers.table.seconds.tolist() == [21.5, 3.25, 12.0, 2.0] and answers.table.annotator.nunique() == 1


def test_it_is_an_oracle_that_keeps_its_secret():
    studio: Oracle = LabelStudio("http://127.0.0.1:1", "very-secret", 1, POOL)
    assert "very-secret" not in repr(studio)
    with pytest.raises(ConnectionError, match="cannot be reached") as error:
        studio.annotate(POOL.ids)
    assert "very-secret" not in str(error.value)


@pytest.mark.parametrize("status, said, says", [
    (401, {"detail": "no"}, "answers 401; check the token"), (403, b"", "may this token see"), (404, b"<html>", "check the address"), (500, b"oops " * 1000, "answers 500 .oops"),
    (200, b"<html>login</html>", "is no JSON"), (200, {"detail": "x"}, "something else than a list"), (200, b"", "something else than a list"), (200, b"\xff", "is no JSON")])
def test_what_a_server_can_say_wrong(status, said, says):
    with server(lambda *asked: (status, said)) as url, pytest.raises((ConnectionError, ValueError), match=says) as error:
        LabelStudio(url, "very-secret", 1, POOL).tasks()
    assert "very-secret" not in str(error.value) and len(str(error.value)) < 600


def test_a_token_does_not_follow_a_redirection():
    seen = []
    with server(lambda method, path, token, body: (seen.append(token), (200, []))[1]) as thief:
        with server(lambda *asked: (302, b"", ("Location", f"{thief}/api/projects/1/export"))) as url, pytest.raises(ConnectionError, match="answers 302"):
            LabelStudio(url, "very-secret", 1, POOL).tasks()
    assert seen == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/", "host:8080", "", "javascript:alert(1)"])
def test_addresses_that_are_none(url):
    with pytest.raises(ValueError, match="is no address of a server"):
        call(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:80 80/x", "http://127.0.0.1:1/a b", "http://127.0.0.1:port/"])
def test_addresses_with_a_slip_are_named(url):
    with pytest.raises(ConnectionError, match="is the address right"):
        call(url)


def test_a_server_that_speaks_no_http():
    import socket
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def talk():
            connection, _ = listening.accept()
            connection.recv(1000)
            connection.sendall(b"220 mail.example.org ESMTP\r\n")
            connection.close()
        threading.Thread(target=talk, daemon=True).start()
        with pytest.raises(ConnectionError, match="gives no answer in HTTP .BadStatusLine"):
            call(f"http://127.0.0.1:{listening.getsockname()[1]}/api", timeout=5)


def test_an_answer_without_end_is_cut():
    with server(lambda *asked: (200, b"[" + b" " * 5000 + b"]")) as url:
        with pytest.raises(ConnectionError, match="raise `limit_bytes`"):
            call(url, limit_bytes=5000)
        assert call(url, limit_bytes=5002) == []
