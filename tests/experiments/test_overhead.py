"""Every method is its bare loop, bit for bit; and the clock compares the two in turns."""

import dataclasses

import pytest
import torch

from book.experiments import Run, overhead
from minilearn.methods import METHODS
from minilearn.training import Training

SHORT = {
    "l2ul": {"attack": overhead.PGD(2.0, steps=2, repeats=2), "adversarial_batch": 64},
    "laf": {"vae": Training(epochs=1, batch_size=32)},
    "scrub": {"ascents": 1},
}


def test_every_method_with_a_loop_has_a_bare_one():
    assert set(overhead.CONFIGS) == set(overhead.BARE) == set(METHODS) - {"unrolling"}


@pytest.mark.filterwarnings("ignore:only .* adversarial images reach")
@pytest.mark.parametrize("name", overhead.CONFIGS)
def test_a_method_is_its_bare_loop_bit_for_bit(name):
    """What surrounds the loop (seed, mode, ledger, clock, whole epochs) changes no bit of it."""
    config = overhead.CONFIGS[name]
    config = dataclasses.replace(config, epochs=2, **SHORT.get(name, {}))
    ours, bare = overhead.sides(name, config, 3, torch.device("cpu"))
    model, twin = ours(), bare()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_unit_gives_the_median_of_the_turns_ratios(monkeypatch):
    times = iter([9.0, 1.0] + [1.1, 1.0, 2.0, 1.0, 1.2, 1.0])  # the first turn does not count
    monkeypatch.setattr(overhead, "TURNS", 3)
    monkeypatch.setattr(overhead, "seconds_of", lambda run, device: next(times))
    unit = next(u for u in overhead.units(Run(seeds=range(1))) if u.method == "finetune")
    rows = {row["metric"]: float(row["value"]) for row in unit.measure()}
    assert rows == {"overhead": pytest.approx(1.2), "seconds": pytest.approx(1.2), "turns": 3}
