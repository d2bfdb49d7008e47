"""Numbers as a reader wants to see them."""

from __future__ import annotations


def number(value: float, scale: float | None = None) -> str:
    """Three decimals, fewer for large numbers, more for small ones; `scale` decides for a pair."""
    scale = abs(value if scale is None else scale)
    scale = scale if scale > 2e-16 else 0.0  # less is rounding, as in 0.1 + 0.2 - 0.3
    if 0 < scale < 1e-4:
        return f"{value:.0e}" if value else "0"
    if scale >= 1000:
        places = 0
    elif scale >= 100:
        places = 1
    elif scale >= 10:
        places = 2
    elif scale >= 1e-3 or scale == 0:
        places = 3
    else:
        places = 4
    return f"{round(value, places) + 0.0:,.{places}f}"  # + 0.0: no -0.000


def pair(first: float, second: float, between: str) -> str:
    """Two numbers with as many decimals as the larger one has; `between` stands between them."""
    scale = max(abs(first), abs(second))
    return f"{number(first, scale)}{between}{number(second, scale)}"
