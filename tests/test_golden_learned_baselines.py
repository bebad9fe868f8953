"""Learning loss, VAAL, TA-VAAL, PT4AL, DSAL and the classical rankings: golden numbers and parameter counts of SPEC, plain loops against the fast versions, and trainings that are killed."""
import dataclasses
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from active_defects.baselines.dsal import DSAL, weak_count, weak_ids
from active_defects.baselines.laplacian import blob_response
from active_defects.baselines.learning_loss import LearningLoss
from active_defects.baselines.patch_pca import PatchPCA, patch_vectors
from active_defects.baselines.pt4al import PT4AL, inside_batch
from active_defects.baselines.ta_vaal import TAVAAL
from active_defects.baselines.vaal import VAAL
from active_defects.data.batches import image_tensor
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.data.synth import synth_surfaces
from active_defects.formulas.contracts import tie_break
from active_defects.learners.adversarial import AdversarialLearner, answered, play, untrained_players
from active_defects.learners.deeply_supervised import DeeplySupervised
from active_defects.learners.learning_loss import WithLoss, dated_rows, untrained_with_loss
from active_defects.learners.pixel import PixelLearner
from active_defects.learners.pretext import PretextLearner
from active_defects.learners.segmenter import UNetLearner, untrained
from active_defects.learners.training import Schedule
from active_defects.models.deep_supervision import DeeplySupervisedUNet, agreement, deep_loss
from active_defects.models.loss_head import LossHead, chance_ranking, image_losses, margin_ranking
from active_defects.models.losses import segmentation_loss
from active_defects.models.pretext import RotationNet, far_permutations, painted, to_lab
from active_defects.models.vae import VAE, Judge, cloud_cost
from active_defects.strategies.strategy import State, candidates
from interrupt import equal, killed_after, weights
from scipy.ndimage import gaussian_laplace
from tiny import tiny

COUNT = lambda network: sum(p.numel() for p in network.parameters())  # noqa: E731
LOSSES, GUESSED = torch.tensor([3.0, 1.0, 2.0, 5.0]), torch.tensor([0.5, 0.2, 0.9, 0.4])


@pytest.fixture(scope="module")
def world():
    pool, truth = synth_surfaces(n=24, seed=2, size=32, prevalence=0.4)
    return pool, truth[pool.ids[:14]]


# ---- golden numbers

def test_G40_margin_ranking():
    terms = [margin_ranking(GUESSED[[i, j]], LOSSES[[i, j]]).item() for i, j in ((0, 3), (1, 2))]
    np.testing.assert_allclose([*terms, margin_ranking(GUESSED, LOSSES).item()], [1.1, 0.3, 0.7], atol=1e-6)


def test_G41_chance_ranking():
    terms = [chance_ranking(GUESSED[[i, j]], LOSSES[[i, j]]).item() for i, j in ((0, 3), (1, 2))]
    np.testing.assert_allclose([*terms, chance_ranking(GUESSED, LOSSES).item()], [0.744397, 0.403186, 0.573791], atol=1e-6)


def test_G42_agreement():
    drawn = lambda *rows: torch.tensor(rows, dtype=torch.float32).view(1, 3, 1, 4)  # noqa: E731
    o, a, b = [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]
    assert [agreement(drawn(*rows)).item() for rows in ((o, a, a), (o, b, b), (o, a, b), ([0] * 4,) * 3)] == [0.75, 1.0, 0.875, 1.0]


def test_G50_cost_of_clouds():
    mean, log_variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 2.0]]).log()
    np.testing.assert_allclose([cloud_cost(mean, log_variance, how).item() for how in ("sum", "mean")], [0.653426410, 0.326713205], atol=1e-7)


def test_G52_parameters():
    assert COUNT(LossHead((64, 128, 256, 512))) == 123_905
    assert (COUNT(VAE(3)), COUNT(Judge())) == (22_835_139, 280_065)
    assert (COUNT(VAE(3, ranked=1)), COUNT(Judge(33))) == (22_851_523, 280_577)
    assert COUNT(DeeplySupervisedUNet()) == 7_846_275


def test_the_learners_have_these_networks():
    assert COUNT(untrained_players(replace(AdversarialLearner.paper(), channels=3), 0)) == 22_835_139 + 280_065
    assert COUNT(untrained_players(replace(AdversarialLearner.paper(ranked=True), channels=3), 0)) == 22_851_523 + 280_577
    s = UNetLearner(width=1 / 16)
    both = untrained_with_loss(WithLoss(s), 3)
    assert all(torch.equal(a, b) for a, b in zip(both.unet.parameters(), untrained(s, 3).parameters())), "S itself begins with the same weights"


