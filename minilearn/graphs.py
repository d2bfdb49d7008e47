"""A small step recorded once as a CUDA graph and replayed: the launches cost nothing any more."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterable
from contextlib import contextmanager

import torch
from torch import Tensor

WARM = 3  # runs before the recording, as torch asks for: libraries choose their algorithms
KINDS = 8  # of batches that are recorded: every recording keeps the memory of its step


def capture(step: Callable, *inputs: Tensor, state: Iterable[Tensor] = ()) -> Callable:
    """`step` as a function of new inputs of the same shapes; on a GPU it replays one recording.

    A step of a small network on a small batch is some hundreds of launches of a few microseconds
    each, and the host cannot give them out as fast as the GPU could do them. The recording gives
    them out at once. `state` are the tensors that the step changes: weights, statistics, and what
    an optimiser remembers. They are put back after warm-up and recording, and so are the random
    generators, so that the first call of the result is the first step.

    The step must be capturable: shapes that do not depend on numbers, no wait for the device
    (`.item()`, a boolean index), gradients set to None and not freed elsewhere, an optimiser with
    capturable=True that has made its state before. What it returns is overwritten by the next call.
    On a CPU the step is called as it is.

    Shapes: a call takes as many tensors as `inputs`, each of the same shape and type
    Raises: ValueError if a call brings other shapes or types than the recording has; on a GPU
        torch's RuntimeError if the step waits
    Example:
        >>> total = torch.zeros(())
        >>> add = capture(lambda x: total.add_(x.sum()), torch.zeros(2), state=[total])
        >>> add(torch.ones(2)).item(), add(torch.ones(2)).item()
        (2.0, 4.0)
    """
    static = [x.clone() for x in inputs]
    gpu = static and can_record(static[0].device)
    recorded = _recorded(step, static, list(state)) if gpu else None

    def run(*new: Tensor):
        kinds = [(x.shape, x.dtype, x.device) for x in new]
        if kinds != [(x.shape, x.dtype, x.device) for x in static]:
            raise ValueError(
                f"the step was captured with {[tuple(x.shape) for x in static]}, got "
                f"{[tuple(x.shape) for x in new]}, or another type or device: capture it anew"
            )
        if recorded is None:
            return step(*new)
        for old, x in zip(static, new, strict=True):
            old.copy_(x)
        graph, result = recorded
        graph.replay()
        return result

    return run


def can_record(device: torch.device) -> bool:
    """Whether steps on this device can be recorded: on a GPU of NVIDIA's or AMD's."""
    return device.type == "cuda"


def recording() -> bool:
    """Whether a step is being recorded just now."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def _recorded(step: Callable, static: list[Tensor], state: list[Tensor]):
    before = [x.detach().clone() for x in state]
    try:
        with torch.random.fork_rng([static[0].device] if static[0].is_cuda else []):
            _warm(step, static)
            return _record(step, static)
    finally:
        with torch.no_grad():
            for x, value in zip(state, before, strict=True):
                x.copy_(value)


def _warm(step: Callable, static: list[Tensor]):
    """Run the step in a stream of its own, the last time with every wait an error.

    A recording that is broken off by a wait leaves torch's allocator and generator as if it went
    on, so that waits must be found before.
    """
    with torch.cuda.device(static[0].device):
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(beside):
                for _ in range(WARM - 1):
                    step(*static)
                with _waits_refused():
                    step(*static)
        finally:
            torch.cuda.current_stream().wait_stream(beside)


@contextmanager
def _waits_refused():
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(action="ignore"):  # torch calls the mode a prototype
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(mode)


def _record(step: Callable, static: list[Tensor]):
    device = static[0].device
    graph = torch.cuda.CUDAGraph()
    collects = gc.isenabled()
    gc.disable()  # an old graph that is destroyed meanwhile would spoil the new one
    try:
        with torch.cuda.device(device), torch.cuda.graph(graph, stream=torch.cuda.Stream()):
            result = step(*static)
    finally:
        if collects:
            gc.enable()
    return graph, result


class Replayed:
    """A step of training that is recorded for every kind of batch, and replayed from then on.

    Batches of one kind differ in numbers alone: their tensors have the same shapes and types, and
    what else the step is given (its loss function, its optimiser) is the same. The first of a kind
    is a step like any other, in which the optimiser makes its state; the second is recorded. After
    `KINDS` kinds new ones are not recorded any more.

    `state` gives the tensors that a step changes, once the first was made. A recording holds
    numbers of Python, as a learning rate, for ever: `forget` when they change.

    Raises: ValueError if a step cannot be recorded, because it waits for the device
    """

    def __init__(self, step: Callable, state: Callable[[], list[Tensor]]):
        self.step = step
        self.state = state
        self.forget()

    def forget(self):
        """Throw the recordings away."""
        self.seen = set()
        self.recordings = {}

    def __call__(self, *batch) -> Tensor:
        kind = tuple((x.shape, x.dtype) if isinstance(x, Tensor) else x for x in batch)
        if kind not in self.seen:
            if len(self.seen) < KINDS:
                self.seen.add(kind)
            return self.step(*batch)
        tensors = [x for x in batch if isinstance(x, Tensor)]
        if kind not in self.recordings:
            self.recordings[kind] = self._record(batch, tensors)
        return self.recordings[kind](*tensors).clone()

    def _record(self, batch: tuple, tensors: list[Tensor]) -> Callable:
        def step(*new):
            new = iter(new)
            return self.step(*(next(new) if isinstance(x, Tensor) else x for x in batch))

        try:
            return capture(step, *tensors, state=self.state())
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ValueError(
                f"a step that waits for the device cannot be recorded (graph=True): {error}"
            ) from error
