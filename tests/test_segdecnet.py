"SegDecNet and its loss against an implementation of the equations that shares nothing with the package, in float64; golden numbers G1-G15."
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, label
from torch import nn

from active_defects.data.batches import mask_tensor
from active_defects.data.labels import Labels
from active_defects.data.pool import Pool
from active_defects.formulas.pixel_weights import pixel_weights
from active_defects.models.blocks import receptive_field
from active_defects.models.mixed_loss import balance_at, mixed_losses, reduce_by_eight, segmentation_losses
from active_defects.models.segdecnet import FeatureNorm, SegDecNet

SIZE = (192, 128)


def norm(x, scale, bias):
    "SPEC 1.2, with the textbook's definition of the standard deviation."
    mean = x.mean(dim=(2, 3), keepdim=True)
    std = ((x - mean).pow(2).sum(dim=(2, 3), keepdim=True) / (x.shape[2] * x.shape[3] - 1)).sqrt()
    return scale * (x - mean) / (std + 0.001).sqrt() + bias


def by_the_book(weights, x, stop):
    "SegDecNet's forward pass from the table of SPEC 1.2: decision logits, map of logits."
    convolutions = iter([w for k, w in weights.items() if w.ndim == 4])
    scales = iter([w for k, w in weights.items() if k.endswith("scale")])
    biases = iter([w for k, w in weights.items() if w.ndim == 3 and k.endswith("bias")])

    def block(z):
        w = next(convolutions)
        return norm(F.conv2d(z, w, padding=w.shape[-1] // 2), next(scales), next(biases))

    for layers, pooled in ((1, True), (3, True), (4, True), (1, False)):
        for _ in range(layers):
            x = block(x).clamp(min=0)
        if pooled:
            x = F.max_pool2d(x, 2)
    maps = block(x)
    volume, logits = (x.detach(), maps.detach()) if stop else (x, maps)
    z = torch.cat([volume, logits], dim=1)
    for _ in range(3):
        z = block(F.max_pool2d(z, 2)).clamp(min=0)
    summary = torch.cat([z.flatten(2).max(dim=2).values, z.flatten(2).mean(dim=2), logits.flatten(2).max(dim=2).values, logits.flatten(2).mean(dim=2)], dim=1)
    return summary @ weights["decision.weight"][0] + weights["decision.bias"][0], maps


def loss_by_the_book(decision, maps, verdict, mask, weight, known, n, epochs, delta):
    "SPEC 1.4, one image after the other, with the logarithms written out."
    share, total = 1 - n / epochs, 0.0
    for k in range(len(decision)):
        where = weight[k] * (F.softplus(maps[k]) - mask[k] * maps[k])
        whether = F.softplus(decision[k]) - verdict[k] * decision[k]
        total = total + share * known[k] * where.mean() + (1 - share) * delta * whether
    return total


def made(width=1.0, stop=True, channels=1, kernel=15, seed=0):
    torch.manual_seed(seed)
    network = SegDecNet(channels, width, kernel, stop)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, FeatureNorm):
                module.scale.add_(0.1 * torch.randn_like(module.scale))
                module.bias.add_(0.1 * torch.randn_like(module.bias))
    return network


def lesson(seed=1, n=3, channels=1, size=SIZE):
    random = np.random.default_rng(seed)
    images = torch.from_numpy(random.random((n, channels, *size)))
    masks = torch.zeros(n, 1, *size, dtype=torch.float64)
    masks[0, 0, 40:70, 30:60] = 1
    masks[1, 0, 100:104, 20:90] = torch.from_numpy(random.random((4, 70)))
    weights = torch.from_numpy(np.stack([pixel_weights(m[0].numpy()) for m in masks]))[:, None]
    return images, masks, weights, torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64), torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)


def test_outputs_equal_the_equations_at_full_width():
    """In float64 to the last digits. In float32 the plain implementation is itself up to 2e-6 away from the truth in the decision and 1e-5 in the map:
    ours must not be further away, on the mean of three networks."""
    ours, plain = [], []
    for seed in range(3):
        network = made(channels=3, seed=seed)
        images, masks, weights, verdicts, known = lesson(seed=seed + 1, channels=3)
        exact = {k: w.double() for k, w in network.state_dict().items()}
        small_masks, small_weights = reduce_by_eight(masks), reduce_by_eight(weights)
        with torch.inference_mode():
            truth = by_the_book(exact, images, stop=True)
            book = by_the_book(network.state_dict(), images.float(), stop=True)
            seen = network(images.float())
            loss = mixed_losses(seen[0], verdicts.float(), segmentation_losses(seen[1], small_masks.float(), small_weights.float()), known.float(), balance_at(10, 50), 1.0).sum()
            if seed == 0:
                for said, true in zip(network.double()(images), truth): assert (said - true).abs().max() <= 1e-11
        true_loss = loss_by_the_book(*truth, verdicts, small_masks, small_weights, known, 10, 50, 1.0)
        assert abs(loss.item() - true_loss.item()) <= 2.4e-7 * max(1, true_loss.item())
        ours.append([(said - true).abs().max().item() for said, true in zip(seen, truth)])
        plain.append([(said - true).abs().max().item() for said, true in zip(book, truth)])
    ours, plain = np.mean(ours, axis=0), np.mean(plain, axis=0)
    assert (ours <= 1.5 * plain + [3e-7, 1e-6]).all(), (ours, plain)


