"""How much faster this SegDecNet is than the simplest correct one, with the same weights in the same run, and whether both say the same.

    python experiments/bench_segdecnet.py [--threads 2] [--repeats 5] [--cases train1 train10 use1 use4] [--types float32 bfloat16] [--width 1.0] [--together 2]
    python experiments/bench_segdecnet.py --rule     # the large layer alone, at many sizes: when tiles of waves pay

Writes nbs/results/bench_segdecnet.csv (with --rule: bench_large_kernel.csv); rows of other cases stay as they are. The two take turns (A B A B …), so that a busy machine disturbs both alike: compare ratios, not seconds. Peak memory is that of a process of its own for each row.
`THP_MEM_ALLOC_ENABLE=1` in front makes PyTorch ask Linux for large memory pages; that helps both."""
import argparse
import contextlib
import datetime
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from active_defects import __version__
from active_defects.data.atomic import write_whole
from active_defects.models.large_kernel import LargeConv2d
from active_defects.models.segdecnet import SegDecNet
from active_defects.models.waves import best_tiling, prefers_tiles

RESULT = Path(__file__).resolve().parent.parent / "nbs" / "results" / "bench_segdecnet.csv"
HEIGHT, WIDTH = 640, 232
# seconds of the reference implementation, [lowest, highest], SPEC section 6: 2 cores AMD EPYC, another machine
REFERENCE = {"train1": "1.74…1.99", "train10": "18.4…19.2", "use1": "0.58…1.06", "use4": "2.83…3.25"}


class PlainNorm(nn.Module):
    "FeatureNorm, letter by letter."
    def __init__(self, channels):
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.ones(1, channels, 1, 1)), nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x):
        x = x.float()
        return self.scale * (x - x.mean((2, 3), keepdim=True)) / torch.sqrt(x.std((2, 3), keepdim=True) + 0.001) + self.bias


