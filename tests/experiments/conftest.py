"""Rows and units that need no training."""

import pytest

from minilearn.sweep import COLUMNS, Unit, value

ORIGIN = {
    "device": "a processor, 1 thread",
    "torch": "2.8.0",
    "triton": "",
    "minilearn": "0.1.0",
    "commit": "abc1234",
    "command": "python -m book.experiments rotated_digits",
}


@pytest.fixture
def origin() -> dict[str, str]:
    """The columns that say where a number comes from."""
    return dict(ORIGIN)


@pytest.fixture
def make_row():
    """A function that makes a whole row, with some columns given."""

    def make(**given) -> dict[str, str]:
        row = dict.fromkeys(COLUMNS, "")
        row |= {"experiment": "rotated_digits", "dataset": "rotated_digits", "request": "a band"}
        row |= {"method": "finetune", "seed": "0", "split": "forget", "metric": "mae"}
        row |= {"value": "1.5", "unit": "degrees", "utc": "2026-01-02T03:04:05Z"} | ORIGIN
        return row | {"config": "size=toy; epochs=1, lr=0.1"} | given

    return make


@pytest.fixture
def make_units():
    """A function that makes units which call `work(method, seed)` and give two rows each."""

    def make(work=lambda method, seed: None, seeds: int = 3) -> list[Unit]:
        def measure(method, seed):
            work(method, seed)
            forget = value("mae", "forget", seed + 0.25, "degrees", 7, "a paper")
            return [forget, value("samples", "", 10 * seed, "samples")]

        return [
            Unit("a set", "a band", m, s, "size=toy", lambda m=m, s=s: measure(m, s))
            for s in range(seeds)
            for m in ("original", "retrained", "finetune")
        ]

    return make
