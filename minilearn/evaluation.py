"""One evaluation pass that gives everything metrics need."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import TensorDataset

from minilearn.checks import check_dataset
from minilearn.data.batches import batches, pair
from minilearn.data.examples import WITHOUT_TARGETS, Examples, Unlabelled, check_device
from minilearn.draws import seeded
from minilearn.losses import Loss, loss_per_example
from minilearn.models import clear_errors, device_of, mode
from minilearn.stack import check_single
from minilearn.warn import warn

SEED = 0  # of what is drawn at random while a model is evaluated


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything one pass over a set gives; every metric is computed from it.

    Outputs that look like probabilities, not logits, are warned of.

    Shapes: outputs (N, C) logits or (N, ...) predictions; targets (N,) or (N, ...); loss (N,), nats
        (cross-entropy), the targets' unit (absolute error) or what `evaluate` was asked for
    """

    outputs: Tensor
    targets: Tensor
    loss: Tensor

    def __post_init__(self):
        if not self.targets.is_floating_point() and _probabilities(self.outputs):
            warn(
                "the outputs lie in [0, 1] and their rows sum to 1, as after a softmax, and they "
                "are read as logits: losses, distances and attacks are then those of a softmax of "
                "a softmax; take the network without its last softmax"
            )

    @property
    def correct(self) -> Tensor:
        """Whether each example is classified right: (N,) bool."""
        return self._logits().argmax(1) == self.targets

    @property
    def log_probs(self) -> Tensor:
        """Log class probabilities: (N, C), nats."""
        return self._logits().log_softmax(1)

    @property
    def confidence(self) -> Tensor:
        """log p_y - log(1 - p_y) of the true class: (N,). For regression minus the error.

        Paper: Carlini et al. 2022, the scaled confidence that attacks use.
        """
        if self.targets.is_floating_point():
            return -self.loss
        # In logits: z_y - log sum_{k != y} exp z_k, exact where 1 - p_y would round to 0.
        # Of answers in half precision in single precision, or most would be alike.
        outputs = self.outputs.to(torch.promote_types(self.outputs.dtype, torch.float32))
        true = outputs.gather(1, self.targets[:, None])
        others = outputs.scatter(1, self.targets[:, None], -torch.inf).logsumexp(1)
        return true.squeeze(1) - others

    def _logits(self) -> Tensor:
        if self.targets.is_floating_point():
            raise ValueError("a regression result has no classes; look at its loss or its outputs")
        return self.outputs


def _probabilities(outputs: Tensor) -> bool:
    if outputs.ndim != 2 or outputs.shape[1] < 2 or not len(outputs):
        return False
    bounded = (outputs >= 0).all() & (outputs <= 1).all()
    near = 1e-2 if outputs.dtype == torch.bfloat16 else 1e-3
    return bool(bounded & ((outputs.float().sum(1) - 1).abs() < near).all())


def evaluate(model: nn.Module, data, *, loss: Loss = "auto", batch_size: int = 512) -> Evaluation:
    """One pass in evaluation mode, without gradients, keeping every example's output.

    The model is left as it was, flags included. What a dataset or a network draws at random comes
    from a fixed seed, so that two models are shown the same examples.

    Args:
        model, data: the network, and examples or a dataset of (input, target)
        loss: "auto", "absolute", "squared" or a `Quantile`
        batch_size: examples at once
    Raises: ValueError if the model and the data do not fit or live on different devices
    """
    check_single("evaluate", model)
    classes = number_of_classes(model, data)
    _warn_of_batch_statistics(model)
    outputs, targets, losses = [], [], []
    with mode(model, train=False), seeded(SEED), torch.no_grad():
        for x, y in map(pair, batches(data, batch_size, device=device_of(model))):
            last = x[-1:].clone()  # the network may write into its input
            # what a network draws must not change what a dataset draws next
            with clear_errors(x, y), seeded(SEED + len(losses)):
                answer = model(x)
                losses.append(loss_per_example(answer, y, classes, loss))
            outputs.append(answer.clone())  # it may be a buffer of the network's
            if not targets and len(x) > 1:
                _warn_of_company(model, last, outputs[0][-1:])
            targets.append(y)
        targets = torch.cat(targets)
        if not isinstance(data, Examples) and type(data) is not TensorDataset:  # told of already
            _warn_of_labels_as_numbers(targets)
        return Evaluation(torch.cat(outputs), targets, torch.cat(losses))