class PlainSegDecNet(nn.Module):
    "SegDecNet from SPEC 1.2 and 1.3 with torch's own layers, nothing else."
    def __init__(self, channels=3, width=1.0):
        super().__init__()
        a, b, c = [max(1, round(w * width)) for w in (32, 64, 1024)]
        block = lambda i, o, k: [nn.Conv2d(i, o, k, padding=k // 2, bias=False), PlainNorm(o), nn.ReLU()]  # noqa: E731
        many = lambda n: [layer for _ in range(n) for layer in block(b, b, 5)]  # noqa: E731
        self.volume = nn.Sequential(*block(channels, a, 5), nn.MaxPool2d(2), *block(a, b, 5), *many(2), nn.MaxPool2d(2), *many(4), nn.MaxPool2d(2), *block(b, c, 15))
        self.head = nn.Sequential(nn.Conv2d(c, 1, 1, bias=False), PlainNorm(1))
        self.extractor = nn.Sequential(nn.MaxPool2d(2), *block(c + 1, 8, 5), nn.MaxPool2d(2), *block(8, 16, 5), nn.MaxPool2d(2), *block(16, 32, 5))
        self.fc = nn.Linear(66, 1)

    def forward(self, x):
        volume = self.volume(x)
        maps = self.head(volume)
        seen = self.extractor(torch.cat([volume, maps.to(volume.dtype)], dim=1).detach())
        parts = [seen.amax((2, 3)), seen.mean((2, 3)), maps.detach().amax((2, 3)), maps.detach().mean((2, 3))]
        return self.fc(torch.cat(parts, dim=1))[:, 0], maps


def loss_of(network, images, masks, verdicts):
    logits, maps = network(images)
    per_image = F.binary_cross_entropy_with_logits(maps.float(), masks, reduction="none").mean((1, 2, 3)) + F.binary_cross_entropy_with_logits(logits.float(), verdicts, reduction="none")
    return per_image.sum()


class Case:
    "Both implementations with the same weights, and one thing to do."
    def __init__(self, what, dtype, width, together):
        self.what, self.half, self.batch = what, dtype == "bfloat16", int("".join(filter(str.isdigit, what)))
        self.training, self.together = what.startswith("train"), together
        torch.manual_seed(0)
        self.networks = {"plain": PlainSegDecNet(width=width), "ours": SegDecNet(width=width)}
        with torch.no_grad():
            for a, b in zip(self.networks["plain"].parameters(), self.networks["ours"].parameters(), strict=True): a.copy_(b.reshape(a.shape))
        self.images = torch.rand(self.batch, 3, HEIGHT, WIDTH)
        self.masks = (torch.rand(self.batch, 1, HEIGHT // 8, WIDTH // 8) > 0.99).float()
        self.verdicts = torch.arange(self.batch) % 2 * 1.0

    def run(self, name):
        "One training step without the optimizer's, or one look; what came out, as a list of tensors."
        network, size = self.networks[name], 1 if name == "plain" else self.together
        network.train(self.training)
        parts = [slice(start, start + size) for start in range(0, self.batch, size)]
        order = torch.contiguous_format if name == "plain" else torch.channels_last
        with torch.set_grad_enabled(self.training), contextlib.ExitStack() as stack:
            network.zero_grad()
            if not self.training:
                if self.half: stack.enter_context(torch.autocast("cpu", torch.bfloat16))
                told = [network(self.images[part].contiguous(memory_format=order)) for part in parts]
                return [torch.cat([logits for logits, _ in told]).float(), torch.cat([maps for _, maps in told]).float()]
            for part in parts:
                with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                    loss = loss_of(network, self.images[part].contiguous(memory_format=order), self.masks[part], self.verdicts[part])
                loss.backward()
        return [p.grad.flatten() for p in network.parameters()]


def difference(results, truth):
    "Length of the difference over the length of the truth, of all outputs together (in training: of all gradients). Float32 gradients of either way are some 1e-3 off those of float64, at the kinks of rectifiers."
    return (sum((a - b).double().square().sum() for a, b in zip(results, truth)) / sum(b.double().square().sum() for b in truth)).sqrt().item()


def compare(what, dtype, options):
    "Rows of both implementations."
    case, seconds = Case(what, dtype, options.width, options.together), {"plain": [], "ours": []}
    case.half = False
    truth = case.run("plain")
    case.half = dtype == "bfloat16"
    off = {name: difference(case.run(name), truth) for name in seconds}
    del truth
    for _ in range(options.repeats):
        for name in seconds:
            start = time.perf_counter()
            case.run(name)
            seconds[name].append(time.perf_counter() - start)
    rows = [dict(what=what, implementation=name, dtype=dtype, batch=case.batch, median=round(float(np.median(times)), 4), min=round(min(times), 4), max=round(max(times), 4), repeats=options.repeats,
                 times_faster=round(float(np.median(seconds["plain"]) / np.median(times)), 2), off_plain_float32=float(f"{off[name]:.2g}"),
                 peak_mib=peak_of(what, name, dtype, options) if options.peak else None) for name, times in seconds.items()]
    return [row | dict(reference_seconds=REFERENCE[what] if dtype == "float32" and options.width == 1 else None) for row in rows]


def peak_of(what, name, dtype, options):
    "Largest memory in MiB of a process that does it twice."
    arguments = [sys.executable, __file__, "--alone", what, name, dtype, "--threads", str(options.threads), "--width", str(options.width), "--together", str(options.together)]
    return round(float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split()[-1]))


def alone(what, name, dtype, options):
    case = Case(what, dtype, options.width, options.together)
    case.networks = {name: case.networks[name]}
    for _ in range(2): case.run(name)
    status = Path("/proc/self/status")  # there, unlike getrusage, a process does not inherit the peak of the one that started it
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) if status.exists() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(peak / 1024)


def rule():
    "The large layer alone: seconds of processor time, direct (channels last) over tiles, into bench_large_kernel.csv."
    def best(f, times=3):
        f()
        took = []
        for _ in range(times):
            start = time.process_time()
            f()
            took.append(time.process_time() - start)
        return min(took)
    rows = []
    for k, i, o, h, w, n in [(15, 64, 1024, 80, 29, 1), (15, 64, 1024, 8, 8, 8), (15, 16, 256, 80, 29, 1), (15, 16, 256, 16, 16, 8), (15, 8, 128, 80, 29, 1), (15, 8, 128, 8, 8, 8), (15, 4, 64, 80, 29, 1),
                             (11, 16, 64, 80, 29, 4), (9, 64, 64, 80, 29, 1), (7, 64, 64, 80, 29, 1), (5, 64, 64, 160, 58, 1), (5, 64, 64, 320, 116, 1)]:
        layers = [LargeConv2d(i, o, k, method=method) for method in ("direct", "tiles")]
        x, g = torch.rand(n, i, h, w).contiguous(memory_format=torch.channels_last).requires_grad_(), torch.rand(n, o, h, w).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(): use = [best(lambda: layer(x)) for layer in layers]
        train = [best(lambda: layer(x).backward(g), 2) for layer in layers]
        cut = best_tiling(h, w, k, i, o)
        rows.append(dict(kernel=k, channels=i, outputs=o, height=h, width=w, batch=n, fewer_multiplications=round(n * h * w * k * k * i * o / cut.multiplications(i, o, n), 1),
                         faster_in_use=round(use[0] / use[1], 2), faster_in_training=round(train[0] / train[1], 2), auto="tiles" if prefers_tiles(cut, i, o, n) else "direct"))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows).assign(threads=torch.get_num_threads(), cpu=torch.backends.cpu.get_cpu_capability(), version=__version__, torch=torch.__version__, date=datetime.date.today().isoformat())
    write_whole(RESULT.with_name("bench_large_kernel.csv"), lambda path: table.to_csv(path, index=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=list(REFERENCE), choices=list(REFERENCE))
    parser.add_argument("--types", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--together", type=int, default=2, help="images at a time in ours; gradients are summed either way")
    parser.add_argument("--peak", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--rule", action="store_true")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.rule: return rule()
    if options.alone: return alone(*options.alone, options)
    rows = []
    for dtype in options.types:
        for what in options.cases:
            rows += compare(what, dtype, options)
            print(rows[-2], rows[-1], sep="\n", flush=True)
    table = pd.DataFrame(rows).assign(together=options.together, size=f"3x{HEIGHT}x{WIDTH}", width=options.width, threads=options.threads, large_pages=os.environ.get("THP_MEM_ALLOC_ENABLE", "0"),
                                      cpu=torch.backends.cpu.get_cpu_capability(), version=__version__, torch=torch.__version__, date=datetime.date.today().isoformat())
    if options.out.is_file():
        old = pd.read_csv(options.out)
        told = old.merge(table[["what", "dtype"]].drop_duplicates(), how="left", indicator=True)._merge.eq("left_only").to_numpy()
        table = pd.concat([old[told], table])
    write_whole(options.out, lambda path: table.to_csv(path, index=False))
    print(table[["what", "implementation", "dtype", "median", "min", "max", "times_faster", "off_plain_float32", "peak_mib", "reference_seconds"]].to_string())


if __name__ == "__main__":
    main()
