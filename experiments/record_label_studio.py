"""What a real Label Studio says, recorded for the tests: its library's masks and its server's answers.

    python -m venv /tmp/label-studio && /tmp/label-studio/bin/pip install label-studio==1.23.2
    python experiments/record_label_studio.py --label-studio /tmp/label-studio [--port 8089] [--wait 1800]

Label Studio needs another numpy than this package, so it lives in an environment of its own; this script runs in ours and calls the other one.

Writes tests/data/brush_rle.json: masks, and what `label_studio_sdk.converter.brush` makes of them; and tests/data/label_studio_api.json: every request that our
client makes to a server on this machine (a project, its tasks, the same tasks again, the answers that were given in between), with what the server said.
The server, its database and its tokens are thrown away at the end; addresses, tokens and file names of the machine do not go into the files.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from active_defects.data.atomic import write_whole
from active_defects.data.synth import synth_surfaces
from active_defects.studio.label_studio import brush_result
from active_defects.studio.label_studio_server import LabelStudio, call, open_label_studio

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
LEGACY = "0123456789abcdef0123456789abcdef01234567"
SDK = """
import json, sys
import numpy as np
from importlib.metadata import version
from label_studio_sdk.converter.brush import mask2rle
masks = json.load(sys.stdin)
unpack = lambda m: np.unpackbits(np.frombuffer(bytes.fromhex(m["bits"]), np.uint8), count=m["height"] * m["width"]).reshape(m["height"], m["width"])
out = [m | {"rle": [int(b) for b in mask2rle(unpack(m) * np.uint8(255))]} for m in masks]
json.dump({"label_studio_sdk": version("label-studio-sdk"), "masks": out}, sys.stdout)
"""


def masks():
    "Random, empty, full, one pixel, not square, and runs of every length up to beyond the longest counter."
    rng = np.random.default_rng(7)
    yield from (rng.random((17, 23)) < 0.5, rng.random((40, 31)) < 0.03, rng.random((9, 64)) < 0.95)
    yield from (np.zeros((6, 8), bool), np.ones((6, 8), bool), np.ones((1, 1), bool), np.zeros((1, 1), bool))
    for place in ((0, 0), (4, 6), (2, 3)):
        one = np.zeros((5, 7), bool)
        one[place] = True
        yield one
    steps = np.zeros((2, 1200), bool)
    for k in range(1, 48):
        steps[0, k * (k - 1) // 2:k * (k + 1) // 2] = k % 2
    yield steps
    yield np.arange(20_000).reshape(100, 200) < 16_385  # 65,540 values: more than the longest counter holds
    yield np.arange(40_000).reshape(200, 200) >= 32_768  # a multiple of it, exactly
    row, column = np.ogrid[:90, :70]
    yield (row - 45) ** 2 + (column - 30) ** 2 < 600


def record_masks(python):
    asked = [{"height": m.shape[0], "width": m.shape[1], "bits": np.packbits(m).tobytes().hex()} for m in masks()]
    said = subprocess.run([python, "-c", SDK], input=json.dumps(asked), capture_output=True, text=True, check=True).stdout
    write_whole(DATA / "brush_rle.json", lambda file: file.write_text(json.dumps(json.loads(said)) + "\n", encoding="utf-8"))


class Recorder:
    "Asks the server, and keeps what was asked and said."

    def __init__(self, url):
        self.url, self.steps, self.on = url, [], True

    def __call__(self, url, token="", body=None):
        said = call(url, token, body)
        if self.on:
            kind = token.split(" ")[0]
            body = {"refresh": "a.b.c"} if "/token" in url else body
            self.steps.append({"method": "GET" if body is None else "POST", "path": url.removeprefix(self.url), "token": kind, "body": body, "said": {"access": "key"} if "/token" in url else said})
        return said


def serve(home, port, data):
    environment = os.environ | dict(LABEL_STUDIO_BASE_DATA_DIR=data, LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN="true", COLLECT_ANALYTICS="false", LATEST_VERSION_CHECK="false", SENTRY_DSN="", FRONTEND_SENTRY_DSN="")
    words = ["start", "--no-browser", "--host", f"http://127.0.0.1:{port}", "--internal-host", "127.0.0.1", "--port", str(port), "--username", "ann@example.org", "--password", "only-for-this-recording", "--user-token", LEGACY]
    return subprocess.Popen([f"{home}/bin/label-studio", *words], env=environment, cwd=data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(url, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try: return call(f"{url}/api/version", f"Token {LEGACY}", timeout=20)["release"]
        except ConnectionError: time.sleep(3)
    sys.exit(f"no answer from {url} within {seconds} s")


def record_server(url, wait):
    version = wait_for(url, wait)
    pool, truth = synth_surfaces(n=12, prevalence=0.3, seed=3)
    queue, ask = list(pool.ids[[6, 2, 10, 9, 1]]), Recorder(url)
    scores = pool.table.assign(score=np.linspace(0, 1, 12)).score
    studio = open_label_studio(url, LEGACY, pool, ask=ask)
    sent = studio.send(queue, scores, "MSMR", {queue[2]: truth.masks[queue[2]]})
    again = studio.send(queue, scores, "MSMR")
    ask.on = False
    person = lambda path, body: call(f"{url}/api/tasks/{path}", f"Token {LEGACY}", body)
    number = {task["data"]["id"]: task["id"] for task in studio.tasks()}
    good = {"id": "v", "from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["good"]}}
    outline = {"id": "o", "from_name": "outline", "to_name": "image", "type": "polygonlabels", "original_width": 64, "original_height": 64, "image_rotation": 0, "value": {"points": [[25, 25], [75, 25], [75, 50], [25, 50]], "polygonlabels": ["defect"], "closed": True}}
    person(f"{number[queue[0]]}/annotations/", {"result": [brush_result(truth.masks[queue[0]])], "lead_time": 21.5})
    person(f"{number[queue[1]]}/annotations/", {"result": [good], "lead_time": 3.25})
    person(f"{number[queue[2]]}/annotations/", {"result": [outline], "lead_time": 12.0})
    person(f"{number[queue[3]]}/annotations/", {"result": [], "was_cancelled": True, "lead_time": 2.0})
    ask.on = True
    answers = studio.annotate(queue)
    newer = call(f"{url}/api/token/", f"Token {LEGACY}", {}) if allow_newer(url) else None
    if newer: LabelStudio(url, newer["token"], studio.project, pool, ask=ask).tasks()
    record = {"version": version, "project": studio.project, "queue": queue, "sent": sent, "sent_again": again, "answered": answers.ids.tolist(), "newer_token": bool(newer), "steps": ask.steps}
    text = json.dumps(record, indent=1).replace(url, "http://server")
    write_whole(DATA / "label_studio_api.json", lambda file: file.write_text(text + "\n", encoding="utf-8"))


def allow_newer(url):
    "Whether the server gives out tokens of the newer kind."
    try: call(f"{url}/api/jwt/settings", f"Token {LEGACY}", {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True, "api_token_ttl_days": 200})
    except ConnectionError: return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--label-studio", required=True, help="the environment that label-studio is installed in")
    parser.add_argument("--port", type=int, default=8089)
    parser.add_argument("--wait", type=float, default=1800, help="seconds to wait for the server; the first start makes its database")
    parser.add_argument("--running", action="store_true", help="the server runs already, with the token that this script knows")
    parser.add_argument("--only", choices=("masks", "server"))
    options = parser.parse_args()
    if options.only != "server": record_masks(f"{options.label_studio}/bin/python")
    if options.only == "masks": return
    with tempfile.TemporaryDirectory() as data:
        server = None if options.running else serve(options.label_studio, options.port, data)
        try: record_server(f"http://127.0.0.1:{options.port}", options.wait)
        finally:
            if server: server.terminate()
            if server: server.wait(30)


if __name__ == "__main__":
    main()
