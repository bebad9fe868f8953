"""Size and speed of a label store with many painted masks.

    python experiments/bench_store.py [--n 10000] [--size 512] [--good 0.0]

Writes nbs/results/bench_store.csv; rows of other numbers or sizes stay as they are."""
import argparse
import datetime
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from active_defects import __version__
from active_defects.data.atomic import write_whole
from active_defects.data.labels import Labels
from active_defects.data.store import LabelStore

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "bench_store.csv"
KEYS = ["answers", "size", "good"]


def painted(size, rng):
    "A mask as a hand leaves it: one to four strokes of a round brush, or (one in five) the ragged outline that a flood fill finds."
    if rng.random() < 0.2:
        field = gaussian_filter(rng.standard_normal((size, size)), (2, 2)) * 2 + gaussian_filter(rng.standard_normal((size, size)), size / 16) * size / 8
        return field > np.quantile(field, 1 - rng.uniform(0.005, 0.05))
    canvas = Image.new("1", (size, size))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(1, 5)):
        radius, place, heading = rng.uniform(0.004, 0.03) * size, rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)
        for _ in range(rng.integers(10, 80)):
            heading += rng.normal(0, 0.2)
            place = place + 0.01 * size * np.array([np.cos(heading), np.sin(heading)]) + rng.normal(0, 0.002 * size, 2)
            draw.ellipse([*(place - radius), *(place + radius)], fill=1)
    return np.array(canvas)


def best(function, times=5):
    "Least of some runs, in seconds."
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure(answers, size, good, seed=0):
    "One row: a store filled answer by answer, closed, and opened again."
    rng = np.random.default_rng(seed)
    plates = [painted(size, rng) for _ in range(min(answers, 1000))]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "parts.db"
        store, spent, kept = LabelStore(path), [], {}
        for k in range(answers):
            sample, bad = f"line3/part{k:05d}", rng.random() >= good
            mask = np.roll(plates[k % len(plates)], tuple(rng.integers(-size // 4, size // 4, 2)), axis=(0, 1))
            if bad and k % 500 == 0: kept[sample] = mask
            labels = Labels.of({sample: bad}, {sample: mask} if bad else {}, annotator=f"person {k % 3}", seconds=40.0, round=1 + k // 120)
            start = time.perf_counter()
            store.add(labels)
            spent.append(time.perf_counter() - start)
        store.db.close()
        start = time.perf_counter()
        labels = LabelStore(path).latest()
        first = time.perf_counter() - start
        assert len(labels) == answers and all(np.array_equal(labels.masks[i], mask) for i, mask in kept.items())
        again = LabelStore(path)
        latest = best(lambda: (again.latest().table, again.latest().ids)) / 2
        log = best(lambda: again.log())
        drawn = list(labels.masks)
        masks = [best(lambda i=i: labels.masks[i], 1) for i in drawn[::max(1, len(drawn) // 500)]]
        megabytes = sum(f.stat().st_size for f in Path(place).iterdir()) / 1e6
    return dict(answers=answers, size=size, good=good, megabytes=round(megabytes, 1), latest_first_seconds=round(first, 3), latest_seconds=round(latest, 3), log_seconds=round(log, 3),
                mask_ms=round(1e3 * statistics.median(masks), 2), mask_slowest_ms=round(1e3 * max(masks), 2), add_ms=round(1e3 * statistics.median(spent), 2),
                device="cpu, 1 thread", version=__version__, python=platform.python_version(), pandas=pd.__version__, date=datetime.date.today().isoformat())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[10_000])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--good", type=float, default=0.0, help="share of good parts, whose answers hold no mask")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    for n in options.n:
        row = measure(n, options.size, options.good)
        print(row, flush=True)
        rows = pd.concat([pd.read_csv(options.out), pd.DataFrame([row])]) if options.out.is_file() else pd.DataFrame([row])
        rows = rows.drop_duplicates(KEYS, keep="last").sort_values(KEYS)
        write_whole(options.out, lambda path, rows=rows: rows.to_csv(path, index=False))


if __name__ == "__main__":
    main()
