"""What tests of several files share: sets, results, comparisons, and a loop of one's own."""

from __future__ import annotations

import shutil

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from minilearn.data import Examples, batches
from minilearn.evaluation import Evaluation
from minilearn.fingerprints import fingerprint
from minilearn.identity import contents
from minilearn.run import Run
from minilearn.training import Training
from minilearn.unlearned import History, Unlearned

# Where the browser is, None without one.
CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)


class Pairs(Dataset):
    """A user's own dataset over some examples: length and items, targets as Python numbers."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        target = self.data.targets[i]
        return self.data.inputs[i], target if target.ndim else target.item()


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Normal numbers that no other draw has an influence on."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def numbered(n: int, regression: bool = False) -> Examples:
    """Examples that can be told apart, in groups of two."""
    targets = torch.arange(n) / 7 if regression else torch.arange(n) % 3
    return Examples(torch.arange(n * 2.0).reshape(n, 2), targets, torch.arange(n) // 2)


def labelled(n: int, seed: int) -> Examples:
    """Examples of 5 numbers in 3 classes, those of the largest of the first three."""
    x = random(n, 5, seed=seed)
    return Examples(x, x[:, :3].argmax(1))


def classes_of(*labels: int) -> Examples:
    """Examples with these labels."""
    return Examples(torch.arange(len(labels) * 2.0).reshape(-1, 2), torch.tensor(labels))


def line(*targets: float) -> Examples:
    """Examples with these targets, one number each."""
    return Examples(torch.arange(len(targets) * 1.0)[:, None], torch.tensor(targets))


FOUR = classes_of(0, 1, 1, 3)


class Bowl(nn.Module):
    """Answers w^2 / 2 to everything: with target 0 the absolute error is a quadratic in w."""

    def __init__(self, start: float):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self, x):
        """The same answer for every input."""
        return self.w**2 / 2 + 0 * x[:, 0]


# What a bowl is trained on: every step of `SGD` makes w smaller by a tenth.
ORIGIN = Examples(torch.zeros(12, 1, dtype=torch.float64), torch.zeros(12))
SGD = Training(optimizer="sgd", momentum=0.0, lr=0.1, batch_size=4)


def regression(losses) -> Evaluation:
    """A regression result with given absolute errors."""
    losses = torch.as_tensor(losses, dtype=torch.float32)
    return Evaluation(losses, torch.zeros_like(losses), losses)


def errors(count: int, seed: int, scale: float = 10.0) -> Evaluation:
    """|N(0, scale^2)|: no example differs from another but by chance."""
    return regression(scale * random(count, seed=seed).abs())


def count(model: nn.Module) -> int:
    """How many numbers can be trained."""
    return sum(p.numel() for p in model.parameters())


def weights(model: nn.Module) -> list[torch.Tensor]:
    """All that a model holds, as copies."""
    return [v.clone() for v in model.state_dict().values()]


def same(a, b) -> bool:
    """Whether two lists of tensors are equal bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def bits(result: Unlearned) -> str:
    """Differs where a bit of the new model or of its losses does."""
    return fingerprint((contents(result.model), result.history.loss))


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


def unseen(data: Examples) -> Examples:
    """Examples that are hardly others, but that nobody trained on."""
    return Examples(data.inputs + 1e-6 * (1 + data.inputs.abs()), data.targets)


class Keeping(Dataset):
    """A thousand items that say nothing of what it keeps."""

    def __init__(self, kept):
        self.kept = kept

    def __len__(self):
        return 1000

    def __getitem__(self, i):
        return torch.zeros(2), 0


SHORT = Training(epochs=2, batch_size=8, lr=1e-2)  # for `labelled`


class Net(nn.Module):
    """Two linear layers for `labelled`."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(5, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.two(self.one(x).relu())
