"""Around a call of a network: its mode, gradients, what it may have changed, what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from minilearn.draws import seeded
from minilearn.models.copies import duplicate


@contextmanager
def with_gradients() -> Iterator[None]:
    """Compute gradients inside a block, also where the caller has switched them off.

    Raises: ValueError inside `torch.inference_mode`, where torch forbids it
    """
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "nothing can be trained inside torch.inference_mode(): call this outside of it, or "
            "take torch.no_grad() there"
        )
    with torch.enable_grad():
        yield


@contextmanager
def mode(model: nn.Module, train: bool) -> Iterator[nn.Module]:
    """Put a model in training or evaluation mode, and every part back as it was afterwards.

    A part that does work when its mode changes, as an adapter that merges its weights, does it both
    ways. Evaluation mode is for looking: what looking may have changed is put back bit for bit.
    """
    kept = [] if train else _changed_by_looking(model)
    try:
        with in_mode(model, train):
            yield model
    finally:
        with torch.no_grad():
            for store, name, tensor, value in kept:
                store[name] = tensor.copy_(value)


@contextmanager
def evaluation_copy(model: nn.Module) -> Iterator[nn.Module]:
    """A copy in evaluation mode, for a function of the user's, which may do with it what it likes.

    Numbers drawn there disturb nobody: the generators are as before afterwards.
    """
    twin = duplicate(model)
    with seeded(0), mode(twin, train=False):
        yield twin


@contextmanager
def in_mode(model: nn.Module, train: bool) -> Iterator[nn.Module]:
    """As `mode`, for a block that changes the model: nothing but the modes is put back."""
    before = [(module, module.training) for module in model.modules()]
    if any(flag != train for _, flag in before):
        model.train(train)
    if train:
        _keep_frozen_statistics(model)
    try:
        yield model
    finally:
        for module, flag in before:  # a module comes before what is inside it
            if module.training != flag:
                module.train(flag)
        for module, flag in before:
            module.training = flag


def _changed_by_looking(model: nn.Module) -> list[tuple[dict, str, Tensor, Tensor]]:
    """What evaluation mode may change: where it stands, its name, and its value by now.

    torch's own layers change nothing, but an embedding with `max_norm` its weights. Others may
    write into their buffers, and where they do work in `train()` into their weights.
    """
    own = [m for m in model.modules() if not type(m).__module__.startswith("torch.nn.")]
    stores = [module._buffers for module in own]
    stores += [m._parameters for m in model.modules() if getattr(m, "max_norm", None) is not None]
    if any(type(module).train is not nn.Module.train for module in own):
        stores = [s for module in model.modules() for s in (module._parameters, module._buffers)]
    return [
        (store, name, tensor, tensor.detach().clone())
        for store in stores
        for name, tensor in store.items()
        if tensor is not None
    ]


def tensors_of(model: nn.Module) -> Iterator[Tensor]:
    """All that training changes: parameters and buffers."""
    yield from model.parameters()
    yield from model.buffers()


def restore(model: nn.Module, values: list[Tensor]):
    """Give `tensors_of(model)` these values again."""
    with torch.no_grad():
        for tensor, value in zip(tensors_of(model), values, strict=True):
            tensor.copy_(value)


def _keep_frozen_statistics(model: nn.Module):
    """Let batch normalisation in parts that are frozen whole keep its statistics, too."""
    for part in model.modules():
        weights = [*part.parameters()]
        if weights and not any(weight.requires_grad for weight in weights):
            freeze_batch_norm(part)


def freeze_batch_norm(model: nn.Module):
    """Let layers that normalise by a batch keep their statistics, until the mode is set anew.

    Example:
        >>> net = nn.Sequential(nn.BatchNorm1d(2)).train()
        >>> freeze_batch_norm(net)
        >>> net.training, net[0].training
        (True, False)
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.eval()


# What a network raises that is given what it cannot take.
FAULTS = (RuntimeError, ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError)


@contextmanager
def clear_errors(*batch):
    """Say in one sentence what was given when torch refuses a batch.

    Raises: ValueError then; our own sentences and a full memory pass as they are
    """
    try:
        yield
    except FAULTS as error:
        if "more than 1 value per channel" in str(error):
            raise ValueError(
                "batch normalisation cannot train on a batch of one example: give it two or more, "
                "or freeze its layers by requires_grad_(False)"
            ) from error
        if "cudnn RNN backward" in str(error):
            raise ValueError(
                "a recurrent network on a GPU has gradients in training mode alone: call this "
                "inside `with torch.backends.cudnn.flags(enabled=False):`"
            ) from error
        if isinstance(error, ValueError | torch.OutOfMemoryError):
            raise
        tensors = [x for x in batch if isinstance(x, Tensor)]
        given = " and ".join(f"{x.dtype} {tuple(x.shape)}" for x in tensors)
        what = f"the model fails on a batch of {given}"
        kind = "" if isinstance(error, RuntimeError) else f"{type(error).__name__}: "
        reason = " ".join(str(error).split())[:400]
        if "same dtype" in reason or "should be the same" in reason:
            single = any(x.dtype == torch.float32 for x in tensors)
            reason += ". Give model.float()" if single else ". Give inputs.float()"
        raise ValueError(f"{what}: {kind}{reason}") from error
