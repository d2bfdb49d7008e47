"""A small example of every figure, of data whose answers are known."""

from __future__ import annotations

from functools import cache

import torch
from shared import random
from torch import Tensor, nn

from minilearn import widgets
from minilearn.data import Examples, digits
from minilearn.metrics import Attack
from minilearn.models import small_cnn
from minilearn.trials import Trials, pairs_of_draws

NAN = float("nan")


def said(page) -> str:
    """What a figure tells in words."""
    return page.locator("[role=status]").inner_text()


@cache
def attacks() -> dict[str, Attack]:
    """Two attacks, one of them with ties."""
    return {
        "original": Attack(1.0 + random(103, seed=1), random(450, seed=2), NAN),
        "retrained": Attack(random(103, seed=3).round(), random(450, seed=4).round(), NAN),
    }


@cache
def ascent() -> tuple[Examples, Tensor, Tensor, Tensor]:
    """Twelve digits, what is said of them in five epochs, and by three retrained models."""
    forget = digits().train[:12]
    falling = torch.arange(12) < 2 * torch.arange(6)[:, None]  # two more mistakes an epoch
    answers = (forget.targets + 3 * falling) % 10
    retrained = forget.targets.repeat(3, 1)
    retrained[0, :4] += 1
    retrained[1, 2:6] += 1
    return forget, answers, torch.linspace(0.96875, 0.5, 6), retrained


@cache
def networks() -> tuple[dict[str, nn.Module], Examples]:
    """Two networks that know nothing, and two digits."""
    torch.manual_seed(0)
    hidden = nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)
    models = {"conv": small_cnn(10, size=8), "mlp": nn.Sequential(nn.Flatten(), *hidden)}
    return models, digits().train[:2]


@cache
def patients() -> tuple[Tensor, Tensor, tuple[str, str], tuple[str, str]]:
    """Two clouds that overlap, on scales of their own."""
    labels = torch.arange(30) % 2
    points = torch.tensor([10.0, 0.1]) * (random(30, 2, seed=8) + labels[:, None])
    return points, labels, ("radius", "texture"), ("benign", "malignant")


@cache
def band() -> tuple[Tensor, Tensor, tuple[float, float], str]:
    """Targets from 0 to 90 and three models that stop at about 30."""
    true = torch.linspace(0, 90, 61)
    answers = true.clamp(min=30) + torch.tensor([[0.0], [2.0], [7.0]])
    return true, answers, (0.0, 30.0), "degrees"


@cache
def cloud() -> tuple[dict[str, Tensor], tuple[int, ...], Examples, Examples]:
    """Six forgotten and twenty retained digits that drift apart, or do not."""
    train = digits().train
    places = random(26, 2, seed=9) + train.targets[:26, None]
    times = torch.arange(4)[:, None, None]
    away = torch.zeros(26, 2)
    away[:6] = 3.0
    both = {"both": places + times * away, "alignment": places.repeat(4, 1, 1)}
    return both, (0, 1, 4, 20), train[:6], train[6:26]


@cache
def audit() -> tuple[Trials, Examples]:
    """Ten candidates, of which originals know the later ones better, and sixteen draws."""
    forgotten = pairs_of_draws(16, 10)
    retrained, again, original = (random(16, 10, seed=seed).double() for seed in (11, 12, 13))
    known = original + torch.arange(10) / 3 * forgotten
    columns = {"original": known, "retrained": retrained, "retrained again": again}
    positions = torch.arange(3, 33, 3)
    return Trials(forgotten, columns, {}, positions), digits().train[:40]


EXAMPLES = {
    "drag_threshold": lambda: widgets.drag_threshold(attacks()),
    "draw_prediction": lambda: widgets.draw_prediction(*band()),
    "follow_points": lambda: widgets.follow_points(*cloud()),
    "judge_candidate": lambda: widgets.judge_candidate(*audit()),
    "paint_digit": lambda: widgets.paint_digit(*networks()),
    "stop_ascent": lambda: widgets.stop_ascent(*ascent()),
    "withdraw_point": lambda: widgets.withdraw_point(*patients()),
}
