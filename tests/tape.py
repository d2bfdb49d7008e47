"""A CUDA graph without a GPU: operations are written down, and done again in the same memory.

As in a graph, no line of Python runs in a replay, numbers of Python stay what they were, and every
tensor lies where it lay. What a graph refuses is refused: waiting for the device, shapes that
depend on numbers, and tensors made of numbers of the host.
"""

from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from minilearn import graphs, losses

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "lift_fresh"}


class Tape(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        name = op.overloadpacket.__name__
        masked = name.startswith("index") and any(
            isinstance(x, torch.Tensor) and x.dtype == torch.bool for x in tree_leaves(args[1:])
        )
        if name in WAITS or masked:
            raise RuntimeError(f"{name} is not permitted while a stream is captured")
        out = op(*args, **(kwargs or {}))
        self.done.append((op, args, kwargs or {}, tree_leaves(out)))
        return out

    def replay(self):
        with torch.no_grad():
            for op, args, kwargs, old in self.done:
                new = tree_leaves(op(*args, **kwargs))
                for a, b in zip(old, new, strict=True):
                    if isinstance(a, torch.Tensor) and a.data_ptr() != b.data_ptr():
                        a.copy_(b)


@contextmanager
def taped():
    """Inside, `graphs` records steps on a CPU with tapes; gives the list of them."""
    tapes = []

    def record(step, static):
        with Tape() as tape:
            result = step(*static)
        tapes.append(tape)
        return tape, result

    def warm(step, static):
        for _ in range(graphs.WARM):
            step(*static)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "can_record", lambda device: True)
        patch.setattr(graphs, "_warm", warm)
        patch.setattr(graphs, "_record", record)
        patch.setattr(losses, "_needed", lambda targets, classes: classes)  # as on a GPU
        yield tapes
