"""Stop the ascent: what the model says of every withdrawn digit, epoch by epoch."""

from __future__ import annotations

from torch import Tensor

from minilearn.checks import as_numbers, check_kind
from minilearn.data import Examples
from minilearn.widgets.interactive import Interactive, inked


def stop_ascent(
    forget: Examples, said: Tensor, test_accuracy: Tensor, retrained: Tensor
) -> Interactive:
    """All withdrawn items as small images with the model's answer, and a slider over the epochs.

    The page counts from the answers: the accuracy on the withdrawn items, and how many of the
    mistakes a majority of the retrained models makes too. Those items are outlined.

    Args:
        forget: the withdrawn items, with class labels
        said: what the model answers at each epoch, beginning with the original
        test_accuracy: its accuracy on test data at each epoch
        retrained: what each retrained model answers
    Shapes: said (epochs + 1, n), test_accuracy (epochs + 1,), retrained (models, n)
    Raises: ValueError if the shapes do not fit, or the items are not grey images in [0, 1]
    """
    check_kind("forget", forget, Examples)
    said, retrained = as_numbers("said", said), as_numbers("retrained", retrained)
    test_accuracy = as_numbers("test_accuracy", test_accuracy).flatten()
    count, epochs = len(forget), len(test_accuracy)
    if said.shape != (epochs, count) or retrained.ndim != 2 or retrained.shape[1] != count:
        raise ValueError(
            f"{count} items and {epochs} test accuracies need answers ({epochs}, {count}) and "
            f"retrained answers (models, {count}), got {tuple(said.shape)} and "
            f"{tuple(retrained.shape)}"
        )
    data = {
        "images": inked(forget.inputs),
        "labels": forget.targets.tolist(),
        "said": said.tolist(),
        "test": test_accuracy.tolist(),
        "retrained": retrained.tolist(),
    }
    alt = (
        "All withdrawn digits with what the model answers at an epoch of gradient ascent that can "
        "be chosen; the digits that most retrained models misread are outlined."
    )
    return Interactive("stop_ascent", data, alt)
