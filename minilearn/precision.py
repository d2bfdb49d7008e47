"""One switch for layout, precision and recording: how networks are trained, not what they learn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from minilearn import graphs
from minilearn.cost import Cost
from minilearn.models import device_of
from minilearn.stopping import tensors_of

DTYPES = ("auto", torch.float32, torch.bfloat16, torch.float16)
_asked: list = []


@contextmanager
def fast(dtype: str | torch.dtype = "auto", *, graph: bool = False):
    """Train inside the block as the device likes it best; every `fit`, so every method, heeds it.

    Images are laid out with their channels last, in attacks (`l2_pgd`) too, and a step of the
    optimiser is one operation and not a dozen for every weight tensor. On a GPU the network
    computes in half precision: bfloat16 from sm_80 on, on older ones float16, with the loss scaled
    up so that small gradients do not vanish. On a CPU "auto" keeps single precision. Weights,
    optimisers, losses and attacks stay in single precision, and so does evaluation. The results are
    those without the switch up to rounding, which is another run for a checkpoint.

    With `graph` a step on a GPU is recorded when a kind of batch comes the second time, and then
    replayed (`graphs.Replayed`): for small networks, whose host cannot keep up. Every method here
    can be recorded. An objective of your own must depend on its batch and on tensors that change in
    place, and on nothing else; a model that waits for the GPU is refused (torchvision's Normalize
    does, `models.Normalize` does not). On a CPU, and in float16, nothing is recorded.

    Raises: ValueError if `dtype` is none of "auto", float32, bfloat16 and float16, or `graph` is
        neither true nor false
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
    if not isinstance(graph, bool):
        raise ValueError(f"graph is True or False, got {graph!r}")
    _asked.append((dtype, graph))
    try:
        yield
    finally:
        _asked.pop()


def laid_out(model: nn.Module) -> nn.Module:
    """The model, with its channels last inside `fast`, unless it has tensors of 5 axes."""
    # what Conv3d has: torch has another layout for them, and refuses to lay out the model
    if not _asked or any(t.ndim == 5 for t in tensors_of(model)):
        return model
    return model.to(memory_format=torch.channels_last)


class Stepper:
    """How `fit` computes a loss and makes a step: plainly, or, inside `fast`, faster."""

    def __init__(self, model: nn.Module, turns: tuple, objective: Callable, cost: Cost):
        self.model, self.turns, self.objective = model, turns, objective
        fused = True if _asked else None
        trained = _trainable(laid_out(model))
        self.optimizers = [one.make_optimizer(trained, fused) for one in turns]
        self.device = device_of(model)
        dtype, graph = _asked[-1] if _asked else (None, False)
        dtype = _best(self.device) if dtype == "auto" else dtype
        self.dtype = None if dtype == torch.float32 else dtype
        half = self.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type) if half else None
        if half:
            self._fill_momentum()
        recorded = graph and graphs.can_record(self.device) and not half
        self.replayed = graphs.Replayed(self._step, self._state, cost) if recorded else None

    def identity(self, run: dict) -> dict:
        """What a checkpoint must know of a run: with the switch, the precision too."""
        return run | {"precision": str(self.dtype or "channels last")} if _asked else run

    def kept(self) -> list:
        """What a checkpoint must keep: the optimisers, and how far losses are scaled."""
        return [*self.optimizers, *([self.scaler] if self.scaler else [])]

    def begin(self, epoch: int):
        """Take the learning rates of an epoch."""
        for one, optimizer in zip(self.turns, self.optimizers, strict=True):
            for group in optimizer.param_groups:
                if self.replayed and group["lr"] != one.lr_at(epoch):
                    self.replayed.forget()
                group["lr"] = one.lr_at(epoch)

    def end(self):
        """Leave no gradient in the model, and no recording's memory on the device."""
        self.optimizers[0].zero_grad()
        if self.replayed:
            self.replayed.forget()

    def step(self, turn: int, batch: tuple) -> Tensor:
        """Make a step of one of the optimisers; returns the loss, which stays on the device."""
        return (self.replayed or self._step)(turn, *batch)

    def _step(self, turn: int, *batch) -> Tensor:
        half = nullcontext() if self.dtype is None else torch.autocast(self.device.type, self.dtype)
        with half:
            loss = self.objective(self.model, *batch)
        if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
            raise ValueError("the objective must return a scalar that depends on the weights")
        optimizer = self.optimizers[turn]
        for group in optimizer.param_groups if self.replayed else ():
            group["capturable"] = graphs.recording()  # for Adam, which warns outside
        optimizer.zero_grad()
        if self.scaler is None:
            loss.backward()
            optimizer.step()
        else:  # a step whose gradients overflowed is left out, by the device itself
            self.scaler.scale(loss).backward()
            self.scaler.step(optimizer)
            self.scaler.update()
        return loss.detach()

    def _fill_momentum(self):
        """Torch makes the momentum of fused SGD without filling it, and if the first step is left
        out, as the scaler's first often is, what lay there before becomes the momentum."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for p in group["params"] if group.get("momentum") else ():
                    optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)

    def _state(self) -> list[Tensor]:
        found = list(tensors_of(self.model))
        for optimizer in self.optimizers:
            found += (v for kept in optimizer.state.values() for v in kept.values())
        return [v for v in found if isinstance(v, Tensor)]


def _trainable(model: nn.Module) -> list[Tensor]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            "every parameter is frozen (requires_grad is False): nothing can be trained"
        )
    return parameters


def _best(device: torch.device) -> torch.dtype:
    if device.type != "cuda":
        return torch.float32
    new = torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if new else torch.float16
