"""How much the strategies' arithmetic gains over the plain versions, in one run on one machine, and whether both give the same: core-set, BADGE, BatchBALD, Suggestive Annotation.

    python experiments/bench_strategies.py [--only coreset badge batchbald suggestive]

Writes nbs/results/bench_strategies.csv; rows of a method that is not run stay. Time is processor time of this process, all its threads added up, which other programs on the machine hardly touch; with OMP_NUM_THREADS=1 it is the time that one core alone needs.
Compare ratios, not milliseconds: machines differ. Features are random numbers, which is the hardest case for the lazy cover."""
import argparse
import datetime
import os
import time
import tracemalloc
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from sklearn.metrics import pairwise_distances

from active_defects import __version__
from active_defects.data.atomic import write_whole
from active_defects.formulas.coverage import farthest_first
from active_defects.formulas.disagreement import batch_bald
from active_defects.formulas.entropy import entropy
from active_defects.formulas.gradients import plus_plus
from active_defects.formulas.representatives import cosine_cover, unit_vectors

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "bench_strategies.csv"


def timed(work, times=1):
    "What comes out, and the processor seconds of the fastest of several runs."
    seconds = []
    for _ in range(times):
        start = time.process_time()
        out = work()
        seconds.append(time.process_time() - start)
    return out, min(seconds)


def peak(work):
    "Largest memory of NumPy's arrays beyond what was there before, MiB."
    tracemalloc.start()
    work()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 2 ** 20


def row(method, way, size, picks, seconds, reference=None, same=None, mib=None):
    return dict(method=method, way=way, size=size, picks=picks, ms_per_pick=round(1000 * seconds / picks, 4), ratio=None if reference is None else round(reference / seconds, 2), same_picks=same, peak_mib=None if mib is None else round(mib, 1))


def coreset():
    "Farthest first: a table of all distances at each step, scikit-learn's distances to the new pick, and ours."
    random = np.random.default_rng(0)
    x, centers, rows = random.normal(size=(5_000, 128)).astype(np.float32), random.normal(size=(20, 128)).astype(np.float32), []
    def plain(picks=10):
        chosen = []
        for _ in range(picks):
            near = cdist(x, np.concatenate([centers, x[chosen]])).min(axis=1)
            chosen.append(int(np.where(np.isin(np.arange(len(x)), chosen), -1, near).argmax()))
        return chosen
    def by_scikit(points, centers, picks):
        near, chosen = pairwise_distances(points, centers).min(axis=1), []
        for _ in range(picks):
            chosen.append(int(near.argmax()))
            near = np.minimum(near, pairwise_distances(points, points[chosen[-1:]])[:, 0])
        return chosen
    slow, seconds = timed(plain)
    ours, quick = timed(lambda: farthest_first(x, 10, centers).tolist(), 5)
    rows += [row("coreset", "all distances anew", "5000 x 128", 10, seconds, seconds), row("coreset", "ours", "5000 x 128", 10, quick, seconds, ours == slow)]
    large = random.normal(size=(100_000, 128)).astype(np.float32)
    theirs, seconds = timed(lambda: by_scikit(large, centers, 50))
    ours, quick = timed(lambda: farthest_first(large, 50, centers).tolist(), 3)
    return rows + [row("coreset", "scikit-learn's distances", "100000 x 128", 50, seconds, seconds),
                   row("coreset", "ours", "100000 x 128", 50, quick, seconds, ours == theirs, peak(lambda: farthest_first(large, 3, centers)))]


def badge():
    "k-means++: with the outer products in memory, and without them."
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2_000, 10)), random.normal(size=(2_000, 512))
    def plain(picks=20):
        x, draw = np.einsum("nc,nd->ncd", a, b).reshape(len(a), -1), np.random.default_rng(0)
        order = np.lexsort(np.concatenate([a, b], axis=1).T)
        x, near, chosen = x[order], np.full(len(a), np.inf), []
        while len(chosen) < picks:
            chance = (np.where(np.isin(np.arange(len(x)), chosen), 0, near) if chosen else (x ** 2).sum(axis=1)).cumsum()
            chosen.append(int(np.searchsorted(chance, draw.random() * chance[-1], side="right")) if chosen else int(np.diff(chance, prepend=0).argmax()))
            near = np.minimum(near, ((x - x[chosen[-1]]) ** 2).sum(axis=1))
        return order[chosen].tolist()
    slow, seconds = timed(plain)
    ours, quick = timed(lambda: plus_plus(a, b, 20, 0)[0].tolist(), 3)
    return [row("badge", "outer products", "2000 x 10 x 512", 20, seconds, seconds, mib=peak(lambda: plain(2))),
            row("badge", "ours", "2000 x 10 x 512", 20, quick, seconds, ours == slow, peak(lambda: plus_plus(a, b, 2, 0)))]