@pytest.mark.parametrize("stop", [True, False])
def test_gradients_equal_the_equations_in_float64(stop):
    network = made(width=1 / 8, stop=stop).double()
    images, masks, weights, verdicts, known = lesson()
    small_masks, small_weights = reduce_by_eight(masks), reduce_by_eight(weights)
    decision, maps = network(images)
    mixed_losses(decision, verdicts, segmentation_losses(maps, small_masks, small_weights), known, balance_at(20, 50), 0.5).sum().backward()
    book = {k: w.detach().clone().requires_grad_() for k, w in network.named_parameters()}
    decision, maps = by_the_book(book, images, stop)
    loss_by_the_book(decision, maps, verdicts, small_masks, small_weights, known, 20, 50, 0.5).backward()
    for name, parameter in network.named_parameters():
        difference = (parameter.grad - book[name].grad).norm() / (book[name].grad.norm() + 1e-12)
        assert difference < 1e-10, (name, difference)


def test_parameters_shapes_and_products():
    network = SegDecNet(3)
    assert sum(p.numel() for p in network.parameters()) == 15_638_813 and sum(p.numel() for p in SegDecNet(1).parameters()) == 15_637_213  # G1
    parts = [network.volume, network.segmentation, network.extractor, network.decision]
    assert [sum(p.numel() for p in part.parameters()) for part in parts] == [15_416_608, 1_026, 221_112, 67]  # G2
    assert all(p.requires_grad for p in network.parameters())
    shapes, products = {}, 0

    def watch(module, inputs, output):
        nonlocal products
        if isinstance(module, nn.Conv2d): products += output[0].numel() * module.weight[0].numel()
        if isinstance(module, nn.Linear): products += module.weight.numel()
        shapes[module] = tuple(output.shape[1:])

    for module in network.modules():
        if not list(module.children()): module.register_forward_hook(watch)
    with torch.inference_mode(): network(torch.rand(1, 3, 640, 232))
    assert [shapes[part[-1]] for part in parts[:3]] == [(1024, 80, 29), (1, 80, 29), (32, 10, 3)]  # G3
    assert products == 47_987_959_746  # G5


