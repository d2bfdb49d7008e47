"""The ledger: counts, time and memory."""

import contextlib
import sys
import time
from collections import Counter

import pytest

from minilearn.cost import Cost


def test_units_are_forward_plus_two_backward():
    cost = Cost()
    cost.touch("retain", forward=10, backward=4)
    cost.touch("forget", forward=3)
    cost.touch("retain", forward=1)
    assert cost.by_source() == {"retain": 11 + 8, "forget": 3}
    assert cost.samples == sum(cost.by_source().values()) == 22
    assert Cost().samples == 0 and Cost().by_source() == {}


def test_ledgers_share_nothing():
    one, other = Cost(), Cost()
    one.touch("other", forward=5)
    assert other.samples == 0


def test_two_ledgers_add_up_and_stay_as_they_were():
    one = Cost(1.5, 200, Counter(retain=10, forget=1), Counter(retain=4))
    other = Cost(0.25, 300, Counter(retain=3, other=5), Counter(other=2))
    both = one + other
    assert (both.seconds, both.peak_bytes) == (1.75, 300)  # one after the other, not side by side
    assert both.by_source() == {"retain": 13 + 8, "forget": 1, "other": 5 + 4}
    assert both.samples == one.samples + other.samples == (other + one).samples
    assert other + one == both and one + Cost() == one
    both.touch("retain", forward=100)
    assert one.forward["retain"] == 10 and other.forward["retain"] == 3


def test_the_clock_adds_up_also_after_an_exception():
    """Against a clock around it and one inside: nobody knows how long the machine takes."""
    cost, inside, around = Cost(), 0.0, 0.0
    for error in (None, RuntimeError):
        begin = time.perf_counter()
        with contextlib.suppress(RuntimeError), cost.clock("cpu"):
            there = time.perf_counter()
            sum(range(100_000))
            inside += time.perf_counter() - there
            if error:
                raise error
        around += time.perf_counter() - begin
        assert 0 < inside <= cost.seconds <= around
    resource = pytest.importorskip("resource")
    unit = 1 if sys.platform == "darwin" else 1024
    high_water = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    assert 0.5 * high_water < cost.peak_bytes <= high_water


@pytest.mark.parametrize("count", [-1, 1.5, "3", None])
def test_a_count_is_a_whole_number(count):
    with pytest.raises(ValueError, match="forward must be a whole number"):
        Cost().touch("retain", forward=count)
