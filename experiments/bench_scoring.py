"""How much faster MSMR and SDR are in batches than in the loop over their equations, with the same weights and maps in the same run, and whether they rank alike.

    python experiments/bench_scoring.py [--data ../shared/data] [--parts 48] [--epochs 4] [--score both]

Writes nbs/results/bench_scoring.csv; rows of a score that is not run stay. Compare ratios, not seconds: machines differ."""
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
from active_defects.formulas.suspect_error import sdr, suspect_errors
from active_defects.learners.reconstruction import ReconstructionLearner, Reconstructor, batch_block_errors, batch_pixel_errors, untrained
from active_defects.learners.supervised_reconstruction import Restorer, SupervisedReconstructionLearner
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


def compared(ways, copies):
    "One row for each way, {way: (scores, seconds)}; the first is the one that the others are compared with."
    reference, slow = next(iter(ways.values()))
    return [dict(way=way, copies=copies, seconds=round(seconds, 3), ratio=round(slow / seconds, 2), spearman=round(float(spearmanr(reference, scores).statistic), 5),
                 largest_relative_difference=float(np.abs(scores / reference - 1).max())) for way, (scores, seconds) in ways.items()]


def msmr_rows(model, plain, images):
    "MSMR: a forward pass for each hidden block of each image, or many at once."
    size = model.learner.size
    blocks, turns = block_masks((size, size)), turn_masks((size, size), size // 16)
    ways = {"plain loop, float32, default layout": timed(lambda: [msmr(image.numpy(), plain.guess, blocks) for image in images[:, 0]], times=2),
            "batches, float32, channels last": timed(lambda: batch_block_errors(model, images, blocks, half=False).max(axis=1)),
            "batches, bfloat16, channels last": timed(lambda: batch_block_errors(model, images, blocks, half=True).max(axis=1))}
    rows = compared(ways, len(blocks))
    _, quick = timed(lambda: batch_pixel_errors(model, images, turns, half=True))
    return rows + [dict(way="patches in turn, bfloat16 (another score)", copies=len(turns), seconds=round(quick, 3), ratio=round(rows[0]["seconds"] / quick, 2))]


def as_printed(image, guess, predicted):
    "Equations 8 and 9 of SDR, one pixel after the other."
    total = 0.0
    for i, j in np.ndindex(predicted.shape):
        g1 = 1.0 if predicted[i, j] >= 0.5 else 0.0
        total += (g1 * float(guess[i, j]) - g1 * float(image[i, j])) ** 2
    return total / predicted.size


def sdr_rows(model, plain, images):
    """SDR: a forward pass and the equation for each image, or many at once. G has M's form and weights here, as when its training begins; in place of S, M's own errors mark
    the pixels that exceed half of their image's largest, and both ways are given these maps."""
    size = model.learner.size
    g, errors = Restorer(SupervisedReconstructionLearner(model.learner), model.network), batch_pixel_errors(model, images, turn_masks((size, size), size // 16))
    maps, nothing = (errors / errors.max(axis=(1, 2), keepdims=True)).astype(np.float32), np.zeros((size, size), bool)
    ways = {"SDR, plain loop, float32, default layout": timed(lambda: [sdr(image.numpy(), plain.guess(image.numpy(), nothing), each) for image, each in zip(images[:, 0], maps)]),
            "SDR, batches, float32, channels last": timed(lambda: suspect_errors(images.numpy(), g.restore(images, half=False).numpy(), maps)),
            "SDR, batches, bfloat16, channels last": timed(lambda: suspect_errors(images.numpy(), g.restore(images, half=True).numpy(), maps))}
    given = g.restore(images, half=False).numpy()
    each = list(zip(images[:, 0].numpy(), given[:, 0], maps))
    arithmetic = {"SDR, the equation alone, pixel by pixel": timed(lambda: [as_printed(*three) for three in each]),
                  "SDR, the equation alone, image by image": timed(lambda: [sdr(*three) for three in each]),
                  "SDR, the equation alone, batches": timed(lambda: suspect_errors(images.numpy(), given, maps))}
    return compared(ways, 1) + compared(arithmetic, 0)


def kept(rows):
    "The rows of earlier runs whose way was not run this time, and the new ones."
    new = pd.DataFrame(rows)
    if not RESULT.exists(): return new
    old = pd.read_csv(RESULT)
    return pd.concat([old[~old.way.isin(new.way)], new], ignore_index=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--parts", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--score", choices=["msmr", "sdr", "both"], default="both")
    options = parser.parse_args()
    pool, _ = read_ksdd(options.data / "KolektorSDD.zip", crops=500)
    pool = pool[pool.ids[::len(pool) // options.parts][:options.parts]]
    learner = ReconstructionLearner(schedule=Schedule(options.epochs, 8), device="cpu")
    model = learner.fit(pool)
    plain = Reconstructor(learner, untrained(learner, 0))
    plain.network.load_state_dict(model.network.state_dict())
    plain.network.to(memory_format=torch.contiguous_format).eval()
    images = image_tensor(pool, learner.size)
    rows = [row for name, rows_of in dict(msmr=msmr_rows, sdr=sdr_rows).items() if options.score in (name, "both") for row in rows_of(model, plain, images)]
    facts = dict(parts=len(pool), size=learner.size, data="KolektorSDD crops", threads=torch.get_num_threads(), version=__version__, torch=torch.__version__, date=datetime.date.today().isoformat())
    table = kept([row | facts for row in rows])
    write_whole(RESULT, lambda path: table.to_csv(path, index=False))
    print(table.drop(columns=["version", "torch", "date", "data"]).to_string())


if __name__ == "__main__":
    main()
