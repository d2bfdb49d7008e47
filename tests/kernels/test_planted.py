"""A wrong kernel does not pass: each fault is planted in the source, and a check must notice."""

import importlib.util
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from kernel_checks import CHECKS

import minilearn.kernels

FOLDER = Path(minilearn.kernels.__file__).parent
# file, what stands there, what is planted
FAULTS = {
    "what lies beyond the end counts": (
        "mixed_l1",
        "tl.load(out + i, mask=inside, other=0.0)",
        "tl.load(out + i, mask=inside, other=1.0)",
    ),
    "a tie has a slope": ("mixed_l1", "tl.where(d < 0, -1.0, d)", "-1.0"),
    "NaN is no longer seen in a slope": (
        "mixed_l1",
        "tl.where(d < 0, -1.0, d)",
        "tl.where(d < 0, -1.0, 0.0)",
    ),
    "a term with the slope of a sum": (
        "mixed_l1",
        "tl.full((BLOCK,), 1.0, ACC) / n",
        "tl.full((BLOCK,), 1.0, ACC)",
    ),
    "one slope over the other": ("mixed_l1", "slopes + n + i", "slopes + i"),
    "partial sums that no round adds": ("mixed_l1", "range(0, count, BLOCK)", "range(0, 1, BLOCK)"),
    "partial sums that are means already": (
        "mixed_l1",
        "slopes, sums, n, 1,",
        "slopes, sums, n, n,",
    ),
    "a sum in the type of the rows": (
        "mixed_l1",
        "torch.float64 if double else torch.float32",
        "out.dtype",
    ),
    "a clamp that drops NaN": (
        "l2_pgd",
        "tl.where(y < low, low, tl.where(y > high, high, y))",
        "tl.clamp(y, low, high)",
    ),
    "NaN is passed over by a maximum": (
        "l2_pgd",
        "tl.where(length == length, y, length)",
        "tl.where(length == length, y, x0_)",
    ),
    "a norm whose squares vanish": (
        "l2_pgd",
        "peak = tl.max(tl.abs(g_), 0)",
        "peak = tl.max(tl.abs(g_), 0) * 0 + 1",
    ),
    "an old scale is kept": ("l2_pgd", "gg = gg * (peak / new) * (peak / new)", "gg = gg"),
    "the box comes after the ball": ("l2_pgd", "if CLAMP_FIRST:", "if not CLAMP_FIRST:"),
    "retained rows are multiplied away": (
        "attention_tap",
        "    if tl.load(forget + b) != 0:\n        w = tl.load",
        "    if True:\n        w = (tl.load(forget + b) != 0).to(ACC) * tl.load",
    ),
    "the norm's own slope is left out": ("attention_tap", "u - q * along", "u"),
    "the gradient from above is lost": ("attention_tap", "if ABOVE:", "if not True:"),
    "strides are taken for granted": (
        "attention_tap",
        "above + b * ab + c * ac + p * ap",
        "above + (b * channels + c) * positions + p",
    ),
    "absolute values after the sum": ("abs_bmm", "total += tl.abs(product)", "total += product"),
    "an item too many": ("abs_bmm", "tl.minimum(first + each, items)", "first + each"),
    "the last positions are left out": (
        "abs_bmm",
        "range(0, positions, INNER)",
        "range(0, positions - 1, INNER)",
    ),
    "the peak is not subtracted": (
        "laf_losses",
        "peak = tl.maximum(peak, tl.max(d / tau, 0))",
        "peak = tl.zeros((), ACC)",
    ),
    "a slope at a norm held at eps": (
        "laf_losses",
        "tl.where(tl.sqrt(aa) < small, 0.0, cos / norm)",
        "cos / norm",
    ),
    "a saturated loss with the plain slope": (
        "laf_losses",
        "steep *= phi / ((1 + m) * (1 + m))",
        "steep *= phi",
    ),
    "half the divergence": ("gaussian_elbo", "- log - 1, 0) / 2", "- log - 1, 0) / 4"),
    "the slope of the variance": ("gaussian_elbo", "w * (variance - 1) / 2", "w * variance / 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(fault, tmp_path, poison):
    name, there, planted = FAULTS[fault]
    text = (FOLDER / f"{name}.py").read_text("utf-8")
    assert there in text, "the fault no longer fits the source"
    module = loaded(name, text.replace(there, planted), fault, tmp_path)
    assert any(fails(check, module) for check in CHECKS[name]), f"nobody notices: {fault}"


@pytest.mark.parametrize("name", CHECKS)
def test_nothing_planted_nothing_noticed(name, tmp_path, poison):
    module = loaded(name, (FOLDER / f"{name}.py").read_text("utf-8"), name, tmp_path)
    assert not any(fails(check, module) for check in CHECKS[name])


def loaded(name: str, text: str, title: str, folder: Path):
    """The source as a module whose operations and table do not meet those of the right kernel."""
    import_module(f"minilearn.kernels.{name}")  # who decides looks the right one up
    tag = re.sub(r"\W", "_", title)
    text = re.sub(r'"(\w+)\(Tensor', rf'"planted_{tag}_\1(Tensor', text)
    text = text.replace("register, ", "Kernel as register, ", 1)
    path = folder / f"planted_{tag}.py"
    path.write_text(text, "utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fails(check, module) -> bool:
    try:
        with np.errstate(all="ignore"):
            check(module)
    except AssertionError:
        return True
    return False
