"""What a method costs: seconds, memory, and the number of samples it passed through networks."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from minilearn.checks import check_count, check_kind


@dataclass
class Cost:
    """A ledger. A forward pass of one sample is 1 unit, its backward pass 2, so that a laptop and a
    cluster give the same count.

    Args:
        seconds: synchronised with the device
        peak_bytes: the device's peak during the work, on a CPU the process's high-water mark
        forward, backward: samples by source: forget, retain or other
        runs: what it has of runs that are kept in a file, which does not count twice if the ledger
            is handed in again
    Example:
        >>> cost = Cost()
        >>> cost.touch("retain", forward=64, backward=64)
        >>> cost.touch("forget", forward=10)
        >>> cost.samples, cost.by_source()
        (202, {'retain': 192, 'forget': 10})
    """

    seconds: float = 0.0
    peak_bytes: int = 0
    forward: Counter = field(default_factory=Counter)
    backward: Counter = field(default_factory=Counter)
    runs: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    def touch(self, source: str, *, forward: int = 0, backward: int = 0):
        """Book samples passed forward and backward.

        Raises: ValueError if a count is not a whole number from 0
        """
        check_count("forward", forward, 0)
        check_count("backward", backward, 0)
        self.forward[source] += forward
        self.backward[source] += backward

    def trained(self, **samples: int):
        """Book samples that passed forward and backward once, by source.

        Example:
            >>> cost = Cost()
            >>> cost.trained(forget=10, retain=4)
            >>> cost.by_source()
            {'forget': 30, 'retain': 12}
        """
        for source, count in samples.items():
            self.touch(source, forward=count, backward=count)

    def include(self, other: Cost):
        """Add another ledger to this one."""
        both = self + other
        self.seconds, self.peak_bytes = both.seconds, both.peak_bytes
        self.forward, self.backward = both.forward, both.backward

    @property
    def samples(self) -> int:
        """All sample units: forward + 2 backward."""
        return self.forward.total() + 2 * self.backward.total()

    def by_source(self) -> dict[str, int]:
        """Sample units by source."""
        sources = list(dict.fromkeys([*self.forward, *self.backward]))
        return {source: self.forward[source] + 2 * self.backward[source] for source in sources}

    def __add__(self, other: Cost) -> Cost:
        """Both together: times and counts add up, of the memory the higher peak counts."""
        return Cost(
            self.seconds + other.seconds,
            max(self.peak_bytes, other.peak_bytes),
            self.forward + other.forward,
            self.backward + other.backward,
        )

    def __sub__(self, other: Cost) -> Cost:
        """What is in this ledger beside another one that it includes; the peak stays."""
        return Cost(
            self.seconds - other.seconds,
            self.peak_bytes,
            self.forward - other.forward,
            self.backward - other.backward,
        )

    @contextmanager
    def clock(self, device):
        """Add the block's time and peak memory, waiting for the device at both ends."""
        cuda = torch.device(device).type == "cuda"
        if cuda:
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
        begin = time.perf_counter()
        try:
            yield
        finally:
            if cuda:
                torch.cuda.synchronize(device)
            self.seconds += time.perf_counter() - begin
            peak = torch.cuda.max_memory_allocated(device) if cuda else _process_peak()
            self.peak_bytes = max(self.peak_bytes, peak)


def _process_peak() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def ledger(cost: Cost | None) -> Cost:
    """The ledger that was given, or a new one; ValueError if it is something else."""
    return Cost() if cost is None else check_kind("cost", cost, Cost)
