"""Adversarial images: small steps from an image until a model says what it is told to say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data.checks import check_choice, check_count, check_integers, check_number
from minilearn.data.examples import Examples
from minilearn.kernels.l2_pgd import ORDERS, l2_pgd_step
from minilearn.methods.contract import copy_of
from minilearn.methods.items import check_box, items_of, logits_of
from minilearn.models import mode
from minilearn.precision import laid_out
from minilearn.training import seeded


@dataclass(frozen=True)
class PGD:
    """How to attack: projected gradient descent inside a ball of the Euclidean norm.

    Raises: ValueError if a value makes no sense
    """

    eps: float = 2.0  # radius, here for the digits: see L2UL; the paper's 4.0, for faces 2.0
    step: float = 0.1  # length of one step, as in the paper
    steps: int = 100  # steps, as in the paper
    repeats: int = 20  # attacks of every image; the paper's 20 (CIFAR-10), 200 or 300
    order: str = "clamp_project"  # the released order of clamping and projection, or the other
    box: tuple[float, float] = (0.0, 1.0)  # what pixels may be
    memory: int = 2**30  # bytes that the activations of one chunk may take

    def __post_init__(self):
        check_number("eps", self.eps, 0), check_number("step", self.step, 0)
        check_count("steps", self.steps, 0), check_count("repeats", self.repeats, 1)
        check_count("memory", self.memory, 1)
        check_choice("order", self.order, ORDERS), check_box(self.box)


@dataclass(frozen=True, eq=False)
class Attacked:
    """Adversarial images, the classes they were driven to, and which arrived there.

    Shapes: images (repeats N, ...), all images' first attack first; targets (repeats N,) int64;
        reached (repeats N,) bool
    """

    images: Tensor
    targets: Tensor
    reached: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        return f"Attacked({int(self.reached.sum())} of {len(self)} images reached their class)"


def l2_pgd(
    model: nn.Module,
    data: Examples,
    config: PGD = PGD(),
    *,
    targets: Tensor | None = None,
    seed: int = 0,
    cost: Cost | None = None,
) -> Attacked:
    """Drive every image to another class, as far as a ball of radius eps lets it.

        x <- x - step g / |g|,   g the gradient of CE(f(x), target);   then into box and ball

    An attack starts from a uniformly drawn image, pulled into the ball. All attacks of all images
    are one batch, cut into chunks by `config.memory`; only the input's gradient is computed.
    A target is drawn uniformly from the model's other classes, never the true one, unless
    `targets` gives one for every attack. Who never moves (no gradient) stays where it began.

    Paper: Madry et al. 2018; Cha et al. 2024 attack the items that are to be forgotten.  Chapter: 5
    Shapes: data Examples (N, ...) with class labels; targets (repeats N,) int64
    Differs: from the released code (utils.py:208-239), whose fallback for a drawn true class is
        class C // 2, which may be the true one; it attacks batch by batch and repeat by repeat,
        and computes the gradients of all weights
    Raises: ValueError if inputs lie outside the box, labels or targets are none of the model's
        classes, a target is the true label, or the model does not return one tensor of logits
    Example:
        >>> data = Examples(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 0]))
        >>> l2_pgd(nn.Linear(2, 3), data, PGD(eps=0.5, repeats=2)).images.shape
        torch.Size([4, 2])
    """
    model, cost = laid_out(copy_of(model)), Cost() if cost is None else cost
    data = items_of(data, model.requires_grad_(False), config)
    n, device = len(data) * config.repeats, data.device
    with mode(model, train=False), seeded(seed):
        classes, bytes_each = _look(model, data, cost)
        true = data.targets.repeat(config.repeats)
        if targets is None:  # drawn on the CPU: the same on every device
            shift = torch.randint(1, classes, (n,)).to(device)
            targets = (true + shift) % classes
        else:
            targets = _checked_targets(targets, true, classes).to(device)
        low, high = config.box
        noise = low + (high - low) * torch.rand(n, *data.inputs.shape[1:])
        start = data.inputs.repeat(config.repeats, *[1] * (data.inputs.ndim - 1))
        parts, size = [], max(1, config.memory // bytes_each)
        for x0, z, y in zip(*(t.split(size) for t in (start, noise, targets)), strict=True):
            parts.append(_chunk(model, x0, z.to(x0), y, config, cost))
    images, reached = (torch.cat(part) for part in zip(*parts, strict=True))
    return Attacked(images, targets, reached)


def _look(model: nn.Module, data: Examples, cost: Cost) -> tuple[int, int]:
    """The model's number of classes, and the bytes that one image's gradient needs meanwhile."""
    kept = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = data.inputs[:1].clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        classes = logits_of(model, x, max(2, data.classes)).shape[1]
    cost.touch("forget", forward=1)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved = sum(size for place, size in kept.items() if place not in weights)
    return classes, saved + 8 * x.numel() * x.element_size()


def _checked_targets(targets, true: Tensor, classes: int) -> Tensor:
    targets = check_integers("targets", targets)
    if len(targets) != len(true):
        raise ValueError(f"{len(true)} attacks need as many targets, got {len(targets)}")
    if int(targets.min()) < 0 or int(targets.max()) >= classes:
        raise ValueError(f"a target is no class of the model, which has {classes}")
    same = (targets == true.cpu()).nonzero()
    if len(same):
        raise ValueError(f"target {int(same[0])} is the item's true label: an attack leaves it")
    return targets


def _chunk(model, x0, noise, targets, config: PGD, cost: Cost) -> tuple[Tensor, Tensor]:
    within = {"low": config.box[0], "high": config.box[1], "order": config.order}
    moved = partial(l2_pgd_step, x0=x0, eps=config.eps, **within)
    x = moved(noise, torch.zeros_like(noise), step=0.0)  # into box and ball
    for _ in range(config.steps):
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(model(x), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        x = moved(x.detach(), gradient, step=config.step)
    cost.touch("forget", forward=(config.steps + 1) * len(x), backward=config.steps * len(x))
    with torch.no_grad():
        return x.detach(), model(x).argmax(1) == targets
