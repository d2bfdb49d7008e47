"""Checkpoints: a training run in one file, written whole or not at all."""

from __future__ import annotations

import copy
import random
from collections import Counter
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from minilearn.cost import Cost
from minilearn.data.reading import strays
from minilearn.files import check_file, read_state, write_state
from minilearn.fingerprints import fingerprint
from minilearn.identity import (
    code_of,
    contents,
    frozen_in,
    settings_of,
    structure,
    take_settings,
    warn_of_state,
)
from minilearn.warn import warn

KEPT = ("model", "optimizers", "generators", "loss", "epochs")  # what makes the next step
NAMES = {"run", "left", "finished", "cost", "watch", *KEPT}


class Checkpoint:
    """One `Run` in a file: weights, optimisers, random generators, history and cost.

    The model may come as the run began or as the file left it; with other weights it is refused.
    A file is taken over whole, or nothing is changed.

    Args:
        path: the file; None: nothing is kept
        run: what the run is (its settings, seed, data), by name: a file of another run is refused
        model, optimizers, order, history: what is kept; `order` is the shuffling generator
        cost: the ledger; what it has of the same run already is not counted again
        watch: what is called after each epoch, known by its attribute `settings` if it has one; of
            another one in the file it warns
    Raises: ValueError if `path` names no file, or `run` holds what cannot be looked into
    """

    def __init__(
        self, path, run: dict, model, optimizers, order: torch.Generator, history, cost, watch=None
    ):
        self.path = check_file("checkpoint", path)
        self.as_left = False  # whether the model came as the file left it
        if path is None:
            return
        self.data = [d for v in run.values() for d in (v if isinstance(v, tuple) else [v])]
        self.model = model
        self.optimizers = optimizers
        self.order = order
        self.history = history
        self.cost = cost
        self.watch = watch and fingerprint(getattr(watch, "settings", watch))
        self.begun = cost + Cost()  # what the ledger had before
        self.device = next(model.parameters()).device
        self.run = {name: _identity(value) for name, value in run.items()}
        self.run["frozen parts"] = _identity(frozen_in(model))
        self.run["code of the network"] = {"mark": code_of(model), "words": {}}
        self.left = [self._form()]
        self.run |= self.left[0]

    def load(self) -> int:
        """Take over what the file holds; returns the number of finished epochs, 0 without a file.

        Raises: ValueError if the file cannot be read or belongs to another run; OSError if it
            cannot be written
        """
        if self.path is None:
            return 0
        if not self.path.exists():
            self.cost.runs.pop(self._key(), None)
            self.save(finished=0)  # a disk that cannot be written is found out before any work
            read_state(self.path, NAMES)
            return 0
        state = read_state(self.path, NAMES)
        form, left = self.left[0], state["left"][-1]
        forms = form, left, state["run"]
        now, at_end, at_start = (each["starting weights"]["mark"] for each in forms)
        self.as_left = now == at_end != at_start
        for name, part in form.items():
            if part["mark"] in [each[name]["mark"] for each in state["left"]]:  # as it was left
                self.run[name] = state["run"][name]
        _refuse_another(self.path, state["run"], self.run)
        before = copy.deepcopy(self._kept())
        try:
            self._take_over(state)
            self._take_cost(**state["cost"])
            take_settings(self.model, left["network"]["words"])
        except BaseException as error:
            self._take_over(before)
            if not isinstance(error, Exception):
                raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ValueError(
                f"{self.path} does not fit this run ({reason}); delete it or choose another file"
            ) from error
        self.left = state["left"]
        if state["finished"]:
            warn_of_state(self.path, self.model, left["network"]["words"])
            if self.watch not in (None, state["watch"]):
                warn(
                    f"{self.path} has finished {state['finished']} epochs under another watch, or "
                    "none, and the history holds what that one said"
                )
        return state["finished"]

    def warn(self, finished: int, count: int):
        """Warn of a finished run that ended with this very model, and of data that cannot go on."""
        if self.as_left and finished == count:
            warn(
                f"{self.path} holds a finished run that ended with this very model, so nothing is "
                "done: to go on from the model choose another file"
            )
        if 0 < finished < count and any(isinstance(d, Dataset) and strays(d) for d in self.data):
            warn(
                "the data give other examples at every reading, by a generator of their own that a "
                "checkpoint does not hold: this run goes on otherwise than if it had not stopped; "
                "let them draw from torch's global generator"
            )

    def save(self, finished: int):
        """Write the run as it is after `finished` epochs.

        Raises: OSError if that fails; the file is then as it was
        """
        if self.path is None:
            return
        spent = self.cost - self.begun
        cost = {"seconds": spent.seconds, "peak_bytes": spent.peak_bytes}
        cost |= {"forward": dict(spent.forward), "backward": dict(spent.backward)}
        # Two forms of the model, should it be cut off when the file is written and it is not told.
        left = [*self.left[-1:], self._form()]
        state = {"run": self.run, "left": left, "finished": finished, "cost": cost}
        state["watch"] = self.watch
        write_state(self.path, state | self._kept())
        self.left = left

    def __enter__(self) -> int:
        return self.load()

    def __exit__(self, kind, error, trace):
        """Record this run's part of the cost in the ledger."""
        if self.path is not None:
            before = self.cost.runs.get(self._key(), Cost())
            self.cost.runs[self._key()] = before + (self.cost - self.begun)

    def _key(self) -> tuple[str, str]:
        return str(self.path.absolute()), fingerprint(self.run)

    def _form(self) -> dict[str, dict]:
        """What training may change in a model: its weights, and the settings of its parts."""
        settings = structure(self.model)
        return {
            "network": {"mark": fingerprint(settings), "words": settings},
            "starting weights": {"mark": fingerprint(contents(self.model)), "words": {}},
        }

    def _kept(self) -> dict:
        return {
            "model": held_by(self.model),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generators": self._generators(),
            "loss": self.history.loss,
            "epochs": self.history.epochs,
        }

    def _take_over(self, state: dict):
        """Make all of it as in `state`; ValueError if it does not fit or is not as stored then."""
        fill(self.model, state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._set_generators(state["generators"])
        self.history.loss, self.history.epochs = state["loss"], state["epochs"]
        if fingerprint(self._kept()) != fingerprint({name: state[name] for name in KEPT}):
            raise ValueError("it is not what was stored")

    def _take_cost(self, seconds: float, peak_bytes: int, forward: dict, backward: dict):
        """Let the ledger hold what it had before, without this run, and what the file has of it."""
        spent = Cost(seconds, peak_bytes, Counter(forward), Counter(backward))
        self.begun -= self.cost.runs.pop(self._key(), Cost())
        both = self.begun + spent
        self.cost.seconds, self.cost.peak_bytes = both.seconds, both.peak_bytes
        self.cost.forward, self.cost.backward = both.forward, both.backward

    def _generators(self) -> dict:
        states = {"order": self.order.get_state(), "cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        kind, words, *rest = np.random.get_state()
        states["numpy"] = [kind, torch.from_numpy(words.astype(np.int64)), *rest]
        return states | {"python": random.getstate()}

    def _set_generators(self, states: dict):
        self.order.set_state(states["order"])
        torch.set_rng_state(states["cpu"])
        if self.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self.device)
        kind, words, *rest = states["numpy"]
        np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))
        random.setstate(states["python"])


