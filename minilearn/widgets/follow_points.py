"""Follow points of a cloud: each is an example with its picture and its way during unlearning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from minilearn.checks import as_numbers, check_integers, check_kind
from minilearn.data import Examples
from minilearn.widgets.interactive import Interactive, inked, packed


def follow_points(
    places: Mapping[str, Tensor], steps: Sequence[int], forget: Examples, retain: Examples
) -> Interactive:
    """Points in a plane at several times; point at one to see its picture and the way it takes.

    The page counts how many forgotten points lie nearest to the middle of the retained points of
    their own class.

    Args:
        places: by a name that the reader chooses, the points at every step: those of `forget`, then
            those of `retain`
        steps: the epochs at which they were taken
        forget, retain: their images and class labels
    Shapes: places (steps, n, 2) each, images (n, 1, size, size)
    Raises: ValueError if there are no places, the shapes do not fit, or the images are not grey
    """
    steps = check_integers("steps", steps).tolist()
    for name, part in (("forget", forget), ("retain", retain)):
        check_kind(name, part, Examples)
    wanted = len(steps), len(forget) + len(retain), 2
    places = {
        name: as_numbers(f"the places of {name}", values)
        for name, values in check_kind("places", places, Mapping).items()
    }
    for name, values in places.items():
        if tuple(values.shape) != wanted or not values.isfinite().all():
            raise ValueError(
                f"the places of {name} must be finite and of shape {wanted}: steps, forgotten "
                f"before retained examples, two coordinates; got {tuple(values.shape)}"
            )
    if not places:
        raise ValueError("no places were given: name them, as in {'both losses': places}")
    every = torch.stack([*places.values()])
    ends = every.min().item(), every.max().item()
    data = {
        "places": {name: packed(values, *ends) for name, values in places.items()},
        "steps": steps,
        "forgotten": len(forget),
        "images": inked(torch.cat([forget.inputs, retain.inputs])),
        "labels": torch.cat([forget.targets, retain.targets]).tolist(),
    }
    alt = (
        "The representation of forgotten and retained digits in two dimensions, at several epochs "
        "of unlearning; one digit is shown with the way that its point takes."
    )
    return Interactive("follow_points", data, alt)
