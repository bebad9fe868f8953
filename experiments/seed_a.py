"""Seed A, measured: which defective parts deserve a mask? Magnetic tiles with their categories, and the official folds of KolektorSDD.

    python experiments/seed_a.py [--data ../shared/data] [--stage folds|mt|ksdd|all] [--k 2 4] [--repeats 5] [--jobs 1] [--keep FOLDER] [--learner small] [--ksdd-repeats 1]

Every training is done once and leaves one row; what has a row is not done again, so a killed command goes on where it stopped, and the same command in a second terminal takes its share.
Order: out-of-fold opinions of one K, the grid of that K (repeat 0 of everything first), KolektorSDD after the first K, then the next K.
Writes into nbs/results: seed_a_folds.csv (weak models), seed_a_oof.csv (their out-of-fold logits), seed_a_mt.csv and seed_a_ksdd.csv (one row per training), seed_a_parts.csv (the tiles),
seed_a_mt_choices.csv and seed_a_ksdd_choices.csv (which method, K, N and repeat led to which training). --results writes elsewhere, e.g. for a trial."""
import argparse
import logging
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from active_defects.data.archive import cache_folder, data_folder
from active_defects.data.atomic import write_whole
from active_defects.data.ksdd import read_ksdd
from active_defects.data.magnetic_tile import read_magnetic_tile
from active_defects.data.official_folds import official_folds, segmented_ids
from active_defects.data.pool import Pool
from active_defects.data.splits import group_folds, hold_out
from active_defects.data.weaken import weaken
from active_defects.formulas.calibration import calibrate
from active_defects.formulas.confidence import known_label_confidence
from active_defects.formulas.contracts import seed_of, tie_break
from active_defects.formulas.entropy import entropy
from active_defects.formulas.margin import margin
from active_defects.formulas.metrics import best_f
from active_defects.formulas.quotas import average_margins, quotas
from active_defects.formulas.selection import select
from active_defects.learners.folds import Folds
from active_defects.learners.segdec import SegDecLearner
from active_defects.learners.training import Schedule
from active_defects.loop.comparison import choice, curves, group_interval
from active_defects.loop.experiment import Training, marks, read_rows, run

RESULTS = Path(__file__).resolve().parent.parent / "nbs" / "results"
SMALL = SegDecLearner(dilate=15, augment=("flips",), schedule=Schedule(10, 8, 0.01, decay=0.0, clip=20.0), progress=False)
LONGER = replace(SMALL, schedule=replace(SMALL.schedule, epochs=24))  # half of the parts, and no mask: more passes
TALL = replace(SMALL, size=(320, 128), dilate=7, schedule=replace(SMALL.schedule, epochs=20))
TRIAL = SegDecLearner(size=(64, 128), width=1 / 16, schedule=Schedule(2, 16, 0.01, decay=0.0, clip=20.0), progress=False)
TILES = dict(size=(384, 256), channels=1, progress=False)  # the paper's network on tiles: KolektorSDD2's settings, the tiles' own shape
CONFIGURATIONS = {  # name -> learner per data set, and the one that gives out-of-fold opinions
    "small": {"magnetic tile": SMALL, "magnetic tile, folds": LONGER, "KolektorSDD": TALL, "KolektorSDD, folds": replace(TALL, schedule=replace(TALL.schedule, epochs=40))},
    "paper": {"magnetic tile": replace(SegDecLearner.paper("KSDD2"), **TILES), "magnetic tile, folds": replace(SegDecLearner.paper("KSDD2", masks=False), **TILES),
              "KolektorSDD": replace(SegDecLearner.paper("KSDD"), progress=False), "KolektorSDD, folds": replace(SegDecLearner.paper("KSDD", masks=False), progress=False)},
    "trial": dict.fromkeys(["magnetic tile", "magnetic tile, folds"], TRIAL) | dict.fromkeys(["KolektorSDD", "KolektorSDD, folds"], replace(TRIAL, size=(128, 64)))}
SHARES = (0.065, 0.13, 0.215, 0.325, 0.5)  # of the defective training parts: the paper's 16, 32, 53, 80 and 126 of 246
SPLIT_SEED, TEST_SHARE = 0, 0.3  # the test side of the magnetic tiles, the same for all repeats


