"""Philox against its published vectors and plain integers; normal numbers against their law."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minilearn.draws import normal, philox, seeded

LOW = 0xFFFFFFFF


def by_hand(counter, key, rounds: int = 10) -> list[int]:
    """Philox 4x32 in Python's whole numbers, for any counter."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(rounds):
        left, right = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (right >> 32) ^ c1 ^ k0, right & LOW, (left >> 32) ^ c3 ^ k1, left & LOW
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


# The authors' own test vectors: counter, key, answer.
PUBLISHED = [
    (8 * "0", 8 * "0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (8 * "f", 8 * "f", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize("counter, key, answer", PUBLISHED)
def test_what_we_compare_with_gives_the_published_vectors(counter, key, answer):
    counter, key = (words(text) * (n // len(words(text))) for text, n in ((counter, 4), (key, 2)))
    assert by_hand(counter, key) == words(answer)


def test_the_published_vector_of_counter_0():
    assert [int(word) for word in philox(0, torch.tensor([0]))] == words(PUBLISHED[0][2])


@given(
    seed=st.integers(0, 2**64 - 1) | st.integers(0, 3),
    index=st.lists(st.integers(0, LOW) | st.sampled_from([0, 1, LOW >> 1, LOW]), min_size=1),
)
def test_philox_is_that_of_plain_integers(seed, index):
    found = torch.stack(philox(seed, torch.tensor(index)), 1)
    expected = [by_hand((i, 0, 0, 0), (seed & LOW, seed >> 32)) for i in index]
    assert found.dtype == torch.int64 and found.tolist() == expected


def uniform(word: int) -> float:
    """A signed number's distance from 0 or -1, over 2^31."""
    return (word if word < 2**31 else 2**32 - 1 - word) / 2**31


def test_normal_is_box_and_mullers_formula_in_float64():
    seed, index = 11, torch.arange(500)
    for i, z in zip(index.tolist(), normal(seed, index).tolist(), strict=True):
        u, v = map(uniform, by_hand((i, 0, 0, 0), (seed, 0))[:2])
        assert z == pytest.approx(math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v), abs=1e-6)


def test_no_logarithm_of_less_than_a_ten_millionth_is_taken():
    """So that no draw is infinite; as in Triton."""
    rare = 17_758_991
    u, v = map(uniform, by_hand((rare, 0, 0, 0), (0, 0))[:2])
    assert u < 1e-7
    expected = math.sqrt(-2 * math.log(1e-7)) * math.cos(2 * math.pi * v)
    assert normal(0, torch.tensor([rare])).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_many_draws_are_standard_normal(seed):
    from scipy.stats import kstest, pearsonr

    z = normal(seed, torch.arange(100_000))
    assert z.dtype == torch.float32 and abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02
    assert kstest(z.double().numpy(), "norm").pvalue > 1e-3
    assert pearsonr(z[:-1], z[1:]).pvalue > 1e-3  # neighbours
    assert pearsonr(z, normal(seed + 1, torch.arange(100_000))).pvalue > 1e-3  # and seeds
    assert pearsonr(z.abs(), normal(seed + 1, torch.arange(100_000)).abs()).pvalue > 1e-3


def test_a_draw_depends_on_seed_and_index_alone():
    index = torch.tensor([9, 3, 3, 2**32 - 1, 0])
    together = normal(4, index)
    alone = torch.cat([normal(4, index[i : i + 1]) for i in range(5)])
    assert torch.equal(together, alone) and together[1] == together[2]
    assert torch.equal(normal(4, index.flip(0)), together.flip(0))
    assert torch.equal(normal(4, index[:3].int()), together[:3])
    torch.manual_seed(99)
    assert torch.equal(normal(4, index), together)
    assert normal(4, index[:0]).shape == (0,)


def test_seeds_of_numpy_count_as_numbers():
    index = torch.arange(5)
    assert torch.equal(normal(np.int64(2**40 + 1), index), normal(2**40 + 1, index))


@pytest.mark.parametrize("seed", [-1, 1.0, None, "1", True, float("nan"), torch.tensor(1)])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="a seed must be a whole number from 0, got"):
        normal(seed, torch.tensor([0]))


@pytest.mark.parametrize("index", [3, [0, 1], None, torch.tensor([0.5]), torch.tensor([1j])])
def test_an_index_is_a_tensor_of_whole_numbers(index):
    with pytest.raises(ValueError, match="index must be a tensor of whole numbers, got"):
        philox(0, index)


PROGRAM = """
import json, sys, torch, triton
import triton.language as tl

@triton.jit
def draw(out, words, seed, start, N: tl.constexpr):
    i = start + tl.arange(0, N)
    tl.store(out + tl.arange(0, N), tl.randn(seed, i))
    tl.store(words + tl.arange(0, N), tl.randint(seed, i))

found = []
for seed, start in json.loads(sys.argv[1]):
    out, words = torch.zeros(256), torch.zeros(256, dtype=torch.int32)
    draw[(1,)](out, words, seed, start, 256)
    found.append([out.tolist(), words.tolist()])
print(json.dumps(found))
"""


def test_a_triton_kernel_draws_the_same_numbers(tmp_path):
    pytest.importorskip("triton")
    cases = [(0, 0), (0, 17_758_900), (5, 0), (5, 256), (2**31 - 1, 7), (2**40 + 3, 10**6)]
    (tmp_path / "kernel.py").write_text(PROGRAM)
    command = [sys.executable, "-W", "ignore", "kernel.py", json.dumps(cases)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-600:]
    for (seed, start), (numbers, first) in zip(cases, json.loads(done.stdout), strict=True):
        index = torch.arange(start, start + 256)
        signed = [word - 2**32 * (word > LOW >> 1) for word in philox(seed, index)[0].tolist()]
        assert signed == first
        torch.testing.assert_close(normal(seed, index), torch.tensor(numbers), rtol=0, atol=1e-5)


def test_seeded_gives_the_generator_back_after_an_exception():
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(3):
        torch.randn(3)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), state)
    with seeded(3):
        first = torch.randn(3)
    with seeded(3):
        assert torch.equal(first, torch.randn(3))