def check_resumable(path, config, seed: int):
    """Refuse, before any work, a file that a run of a method cannot begin or go on with.

    Raises: ValueError if it names no file, is not a whole checkpoint, or has other settings or seed
    """
    path = check_file("checkpoint", path)
    if path is None or not path.exists():
        return
    saved = read_state(path, NAMES)["run"]
    now = {"settings": _identity(config), "seed": _identity(seed)}
    _refuse_another(path, {name: saved[name] for name in now}, now)


def held_by(model: nn.Module) -> dict[str, dict]:
    """All that a network holds: parameters, every buffer, and the extra state of its parts."""
    extra = {name: v for name, v in model.state_dict().items() if name.endswith("_extra_state")}
    return {"tensors": contents(model), "extra": extra}


def fill(model: nn.Module, held: dict[str, dict]):
    """Give a network what `held_by` took from one like it.

    Raises: ValueError if it is of another network; nothing is changed then
    """
    now = contents(model)
    kinds = [{n: (v.dtype, v.shape) for n, v in part.items()} for part in (now, held["tensors"])]
    for name in now | held["tensors"]:
        if kinds[0].get(name) != kinds[1].get(name):
            raise ValueError(f"{name} is another tensor")
    with torch.no_grad():
        for name, tensor in now.items():
            value = held["tensors"][name].to(tensor.device)
            if not torch.equal(tensor, value):  # it may be a view that cannot be written
                tensor.copy_(value)
    if held["extra"]:
        model.load_state_dict(held["extra"], strict=False)


def _identity(thing) -> dict:
    """What tells a thing from another, and what can be said of it."""
    kind = type(thing).__name__
    return {"mark": fingerprint(thing), "kind": kind, "words": settings_of(thing)}


def _refuse_another(path: Path, saved: dict[str, dict], now: dict[str, dict]):
    """Refuse, by ValueError, a file whose run differs, and say in what."""
    none = {"mark": None, "words": {}}
    pairs = {name: (saved.get(name, none), now.get(name, none)) for name in now | saved}
    different = [
        f"other {name}{_difference(there['words'], here['words'])}"
        for name, (there, here) in pairs.items()
        if there["mark"] != here["mark"]
    ]
    if different:
        cures = "delete it or choose another file"
        if any(each.startswith("other network") for each in different):
            cures += (
                "; if the network keeps what it has computed, build it anew, or leave that out in "
                "__getstate__"
            )
        raise ValueError(f"{path} belongs to a run with {' and '.join(different)}; {cures}")


def _difference(there: dict[str, str], here: dict[str, str]) -> str:
    """The first two entries that differ, with both values, in brackets; nothing if none does."""
    names = [name for name in there | here if there.get(name) != here.get(name)]
    shown = [
        f"{name} {there.get(name, 'none'):.60}, here {here.get(name, 'none'):.60}".strip()
        for name in names[:2]
    ]
    more = ["..."] * (len(names) > 2)
    return f" ({'; '.join(shown + more)})" if shown else ""


def check_about(about: dict, arguments: tuple[str, ...]):
    """Refuse, by ValueError, what a run depends on under a misspelt name of an argument."""
    for name in about:
        for near in get_close_matches(name, arguments, 1, cutoff=0.75):
            raise ValueError(f"Run has no argument {name}; did you mean {near}?")


def storable(value):
    """A number of Python, or a tensor of its own on the CPU: what a checkpoint can hold."""
    if type(value) in (bool, int, float, str):
        return value
    value = torch.as_tensor(value).detach().cpu()
    return value.clone() if value.ndim else value.item()
