"""How long do masks of 4096 x 4096 pixels take in every spelling, against a straightforward loop?

    python experiments/bench_masks.py [--size 4096] [--repeats 3] [--out nbs/results/bench_masks.csv]

Two masks: `ring`, one large defect with a hole, and `dust`, one pixel in a hundred. The loops are what the formats' descriptions say, run by run
or bit by bit, in plain Python; they are timed once, ours `--repeats` times (the best counts). Seconds are those of the processor, so that a busy
machine does not count; compare the ratios, in which its speed cancels out.
"""
import argparse
import platform
import time
from datetime import date
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from active_defects import __version__
from active_defects.studio.brush import brush_rle, mask_of_brush
from active_defects.studio.masks import coco_rle, cvat_runs, lightly_runs, mask_of_coco, mask_of_cvat, mask_of_lightly
from active_defects.studio.polygons import mask_of_polygons, polygons_of


def ring(size):
    row, column = np.ogrid[:size, :size]
    far = (row - 0.47 * size) ** 2 + (column - 0.55 * size) ** 2
    return (far < (0.4 * size) ** 2) & (far > (0.2 * size) ** 2)


def dust(size):
    return np.random.default_rng(0).random((size, size)) < 0.01


# The loops

def loop_runs(flat):
    runs, here = [0], False
    for pixel in flat.tolist():
        if pixel == here: runs[-1] += 1
        else:
            runs.append(1)
            here = pixel
    return runs


def loop_pixels(runs, shape):
    flat, here = [], False
    for run in runs:
        for _ in range(run): flat.append(here)
        here = not here
    return np.array(flat, bool).reshape(shape)


def loop_letters(mask):
    runs, text = loop_runs(mask.T.ravel()), []
    for k, run in enumerate(runs):
        value, more = run - (runs[k - 2] if k > 2 else 0), True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text.append(chr(48 + group + 32 * more))
    return "".join(text)


def loop_numbers(text, shape):
    runs, k = [], 0
    while k < len(text):
        value, place, more = 0, 0, True
        while more:
            group = ord(text[k]) - 48
            value |= (group & 31) << 5 * place
            more, k, place = bool(group & 32), k + 1, place + 1
            if not more and group & 16: value |= -1 << 5 * place
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return loop_pixels(runs, shape[::-1]).T


def loop_brush(mask):
    flat = np.repeat(mask.ravel(), 4).tolist()
    bits = [f"{len(flat):032b}", "00111", "0010001101111111"]
    for value, run in groupby(flat):
        long = sum(1 for _ in run)
        index, size = next((k, s) for k, s in enumerate((3, 4, 8, 16)) if long <= 2**s or s == 16)
        while long > 0:
            part = min(long, 2**size)
            bits.append(f"1{index:02b}{part - 1:0{size}b}{255 * value:08b}")
            long -= part
    text = "".join(bits)
    text += "0" * (8 - len(text) % 8)
    return [int(text[k:k + 8], 2) for k in range(0, len(text), 8)]


def loop_unbrush(rle, shape):
    text = "".join(f"{byte:08b}" for byte in rle)
    size, at, out = int(text[:32], 2), 53, []
    while len(out) < size:
        repeated, index = text[at] == "1", int(text[at + 1:at + 3], 2)
        counter = (3, 4, 8, 16)[index]
        count, at = int(text[at + 3:at + 3 + counter], 2) + 1, at + 3 + counter
        for k in range(count):
            out.append(int(text[at:at + 8], 2))
            if not repeated or k == count - 1: at += 8
    return np.array(out[3::4]).reshape(shape) > 127


TASKS = {
    "LightlyStudio": (lightly_runs, mask_of_lightly, lambda mask: loop_runs(mask.ravel()), loop_pixels),
    "COCO, numbers": (lambda mask: coco_rle(mask, False)["counts"], lambda runs, shape: mask_of_coco({"size": list(shape), "counts": runs}), lambda mask: loop_runs(mask.T.ravel()), lambda runs, shape: loop_pixels(runs, shape[::-1]).T),
    "COCO, letters": (lambda mask: coco_rle(mask)["counts"], lambda text, shape: mask_of_coco({"size": list(shape), "counts": text}), loop_letters, loop_numbers),
    "CVAT": (cvat_runs, lambda found, shape: mask_of_cvat(*found, shape), None, None),
    "Label Studio": (brush_rle, mask_of_brush, loop_brush, loop_unbrush),
    "polygons": (polygons_of, mask_of_polygons, None, None),
}


def seconds(work, repeats):
    "The best time, and what came out."
    best, out = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        out = work()
        best = min(best, time.process_time() - start)
    return best, out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("nbs/results/bench_masks.csv"))
    options = parser.parse_args()
    rows = []
    for name, mask in (("ring", ring(options.size)), ("dust", dust(options.size))):
        for spelling, (write, read, slow_write, slow_read) in TASKS.items():
            if spelling == "polygons" and name == "dust": continue  # 160,000 outlines: not what polygons are for
            out, written = seconds(lambda: write(mask), options.repeats)
            back, again = seconds(lambda: read(written, mask.shape), options.repeats)
            assert np.array_equal(again, mask)
            row = {"mask": name, "size": options.size, "spelling": spelling, "write_s": out, "read_s": back}
            if slow_write is not None:
                row["loop_write_s"], slow = seconds(lambda: slow_write(mask), 1)
                row["loop_read_s"], again = seconds(lambda: slow_read(slow, mask.shape), 1)
                assert np.array_equal(again, mask) and (slow == written)
                row |= {"faster_writing": row["loop_write_s"] / out, "faster_reading": row["loop_read_s"] / back}
            rows.append(row | {"machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}, numpy {np.__version__}", "package": __version__, "date": date.today().isoformat()})
            print({key: round(value, 4) if isinstance(value, float) else value for key, value in rows[-1].items() if key not in ("machine", "package", "date")}, flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).round(4).to_csv(options.out, index=False)
    print(options.out)


if __name__ == "__main__":
    main()
