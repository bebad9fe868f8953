"""Seed B, measured: SID4DS from the cold start to almost all defects found, beside the scores it competes with.

    python experiments/seed_b.py [--data ../shared/data] [--stage found next groups losses draws sight iou hits] [--sets ksdd tiles] [--arms SDR …] [--seeds 0 1 2] [--rounds 6] [--jobs 1] [--keep FOLDER] [--learner small|paper]

Every run is a `Loop` on a store of its own under --keep: killed at any moment, it goes on where it stopped. What has a row is not done again; a run that has some of its rows, and whose store is gone, is made anew, with all of them.
Writes into nbs/results: seed_b_found.csv (one row per run and round), seed_b_kinds.csv (the same per kind of flaw), seed_b_groups.csv (defects in ten groups of the first ranking),
seed_b_next.csv (from one state: what each score would find next), seed_b_draws.csv (the first ranking of the magnetic tiles, over many pools), seed_b_sight.csv (what M sees of each kind of flaw), seed_b_iou.csv (held-out groups), seed_b_hits.csv (which of them S touches, and what it makes of those it was taught), seed_b_losses.csv (score against segmentation loss, part by part). --results writes elsewhere."""
import argparse
import logging
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import cache, partial
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import mannwhitneyu
from tqdm import tqdm

from active_defects import __version__
from active_defects.data.archive import cache_folder, data_folder
from active_defects.data.atomic import write_whole
from active_defects.data.batches import mask_tensor, stream
from active_defects.data.ksdd import read_ksdd
from active_defects.data.labels import mask_of
from active_defects.data.magnetic_tile import read_magnetic_tile
from active_defects.data.resize import resize
from active_defects.data.splits import hold_out
from active_defects.data.store import LabelStore
from active_defects.formulas.contracts import seed_of
from active_defects.formulas.metrics import found_by_group, found_curve, pooled_iou
from active_defects.learners.reconstruction import ReconstructionLearner, batch_pixel_errors
from active_defects.learners.segmenter import UNetLearner
from active_defects.learners.shelf import Shelf, model_key
from active_defects.learners.supervised_reconstruction import SupervisedReconstructionLearner
from active_defects.learners.training import Schedule, half_precision
from active_defects.loop.experiment import add_row, locked, read_rows
from active_defects.loop.oracle import TruthOracle
from active_defects.loop.rounds import Loop, shows_defect
from active_defects.models.losses import segmentation_loss
from active_defects.strategies.blend import Blend
from active_defects.strategies.likely_defect import LikelyDefect
from active_defects.strategies.msmr import MSMR
from active_defects.strategies.reconstruction_error import ReconstructionError
from active_defects.strategies.sdr import SDR
from active_defects.strategies.strategy import Random

RESULTS = Path(__file__).resolve().parent.parent / "nbs" / "results"
SETS = {"ksdd": ("KolektorSDD crops", 120), "tiles": ("magnetic tiles 5 %", 100)}  # name and K
SMALL, TRIAL = Schedule(40, 32, 0.1), dict(size=32, width=1 / 8, schedule=Schedule(2, 32, 0.1))
LEARNERS = {  # name -> M, S, G
    "small": (ReconstructionLearner(), UNetLearner(schedule=SMALL), SupervisedReconstructionLearner()),
    "paper": (ReconstructionLearner.paper(), UNetLearner.paper(), SupervisedReconstructionLearner.paper()),
    "trial": (ReconstructionLearner(**TRIAL), UNetLearner(**TRIAL), SupervisedReconstructionLearner(ReconstructionLearner(**TRIAL), schedule=TRIAL["schedule"]))}


@dataclass(frozen=True)
class Arm:
    "One way of asking: what begins, what goes on, how many are assumed good (in K), whether S starts from the round before, and rounds."
    first: object
    then: object
    assume: float = 1.0
    warm: bool = True
    rounds: int = 6


