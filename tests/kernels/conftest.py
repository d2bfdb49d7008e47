"""What is not written must not look right: fresh memory holds NaN, or for whole numbers 77."""

from importlib import import_module

import numpy as np
import pytest
import torch


def _poisoned(allocate):
    def fresh(*args, **options):
        tensor = allocate(*args, **options)
        if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))
            elif not tensor.is_complex() and tensor.dtype != torch.bool:
                tensor.fill_(77)
        return tensor

    return fresh


@pytest.fixture
def poison(monkeypatch):
    """Fill what `empty` allocates."""
    for home, name in (
        (torch, "empty"),
        (torch, "empty_like"),
        (torch.Tensor, "new_empty"),
    ):
        monkeypatch.setattr(home, name, _poisoned(getattr(home, name)))


@pytest.fixture
def m(request, poison):
    """The module of the kernels that the test file is named after."""
    file = request.path.stem.removeprefix("test_")
    with np.errstate(all="ignore"):  # an overflow is no error on a GPU
        yield import_module(f"minilearn.kernels.{file}")
