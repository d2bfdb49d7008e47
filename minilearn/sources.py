"""Where the spread of a number comes from: the draw, the original's seed, or the method's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from minilearn.checks import as_numbers, check_number

STAGES = ("draw", "training seed", "unlearning seed")
ROUNDING = 1e-9  # a budget that is met but for this is met
MOST = 300  # originals a draw, and unlearned models of each, that `design` tries


def sources_of_variance(values: Tensor):
    """How much of a metric's variance arises at each stage, each inside the one before.

        value = mean + draw + training seed of the draw + unlearning seed of that

    Shapes: values (D, T, U): of D draws, T originals each, and U unlearned models of each, all at
        least 2
    Returns a pandas DataFrame, a row a stage: the `variance` that it adds, its `share` of the sum,
    and `models`, how many numbers it was estimated from. An estimate below 0 is 0.
    Paper: Searle, Casella and McCulloch 1992, the nested analysis of variance.
    Cannot see: stages that are crossed, as where all draws share their training seeds.
    Raises: ValueError if there are not three stages of two or more, or a number is not finite
    Example:
        >>> table = sources_of_variance(torch.tensor([[[0., 2.], [1., 1.]], [[9., 9.], [8., 10.]]]))
        >>> table["variance"].round(2).tolist()
        [32.0, 0.0, 1.0]
    """
    import pandas

    values = as_numbers("values", values).double()
    if values.ndim != 3 or min(values.shape) < 2 or not bool(values.isfinite().all()):
        shape = tuple(values.shape)
        raise ValueError(f"values must be finite, (draws, seeds, seeds), 2 at least, got {shape}")
    _, seeds, unlearned = values.shape
    of_seed, of_draw = values.mean(2), values.mean((1, 2))
    inside = values.var(2).mean()
    between_seeds = of_seed.var(1).mean() - inside / unlearned
    between_draws = of_draw.var() - of_seed.var(1).mean() / seeds
    found = torch.stack([between_draws, between_seeds, inside]).clamp(min=0)
    sizes = [len(of_draw), of_seed.numel(), values.numel()]
    columns = {"variance": found, "share": found / found.sum().clamp(min=1e-300)}
    return pandas.DataFrame(
        {name: column.tolist() for name, column in columns.items()} | {"models": sizes}, STAGES
    )


def design(
    variances: Sequence[float], costs: Sequence[float], budget: float
) -> tuple[int, int, int]:
    """How many draws, originals a draw and unlearned models of each give the surest mean.

        v_D / D + v_T / (D T) + v_U / (D T U) is smallest where D (c_D + T (c_T + U c_U)) <= budget

    Args:
        variances: of a draw, a training seed, an unlearning seed, as `sources_of_variance` has them
        costs: of one more of each, in the budget's unit, such as seconds
        budget: what there is to spend
    Paper: Cochran 1977, section 10.6; here all whole numbers are tried, of originals a draw and of
        unlearned models each up to 300.
    Raises: ValueError if there are not three of each, one makes no sense, or the budget is too
        small for one of each
    Example:
        >>> design((1.0, 1.0, 4.0), costs=(10.0, 10.0, 1.0), budget=1000.0)
        (37, 1, 7)
    """
    variances, costs = _floats("variances", variances), _floats("costs", costs)
    if len(variances) != len(STAGES) or len(costs) != len(STAGES):
        raise ValueError(f"variances and costs are three numbers each, one a stage of {STAGES}")
    v_draw, v_seed, v_unlearned = (check_number("a variance", v, 0, ends="[)") for v in variances)
    c_draw, c_seed, c_unlearned = (check_number("a cost", c, 0) for c in costs)
    budget = check_number("the budget", budget, 0)
    best, chosen = math.inf, None
    for seeds in range(1, MOST + 1):
        for unlearned in range(1, MOST + 1):
            price = c_draw + seeds * (c_seed + unlearned * c_unlearned)
            draws = int(budget / price * (1 + ROUNDING))
            if not draws:
                break
            spread = (v_draw + (v_seed + v_unlearned / unlearned) / seeds) / draws
            if spread < best:
                best, chosen = spread, (draws, seeds, unlearned)
    if chosen is None:
        raise ValueError(f"one of each costs {sum(costs):g}, more than the budget of {budget:g}")
    return chosen


def _floats(name: str, values) -> list[float]:
    """Numbers in any form, those of a list in double precision."""
    values = list(values) if hasattr(values, "to_numpy") else values
    numbers = as_numbers(name, values).flatten().tolist()
    flat = isinstance(values, list | tuple) and len(values) == len(numbers)
    return [float(value) for value in values] if flat else numbers
