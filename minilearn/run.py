"""What surrounds every training loop, so that a method can show its loop and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext

import torch
from torch import Tensor, nn
from tqdm import tqdm

from minilearn import graphs, precision
from minilearn.checkpoint import Checkpoint, check_about, storable
from minilearn.checks import check_count, device_of
from minilearn.cost import Cost, ledger
from minilearn.data.batches import batches, mixed
from minilearn.draws import seeded
from minilearn.files import check_file
from minilearn.functions import check_function
from minilearn.models import clear_errors, in_mode, mode, restore, tensors_of, with_gradients
from minilearn.stack import networks_in, rows
from minilearn.stopping import Stop
from minilearn.unlearned import History, Unlearned, refuse_overflow

Watch = Callable[[int, nn.Module], dict]
File = str | os.PathLike


class Run:
    """One training of `model`, in place: write the loop, and the rest is taken care of.

    Inside the block the global generators of torch, NumPy and Python are seeded, the model is in
    training mode (with `train=False` in evaluation mode), and all is as before afterwards. An epoch
    is whole or undone: whatever breaks it off, the model has the weights of the last finished one.

    Args:
        model: the network that is trained
        config: the settings; a checkpoint of other settings is refused
        seed: of the global generators, and of `run.order`, which shuffles; a whole number
        watch: `watch(epoch, model)` returns a dictionary of numbers, after epoch 1, 2, ..., in
            evaluation mode and outside the clock; it cannot disturb the training
        checkpoint: a file that holds the run after every epoch. The same call goes on from there,
            bit for bit as if it had not stopped; a file of another run is refused
        cost: the ledger that seconds, memory and the loop's own counts are added to
        train: whether it trains in training mode; progress: whether a bar is shown after a second
        about: what else the run depends on, by name: data, other networks; for the checkpoint
    Example:
        >>> net, x = nn.Linear(2, 1), torch.ones(8, 2)
        >>> with Run(net, "zero", data=x) as run:
        ...     optimizer = run.sgd(lr=0.1)
        ...     for epoch in run.epochs(50):
        ...         for batch in run.batches(x, 4):
        ...             loss = run.step(lambda x: net(x).square().mean(), batch)
        >>> len(run.history.loss), round(float(run.history.loss[-1]), 4)
        (100, 0.0)
    """

    def __init__(
        self,
        model: nn.Module,
        config=None,
        seed: int = 0,
        watch: Watch | None = None,
        checkpoint: File | None = None,
        *,
        cost: Cost | None = None,
        train: bool = True,
        progress: bool = True,
        **about,
    ):
        check_about(about, ("config", "cost", "progress", "train"))
        self.device = device_of(model)
        self.model = precision.laid_out(model)
        self.config = config
        self.seed = check_count("seed", seed, 0)
        self.watch = check_function("watch", watch, "epoch", "model")
        self.file = check_file("checkpoint", checkpoint)
        self.about = about
        self.cost = ledger(cost)
        self.train = train
        self.progress = progress
        self.order = torch.Generator().manual_seed(self.seed)
        self.history = History()
        self._networks = networks_in(self.model)
        self._fast = precision.chosen(self.device)
        self._optimizers: list[torch.optim.Optimizer] = []
        self._losses: list[Tensor] = []
        self._before: tuple | None = None  # weights and history that an unfinished epoch began with
        self._stop = Stop(self.model, None)
        self._count: int | None = None  # epochs that were asked for
        self._clock = ExitStack()
        self._scaler = self._fast.scaler(self.device)
        recorded = self._fast.graph and graphs.can_record(self.device)
        self._replayed = graphs.Replayed(self._step, self._state) if recorded else None

    def __enter__(self) -> Run:
        with ExitStack() as block:  # if one refuses, those before it are left again
            block.enter_context(with_gradients())
            block.enter_context(seeded(self.seed))
            block.enter_context(in_mode(self.model, self.train))
            self._block = block.pop_all()
        return self

    def __exit__(self, kind, error, trace):
        self._clock.close()
        with self._block:  # generator and mode are given back, whatever happens here
            try:
                if error is None and self._before is not None:  # the loop was left by `break`
                    self._finish_epoch()
                if error is None:
                    precision.check_left_out(self._scaler, len(self.history.loss))
            finally:
                self._clean()
        if isinstance(error, KeyboardInterrupt) and self._undone:
            kept = f"; {self.file} goes on from there" if self.file else ""
            raise KeyboardInterrupt(
                f"training stopped in epoch {self._epoch + 1} of {self._count}; the model has the "
                f"weights of {self._epoch} finished epochs{kept}"
            ) from None

    def adam(self, lr: float, weight_decay: float = 0.0) -> torch.optim.Optimizer:
        """An Adam optimiser over all weights that are not frozen; ValueError if there are none."""
        if any(parameter.dtype == torch.float16 for parameter in self.model.parameters()):
            half = "Adam cannot train weights in float16, where its epsilon is 0"
            raise ValueError(f"{half}: take model.float(), and fast() computes in half precision")
        options = {"weight_decay": float(weight_decay)} | self._fast.optimizer_options(self.model)
        return self._kept(torch.optim.Adam(self._weights(), float(lr), **options))

    def sgd(
        self, lr: float, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> torch.optim.Optimizer:
        """Stochastic gradient descent over all weights that are not frozen; ValueError if none."""
        options = {"momentum": float(momentum), "weight_decay": float(weight_decay)}
        options |= self._fast.optimizer_options(self.model)
        optimizer = torch.optim.SGD(self._weights(), float(lr), **options)
        if self._scaler and momentum:
            precision.fill_momentum(optimizer)
        return self._kept(optimizer)

    def epochs(self, count: int, *, until: Callable | None = None) -> Iterator[int]:
        """Epoch 0, 1, ... up to `count`; after each come the checks, `watch` and the checkpoint.

        With a checkpoint the first is the one where it stopped. `until(model)` returns a boolean
        tensor on the model's device, asked before every epoch and after every step, in evaluation
        mode and without gradients. Once it is true `run.stopped` is true, and the epoch is the last
        one. (On a GPU that is known up to 15 steps late; these steps are undone.)

        Raises: NonFiniteLoss; ValueError if an epoch had no step, or the file is another run's
        """
        if self._count is not None:
            raise ValueError("run.epochs is called once in a run: a second loop needs a second Run")
        self._stop = Stop(self.model, check_function("until", until, "model"))
        self._count = count
        about = {"settings": self.config, "seed": self.seed} | self.about | self._fast.identity()
        kept = [*self._optimizers, *([self._scaler] if self._scaler else [])]
        parts = self.model, kept, self.order, self.history, self.cost, self.watch
        self._checkpoint = Checkpoint(self.file, about, *parts)
        begin = self._block.enter_context(self._checkpoint)
        self._checkpoint.warn(begin, count)
        bar = {"initial": begin, "unit": "epoch", "delay": 1, "leave": False}
        for epoch in tqdm(range(begin, count), "training", count, **bar, disable=not self.progress):
            weights = [tensor.detach().clone() for tensor in tensors_of(self.model)]
            self._before = weights, self.history.loss, [*self.history.epochs]
            self._losses, self._lr = [], 0.0
            self._epoch = epoch
            self._clock.enter_context(self.cost.clock(self.device))
            if self._stop.before_epoch():
                self._clock.close()
                self._before = None
                return
            yield epoch
            self._finish_epoch()

    def batches(self, data, size: int) -> Iterator:
        """`data.batches` in the run's order, on the model's device."""
        return batches(data, size, order=self.order, device=self.device)

    def mixed(self, forget, retain, size: int) -> Iterator:
        """`data.mixed` in the run's order, on the model's device."""
        return mixed(forget, retain, size, order=self.order, device=self.device)

    @property
    def stopped(self) -> bool:
        """Whether the condition of `epochs` is known to be met: then leave the epoch's loop."""
        return self._stop.known

    def set_lr(self, lr: float, optimizer: torch.optim.Optimizer | None = None):
        """Change the learning rate of an optimiser, by default of the first."""
        for group in self._chosen(optimizer).param_groups:
            if self._replayed and group["lr"] != lr:
                self._replayed.forget()
            group["lr"] = lr

    def step(
        self,
        loss_function: Callable[..., Tensor],
        *tensors: Tensor,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> Tensor:
        """One step of an optimiser, by default the first, down `loss_function(*tensors)`.

        Returns the loss, a scalar that stays on the device, so that no step waits for it. For a
        `minilearn.stack` items become rows, and each network has the gradient of its own mean.

        Raises: ValueError if the model refuses the tensors, the loss is no scalar of the weights
            that the optimiser has, or `stopped` is true
        """
        if self._before is None:
            raise ValueError("run.step belongs inside the loop `for epoch in run.epochs(...)`")
        optimizer = self._chosen(optimizer)
        self._lr = max(self._lr, optimizer.param_groups[0]["lr"])
        self._stop.before_step()
        tensors = rows(self._networks, *tensors)
        with clear_errors(*tensors):
            loss = (self._replayed or self._step)(loss_function, optimizer, *tensors)
        self._losses.append(loss)
        self._stop.after_step()
        return loss

    def unlearned(self, method: str, finished: bool = True) -> Unlearned:
        """What a method returns."""
        kept = self.config, self.seed, self.history, self.cost
        return Unlearned(self.model, method, *kept, finished)

    def _weights(self) -> list[Tensor]:
        if weights := [p for p in self.model.parameters() if p.requires_grad]:
            return precision.told_of_coarse(weights)
        raise ValueError("every parameter is frozen (requires_grad=False): nothing can be trained")

    def _chosen(self, optimizer: torch.optim.Optimizer | None) -> torch.optim.Optimizer:
        """An optimiser, by default the first; refused if a checkpoint would not have all of it."""
        if optimizer is None and not self._optimizers:
            raise ValueError("there is no optimiser: call run.adam or run.sgd before the loop")
        optimizer = self._optimizers[0] if optimizer is None else optimizer
        scheduled = any("initial_lr" in group for group in optimizer.param_groups)
        if self.file and (optimizer not in self._optimizers or scheduled):
            own = "a scheduler of torch" if scheduled else "an optimiser that this run has not made"
            raise ValueError(f"a checkpoint cannot hold {own}: leave the checkpoint out")
        return optimizer

    def _kept(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        self._optimizers.append(optimizer)
        return optimizer

    def _step(self, loss_function: Callable, optimizer, *tensors) -> Tensor:
        half = self._fast.dtype
        with torch.autocast(self.device.type, half) if half else nullcontext():
            loss = loss_function(*tensors)
        if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
            raise ValueError("the loss must be a scalar tensor that depends on the weights")
        for group in optimizer.param_groups if self._replayed else ():
            group["capturable"] = graphs.recording()  # for Adam, which warns outside
        descended = loss if self._networks == 1 else self._networks * loss
        precision.step_down(descended, optimizer, self._scaler)
        return loss.detach()

    def _finish_epoch(self):
        if not self._losses:
            raise ValueError("the data gave no batch: nothing can be learnt from an empty epoch")
        losses = torch.stack(self._losses).float().cpu()[: self._stop.taken()]
        self._clock.close()
        refuse_overflow(losses, self.model, self._epoch + 1, self._lr)
        self.history.epochs += self._watched()
        self.history.loss = torch.cat([self.history.loss, losses])
        self._checkpoint.save(finished=self._epoch + 1)
        self._before = None

    def _clean(self):
        """Undo an epoch that is not finished; leave no gradient and no recording's memory."""
        self._undone = self._before is not None
        if self._undone:
            weights, self.history.loss, self.history.epochs = self._before
            restore(self.model, weights)
        self._before = None
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        if self._replayed:
            self._replayed.forget()

    def _watched(self) -> list[dict]:
        if self.watch is None:
            return []
        before = [tensor.detach().clone() for tensor in tensors_of(self.model)]
        with mode(self.model, train=False), seeded(self.seed):
            seen = self.watch(self._epoch + 1, self.model)
        restore(self.model, before)  # it may have trained the model
        try:
            stored = {str(name): storable(value) for name, value in seen.items()}
        except (AttributeError, TypeError, ValueError, RuntimeError):
            got = f"{seen!r:.80}"
            raise ValueError(f"watch must return a dictionary of numbers, got {got}") from None
        return [{"epoch": self._epoch + 1} | stored]

    def _state(self) -> list[Tensor]:
        """All tensors that a step changes."""
        found = list(tensors_of(self.model))
        for optimizer in self._optimizers:
            found += (v for kept in optimizer.state.values() for v in kept.values())
        return [v for v in found if isinstance(v, Tensor)]
