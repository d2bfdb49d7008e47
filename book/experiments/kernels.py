"""Each kernel beside other ways to the same numbers, forward and, where there is one, backward.

A row's `ratio` says how many times longer plain PyTorch takes than this way does, both timed in
turns in one run. The ways: `reference`, our plain PyTorch; `compiled`, the same by torch.compile;
`triton`, the kernel; and what is named in `OTHERS`, as published or by another library function.
On a GPU each of the first three is timed twice: as the host launches it, and "replayed" as a CUDA
graph, which is the GPU's part alone. Like is compared with like: what is replayed with plain
PyTorch replayed. A way that cannot run on the device has no row: a CPU runs no Triton kernel
outside its interpreter, which is not for timing.

`bandwidth` is the bytes that must be moved, by the count in the kernel's file, over the seconds, as
a share of what a copy of as many bytes reaches in the same run. Inputs are random, several sets of
them in turns where they are small, so that no cache serves them twice. `launches` counts operations
on a CPU, where those inside a compiled function cannot be counted, and kernels on a GPU;
`peak_bytes` is measured on a GPU alone.
"""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.benchmark import Timer
from tqdm import tqdm

from book.experiments import Run
from book.experiments.kernel_cases import CASES, OTHERS
from minilearn.kernels import NAMES, kernel
from minilearn.kernels.dispatch import Kernel
from minilearn.sweep import Unit, value

SEEDS = 3
TURNS = 2  # how often each way is timed, in turns
SECONDS = {"toy": 0.1, "small": 0.2, "paper": 0.5}  # of one timing on a CPU
ON_GPU = 0.2  # on a GPU, where that is hundreds of calls
REPLAYED = ", replayed"  # the end of a way's name
CACHE = 2**27  # bytes that no cache holds: so much is read before the same input comes again


@dataclass(frozen=True)
class Case:
    """One kernel at one size: its inputs, how many have a gradient, the bytes that must move."""

    make: Callable  # (seed, device) -> arguments of the kernel's two forms
    slopes: int
    moved: int


def units(run: Run) -> Iterator[Unit]:
    """Every way of every kernel at every size."""
    for name in NAMES:
        for words, make, slopes, moved in CASES[name](run.size):
            case = Case(make, slopes, moved)
            for way in _ways(name, run.device):
                for seed in run.seeds:
                    config = f"size={run.size}; {run.device.type}; {words}; {way}"
                    measure = partial(_measure, name, way, case, seed, run)
                    yield Unit(name, words, way, seed, config, measure)


def _ways(name: str, device: torch.device) -> list[str]:
    ways = ["reference", "compiled"]
    if device.type == "cuda":
        ways.append("triton")
        ways += [way + REPLAYED for way in ways]
    return [*ways, *OTHERS.get(name, {})]


def way_of(known: Kernel, way: str) -> Callable:
    """The function that is timed."""
    if way == "reference":
        return known.reference
    if way == "compiled":
        return torch.compile(known.reference, dynamic=False)
    if way == "triton":
        return known.fused
    return OTHERS[known.name][way]


def _measure(name: str, way: str, case: Case, seed: int, run: Run) -> list[dict]:
    known, device = kernel(name), run.device
    sets = [case.make(1000 * seed + i, device) for i in range(_sets(case))]
    form = way_of(known, way.removesuffix(REPLAYED))
    ours, plain = (_both_ways(f, case.slopes) for f in (form, known.reference))
    results = [_first(f(*case.make(seed, device))) for f in (ours, plain)]
    _check(name, way, *results)
    called = _replayed if way.endswith(REPLAYED) else _in_turn
    timed, base = called(ours, sets), called(plain, sets)
    pairs = [[_seconds(f, run) for f in (timed, base)] for _ in range(TURNS)]
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    copy = _copy_seconds(case.moved, run)
    tqdm.write(f"{name}, {way}: {mine:.3g} s, PyTorch {theirs:.3g} s, {theirs / mine:.2f} x")
    rows = [value("ratio", "", theirs / mine, "x"), value("seconds", "", mine, "s")]
    rows.append(value("bandwidth", "", copy / mine, "of a copy"))
    if called is _in_turn and (way, device.type) != ("compiled", "cpu"):  # nothing listens there
        rows.append(value("launches", "", _launches(ours, sets[0], device), "launches"))
    if device.type == "cuda":
        rows.append(value("peak_bytes", "", _peak(ours, sets[0], device), "bytes"))
    return rows


def _sets(case: Case) -> int:
    return min(16, max(2, math.ceil(CACHE / max(1, case.moved))))


def _both_ways(form: Callable, slopes: int) -> Callable:
    """The form with its gradients by the first arguments, or the form alone."""
    if not slopes:
        return form

    def run(*args):
        leaves = [a.detach().requires_grad_() for a in args[:slopes]]
        value = form(*leaves, *args[slopes:])
        return torch.autograd.grad(value.sum(), leaves)

    return run


def _first(result) -> Tensor:
    return result[0] if isinstance(result, tuple | list) else result


def _check(name: str, way: str, ours: Tensor, theirs: Tensor):
    """No time is taken of a way that gives other numbers."""
    far = float((ours.double() - theirs.double()).norm() / theirs.double().norm())
    if not far <= 1e-2:
        raise ValueError(f"{name}, {way}: off from the reference by {far:g}, so it is not timed")


def _in_turn(form: Callable, sets: list[tuple]) -> Callable:
    state = {"next": 0}

    def run():
        state["next"] = (state["next"] + 1) % len(sets)
        return form(*sets[state["next"]])

    return run


def _replayed(form: Callable, sets: list[tuple]) -> Callable:
    """One recording for every set of inputs, replayed in turns.

    Nothing is collected meanwhile: an old graph that is destroyed would spoil a new one.
    """
    graphs = []
    for args in sets:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            form(*args)
        torch.cuda.current_stream().wait_stream(beside)
        graphs.append(torch.cuda.CUDAGraph())
        gc.disable()
        try:
            with torch.cuda.graph(graphs[-1]):
                form(*args)
        finally:
            gc.enable()
    return _in_turn(lambda graph: graph.replay(), [(graph,) for graph in graphs])


def _seconds(run: Callable, asked: Run) -> float:
    """The median time of a call; a GPU is waited for."""
    run()
    timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
    least = ON_GPU if asked.device.type == "cuda" else SECONDS[asked.size]
    return timer.blocked_autorange(min_run_time=least).median


def _copy_seconds(moved: int, run: Run) -> float:
    """How long it takes to move as many bytes by a copy, half of them read and half written."""
    count = max(1, math.ceil(CACHE / max(1, moved)))
    sources = [torch.rand(max(1, moved // 8), device=run.device) for _ in range(min(16, count))]
    target = torch.empty_like(sources[0])
    return _seconds(_in_turn(target.copy_, [(source,) for source in sources]), run)


class _Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        view = any(r.alias_info and not r.alias_info.is_write for r in func._schema.returns)
        self.count += not view
        return func(*args, **kwargs or {})


def _launches(form: Callable, args: tuple, device: torch.device) -> int:
    if device.type != "cuda":
        with _Counting() as mode:
            form(*args)
        return mode.count
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        form(*args)
        torch.cuda.synchronize(device)
    kinds = (event.device_type for event in profile.events())
    return sum(kind == torch.autograd.DeviceType.CUDA for kind in kinds)


def _peak(form: Callable, args: tuple, device: torch.device) -> int:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    form(*args)
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
