"""The race: every baseline beside SID4DS, with the same segmenter, on the same pools.

    python experiments/race.py [--data ../shared/data] [--stage found ahead groups stops picks iou hits minutes] [--sets ksdd tiles] [--arms entropy …] [--seeds 0 1 2] [--rounds 6] [--jobs 1] [--keep FOLDER]

SDR, S's own confidence, MSMR alone and chance run in seed_b.py, with the same learners, pools and batches; both commands share the folder --keep, and the page puts their rows side by side.
Every method here begins as it was published: with parts chosen by chance, or with its own order where it needs no labels; the mixture, which is ours, begins with MSMR. The lead methods and the mixture run with all seeds, the others with the first one. What has a row is not done again.
Writes into nbs/results: race_found.csv and race_kinds.csv (one row per run and round), race_ahead.csv (from the same labels: what each method would find next), race_groups.csv (defects in ten groups of first rankings),
race_stops.csv (what stopping rules see in seed_b.py's runs, and what is left), race_picks.csv (what each method asks about in the small world), race_iou.csv and race_hits.csv (held-out groups), race_minutes.csv (a round of the paper's rivals from one state, in one process).
race_again.csv is what --stage found wrote on another processor, with --results and --keep elsewhere: runs that were then made anew, to see what rounding does."""
import time
from copy import copy
from dataclasses import replace

from active_defects.baselines.badge import Badge
from active_defects.baselines.bald import BALD, BatchBALD
from active_defects.baselines.coreset import Coreset
from active_defects.baselines.dsal import DSAL
from active_defects.baselines.gradient_norm import GradientNorm
from active_defects.baselines.kmeans import KMeans
from active_defects.baselines.laplacian import Laplacian
from active_defects.baselines.learning_loss import LearningLoss
from active_defects.baselines.max_kl import MaxKL
from active_defects.baselines.median import MedianDeviation
from active_defects.baselines.patch_pca import PatchPCA
from active_defects.baselines.pt4al import PT4AL
from active_defects.baselines.suggestive import SuggestiveAnnotation
from active_defects.baselines.ta_vaal import TAVAAL
from active_defects.baselines.teacher_student import TeacherStudent
from active_defects.baselines.vaal import VAAL
from active_defects.data.store import LabelStore
from active_defects.formulas.contracts import ranked
from active_defects.formulas.metrics import found_by_group
from active_defects.formulas.selection import select
from active_defects.learners.pretext import PretextLearner
from active_defects.learners.shelf import Shelf
from active_defects.loop.experiment import add_row, read_rows
from active_defects.loop.oracle import TruthOracle
from active_defects.loop.rounds import Loop, next_question
from active_defects.loop.stopping import most_left, predicted_change, score_stability
from active_defects.named import tuned
from active_defects.strategies.blend import Blend
from active_defects.strategies.likely_defect import LikelyDefect
from active_defects.strategies.margin import Margin
from active_defects.strategies.sdr import SDR
from active_defects.strategies.msmr import MSMR
from active_defects.strategies.strategy import Random, equipped
from active_defects.strategies.uncertainty import Uncertainty
from active_defects.studio.explore_picks import small_question

import seed_b
from seed_b import SETS, Arm, demand_rounds, key_of, loop_of, origin, settings

LEAD = ("entropy", "CoreSet", "LearningLoss")
RIVALS = (*LEAD, "TA-VAAL", "SuggestiveAnnotation", "DSAL")
TIMED = ("SDR", "confidence", *RIVALS)
CLASSICAL = {"median deviation": MedianDeviation(), "median deviation, dark": MedianDeviation(side="dark"), "Laplacian of Gaussian": Laplacian(), "patch PCA": PatchPCA()}
PRETEXT = {f"PT4AL, {task}": PT4AL(PretextLearner(task, pseudo_color=task == "colorization")) for task in ("rotation", "jigsaw", "colorization")}
LEARNED = {"entropy": Uncertainty(), "CoreSet": Coreset(), "LearningLoss": LearningLoss(), "confidence after chance": LikelyDefect(), "margin of the verdict": Margin(), "k-means": KMeans(), "BADGE": Badge(), "gradient norm": GradientNorm(),
           "TA-VAAL": TAVAAL(), "VAAL": VAAL(), "SuggestiveAnnotation": SuggestiveAnnotation(), "DSAL": DSAL(), "BALD": BALD(), "BatchBALD": BatchBALD(), "teacher and student": TeacherStudent(), "maxKL": MaxKL()}