def arms(m, g=None):
    "Name -> arm; all share the weights of M."
    msmr = MSMR(m)
    blocks, sdr = replace(msmr, hide="blocks"), SDR(g, msmr)
    surest = LikelyDefect()
    return {
        "SDR": Arm(msmr, sdr), "confidence": Arm(msmr, surest), "SDR and confidence": Arm(msmr, Blend((sdr, surest))), "SDR or confidence": Arm(msmr, Blend((sdr, surest), how="best")),
        "MSMR only": Arm(None, msmr, 0), "random": Arm(None, Random(), 0),
        "SDR, worst block first": Arm(blocks, SDR(g, blocks), rounds=3), "SDR, nothing assumed": Arm(msmr, sdr, 0, rounds=3), "SDR, S from scratch": Arm(msmr, sdr, warm=False, rounds=3),
        "SDR, G anew": Arm(msmr, replace(sdr, once=False), rounds=3),
        "SDR after random": Arm(Random(), sdr, rounds=2), "SDR after random mask": Arm(ReconstructionError(m), sdr, rounds=2)}


@cache
def parts(name, data):
    "Pool and truth."
    if name == "ksdd": return read_ksdd(data / "KolektorSDD.zip", crops=500)
    if name == "tiles, all": return read_magnetic_tile(data / "magnetic_tile")
    return read_magnetic_tile(data / "magnetic_tile", subset=data / "splits" / "mt_pool_5pct_seed0.txt")


def origin(options, seconds):
    "Where and when."
    half = isinstance(half_precision(torch.device("cpu")), torch.autocast)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.backends.cpu.get_cpu_capability()}" + ", bfloat16" * half
    return dict(learner=options.learner, seconds=seconds, device=device, threads=torch.get_num_threads(), version=__version__, torch=torch.__version__, date=date.today().isoformat())


def loop_of(options, name, arm, seed, pool, batch, about):
    "The run's own loop; trained models are shared by all runs."
    m, s, g = (replace(learner, progress=options.progress) for learner in LEARNERS[options.learner])
    arm = options.methods(m, g)[arm]
    folder = options.keep / settings(options)
    folder.mkdir(parents=True, exist_ok=True)
    loop = Loop(pool, LabelStore(folder / f"{about.replace('|', '-')}.db"), s, arm.then, arm.first, batch, round(arm.assume * batch), seed, warm=arm.warm)
    loop.shelf = Shelf(folder / f"models-{name}")
    return loop, arm


def demand_rounds(loop, name, arm, seed, stage="found", command="seed_b"):
    "Ends with advice where a run's rounds are not kept here."
    if not len(loop.store.rounds): raise SystemExit(f"{name}, {arm}, seed {seed}: run {command}.py --stage {stage} --arms {arm!r} --results ELSEWHERE first, its rounds are used here")


def settings(options):
    "The name of the learners, and a fingerprint of what it stands for."
    return f"{options.learner}-{blake2b(repr(LEARNERS[options.learner]).encode(), digest_size=3).hexdigest()}"


def key_of(*about): return "|".join(map(str, about))


# ---- share of defects found, round by round

def rows_of(run, options, table):
    "Keys of the rows that a run has."
    keys = read_rows(options.results / f"{options.prefix}_{table}.csv").key
    return set(keys[keys.str.startswith(f"{run}|")])


def take_out(run, options, *tables):
    "Take a run out of the tables whose rounds are not kept here: it is made anew, since one run's rows are of one piece."
    for file in (options.results / f"{options.prefix}_{table}.csv" for table in tables):
        if not file.exists(): continue
        with open(file, "r+", encoding="utf-8", newline="") as table, locked(table):
            lines = table.readlines()
            table.seek(0)
            table.writelines(line for line in lines if not line.startswith(f"{run}|"))
            table.truncate()


