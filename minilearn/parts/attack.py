"""Adversarial images: projected gradient steps from an image towards another class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.checks import (
    NOT_NEGATIVE,
    POSITIVE,
    check_box,
    check_dataset,
    check_integers,
    check_kind,
    check_settings,
    device_of,
    refuse_non_finite,
    whole,
)
from minilearn.cost import Cost, ledger
from minilearn.data.batches import batches, items_of, paired_batches
from minilearn.data.examples import Examples, check_device
from minilearn.draws import seeded
from minilearn.evaluation import logits_of
from minilearn.kernels.l2_pgd import ORDERS, l2_pgd_step
from minilearn.models import check_training_answers, copy_of, mode, with_gradients
from minilearn.precision import laid_out
from minilearn.warn import warn


@dataclass(frozen=True)
class PGD:
    """How to attack: projected gradient descent inside a ball of the Euclidean norm.

    Args:
        eps: radius of the ball, in units of the inputs; released 4.0, for faces 2.0; 2.0 suits the
            digits
        step: length of one step, as released
        steps: number of steps, as released
        repeats: attacks of every image; released 20 (CIFAR-10), 200 or 300
        order: "clamp_project", the released order of clamping and projection, or "project_clamp"
        box: (low, high), what pixels may be
        memory: bytes that the activations of one chunk may take
        floor: a gradient shorter than this is divided by it, so that its step is shorter too; the
            released attack has 1e-6; 0: every step has its length
    Raises: ValueError if a value makes no sense
    """

    eps: float = 2.0
    step: float = 0.1
    steps: int = 100
    repeats: int = 20
    order: str = "clamp_project"
    box: tuple[float, float] = (0.0, 1.0)
    memory: int = 2**30
    floor: float = 0.0

    def __post_init__(self):
        counts = {"steps": whole(0), "repeats": whole(1), "memory": whole(1)}
        lengths = {"eps": POSITIVE, "step": POSITIVE, "floor": NOT_NEGATIVE}
        check_settings(self, **lengths, order=ORDERS, box=check_box, **counts)


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
    seed: int = 0,
    cost: Cost | None = None,
) -> Attacked:
    """Drive every image to another class, as far as a ball of radius eps lets it.

        x <- x - step g / max(|g|, floor),   g the gradient of CE(f(x), target);

    then into box and ball.

    An attack starts from a uniformly drawn image, pulled into the ball. All attacks of all images
    are one batch, cut into chunks by `config.memory`; only the input's gradient is computed.
    A target is drawn uniformly from the model's other classes, never the true one. An image without
    a gradient stays where it began.

    Paper: Madry et al. 2018; Cha et al. 2024 attack the items that are to be forgotten.  Chapter: 6
    Shapes: data Examples (N, ...) with class labels
    Differs: from the released code (utils.py:208-239), whose fallback for a drawn true class is
        class C // 2, which may be the true one; it attacks batch by batch and repeat by repeat,
        and computes the gradients of all weights. Its library, AdverTorch, has a floor of 1e-6, as
        `PGD(floor=1e-6)`: on a pre-trained ResNet-20 from a third of the gradients (20 steps,
        radius 0.4) to nine tenths (100 steps, radius 4) lie below it
    Raises: ValueError if inputs lie outside the box, labels are none of the model's classes, or the
        model does not return one tensor of logits
    Example:
        >>> data = Examples(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 0]))
        >>> l2_pgd(nn.Linear(2, 3), data, PGD(eps=0.5, repeats=2)).images.shape
        torch.Size([4, 2])
    """
    check_kind("config", config, PGD)
    check_dataset(data)
    check_device(model, data)
    data = items_of(data, device_of(model))
    check_inside(data.inputs, config)
    model = laid_out(copy_of(model)).requires_grad_(False)
    cost = ledger(cost)
    low, high = config.box
    with mode(model, train=False), seeded(seed), with_gradients():
        classes, bytes_each = _look(model, data, cost)
        true = data.targets.repeat(config.repeats)
        # drawn on the CPU: the same on every device
        shift = torch.randint(1, classes, (len(true),))
        targets = (true + shift.to(data.device)) % classes
        noise = low + (high - low) * torch.rand(
            len(true), *data.inputs.shape[1:], dtype=torch.float32
        )
        start = data.inputs.repeat(config.repeats, *[1] * (data.inputs.ndim - 1))
        size = max(1, config.memory // bytes_each)
        images = []
        reached = []
        for x0, z, y in zip(*(t.split(size) for t in (start, noise, targets)), strict=True):
            z = z.to(x0)
            x = _stepped(z, torch.zeros_like(z), x0, config, 0.0)
            for _ in range(config.steps):
                x = x.detach().requires_grad_()
                # a copy, for a network may write into what it is given
                loss = F.cross_entropy(model(x.clone()), y, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, x)
                x = _stepped(x.detach(), gradient, x0, config, config.step)
            with torch.no_grad():
                reached.append(model(x.clone()).argmax(1) == y)
            images.append(x.detach())
    steps = config.steps * len(true)
    cost.touch("forget", forward=steps + len(true), backward=steps)
    return Attacked(torch.cat(images), targets, torch.cat(reached))


def _stepped(x: Tensor, gradient: Tensor, x0: Tensor, config: PGD, step: float) -> Tensor:
    """One step of the attack; with a floor the steps differ in length."""
    if config.floor:
        length = gradient.flatten(1).norm(dim=1).clamp(min=config.floor)
        x = x - step * gradient / length.view(-1, *[1] * (x.ndim - 1))
        gradient = torch.zeros_like(x)
    low, high = config.box
    return l2_pgd_step(x, gradient, x0, step, config.eps, low=low, high=high, order=config.order)


def check_inside(inputs: Tensor, config):
    """Refuse inputs that a step over pixels cannot start from.

    Raises: ValueError if they are not floating-point numbers or lie outside the config's box
    """
    if not inputs.is_floating_point():
        cure = "; where there are no pixels, L2UL(attack=None) goes without"
        cure = cure if isinstance(config, PGD) else ""
        raise ValueError(f"a step over pixels needs floating-point ones, got {inputs.dtype}{cure}")
    if config.box is None:
        return
    low, high = (float(end) for end in inputs.detach().aminmax())
    if low < config.box[0] or high > config.box[1]:
        raise ValueError(
            f"the inputs run from {low:g} to {high:g}, outside the box {config.box}: give the true "
            f"range as {type(config).__name__}(box=(low, high)), or give pixels in it and let the "
            "model normalise them, as nn.Sequential(models.Normalize(mean, std), model)"
        )


def _look(model: nn.Module, data: Examples, cost: Cost) -> tuple[int, int]:
    """The model's number of classes, and the bytes that one image's gradient needs meanwhile."""
    kept = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = data.inputs[:1].clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = logits_of(model, x.clone(), max(2, data.classes))
    refuse_non_finite("the model's outputs", logits.detach())
    classes = logits.shape[1]
    cost.touch("forget", forward=1)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved = sum(size for place, size in kept.items() if place not in weights)
    return classes, saved + 8 * x.numel() * x.element_size()


def relabelled(items: Examples, labels) -> Examples:
    """The items under new labels.

    Raises: ValueError if there are more or fewer of them, or one is the old label
    """
    new = check_integers("new labels", labels).to(items.device)
    if len(new) != len(items):
        raise ValueError(f"{len(items)} items need as many new labels, got {len(new)}")
    same = (new == items.targets).nonzero()
    if len(same):
        raise ValueError(
            f"the new label of item {int(same[0])} is its old one, {int(new[same[0]])}"
        )
    return items.with_targets(new)


def adversarial_images(
    model: nn.Module, items: Examples, attack: PGD | None, seed: int, cost: Cost
) -> Examples | None:
    """The adversarial images around the items, with the classes they were driven to."""
    if attack is None:
        return None
    check_training_answers(model, items.inputs)
    with cost.clock(device_of(model)):
        attacked = l2_pgd(model, items, attack, seed=seed, cost=cost)
    arrived = int(attacked.reached.sum())
    if 2 * arrived < len(attacked):
        warn(
            f"only {arrived} of {len(attacked)} adversarial images reach the class that they were "
            "driven to, so that they hold other answers than the model's: take a larger radius, "
            f"as PGD(eps={2 * attack.eps:g}), which is in units of the inputs"
        )
    return Examples(attacked.images, attacked.targets)


def paired(items: Examples, images: Examples | None, config, order: torch.Generator) -> Iterator:
    """One pass over the images, each batch beside the next one of the items: x, y, x_adv, y_adv.

    Without images it is one pass over the items, beside images without rows. Without
    `config.shuffle` both are read in their order.
    """
    order = order if config.shuffle else None
    if images is None:
        for x, y in batches(items, config.batch_size, order=order):
            yield x, y, x[:0], y[:0]
        return
    first = batches(images, config.adversarial_batch, order=order)
    pairs = paired_batches(first, lambda: batches(items, config.batch_size, order=order))
    for (x_adv, y_adv), (x, y) in pairs:
        yield x, y, x_adv, y_adv


def logits_of_both(net: nn.Module, x: Tensor, x_adv: Tensor, batch_norm: str):
    """Logits of items and of images; each has batch statistics of its own, unless "frozen".

    The second of two passes weighs more in the running statistics: with "released" the items'.
    """
    if batch_norm == "train" and len(x_adv):
        return logits_of(net, x), logits_of(net, x_adv)
    if batch_norm == "released" and len(x_adv):
        logits_adv = logits_of(net, x_adv)
        return logits_of(net, x), logits_adv
    return logits_of(net, torch.cat([x, x_adv])).split([len(x), len(x_adv)])
