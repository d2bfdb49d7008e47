"""Draw what retrained models will say about a band that they have never seen, then look."""

from __future__ import annotations

from torch import Tensor

from minilearn.checks import as_numbers, check_box, check_kind
from minilearn.widgets.interactive import Interactive, packed


def draw_prediction(
    true: Tensor, answers: Tensor, band: tuple[float, float], unit: str
) -> Interactive:
    """Answers outside a band, the band to draw in, and a button that reveals the answers there.

    The page computes how far the reader's curve is from the mean answer of the retrained models,
    and beside it how far the truth is, and one retrained model from the mean of the others.

    Args:
        true: what should have been answered
        answers: what each retrained model answers; the band was not in their training data
        band: from where to where the forgotten targets lie, both ends included
        unit: of the targets, as in "degrees"
    Shapes: true (n,), answers (models, n)
    Raises: ValueError if the shapes do not fit, there are fewer than two models, or no target or
        every target lies in the band
    """
    low, high = check_box("band", band)
    true, answers = as_numbers("true", true), as_numbers("answers", answers)
    check_kind("unit", unit, str)
    if true.ndim != 1 or answers.ndim != 2 or len(answers) < 2 or answers.shape[1] != len(true):
        raise ValueError(
            "needs targets (n,) and answers (models, n) of at least two models, got "
            f"{tuple(true.shape)} and {tuple(answers.shape)}"
        )
    inside = (true >= low) & (true <= high)
    if inside.all() or not inside.any():
        raise ValueError(
            f"the band {low:g} to {high:g} must hold some targets and not all, got {inside.sum()}"
        )
    ends = [min(true.min(), answers.min()).item(), max(true.max(), answers.max()).item()]
    data = {
        "true": packed(true, *ends),
        "inside": inside.int().tolist(),
        "answers": [packed(row, *ends) for row in answers],
        "band": [low, high],
        "ends": ends,
        "unit": unit,
    }
    alt = (
        f"True against answered {unit} of retrained models, with the band from {low:g} to {high:g} "
        "empty: draw there what you expect, then reveal what they answer."
    )
    return Interactive("draw_prediction", data, alt)