def found(job, options):
    "Run Algorithm 1 and write one row per round."
    name, arm, seed = job
    pool, truth = parts(name, options.data)
    loop, arm_ = loop_of(options, name, arm, seed, pool, SETS[name][1], key_of("found", name, arm, seed))
    defective, kinds, run, last = truth.table.defective.astype(bool), truth.table.get("category"), key_of(settings(options), name, arm, seed), min(arm_.rounds, options.rounds)
    done = rows_of(run, options, "found")
    if len(loop.store.rounds) < len(done):
        if len(done) >= last: return
        take_out(run, options, "found", "kinds")
        done = set()
    for number in range(1, last + 1):
        if len(loop.store.rounds) < number:
            start, before = time.perf_counter(), {file.name for file in loop.shelf.folder.glob("*")} if loop.shelf.folder.exists() else set()
            record = loop.ask()
            seconds, fresh = round(time.perf_counter() - start, 1), "".join(sorted(name for name, key in record.models.items() if not any(file.startswith(key) for file in before)))
        else: record, seconds, fresh = loop.store.rounds[number], None, None
        if len(loop.store.unanswered(record)): loop.tell(record, TruthOracle(truth).annotate(record.asked))
        if (key := key_of(run, number)) in done: continue
        order = pd.Index([i for n in range(1, number + 1) for i in loop.store.rounds[n].asked])
        curve = found_curve(defective, order)
        about = dict(key=key, data=SETS[name][0], method=arm, seed=seed, round=number)
        if kinds is not None and kinds[defective].nunique() > 1:
            known = set(read_rows(options.results / f"{options.prefix}_kinds.csv").key)
            rows = [dict(about, key=f"{key}|{kind}", kind=kind, defects=int((kinds == kind).sum()), found=int((kinds[order] == kind).sum()), learner=options.learner) for kind in sorted(set(kinds[defective]))]
            for row in rows:
                if row["key"] not in known: add_row(options.results / f"{options.prefix}_kinds.csv", row)
        add_row(options.results / f"{options.prefix}_found.csv", about | dict(parts=len(pool), defects=int(defective.sum()), asked=len(order), found=int(defective[order].sum()), to95=int((curve < 0.95).sum()) if curve.iloc[-1] >= 0.95 else None, in_round=int(defective[record.asked].sum()),
                by=record.strategy, assumed=len(record.assumed), wrongly=int(defective[record.assumed].sum()), trained=fresh) | origin(options, seconds))


# ---- from one state: what each score would find next

def following(job, options):
    "Defects among the next K by each score, in every state that SDR's run went through; no training."
    name, seed = job
    pool, truth = parts(name, options.data)
    loop, arm = loop_of(options, name, "SDR", seed, pool, SETS[name][1], key_of("found", name, "SDR", seed))
    defective, done = truth.table.defective.astype(bool), set(read_rows(options.results / f"{options.prefix}_next.csv").key)
    scores = {"SDR": arm.then, "SDR, ties by id": replace(arm.then, ties="id"), "MSMR": arm.first, "largest probability": LikelyDefect(0), "top 0.1 %": LikelyDefect(0.001), "top 1 %": LikelyDefect(0.01),
              "SDR and top 0.1 %": Blend((arm.then, LikelyDefect())), "SDR or top 0.1 %": Blend((arm.then, LikelyDefect()), how="best")}
    if any(key_of(settings(options), name, seed, number, score) not in done for number in range(1, arm.rounds) for score in scores): demand_rounds(loop, name, "SDR", seed)
    for number in range(1, min(len(loop.store.rounds), arm.rounds)):
        state = loop.state(number)
        left = int(defective[state.candidates].sum())
        for score, strategy in scores.items():
            if (key := key_of(settings(options), name, seed, number, score)) in done: continue
            values = strategy.score(state)
            asked = loop.select(values, loop.batch, seed=seed)
            add_row(options.results / f"{options.prefix}_next.csv", dict(key=key, data=SETS[name][0], seed=seed, after=number, score=score, left=left, found=int(defective[asked].sum()), blind=int((values <= 0).sum()) if score == "SDR" else None) | origin(options, None))


