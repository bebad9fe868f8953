"""How many defects the first batch finds before anything is labeled: MSMR on KolektorSDD crops, and what moves it.

    python experiments/cold_start.py [--data ../shared/data] [--seeds 0 1 2] [--only NAME ...]

Trains M once per configuration and seed (kept under --keep, so that a killed run goes on where it stopped) and scores the pool in several ways with the same weights.
Writes nbs/results/cold_start.csv: one row per configuration, seed and way of scoring; rows of other runs stay as they are."""
import argparse
import datetime
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy as np
import pandas as pd
import torch

from active_defects import __version__
from active_defects.baselines.median import MedianDeviation
from active_defects.data.archive import cache_folder, data_folder
from active_defects.data.atomic import write_whole
from active_defects.data.batches import image_tensor
from active_defects.data.ksdd import read_ksdd
from active_defects.data.labels import Labels
from active_defects.data.magnetic_tile import read_magnetic_tile
from active_defects.formulas.masked_error import block_masks, turn_masks
from active_defects.formulas.metrics import share_found
from active_defects.learners.reconstruction import ReconstructionLearner, batch_pixel_errors, worst_pixels
from active_defects.learners.shelf import Shelf
from active_defects.learners.training import Schedule
from active_defects.strategies.strategy import State

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "cold_start.csv"
SMALL, LARGE = Schedule(epochs=30), Schedule(epochs=16)
CONFIGURATIONS = {
    "size 128": ReconstructionLearner(size=128, schedule=LARGE),
    "size 64": ReconstructionLearner(schedule=SMALL),
    "size 64, 10 epochs": ReconstructionLearner(schedule=Schedule(epochs=10)),
    "size 64, 10 epochs, patch 8": ReconstructionLearner(patch=8, schedule=Schedule(epochs=10)),
    "size 64, no skips": ReconstructionLearner(skips=False, schedule=SMALL),
    "size 64, hidden pixels only": ReconstructionLearner(hidden_only=True, schedule=SMALL)}


def ways(model, images):
    "Every way of scoring with the same weights: (hidden, pooled, copies, seconds, scores)."
    size, patch = images.shape[2], model.learner.patch or images.shape[2] // 16
    plans = {"blocks": block_masks((size, size), 4), "blocks, 2 × 2": block_masks((size, size), 2), "patches in turn": turn_masks((size, size), patch), "patches in turn, twice": turn_masks((size, size), patch, repeats=2)}
    for hidden, masks in plans.items():
        start = time.perf_counter()
        maps = batch_pixel_errors(model, images, masks)
        seconds = time.perf_counter() - start
        if hidden.startswith("blocks"):
            across = round(len(masks) ** 0.5)
            yield hidden, "worst block (paper)", len(masks), seconds, maps.reshape(-1, across, size // across, across, size // across).mean(axis=(2, 4)).max(axis=(1, 2)) / len(masks)
        for share in (0.0005, 0.001, 0.003, 0.01):
            for said, place, image in (("", 0, 0), (" / image", 0, 0.5), (" / place and image", 0.5, 0.5)):
                yield hidden, f"worst {share:.2%} of pixels{said}", len(masks), seconds, worst_pixels(model, maps, share, place, image)


def measure(data, name, learner, seed, pool, truth, shelf):
    "Rows of one configuration and one seed."
    learner = replace(learner, progress=True)
    state = State(pool, pool.ids, Labels.of({}), None, shelf, seed=seed)
    start = time.perf_counter()
    model = state.model("M", learner)
    train_seconds = time.perf_counter() - start
    if train_seconds < 5: train_seconds = np.nan  # it was trained before, and loaded
    images = image_tensor(pool, learner.size)
    about = dict(data=data, configuration=name, seed=seed, size=learner.size, epochs=learner.schedule.epochs, width=learner.width, parts=len(pool), defects=int(truth.table.defective.sum()))
    for hidden, pooled, copies, seconds, scores in ways(model, images):
        yield about | dict(hidden=hidden, pooled=pooled, copies=copies) | found(pd.Series(scores.astype(float), pool.ids), truth, seed) | dict(train_seconds=round(train_seconds, 1), score_seconds=round(seconds, 1)) | provenance()


def found(scores, truth, seed):
    "Percent of all defects in the top 10, 20 and 30 percent."
    return {f"top{share}": round(100 * share_found(truth.table.defective, scores, share / 100, seed), 1) for share in (10, 20, 30)}


def provenance():
    "Where and when."
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    return dict(device=device, version=__version__, torch=torch.__version__, date=datetime.date.today().isoformat())


def save(rows):
    "Add rows to the result, in place of older ones about the same."
    old = pd.read_csv(RESULT) if RESULT.is_file() else pd.DataFrame()
    table = pd.concat([old, pd.DataFrame(rows)]).drop_duplicates(["data", "configuration", "seed", "hidden", "pooled"], keep="last")
    write_whole(RESULT, lambda path: table.to_csv(path, index=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, default=["size 128", "size 64"])
    parser.add_argument("--set", choices=["KolektorSDD crops", "magnetic tiles 5 %"], default="KolektorSDD crops")
    parser.add_argument("--keep", type=Path, default=cache_folder() / "experiments" / "cold_start")
    options = parser.parse_args()
    tiles = options.set != "KolektorSDD crops"
    pool, truth = (read_magnetic_tile(options.data / "magnetic_tile", subset=options.data / "splits" / "mt_pool_5pct_seed0.txt") if tiles
                   else read_ksdd(options.data / "KolektorSDD.zip", crops=500))
    for size in sorted({CONFIGURATIONS[name].size for name in options.only}):
        start = time.perf_counter()
        scores = MedianDeviation(size=size).score(State(pool, pool.ids, Labels.of({}), None))
        save([dict(data=options.set, configuration=f"size {size}", seed=0, size=size, parts=len(pool), defects=int(truth.table.defective.sum()), hidden="nothing", pooled="median filter 5 × 5, worst 0.10% of pixels",
                   copies=0) | found(scores, truth, 0) | dict(train_seconds=0.0, score_seconds=round(time.perf_counter() - start, 1)) | provenance()])
    known = pd.read_csv(RESULT)
    for seed in options.seeds:
        for name in options.only:
            done = known.query("data == @options.set and configuration == @name and seed == @seed and hidden != 'nothing'")
            if len(done): continue
            rows = list(measure(options.set, name, CONFIGURATIONS[name], seed, pool, truth, Shelf(options.keep)))
            save(rows)
            print(pd.DataFrame(rows)[["configuration", "seed", "hidden", "pooled", "top10", "top20", "top30", "train_seconds", "score_seconds"]].to_string(), flush=True)


if __name__ == "__main__":
    main()
