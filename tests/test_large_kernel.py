"""The large layer by tiles of waves is torch's own convolution: results, gradients, files; and what it remembers is never out of date."""
import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from active_defects.models.large_kernel import LargeConv2d
from active_defects.models.waves import Tiling, best_tiling, prefers_tiles, wave_matrices
from torch import nn


@pytest.fixture(autouse=True)
def same_numbers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def pair(channels, width, kernel, dtype=torch.float64):
    ours = LargeConv2d(channels, width, kernel, method="tiles").to(dtype)
    plain = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False).to(dtype)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def off(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def direct(layer, x):
    return F.conv2d(x, layer.weight.detach(), padding=layer.padding)


SIZES = [(1, 1, 1, 1, 1, 1), (1, 1, 1, 3, 1, 1), (2, 3, 4, 5, 11, 9), (1, 2, 3, 15, 4, 3), (3, 4, 200, 7, 20, 6), (1, 3, 5, 9, 1, 40), (2, 2, 2, 3, 33, 34)]


@pytest.mark.parametrize("n, channels, width, kernel, height, across", SIZES)
def test_results_and_gradients_are_those_of_torch(n, channels, width, kernel, height, across):
    ours, plain = pair(channels, width, kernel)
    x = torch.randn(n, channels, height, across, dtype=torch.float64, requires_grad=True)
    a, b = ours(x), plain(x)
    upstream = torch.randn_like(b)
    assert a.shape == b.shape and off(a, b) < 1e-12
    for one, two in zip(torch.autograd.grad(a, (x, ours.weight), upstream), torch.autograd.grad(b, (x, plain.weight), upstream)): assert off(one, two) < 1e-10
    with torch.no_grad(): assert off(ours(x), plain(x)) < 1e-12


@pytest.mark.parametrize("down, across", [(1, 1), (2, 3), (5, 2), (11, 9), (4, 4)])
def test_every_cut_gives_the_same(down, across, monkeypatch):
    ours, plain = pair(2, 3, 5)
    monkeypatch.setattr(ours, "_cut", lambda x, images: Tiling(11, 9, 5, down, across))
    x = torch.randn(2, 2, 11, 9, dtype=torch.float64, requires_grad=True)
    results = [(y, *torch.autograd.grad(y.square().sum(), (x, layer.weight))) for layer in (ours, plain) for y in [layer(x)]]
    assert max(off(a, b) for a, b in zip(*results)) < 1e-12


def test_gradcheck():
    ours, _ = pair(2, 3, 3)
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    ours.weight.requires_grad_()
    weight = ours.weight.detach().clone().requires_grad_()
    def f(x, weight):
        return torch.func.functional_call(ours, {"weight": weight}, (x,))
    assert torch.autograd.gradcheck(f, (x, weight))


def test_float32_is_as_exact_as_torch_at_the_papers_widths():
    ours, plain = pair(64, 96, 15, torch.float32)
    x = torch.rand(1, 64, 40, 29)
    with torch.no_grad():
        truth = F.conv2d(x.double(), ours.weight.double(), padding=7)
        assert off(ours(x).double(), truth) < 1e-6
        assert off(ours(x), plain(x)) < 2e-6


@pytest.mark.parametrize("who", ["input", "weight"])
def test_only_one_gradient(who):
    ours, plain = pair(2, 3, 5)
    ours.weight.requires_grad_(who == "weight")
    x = torch.randn(1, 2, 9, 8, dtype=torch.float64, requires_grad=who == "input")
    ours(x).square().sum().backward()
    target = x if who == "input" else ours.weight
    y = torch.autograd.grad(plain(x).square().sum(), x if who == "input" else plain.weight)[0]
    assert off(target.grad, y) < 1e-10


def test_memory_formats_and_slices():
    ours, plain = pair(4, 6, 5)
    x = torch.randn(3, 4, 12, 10, dtype=torch.float64)
    for view in (x.to(memory_format=torch.channels_last), x[:, :, ::2], x.transpose(2, 3), x[1:, :, 1:-1]):
        assert off(ours(view), plain(view)) < 1e-12
    changed = copy.deepcopy(ours).to(memory_format=torch.channels_last)
    with torch.no_grad(): assert off(changed(x), plain(x)) < 1e-12
    changed(x).sum().backward()
    plain(x).sum().backward()
    assert off(changed.weight.grad, plain.weight.grad) < 1e-10


def test_second_derivatives_are_refused_not_wrong():
    ours, _ = pair(1, 1, 3)
    x = torch.randn(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    first, = torch.autograd.grad(ours(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"): first.sum().backward()


# ---- what it remembers

OPTIMIZERS = [lambda p: torch.optim.SGD(p, 0.1), lambda p: torch.optim.SGD(p, 0.1, foreach=True), lambda p: torch.optim.SGD(p, 0.1, fused=True), lambda p: torch.optim.Adam(p, 0.1),
              lambda p: torch.optim.Adam(p, 0.1, fused=True), lambda p: torch.optim.AdamW(p, 0.1, foreach=True), lambda p: torch.optim.Adadelta(p, 1.0)]


def step(make):
    def change(layer):
        layer.weight.grad = torch.ones_like(layer.weight)
        optimizer = make([layer.weight])
        for _ in range(2): optimizer.step()
    return change


def reborn_storage(layer):
    "A new tensor may get the old one's address; the count stays as it was."
    for _ in range(5): layer.weight.data = layer.weight.data + 1


def swapped(layer):
    layer.weight = nn.Parameter(layer.weight.detach() * 2)


def in_place(layer):
    with torch.no_grad(): layer.weight[0, 0, 0, 0] += 5


CHANGES = {f"optimizer {k}": step(make) for k, make in enumerate(OPTIMIZERS)} | {
    "load": lambda layer: layer.load_state_dict({"weight": torch.randn_like(layer.weight)}),
    "load, assigned": lambda layer: layer.load_state_dict({"weight": torch.randn_like(layer.weight)}, assign=True),
    "double and back": lambda layer: layer.double().float(),
    "data in place": lambda layer: layer.weight.data.mul_(2),
    "data anew": reborn_storage,
    "parameter swapped": swapped,
    "one weight": in_place,
    "initialized": lambda layer: nn.init.xavier_normal_(layer.weight),
    "averaged": lambda layer: layer.weight.data.lerp_(torch.randn_like(layer.weight), 0.1),
    "clipped": lambda layer: layer.weight.data.clamp_(-0.01, 0.01)}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_no_change_of_the_weight_is_missed(change):
    layer = LargeConv2d(6, 8, 11, method="tiles")
    x = torch.rand(1, 6, 20, 20)
    with torch.no_grad():
        assert off(layer(x), direct(layer, x)) < 1e-5
        assert layer._kept is not None
    change(layer)
    with torch.no_grad(): assert off(layer(x), direct(layer, x)) < 1e-5


def test_a_change_of_size_is_not_missed():
    layer = LargeConv2d(3, 4, 5, method="tiles")
    for side in (12, 30, 12, 17):
        x = torch.rand(2, 3, side, side + 1)
        with torch.no_grad(): assert off(layer(x), direct(layer, x)) < 1e-5


def test_it_is_kept_between_looks_and_not_while_learning():
    layer = LargeConv2d(3, 4, 5, method="tiles")
    x = torch.rand(1, 3, 12, 12)
    layer(x)
    assert layer._kept is None
    with torch.no_grad():
        layer(x)
        kept = layer._kept
        layer(torch.rand(4, 3, 12, 12))
    assert layer._kept is kept
    with torch.no_grad(): LargeConv2d(3, 4, 5, method="tiles", keep=False)(x)
    layer.double()
    assert layer._kept is None


def test_copies_and_files_carry_no_memory():
    layer = LargeConv2d(8, 16, 9, method="tiles")
    x = torch.rand(1, 8, 20, 20)
    with torch.no_grad(): y = layer(x)
    size = layer.weight.numel() * 4
    file = io.BytesIO()
    torch.save(layer, file)
    assert list(layer.state_dict()) == ["weight"] and layer._kept is not None
    assert len(pickle.dumps(layer)) < size + 4000 and len(file.getvalue()) < size + 8000
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin._kept is None
        with torch.no_grad(): assert torch.equal(twin(x), y)


def test_inference_mode_and_after_it():
    layer = LargeConv2d(3, 4, 5, method="tiles")
    x = torch.rand(1, 3, 14, 13)
    wave_matrices.cache_clear()
    with torch.inference_mode(): layer(x)
    with torch.no_grad(): assert off(layer(x), direct(layer, x)) < 1e-5
    layer(x.requires_grad_()).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode():
        born = LargeConv2d(3, 4, 5, method="tiles")
        assert off(born(x), direct(born, x)) < 1e-5


# ---- which way it goes

def test_autocast_answers_in_its_type():
    ours, plain = LargeConv2d(8, 8, 15, method="tiles"), nn.Conv2d(8, 8, 15, padding=7, bias=False)
    plain.load_state_dict(ours.state_dict())
    x = torch.rand(1, 8, 20, 20, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        a, b = ours(x), plain(x)
        assert a.dtype == b.dtype == torch.bfloat16
        assert off(ours(x.bfloat16()).float(), a.float()) < 2e-2
        a.float().sum().backward()
    assert ours.weight.grad.dtype == torch.float32 and off(a.float(), b.float()) < 2e-2
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16): assert ours(x).dtype == torch.bfloat16


def test_the_direct_way_is_torchs_to_the_last_bit():
    for layer in (LargeConv2d(3, 4, 5), LargeConv2d(3, 4, 15, method="direct")):
        x = torch.rand(1, 3, 20, 20)
        assert torch.equal(layer(x), F.conv2d(x, layer.weight, padding=layer.padding))
    half = LargeConv2d(3, 4, 15, method="tiles").bfloat16()
    assert half(torch.rand(1, 3, 20, 20).bfloat16()).dtype == torch.bfloat16
    assert LargeConv2d(3, 4, 5, method="tiles")(torch.rand(3, 9, 9)).shape == (4, 9, 9)
    assert LargeConv2d(3, 4, 5, method="tiles")(torch.rand(0, 3, 9, 9)).shape == (0, 4, 9, 9)


def test_wrong_inputs_are_refused_as_torch_refuses_them():
    layer = LargeConv2d(3, 4, 5, method="tiles")
    for x in (torch.rand(1, 2, 9, 9), torch.rand(1, 3, 9, 9, dtype=torch.float64)):
        with pytest.raises(RuntimeError): layer(x)


def test_when_it_pays():
    paper = best_tiling(80, 29, 15, 64, 1024)
    assert prefers_tiles(paper, 64, 1024) and prefers_tiles(best_tiling(80, 29, 15, 64, 1024, 10), 64, 1024, 10)
    assert not prefers_tiles(best_tiling(160, 58, 5, 64, 64), 64, 64) and not prefers_tiles(best_tiling(8, 8, 15, 16, 256), 16, 256)


def test_it_is_a_convolution_for_all_who_ask():
    layer = LargeConv2d(3, 4, 15)
    assert isinstance(layer, nn.Conv2d) and layer.bias is None and layer.kernel_size == (15, 15) and layer.padding == (7, 7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_uses_torchs_own():
    layer = LargeConv2d(4, 8, 15, method="tiles").to("cuda")
    x = torch.rand(2, 4, 40, 40, device="cuda")
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, padding=7))
