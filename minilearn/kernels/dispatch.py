"""Which of two implementations runs, the reference in torch or the kernel in Triton, and why."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from minilearn.checks import check_choice

INSTALLED = find_spec("triton") is not None
triton = tl = None
# Triton takes a while to import, and the references do without it: only where a kernel can run.
if "triton" in sys.modules or os.environ.get("TRITON_INTERPRET") or torch.cuda.device_count():
    with suppress(ImportError):
        import triton

        tl = triton.language

CHOICES = ("auto", "reference", "triton")
VARIABLE = "MINILEARN_KERNELS"
HALVES = (torch.float16, torch.bfloat16)
FLOATS = (torch.float32, torch.float64, *HALVES)

_KERNELS: dict[str, Kernel] = {}
_PASSED: dict[tuple, str] = {}  # (kernel, device): why its self-test failed, "" if it passed
_WARNED: set[tuple[str, str]] = set()
_asked: list[str] = []
_library = torch.library.Library("minilearn", "DEF")


@dataclass(frozen=True)
class Kernel:
    """A computation in its two forms: the same arguments, the same results within `tolerance`."""

    name: str
    reference: Callable  # in torch, differentiable
    fused: Callable  # by the Triton kernel
    example: Callable  # of a device: arguments of moderate size, for the self-test
    dtypes: tuple[torch.dtype, ...] = FLOATS  # of the tensors that hold numbers
    capability: tuple[int, int] = (7, 5)  # the oldest GPU that gains by it
    tolerance: float = 1e-5  # relative distance of the results, in single precision

    def __call__(self, *args, impl: str | None = None):
        """The result, by the form that `impl` or the surroundings choose."""
        return (self.fused if self.chosen(args, impl) else self.reference)(*args)

    def chosen(self, args: tuple, impl: str | None = None) -> bool:
        """Whether the Triton kernel will run on these arguments."""
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        for other in tensors:
            if other.device != tensors[0].device:
                places = f"{tensors[0].device} and {other.device}"
                raise ValueError(f"{self.name} needs its tensors on one device, got {places}")
        wrapped = not torch.compiler.is_compiling() and any(
            map(torch._C._functorch.is_functorch_wrapped_tensor, tensors)
        )
        index, kind = tensors[0].device.index, tensors[0].device.type
        return _decide(self.name, impl, kind, index, tensors[0].dtype, wrapped)


def register(*args, **options) -> Kernel:
    """Make a Kernel and list it in the table of `status`, once for every name."""
    kernel = Kernel(*args, **options)
    if _KERNELS.setdefault(kernel.name, kernel) is not kernel:
        raise ValueError(f"there is a kernel {kernel.name!r} already")
    return kernel


def jit(function: Callable) -> Callable:
    """`triton.jit`, or nothing where there is no Triton."""
    return triton.jit(function) if triton else function


def op(schema: str, launch: Callable, fake: Callable) -> Callable:
    """Tell torch of an operation: how it is launched, and what shapes it returns.

    Known to torch, it passes through `torch.compile` without a break. It has no derivative of its
    own: an autograd function calls one operation forward and another one backward.
    """
    name = schema.partition("(")[0]
    _library.define(schema)
    _library.impl(name, launch, "CPU")
    _library.impl(name, _on_its_gpu(launch), "CUDA")
    torch.library.register_fake(f"minilearn::{name}", fake, lib=_library)
    return getattr(torch.ops.minilearn, name).default


def _on_its_gpu(launch: Callable) -> Callable:
    """Triton launches on the current GPU, which need not be the one that holds the data."""

    def run(*args):
        with torch.cuda.device_of(args[0]):
            return launch(*args)

    return run


@contextmanager
def use(impl: str):
    """Choose for a block: "reference", "triton", or "auto" again.

    Raises: ValueError if there is no such choice
    Example:
        >>> with use("reference"):
        ...     status()["runs"].unique().tolist()
        ['reference']
    """
    _asked.append(check_choice("impl", impl, CHOICES))
    try:
        yield
    finally:
        _asked.pop()


def status(device=None):
    """A table of the kernels: which form would run on float32 tensors there, and why.

    By default of the GPU, if there is one. A self-test that has not been made is made now.

    Raises: ValueError if there is no such device
    """
    import pandas  # imported here: it is slow to import

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"there is no such device: {str(error).splitlines()[0]}") from None
    wish, rows = wished(None), {}
    well = "it can run here" if wish == "auto" else f"{wish} is asked for"
    for name, known in _KERNELS.items():
        why = _obstacle(known, wish, device, known.dtypes[0])
        runs = "reference" if why or wish == "reference" else "triton"
        rows[name] = {"runs": runs, "why": why or well}
    return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("kernel")


def kernel(name: str) -> Kernel:
    """A kernel by its name; ValueError if there is none of that name."""
    if name not in _KERNELS:
        raise ValueError(f"there is no kernel {name!r}, only {', '.join(_KERNELS)}")
    return _KERNELS[name]


def interpreted() -> bool:
    """Whether Triton runs its kernels in its interpreter, on the CPU, number by number."""
    return triton is not None and bool(triton.knobs.runtime.interpret)


def _decide(name: str, impl, kind: str, index, dtype: torch.dtype, wrapped: bool) -> bool:
    """In a compiled function this is asked once, while it is compiled."""
    wish = wished(impl)
    if wish == "reference":
        return False
    known, device = _KERNELS[name], torch.device(kind, index)
    if wrapped:
        reason = "vmap and its like cannot look into it"
    else:
        reason = _obstacle(known, wish, device, dtype)
    if reason and wish == "triton":
        raise ValueError(f"the Triton kernel {name} cannot run: {reason}")
    if reason and kind == "cuda" and (name, reason) not in _WARNED:
        _WARNED.add((name, reason))
        warnings.warn(f"{name} runs in torch, not in Triton: {reason}", stacklevel=5)
    return not reason


# What `torch.compiler.assume_constant_result` does, which would import the compiler to do it.
_decide._dynamo_marked_constant = True


def wished(impl: str | None = None) -> str:
    """What is asked for: by the call, by `use`, or by the variable MINILEARN_KERNELS."""
    if impl is not None:
        return check_choice("impl", impl, CHOICES)
    if _asked:
        return _asked[-1]
    named = os.environ.get(VARIABLE, "")
    return check_choice(f"the variable {VARIABLE}", named or "auto", CHOICES)


def _obstacle(known: Kernel, wish: str, device: torch.device, dtype: torch.dtype) -> str:
    """Why the kernel cannot or should not run; "" if nothing stands against it."""
    if wish == "reference":
        return ""
    if not INSTALLED:
        return "Triton is not installed"
    if dtype not in known.dtypes:
        return f"it has no {str(dtype).removeprefix('torch.')} form"
    if device.type == "cpu":
        if not interpreted():
            return "a CPU runs kernels in Triton's interpreter only: set TRITON_INTERPRET=1 before"
        return "" if wish == "triton" else "on a CPU only when asked for"
    if device.type != "cuda":
        return f"there is no Triton here for {device.type}"
    if triton is None:
        return "Triton could not be imported"
    if interpreted():
        return "TRITON_INTERPRET is set, so that kernels run on the CPU"
    if wish == "triton":  # who insists gets it, slow or wrong
        return ""
    if torch.cuda.get_device_capability(device) < known.capability:
        return "this GPU is too old: it pays from sm_{}{} on".format(*known.capability)
    return _self_test(known, device)


def _self_test(known: Kernel, device: torch.device) -> str:
    """Compare the two forms once on this device; any failure is a reason, never an error."""
    key = known.name, device.index
    if key not in _PASSED:
        try:
            far = compare(known, device)
            _PASSED[key] = "" if far <= 10 * known.tolerance else f"its self-test is off by {far:g}"
        except Exception as error:  # a driver, a compiler, a GPU: whatever it is, torch can do it
            said = " ".join(f"{type(error).__name__}: {error}".split())
            _PASSED[key] = f"its self-test failed ({said[:200]})"
    return _PASSED[key]


def compare(known: Kernel, device: torch.device) -> float:
    """The largest distance of the two forms on the kernel's example: results, and what changed."""
    forms = []
    for form in (known.fused, known.reference):
        args = known.example(device)
        forms.append([*_tensors(form(*args)), *(t for t in args if isinstance(t, Tensor))])
    return max(distance(a, b) for a, b in zip(*forms, strict=True))


def distance(ours: Tensor, theirs: Tensor) -> float:
    """|ours - theirs| / |theirs| in the Euclidean norm; infinite if NaN is not at the same places.

    Example:
        >>> distance(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]))
        0.0
    """
    ours, theirs = ours.detach().double().cpu(), theirs.detach().double().cpu()
    if ours.shape != theirs.shape or not torch.equal(ours.isnan(), theirs.isnan()):
        return float("inf")
    same = ours.isnan() | (ours == theirs)
    gap = torch.where(same, 0.0, ours - theirs).norm()
    size = torch.where(ours.isnan() | ours.isinf(), 0.0, theirs).norm()
    return float(gap / size.clamp(min=1e-300)) if gap else 0.0


def check_alike(**tensors: Tensor):
    """Refuse, by ValueError, what is not floating point, or of several shapes, types or devices."""
    name, one = next(iter(tensors.items()))
    for other, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{other} must be a tensor of floating-point numbers, got {kind}")
        for what in ("shape", "dtype", "device"):
            mine, others = getattr(one, what), getattr(tensor, what)
            if mine != others:
                raise ValueError(f"{name} and {other} differ in {what}: {mine} and {others}")


def _tensors(result) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)
