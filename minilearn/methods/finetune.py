"""Fine-tuning on what is retained, in the hope that the rest fades."""

from __future__ import annotations

from torch import nn

from minilearn.cost import Cost
from minilearn.data import Examples
from minilearn.models import copy_of
from minilearn.run import File, Watch
from minilearn.training import Training, fit
from minilearn.unlearn import Unlearned, method

SHORT = Training(epochs=5)


@method
def finetune(
    model: nn.Module,
    retain: Examples,
    *,
    config: Training = SHORT,
    seed: int = 0,
    watch: Watch | None = None,
    checkpoint: File | None = None,
) -> Unlearned:
    """Go on training the original model on the retained data alone, for a few epochs.

    The first thing that everybody tries, and the baseline that every paper has: it relies on
    catastrophic forgetting, which hardly sets in while the retained data look like the forgotten.

    Args: retain: Examples or a map-style dataset. seed, watch, checkpoint: as in `Run`
    Paper: Golatkar et al. 2020 ("fine-tune"); Tarun et al. 2023, 5 epochs.   Chapter: 1
    Differs: the default rate, 1e-3, is also the one that `Training` gives an original; Tarun et al.
        fine-tune at 1e-3 after a training at 1e-2: `Training.paper("agedb", "finetune")`
    Raises: ValueError if nothing is retained; whatever `fit` raises
    Example:
        >>> import torch
        >>> data = Examples(torch.randn(8, 2), torch.tensor([0, 1] * 4))
        >>> finetune(nn.Linear(2, 2), data, config=Training(epochs=2))
        Unlearned(finetune, seed 0, 48 sample units)
    """
    model = copy_of(model)
    cost = Cost()
    history = fit(model, retain, config, seed=seed, watch=watch, checkpoint=checkpoint, cost=cost)
    return Unlearned(model, "finetune", config, seed, history, cost)
