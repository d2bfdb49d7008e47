"""One switch for layout, precision and recording: how networks are trained, not what they learn."""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilearn import __version__
from minilearn.checks import check_flag
from minilearn.kernels import dispatch
from minilearn.models import tensors_of
from minilearn.unlearned import NonFiniteLoss
from minilearn.warn import warn

DTYPES = ("auto", torch.float32, torch.bfloat16, torch.float16)
FIRST_SCALE = 2.0**16  # of a loss in float16; every step that is left out halves it
SOME = 0.1  # of a run's steps: so many are left out while the scale is found
_asked: list = []


@contextmanager
def fast(dtype: str | torch.dtype = "auto", *, graph: bool = False):
    """Train inside the block with the settings that are fastest on the device, in every method.

    Images are laid out with their channels last, in attacks (`l2_pgd`) too, and a step of the
    optimiser is one operation and not a dozen for every weight tensor. On a GPU the network
    computes in half precision: bfloat16 from sm_80 on, on older ones float16, with the loss scaled
    up so that small gradients do not vanish. On a CPU "auto" keeps single precision. Weights,
    optimisers, losses and attacks stay in single precision, and so does evaluation. The results are
    those without the switch up to rounding, which is another run for a checkpoint.

    With `graph` a step on a GPU is recorded when a kind of batch comes the second time, and then
    replayed (`graphs.Replayed`): for small networks, whose host cannot keep up. Every method here
    can be recorded. A loss function of your own must depend on its tensors, on others that change
    in place, and on nothing else. A model that waits for the GPU is refused (torchvision's
    Normalize does, `models.Normalize` does not). On a CPU, and in float16, nothing is recorded.

    Raises: ValueError if `dtype` is none of "auto", float32, bfloat16 and float16, or `graph` is
        neither true nor false
    Example:
        >>> from minilearn.data import Examples
        >>> from minilearn.training import fit
        >>> net = nn.Sequential(nn.Conv2d(2, 1, 3), nn.Flatten(0))
        >>> with fast():
        ...     _ = fit(net, Examples(torch.zeros(4, 2, 3, 3), torch.zeros(4)))
        >>> net[0].weight.is_contiguous(memory_format=torch.channels_last)
        True
    """
    if dtype not in DTYPES:
        raise ValueError(f'dtype is "auto", float32, bfloat16 or float16, got {dtype!r:.80}')
    check_flag("graph", graph)
    _asked.append((dtype, graph))
    try:
        yield
    finally:
        _asked.pop()


class Process:
    """What this process computes with, for another one: what `fast` asks for, and torch's own."""

    def __init__(self):
        self.threads = torch.get_num_threads()
        self.dtype = torch.get_default_dtype()
        self.fast = _asked[-1] if _asked else None
        self.kernels = dispatch.wished()

    def identity(self) -> str:
        """What numbers depend on besides what is asked for: this package, and the precision."""
        return f"; minilearn={__version__}; precision={self.fast}, {self.dtype}"

    @contextmanager
    def again(self):
        """Compute as the process did in which this was made."""
        torch.set_num_threads(self.threads)
        torch.set_default_dtype(self.dtype)
        faster = fast(self.fast[0], graph=self.fast[1]) if self.fast else nullcontext()
        with faster, dispatch.use(self.kernels):
            yield


def laid_out(model: nn.Module) -> nn.Module:
    """The model, with its channels last inside `fast`, unless it has tensors of 5 axes."""
    # what Conv3d has: torch has another layout for them, and refuses to lay out the model
    if not _asked or any(t.ndim == 5 for t in tensors_of(model)):
        return model
    return model.to(memory_format=torch.channels_last)


def told_of_coarse(weights: list[Tensor]) -> list[Tensor]:
    """Weights that are to be trained; of those that cannot hold a small step it warns."""
    for dtype in {p.dtype for p in weights} & {torch.bfloat16, torch.float16}:
        grain = torch.finfo(dtype).eps
        warn(
            f"weights in {dtype} lose a step of less than {grain:.0e} of a weight: train "
            "model.float(), inside fast() if it shall be quick"
        )
    return weights


@dataclass(frozen=True)
class Chosen:
    """What `fast` asks for on a device; outside of it, the plain loop.

    Args:
        asked: whether the block is inside `fast`
        dtype: of the network's computation, None in single precision
        graph: whether steps are recorded where the device can
    """

    asked: bool
    dtype: torch.dtype | None = None
    graph: bool = False

    def identity(self) -> dict[str, str]:
        """What a checkpoint must know of it; nothing outside of `fast`."""
        return {"precision": str(self.dtype or "channels last")} if self.asked else {}

    def optimizer_options(self, model: nn.Module) -> dict:
        """One operation for all weights, or a few over lists of them with the same bits."""
        complex_weights = any(parameter.is_complex() for parameter in model.parameters())
        sparse = any(getattr(module, "sparse", False) for module in model.modules())
        if not self.asked or complex_weights or sparse:
            return {"fused": None, "foreach": True}
        return {"fused": True, "foreach": False}

    def scaler(self, device: torch.device) -> torch.amp.GradScaler | None:
        """What scales the loss up, in float16 alone."""
        if self.dtype != torch.float16:
            return None
        return torch.amp.GradScaler(device.type, init_scale=FIRST_SCALE)


def chosen(device: torch.device) -> Chosen:
    """What the innermost `fast` asks for on this device."""
    if not _asked:
        return Chosen(asked=False)
    dtype, graph = _asked[-1]
    dtype = _best(device) if dtype == "auto" else dtype
    single = dtype == torch.float32
    return Chosen(True, None if single else dtype, graph and dtype != torch.float16)


def fill_momentum(optimizer: torch.optim.Optimizer):
    """Give a fused SGD a momentum of zero before its first step.

    Torch makes that momentum without filling it, and if the first step is left out, as the scaler's
    first often is, what lay there before becomes the momentum.
    """
    for group in optimizer.param_groups:
        for p in group["params"]:
            optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)


def step_down(loss: Tensor, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None):
    """One step of an optimiser down a loss; the device leaves out one whose gradients overflow.

    Raises: ValueError if no weight of the optimiser has a gradient
    """
    optimizer.zero_grad()
    (loss if scaler is None else scaler.scale(loss)).backward()
    if all(p.grad is None for group in optimizer.param_groups for p in group["params"]):
        raise ValueError(
            "no weight that is trained has a gradient: the loss comes from other weights, as where "
            "a network's forward was replaced by a function that names another network, and a "
            "copy still asks that one; write forward(self, x) in its class"
        )
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()


def check_left_out(scaler: torch.amp.GradScaler | None, steps: int):
    """Refuse a run whose steps were all left out in float16, and warn if more than a few were.

    Raises: NonFiniteLoss
    """
    left_out = round(math.log2(FIRST_SCALE / scaler.get_scale())) if scaler else 0
    if left_out <= SOME * steps:
        return
    what = f"in float16 the gradients of {left_out} of {steps} steps overflowed"
    cure = "take fast(torch.bfloat16) or fast(torch.float32), inputs of smaller numbers, more steps"
    if left_out >= steps:
        raise NonFiniteLoss(f"{what}, so that nothing was trained: {cure}")
    warn(f"{what}, and these were left out: {cure}")


def _best(device: torch.device) -> torch.dtype:
    if device.type != "cuda":
        return torch.float32
    new = torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if new else torch.float16