def test_receptive_field():
    network = SegDecNet(1, width=1 / 16)
    head = nn.Sequential(network.volume, network.segmentation)
    assert receptive_field(head, 320) == 212  # G4
    linear = nn.Sequential(*[nn.AvgPool2d(2) if isinstance(m, nn.MaxPool2d) else m for m in head.modules() if isinstance(m, (nn.Conv2d, nn.MaxPool2d))]).double()
    x = torch.ones(1, 1, 320, 320, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        for p in linear.parameters(): p.fill_(1e-2)
    linear(x)[0, 0, 20, 20].backward()
    rows = x.grad[0, 0].abs().sum(dim=1).nonzero()[:, 0]
    assert (rows.min().item(), rows.max().item()) == (58, 269)


def test_norm_and_stop():
    out = FeatureNorm(1)(torch.tensor([[[[0.0, 1.0], [2.0, 5.0]]]], dtype=torch.float64).float())
    np.testing.assert_allclose(out.detach().flatten(), [-1.360435, -0.680218, 0, 2.040653], atol=1e-6)  # G6
    network = made(width=1 / 8, stop=True)
    network(torch.rand(2, 1, *SIZE))[0].sum().backward()
    for part in (network.volume, network.segmentation):
        assert all(p.grad is None or p.grad.abs().max() == 0 for p in part.parameters())  # G7
    assert all(p.grad.abs().sum() > 0 for p in network.decision.parameters())


def test_balance():
    pairs = [(balance_at(n, 50), 1 - balance_at(n, 50)) for n in (0, 1, 10, 25, 49)]
    np.testing.assert_allclose(pairs, [(1, 0), (0.98, 0.02), (0.8, 0.2), (0.5, 0.5), (0.02, 0.98)], atol=1e-12)  # G8


def test_batch_does_not_matter():
    network, images = made(width=1 / 8), torch.rand(5, 1, *SIZE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole, alone = network(images), network(images[3:4])
    assert (whole[0][3] - alone[0][0]).abs() <= 1e-6 and (whole[1][3] - alone[1][0]).abs().max() <= 1e-5


def test_unknown_mask_sends_no_gradient_into_the_map():
    network = made(width=1 / 8)
    decision, maps = network(torch.rand(1, 1, *SIZE))
    mixed_losses(decision, torch.ones(1), segmentation_losses(maps, torch.ones_like(maps), torch.ones_like(maps)), torch.zeros(1), 0.5).sum().backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in network.segmentation.parameters())


def test_too_small_or_crooked_pictures_are_refused():
    network = SegDecNet(1, width=1 / 16, kernel=7)
    for size, words in (((64, 64), "64 × 128"), ((136, 100), "multiples of 8"), ((56, 256), "too small")):
        with pytest.raises(ValueError, match=words): network(torch.rand(1, 1, *size))
    for size in ((64, 128), (128, 64), (64, 192)):
        assert network(torch.rand(1, 1, *size))[0].isfinite().all()


def weights_by_the_book(mask, most, power):
    "SPEC 1.5 with a loop over components."
    inside = (mask * 255).astype(np.uint8) != 0
    out = np.ones(mask.shape)
    parts, count = label(inside, np.ones((3, 3)))
    depth = distance_transform_edt(inside)
    for k in range(1, count + 1):
        out[parts == k] = most * (depth[parts == k] / depth[parts == k].max()) ** power
    return out


def test_pixel_weights():
    square = np.zeros((9, 9)); square[2:7, 2:7] = 1
    omega = pixel_weights(square)
    np.testing.assert_allclose([omega[2, 2], omega[2, 4], omega[3, 3], omega[4, 4], omega.sum()], [1 / 3, 1 / 3, 4 / 3, 3, 75], atol=1e-6)  # G9
    np.testing.assert_allclose(np.diag(pixel_weights(square, 10, 1))[2:5], [10 / 3, 20 / 3, 10], atol=1e-6)  # G10
    np.testing.assert_allclose(pixel_weights(square, 1, 2)[4], [1, 1, 1 / 9, 4 / 9, 1, 4 / 9, 1 / 9, 1, 1], atol=1e-6)
    two = np.zeros((8, 8)); two[0, 0] = 1; two[4:7, 4:7] = 1
    omega = pixel_weights(two)
    assert omega[0, 0] == 3 and omega[5, 5] == 3 and np.allclose(omega[4:7, 4], 0.75)  # G11
    corner = np.zeros((6, 6)); corner[:3, :3] = 1
    np.testing.assert_allclose(pixel_weights(corner)[:3, :3], [[3, 4 / 3, 1 / 3], [4 / 3, 4 / 3, 1 / 3], [1 / 3, 1 / 3, 1 / 3]], atol=1e-6)  # G12
    for seed in range(20):
        random = np.random.default_rng(seed)
        mask = (random.random((20, 30)) < random.uniform(0.1, 0.9)) * random.random((20, 30))
        np.testing.assert_array_equal(pixel_weights(mask, 3, 2), weights_by_the_book(mask, 3, 2))


def test_reduction_by_eight():
    dot = torch.zeros(1, 1, 24, 24); dot[..., 8, 8] = 1
    assert (reduce_by_eight(dot)[0, 0] * 289).round().tolist() == [[4, 2, 2], [2, 1, 1], [2, 1, 1]]  # G13
    corner = torch.zeros(1, 1, 24, 24); corner[..., 0, 0] = 1
    assert (reduce_by_eight(corner)[0, 0] * 289).round().tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]  # G14
    soft = torch.rand(2, 1, 40, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for mask, tolerance in ((soft, 1e-14), ((soft > 0.5).float(), 4.4e-8)):
        padded = np.pad(mask.double().numpy()[:, 0], ((0, 0), (8, 8), (8, 8)), mode="reflect")
        slow = np.array([[[p[8 * i:8 * i + 17, 8 * j:8 * j + 17].mean() for j in range(8)] for i in range(5)] for p in padded])
        assert np.abs(reduce_by_eight(mask)[:, 0].numpy() - slow).max() <= tolerance


@pytest.mark.parametrize("row, side, soft", [(32, 15, 225 / 289), (36, 15, 144 / 289), (32, 7, 49 / 289)])
def test_soft_label_of_one_pixel(row, side, soft):
    "G15, through the package's own way from a drawn mask to a reduced one."
    mask = np.zeros((72, 72), bool); mask[row, row] = True
    pool = Pool(pd.DataFrame({"group": ["part"]}, index=pd.Index(["part"], name="sample")), {"part": np.zeros((72, 72), np.float32)})
    grown = mask_tensor(pool, Labels.of({"part": True}, {"part": mask}), 72, dilate=side)
    assert abs(reduce_by_eight(grown).max().item() - soft) < 1e-6
