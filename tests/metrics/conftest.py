"""What the tests of attacks share: scikit-learn's models in a form that tells whom it has met."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline


@pytest.fixture
def strangers(monkeypatch) -> list[tuple[int, int]]:
    """Attackers give -1 to whom they were fitted to, and 1 to everybody else; here is how many
    members and non-members each was fitted to."""
    fitted = []

    def fit(model, x, y):
        model.met = {tuple(row) for row in x}
        fitted.append((int((y == 1).sum()), int((y == 0).sum())))
        return model

    def score(model, x):
        return np.array([-1.0 if tuple(row) in model.met else 1.0 for row in x])

    for kind in (Pipeline, HistGradientBoostingClassifier):
        monkeypatch.setattr(kind, "fit", fit)
        monkeypatch.setattr(kind, "decision_function", score)
    return fitted
