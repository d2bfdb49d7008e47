"""The settings of L2UL, and the released ones."""

from __future__ import annotations

from dataclasses import dataclass

from minilearn.data.checks import check_choice, check_count, check_number
from minilearn.methods.adversarial import PGD
from minilearn.methods.mas import KINDS
from minilearn.training import Training

# Released: radius, attacks an item, items and adversarial images a step, most passes.
RECIPES = {
    "cifar10": (4.0, 20, 32, 256, 1000),
    "cifar100": (4.0, 200, 32, 256, 100),
    "vit": (4.0, 200, 32, 512, 1000),  # CIFAR-100
    "imagenet": (4.0, 200, 16, 128, 100),
    "utkface": (2.0, 300, 128, 128, 1000),
}


@dataclass(frozen=True)
class L2UL:
    """How to unlearn; `L2UL(attack=None, anchor=0, push="all")` is the paper's NegGrad.

    The radius depends on the images: take the smallest at which 95 % of the attacks arrive, which
    `l2_pgd(model, items, PGD(eps)).reached` tells without other data. `push` and `forget_weight`
    are not the paper's: pushing on what is forgotten is what ruins a model (chapter 5).

    Raises: ValueError if a value makes no sense
    """

    attack: PGD | None = PGD()  # how adversarial images are made; None: without them
    anchor: float = 1.0  # lambda, the weight of the anchor, as in the paper; 0: without it
    importance: str = "per-item"  # how it is measured; "batch-mean" as released
    epochs: int = 1000  # most passes over the adversarial images, or the items; the paper's
    batch_size: int = 32  # items a step, as in the paper
    adversarial_batch: int = 256  # adversarial images a step, as in the paper
    lr: float = 1e-3  # learning rate (SGD), as in the paper
    momentum: float = 0.9  # as in the paper
    weight_decay: float = 1e-4  # as in the paper
    forget_weight: float | None = 0.5  # w; None, as published: the items' share of the step
    push: str = "open"  # the loss is over the unfinished items; "all", as published: over all
    batch_norm: str = "frozen"  # its statistics stay; "train": they follow each step, as released

    def __post_init__(self):
        if self.attack is not None and not isinstance(self.attack, PGD):
            raise ValueError(f"attack is a PGD(...) or None, got {self.attack!r}")
        check_number("anchor", self.anchor, 0, ends="[)")
        if self.forget_weight is not None:
            check_number("forget_weight", self.forget_weight, 0, 1, ends="(]")
        check_choice("importance", self.importance, KINDS)
        check_choice("batch_norm", self.batch_norm, ("frozen", "train"))
        check_choice("push", self.push, ("all", "open"))
        check_count("adversarial_batch", self.adversarial_batch, 1)
        self.training()

    def training(self) -> Training:
        """The part of it that `fit` needs."""
        momentum, decay = self.momentum, self.weight_decay
        return Training(self.epochs, self.batch_size, self.lr, "sgd", momentum, decay)

    @classmethod
    def paper(cls, dataset: str) -> L2UL:
        """The released recipe for a key of `RECIPES`; ValueError for a data set without one."""
        if dataset not in RECIPES:
            raise ValueError(f"recipes are published for {', '.join(RECIPES)}, not {dataset!r}")
        eps, repeats, items, images, epochs = RECIPES[dataset]
        released = {"forget_weight": None, "push": "all", "batch_norm": "train"}
        attack = PGD(eps, repeats=repeats)
        return cls(attack, 1.0, "batch-mean", epochs, items, images, **released)
