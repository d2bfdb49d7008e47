"""Figures of attacks, and of what they leave of single examples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from minilearn.checks import as_numbers, check_kind
from minilearn.metrics import Attack, Verdict
from minilearn.plots.style import SIZES, TITLE, canvas, lines, role

ENDS = -1.0, 2.0  # of the memory that is drawn


def roc(attacks: Mapping[str, Attack | Verdict], title: str) -> Figure:
    """ROC curves of an attack on several models: linear on the left, logarithmic on the right.

    The logarithmic panel shows what counts for the single person: how many are found while almost
    nobody is falsely accused. With verdicts the unlearned models are found, and retrained models
    are falsely accused; give the verdict on the null as well.

    Args: attacks: attacks, or verdicts, by the name of the attacked model. title: the finding
    Raises: ValueError if there is no attack, some are verdicts and others not, or a verdict is none
    """
    from sklearn.metrics import roc_curve

    check_kind("attacks", attacks, Mapping)
    kinds = {
        type(check_kind(f"the attack on {n}", a, Attack | Verdict)) for n, a in attacks.items()
    }
    if len(kinds) != 1:
        raise ValueError("attacks must be one or more, either all Attack or all Verdict")
    for name, attack in attacks.items():
        if not len(attack.members):
            raise ValueError(f"the attack on {name} has found nothing to draw: {attack}")
    figure, ((left, right),) = canvas(3.2, 2)
    for name, attack in attacks.items():
        labels = np.repeat([1, 0], [len(attack.members), len(attack.nonmembers)])
        scores = torch.cat([attack.members, attack.nonmembers]).cpu().numpy()
        fpr, tpr, _ = roc_curve(labels, scores)
        color = role(name, [*attacks])["color"]
        left.plot(fpr, tpr, color=color, label=f"{name}, auc {attack.auc:.2f}")
        right.plot(fpr, tpr, color=color)
    floor = 1 / max(len(a.nonmembers) for a in attacks.values())
    accused, found = "unseen falsely accused", "forgotten examples found"
    if kinds == {Verdict}:
        accused, found = "retrained falsely accused", "unlearned found"
    for ax in (left, right):
        ax.plot([floor, 1], [floor, 1], ":", color="#8a8a8a")
        ax.set_xlabel(accused)
    right.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1.1))
    left.set_ylabel(found)
    left.legend(fontsize=SIZES["legend.fontsize"], frameon=False, loc="lower right")
    figure.suptitle(lines(title), fontsize=TITLE)
    return figure


def memory(left: Mapping[str, Tensor], title: str) -> Figure:
    """How much is left of every candidate, sorted, a line a column of trials.

    Candidates that the original hardly knew are left out. 1 is all, 0 as if retrained. What lies
    outside of -1 to 2 is drawn at these ends, and the legend says of how many candidates.

    Args: left: `Trials.memory_left` by name. title: the finding
    Raises: ValueError if there is no column, or none has a candidate that is known
    """
    figure, ((ax,),) = canvas()
    most = 0
    for name, values in check_kind("left", left, Mapping).items():
        values = as_numbers(name, values)
        known = values[values.isfinite()].sort().values.cpu()
        most = max(most, len(known))
        style = role(name, [*left]) | {"markersize": 3}
        outside = int(((known < ENDS[0]) | (known > ENDS[1])).sum())
        words = f"{name}, {outside} outside" if outside else name
        ax.plot(known.clamp(*ENDS), label=words, **style)
    if not most:
        raise ValueError("left holds no candidate that the original visibly knew: nothing to draw")
    ax.set(xlabel="candidates that the original knew, sorted", ylabel="memory left", ylim=ENDS)
    ax.legend(fontsize=SIZES["legend.fontsize"], frameon=False, ncols=2)
    figure.suptitle(lines(title), fontsize=TITLE)
    return figure
