"The learner of SegDecNet: mixtures of labels, the settings of the paper, kills, and what is refused."
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.synth import synth_surfaces
from active_defects.data.weaken import weaken
from active_defects.learners.folds import Folds
from active_defects.learners.segdec import SegDecLearner, lesson_of, loss_of, plan_of, trained, untrained
from active_defects.learners.training import Schedule
from active_defects.models.mixed_loss import reduce_by_eight

TINY = SegDecLearner(size=(64, 128), width=1 / 16, kernel=3, dilate=3, schedule=Schedule(3, 8, 0.02, decay=0.0, clip=20.0), device="cpu", progress=False)
ONCE = replace(TINY, schedule=replace(TINY.schedule, epochs=1))
CPU = torch.device("cpu")


def world():
    pool, truth = synth_surfaces(n=20, seed=1, prevalence=0.4, categories=("pit", "stain"))
    return pool, truth, truth.ids[truth.table.defective.astype(bool)]


POOL, TRUTH, BAD = world()


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.network.state_dict().values(), b.network.state_dict().values(), strict=True))


def first_loss(learner, labels, epoch, rows=None):
    "Loss and gradient of one step of a fresh network, at an epoch."
    lesson, network = lesson_of(learner, POOL, labels), untrained(learner, lesson_of(learner, POOL, labels).masked, 0)
    rows = torch.arange(len(lesson.images)) if rows is None else torch.as_tensor(rows)
    loss = loss_of(learner, lesson, CPU)(network, torch.stack([rows, torch.full_like(rows, epoch)], dim=1), torch.Generator())
    loss.backward()
    size = lambda part: sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None)
    return loss.item(), {name: size(getattr(network, name)) for name in ("volume", "segmentation", "extractor", "decision")}


# ---- mixtures

@pytest.mark.parametrize("masks", [0, 3, 8])
def test_gamma_is_one_for_good_parts_and_drawn_ones(masks):
    lesson = lesson_of(TINY, POOL, weaken(TRUTH, BAD[:masks]))
    assert lesson.masked == bool(masks)
    said = pd.Index(sorted(POOL.ids))
    assert lesson.known.tolist() == [float(i not in BAD or i in BAD[:masks]) for i in said]
    assert (lesson.masks.amax(dim=(1, 2, 3)) > 0).tolist() == [i in BAD[:masks] for i in said]
    assert (lesson.weights[lesson.verdicts == 0] == 1).all()


def test_order_of_pool_and_labels_and_other_parts_change_nothing():
    labels = weaken(TRUTH, BAD[:3])
    model = ONCE.fit(POOL, labels, seed=3)
    assert same(model, ONCE.fit(POOL[POOL.ids[::-1]], labels[labels.ids[::-1]], seed=3))
    half = POOL[POOL.ids[:14]]
    assert same(ONCE.fit(half, labels, seed=3), ONCE.fit(half, labels[half.ids], seed=3)), "labels of parts that are not in the pool do not count"
    one, backwards = model(POOL).defective, model(POOL[POOL.ids[::-1]]).defective
    assert backwards[POOL.ids].sub(one).abs().max() < 1e-6


def test_skipped_parts_are_left_out():
    table = TRUTH.table.copy()
    table.loc[BAD[0], "defective"] = pd.NA
    assert len(lesson_of(TINY, POOL, Labels(table, dict(TRUTH.masks))).images) == len(POOL) - 1


def test_without_masks_losses_are_not_balanced_and_the_backbone_learns_from_verdicts():
    weak = weaken(TRUTH)
    rows = [k for k, i in enumerate(sorted(POOL.ids)) if i in BAD]
    loss, gradient = first_loss(TINY, weak, 0, rows)
    assert loss == pytest.approx(len(BAD) * np.log(2), rel=0.5) and gradient["volume"] > 0
    assert first_loss(replace(TINY, stop=True), weak, 0, rows)[1]["volume"] == 0, "the official script: defective parts without masks teach no backbone"
    assert first_loss(replace(TINY, balance=True), weak, 0, rows)[0] == 0, "balanced, the first epoch holds nothing for them"
    assert first_loss(TINY, TRUTH, 0, rows)[1]["decision"] == 0, "with masks the decision waits in the first epoch"


