"""Rows of a report that come from trials: strong attacks on other models of the same methods."""

from __future__ import annotations

import math
from collections.abc import Sequence

from minilearn.checks import check_kind
from minilearn.metrics.band import RETRAINED, Row
from minilearn.metrics.columns import ORIGINAL

NOTES = {
    "ulira": "ulira: how well an attack that knows every candidate tells unlearned models from "
    "retrained ones (AUC, 0.5 where it cannot), with half of its interval; on test at examples "
    "that nobody trained on, where it sees that a model was edited. As good as retraining: inside "
    "the null band, which is as wide around 0.5 as the interval of models that were retrained "
    "again. Cannot see: the models of this report, since the trials have their own.",
    "memory_left": "memory_left: what is left of what the original knew of a candidate, the median "
    "(1 all of it, 0 as if retrained). As good as retraining: near what models have that were "
    "retrained again. Cannot see: how the candidates differ.",
}


def audit_rows(found, columns: Sequence[str]) -> list[Row]:
    """What trials say of the columns of a report whose names they have; retrained is their null.

    Raises: ValueError if `found` are not trials, or they have no verdict, or none of the methods
    """
    from minilearn.trials import AGAIN, Trials

    found = check_kind("trials", found, Trials)
    names = {name: AGAIN if name == RETRAINED else name for name in columns}
    names = {name: column for name, column in names.items() if column in found.candidates}
    if not set(names) - {ORIGINAL, RETRAINED}:
        theirs = ", ".join(map(repr, found.candidates))
        raise ValueError(f"trials have none of the report's methods, but the columns {theirs}")
    rows = []
    for split, unseen in (("forget", False), ("test", True)):
        null = found.attack(AGAIN, unseen)
        if math.isnan(null.auc):
            words = str(null).replace("candidates", "unseen examples") if unseen else str(null)
            raise ValueError(f"trials give {words}")
        band = 0.5 - (null.high - null.auc), 0.5 + (null.high - null.auc)
        for name, column in names.items():
            verdict = null if column == AGAIN else found.attack(column, unseen)
            half = max(verdict.high - verdict.auc, verdict.auc - verdict.low)  # one end may be cut
            size = verdict.candidates
            rows.append(Row("ulira", split, name, (verdict.auc,), band, size, half))
    for name, column in names.items():
        left = found.memory_left(column)
        left = left[left.isfinite()]
        if len(left):
            row = Row("memory_left", "forget", name, (left.quantile(0.5).item(),), None, len(left))
            rows.append(row)
    return rows
