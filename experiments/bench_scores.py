"""Seconds and memory for scoring a million probabilities and for taking the best 80 of them; beside them the figures of SPEC section 6 for other packages.

    python experiments/bench_scores.py [--parts 1000000] [--times 15]

Writes nbs/results/bench_scores.csv. The fastest of several runs counts, since other work only adds; the memory is the largest that NumPy and Python held at any moment beyond their input."""
import argparse
import datetime
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd

from active_defects import __version__
from active_defects.data.atomic import write_whole
from active_defects.formulas.calibration import calibrate
from active_defects.formulas.confidence import known_label_confidence, least_confidence
from active_defects.formulas.entropy import entropy
from active_defects.formulas.margin import margin
from active_defects.formulas.selection import select

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "bench_scores.csv"
OTHERS = {"entropy": "scikit-activeml 0.039-0.053, baal 0.071-0.074", "margin": "scikit-activeml 0.044-0.051, baal 0.050-0.053", "least confidence": "scikit-activeml 0.053-0.057, baal 0.035",
          "best 80": "scikit-activeml query 0.68-1.88 and 660 MiB"}


def measured(work, times):
    "Fastest seconds and largest extra MiB."
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return min(seconds), peak / 2 ** 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=15)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    rows = []
    for dtype in ("float64", "float32"):
        p = random.random(options.parts).astype(dtype)
        scores = pd.Series(p, pd.Index(np.char.add("part", np.arange(options.parts).astype(str)), dtype=object))
        works = {"entropy": lambda: entropy(p), "margin": lambda: margin(p), "least confidence": lambda: least_confidence(p), "known-label confidence": lambda: known_label_confidence(p),
                 "calibration": lambda: calibrate(p, 0.3), "best 80": lambda: select(scores, 80)}
        for what, work in works.items():
            seconds, memory = measured(work, options.times)
            rows.append(dict(what=what, dtype=dtype, parts=options.parts, seconds=round(seconds, 4), extra_mib=round(memory, 1), others_seconds=OTHERS.get(what, "") if dtype == "float64" else "",
                             device="cpu", version=__version__, numpy=np.__version__, date=datetime.date.today().isoformat()))
    table = pd.DataFrame(rows)
    write_whole(RESULT, lambda file: table.to_csv(file, index=False))
    print(table[["what", "dtype", "seconds", "extra_mib", "others_seconds"]].to_string(index=False))


if __name__ == "__main__":
    main()
