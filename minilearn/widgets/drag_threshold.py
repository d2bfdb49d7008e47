"""Drag the threshold of an attack over real scores; the ROC curve follows."""

from __future__ import annotations

from collections.abc import Mapping

from minilearn.checks import check_kind
from minilearn.metrics import Attack
from minilearn.widgets.interactive import Interactive


def drag_threshold(attacks: Mapping[str, Attack]) -> Interactive:
    """Scores of members and non-members with a threshold to drag, the ROC curve beside them.

    The page computes from the scores themselves: the shares accused, the area under the curve, and
    the members that are found while at most 1 % of the non-members are accused.

    Args: attacks: by the name of the attacked model; the reader chooses between them
    Raises: ValueError if there is no attack, or one has no finite scores on a side
    """
    if not check_kind("attacks", attacks, Mapping):
        raise ValueError("no attack was given: name at least one, as in {'original': attack}")
    scores = {}
    for name, attack in attacks.items():
        check_kind(f"the attack on {name}", attack, Attack)
        attack.auc  # noqa: B018  refuses scores that are empty or not finite
        sides = attack.members, attack.nonmembers
        scores[name] = [side.double().sort().values.tolist() for side in sides]
    alt = (
        "Histograms of an attack's scores for members and non-members with a threshold that can be "
        "moved, and the ROC curve with the threshold's place on it."
    )
    return Interactive("drag_threshold", {"scores": scores}, alt)
