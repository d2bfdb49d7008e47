"""Runs that survive an interruption: a training run on disk, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from minilearn.checks import check_file
from minilearn.data.examples import Examples, Unlabelled


class Checkpoint:
    """One `Run` in a file: weights, optimisers, random generators, history and cost.

    The model may come as the run began or as the file left it; with other weights it is refused.

    Args:
        path: the file; None: nothing is kept
        run: what the run is (its settings, seed, data), by name: a file of another run is refused
        model, optimizers, order, history, cost: what is kept; `order` is the shuffling generator
    Raises: ValueError if `path` names a folder or is no path
    """

    def __init__(self, path, run: dict, model, optimizers, order: torch.Generator, history, cost):
        self.path = check_file("checkpoint", path)
        if path is None:
            return
        self.path = Path(path)
        self.model = model
        self.optimizers = optimizers
        self.order = order
        self.history = history
        self.cost = cost
        self.run = {name: fingerprint(value) for name, value in run.items()}
        self.run["starting weights"] = fingerprint(model)
        self.device = next(model.parameters()).device

    def load(self) -> int:
        """Take over what the file holds; returns the number of finished epochs, 0 without a file.

        Raises: ValueError if the file cannot be read or belongs to another run
        """
        if self.path is None:
            return 0
        if not self.path.exists():
            self.save(finished=0)  # a disk that cannot be written is found out before any work
            return 0
        state = self._read()
        if self.run["starting weights"] == state["weights"]:
            self.run["starting weights"] = state["run"]["starting weights"]
        saved = state["run"]
        different = [name for name in self.run | saved if self.run.get(name) != saved.get(name)]
        if different:
            raise ValueError(
                f"{self.path} belongs to a run with other {' and other '.join(different)}; "
                "delete it or choose another file"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._set_generators(state["generators"])
        self.history.loss, self.history.epochs = state["loss"], state["epochs"]
        self.cost.seconds += state["seconds"]
        self.cost.peak_bytes = max(self.cost.peak_bytes, state["peak_bytes"])
        self.cost.forward += Counter(state["forward"])
        self.cost.backward += Counter(state["backward"])
        return state["finished"]

    def save(self, finished: int):
        """Write the run as it is after `finished` epochs.

        Raises: OSError if that fails; the file is then as it was
        """
        if self.path is None:
            return
        state = {
            "run": self.run,
            "finished": finished,
            "weights": fingerprint(self.model),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generators": self._generators(),
            "loss": self.history.loss,
            "epochs": self.history.epochs,
            "seconds": self.cost.seconds,
            "peak_bytes": self.cost.peak_bytes,
            "forward": dict(self.cost.forward),
            "backward": dict(self.cost.backward),
        }
        write_whole(self.path, lambda part: torch.save(state, part))

    def _read(self) -> dict:
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if {"run", "finished", "weights"} <= set(state):
                return state
        except PermissionError as error:
            raise ValueError(f"{self.path} cannot be read: {error.strerror}") from None
        except Exception:  # torch raises many kinds on a broken file
            pass
        raise ValueError(
            f"{self.path} is no whole checkpoint: choose another name, or delete it if it is one"
        )

    def _generators(self) -> dict[str, Tensor]:
        states = {"order": self.order.get_state(), "cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def _set_generators(self, states: dict[str, Tensor]):
        self.order.set_state(states["order"])
        torch.set_rng_state(states["cpu"])
        if self.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self.device)


def fingerprint(thing) -> str:
    """A short text that differs where the content differs: of tensors, models, sets, settings.

    Of a dataset that is not made of tensors only kind, length and a subset's positions count.

    Raises: ValueError for a function, which cannot be looked into
    Example:
        >>> fingerprint(torch.zeros(2)) == fingerprint(torch.zeros(2).double())
        False
    """
    digest = hashlib.sha256()

    def feed(part):
        if isinstance(part, Tensor):
            digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
            flat = part.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
        elif isinstance(part, dict):
            feed(tuple(part.items()))
        elif isinstance(part, tuple):
            digest.update(b"(")
            for entry in part:
                feed(entry)
        elif isinstance(part, nn.Module):
            feed(part.state_dict())
        elif isinstance(part, Examples):
            feed((part.inputs, part.targets))
        elif isinstance(part, Unlabelled):
            feed(("inputs of", part.dataset))
        elif isinstance(part, Subset):
            feed((part.dataset, torch.as_tensor(part.indices)))
        elif hasattr(part, "__getitem__") and not isinstance(part, str):
            feed((type(part).__name__, len(part)))
        elif callable(part):
            raise ValueError("a function cannot be looked into: name what it reads instead")
        else:
            digest.update(f"{part!r};".encode())

    feed(thing)
    return digest.hexdigest()[:16]


def plain(value):
    """A number of Python, or a tensor of its own on the CPU: what a checkpoint can hold."""
    if type(value) in (bool, int, float, str):
        return value
    value = torch.as_tensor(value).detach().cpu()
    return value.clone() if value.ndim else value.item()


def write_whole(path: str | os.PathLike, write: Callable[[Path], None]):
    """Write a file so that a reader finds the old one or the whole new one, never a half.

    `write(part)` writes a neighbour of `path`, which then takes its name. If that fails, the
    neighbour is removed and the old file stays.

    Raises: OSError with one sentence if the disk is full or the folder cannot be written
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError | RuntimeError):  # a full disk is a RuntimeError of torch.save
            full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
            reason = "there is no space left on the disk" if full else str(error)
            raise OSError(
                f"{path} could not be written: {reason}; what was there before is unchanged"
            ) from error
        raise
