"""The picture of the canvas in nbs/howto: its second round over the small world, photographed in a Chromium. Needs a Chromium and playwright.

    python experiments/canvas_picture.py [--dark]

Writes nbs/howto/canvas.png."""
import argparse
import base64
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from active_defects.baselines.median import MedianDeviation
from active_defects.data.store import LabelStore
from active_defects.data.synth import synth_surfaces
from active_defects.learners.segmenter import UNetLearner
from active_defects.loop.oracle import TruthOracle
from active_defects.loop.rounds import Loop
from active_defects.strategies.likely_defect import LikelyDefect
from active_defects.studio.canvas import Canvas, part_message, reply
from active_defects.studio.screen import javascript, joined
from active_defects.studio.session import Session, compare, part_of

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "howto" / "canvas.png"
PAGE = """async ([code, css, said]) => {
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer), heard = [];
  const model = { on: (name, f) => heard.push(f), off() {}, send: ({ do: what }) => { for (const [message, beside] of said[what] ?? []) heard.forEach((f) => f(message, beside.map(bytes))); } };
  document.body.style.margin = "0";
  document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  const { default: widget } = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  widget.render({ model, el: document.body.appendChild(document.createElement("div")) });
}"""


def messages():
    "What Python would say in the second round, with the defect half painted and rivals compared."
    pool, truth = synth_surfaces(n=160, seed=2, prevalence=0.25, size=128)
    loop = Loop(pool, LabelStore(), UNetLearner(progress=False), LikelyDefect(), first=MedianDeviation(), batch=50)
    first = loop.ask()
    loop.tell(first, TruthOracle(truth, 4.0, 42.0).annotate(first.ids))
    session = Session(replace(loop, batch=12), "ana")
    compare(session)
    drawn = [i for i in session.round.asked if i in truth.masks]
    overlap = lambda mask, other: 0.0 if mask is None else (mask & other).sum() ** 1.5 / (mask | other).sum()  # noqa: E731
    sample = max(drawn, key=lambda i: overlap(part_of(session, i).proposal, truth.masks[i]))
    half = truth.masks[sample].copy()
    half[:, int(np.median(np.nonzero(half)[1])):] = False
    session.draft(sample, half, {"seconds": 21.0})
    state = reply(session, {"do": "ready"}, [], None)
    message, buffers = part_message(part_of(session, sample))
    coded = lambda list_of_bytes: [base64.b64encode(bytes(b)).decode() for b in list_of_bytes]  # noqa: E731
    return {"ready": [[state[0], []]], "open": [[message, coded(buffers)]]}


def main():
    from playwright.sync_api import sync_playwright
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        page = browser.new_page(viewport=dict(width=1060, height=900), color_scheme="dark" if options.dark else "light")
        page.goto("about:blank")
        page.evaluate(PAGE, [joined(javascript("canvas.js")), Canvas._css, messages()])
        page.wait_for_selector("[data-part]")
        page.wait_for_timeout(300)
        page.locator(".ad-canvas").screenshot(path=str(RESULT))
        browser.close()
    print(RESULT, RESULT.stat().st_size)


if __name__ == "__main__":
    main()