def test_trust_scales_gamma():
    trusted = lambda value: Labels(TRUTH.table.assign(trust=np.where(TRUTH.ids == BAD[0], value, 1.0)), dict(TRUTH.masks))
    row = [sorted(POOL.ids).index(BAD[0])]
    full, tenth, none = (first_loss(TINY, trusted(value), 0, row)[0] for value in (1.0, 0.1, 0.0))
    assert tenth == pytest.approx(full / 10, rel=1e-5) and none == 0
    assert not lesson_of(TINY, POOL, Labels(TRUTH.table.assign(trust=TRUTH.table.defective.map({True: 0.0, False: 1.0}).astype(float)), dict(TRUTH.masks))).masked


def test_soft_label_is_the_maximum_of_the_reduced_mask_where_one_is_known():
    labels = weaken(TRUTH, BAD[:3])
    lesson = lesson_of(TINY, POOL, labels)
    losses = {}
    for hard in (True, False):
        network = untrained(TINY, True, 0)
        with torch.no_grad(): network.decision.weight.zero_(), network.decision.bias.fill_(1.0)
        items = torch.stack([torch.arange(len(lesson.images)), torch.full((len(lesson.images),), 2)], dim=1)
        loss = loss_of(replace(TINY, hard_label=hard, balance=False), lesson, CPU)
        losses[hard] = np.array([loss(network, items[k:k + 1], torch.Generator()).item() for k in range(len(items))])
    soft = torch.where(lesson.known > 0, reduce_by_eight(lesson.masks).amax(dim=(1, 2, 3)), lesson.verdicts).numpy()
    assert np.allclose(losses[False] - losses[True], lesson.verdicts.numpy() - soft, atol=1e-4), "BCE at logit 1: softplus(1) - target"
    assert (soft[(lesson.verdicts * lesson.known).numpy() > 0] < 1).any()


def test_epochs_are_halves_and_few_good_parts_are_repeated():
    labels = TRUTH[[*BAD, *[i for i in TRUTH.ids if i not in BAD][:2]]]
    verdicts = lesson_of(TINY, POOL, labels).verdicts
    for epoch in plan_of(TINY, verdicts, 0):
        assert len(epoch) == 2 * len(BAD) and int(verdicts[epoch[:, 0]].sum()) == len(BAD)
    ONCE.fit(POOL, labels)
    ONCE.fit(POOL, TRUTH[[BAD[0], *[i for i in TRUTH.ids if i not in BAD]]])


def test_no_parts_one_part_and_color():
    model = ONCE.fit(POOL, TRUTH)
    for ids in ([], [BAD[0]]):
        said = model(POOL[ids])
        assert said.maps.shape == (len(ids), 8, 16) and said.features.shape == (len(ids), 66) and len(said.extras["logit"]) == len(ids)
    color = Pool(POOL.table, {i: np.repeat(POOL.images[i][..., None], 3, -1) for i in POOL.ids})
    assert np.abs(model(color).defective - model(POOL).defective).max() < 0.02
    assert replace(ONCE, channels=3).fit(POOL, TRUTH)(color).maps.shape == (len(POOL), 8, 16)


# ---- the paper

@pytest.mark.parametrize("data, masks, expected", [  # SPEC 1.7: H, W, channels, dilate, epochs, rate, delta, batch, p, w_pos, balance
    ("KSDD2", True, (640, 232, 3, 15, 50, 0.01, 1, 1, 2, 3, True)), ("KSDD2", False, (640, 232, 3, 15, 50, 0.01, 1, 1, 2, 3, False)),
    ("KSDD", True, (1408, 512, 1, 7, 50, 1.0, 0.01, 1, 2, 1, True)), ("KSDD", False, (1408, 512, 1, 7, 50, 0.01, 1, 1, 2, 1, False)),
    ("DAGM", True, (512, 512, 1, 7, 70, 0.05, 1, 1, 1, 10, True)), ("DAGM", False, (512, 512, 1, 7, 70, 0.05, 1, 1, 1, 10, False)),
    ("STEEL", True, (256, 1600, 1, 1, 90, 0.1, 0.1, 10, 2, 1, True))])