def groups(job, options):
    "Defects in ten groups of the first ranking [Figures 9 and 12]."
    name, seed = job
    pool, truth = parts(name, options.data)
    loop, _ = loop_of(options, name, "SDR", seed, pool, SETS[name][1], key_of("found", name, "SDR", seed))
    m, defective, done = loop.first.learner, truth.table.defective.astype(bool), set(read_rows(options.results / f"{options.prefix}_groups.csv").key)
    for score, strategy in {"MSMR": loop.first, "MSMR, worst block": replace(loop.first, hide="blocks"), "MSMR, dark side": replace(loop.first, side="dark"), "random mask": ReconstructionError(m), "nothing hidden": ReconstructionError(m, "nothing"), "random": Random()}.items():
        if (key := key_of(settings(options), name, seed, score)) in done: continue
        start = time.perf_counter()
        counts = found_by_group(defective, strategy.score(loop.state(0)), 10, seed)
        add_row(options.results / f"{options.prefix}_groups.csv", dict(key=key, data=SETS[name][0], seed=seed, score=score) | {f"group{k}": int(n) for k, n in enumerate(counts, 1)} | origin(options, round(time.perf_counter() - start, 1)))


# ---- the first ranking of the magnetic tiles, over many pools

DRAWS, DEFECTS = 50, 50


def draws(job, options):
    "Share found in the first tenth, fifth and third of `DRAWS` pools with other defects, and how well each kind stands out from the good parts."
    name, seed = job
    done = set(read_rows(options.results / f"{options.prefix}_draws.csv").key)
    everything, truth = parts(f"{name}, all", options.data)
    loop, _ = loop_of(options, name, "SDR", seed, parts(name, options.data)[0], SETS[name][1], key_of("found", name, "SDR", seed))
    learner = loop.first.learner
    model = loop.state(0).model("M", learner)
    def of_m(score): return lambda: np.concatenate([score(images) for _, images in stream(everything, learner.size, learner.channels)])
    ways = {"MSMR": of_m(partial(loop.first.score_images, model)), "MSMR, worst block": of_m(partial(replace(loop.first, hide="blocks").score_images, model)),
            "MSMR, dark side": of_m(partial(replace(loop.first, side="dark").score_images, model)),
            "MSMR, dark side, not relative": of_m(partial(replace(loop.first, side="dark", place=0, image=0).score_images, model))}
    facts = truth.table
    good, usable = facts.index[~facts.defective.astype(bool)], facts[facts.defective.astype(bool) & facts.maskable.astype(bool)]
    for score, way in ways.items():
        if key_of(settings(options), name, seed, score, "all") in done: continue
        values = pd.Series(way(), everything.ids)
        random, places = np.random.default_rng(0), []
        for _ in range(DRAWS):
            some = random.choice(usable.index, DEFECTS, replace=False)
            places.append(values[[*good, *some]].rank(ascending=False, pct=True, method="first")[some])
        places = pd.concat(places, axis=1)  # share of the pool before each drawn defect, one column per draw
        for kind, those in (usable.groupby("category").groups | {"all": usable.index}).items():
            numbers = dict(auroc=round(mannwhitneyu(values[those], values[good]).statistic / len(those) / len(good), 4))
            drawn = places.reindex(those)
            for p in (10, 20, 30):
                shares = 100 * drawn.le(p / 100).sum() / drawn.notna().sum()
                numbers |= {f"top{p}": round(shares.mean(), 1), f"top{p}_low": round(shares.quantile(0.025), 1), f"top{p}_high": round(shares.quantile(0.975), 1)}
            add_row(options.results / f"{options.prefix}_draws.csv", dict(key=key_of(settings(options), name, seed, score, kind), data="magnetic tiles, all", seed=seed, score=score, kind=kind, defects=len(those), good=len(good)) | numbers | origin(options, None))


