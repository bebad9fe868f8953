"""Seconds and memory of `active-defects rank` on folders of generated 256 x 256 PNGs.

    python experiments/bench_rank.py [--n 2000 20000] [--epochs 2] [--size 64] [--workers 1]

Writes nbs/results/bench_rank.csv; rows of other sizes of folder, or of other settings, stay as they are."""
import argparse
import datetime
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from PIL import Image

from active_defects import __version__
from active_defects.data.atomic import write_whole
from active_defects.data.synth import synth_surfaces

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "bench_rank.csv"
SUMMARY = r"([\d,]+) pictures by .*, trained .* in ([\d,.]+) s, scored in ([\d,.]+) s"
KEYS = ["n", "size", "epochs", "workers"]


def write_pictures(folder, n, seed=0):
    "A hundred surfaces, shifted and mirrored until there are n different pictures."
    surfaces, _ = synth_surfaces(n=100, seed=seed, size=256, prevalence=0.05)
    plates = [np.uint8(surfaces.images[i] * 255) for i in surfaces.ids]
    rng = np.random.default_rng(seed)
    for k in range(n):
        plate = np.roll(plates[k % 100], tuple(rng.integers(0, 256, 2)), axis=(0, 1))
        Image.fromarray(plate[:, ::-1] if rng.random() < 0.5 else plate).save(folder / f"part{k:05d}.png", compress_level=1)


def peak_memory(command):
    "Output, seconds, and the highest resident memory of a command and its children in bytes."
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        process = psutil.Process(run.pid)
        while run.poll() is None:
            try: peak = max(peak, sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]))
            except psutil.NoSuchProcess: pass
            time.sleep(0.05)
        out = run.stdout.read()
    if run.returncode: raise SystemExit(f"{' '.join(command)} ended with {run.returncode}: {out}")
    return out, time.perf_counter() - start, peak


def measure(n, options):
    "One row: `rank` on n pictures in a fresh folder."
    with tempfile.TemporaryDirectory() as place:
        (images := Path(place) / "images").mkdir()
        write_pictures(images, n)
        words = ["rank", str(images), "--out", f"{place}/ranking.csv", "--size", str(options.size), "--epochs", str(options.epochs), "--workers", str(options.workers), "--device", options.device]
        out, seconds, peak = peak_memory([str(Path(sys.executable).parent / "active-defects"), *words])
        count, train, score = re.search(SUMMARY, out).groups()
        assert int(count.replace(",", "")) == n == len(pd.read_csv(f"{place}/ranking.csv"))
    number = lambda text: float(text.replace(",", ""))
    threads = os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()
    return dict(n=n, size=options.size, epochs=options.epochs, workers=options.workers, seconds=round(seconds, 1), train_seconds=number(train), score_seconds=number(score),
                peak_rss_mb=round(peak / 1e6), device=f"{options.device}, {threads} threads", version=__version__, torch=torch.__version__, date=datetime.date.today().isoformat())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[2000, 20_000])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    for n in options.n:
        row = measure(n, options)
        print(row, flush=True)
        rows = pd.concat([pd.read_csv(options.out), pd.DataFrame([row])]) if options.out.is_file() else pd.DataFrame([row])
        rows = rows.drop_duplicates(KEYS, keep="last").sort_values(KEYS)
        write_whole(options.out, lambda path: rows.to_csv(path, index=False))


if __name__ == "__main__":
    main()