def test_settings_of_the_paper(data, masks, expected):
    paper = SegDecLearner.paper(data, masks)
    plan = paper.schedule
    assert (*paper.size, paper.channels, paper.dilate, plan.epochs, plan.rate, paper.delta, plan.batch, paper.power, paper.most, paper.balance) == expected
    assert (plan.momentum, plan.decay, plan.shape, plan.clip, plan.last) == (0, 0, "constant", None, 1)
    assert (paper.width, paper.kernel, paper.augment, paper.frequency, paper.hard_label, paper.per_component, paper.stop) == (1, 15, (), True, True, True, None)


def test_epochs_of_steel_by_defective_parts():
    assert [SegDecLearner.paper("STEEL", defective=n).schedule.epochs for n in (300, 750, 1500, 1000, 3000)] == [90, 80, 60, 50, 40]
    with pytest.raises(ValueError, match="not with 500"): SegDecLearner.paper("STEEL", defective=500)


def test_repr_is_the_key_of_results_that_exist():
    assert repr(SegDecLearner()) == (
        "SegDecLearner(size=(128, 96), width=0.25, kernel=7, channels=1, dilate=7, most=3.0, power=2.0, per_component=True, delta=1.0, balance=None, stop=None, hard_label=True, frequency=True, "
        "augment=(), schedule=Schedule(epochs=20, batch=8, rate=0.02, momentum=0.9, decay=0.0, shape='one cycle', steps=(), clip=20.0, last=1))")


# ---- killed

KILLED = """
import os, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import active_defects.learners.training as training
from test_segdec import Folds, POOL, TINY, TRUTH, weaken, BAD
training.train.__defaults__ = (*training.train.__defaults__[:-1], 0.0)
step, steps = torch.optim.SGD.step, []
def killing(self, *more):
    steps.append(1)
    if len(steps) == int(sys.argv[3]): os.kill(os.getpid(), 9)
    return step(self, *more)
torch.optim.SGD.step = killing
Folds(TINY).fit(POOL, weaken(TRUTH, BAD[:4]), seed=5, checkpoint=Path(sys.argv[2]))
"""