# ---- out-of-fold opinions

@dataclass(frozen=True)
class FoldExam:
    "Keeps the out-of-fold logits beside the other files of the run, and says whether they are worth scoring with."
    folder: Path

    def __call__(self, training, model, pool):
        prediction = model(pool[training.labels.ids])
        p = prediction.defective
        logit = prediction.extras["logit"] if "logit" in prediction.extras else np.log(p / (1 - p).clip(1e-9)).to_numpy()
        table = pd.DataFrame(dict(fold=model.fold.loc[p.index].to_numpy(), logit=np.round(np.asarray(logit, float), 6)), index=p.index)
        write_whole(self.folder / f"{training.key}.csv", table.to_csv)
        truth = training.labels.table.defective[p.index].astype(bool)
        interval = group_interval(truth, pd.Series(table.logit), pool.table.group[p.index])
        return marks(truth, p) | {name: round(value, 6) for name, value in interval.items() if name != "ap"}


def opinions(keep, trainings, abouts, pool, jobs, results):
    "Out-of-fold opinions of each training, one table per training; trained where nobody did."
    file, kept = results / "seed_a_oof.csv", Path(keep) / "opinions"
    known = pd.read_csv(file, dtype={"key": str}) if file.is_file() else pd.DataFrame(columns=["key"])
    here = lambda t: t.key in set(known.key) or (kept / f"{t.key}.csv").is_file()
    rows = set(read_rows(results / "seed_a_folds.csv").key)
    lost = [t.what for t in trainings if t.key in rows and not here(t)]
    if lost: raise SystemExit(f"{lost[0]} has a row in seed_a_folds.csv, but its opinions are neither in {file.name} nor below {kept}; take its row out to train it again")
    run(trainings, pool, results / "seed_a_folds.csv", FoldExam(kept), jobs, folder=Path(keep) / "running")
    fresh = [pd.read_csv(kept / f"{t.key}.csv").assign(key=t.key, **about) for t, about in zip(trainings, abouts) if t.key not in set(known.key)]
    if fresh:
        table = pd.concat([*([known] if len(known) else []), *fresh]).assign(p=lambda t: expit(t.logit).round(6))
        table = table[["key", "data", "learner", "k", "repeat", "sample", "fold", "p", "logit"]]
        write_whole(file, lambda path: table.to_csv(path, index=False))
        known = table
    return [known[known.key == t.key].set_index("sample")[["fold", "logit"]] for t in trainings]


# ---- what each method would have drawn

def asked(method, n, oof, verdicts, category, candidates, repeat):
    "The ids that a method asks for; `oof`: fold and out-of-fold logit of every training part."
    p = pd.Series(expit(oof.logit), oof.index)
    urgency = lambda belief: pd.Series(1 - known_label_confidence(belief.loc[candidates].to_numpy()), candidates)
    by = category.loc[candidates]
    if method == "random": return select(pd.Series(tie_break(candidates, seed_of(repeat, "random")) / 2.0 ** 64, candidates), n, strict=True)
    if method == "entropy (= margin)": return select(pd.Series(entropy(p.loc[candidates].to_numpy()), candidates), n, seed=repeat, strict=True)
    if method == "average margin":
        q = pd.Series(margin(p.loc[candidates].to_numpy()), candidates)
        return select(-q, n, by=by, quotas=dict(quotas(average_margins(q, by), by.value_counts(), n)), seed=repeat, strict=True)
    if method == "least confidence": return select(urgency(p), n, seed=repeat, strict=True)
    if method == "least confidence, calibrated":
        parts = [part.index for _, part in oof.groupby("fold")]
        better = pd.concat([pd.Series(calibrate(p[ids].to_numpy(), best_f(verdicts[ids], p[ids])[0]), ids) for ids in parts])
        return select(urgency(better), n, seed=repeat, strict=True)
    if method.startswith("least confidence, M = "): return select(urgency(p), n, by=by, at_least=int(method.rsplit(" ", 1)[1]), seed=repeat, strict=True)
    raise ValueError(f"unknown method {method!r}")


METHODS = ("random", "entropy (= margin)", "average margin", "least confidence", "least confidence, calibrated", "least confidence, M = 1", "least confidence, M = 2", "least confidence, M = 4")


