"""Thousands of pictures pass through `rank` without staying in memory. The full measurement is experiments/bench_rank.py."""
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from PIL import Image

COMMAND = Path(sys.executable).parent / "active-defects"


def peak_memory(command, cwd):
    "Runs a command; its output, its seconds, and the highest resident memory of it and its children in bytes."
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}) as run:
        process = psutil.Process(run.pid)
        while run.poll() is None:
            try: peak = max(peak, sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]))
            except psutil.NoSuchProcess: pass
            time.sleep(0.05)
        out = run.stdout.read()
    assert run.returncode == 0, out
    return out, time.perf_counter() - start, peak


def test_two_thousand_pictures_within_memory(tmp_path):
    rng = np.random.default_rng(0)
    plates = np.uint8(128 + 20 * rng.standard_normal((20, 128, 128)).cumsum(axis=1).clip(-6, 6))
    (tmp_path / "images").mkdir()
    for k in range(2000):
        Image.fromarray(np.roll(plates[k % 20], k // 20, axis=k % 2)).save(tmp_path / "images" / f"{k:05d}.png", compress_level=1)
    out, seconds, peak = peak_memory([COMMAND, "rank", "images", "--size", "32", "--epochs", "1", "--device", "cpu"], tmp_path)
    assert "2,000 pictures" in out
    assert len(pd.read_csv(tmp_path / "ranking.csv")) == 2000
    assert peak < 1.5e9, f"{peak / 1e6:,.0f} MB"
