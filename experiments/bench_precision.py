"""Whether half precision (bfloat16) pays on this processor: the small learners trained, looking and scoring, by turns with float32 in one process.

    python experiments/bench_precision.py [--turns 3]

Writes nbs/results/bench_precision.csv; rows of other processors stay. Seconds of the processor, the least of all turns, one thread: compare ratios. `half_precision` follows it: a processor without AMX stays in float32."""
import argparse
import datetime
import time
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch

from active_defects import __version__
from active_defects.data.atomic import write_whole
from active_defects.data.batches import image_tensor
from active_defects.data.synth import synth_surfaces
from active_defects.formulas.masked_error import block_masks
from active_defects.learners.reconstruction import ReconstructionLearner, batch_block_errors
from active_defects.learners.segmenter import UNetLearner
from active_defects.learners.training import Schedule

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "bench_precision.csv"
HAS = {name: bool(torch.cpu.get_capabilities().get(name)) for name in ("avx512_bf16", "amx_bf16")}


def jobs():
    "Name -> what is timed; the same weights and pictures in both precisions."
    pool, truth = synth_surfaces(n=96, size=64, prevalence=0.1, seed=1)
    schedule = Schedule(3, 32, 0.1)
    m, s = (kind(progress=False, schedule=schedule, device="cpu") for kind in (ReconstructionLearner, UNetLearner))
    hidden, drawn = m.fit(pool, seed=0), s.fit(pool, truth[pool.ids], seed=0)
    images, blocks = image_tensor(pool[pool.ids[:32]], 64), block_masks((64, 64))
    return {"S, three epochs of 96": lambda: s.fit(pool, truth[pool.ids], seed=0), "S, looking at 96": lambda: drawn(pool),
            "M, three epochs of 96": lambda: m.fit(pool, seed=0), "MSMR of 32": lambda: batch_block_errors(hidden, images, blocks)}


def timed(job, half):
    "Seconds of the processor."
    with patch("torch.cpu.get_capabilities", lambda: {"amx_bf16": half}):
        start = time.process_time()
        job()
        return time.process_time() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3, help="how often each is timed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for what, job in jobs().items():
        full, half = (min(seconds) for seconds in zip(*[(timed(job, False), timed(job, True)) for _ in range(options.turns)]))
        rows.append(dict(what=what, float32=round(full, 3), bfloat16=round(half, 3), times_faster=round(full / half, 2), **HAS, cpu=torch.backends.cpu.get_cpu_capability(), threads=1, version=__version__, torch=torch.__version__, date=datetime.date.today().isoformat()))
        print(rows[-1], flush=True)
    old = pd.read_csv(RESULT) if RESULT.exists() else pd.DataFrame()
    if len(old): old = old[(old[list(HAS)] != pd.Series(HAS)).any(axis=1)]
    table = pd.concat([old, pd.DataFrame(rows)], ignore_index=True)
    write_whole(RESULT, lambda path: table.to_csv(path, index=False))
