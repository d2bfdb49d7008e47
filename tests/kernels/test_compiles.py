"""Compiled for the oldest and the newest GPU of the range, on a machine that has neither."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_checks import GPUS, entries


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


def cases(found):
    for file, title, case in entries("TRANSLATIONS"):
        for capability in GPUS:
            key = f"{file}, {title}, sm_{capability}"
            yield key, case, capability, found[key]


def test_numbers_are_read_and_written_sixteen_bytes_at_a_time(found):
    for key, case, _, counts in cases(found):
        assert counts["narrow loads"] <= case.narrow, (key, counts)
        assert counts["wide stores"] >= case.stores, (key, counts)


def test_products_use_tensor_cores_where_they_may(found):
    for key, case, capability, counts in cases(found):
        expected = capability in case.tensor_cores
        assert bool(counts["tensor cores"]) == expected, (key, counts)
