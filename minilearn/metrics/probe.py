"""A linear probe: what a representation still tells although the model's answers do not say it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minilearn.checks import check_number
from minilearn.data.reading import targets_of
from minilearn.models import representation
from minilearn.warn import warn


def linear_probe(
    model: nn.Module, fit_on, read_on, *, layer: str | None = None, strength: float = 1.0
) -> Tensor:
    """Fit a linear readout of the targets on frozen features and apply it to other examples.

    Classes: multinomial logistic regression; returns whether each example is read right.
    Regression: ridge; returns each example's squared error over the variance of `read_on`'s
    targets, so that 1 - mean is R^2. `strength` is that of the L2 penalty on standardised features.

    What counts is the difference to the retrained model: a network that never saw a class can still
    separate it, and an untrained one often does.

    Chapter: 2
    Shapes: fit_on, read_on Examples or datasets; returns (N,) float64 of read_on
    Target: the retrained model's value.
    Cannot see: what only a non-linear readout would find. Where random features are enough for the
        task, it cannot see that a network knows nothing.
    Raises: ValueError if there are fewer examples to fit than features, one class or target alone,
        targets of two kinds, strength <= 0, features that are not finite, or no such layer
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    check_number("strength", strength, 0)
    y = targets_of(fit_on).cpu()
    y_unseen = targets_of(read_on).cpu()
    _check_targets(y, y_unseen)
    seen = representation(model, fit_on, layer).double().cpu()
    unseen = representation(model, read_on, layer).double().cpu()
    if not (seen.isfinite().all() and unseen.isfinite().all()):
        raise ValueError("the model's features are NaN or infinite: it has diverged")
    if len(seen) < seen.shape[1]:
        raise ValueError(
            f"{len(seen)} examples cannot fit a probe of {seen.shape[1]} features: anything would "
            "be separable; use more examples or a narrower layer"
        )
    if y.is_floating_point():
        readout = Ridge(alpha=strength)
    else:
        readout = LogisticRegression(C=1 / strength, max_iter=2000)
    readout = make_pipeline(StandardScaler(), readout).fit(seen.numpy(), y.numpy())
    answer = torch.from_numpy(readout.predict(unseen.numpy()))
    if y.is_floating_point():
        return (answer - y_unseen).double() ** 2 / y_unseen.double().var(unbiased=False)
    return (answer == y_unseen).double()


def _check_targets(y: Tensor, y_unseen: Tensor):
    regression = y.is_floating_point()
    if regression != y_unseen.is_floating_point() or y.ndim != 1 or y_unseen.ndim != 1:
        raise ValueError(
            "both sets need one target per example and of one kind, got "
            f"{tuple(y.shape)} {y.dtype} and {tuple(y_unseen.shape)} {y_unseen.dtype}"
        )
    if len(y.unique()) < 2:
        raise ValueError("a probe needs at least two different targets to fit")
    absent = sorted({*y_unseen.tolist()} - {*y.tolist()}) if not regression else []
    if absent:
        words = f"the probe is fitted without class {', '.join(map(str, absent[:5]))}, which it "
        words += "can never answer: fit it on examples of all classes"
        if len(absent) == len(y_unseen.unique()):
            raise ValueError(words)
        warn(words)
    if regression and len(y_unseen.unique()) < 2:
        raise ValueError("R^2 needs at least two different targets to read on")
