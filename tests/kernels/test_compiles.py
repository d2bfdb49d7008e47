"""Compiled for the oldest and the newest GPU of the range, on a machine that has neither."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    there = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    there |= {"TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton"))}
    command = [sys.executable, Path(__file__).with_name("compiled.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=there)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_no_register_is_spilled(found):
    assert len(found) > 25
    assert not {case: counts["local"] for case, counts in found.items() if counts["local"]}


def test_nothing_is_computed_in_double_precision(found):
    assert not {case for case, counts in found.items() if counts["double"]}


# loads that are narrow by nature: one flag for a program
NARROW = {"attention maps": 1, "attention compare": 1, "attention back": 3}


def test_numbers_are_read_and_written_sixteen_bytes_at_a_time(found):
    for case, counts in found.items():
        name = case.split(",")[0]
        assert counts["narrow loads"] <= NARROW.get(name, 0), (case, counts)
        if name not in ("attention maps", "mixed_l1 mean"):  # which write one number in many
            assert counts["wide stores"] >= 2, (case, counts)


def test_products_use_tensor_cores_where_they_may(found):
    assert found["abs_bmm tf32, sm_90"]["tensor cores"]
    assert not found["abs_bmm, sm_90"]["tensor cores"]  # full single precision has none
    assert not found["abs_bmm tf32, sm_75"]["tensor cores"]  # hence capability=(8, 0)
