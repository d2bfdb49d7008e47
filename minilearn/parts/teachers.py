"""The blindspot model: trained briefly without what is to be forgotten, and copied there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from minilearn.checks import device_of
from minilearn.cost import Cost
from minilearn.data.examples import Examples
from minilearn.models import activations, build, check_architecture, mode
from minilearn.run import File
from minilearn.training import fit

TEACHERS = 10_000  # added to its seed, so that it begins with other weights than a retrained model


def check_names(name: str, layers):
    """Names of layers as a tuple or list, or None for the default; ValueError otherwise."""
    if not isinstance(layers, tuple | list | None):
        raise ValueError(f"{name} must be a tuple of names or None, got {layers!r:.80}")


def blindspot_model(
    model: nn.Module,
    fresh: Callable[[], nn.Module],
    retain: Examples,
    config,
    seed: int,
    checkpoint: File | None,
    cost: Cost,
) -> nn.Module:
    """A new network that is trained on the retained data alone, by `config.teacher`.

    Raises: ValueError if `fresh` makes another architecture than the model's; what `fit` raises
    """
    seed = seed + TEACHERS
    teacher = build(fresh, seed).to(device_of(model))
    check_architecture(model, teacher)
    recipe = replace(config.teacher, loss=config.loss)
    file = None if checkpoint is None else f"{checkpoint}.teacher"
    fit(teacher, retain, recipe, seed=seed, checkpoint=file, cost=cost)
    return teacher


def answer_and_maps(
    teacher: nn.Module, x: Tensor, layers: Sequence[str], shape: torch.Size
) -> tuple[Tensor, dict]:
    """The teacher's answer to forgotten inputs, and the outputs of its layers.

    Raises: ValueError if its answer has another shape than the student's
    """
    with mode(teacher, train=False), torch.no_grad(), activations(teacher, layers) as maps:
        answer = teacher(x.clone())  # it may write into what it is given
    if answer.shape != shape:
        shapes = f"{tuple(answer.shape)} where the model gives {tuple(shape)}"
        raise ValueError(f"the blindspot model gives {shapes}: both must be the same network")
    return answer, maps
