"""How hard the small world is: share of defects in the top of random, median-filter and MSMR rankings, over worlds with different seeds.

    python experiments/synth_bar.py [--methods random median msmr] [--worlds 5] [--n 600]

Writes nbs/results/synth_bar.csv; rows of methods and worlds that are not computed again stay as they are."""
import argparse
import datetime
import time
from pathlib import Path

import numpy as np
import pandas as pd

from active_defects import __version__
from active_defects.data.atomic import write_whole
from active_defects.data.labels import Labels
from active_defects.data.synth import synth_surfaces
from active_defects.formulas.contracts import seed_of
from active_defects.formulas.deviation import median_deviation
from active_defects.formulas.metrics import share_found
from active_defects.formulas.reduction import top_mean
from active_defects.learners.reconstruction import ReconstructionLearner
from active_defects.learners.training import Schedule
from active_defects.strategies.msmr import MSMR
from active_defects.strategies.strategy import State

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "synth_bar.csv"


def random_scores(pool, seed):
    "A random order."
    return pd.Series(np.random.default_rng(seed_of(seed, "synth_bar", "random")).random(len(pool)), index=pool.ids)


def median_scores(pool, seed):
    "Mean of the 0.1 % of pixels that differ most from the median of 5 x 5; fixed before any result was seen."
    images = np.stack([pool.images[i] for i in pool.ids])
    return pd.Series(top_mean(median_deviation(images, size=5), share=0.001), index=pool.ids)


def msmr_scores(pool, seed):
    "The cold start of this book, with the settings of `make demo`."
    return MSMR(ReconstructionLearner(schedule=Schedule(epochs=24))).score(State(pool, pool.ids, Labels.of({}), None, seed=seed))


METHODS = {"random": random_scores, "median": median_scores, "msmr": msmr_scores}


def measure(method, world, n, prevalence, device="cpu"):
    "One row: the shares that `method` finds in one world."
    pool, truth = synth_surfaces(n=n, seed=world, prevalence=prevalence)
    start = time.perf_counter()
    scores = METHODS[method](pool, world)
    seconds = time.perf_counter() - start
    shares = {f"top{share}": round(share_found(truth.table.defective, scores, share / 100), 4) for share in (10, 20, 30)}
    return dict(world_seed=world, method=method, **shares, n=n, defects=int(truth.table.defective.sum()), seconds=round(seconds, 2),
                device=device, version=__version__, date=datetime.date.today().isoformat())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--worlds", type=int, default=5)
    parser.add_argument("--n", type=int, default=600)
    parser.add_argument("--prevalence", type=float, default=0.06)
    options = parser.parse_args()
    rows = pd.DataFrame([measure(m, world, options.n, options.prevalence) for m in options.methods for world in range(options.worlds)])
    if RESULT.is_file(): rows = pd.concat([pd.read_csv(RESULT), rows])
    rows = rows.drop_duplicates(["world_seed", "method"], keep="last").sort_values(["method", "world_seed"])
    write_whole(RESULT, lambda path: rows.to_csv(path, index=False))
    print(rows.groupby("method")[["top10", "top20", "top30"]].agg(["mean", "std"]).round(3).to_string())


if __name__ == "__main__":
    main()