def test_killed_in_an_epoch_of_the_second_fold_it_ends_like_one_that_was_not(tmp_path):
    file, labels, learner = tmp_path / "checkpoint", weaken(TRUTH, BAD[:4]), Folds(TINY)
    run = subprocess.run([sys.executable, "-c", KILLED, os.path.dirname(__file__), str(file), "6"], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert sorted(path.suffix for path in (tmp_path / "checkpoint.folds").iterdir()) == [".checkpoint", ".safetensors"], "a finished fold, and one under way"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try: calm, resumed = learner.fit(POOL, labels, seed=5), learner.fit(POOL, labels, seed=5, checkpoint=file)
    finally: torch.set_num_threads(threads)
    assert all(map(same, calm.models, resumed.models))
    assert resumed(POOL).defective.equals(calm(POOL).defective) and np.array_equal(resumed(POOL).maps, calm(POOL).maps)


# ---- refused

def with_mask(mask, **columns):
    return Labels(TRUTH.table.assign(**columns), dict(TRUTH.masks) | {BAD[0]: mask})


def test_a_mask_that_contradicts_its_verdict():
    with pytest.raises(ValueError, match="mask is empty.*maskable=False"): TINY.fit(POOL, with_mask(np.zeros((64, 64), bool)))
    good = TRUTH.table.assign(defective=TRUTH.table.defective & (TRUTH.ids != BAD[0]))
    with pytest.raises(ValueError, match=f"'{BAD[0]}' is called good, but its mask is drawn; call it defective, or leave the mask out$"): Folds(TINY).fit(POOL, Labels(good, dict(TRUTH.masks)))
    with pytest.raises(ValueError, match="at its own size"): TINY.fit(POOL, with_mask(np.ones((9, 9), bool)))


def test_a_part_that_is_not_maskable_contradicts_nothing_and_stays_weak():
    lesson = lesson_of(TINY, POOL, with_mask(np.zeros((64, 64), bool), maskable=TRUTH.ids != BAD[0]))
    row = sorted(POOL.ids).index(BAD[0])
    assert lesson.verdicts[row] == 1 and lesson.known[row] == 0 and lesson.known.sum() == len(POOL) - 1


@pytest.mark.parametrize("trust", [-0.1, 1.5, np.nan])
def test_trust_out_of_range_names_the_part(trust):
    with pytest.raises(ValueError, match=f"trust lies in .0, 1., got {trust} for '{BAD[1]}'"): TINY.fit(POOL, Labels(TRUTH.table.assign(trust=np.where(TRUTH.ids == BAD[1], trust, 1.0)), dict(TRUTH.masks)))


def test_one_kind_of_verdicts():
    for ids in (BAD, [i for i in TRUTH.ids if i not in BAD], [BAD[0]]):
        with pytest.raises(ValueError, match="both kinds are needed"): TINY.fit(POOL[ids], TRUTH)
    with pytest.raises(ValueError, match="0 verdicts"): TINY.fit(POOL, Labels.of({"somebody else": True}))
    with pytest.raises(ValueError): Folds(TINY).fit(POOL[[BAD[0]]], TRUTH)


@pytest.mark.parametrize("change, match", [
    (dict(size=64), "at least 64 × 128"), (dict(size=(60, 200)), "at least 64 × 128"), (dict(size=(70, 128)), "resize to 72 × 128"), (dict(width=0), "above 0"), (dict(most=-1.0), "above 0"),
    (dict(delta=-1.0), "at least 0"), (dict(augment=("turns",)), "'flips' and 'light'"), (dict(augment="flips"), "tuple")])
def test_settings_that_cannot_work_are_refused_at_once(change, match):
    with pytest.raises(ValueError, match=match): replace(TINY, **change)


@pytest.mark.parametrize("change", [dict(epochs=0), dict(batch=0), dict(last=0)])
def test_schedules_that_cannot_work(change):
    with pytest.raises(ValueError, match="at least 1"): Schedule(**change)


def test_starts_of_another_network():
    small = ONCE.fit(POOL, TRUTH)
    with pytest.raises(ValueError, match="width=0.0625.*same kind, width"): replace(ONCE, width=1 / 8).fit(POOL, TRUTH, start=small)
    with pytest.raises(ValueError, match="is no model of these settings .'small'"): ONCE.fit(POOL, TRUTH, start="small")
    assert not same(ONCE.fit(POOL, TRUTH, start=small), small)


def test_files_that_do_not_belong(tmp_path):
    file = tmp_path / "c"
    for rubbish in (b"", b"half", b"PK\x03\x04"):
        file.write_bytes(rubbish)
        with pytest.raises(ValueError, match="delete it to begin anew"): TINY.fit(POOL, TRUTH, checkpoint=file)
    torch.save({"weights": 1}, file)
    with pytest.raises(ValueError, match="another network"): TINY.fit(POOL, TRUTH, checkpoint=file)
    ONCE.fit(POOL, TRUTH).save(file)
    with pytest.raises(ValueError, match="delete it"): TINY.fit(POOL, TRUTH, checkpoint=file)
    with pytest.raises(ValueError, match="other settings"): replace(TINY, width=1 / 8).load(file)
    with pytest.raises(ValueError, match="no folds"): Folds(TINY).load(file)


def test_a_checkpoint_of_more_epochs_is_not_passed_off_as_fewer(tmp_path, monkeypatch):
    from active_defects.learners.training import train
    monkeypatch.setattr(train, "__defaults__", (*train.__defaults__[:-1], 0.0))
    trained(TINY, lesson_of(TINY, POOL, TRUTH), 0, checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match="holds 3 epochs, more than the 1"): ONCE.fit(POOL, TRUTH, checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match="another network"): replace(TINY, width=1 / 8).fit(POOL, TRUTH, checkpoint=tmp_path / "c")
