"""What a late round of an ensemble takes: a member of four trained on half the KolektorSDD crops for a few epochs, in three ways on the same answers, and what that makes for a whole round of forty.

    python experiments/bench_ensemble.py [--data ../shared/data] [--epochs 2]

Writes nbs/results/bench_ensemble.csv; rows of other processors stay. Run it alone: it fills two cores."""
import argparse
import datetime
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from active_defects import __version__
from active_defects.data.archive import data_folder
from active_defects.data.atomic import write_whole
from active_defects.learners.ensemble import bootstrap
from active_defects.learners.segmenter import UNetLearner

from seed_b import RESULTS, SMALL, parts

MEMBERS, LABELS = 4, 600
WAYS = {"one thread": (1, 1), "two threads": (2, 1), "two members at a time": (1, 2)}  # threads of each, members at a time


def one_member(data, epochs, threads, number):
    "Seconds of one epoch, of what comes before the first, and of a look at what is not labeled."
    torch.set_num_threads(threads)
    pool, truth = parts("ksdd", data)
    order = pool.ids[np.random.default_rng(0).permutation(len(pool))]
    lessons = bootstrap(pool, truth[order[:LABELS]], number)
    learner = UNetLearner(progress=False, device="cpu")
    def fit(epochs):
        start = time.perf_counter()
        model = replace(learner, schedule=replace(SMALL, epochs=epochs)).fit(*lessons)
        return time.perf_counter() - start, model
    (brief, _), (long, model) = fit(1), fit(1 + epochs)
    epoch, start = (long - brief) / epochs, time.perf_counter()
    model(pool[order[LABELS:]])
    return epoch, brief - epoch, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--epochs", type=int, default=2, help="epochs that are timed")
    options, rows = parser.parse_args(), []
    cpu = torch.backends.cpu.get_cpu_capability()
    for way, (threads, together) in WAYS.items():
        with ProcessPoolExecutor(together, get_context("spawn")) as workers:
            seconds = list(workers.map(one_member, *zip(*[(options.data, options.epochs, threads, number) for number in range(together)])))
        epoch, before, look = (max(column) for column in zip(*seconds))
        rows.append(dict(way=way, labels=LABELS, epoch=round(epoch, 2), before=round(before, 2), look=round(look, 2), minutes=round(MEMBERS / together * (SMALL.epochs * epoch + before + look) / 60, 1), cpu=cpu, version=__version__, torch=torch.__version__, date=datetime.date.today().isoformat()))
        print(rows[-1], flush=True)
    file = RESULTS / "bench_ensemble.csv"
    old = pd.read_csv(file).query("cpu != @cpu") if file.exists() else pd.DataFrame()
    table = pd.concat([old, pd.DataFrame(rows)], ignore_index=True)
    write_whole(file, lambda path: table.to_csv(path, index=False))


if __name__ == "__main__":
    main()
