"""G: begins with M, learns from the right parts, and is the same G after an interruption."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from active_defects.data.batches import image_tensor
from active_defects.data.labels import Labels, join
from active_defects.data.pool import Pool
from active_defects.data.synth import synth_surfaces
from active_defects.learners import training
from active_defects.learners.reconstruction import ReconstructionLearner
from active_defects.learners.supervised_reconstruction import SupervisedReconstructionLearner, drawn_ids, lessons, normal_ids
from active_defects.learners.training import Schedule
from interrupt import equal, killed_after, weights
from tiny import no_room, tiny

LEARNER = tiny(SupervisedReconstructionLearner())


@pytest.fixture(scope="module")
def world():
    return synth_surfaces(n=24, seed=2, size=32, prevalence=0.4)


@pytest.fixture(scope="module")
def m(world):
    return LEARNER.form.fit(world[0], seed=5)


def assumed(*ids):
    return Labels.of({i: False for i in ids}, annotator="assumed")


def split(truth):
    "Ids of defective and of good parts."
    bad = truth.table.defective.astype(bool)
    return list(truth.ids[bad]), list(truth.ids[~bad])


# ---- interrupted and resumed

@pytest.mark.parametrize("schedule", [Schedule(5, 4, 0.05), Schedule(5, 4, 0.05, last=3), Schedule(5, 4, 0.05, shape="steps", steps=(2, 4))], ids=["one cycle", "best of three", "steps"])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(world, m, schedule, tmp_path, monkeypatch):
    pool, truth = world
    learner = replace(LEARNER, schedule=schedule)
    calm = learner.fit(pool, truth, seed=3, start=m)
    killed_after(monkeypatch, lambda: learner.fit(pool, truth, seed=3, start=m, checkpoint=tmp_path / "g.checkpoint"))
    torch.rand(7), np.random.rand(7)
    resumed = learner.fit(pool, truth, seed=3, start=m, checkpoint=tmp_path / "g.checkpoint")
    assert equal(weights(calm), weights(resumed))
    assert not equal(weights(calm), weights(learner.fit(pool, truth, seed=4, start=m)))


def test_global_generators_and_the_order_of_pool_and_labels_mean_nothing(world, m):
    pool, truth = world
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = weights(LEARNER.fit(pool, truth, seed=1, start=m))
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])
    torch.manual_seed(77), np.random.seed(77)
    mixed = np.random.default_rng(0).permutation(pool.ids)
    assert equal(first, weights(LEARNER.fit(pool[mixed], truth[mixed[::-1]], seed=1, start=m)))


def test_no_room_for_a_checkpoint_says_so(world, tmp_path, monkeypatch):
    monkeypatch.setattr(training.train, "__defaults__", (*training.train.__defaults__[:-1], -1.0))
    with no_room(), pytest.raises(OSError, match="cannot write .*g.checkpoint"): LEARNER.fit(*world, checkpoint=tmp_path / "g.checkpoint")
    assert list(tmp_path.iterdir()) == []


# ---- started from M

def test_it_begins_with_the_weights_of_m(world, m):
    still = replace(LEARNER, schedule=Schedule(1, 8, 0.0, decay=0.0))
    before, after = weights(m), weights(still.fit(*world, seed=9, start=m))
    assert before.keys() == after.keys(), "G is of M's form, with what is typical for a place"
    assert all(np.array_equal(before[k], after[k]) for k in before if "running" not in k and "num_batches" not in k), "a rate of zero changes no weight"
    assert not equal(after, weights(still.fit(*world, seed=9))), "random weights are others"
    LEARNER.fit(*world, seed=9, start=m)
    assert equal(before, weights(m)), "the M it starts from is changed"


def test_a_g_may_begin_with_a_g(world, m):
    first = LEARNER.fit(*world, seed=1, start=m)
    still = replace(LEARNER, schedule=Schedule(1, 8, 0.0, decay=0.0))
    after = weights(still.fit(*world, seed=2, start=first))
    assert all(np.array_equal(v, after[k]) for k, v in weights(first).items() if "running" not in k and "num_batches" not in k)


@pytest.mark.parametrize("change", [dict(width=1 / 8), dict(channels=3), dict(skips=False), dict(size=48)], ids=str)
def test_an_m_of_another_form_is_refused(world, m, change):
    other = replace(LEARNER, form=replace(LEARNER.form, **change))
    with pytest.raises(ValueError, match="of the same kind, width and channels"): other.fit(*world, start=m)


# ---- who teaches what

def test_only_drawn_defects_are_inputs_and_only_seen_good_parts_are_normal(world):
    _, truth = world
    bad, good = split(truth)
    weak = Labels.of({bad[0]: True, bad[1]: None, **{i: False for i in good[:3]}})
    known = join(join(weak, truth[bad[2:5]]), assumed(*good[3:9]))
    assert drawn_ids(known) == sorted(bad[2:5])
    assert normal_ids(known, 3) == sorted(good[:3])
    assert normal_ids(known, 4) == normal_ids(known) == sorted(good[:9])
    assert normal_ids(truth[bad]) == [] and drawn_ids(truth[good]) == []


def test_parts_assumed_good_teach_only_where_the_seen_are_too_few(world, m):
    pool, truth = world
    bad, good = split(truth)
    seen, more = truth[[*bad, *good[:6]]], assumed(*good[6:])
    fit = lambda labels, **change: weights(replace(LEARNER, **change).fit(pool, labels, seed=1, start=m))  # noqa: E731
    assert equal(fit(seen), fit(join(more, seen))), "six seen suffice for five"
    assert not equal(fit(seen, normals=7), fit(join(more, seen), normals=7)), "they do not for seven"


def test_few_good_parts_are_all_averaged():
    images, good = torch.ones(40, 1, 2, 2), torch.tensor([0.2, 0.4]).view(2, 1, 1, 1).expand(2, 1, 2, 2)
    _, answers = lessons(images, torch.ones(40, 1, 2, 2), good, 5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(answers, torch.full_like(answers, 0.3))
    _, answers = lessons(images, torch.ones(40, 1, 2, 2), good, 1, torch.Generator().manual_seed(0))
    assert set(answers.flatten().mul(10).round().int().tolist()) == {2, 4}, "one each, now this, now that"


def test_good_inputs_are_more_lessons(world, m, monkeypatch):
    pool, truth = world
    bad, good = split(truth)
    counts, real = [], training.train
    monkeypatch.setattr("active_defects.learners.supervised_reconstruction.train", lambda net, loss, count, *more, **named: counts.append(count) or real(net, loss, count, *more, **named))
    plain, more = (replace(LEARNER, good_inputs=g).fit(pool, truth, seed=1, start=m) for g in (False, True))
    assert counts == [len(bad), len(bad) + len(good)] and not equal(weights(plain), weights(more))


def test_labels_of_parts_that_are_not_in_the_pool_are_left_out(world, m):
    pool, truth = world
    more = join(truth, Labels.of({"elsewhere": False, "nowhere": True}, {"nowhere": np.ones((9, 9), bool)}))
    assert equal(weights(LEARNER.fit(pool, truth, start=m)), weights(LEARNER.fit(pool, more, start=m)))


def test_one_defect_and_one_good_part_of_any_size_are_enough(world, m):
    "Pictures of different sizes, and more normals asked for than there are."
    pool, truth = world
    (bad, *_), (good, *_) = split(truth)
    larger = lambda image: np.kron(image, np.ones((2, 3), image.dtype))  # noqa: E731
    two = Pool(pool.table.loc[[bad, good]], {bad: larger(pool.images[bad]), good: pool.images[good]})
    labels = Labels.of({bad: True, good: False}, {bad: larger(truth.masks[bad])})
    assert torch.isfinite(LEARNER.fit(two, labels, start=m).restore(image_tensor(two, 32))).all()


@pytest.mark.parametrize("kind, message", [("good", r"none of the \d+ answers shows where a defect is"), ("bad", r"none of the \d+ answers is a good part"), ("weak", "shows where a defect is"), ("nothing", "none of the 0 answers")])
def test_too_little_to_learn_from_says_so(world, kind, message):
    pool, truth = world
    bad, good = split(truth)
    labels = {"good": truth[good], "bad": truth[bad], "weak": Labels.of(truth.table.defective.to_dict()), "nothing": truth[[]]}[kind]
    with pytest.raises(ValueError, match=message): LEARNER.fit(pool, labels)


def test_wrong_wishes_say_so(world, m):
    with pytest.raises(ValueError, match="at least one good part, got normals=0"): SupervisedReconstructionLearner(normals=0)
    with pytest.raises(ValueError, match="multiple of 16 and at least 32, got 40; try 32"): replace(LEARNER, form=replace(LEARNER.form, size=40)).fit(*world)
    with pytest.raises(ValueError, match="diverged"): replace(LEARNER, schedule=Schedule(3, 8, 1e30)).fit(*world)
    g = LEARNER.fit(*world, start=m)
    for shape in ((2, 1, 64, 64), (2, 3, 32, 32)):
        with pytest.raises(ValueError, match=r"G takes images of \(1, 32, 32\)"): g.restore(torch.zeros(shape))


# ---- restoring, saving

def test_batches_mean_nothing_and_a_saved_model_comes_back(world, m, tmp_path):
    pool, _ = world
    images, g = image_tensor(pool, 32), LEARNER.fit(*world, seed=1, start=m)
    whole = g.restore(images, half=False)
    assert whole.dtype == torch.float32 and whole.shape == images.shape
    for batch in (1, 7, 99): torch.testing.assert_close(g.restore(images, half=False, batch=batch), whole, rtol=1e-5, atol=1e-6)
    assert g.restore(images[:0]).shape == (0, 1, 32, 32)
    again = LEARNER.load(g.save(tmp_path / "g.safetensors"))
    assert equal(weights(g), weights(again)) and torch.equal(again.restore(images, half=False), whole)
    with pytest.raises(ValueError, match="trained with other settings"): replace(LEARNER, form=replace(LEARNER.form, width=1 / 8)).load(tmp_path / "g.safetensors")


def test_color(world, tmp_path):
    pool, truth = world
    color = Pool(pool.table, {i: np.stack([pool.images[i]] * 3, axis=-1) for i in pool.ids})
    learner = replace(LEARNER, form=replace(LEARNER.form, channels=3))
    assert learner.fit(color, truth, start=learner.form.fit(color)).restore(image_tensor(color, 32, 3)).shape == (24, 3, 32, 32)


def test_the_paper_form_fits_the_papers_m():
    paper = SupervisedReconstructionLearner.paper()
    assert paper.form == ReconstructionLearner.paper() and paper.schedule == Schedule(120, 32, 0.1, shape="steps", steps=(30, 60, 90))
    assert (paper.normals, paper.good_inputs) == (5, False)