# ---- what M sees of each kind of flaw

RIM, SOME = 4, 200  # pixels of the outer frame; good parts looked at


def sight(job, options):
    "How far M's error stands out inside the masks, kind by kind, and where its worst pixels are; medians over the parts, shares of pixels as means."
    name, seed = job
    if key_of(settings(options), name, seed, "good") in set(read_rows(options.results / f"{options.prefix}_sight.csv").key): return
    everything, truth = parts(f"{name}, all", options.data)
    loop, _ = loop_of(options, name, "SDR", seed, parts(name, options.data)[0], SETS[name][1], key_of("found", name, "SDR", seed))
    m, facts = loop.first.learner, truth.table
    model, hidden, rows = loop.state(0).model("M", m), loop.first.masks(), []
    looked = everything[[*facts.index[~facts.defective.astype(bool)][:SOME], *facts.index[facts.defective.astype(bool) & facts.maskable.astype(bool)]]]
    rim = np.ones((m.size, m.size), bool)
    rim[RIM:-RIM, RIM:-RIM] = False
    for ids, images in stream(looked, m.size, m.channels):
        dark, bright = (batch_pixel_errors(model, images, hidden, side=side) for side in ("dark", "bright"))
        for i, image, below, above in zip(ids, images[:, 0].numpy(), dark, bright):
            error = below + above
            worst = np.argsort(-(error / np.sqrt(model.network.typical.numpy())).ravel())[:round(m.size ** 2 * loop.first.share)]
            row = dict(kind=facts.category[i], bright=(above > below).ravel()[worst].mean())
            if facts.defective[i]:
                mask = resize(np.float32(mask_of(truth, i, everything.images[i].shape[:2])), (m.size, m.size))
                inside, outside = mask >= min(0.5, mask.max()), mask <= 0.05
                row |= dict(area=100 * mask.mean(), ratio=error[inside].mean() / error[outside].mean(), darker=image[outside].mean() - image[inside].mean(), rim=rim[inside].mean(), hit=inside.ravel()[worst].mean())
            rows.append(row)
    by = pd.DataFrame(rows).groupby("kind")
    means, medians = by.mean().round(3), by.median().round(3)
    for kind, count in by.size().items():
        add_row(options.results / f"{options.prefix}_sight.csv", dict(key=key_of(settings(options), name, seed, kind), data="magnetic tiles, all", seed=seed, kind=kind, parts=int(count)) | medians.loc[kind, ["area", "ratio", "darker"]].to_dict() | means.loc[kind, ["rim", "hit", "bright"]].to_dict() | origin(options, None))


# ---- how good a segmenter the labels make, on groups held out

SHARES = {1: 10, 2: 20, 3: 30, 6: 60}  # round -> percent of the pool


def held_out(job, options):
    "All parts, their truth, those that are held out, and the loop over the others."
    name, arm, seed = job
    everything, truth = parts(name, options.data)
    train, test = hold_out(everything, 0.3, 0, stratify=truth.table.defective.astype(str))
    return everything, truth, test, *loop_of(options, f"{name}-train", "random" if arm == "all labels" else arm, seed, everything[train], round(len(train) / 10), key_of("iou", name, arm, seed))