def batchbald():
    "BatchBALD: the entropy of all joint answers for every candidate at every step, and ours; and a batch that no list could hold."
    p = np.random.default_rng(2).beta(0.3, 1.5, (20, 100))
    def plain(picks=6):
        chosen, own = [], entropy(p).mean(axis=0)
        for _ in range(picks):
            values = np.full(p.shape[1], -np.inf)
            for i in set(range(p.shape[1])) - set(chosen):
                q = p[:, [*chosen, i]]
                each = np.where(np.array(list(product([0, 1], repeat=q.shape[1])))[:, None], q, 1 - q).prod(axis=2).mean(axis=1)
                values[i] = -(each * np.log(each)).sum() - own[[*chosen, i]].sum()
            chosen.append(int(values.argmax()))
        return chosen
    slow, seconds = timed(plain)
    ours, quick = timed(lambda: batch_bald(p, 6)[0].tolist(), 5)
    large = np.random.default_rng(3).beta(0.3, 3, (20, 1_197))
    _, many = timed(lambda: batch_bald(large, 120))
    return [row("batchbald", "all joint answers anew", "20 x 100", 6, seconds, seconds), row("batchbald", "ours", "20 x 100", 6, quick, seconds, ours == slow),
            row("batchbald", "ours, drawn from the 11th on", "20 x 1197", 120, many, mib=peak(lambda: batch_bald(large, 14)))]


def suggestive():
    "Greedy cover: F from the beginning for each candidate, with a running maximum, and lazily without a table."
    x, candidates = np.random.default_rng(4).random((1_197, 4, 64)), np.arange(240)
    def table(): return unit_vectors(x)[candidates] @ unit_vectors(x).T
    def plain(picks=12):
        similar, chosen = table(), []
        for _ in range(picks):
            values = np.array([-np.inf if i in chosen else similar[[*chosen, i]].max(axis=0).sum() for i in candidates])
            chosen.append(int(np.argmax(values >= values.max() - 1e-9)))
        return chosen
    def running(picks):
        similar, best, chosen = table(), np.full(len(x), -np.inf), []
        for _ in range(picks):
            values = np.maximum(similar, best).sum(axis=1)
            values[chosen] = -np.inf
            chosen.append(int(np.argmax(values >= values.max() - 1e-9)))
            best = np.maximum(best, similar[chosen[-1]])
        return chosen
    slow, seconds = timed(plain)
    middle, half = timed(lambda: running(12), 3)
    ours, quick = timed(lambda: cosine_cover(x, candidates, 12)[0].tolist(), 3)
    size = "240 of 1197 x 4 x 64"
    rows = [row("suggestive", "F anew", size, 12, seconds, seconds), row("suggestive", "running maximum", size, 12, half, seconds, middle == slow), row("suggestive", "ours, lazy", size, 12, quick, seconds, ours == slow)]
    middle, half = timed(lambda: running(120))
    ours, quick = timed(lambda: cosine_cover(x, candidates, 120)[0].tolist())
    return rows + [row("suggestive", "running maximum", size, 120, half, half), row("suggestive", "ours, lazy", size, 120, quick, half, ours == middle)]


METHODS = dict(coreset=coreset, badge=badge, batchbald=batchbald, suggestive=suggestive)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    facts = dict(cores=os.cpu_count(), threads=os.environ.get("OMP_NUM_THREADS", "default"), version=__version__, numpy=np.__version__, date=datetime.date.today().isoformat())
    new = pd.DataFrame([one | facts for name in options.only for one in METHODS[name]()])
    if RESULT.exists():
        old = pd.read_csv(RESULT)
        new = pd.concat([old[~old.method.isin(new.method)], new], ignore_index=True)
    write_whole(RESULT, lambda path: new.to_csv(path, index=False))
    print(new.drop(columns=["version", "numpy", "date"]).to_string())


if __name__ == "__main__":
    main()
