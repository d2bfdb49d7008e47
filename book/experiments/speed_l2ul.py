"""How much faster L2UL is than by the released procedure, and what importance takes.

`l2_pgd` is the attack on 16 items with 20 repeats, `l2ul` a whole run: attack, importance, and as
many steps on both sides (so small that nothing is forgotten); with `_fast` the same in single
precision inside `fast`: channels last, a fused optimiser, and on a GPU recorded steps of training.
`importance` is compared with `torch.func.vmap(grad)`, one gradient per item at once: seconds, and
the memory that 32 items add to the peak that two items had reached, each in a new process (on a
GPU, to the device's memory). `importance_passes` is its time over that of one plain pass forward
and backward of the same batches, with the gradient of all weights, `vmap_passes` and `loop_passes`
that of `vmap(grad)` and of the loop over items: processor time on a CPU, the median of ratios over
turns, after one that does not count, in which `importance` checks the network.
"""

from __future__ import annotations

import copy
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from tqdm import tqdm

from book.experiments import Run, said
from book.experiments import released_l2ul as released
from book.experiments.overhead import seconds_of
from minilearn.cost import Cost, _process_peak
from minilearn.data.examples import Examples
from minilearn.draws import order_of
from minilearn.methods import L2UL, importance, l2_pgd, l2ul
from minilearn.models import allcnn, build, cnn, resnet18, resnet20
from minilearn.precision import fast
from minilearn.sweep import Unit, value

ITEMS = 16
SEVERAL = 32  # items for importance, of a network of 11 million weights
NETWORKS = {"resnet20": resnet20, "resnet18": partial(resnet18, pool=True)}
# network, pixels, steps of the attack, passes of the unlearning
SIZES = {
    "toy": ("resnet20", 16, 10, 3),
    "small": ("resnet20", 32, 20, 3),
    "paper": ("resnet18", 32, 100, 20),
}
BATCH = 32  # items a step, as released
TURNS, ENOUGH = 3, 2.0  # turns at least, and seconds that they take at least


def mlp() -> nn.Module:
    """784 pixels, two hidden layers of 256, ten classes."""
    hidden = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(256, 10))


# network, channels, pixels, items
PASSES = {
    "mlp, 28 pixels": (mlp, 1, 28, SEVERAL),
    "cnn, 8 pixels": (partial(cnn, 10, 8), 1, 8, SEVERAL),
    "cnn, 8 pixels, 256 items": (partial(cnn, 10, 8), 1, 8, 256),
    "cnn, 28 pixels": (cnn, 1, 28, SEVERAL),
    "allcnn, 32 pixels": (partial(allcnn, 10), 3, 32, SEVERAL),
    "resnet20, 32 pixels": (resnet20, 3, 32, SEVERAL),
    "resnet18, 32 pixels": (NETWORKS["resnet18"], 3, 32, SEVERAL),
}


def units(run: Run, timed: Callable) -> Iterator[Unit]:
    """The attack, a whole run, and importance; `timed(name, ours, theirs)` takes the times."""
    network, pixels, steps, passes = SIZES[run.size]
    config = replace(L2UL.paper("cifar10"), batch_norm="train", shuffle=True)  # which cost the same
    attack = replace(config.attack, steps=steps, floor=0.0)
    config = replace(config, attack=attack, epochs=passes, lr=1e-9)
    text = f"size={run.size}; {run.device.type}; "
    text += f"{ITEMS} uniform images of {pixels} pixels; {network}; {said(config)}"
    for seed in run.seeds:
        model, items = model_and_items(network, pixels, ITEMS, seed, run.device)
        for name, sides in _sides(model, items, config).items():
            measure = partial(timed, name, *sides, run.device)
            yield Unit("uniform images", f"{ITEMS} items", name, seed, text, measure)
        for way in ("importance", "vmap(grad)"):
            measure = partial(_memory, way, seed, run.device)
            about = f"size={run.size}; {run.device.type}; {SEVERAL} uniform images of 32 pixels"
            where = "uniform images", f"importance of {SEVERAL} items"
            yield Unit(*where, way, seed, f"{about}; resnet18", measure)
        for name, (make, channels, pixels, count) in PASSES.items():
            x = torch.rand(count, channels, pixels, pixels, generator=order_of(seed))
            about = f"size={run.size}; {run.device.type}; {count} uniform images, {BATCH} at once"
            about += f"; at least {TURNS} turns and {ENOUGH} s"
            measure = partial(_passes, name, partial(build, make, seed), x, run.device)
            yield Unit("uniform images", "importance in passes", name, seed, about, measure)


