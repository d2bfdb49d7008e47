"""Retraining without the forgotten examples: the definition of success, and its price."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from minilearn.cost import Cost
from minilearn.data import Examples
from minilearn.models import build
from minilearn.run import File, Watch
from minilearn.training import Training, fit
from minilearn.unlearn import Unlearned, method

RECIPE = Training()


@method
def retrain(
    fresh: Callable[[], nn.Module],
    retain: Examples,
    *,
    config: Training = RECIPE,
    seed: int = 0,
    watch: Watch | None = None,
    checkpoint: File | None = None,
) -> Unlearned:
    """Train a new model from scratch on the retained data alone, with the original's recipe.

    Every other method is measured by how close it comes to this one. It sees neither the original
    model nor the forgotten examples, so that nothing of them can be left.

    Args: fresh: makes a new, untrained network at every call. retain: Examples, to whose device the
        new model is moved, or a map-style dataset. seed, watch, checkpoint: as in `Run`
    Paper: Bourtoule et al. 2021, and every later one: exact unlearning.      Chapter: 1
    Differs: none known. Give `config` the original's recipe, which for the papers' data sets is
        `Training.paper`: otherwise distances contain the difference between two recipes
    Raises: ValueError if nothing is retained, or `fresh` does not make a new model at every call;
        whatever `fit` raises
    Example:
        >>> import torch
        >>> data = Examples(torch.randn(8, 2), torch.tensor([0, 1] * 4))
        >>> retrain(lambda: nn.Linear(2, 2), data, config=Training(epochs=1))
        Unlearned(retrain, seed 0, 24 sample units)
    """
    # Examples stay where they are; of a dataset each batch comes to where `fresh` made the model
    model = build(fresh, seed, varied=seed != 0)
    model.to(retain.device if isinstance(retain, Examples) else None)
    cost = Cost()
    history = fit(model, retain, config, seed=seed, watch=watch, checkpoint=checkpoint, cost=cost)
    return Unlearned(model, "retrain", config, seed, history, cost)