# ---- plain loops

def plain_margin(guessed, losses, margin=1.0):
    half, total = len(losses) // 2, 0.0
    for i in range(half):
        j = len(losses) - 1 - i
        sign = 1 if losses[i] > losses[j] else -1
        total += max(0.0, margin - sign * (guessed[i] - guessed[j]))
    return total / max(1, half)


@pytest.mark.parametrize("n", [1, 2, 5, 16])
def test_margin_ranking_is_the_plain_loop(n):
    random = np.random.default_rng(n)
    guessed, losses = random.normal(size=n), random.integers(0, 3, n).astype(float)
    np.testing.assert_allclose(margin_ranking(torch.tensor(guessed), torch.tensor(losses)).item(), plain_margin(guessed, losses), rtol=1e-6)


def test_true_losses_get_no_gradient():
    losses, guessed = LOSSES.clone().requires_grad_(), GUESSED.clone().requires_grad_()
    for rank in (margin_ranking, chance_ranking):
        guessed.grad = None
        rank(guessed, losses).backward()
        assert losses.grad is None and guessed.grad.abs().sum() > 0


def test_image_losses_are_those_of_batches_of_one():
    logits, masks = torch.randn(5, 1, 16, 16), (torch.rand(5, 1, 16, 16) > 0.8).float()
    masks[2] = 0
    np.testing.assert_allclose(image_losses(logits, masks), [segmentation_loss(logits[[k]], masks[[k]]) for k in range(5)], rtol=1e-5)


def test_a_dated_plan_holds_every_row_once_and_its_epoch():
    plan = dated_rows(7, 3, seed=1)
    assert [sorted(epoch[:, 0].tolist()) for epoch in plan] == [list(range(7))] * 3 and [set(epoch[:, 1].tolist()) for epoch in plan] == [{0}, {1}, {2}]


def test_the_head_is_cut_off_after_three_fifths(world, monkeypatch):
    "200 epochs: 120 with the head, 80 without, as the reference has it."
    from active_defects.models.loss_head import GuessingUNet
    seen, forward = [], GuessingUNet.forward
    monkeypatch.setattr(GuessingUNet, "forward", lambda self, x, detached=False: seen.append(detached) or forward(self, x, detached))
    learner = WithLoss(replace(tiny(UNetLearner()), schedule=Schedule(5, 1000, 0.01)))
    learner.fit(*world)
    assert seen == [False] * 3 + [True] * 2 and round(WithLoss().attached * 200) == 120


def test_agreement_is_the_plain_loop():
    p = torch.rand(4, 3, 8, 8)
    p[1, 2] = 0
    def overlap(a, b): return (2 * (a & b).sum() + 1) / (a.sum() + b.sum() + 1)
    plain = [np.mean([overlap(one[0], side) for side in one[1:]]) for one in (p >= 0.5).numpy()]
    np.testing.assert_allclose(agreement(p), plain, rtol=1e-6)


def test_side_outputs_may_be_drawn_before_they_are_enlarged():
    network, x = DeeplySupervisedUNet(width=1 / 8).eval(), torch.rand(2, 1, 32, 32)
    levels = []
    hooks = [block.register_forward_hook(lambda _, __, out: levels.append(out)) for block in network.up]
    with torch.no_grad():
        logits, _ = network(x)
        for k, level, factor in ((1, 1, 4), (2, 2, 2)):
            np.testing.assert_allclose(network.heads[k](F.interpolate(levels[level], scale_factor=factor))[:, 0], logits[:, k], atol=1e-5)
    for hook in hooks: hook.remove()


def test_deep_loss_of_dsal_is_the_negative_overlap_plus_one():
    logits, masks = torch.randn(3, 3, 8, 8), (torch.rand(3, 1, 8, 8) > 0.7).float()
    plain = 0.0
    for k, weight in enumerate((0.6, 0.3, 0.1)):
        for p, y in zip(logits[:, k].sigmoid(), masks[:, 0]): plain += weight * (1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)) / 3
    np.testing.assert_allclose(deep_loss(logits, masks, kind="dice"), plain, rtol=1e-5)


