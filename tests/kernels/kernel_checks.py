"""What the tests of the kernels share, and how the shared ones find those of each kernel.

`minilearn/kernels/NAME.py` has its test file `test_NAME.py` beside this one. In it stand:

    def test_...(m)   oracles: `m` is the kernel's module, or a wrong one with a planted fault
    FAULTS            title: (what stands in the source, what is planted there)
    SLOPES            kernel: (the arguments that have a gradient, how many rows of each tensor)
    OPERATIONS        operation: a function of the module that gives lists of arguments
    TRANSLATIONS      title: a `Translation` for GPUs that are not there
"""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import FunctionType

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from minilearn.kernels import NAMES, interpreted, kernel
from minilearn.kernels.dispatch import distance

FOLDER = Path(__file__).parent
TABLES = ("FAULTS", "SLOPES", "OPERATIONS", "TRANSLATIONS")
GPUS = (75, 90)  # the oldest and the newest of the range that kernels are translated for
DEVICE = "cuda" if torch.cuda.is_available() and not interpreted() else "cpu"
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 1e-2}
NAN = float("nan")
# torch.compile of 2.11 makes an object of an autograd function, against which torch itself warns
AS_IN_2_11 = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


@dataclass(frozen=True)
class Translation:
    """For what a kernel is compiled, and what the machine code must look like.

    An argument that is not named here is a buffer of float32, or `ACC`, which is float32.
    """

    function: str  # the kernel's name in its file
    constants: dict  # arguments that are known when it is compiled
    ints: str = ""  # names of the arguments that are whole numbers, separated by blanks
    floats: str = ""  # of those that are single numbers
    flags: str = ""  # of buffers that hold bool
    warps: int = 4
    narrow: int = 0  # loads that are narrow by nature, as one flag for a program is
    stores: int = 2  # so many stores at least write 16 bytes at a time
    tensor_cores: tuple[int, ...] = ()  # on which of the GPUs it uses them


def files() -> list[str]:
    """Every file that registers a kernel, or several."""
    return sorted({kernel(name).example.__module__.rpartition(".")[2] for name in NAMES})


@cache
def own_tests() -> dict:
    """The test file of every kernel file that has one, imported."""
    there = [file for file in files() if (FOLDER / f"test_{file}.py").is_file()]
    return {file: import_module(f"test_{file}") for file in there}


def oracles(file: str) -> list[FunctionType]:
    """The tests of a kernel that need nothing but its module."""
    them = vars(own_tests()[file]).items() if file in own_tests() else ()
    named = [f for name, f in them if name.startswith("test_") and isinstance(f, FunctionType)]
    return [f for f in named if list(signature(f).parameters) == ["m"]]


def entries(table: str) -> list[tuple]:
    """(file, title, entry) of the tables of one name in all test files."""
    return [
        (file, *item)
        for file, test in own_tests().items()
        for item in getattr(test, table, {}).items()
    ]


def with_ids(entries: list[tuple]) -> dict:
    """The same for `parametrize`, with a readable name for each."""
    return {"argvalues": entries, "ids": [f"{file}-{title}" for file, title, _ in entries]}


def random(*shape, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(DEVICE, dtype)


def doubled(args):
    """The same arguments in double precision."""
    return [a.double() if torch.is_tensor(a) and a.is_floating_point() else a for a in args]


def near(ours, theirs, dtype=torch.float32):
    """Results, several or one, within the tolerance of a type."""
    pairs = zip(*(r if isinstance(r, tuple) else (r,) for r in (ours, theirs)), strict=True)
    for a, b in pairs:
        far = distance(a, b)
        assert far <= TOLERANCE[dtype], f"off by {far:g}"


def gradients(form, args, wanted, seed: int = 1):
    """The value and its gradients by the first `wanted` arguments, under a random weight."""
    args = list(args)
    for i in range(wanted):
        args[i] = args[i].detach().clone().requires_grad_()
    value = form(*args)
    weight = random(*value.shape, seed=seed).to(value)
    return value, *torch.autograd.grad((value * weight).sum(), args[:wanted])


@contextmanager
def changed(module, name: str, value):
    """Another number in the place of a module's, for a block."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def layouts(x: torch.Tensor):
    """The same numbers as they may come: with gaps, permuted, and, of one row, expanded."""
    yield x
    yield torch.stack([x, x], -1)[..., 0]
    yield x.transpose(0, -1).contiguous().transpose(0, -1)
    if x.ndim == 4:
        yield x.to(memory_format=torch.channels_last)


class Listening(TorchDispatchMode):
    """The operations of torch that compute something: no view, no memory that is only reserved."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not func.is_view and "empty" not in str(func):
            self.heard.append(str(func))
        return func(*args, **kwargs or {})
