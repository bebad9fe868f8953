"""How much faster MSMR is in batches than image by image and block by block, with the same weights in the same run, and whether it ranks alike.

    python experiments/bench_scoring.py [--data ../shared/data] [--parts 48] [--epochs 4]

Writes nbs/results/bench_scoring.csv. Compare ratios, not seconds: machines differ."""
import argparse
import datetime
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from active_defects import __version__
from active_defects.data.archive import data_folder
from active_defects.data.atomic import write_whole
from active_defects.data.batches import image_tensor
from active_defects.data.ksdd import read_ksdd
from active_defects.formulas.masked_error import block_masks, msmr, turn_masks
from active_defects.learners.reconstruction import ReconstructionLearner, Reconstructor, batch_block_errors, batch_pixel_errors, untrained
from active_defects.learners.training import Schedule

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "bench_scoring.csv"


def timed(score, times=3):
    "Scores, and the seconds of the fastest of several runs."
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        scores = score()
        seconds.append(time.perf_counter() - start)
    return np.asarray(scores), min(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--parts", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    pool, _ = read_ksdd(options.data / "KolektorSDD.zip", crops=500)
    pool = pool[pool.ids[::len(pool) // options.parts][:options.parts]]
    learner = ReconstructionLearner(schedule=Schedule(options.epochs, 8), device="cpu")
    model = learner.fit(pool)
    plain = Reconstructor(learner, untrained(learner, 0))
    plain.network.load_state_dict(model.network.state_dict())
    plain.network.to(memory_format=torch.contiguous_format).eval()
    images, blocks = image_tensor(pool, learner.size), block_masks((learner.size, learner.size))
    reference, slow = timed(lambda: [msmr(image.numpy(), plain.guess, blocks) for image in images[:, 0]], times=2)
    ways = {"plain loop, float32, default layout": (reference, slow),
            "batches, float32, channels last": timed(lambda: batch_block_errors(model, images, blocks, half=False).max(axis=1)),
            "batches, bfloat16, channels last": timed(lambda: batch_block_errors(model, images, blocks, half=True).max(axis=1))}
    turns = turn_masks((learner.size, learner.size), learner.size // 16)
    rows = [dict(way=way, copies=len(blocks), seconds=round(seconds, 3), ratio=round(slow / seconds, 2), spearman=round(float(spearmanr(reference, scores).statistic), 5),
                 largest_relative_difference=float(np.abs(scores / reference - 1).max())) for way, (scores, seconds) in ways.items()]
    _, quick = timed(lambda: batch_pixel_errors(model, images, turns, half=True))
    rows.append(dict(way="patches in turn, bfloat16 (another score)", copies=len(turns), seconds=round(quick, 3), ratio=round(slow / quick, 2)))
    table = pd.DataFrame(rows).assign(parts=len(pool), size=learner.size, data="KolektorSDD crops", threads=torch.get_num_threads(), version=__version__, torch=torch.__version__, date=datetime.date.today().isoformat())
    write_whole(RESULT, lambda path: table.to_csv(path, index=False))
    print(table.drop(columns=["version", "torch", "date", "data"]).to_string())


if __name__ == "__main__":
    main()
