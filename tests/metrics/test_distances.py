"""KL, JS, Wasserstein and paired difference: closed forms, float64 references, invariances."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from torch.nn.functional import kl_div

from minilearn.evaluation import Evaluation
from minilearn.metrics import METRICS, js, kl, paired_difference, wasserstein

LN2 = math.log(2)


def logs(*p: float) -> torch.Tensor:
    return torch.tensor([p], dtype=torch.float64).log()


def one_hot(classes: int) -> torch.Tensor:
    return logs(1.0, *[0.0] * (classes - 1))


def uniform(classes: int) -> torch.Tensor:
    return logs(*[1 / classes] * classes)


JS_CASES = [
    (logs(0.3, 0.7), logs(0.3, 0.7), 0.0),
    (logs(1, 0), logs(0, 1), LN2),
    (logs(0.9, 0.1), logs(0.1, 0.9), 0.3681),
    (one_hot(2), uniform(2), 0.2158),
    (one_hot(10), uniform(10), 0.5256),
    (one_hot(100), uniform(100), 0.6651),
]


def swapped_js(log_p, log_q):
    """The published fault: KL(m || p), and the mean over examples and classes."""
    m = (log_p.exp() + log_q.exp()) / 2
    return (kl_div(log_p, m) + kl_div(log_q, m)) / 2


@pytest.mark.parametrize("p, q, value", JS_CASES)
def test_js_closed_forms(p, q, value):
    assert js(p, q).item() == pytest.approx(value, abs=5e-5)


@pytest.mark.filterwarnings("ignore:reduction")
def test_the_closed_forms_catch_swapped_arguments():
    wrong = [not abs(swapped_js(p, q).item() - value) < 5e-5 for p, q, value in JS_CASES]
    assert wrong == [False, True, True, True, True, True]  # equal answers show nothing


def test_kl_closed_forms_and_direction():
    half, most = logs(0.5, 0.5), logs(0.9, 0.1)
    assert kl(half, most).item() == pytest.approx(0.5108, abs=5e-5)
    assert kl(most, half).item() == pytest.approx(0.3681, abs=5e-5)
    assert kl(half, half).item() == 0
    assert kl(one_hot(4), uniform(4)).item() == pytest.approx(math.log(4))
    assert kl(uniform(2), one_hot(2)).item() == math.inf
    # the reverse direction, which the closed form must tell apart
    assert kl_div(half, most, log_target=True, reduction="sum").item() == pytest.approx(
        0.3681, abs=5e-5
    )


def test_kl_of_a_small_change_is_half_its_variance():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    delta = 1e-3 * torch.randn(5, 8, generator=generator, dtype=torch.float64)
    p = z.softmax(1)
    variance = (p * delta**2).sum(1) - (p * delta).sum(1) ** 2
    found = kl(z.log_softmax(1), (z + delta).log_softmax(1))
    torch.testing.assert_close(found, variance / 2, rtol=1e-2, atol=0)


@pytest.mark.parametrize("distance", [kl, js])
def test_classes_without_probability_change_nothing(distance):
    p, q = logs(0.2, 0.8), logs(0.6, 0.4)
    nothing = torch.full((1, 5), -math.inf, dtype=torch.float64)
    padded = distance(torch.cat([p, nothing], 1), torch.cat([q, nothing], 1))
    assert padded.item() == distance(p, q).item()


@given(st.integers(1, 7), st.integers(2, 12), st.floats(0.1, 60))
def test_against_a_loop_in_float64(count, classes, sharpness):
    generator = torch.Generator().manual_seed(count * classes)
    z = sharpness * torch.randn(2, count, classes, generator=generator)
    log_p, log_q = z.log_softmax(2)
    p, q = z.double().softmax(2).numpy()

    def divergence(a, b):
        return [
            sum(x * math.log(x / y) for x, y in zip(*row, strict=True) if x > 0)
            for row in zip(a, b, strict=True)
        ]

    m = (p + q) / 2
    expected = (np.array(divergence(p, m)) + np.array(divergence(q, m))) / 2
    found = js(log_p, log_q)
    assert found.shape == (count,)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=2e-6)
    if sharpness < 20:  # beyond, q underflows in the loop
        np.testing.assert_allclose(kl(log_p, log_q).numpy(), divergence(p, q), rtol=1e-3, atol=2e-5)


@given(st.integers(1, 6), st.integers(2, 9), st.floats(0.01, 1e4))
def test_js_is_symmetric_and_bounded_and_blind_to_the_order_of_classes(count, classes, sharpness):
    generator = torch.Generator().manual_seed(classes)
    z = sharpness * torch.randn(2, count, classes, generator=generator)
    log_p, log_q = z.log_softmax(2)
    there = js(log_p, log_q)
    assert bool((there >= 0).all() and (there <= LN2 + 1e-6).all())
    assert bool((kl(log_p, log_q) >= 0).all())
    torch.testing.assert_close(there, js(log_q, log_p))
    torch.testing.assert_close(there, js(log_p.flip(1), log_q.flip(1)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_answers_are_read(dtype):
    z = torch.randn(2, 64, 10, generator=torch.Generator().manual_seed(0)) * 3
    exact = js(*z.log_softmax(2))
    rough = js(*z.log_softmax(2).to(dtype))
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=5e-3)


@pytest.mark.parametrize("distance", [kl, js])
@pytest.mark.parametrize(
    "log_p, log_q, says",
    [
        (torch.tensor([[0.5, 0.5]]), logs(0.5, 0.5), "a row sums to 3.29744 instead of 1"),
        (torch.randn(4, 3) + 9, uniform(3).expand(4, 3), "take log_softmax"),
        (uniform(3), uniform(4), "same inputs"),
        (torch.zeros(3), torch.zeros(3), r"needs two \(N, C\) tensors"),
        (torch.zeros(0, 3), torch.zeros(0, 3), r"needs two \(N, C\) tensors"),
        ([[0.0]], [[0.0]], "got list"),
        (torch.full((1, 2), math.nan), uniform(2), "sums to nan"),
        (uniform(2), torch.full((1, 2), -math.inf), "log_q .* sums to 0"),
    ],
)
def test_clear_errors_for_divergences(distance, log_p, log_q, says):
    with pytest.raises(ValueError, match=says):
        distance(log_p, log_q)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values)


@pytest.mark.parametrize(
    "u, r, value",
    [
        (numbers(0, 0), numbers(1, 3), 2),
        (numbers(1, 2, 3), numbers(3, 1, 2), 0),
        (numbers(0), numbers(0, 2), 1),
        (numbers(0, 1, 5), numbers(7, 8, 12), 7),
        (numbers(4), numbers(4), 0),
    ],
)
def test_wasserstein_closed_forms(u, r, value):
    assert wasserstein(u.double(), r.double()).item() == pytest.approx(value, abs=1e-12)
    assert wasserstein(r.double(), u.double()).item() == pytest.approx(value, abs=1e-12)


def test_wasserstein_of_two_widths_of_a_normal():
    quantiles = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    normal = torch.special.ndtri(quantiles)
    found = wasserstein(normal, 2 * normal).item()
    assert found == pytest.approx(math.sqrt(2 / math.pi), abs=1e-4)


def test_paired_difference_of_independent_normals():
    u, r = torch.randn(2, 400_000, generator=torch.Generator().manual_seed(0))
    assert paired_difference(u, r).mean().item() == pytest.approx(2 / math.sqrt(math.pi), abs=5e-3)
    assert wasserstein(u, r).item() < 0.02  # one distribution: blind to who got what


def test_a_permutation_is_seen_by_the_paired_difference_only():
    u, r = numbers(1, 2, 3), numbers(3, 1, 2)
    assert paired_difference(u, r).mean().item() == pytest.approx(4 / 3)
    assert wasserstein(u, r).item() == 0


samples = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30)


@given(samples, samples)
def test_wasserstein_against_scipy(u, r):
    found = wasserstein(torch.tensor(u), torch.tensor(r)).item()
    assert found == pytest.approx(wasserstein_distance(u, r), rel=1e-9, abs=1e-9)
    mean_gap = abs(np.mean(np.float64(u)) - np.mean(np.float64(r)))
    assert mean_gap <= found + 1e-9


@given(st.lists(st.tuples(*[st.floats(-1e3, 1e3, width=32)] * 2), min_size=1, max_size=30))
def test_wasserstein_is_at_most_the_paired_difference(pairs):
    u, r = torch.tensor(pairs, dtype=torch.float64).T
    assert wasserstein(u, r).item() <= paired_difference(u, r).mean().item() + 1e-9


@given(samples, st.floats(-1e3, 1e3))
def test_wasserstein_of_a_shift(u, shift):
    u = torch.tensor(u, dtype=torch.float64)
    assert wasserstein(u, u + shift).item() == pytest.approx(abs(shift), abs=1e-9)


def test_paired_difference_of_whole_numbers_and_of_several_targets():
    u, r = torch.tensor([1, 250], dtype=torch.uint8), torch.tensor([3, 0], dtype=torch.uint8)
    assert paired_difference(u, r).tolist() == [2, 250]  # unsigned numbers would wrap
    assert paired_difference(torch.zeros(3, 2), torch.tensor([[1.0, 3.0]] * 3)).tolist() == [2] * 3


@pytest.mark.parametrize(
    "u", [torch.zeros(0), torch.zeros(2, 2), numbers(1, math.nan), numbers(math.inf)]
)
def test_clear_errors_for_wasserstein(u):
    with pytest.raises(ValueError, match="flat samples of finite numbers"):
        wasserstein(u, numbers(1, 2))
    with pytest.raises(ValueError, match="flat samples of finite numbers"):
        wasserstein(numbers(1, 2), u)


def test_a_quantile_forecast_is_compared_column_by_column():
    """(N, K, Q) outputs: hours and levels are columns, of which the mean is taken."""
    u, r = (torch.randn(7, 3, 2, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    apart = paired_difference(u, r)
    torch.testing.assert_close(apart, (u - r).abs().mean((1, 2)))
    results = [{"test": Evaluation(x, torch.zeros(7, 3), torch.zeros(7))} for x in (u, r)]
    columns = [(u[:, k, q], r[:, k, q]) for k in range(3) for q in range(2)]
    expected = np.mean([wasserstein_distance(a.numpy(), b.numpy()) for a, b in columns])
    found = METRICS["wasserstein"].compute(*results, "test")
    assert found == pytest.approx(expected) and found <= apart.mean().item()


def test_clear_errors_for_paired_difference():
    for u in (numbers(1), torch.zeros(2, 1), torch.zeros(0)):
        with pytest.raises(ValueError, match="must be paired"):
            paired_difference(u, numbers(1, 2) if len(u) else torch.zeros(0))
    with pytest.raises(ValueError, match="finite"):
        paired_difference(numbers(1, math.nan), numbers(1, 2))


def test_arguments_are_not_changed():
    log_p, log_q = torch.randn(2, 6, 4).log_softmax(2)
    u, r = torch.randn(2, 9)
    before = [t.clone() for t in (log_p, log_q, u, r)]
    kl(log_p, log_q), js(log_p, log_q), wasserstein(u, r), paired_difference(u, r)
    assert all(torch.equal(a, b) for a, b in zip(before, (log_p, log_q, u, r), strict=True))
