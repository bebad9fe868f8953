"""How much progress a leak fakes: the same classifiers, judged with pictures dealt one by one, and with groups kept whole.

    python experiments/leaks.py [--data ../shared/data]          (about three minutes)

Writes nbs/results/leaks.csv: average precision of out-of-fold opinions, five folds, five deals, for the crops of KolektorSDD (a group is an item with its copies) and the magnetic tiles (a group is a tile with its exposures)."""
import argparse
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from active_defects import __version__
from active_defects.data.archive import data_folder
from active_defects.data.atomic import write_whole
from active_defects.data.batches import image_tensor
from active_defects.data.ksdd import read_ksdd
from active_defects.data.magnetic_tile import read_magnetic_tile
from active_defects.data.splits import group_folds
from active_defects.formulas.metrics import average_precision

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "leaks.csv"
SIZE, FOLDS, DEALS = 32, 5, 5
CLASSIFIERS = {"nearest picture": lambda: KNeighborsClassifier(5, weights="distance"),
               "logistic regression": lambda: make_pipeline(StandardScaler(), PCA(64, random_state=0), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))}
WAYS = {"picture by picture": lambda pool, kind, seed: one_by_one(kind, seed), "groups kept whole": lambda pool, kind, seed: group_folds(pool, FOLDS, seed, kind)}


def one_by_one(kind, seed):
    "Folds that know nothing of groups."
    fold = pd.Series(0, kind.index)
    for k, (_, test) in enumerate(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(kind, kind)): fold.iloc[test] = k
    return fold


def opinions(make, images, defective, fold):
    "For every picture, the opinion of a classifier that did not see its fold."
    p = pd.Series(np.nan, defective.index)
    for k in range(FOLDS):
        test = (fold == k).to_numpy()
        p[test] = make().fit(images[~test], defective[~test]).predict_proba(images[test])[:, 1]
    return p


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder())
    data = parser.parse_args().data
    sets = {"KolektorSDD crops": lambda: read_ksdd(data / "KolektorSDD.zip", crops=500), "magnetic tiles": lambda: read_magnetic_tile(data / "magnetic_tile")}
    rows = []
    with tqdm(total=len(sets) * len(WAYS) * len(CLASSIFIERS) * DEALS, unit="deal") as bar:
        for name, read in sets.items():
            pool, truth = read()
            images, defective = image_tensor(pool, SIZE).flatten(1).numpy(), truth.table.defective[pool.ids].astype(bool)
            images = images - images.mean(axis=1, keepdims=True)
            for way, deal in WAYS.items():
                for classifier, make in CLASSIFIERS.items():
                    for seed in range(DEALS):
                        start = time.perf_counter()
                        p = opinions(make, images, defective, deal(pool, defective.astype(str), seed).reindex(pool.ids))
                        rows.append(dict(data=name, pictures=len(pool), groups=pool.table.group.nunique(), defective=int(defective.sum()), way=way, classifier=classifier, seed=seed,
                                         ap=round(average_precision(defective, p), 4), seconds=round(time.perf_counter() - start, 2), device="cpu", version=__version__, date=date.today().isoformat()))
                        bar.update()
    write_whole(RESULT, lambda file: pd.DataFrame(rows).to_csv(file, index=False))


if __name__ == "__main__":
    main()
