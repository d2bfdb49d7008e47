"""One switch for the layout and the precision in which networks are trained."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from minilearn.models import device_of

DTYPES = ("auto", torch.float32, torch.bfloat16, torch.float16)
_asked: list = []


@contextmanager
def fast(dtype: str | torch.dtype = "auto"):
    """Train inside the block as the device likes it best; every `fit`, so every method, heeds it.

    Images are laid out with their channels last. On a GPU the network computes in half precision:
    bfloat16 from sm_80 on, on older ones float16, with the loss scaled up so that small gradients
    do not vanish. On a CPU "auto" changes the layout alone. Weights, optimisers and losses stay in
    single precision, and so does evaluation. The results are those without the switch up to
    rounding, which is another run for a checkpoint.

    Raises: ValueError if `dtype` is none of "auto", float32, bfloat16 and float16
    Example:
        >>> from minilearn.training import fit
        >>> net = nn.Sequential(nn.Conv2d(2, 1, 3), nn.Flatten())
        >>> with fast():
        ...     _ = fit(net, torch.zeros(4, 2, 3, 3), objective=lambda net, x: net(x).sum())
        >>> net[0].weight.is_contiguous(memory_format=torch.channels_last)
        True
    """
    if dtype not in DTYPES:
        raise ValueError(f'dtype is "auto", float32, bfloat16 or float16, got {dtype!r}')
    _asked.append(dtype)
    try:
        yield
    finally:
        _asked.pop()


class Stepper:
    """How `fit` computes a loss and makes a step: plainly, or, inside `fast`, faster."""

    def __init__(self, model: nn.Module, optimizers: list):
        self.device, self.dtype, self.optimizers = device_of(model), None, optimizers
        if _asked:
            model.to(memory_format=torch.channels_last)
            dtype = _best(self.device) if _asked[-1] == "auto" else _asked[-1]
            self.dtype = None if dtype == torch.float32 else dtype
        half = self.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type) if half else None

    def identity(self, run: dict) -> dict:
        """What a checkpoint must know of a run: with the switch, the precision too."""
        return run | {"precision": str(self.dtype or "channels last")} if _asked else run

    def kept(self) -> list:
        """What a checkpoint must keep: the optimisers, and how far losses are scaled."""
        return [*self.optimizers, *([self.scaler] if self.scaler else [])]

    def forward(self):
        """A context for computing the loss."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def step(self, loss: Tensor, optimizer: torch.optim.Optimizer):
        """Go back from the loss, and make one step of the optimiser."""
        optimizer.zero_grad()
        if self.scaler is None:
            loss.backward()
            optimizer.step()
        else:  # asks the device whether a gradient overflowed; such a step is left out
            self.scaler.scale(loss).backward()
            self.scaler.step(optimizer)
            self.scaler.update()


def _best(device: torch.device) -> torch.dtype:
    if device.type != "cuda":
        return torch.float32
    new = torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if new else torch.float16