MIXED = {"confidence or CoreSet": Blend((LikelyDefect(), Coreset()), how="best")}


def methods(m, g=None):
    "Name -> arm."
    quiet = lambda one: tuned(one, progress=m.progress)  # noqa: E731
    return ({name: Arm(Random(), quiet(one), 0, warm=name != "maxKL") for name, one in LEARNED.items()} | {name: Arm(None, quiet(one), 0) for name, one in (CLASSICAL | PRETEXT).items()}
            | {name: Arm(MSMR(m), quiet(one)) for name, one in MIXED.items()}
            | {f"SDR after {name.removeprefix('PT4AL, ')}": Arm(quiet(one), SDR(g, MSMR(m)), rounds=2) for name, one in PRETEXT.items()})


def run_of_seed_b(name, arm, seed, pool, options):
    "A run that seed_b.py has made."
    theirs = copy(options)
    theirs.methods = seed_b.arms
    loop, _ = loop_of(theirs, name, arm, seed, pool, SETS[name][1], key_of("found", name, arm, seed))
    demand_rounds(loop, name, arm, seed)
    return loop


def ahead(job, options):
    "Defects among the next K by each method, from the labels of MSMR's first selection."
    name, seed = job
    pool, truth = seed_b.parts(name, options.data)
    loop = run_of_seed_b(name, "SDR", seed, pool, options)
    state, done = loop.state(1), set(read_rows(options.results / "race_ahead.csv").key)
    defective = truth.table.defective.astype(bool)
    for method, arm in options.methods(loop.first.learner).items():
        if options.arms is not None and method not in options.arms or method.startswith("SDR") or method not in LEAD and seed or (key := key_of(settings(options), name, seed, method)) in done: continue
        scores = arm.then.score(replace(state, learner=equipped(loop.learner, arm.then)))
        add_row(options.results / "race_ahead.csv", dict(key=key, data=SETS[name][0], seed=seed, method=method, left=int(defective[state.candidates].sum()), found=int(defective[select(scores, loop.batch, seed=seed)].sum())) | origin(options, None))


def groups(job, options):
    "Defects in ten groups of the first rankings that need no label [Figure 12]."
    name, seed = job
    pool, truth = seed_b.parts(name, options.data)
    done = set(read_rows(options.results / "race_groups.csv").key)
    for method in CLASSICAL | PRETEXT:
        if method in CLASSICAL and seed or (key := key_of(settings(options), name, seed, method)) in done: continue
        loop, arm = loop_of(options, name, method, seed, pool, SETS[name][1], key_of("found", name, method, seed))
        counts = found_by_group(truth.table.defective.astype(bool), arm.then.score(loop.state(0)), 10, seed)
        add_row(options.results / "race_groups.csv", dict(key=key, data=SETS[name][0], seed=seed, score=method) | {f"group{k}": int(n) for k, n in enumerate(counts, 1)} | origin(options, None))


def stops(job, options):
    "What the stopping rules of `loop.stopping` see after each round of seed B's runs, and what was left."
    name, arm, seed = job
    pool, truth = seed_b.parts(name, options.data)
    loop, done = run_of_seed_b(name, arm, seed, pool, options), set(read_rows(options.results / "race_stops.csv").key)
    if key_of(settings(options), name, arm, seed, 1) in done: return
    defective, rounds = truth.table.defective.astype(bool), list(loop.store.rounds)
    opinions = {record.number: loop.model(record.number)(pool).defective for record in rounds[:-1]}
    stability, change = score_stability(rounds), predicted_change(opinions)
    for record in rounds:
        left = defective.drop([i for earlier in rounds[:record.number] for i in earlier.asked])
        found = int(defective[record.asked].sum())
        add_row(options.results / "race_stops.csv", dict(key=key_of(settings(options), name, arm, seed, record.number), data=SETS[name][0], method=arm, seed=seed, round=record.number, asked=len(record.asked), found=found, parts_left=len(left), left=int(left.sum()),
                most_left=round(most_left(found, len(record.asked), len(left)), 1), stability=stability.round(4).get(record.number), change=change.round(4).get(record.number)) | origin(options, None))