def test_weak_labels_are_the_plain_loop():
    random = np.random.default_rng(0)
    ids = pd.Index([f"p{k}" for k in range(40)])
    certain, agreed = pd.Series(random.random(40) / 2, ids), pd.Series(random.integers(1, 5, 40) / 4, ids)
    for count in (1, 4, 20, 40, 60):
        low, high = certain.min(), certain.max()
        sure = [i for i in ids if certain[i] >= low + 0.9 * (high - low)]
        sure += [i for i in certain.sort_values(ascending=False).index if i not in sure][:max(0, count - len(sure))]
        plain = sorted(sure, key=lambda i: (-agreed[i], tie_break([i], 0)[0]))[:count]
        assert list(weak_ids(agreed, certain, count)) == plain
    assert [weak_count(k) for k in (1, 4, 5, 6, 8)] == [0, 0, 20, 40, 80]


def test_rotation_turns_counterclockwise_by_quarters():
    network = RotationNet(width=1 / 16).eval()
    image = torch.rand(1, 1, 32, 32)
    said = torch.cat([network.head(network.encoder(torch.from_numpy(np.rot90(image[0, 0].numpy(), k).copy())[None, None])) for k in range(4)])
    np.testing.assert_allclose(network.losses(image).item(), F.cross_entropy(said, torch.arange(4)).item(), rtol=1e-5)


def test_orders_of_tiles_are_far_apart_and_always_the_same():
    table = far_permutations(100)
    assert (np.sort(table, axis=1) == np.arange(9)).all() and (table[0] == np.arange(9)).all()
    apart = (table[:, None] != table[None]).sum(axis=2) + 9 * np.eye(100, dtype=int)
    assert apart.min() >= 6 and (far_permutations(10) == table[:10]).all()