def model_and_items(
    network: str, pixels: int, count: int, seed: int, device
) -> tuple[nn.Module, Examples]:
    """An untrained network, whose weights cost the same, and images that it classifies as labelled.

    So they are not misclassified at the start.
    """
    model = build(NETWORKS[network], seed).to(device).eval()
    x = torch.rand(count, 3, pixels, pixels, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model, Examples(x.to(device), model(x.to(device)).argmax(1))


def _sides(model: nn.Module, items: Examples, config: L2UL) -> dict[str, tuple]:
    def theirs(workers: int = 0):
        twin = copy.deepcopy(model)
        arrays = released.attack(twin, items, config.attack, BATCH)
        omega = importance(twin, items, "batch-mean", train=True)
        released.unlearn(twin, items, arrays, config, omega)

    def attacked(workers: int = 0):
        released.attack(model, items, config.attack, BATCH)

    attack = partial(l2_pgd, model, items, config.attack)
    whole = partial(l2ul, model, items, config=config)
    switched = fast(torch.float32, graph=True)
    return {
        "l2_pgd": (attack, attacked),
        "l2_pgd_fast": (switched(attack), attacked),
        "l2ul": (whole, theirs),
        "l2ul_fast": (switched(whole), theirs),
    }


def _memory(way: str, seed: int, device) -> list[dict]:
    if device.type == "cuda":
        seconds, added = _importance(way, seed, device)
    else:
        context = multiprocessing.get_context("spawn")  # a new process: nothing used before
        with ProcessPoolExecutor(1, mp_context=context) as one:
            seconds, added = one.submit(_importance, way, seed, device).result()
    return [value("seconds", "", seconds, "s"), value("peak_bytes", "", added, "bytes")]


def _importance(way: str, seed: int, device) -> tuple[float, int]:
    model, items = model_and_items("resnet18", 32, SEVERAL, seed, device)
    compute = importance if way == "importance" else by_vmap
    cuda, cost = device.type == "cuda", Cost()
    compute(model, Examples(items.inputs[:2], items.targets[:2]))  # libraries are loaded
    before = torch.cuda.memory_allocated(device) if cuda else _process_peak()
    with cost.clock(device):
        compute(model, items)
    return cost.seconds, max(0, cost.peak_bytes - before)


def _passes(name: str, built: Callable, x: Tensor, device: torch.device) -> list[dict]:
    """The time of three ways over that of one pass, and the seconds of each."""
    model, x = built().to(device).eval(), x.to(device)
    batches = [Examples(part, torch.zeros(len(part), device=device)) for part in x.split(BATCH)]
    ways = {
        "pass": lambda: [one_pass(model, part) for part in batches],
        "importance": lambda: importance(model, x, batch_size=BATCH),
        "vmap": lambda: [by_vmap(model, part) for part in batches],
        "loop": lambda: importance(model, x, "loop"),
    }
    turns = []
    while len(turns) <= TURNS or sum(map(sum, turns)) < ENOUGH:
        turns.append([_seconds(way, device) for way in ways.values()])
    rows = []
    for way, column in zip(ways, zip(*turns[1:], strict=True), strict=True):
        ratios = [taken / turn[0] for taken, turn in zip(column, turns[1:], strict=True)]
        rows.append(value(f"{way}_passes", "", statistics.median(ratios), "x"))
        rows.append(value(f"{way}_seconds", "", statistics.median(column), "s"))
    tqdm.write(f"{name}: {', '.join(row['value'] for row in rows)}")
    return [*rows, value("turns", "", len(turns) - 1, "turns")]


def _seconds(run: Callable, device: torch.device) -> float:
    """Wall time on a GPU; on a CPU the processor's, which other processes do not add to."""
    if device.type != "cpu":
        return seconds_of(run, device)
    begin = time.process_time()
    run()
    return time.process_time() - begin


def one_pass(model: nn.Module, data: Examples):
    """Forward and backward once, with the gradient of all weights of the sum of norms."""
    norms = torch.linalg.vector_norm(model(data.inputs), dim=1)
    torch.autograd.grad(norms.sum(), [*model.parameters()])


def by_vmap(model: nn.Module, data: Examples) -> dict[str, Tensor]:
    """The same importance with one gradient per item, all at once."""
    from torch.func import functional_call, grad, vmap

    weights = dict(model.named_parameters())
    weights = {name: p.detach() for name, p in weights.items()}
    buffers = dict(model.named_buffers())

    def norm(weights, x):
        return functional_call(model, (weights, buffers), (x[None],)).norm()

    each = vmap(grad(norm), (None, 0))(weights, data.inputs)
    return {name: g.abs().sum(0) for name, g in each.items()}