# ---- magnetic tiles

@cache
def tiles(data):
    "Pool, truth, ids for training and for the test; at least two groups of each category on the test side."
    pool, truth = read_magnetic_tile(data / "magnetic_tile")
    pool = Pool(pool.table, {i: pool.images[i] for i in pool.ids})  # decoded once, not once per training
    train, test = hold_out(pool, TEST_SHARE, SPLIT_SEED, truth.table.category)
    groups = pool.table.group[test].groupby(truth.table.category[test]).nunique()
    if groups.min() < 2 or len(groups) < truth.table.category.nunique(): raise SystemExit(f"the test side holds too few groups: {groups.to_dict()}; take another SPLIT_SEED")
    return pool, truth, train, test


def tile_facts(options):
    "What the page needs to know about the parts: a table of verdicts, kinds, groups, sides, and whether a mask can be had."
    pool, truth, _, test = tiles(options.data)
    table = pd.DataFrame(dict(defective=truth.table.defective.astype(bool), category=truth.table.category, group=pool.table.group, test=pool.ids.isin(test), maskable=truth.table.maskable.astype(bool)), index=pool.ids)
    write_whole(options.results / "seed_a_parts.csv", lambda file: table.to_csv(file))


def tile_folds(options, k):
    "Out-of-fold opinions of each repeat: one table per repeat."
    pool, truth, train, _ = tiles(options.data)
    weak, learner = weaken(truth[train]), Folds(options.learner["magnetic tile, folds"], k)
    plan = [Training(weak, weak, learner, repeat, "magnetic tile", f"magnetic tile: folds, K = {k}, repeat {repeat}") for repeat in range(options.repeats)]
    return opinions(options.keep, plan, [dict(data="magnetic tile", learner=options.name, k=k, repeat=repeat) for repeat in range(options.repeats)], pool, options.jobs, options.results)


def tile_grid(options, k):
    "Methods × N of each repeat, and the two reference points."
    pool, truth, train, test = tiles(options.data)
    tile_facts(options)
    strong = truth[train]
    candidates = pd.Index(sorted(strong.masks), name="sample")
    verdicts, category = strong.table.defective.astype(bool), strong.table.category
    plan, choices = [], []
    for repeat, oof in enumerate(tile_folds(options, k)):
        wishes = [("no masks", 0, []), ("all masks", len(candidates), candidates)]
        wishes += [(method, n, asked(method, n, oof, verdicts, category, candidates, repeat)) for n in budgets(len(candidates)) for method in METHODS]
        for method, n, ids in wishes:
            training = Training(weaken(strong, ids), truth[test], options.learner["magnetic tile"], repeat, "magnetic tile", f"magnetic tile: {method}, N = {n}, K = {k}, repeat {repeat}")
            plan.append(training)
            choices.append(choice(training, learner=options.name, method=method, k=k, n=n, repeat=repeat))
    note(options.results / "seed_a_mt_choices.csv", choices)
    print(f"magnetic tile, K = {k}: {len(choices)} wishes, {len({t.key for t in plan})} trainings; budgets {budgets(len(candidates))} of {len(candidates)}", flush=True)
    run(plan, pool, options.results / "seed_a_mt.csv", jobs=options.jobs, folder=options.keep / "running")
    table = curves(pd.DataFrame(choices), read_rows(options.results / "seed_a_mt.csv"))
    print(table.round(4).to_string(), flush=True)


def budgets(masks):
    "The numbers of masks to compare."
    return [round(share * masks) for share in SHARES]


def note(file, choices):
    "Add choices to their table, in place of older ones about the same."
    old = [pd.read_csv(file, dtype={"key": str})] if file.is_file() else []
    table = pd.concat([*old, pd.DataFrame(choices)])
    table = table.drop_duplicates([c for c in table.columns if c not in ("key", "masks", "chosen")], keep="last")
    write_whole(file, lambda path: table.to_csv(path, index=False))


# ---- KolektorSDD

ITEMS = (0, 5, 10, 15, 20, 33)  # items with masks; 33 stands for all


@cache
def ksdd(data):
    "Pool, truth, and the fold that tests each picture, official and without leaks."
    pool, truth = read_ksdd(data / "KolektorSDD.zip")
    return pool, truth, {"official": official_folds(pool.ids, data / "splits" / "ksdd_folds.json"),
                         "without leaks": group_folds(pool, 3, 0, truth.table.defective.astype(str))}