@pytest.mark.parametrize("rgb, lab", [((1, 1, 1), (100, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((1, 0, 0), (53.24, 80.09, 67.20)), ((0, 1, 0), (87.73, -86.18, 83.18)), ((0, 0, 1), (32.30, 79.19, -107.86))])
def test_lab_of_known_colors(rgb, lab):
    np.testing.assert_allclose(to_lab(torch.tensor(rgb, dtype=torch.float32).view(1, 3, 1, 1)).flatten(), lab, atol=0.03)


def test_the_palette_meets_its_colors():
    np.testing.assert_allclose(painted(torch.tensor([0, 0.5, 1.0]).view(1, 1, 1, 3))[0, :, 0].T * 255, [(68, 1, 84), (33, 145, 140), (253, 231, 37)], atol=1e-4)


def test_the_blob_response_is_scipys_picture_by_picture():
    images = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)
    plain = [np.maximum(*[w * w * np.abs(gaussian_laplace(one, w, mode="reflect")) for w in (1.0, 3.0)]) for one in images]
    np.testing.assert_allclose(blob_response(images, (1.0, 3.0)), plain, atol=1e-5)


def test_left_over_is_the_plain_projection(world):
    pool, _ = world
    model = PatchPCA(size=32, side=4, patterns=5).fit(pool)
    np.testing.assert_allclose(model.patterns @ model.patterns.T, np.eye(5), atol=1e-5)
    image = image_tensor(pool[pool.ids[:1]], 32)
    rest = model.left_over(image)[0]
    for row, column in ((0, 0), (3, 17), (28, 28)):
        patch = image[0, 0, row:row + 4, column:column + 4].numpy().ravel().astype(float)
        patch -= patch.mean()
        np.testing.assert_allclose(rest[row, column], np.mean((patch - model.patterns.T @ (model.patterns @ patch)) ** 2), atol=1e-7)
    assert patch_vectors(image, 4).shape == (1, 16, 29 * 29)


# ---- PT4AL with batches

def test_batches_of_the_sorted_pool(world):
    pool, _ = synth_surfaces(n=60, seed=2, size=32)
    losses = pd.Series(np.random.default_rng(0).permutation(60) / 60, pool.ids)
    order = losses.sort_values(ascending=False).index
    ask = lambda state: list(inside_batch(state, losses, 3).sort_values(ascending=False).index[:state.batch])  # noqa: E731
    first = State(pool, pool.ids, Labels.of({}), PixelLearner(size=32), batch=4, round=1)
    assert sorted(ask(first), key=list(order).index) == [order[k] for k in (0, 5, 10, 15)], "every fifth of the first twenty"
    _, truth = synth_surfaces(n=60, seed=2, size=32)
    said = truth[pool.ids[:30]]
    later = replace(first, labels=said, candidates=candidates(pool, said), round=2)
    maps = later.predict(pool).maps
    sure = pd.Series(np.maximum(maps, 1 - maps).mean(axis=(1, 2)), pool.ids)
    assert ask(later) == list(sure[[i for i in order[20:40] if i in later.candidates]].nsmallest(4).index)
    good = truth[[i for i in order[:20] if not truth.table.defective[i]][:4]]
    quiet = replace(first, labels=good, candidates=candidates(pool, good), round=2)
    assert sorted(ask(quiet), key=list(order).index) == [order[k] for k in (20, 25, 30, 35)], "no answer shows a defect, so there is nothing to learn from"


def test_pt4al_with_batches_says_what_it_is():
    assert (PT4AL().pointwise, PT4AL().nested, PT4AL().needs) == (True, True, ()) and (PT4AL(batches=10).pointwise, PT4AL(batches=10).nested, PT4AL(batches=10).needs) == (False, False, ("maps",))


@pytest.mark.parametrize("task", ["jigsaw", "colorization"])
def test_pt4al_with_other_riddles_keeps_the_contract(task):
    from test_strategies import CHECKS
    for name in ("scores", "order", "pieces"): CHECKS[name](tiny(PT4AL(PretextLearner(task, pseudo_color=True))))


def test_pt4al_with_batches_keeps_the_contract():
    from test_strategies import CHECKS
    for name in ("scores", "seed", "prefix"): CHECKS[name](tiny(PT4AL(batches=2)))


def test_real_colors_are_not_refused(world):
    pool, _ = world
    colored = Pool(pool.table, {i: np.stack([pool.images[i], pool.images[i] * 0.5, pool.images[i] ** 2], axis=2) for i in pool.ids})
    assert np.isfinite(tiny(PretextLearner("colorization"), epochs=1).fit(colored).losses(colored)).all()
    with pytest.raises(ValueError, match="24 pictures are gray, so there is no color to guess"): tiny(PretextLearner("colorization")).fit(pool)


# ---- trainings: killed, saved, in any order

LEARNERS = {"loss": WithLoss(), "loss, chance": WithLoss(ranking="chance", where="encoder"), "three drawings": DeeplySupervised(), "as published": DeeplySupervised(normalized=False),
            "rotation": PretextLearner(), "jigsaw": PretextLearner("jigsaw"), "colorization": PretextLearner("colorization", pseudo_color=True)}


def scheduled(learner, schedule):
    "The same learner on another schedule, its own or that of the S inside."
    return replace(learner, schedule=schedule) if hasattr(learner, "schedule") else replace(learner, learner=replace(learner.learner, schedule=schedule))


def opinion(model, pool):
    return model.losses(pool) if hasattr(model, "losses") else np.concatenate([model(pool).maps.ravel(), *model(pool).extras.values()])


@pytest.mark.parametrize("name", LEARNERS)
def test_an_interrupted_training_ends_like_an_uninterrupted_one(world, name, tmp_path, monkeypatch):
    learner = scheduled(tiny(LEARNERS[name]), Schedule(5, 8, 0.02))
    calm = learner.fit(*world, seed=3)
    before = torch.get_rng_state()
    killed_after(monkeypatch, lambda: learner.fit(*world, seed=3, checkpoint=tmp_path / "m.checkpoint"))
    torch.rand(7)
    resumed = learner.fit(*world, seed=3, checkpoint=tmp_path / "m.checkpoint")
    assert equal(weights(calm), weights(resumed)), "killed and resumed is not the same"
    assert not equal(weights(calm), weights(learner.fit(*world, seed=4)))
    torch.set_rng_state(before)
    learner.fit(*world, seed=5)
    assert torch.equal(before, torch.get_rng_state()), "the global generator moved"


@pytest.mark.parametrize("name", LEARNERS)
def test_saved_and_in_another_order(world, name, tmp_path):
    pool, labels = world
    learner, mixed = tiny(LEARNERS[name]), np.random.default_rng(0).permutation(pool.ids)
    model = learner.fit(pool, labels, seed=1)
    assert equal(weights(model), weights(learner.fit(pool[mixed], labels[[i for i in mixed if i in labels.ids]], seed=1)))
    loaded = learner.load(model.save(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(opinion(loaded, pool), opinion(model, pool))


@pytest.mark.parametrize("ranked", [False, True])
def test_an_interrupted_game_ends_like_an_uninterrupted_one(world, ranked, tmp_path, monkeypatch):
    pool, labels = world
    learner = AdversarialLearner(ranked, 1 if ranked else 2, width=1 / 32, most=25, schedule=Schedule(100, 8, 5e-4, shape="constant"), device="cpu", progress=False)
    images = [image_tensor(pool[ids], 32) * 2 - 1 for ids in answered(pool, labels)]
    ranks = [torch.linspace(-1, 1, len(side)) if ranked else None for side in images]
    run = lambda checkpoint=None, seed=7: (players := untrained_players(learner, 0), play(learner, players, images, ranks, seed, torch.device("cpu"), checkpoint, every=-1.0))[0]  # noqa: E731
    state = lambda players: {k: v.numpy() for k, v in players.state_dict().items()}  # noqa: E731
    killed_after(monkeypatch, lambda: run(tmp_path / "game"), stops=(1, 2))
    calm, before = state(run()), torch.get_rng_state()
    assert equal(calm, state(run(tmp_path / "game"))) and not equal(calm, state(run(seed=8)))
    assert torch.equal(before, torch.get_rng_state())


def test_together_and_apart_are_the_same_without_normalization(world):
    "In eval mode a batch is no more than its pictures; what differs in training is the normalization alone."
    from active_defects.models.vae import describe_loss, encoded
    players, (left, right) = untrained_players(AdversarialLearner(ranked=True, width=1 / 32), 0).eval(), torch.rand(12, 1, 32, 32).split([4, 8])
    sides = [(left, torch.rand(4)), (right, torch.rand(8))]
    losses = [describe_loss(players["vae"], players["judge"], sides, torch.Generator().manual_seed(0), together=together).item() for together in (True, False)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    players.train()
    means = [torch.cat([mean for mean, _ in encoded(players["vae"], [left, right + 1], together)]) for together in (True, False)]
    assert not torch.allclose(*means, atol=1e-2)


def test_each_player_moves_only_on_its_own_turn(world):
    from active_defects.learners.adversarial import turn
    players = untrained_players(AdversarialLearner(width=1 / 32), 0)
    adam = torch.optim.Adam(players.parameters(), 0.1)
    before = {k: v.clone() for k, v in players.named_parameters()}
    turn(adam, players["judge"](players["vae"].encode(torch.rand(4, 1, 32, 32))[0]).sum(), waiting=players["judge"])
    moved = {k for k, v in players.named_parameters() if not torch.equal(v, before[k])}
    assert moved and all(k.startswith("vae.") for k in moved)


def test_the_iterations_of_the_papers():
    assert not AdversarialLearner.paper().together
    assert (AdversarialLearner.paper().most, AdversarialLearner.paper().schedule.batch, AdversarialLearner.paper().schedule.epochs) == (None, 128, 100)
    assert (AdversarialLearner.paper().describes, AdversarialLearner.paper().cost, AdversarialLearner.paper(True).describes, AdversarialLearner.paper(True).cost) == (2, "sum", 1, "mean")


def test_what_the_players_depend_on_is_in_their_key(world):
    "Unanswered parts are looked at, so they stand in the key, though no label names them."
    pool, labels = world
    key = lambda pool: (state := State(pool, candidates(pool, labels), labels, PixelLearner()), tiny(VAAL()).score(state), state.used["VAAL"])[2]  # noqa: E731
    assert key(pool) != key(pool.without(pool.ids[-1:]))


# ---- equipped

def test_strategies_equip_a_plain_segmenter():
    s = UNetLearner()
    assert LearningLoss().equip(s) == WithLoss(s) and TAVAAL().equip(s) == WithLoss(s, "chance") and DSAL().equip(s) == DeeplySupervised(s)
    for strategy in (LearningLoss(), TAVAAL(), DSAL()):
        equipped = strategy.equip(s)
        assert strategy.equip(equipped) is equipped and set(strategy.needs) <= set(equipped.gives) and "maps" in equipped.gives
        with pytest.raises(ValueError, match="goes with a UNetLearner, got PixelLearner"): strategy.equip(PixelLearner())


@pytest.mark.parametrize("learner", [WithLoss(), DeeplySupervised(), PretextLearner(), AdversarialLearner()], ids=lambda learner: type(learner).__name__)
def test_neither_device_nor_progress_stand_in_the_settings(learner):
    inside = learner if hasattr(learner, "device") else learner.learner
    other = replace(inside, device="cpu", progress=False)
    assert repr(learner) == repr(other if inside is learner else replace(learner, learner=other)) and dataclasses.is_dataclass(type(learner).paper())
