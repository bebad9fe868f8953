"""Milliseconds of the canvas at three sizes: a stroke under the hand, saving a mask, opening the next part. Needs a Chromium and playwright.

    python experiments/bench_canvas.py [--sides 1024 2048 4096] [--times 5]

Writes nbs/results/bench_canvas.csv. Each value is the sum of what the page computes and what Python computes; the way between them (JupyterLab's websocket) is not in it, for it belongs to the network. A picture is an
8-bit PNG on disk, a mask holds forty strokes, the store is a file. The fastest of several runs counts, since other work only adds; for strokes the 95th percentile of the fastest run.
`cpu` takes Python's part in milliseconds of the processor, which busy neighbors do not lengthen; the page's part is wall time in both columns."""
import argparse
import datetime
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from active_defects import __version__
from active_defects.baselines.median import MedianDeviation
from active_defects.data.atomic import write_whole
from active_defects.data.folders import read_folder
from active_defects.data.store import LabelStore
from active_defects.learners.pixel import PixelLearner
from active_defects.loop.rounds import Loop
from active_defects.studio.canvas import Canvas
from active_defects.studio.screen import javascript, joined, unpack_mask

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "bench_canvas.csv"
TARGETS = {"stroke, per move event (95 %)": (2048, 16), "saving a mask": (4096, 150), "opening the next part (sent ahead)": (4096, 300)}
PAGE = """async ([painting, easel, side, times]) => {
  const load = (code) => import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const [{ Painting, pack }, { Easel }] = [await load(painting), await load(easel)], out = { open: [], pack: [], moves: [] };
  document.body.innerHTML = "<div style='position:relative;width:900px;height:640px'></div>";
  const pixels = new Uint8Array(side * side), stage = document.body.firstChild, frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  for (let k = 0; k < pixels.length; k++) pixels[k] = 100 + ((k * 2654435761) >>> 27);
  for (let run = 0; run < times; run++) {
    const desk = new Easel(stage), p = new Painting(side, side), moves = [];
    let start = performance.now();
    desk.show({ width: side, height: side, channels: 1, pixels, low: 0, high: 1 }, p);
    desk.setHeat(new Uint8Array(4096).fill(90), 64, 64);
    desk.draw(new Set(["all"]));
    out.open.push(performance.now() - start);
    for (let stroke = 0; stroke < 40; stroke++) {
      let x = side * (0.1 + 0.02 * stroke), y = side * (0.1 + ((stroke * 0.37) % 0.7));
      p.begin();
      for (let k = 0; k < 12; k++) {
        start = performance.now();
        p.stroke(x, y, x + side / 200, y + side / 300, 12 + stroke, 1);
        desk.dip();
        desk.draw(new Set(["ink", "over"]));
        moves.push(performance.now() - start);
        x += side / 200; y += side / 300;
        if (k % 6 === 5) await frame();
      }
      p.end();
    }
    moves.sort((a, b) => a - b);
    out.moves.push(moves[Math.floor(0.95 * moves.length)]);
    start = performance.now();
    out.mask = await pack(p.mask, side * side);
    out.pack.push(performance.now() - start);
    stage.replaceChildren();
    await frame();
  }
  return { ...out, mask: Array.from(out.mask) };
}"""


def python_side(side, mask, times, folder):
    "Milliseconds (wall, processor) for reading and sending a part, and for taking a mask in."
    pictures = folder / f"pictures{side}"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for k in range(times + 1): Image.fromarray(rng.integers(110, 140, (side, side), dtype=np.uint8)).save(pictures / f"part{k}.png", compress_level=1)
    loop = Loop(read_folder(pictures, progress=False)[0], LabelStore(folder / f"{side}.db"), PixelLearner(), MedianDeviation(), batch=times + 1)
    loop.ask()
    canvas = Canvas(loop, "bench")
    canvas.send = lambda message, buffers=None: None
    opened, saved = [], []
    for sample in canvas.session.round.asked:
        for what, content, buffers in ((opened, {"do": "open", "sample": sample}, []), (saved, {"do": "submit", "sample": sample, "verdict": "defective", "seconds": 1.0}, [bytes(mask)])):
            start = time.perf_counter(), time.process_time()
            canvas.hear(content, buffers)
            what.append((1000 * (time.perf_counter() - start[0]), 1000 * (time.process_time() - start[1])))
    assert len(loop.store.log()) == times + 1 and np.array_equal(loop.store.latest().masks[sample], unpack_mask(bytes(mask), (side, side)))
    return np.min(opened, axis=0), np.min(saved, axis=0)


def main():
    from playwright.sync_api import sync_playwright
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        for side in options.sides:
            page = browser.new_page(viewport=dict(width=1000, height=700))
            seen = page.evaluate(PAGE, [joined(javascript("painting.js")), joined(javascript("easel.js")), side, options.times])
            page.close()
            opened, saved = python_side(side, seen["mask"], options.times, Path(folder))
            values = {"stroke, per move event (95 %)": np.repeat(min(seen["moves"]), 2), "saving a mask": min(seen["pack"]) + saved, "opening another part": min(seen["open"]) + opened, "opening the next part (sent ahead)": np.repeat(min(seen["open"]), 2)}
            for what, (wall, cpu) in values.items():
                at, target = TARGETS.get(what, (0, 0))
                rows.append(dict(what=what, side=side, milliseconds=round(wall, 1), cpu=round(cpu, 1), target=target if side == at else "", browser=f"Chromium {browser.version}", device="cpu", version=__version__, date=datetime.date.today().isoformat()))
        browser.close()
    table = pd.DataFrame(rows)
    write_whole(RESULT, lambda file: table.to_csv(file, index=False))
    print(table[["what", "side", "milliseconds", "cpu", "target"]].to_string(index=False))


if __name__ == "__main__":
    main()