def picks(job, options):
    "The first eight parts that each method asks about in the small world of `explore_picks`, in its second round: for looking, not for counting."
    _, seed = job
    done, (state, truth) = set(read_rows(options.results / "race_picks.csv").key), small_question(seed=seed)
    m, s, g = (tuned(one, size=48, epochs=12, progress=options.progress) for one in seed_b.LEARNERS[options.learner])
    known = {name: arm for name, arm in (seed_b.arms(m, g) | methods(m, g)).items() if arm.rounds == 6}
    for method, arm in known.items():
        if key_of(settings(options), "small world", seed, method) in done: continue
        strategy = tuned(arm.then, size=48, epochs=12)
        order = ranked(strategy.score(replace(state, learner=equipped(s, strategy), batch=8)), seed)
        add_row(options.results / "race_picks.csv", dict(key=key_of(settings(options), "small world", seed, method), data="small world", seed=seed, method=method, asked=" ".join(order[:8]), found=int(truth.table.defective[order[:8]].sum())) | origin(options, None))


def minutes(job, options):
    "Seconds of a round, training and choosing, by each of the paper's rivals from one state: a tenth that chance chose is answered, nothing is assumed, and what is trained only once is there [Table 3]."
    name, seed = job
    pool, truth = seed_b.parts(name, options.data)
    done, spent = set(read_rows(options.results / "race_minutes.csv").key), {}
    m, s, g = (replace(learner, progress=options.progress) for learner in seed_b.LEARNERS[options.learner])
    brief = replace(m, schedule=replace(m.schedule, epochs=1))  # they are trained once and are no part of a round, so that they only have to be there
    known = seed_b.arms(brief, replace(g, schedule=replace(g.schedule, epochs=1))) | methods(brief)
    store, shelf = LabelStore(":memory:"), Shelf()
    by_chance = Loop(pool, store, s, Random(), batch=SETS[name][1], seed=seed)
    by_chance.tell(asked := by_chance.ask(), TruthOracle(truth).annotate(asked.asked))
    for method in TIMED:
        if (key := key_of(settings(options), name, seed, method)) in done: continue
        strategy = replace(known[method].then, ties="id") if method == "SDR" else known[method].then  # MSMR's scores, which settle ties, stand in the store of a real run
        loop = Loop(pool, store, s, strategy, batch=SETS[name][1], seed=seed, warm=True)
        loop.shelf = shelf
        start = time.perf_counter()
        loop.model()
        spent.setdefault(repr(loop.learner), time.perf_counter() - start)
        if method == "SDR": strategy.score(loop.state())
        start = time.perf_counter()
        question = next_question(loop, 1)
        choosing, training = time.perf_counter() - start, spent[repr(loop.learner)]
        add_row(options.results / "race_minutes.csv", dict(key=key, data=SETS[name][0], seed=seed, method=method, labels=len(store.latest()), asked=len(question.asked), training=round(training, 1), choosing=round(choosing, 1)) | origin(options, round(training + choosing, 1)))


STAGES = {"found": seed_b.found, "ahead": ahead, "groups": groups, "stops": stops, "picks": picks, "iou": seed_b.iou, "hits": seed_b.hits, "minutes": minutes}


def jobs_of(options, names):
    "What is to be done, most wanted first: (stage, job)."
    wanted = list(names) if options.arms is None else options.arms
    seeds = lambda arm: options.seeds if arm in LEAD or arm in MIXED or arm.startswith("SDR") else options.seeds[:1]  # noqa: E731
    for some in (LEAD, [arm for arm in names if arm not in LEAD]):
        for arm in (arm for arm in some if arm in wanted):
            for name in options.sets: yield from (("found", (name, arm, seed)) for seed in seeds(arm))
    for name in options.sets:
        yield from (("stops", (name, arm, seed)) for arm in ("SDR", "confidence") for seed in options.seeds)
        for stage in ("groups", "ahead"): yield from ((stage, (name, seed)) for seed in options.seeds)
        if name == options.sets[0]: yield "picks", ("small world", options.seeds[0])
        for stage in ("iou", "hits"): yield from ((stage, (name, arm, options.seeds[0])) for arm in (*RIVALS, "PT4AL, rotation") if arm in wanted)
        yield "minutes", (name, options.seeds[0])


def main():
    names = methods(seed_b.LEARNERS["small"][0])
    options = seed_b.options_of(__doc__, STAGES, names, "race", methods)
    seed_b.carry_out([task for task in jobs_of(options, names) if task[0] in options.stage], options, STAGES, "the race")


if __name__ == "__main__":
    main()
