"""A small step recorded once as a CUDA graph and replayed: the launches cost nothing any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

WARM = 3  # runs before the recording, as torch asks for: libraries choose their algorithms


def capture(step: Callable, *inputs: Tensor, state: Iterable[Tensor] = ()) -> Callable:
    """`step` as a function of new inputs of the same shapes; on a GPU it replays one recording.

    A step of a small network on a small batch is some hundreds of launches of a few microseconds
    each, and the host cannot give them out as fast as the GPU could do them. The recording gives
    them out at once. `state` are the tensors that the step changes: weights, statistics, and what
    an optimiser remembers. They are put back after the warm-up, so that the first call of the
    result is the first step.

    The step must be capturable: shapes that do not depend on numbers, no wait for the device
    (`.item()`, a boolean index), gradients set to None and not freed elsewhere, an optimiser with
    capturable=True that has made its state before. What it returns is overwritten by the next call.
    On a CPU the step is called as it is.

    Shapes: a call takes as many tensors as `inputs`, each of the same shape and type
    Raises: ValueError if a call brings other shapes or types than the recording has
    Example:
        >>> total = torch.zeros(())
        >>> add = capture(lambda x: total.add_(x.sum()), torch.zeros(2), state=[total])
        >>> add(torch.ones(2)).item(), add(torch.ones(2)).item()
        (2.0, 4.0)
    """
    static = [x.clone() for x in inputs]
    recorded = _recorded(step, static, list(state)) if inputs and static[0].is_cuda else None

    def run(*new: Tensor):
        fits = [(x.shape, x.dtype, x.device) for x in new]
        if fits != [(x.shape, x.dtype, x.device) for x in static]:
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


def _recorded(step: Callable, static: list[Tensor], state: list[Tensor]):
    before = [x.detach().clone() for x in state]
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM):
            step(*static)
    torch.cuda.current_stream().wait_stream(beside)
    with torch.no_grad():
        for x, value in zip(state, before, strict=True):
            x.copy_(value)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step(*static)
    return graph, result