def iou(job, options):
    "IoU on held-out groups after 10, 20, 30, 60 and 100 % of the labels [Table 5]."
    name, arm, seed = job
    everything, truth, test, loop, arm_ = held_out(job, options)
    pool, run = loop.pool, key_of(settings(options), name, arm, seed)
    done, rounds = rows_of(run, options, "iou"), len(loop.store.rounds)
    wanted = {number: percent for number, percent in SHARES.items() if number <= min(arm_.rounds, options.rounds)}
    if done >= {key_of(run, percent) for percent in ([100] if arm == "all labels" else wanted.values())}: return
    if any(number > rounds and key_of(run, percent) in done for number, percent in SHARES.items()):
        take_out(run, options, "iou", "hits")
        done = set()
    masks = [mask_of(truth, i, everything.images[i].shape[:2]) for i in test]
    def examine(percent, labels, train_model):
        if (key := key_of(run, percent)) in done: return
        start = time.perf_counter()
        model = train_model() if shows_defect(loop.store.latest()) or arm == "all labels" else None
        seconds = round(time.perf_counter() - start, 1)
        guesses = [resize(m, mask.shape) >= 0.5 for m, mask in zip(model(everything[test]).maps, masks)] if model else [np.zeros_like(mask) for mask in masks]
        add_row(options.results / f"{options.prefix}_iou.csv", dict(key=key, data=SETS[name][0], method=arm, seed=seed, percent=percent, labels=labels, test=len(test), iou=round(pooled_iou(masks, guesses), 4)) | origin(options, seconds))
    if arm == "all labels":
        known, own = truth[pool.ids], seed_of(seed, "S")
        return examine(100, len(pool), lambda: loop.shelf.get(model_key("S", loop.learner, pool.ids, known, own), lambda file: loop.learner.fit(pool, known, own, checkpoint=file), loop.learner.load))
    for number in range(1, max(wanted) + 1):
        record = loop.ask() if len(loop.store.rounds) < number else loop.store.rounds[number]
        if len(loop.store.unanswered(record)): loop.tell(record, TruthOracle(truth).annotate(record.asked))
        if number in wanted: examine(wanted[number], len(loop.store.latest(number)), lambda: loop.model(number))


def hits(job, options):
    "What stands behind the IoU: how many defects S was taught, and the IoU on them; held-out defects that it touches, and good parts that it marks."
    name, arm, seed = job
    everything, truth, test, loop, _ = held_out(job, options)
    run = key_of(settings(options), name, arm, seed)
    done, examined = rows_of(run, options, "hits"), rows_of(run, options, "iou")
    if examined and done >= examined: return
    demand_rounds(loop, name, arm, seed, "iou", options.prefix)
    defective = truth.table.defective.astype(bool)
    for number, percent in SHARES.items():
        if number > len(loop.store.rounds) or (key := key_of(run, percent)) in done or not shows_defect(taught := loop.store.latest(number)): continue
        model = loop.model(number)
        def drawn(ids): return [(resize(guess, mask.shape) >= 0.5, mask) for i, guess in zip(ids, model(everything[ids]).maps) for mask in [mask_of(truth, i, everything.images[i].shape[:2])]]
        own, bad, good = (drawn(pd.Index(ids)) for ids in (taught.ids[taught.table.defective.astype(bool)], [i for i in test if defective[i]], [i for i in test if not defective[i]]))
        add_row(options.results / f"{options.prefix}_hits.csv", dict(key=key, data=SETS[name][0], method=arm, seed=seed, percent=percent, defects=len(bad), hit=sum(bool((a & b).any()) for a, b in bad), good=len(good), marked=sum(bool(a.any()) for a, _ in good),
                taught=len(own), own=round(pooled_iou([b for _, b in own], [a for a, _ in own]), 4)) | origin(options, None))


# ---- score against segmentation loss