def ksdd_grid(options, k=2):
    "Per fold: masks for N items as the official lists have it, at random where there is no list, and where the out-of-fold opinion is most wrong."
    pool, truth, kinds = ksdd(options.data)
    learner, plan, choices = options.learner["KolektorSDD"], [], []
    folds_of = Folds(options.learner["KolektorSDD, folds"], k)
    sides = [(repeat, name, fold, truth[folds.index[folds != fold]], truth[folds.index[folds == fold]]) for repeat in range(options.ksdd_repeats) for name, folds in kinds.items() for fold in range(3)]
    weak = [weaken(train) for *_, train, _ in sides]
    oofs = opinions(options.keep, [Training(w, w, folds_of, repeat, "KolektorSDD", f"KolektorSDD: folds, K = {k}, {name} fold {fold}, repeat {repeat}") for w, (repeat, name, fold, *_) in zip(weak, sides)],
                    [dict(data=f"KolektorSDD, {name} fold {fold}", learner=options.name, k=k, repeat=repeat) for repeat, name, fold, *_ in sides], pool, options.jobs, options.results)
    for (repeat, name, fold, train, test), oof in zip(sides, oofs):
        masked = pd.Index(list(train.masks), name="sample")
        item = masked.str.split("/").str[0].to_series(index=masked)
        belief = pd.Series(expit(oof.logit), oof.index)[masked].groupby(item).min()  # an item is as urgent as its most doubted picture
        luck = pd.Series(tie_break(belief.index, seed_of(repeat, "items", fold)) / 2.0 ** 64, belief.index)
        for n in ITEMS:
            order = {"least confidence": select(-belief, max(n, 1), seed=repeat), "random items": select(luck, max(n, 1))}
            wishes = {method: masked[item.isin(items[:n]).to_numpy()] if n < 33 else masked for method, items in order.items()}
            if name == "official": wishes["official list"] = pd.Index(segmented_ids(truth, options.data / "splits" / "ksdd_folds.json", fold, n))
            if name == "official": del wishes["random items"]
            for method, ids in wishes.items():
                training = Training(weaken(train, ids), test, learner, repeat, "KolektorSDD", f"KolektorSDD: {method}, N = {n}, {name} fold {fold}, repeat {repeat}")
                plan.append((n, training))
                choices.append(choice(training, learner=options.name, folds=name, method=method, k=k, n=n, repeat=repeat, fold=fold))
    note(options.results / "seed_a_ksdd_choices.csv", choices)
    print(f"KolektorSDD: {len(choices)} wishes, {len({t.key for _, t in plan})} trainings", flush=True)
    run([t for _, t in plan], pool, options.results / "seed_a_ksdd.csv", jobs=options.jobs, folder=options.keep / "running")
    print(curves(pd.DataFrame(choices), read_rows(options.results / "seed_a_ksdd.csv"), by=("folds", "method", "n")).round(4).to_string(), flush=True)


# ---- the command

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--stage", choices=["folds", "mt", "ksdd", "all"], default="all", help="mt and ksdd train the folds they need")
    parser.add_argument("--k", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ksdd-repeats", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--keep", type=Path, default=cache_folder() / "experiments" / "seed_a", help="checkpoints, claims and opinions not yet in the tables")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--learner", choices=CONFIGURATIONS, default="small")
    options = parser.parse_args()
    if options.data is None: parser.error("no data found; give --data, the folder with magnetic_tile/ and KolektorSDD.zip")
    options.name, options.learner = options.learner, CONFIGURATIONS[options.learner]
    logging.basicConfig(format="%(asctime)s %(message)s")
    stages = [(tile_folds if options.stage == "folds" else tile_grid, k) for k in options.k] if options.stage != "ksdd" else []
    if options.stage in ("ksdd", "all"): stages.insert(1, (ksdd_grid, 2))
    failed = []
    for stage, k in stages:
        try: stage(options, k)
        except RuntimeError as error: failed.append(f"{stage.__name__}, K = {k}: {error}")
    sys.exit("\n".join(failed) or None)


if __name__ == "__main__":
    main()