def _warn_of_company(model: nn.Module, x: Tensor, together: Tensor):
    """Warn if the answer to an example is another one without the examples beside it."""
    with seeded(SEED):
        before = _generators(x)
        try:
            alone = model(x)
        except Exception:  # whatever a network says of a batch of one
            return
        if not all(map(torch.equal, before, _generators(x))):  # it draws
            return
    if alone.shape == together.shape and len(alone):
        apart = (alone - together).abs().amax().item()
        if apart > 2e-2 * max(together.abs().amax().item(), 1e-6):
            warn(
                "the model answers an example otherwise without the examples beside it, as if the "
                "first axis were not that of examples (batch_first=True puts it there): a forget "
                "set alone is read otherwise than among all"
            )


def _generators(x: Tensor) -> list[Tensor]:
    """The states of torch's generators that a network may draw from on this device."""
    cuda = [torch.cuda.get_rng_state(x.device)] if x.is_cuda else []
    return [torch.get_rng_state(), *cuda]


def _warn_of_batch_statistics(model: nn.Module):
    """Warn of a normalisation through which an answer depends on what else is in its batch."""
    for name, part in model.named_modules():
        if isinstance(part, _BatchNorm) and part.running_mean is None:
            warn(
                f"layer {name!r} normalises by the batch in evaluation mode, too: answers depend "
                "on the examples beside it, and a forget set alone is read otherwise than among "
                "all, so give it track_running_stats=True"
            )


def number_of_classes(model: nn.Module, data) -> int:
    """The number of classes, 0 where the data do not tell at once.

    `Examples` of class labels do; numbers as targets, and a dataset, do not.

    Raises: ValueError if the data have no targets or are on another device than the model
    """
    check_dataset(data)
    if isinstance(data, Tensor | Unlabelled):
        raise ValueError(WITHOUT_TARGETS)
    check_device(model, data)
    if isinstance(data, Examples):
        _warn_of_labels_as_numbers(data.targets)
        return data.classes
    if type(data) is TensorDataset:
        _warn_of_labels_as_numbers(data.tensors[-1])
    return 0


def _warn_of_labels_as_numbers(targets: Tensor):
    """Warn where 50 targets or more are 0 and 1, alone or in rows."""
    if len(targets) < 50 or not targets.is_floating_point():  # of few it may be chance
        return
    if targets.unique().tolist() != [0.0, 1.0]:
        return
    if targets.ndim == 1:
        what, cure = "all targets are the numbers 0 and 1", "targets.long()"
    elif targets.ndim == 2 and bool((targets.sum(1) == 1).all()):
        what, cure = "every target is a row of zeros with a single 1", "targets.argmax(1)"
    else:
        what, cure = "all targets are rows of 0 and 1", "one column of them at a time, as .long()"
    warn(
        f"{what}, and they are fitted as numbers, by their error: for classes give {cure}, and a "
        "network with an output for each class"
    )


def logits_of(model: nn.Module, x: Tensor, classes: int = 0) -> Tensor:
    """The model's logits, (B, C).

    Raises: ValueError if it returns something else, or has fewer than `classes` classes
    """
    with clear_errors(x):
        logits = model(x)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ValueError(f"the model must return one tensor of logits (B, C), got {got}")
    if logits.shape[1] < classes:
        raise ValueError(f"{classes} classes are needed, but the model has {logits.shape[1]}")
    return logits


def frozen_logits(network: nn.Module, x: Tensor, classes: int = 0) -> Tensor:
    """`logits_of` in evaluation mode, without a gradient; the network may write into its input."""
    with mode(network, train=False), torch.no_grad():
        return logits_of(network, x.clone(), classes)


def recognised(model: nn.Module, items: Examples, classes: int, if_not_finite: bool) -> Tensor:
    """Which items the model gives their label, in evaluation mode: (N,) bool, on their device.

    Nothing in it waits for a GPU, which is why `classes` is given and not read from the items.

    Args: classes: the items' own. if_not_finite: the answer where the outputs are not
    Raises: ValueError as `logits_of`
    """
    with mode(model, train=False), torch.no_grad():
        found = []
        for x, y in batches(items, 1024):
            logits = logits_of(model, x, classes)
            answered = logits.isfinite().all(1)
            found.append((logits.argmax(1) == y).where(answered, if_not_finite))
        return torch.cat(found)
