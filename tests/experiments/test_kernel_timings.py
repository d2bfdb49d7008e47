"""What is timed gives the same numbers, and a way that does not is not timed."""

import pytest
import torch

from book.experiments import Run, kernel_cases, kernels
from minilearn.kernels import NAMES, kernel

CPU = torch.device("cpu")


def test_every_kernel_has_sizes_to_be_timed_on():
    lacking = sorted(set(NAMES) - set(kernel_cases.CASES))
    assert not lacking, f"book/experiments/kernel_cases.py has no sizes for {lacking}: fill CASES"
    gone = sorted({*kernel_cases.CASES, *kernel_cases.OTHERS} - set(NAMES))
    assert not gone, f"book/experiments/kernel_cases.py has sizes for {gone}, which are no kernels"


@pytest.mark.parametrize("name", kernel_cases.CASES)
def test_at_size_paper_one_case_is_larger_than_a_launch(name):
    moved = [bytes_moved for *_, bytes_moved in kernel_cases.CASES[name]("paper")]
    assert max(moved) >= kernel_cases.LARGE > min(moved)  # and the papers' own sizes


@pytest.mark.parametrize("name", kernel_cases.CASES)
def test_every_way_gives_the_reference_s_numbers(name, monkeypatch):
    monkeypatch.setitem(kernel_cases.SHRINK, "toy", 64)
    for _, make, slopes, moved in kernel_cases.CASES[name]("toy"):
        plain = kernels._both_ways(kernel(name).reference, slopes)(*make(0, CPU))
        assert moved > 0 and torch.as_tensor(kernels._first(plain)).isfinite().all()
        for other in kernel_cases.OTHERS.get(name, {}).values():
            ours = kernels._both_ways(other, slopes)(*make(0, CPU))
            kernels._check(name, "other", kernels._first(ours), kernels._first(plain))
        first, second = make(0, CPU), make(0, CPU)
        assert all(
            torch.equal(a, b) for a, b in zip(first, second, strict=True) if torch.is_tensor(a)
        )


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(kernels, "SECONDS", {"toy": 1e-3})
    monkeypatch.setattr(kernels, "CACHE", 2**12)
    monkeypatch.setattr(kernels, "NAMES", tuple(kernel_cases.CASES))
    monkeypatch.setitem(kernel_cases.SHRINK, "toy", 64)


def test_rows_are_ratios_of_one_run(quick, monkeypatch):
    units = [u for u in kernels.units(Run(seeds=range(2))) if u.dataset == "mixed_l1"]
    ways = [u.method for u in units if u.seed == 0]
    assert ways == ["reference", "compiled", "published"] * 2  # no Triton on a CPU
    seconds = iter([2.0, 6.0, 10.0, 4.0, 1.5])  # ours and PyTorch, twice, then a copy
    monkeypatch.setattr(kernels, "_seconds", lambda run, asked: next(seconds))
    rows = {row["metric"]: float(row["value"]) for row in units[0].measure()}
    assert rows["seconds"] == 6.0 and rows["ratio"] == pytest.approx(5.0 / 6.0)
    assert rows["bandwidth"] == pytest.approx(1.5 / 6.0) and rows["launches"] > 5


def test_another_result_is_not_timed(quick, monkeypatch):
    monkeypatch.setitem(kernel_cases.OTHERS, "cosine", {"wrong": lambda a, b: (a + b).sum(1)})
    unit = next(u for u in kernels.units(Run(seeds=[0])) if u.method == "wrong")
    with pytest.raises(ValueError, match="cosine, wrong: off from the reference by .* not timed"):
        unit.measure()


def test_on_a_gpu_what_is_replayed_stands_beside_what_is_replayed(monkeypatch):
    ways = kernels._ways("cosine", torch.device("cuda"))
    assert [w for w in ways if w.endswith(kernels.REPLAYED)] == [
        f"{way}, replayed" for way in ("reference", "compiled", "triton")
    ]
    asked = []
    monkeypatch.setattr(kernels, "_replayed", lambda form, sets: asked.append("replayed") or form)
    monkeypatch.setattr(kernels, "_in_turn", lambda form, sets: asked.append("in turn") or form)
    monkeypatch.setattr(kernels, "_seconds", lambda run, asked: 1.0)
    monkeypatch.setattr(kernels, "_copy_seconds", lambda moved, run: 1.0)
    case = kernels.Case(lambda seed, device: (torch.eye(3), torch.ones(3, 3)), 1, 2**27)
    for way, called in (("compiled", "in turn"), ("reference, replayed", "replayed")):
        asked.clear()
        monkeypatch.setattr(kernels, "way_of", lambda known, way: known.reference)
        rows = kernels._measure("cosine", way, case, 0, Run(range(1)))
        assert asked == [called] * 2 and "launches" not in {row["metric"] for row in rows}