def losses(job, options):
    "Each score beside what S gets wrong, part by part, after the first round [Figures 2 and 7]."
    name, seed = job
    if (file := options.results / f"{options.prefix}_losses.csv").exists() and ((table := pd.read_csv(file)).data.eq(SETS[name][0]) & table.seed.eq(seed) & table.learner.eq(options.learner)).any(): return
    pool, truth = parts(name, options.data)
    loop, arm = loop_of(options, name, "SDR", seed, pool, SETS[name][1], key_of("found", name, "SDR", seed))
    demand_rounds(loop, name, "SDR", seed)
    state, s = loop.state(1), loop.learner
    left = pool[state.candidates]
    logits, masks = torch.logit(torch.from_numpy(state.predict(left).maps), eps=1e-6)[:, None], mask_tensor(left, truth, s.size)
    table = pd.DataFrame({"loss": [segmentation_loss(a[None], b[None], s.smooth).item() for a, b in zip(logits, masks)]}, state.candidates)
    for score, strategy in {"sdr": arm.then, "msmr": arm.first, "worst block": replace(arm.first, hide="blocks"), "random mask": ReconstructionError(arm.first.learner), "nothing hidden": ReconstructionError(arm.first.learner, "nothing")}.items():
        table[score] = strategy.score(state).map(lambda x: float(f"{x:.5g}"))
    table = table.assign(defective=truth.table.defective[table.index].astype(bool), data=SETS[name][0], seed=seed, **origin(options, None)).rename_axis("sample").reset_index()
    with open(file.with_suffix(".lock"), "a") as handle, locked(handle):
        old = [pd.read_csv(file)] if file.exists() else []
        write_whole(file, lambda path: pd.concat([*old, table]).to_csv(path, index=False))


# ---- the plan

STAGES = {"found": found, "next": following, "groups": groups, "losses": losses, "draws": draws, "sight": sight, "iou": iou, "hits": hits}


def jobs_of(options):
    "What is to be done, most wanted first: (stage, job)."
    names = list(arms(LEARNERS["small"][0])) if options.arms is None else options.arms
    for name in options.sets:
        for arm in names: yield from (("found", (name, arm, seed)) for seed in options.seeds)
        for stage in ("next", "groups"): yield from ((stage, (name, seed)) for seed in options.seeds)
        yield "losses", (name, options.seeds[0])
        if name == "tiles":
            for stage in ("draws", "sight"): yield from ((stage, (name, seed)) for seed in options.seeds)
        for arm in ("SDR", "random", "all labels"): yield from (("iou", (name, arm, seed)) for seed in options.seeds)
        for arm in ("SDR", "random"): yield from (("hits", (name, arm, seed)) for seed in options.seeds)


def work(task, options, stages=STAGES):
    "One job, alone on its data set and seed, since its runs share models."
    stage, job = task
    torch.set_num_threads(options.threads)
    options.keep.mkdir(parents=True, exist_ok=True)
    with open(options.keep / f"{options.learner}-{job[0]}-{job[-1]}-{'train' if stage in ('iou', 'hits') else stage if stage == 'minutes' else 'whole'}.lock", "a") as handle, locked(handle): stages[stage](job, options)
    return f"{stage}: {', '.join(map(str, job))}"


def options_of(doc, stages, names, prefix, methods):
    "What was typed, and what follows from it."
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--stage", nargs="+", choices=stages, default=list(stages))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--arms", nargs="+", choices=names)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=6, help="of each run of the stages found and iou, at most; a later call goes on from there")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each in a process of its own")
    parser.add_argument("--threads", type=int, default=None, help="of each run; the cores, shared out")
    parser.add_argument("--learner", choices=LEARNERS, default="small")
    parser.add_argument("--keep", type=Path, default=cache_folder() / "experiments" / "seed_b")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.progress, options.threads = options.jobs == 1, options.threads or max(1, torch.get_num_threads() // options.jobs)
    options.prefix, options.methods = prefix, methods
    return options


def carry_out(plan, options, stages, title):
    "All jobs, some at a time."
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    do = partial(work, options=options, stages=stages)
    if options.jobs == 1: results = map(do, plan)
    else: results = ProcessPoolExecutor(options.jobs, get_context("spawn")).map(do, plan)
    for done in tqdm(results, total=len(plan), unit="run", desc=title): tqdm.write(done)


def main():
    options = options_of(__doc__, STAGES, arms(LEARNERS["small"][0]), "seed_b", arms)
    carry_out([task for task in jobs_of(options) if task[0] in options.stage], options, STAGES, "seed B")


if __name__ == "__main__":
    main()
