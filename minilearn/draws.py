"""Random numbers: as a pure function of (seed, index), and the global ones under a seed."""

from __future__ import annotations

import math
import random
from contextlib import contextmanager
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from minilearn.checks import check_count, check_default_device

LOW = 0xFFFFFFFF  # 32 bits; int64 holds them, and its products wrap without losing the upper half


@contextmanager
def seeded(seed: int):
    """Run a block under a seed of torch, NumPy and Python; all are as before afterwards.

    Datasets draw their augmentations from any of the three.

    Raises: ValueError if the seed is not a whole number from 0
    """
    seed = check_count("seed", seed, 0)
    check_default_device()
    numpy_before = np.random.get_state()
    python_before = random.getstate()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        if torch.accelerator.is_available():
            torch.manual_seed(seed)
        else:  # torch would keep the seed, and a stack, for a GPU that may come
            torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_before)
            random.setstate(python_before)


def order_of(seed: int) -> torch.Generator:
    """A generator of its own on the CPU, which shuffles and chooses.

    Raises: ValueError if the seed is not a whole number from 0
    """
    return torch.Generator().manual_seed(check_count("seed", seed, 0))


def philox(seed: int, index: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four random 32-bit words for every index: the counter-based generator Philox 4x32-10.

    Paper: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    Shapes: index (N,) int64 in 0..2^32 - 1; returns four (N,) int64 in 0..2^32 - 1
    Differs: none known; the counter is (index, 0, 0, 0) and the key the seed's two halves, as in
        Triton's tl.rand, so that a kernel draws the same numbers
    Raises: ValueError if the seed is no whole number from 0, or index no tensor of whole numbers
    Example:
        >>> [hex(int(word)) for word in philox(0, torch.tensor([0]))]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"a seed must be a whole number from 0, got {seed!r:.80}")
    if not isinstance(index, Tensor) or index.is_floating_point() or index.is_complex():
        kind = index.dtype if isinstance(index, Tensor) else type(index).__name__
        raise ValueError(f"index must be a tensor of whole numbers, got {kind}")
    c0 = index.long() & LOW
    c1 = c2 = c3 = torch.zeros_like(index, dtype=torch.int64)
    k0 = int(seed) & LOW
    k1 = int(seed) >> 32 & LOW
    for _ in range(10):
        a = c0 * 0xD2511F53
        b = c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (b >> 32 ^ c1 ^ k0) & LOW, b & LOW, (a >> 32 ^ c3 ^ k1) & LOW, a & LOW
        k0 = k0 + 0x9E3779B9 & LOW
        k1 = k1 + 0xBB67AE85 & LOW
    return c0, c1, c2, c3


def normal(seed: int, index: Tensor) -> Tensor:
    """A standard normal number for every index, by the method of Box and Muller.

    Shapes: index (N,) int64 in 0..2^32 - 1; returns (N,) float32 on the index's device
    Raises: ValueError as `philox`
    Example:
        >>> few, many = normal(7, torch.tensor([5])), normal(7, torch.arange(1000))
        >>> bool(few == many[5])
        True
    """
    first, second, _, _ = philox(seed, index)
    u, v = _uniform(first), _uniform(second)
    return ((-2 * u.clamp(min=1e-7).log()).sqrt() * (2 * math.pi * v).cos()).float()


def _uniform(word: Tensor) -> Tensor:
    """In [0, 1): the distance of the word, read as a signed number, from 0 or -1."""
    return torch.where(word > LOW >> 1, LOW - word, word).double() * 4.6566127342e-10
