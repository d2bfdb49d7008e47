"""One training loop, for classification and regression."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle

import torch
from torch import Tensor, nn
from tqdm import tqdm

from minilearn.checkpoint import Checkpoint
from minilearn.cost import Cost
from minilearn.data.checks import check_choice, check_count, check_dataset, check_number
from minilearn.data.examples import batches
from minilearn.evaluation import check_device, classes_of, in_words, pair
from minilearn.losses import Loss, check_loss, loss_per_example
from minilearn.models import device_of, mode
from minilearn.precision import Stepper
from minilearn.stopping import Stop, tensors_of


class NonFiniteLoss(ValueError):
    """Training met a NaN or infinite loss; the weights are those of the last finished epoch."""


@dataclass(frozen=True)
class Training:
    """How to train. The defaults suit the digits on two CPU cores; nothing is tuned to a paper.

    Raises: ValueError if a value makes no sense
    """

    epochs: int = 30  # passes over the data
    batch_size: int = 64  # examples per step
    lr: float = 1e-3  # learning rate
    optimizer: str = "adam"  # "adam", or "sgd" with momentum
    momentum: float = 0.9  # of "sgd"
    weight_decay: float = 0.0  # L2 penalty inside the optimiser
    schedule: str = "constant"  # "constant", or "cosine" from lr towards zero, stepped by epoch
    loss: Loss = "auto"  # by the targets; or "absolute", "squared", Quantile(levels)

    def __post_init__(self):
        check_count("epochs", self.epochs, 0)
        check_count("batch_size", self.batch_size, 1)
        for name in ("lr", "momentum", "weight_decay"):
            check_number(name, getattr(self, name), 0, ends="[)")
        check_choice("optimizer", self.optimizer, ("adam", "sgd"))
        check_choice("schedule", self.schedule, ("constant", "cosine"))
        check_loss(self.loss)

    def make_optimizer(self, parameters: Iterable[Tensor], fused=None) -> torch.optim.Optimizer:
        """A fresh optimiser over `parameters`; `fused`, all its operations in one."""
        # plain numbers: a checkpoint keeps them, and holds none of NumPy's
        options = {"lr": float(self.lr), "weight_decay": float(self.weight_decay), "fused": fused}
        options["foreach"] = not fused  # the same bits as one by one, in fewer calls
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, **options)
        return torch.optim.SGD(parameters, momentum=float(self.momentum), **options)

    def lr_at(self, epoch: int) -> float:
        """The learning rate in epoch 0, 1, ...; cosine: lr (1 + cos(pi epoch / epochs)) / 2."""
        if self.schedule == "constant":
            return float(self.lr)
        return float(self.lr) * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


@dataclass
class History:
    """What happened: the loss of every step, and what `watch` saw after every epoch.

    Shapes: loss (steps,) float32 on the CPU, nats for classes, the targets' unit for regression
    """

    loss: Tensor = field(default_factory=lambda: torch.zeros(0))
    epochs: list[dict] = field(default_factory=list)


@contextmanager
def seeded(seed: int):
    """Run a block under its own random seed; torch's global generators are as before afterwards.

    Raises: ValueError if the seed is no whole number from 0
    """
    seed = check_count("seed", seed, 0)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def fit(
    model: nn.Module,
    data,
    config: Training | Sequence[Training] = Training(),
    *,
    seed: int = 0,
    objective: Callable | None = None,
    watch: Callable[[int, nn.Module], dict] | None = None,
    until: Callable[[nn.Module], Tensor] | None = None,
    checkpoint: str | os.PathLike | None = None,
    identity: dict | None = None,
    cost: Cost | None = None,
    source: str = "retain",
    progress: bool = True,
) -> History:
    """Train `model` in place and return the history.

    `data` is Examples, a map-style dataset, a tensor of inputs, or a function from a generator to
    the batches of one epoch. `objective(model, *batch)` returns the scalar to minimise, by default
    the mean loss, and books its own cost; the default books in `cost` under `source`.
    `watch(epoch, model)` returns a dictionary of numbers; it is called after every epoch, in
    evaluation mode and outside the clock, and cannot disturb the training. `until(model)` returns a
    boolean tensor, asked before every epoch and after every step: once true, training is over.

    With several configs the steps take turns: step i is made by the optimiser of config i modulo
    their number, all over the same weights. Epochs and batch size are the first one's.

    With `checkpoint` the run is saved after every epoch, and a later call with the same arguments
    goes on from there, bit for bit as if it had not stopped. A file of other settings, weights or
    data is refused. A function as `data` cannot be looked into: then `identity` names the settings
    and the sets that it uses, as in `{"settings": config, "data": (forget, retain)}`.

    Whatever breaks an epoch off, the model has the weights of the last finished one.

    Raises: NonFiniteLoss; KeyboardInterrupt that says what was kept; ValueError if model, data and
        settings do not fit; OSError if the checkpoint cannot be written
    Example:
        >>> from minilearn.data import Examples
        >>> data = Examples(torch.eye(4), torch.tensor([0., 1., 2., 3.]))
        >>> net = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
        >>> history = fit(net, data, Training(epochs=200, lr=0.1))
        >>> round(float(history.loss[-1])), len(history.loss)
        (0, 200)
    """
    _check_functions(objective=objective, watch=watch, until=until)
    turns = tuple(config) if isinstance(config, tuple | list) and config else (config,)
    stream, config = _stream(model, data, turns), turns[0]
    history, cost = History(), Cost() if cost is None else cost
    objective = objective or _supervised(classes_of(model, data), config.loss, cost, source)
    stepper = Stepper(model, turns, objective, cost)
    with seeded(seed), mode(model, train=True):
        order = torch.Generator().manual_seed(seed)
        run = stepper.identity({"settings": turns, "seed": seed, "data": data} | (identity or {}))
        kept = Checkpoint(checkpoint, run, model, stepper.kept(), order, history, cost)
        stop = Stop(model, until)
        for epoch in _bar(kept.load(), config.epochs, progress):
            with _whole_or_undone(model, epoch, config, checkpoint):
                with cost.clock(device_of(model)):
                    if stop.before_epoch():
                        break
                    stepper.begin(epoch)
                    losses = _one_epoch(stream(order), stepper, stop)
                _refuse_non_finite(model, losses, epoch, config.lr_at(epoch))
                seen = _watched(watch, epoch + 1, model, seed)
            history.loss = torch.cat([history.loss, losses])
            history.epochs += seen
            kept.save(finished=epoch + 1)
    stepper.end()
    return history


def _one_epoch(stream, stepper: Stepper, stop: Stop) -> Tensor:
    losses = []
    for batch, turn in zip(stream, cycle(range(len(stepper.turns))), strict=False):
        batch = batch if isinstance(batch, tuple | list) else (batch,)
        stop.keep()
        with in_words(*batch):
            losses.append(stepper.step(turn, batch))  # read once an epoch: no step waits
        if stop.after_step():
            break
    if not losses:
        raise ValueError("the data gave no batch: nothing can be learnt from an empty epoch")
    return torch.stack(losses).float().cpu()[: stop.taken()]


def _supervised(classes: int, loss: Loss, cost: Cost, source: str) -> Callable:
    def objective(model, *batch):
        x, y = pair(batch)
        cost.touch(source, forward=len(x), backward=len(x))
        return loss_per_example(model(x), y, classes, loss).mean()

    return objective


def _watched(watch, epoch: int, model: nn.Module, seed: int) -> list[dict]:
    if watch is None:
        return []
    with mode(model, train=False), seeded(seed):
        seen = watch(epoch, model)
    try:
        return [{"epoch": epoch, **{str(name): _plain(value) for name, value in seen.items()}}]
    except (AttributeError, TypeError, ValueError, RuntimeError):
        raise ValueError(f"watch must return a dictionary of numbers, got {seen!r:.80}") from None


def _plain(value):
    """A number of Python, or a tensor of its own on the CPU: what a checkpoint can hold."""
    if type(value) in (bool, int, float, str):
        return value
    value = torch.as_tensor(value).detach().cpu()
    return value.clone() if value.ndim else value.item()


@contextmanager
def _whole_or_undone(model: nn.Module, epoch: int, config: Training, checkpoint):
    """Run one epoch whole, or leave the model as it was before."""
    before = [tensor.detach().clone() for tensor in tensors_of(model)]
    try:
        yield
    except BaseException as error:
        with torch.no_grad():
            for tensor, value in zip(tensors_of(model), before, strict=True):
                tensor.copy_(value)
        if not isinstance(error, KeyboardInterrupt):
            raise
        kept = f"; {checkpoint} goes on from there" if checkpoint else ""
        raise KeyboardInterrupt(
            f"training stopped in epoch {epoch + 1} of {config.epochs}; the model has the weights "
            f"of {epoch} finished epochs{kept}"
        ) from None


def _refuse_non_finite(model: nn.Module, losses: Tensor, epoch: int, lr: float):
    bad = (~losses.isfinite()).nonzero().flatten()
    if len(bad):
        what = f"the loss became {losses[bad[0]]:g} at step {bad[0] + 1} of epoch {epoch + 1}"
    elif not torch.stack([p.isfinite().all() for p in model.parameters()]).all():
        what = f"a weight became NaN or infinite in the last step of epoch {epoch + 1}"
    else:
        return
    raise NonFiniteLoss(f"{what}; the usual cure is a smaller learning rate than {lr:g}")


def _check_functions(**functions):
    for name, function in functions.items():
        if not (function is None or callable(function)):
            raise ValueError(f"{name} must be a function, got {type(function).__name__}")


def _stream(model: nn.Module, data, turns: tuple) -> Callable:
    for config in turns:
        if not isinstance(config, Training):
            raise ValueError(f"config must be a Training, got {type(config).__name__}")
    if isinstance(data, type):
        raise ValueError(f"data is the class {data.__name__} itself; make one of it first")
    if callable(data):
        return data
    check_dataset(data)
    device = device_of(model)
    check_device(model, data)
    return lambda order: batches(data, turns[0].batch_size, order=order, device=device)


def _bar(start: int, epochs: int, progress: bool) -> tqdm:
    options = {"initial": start, "total": epochs, "desc": "training", "disable": not progress}
    return tqdm(range(start, epochs), **options, unit="epoch", delay=1, leave=False)
