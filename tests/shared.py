"""What tests of several files share: sets, comparisons bit for bit, and a loop of one's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from minilearn.checkpoint import fingerprint
from minilearn.data import batches
from minilearn.run import Run
from minilearn.unlearned import History, Unlearned


class Pairs(Dataset):
    """A user's own dataset over some examples: length and items, targets as Python numbers."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        target = self.data.targets[i]
        return self.data.inputs[i], target if target.ndim else target.item()


def weights(model: nn.Module) -> list[torch.Tensor]:
    """All that a model holds, as copies."""
    return [v.clone() for v in model.state_dict().values()]


def same(a, b) -> bool:
    """Whether two lists of tensors are equal bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def bits(result: Unlearned) -> str:
    """Differs where a bit of the new model or of its losses does."""
    return fingerprint((result.model, result.history.loss))


def cross_entropy(model, x, y):
    return F.cross_entropy(model(x), y, reduction="none").mean()


def descend(model, data, config, loss=cross_entropy, *, seed=0, until=None, **options) -> History:
    """The loop of `fit` with a loss of one's own and a rule that ends it; `data` may be a function
    from a generator to the batches of an epoch."""

    def of_batch(*batch):
        return loss(model, *batch)

    with Run(model, config, seed, progress=False, **options) as run:
        config.make_optimizer(run)
        for epoch in run.epochs(config.epochs, until=until):
            run.set_lr(config.lr_at(epoch))
            size = config.batch_size
            read = data(run.order) if callable(data) else batches(data, size, order=run.order)
            for batch in read:
                run.step(of_batch, *(batch if isinstance(batch, tuple | list) else (batch,)))
                if run.stopped:
                    break
    return run.history
