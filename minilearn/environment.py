"""The first line of every notebook: is what it needs here, and how long will it take?"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from importlib import metadata

import torch

from minilearn import __version__
from minilearn.data.checks import check_count


def setup(minutes: int, *, version: Callable[[str], str] = metadata.version):
    """Print what this environment is made of, or stop with a sentence if it will not do.

    `minutes` is what the notebook takes on two cores, or a little more. Nothing is installed or
    changed.

    Raises: RuntimeError if a package is missing, too old or broken, or the GPU does not answer;
        ValueError if `minutes` is no whole number from 1 on
    Example:
        >>> setup(minutes=2)
        minilearn ..., Python ..., torch ..., ...; about 2 minutes
    """
    check_count("minutes", minutes, 1)
    for name, bound in _needed():
        try:
            there = version(name)
        except metadata.PackageNotFoundError:
            raise RuntimeError(f'{name} is missing: run %pip install "{name}>={bound}"') from None
        if _numbers(there) < _numbers(bound):
            remedy = f"run %pip install -U {name}, and start the notebook anew"
            raise RuntimeError(f"{name} {there} is too old: {remedy}")
    if broken := _broken(version):
        raise RuntimeError(broken)
    print(
        f"minilearn {__version__}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{_device()}; about {minutes} minute{'s' * (minutes != 1)}"
    )


def _needed() -> list[tuple[str, str]]:
    """What the package asks for, name and lower bound; nothing where it runs from its folder."""
    try:
        asked = metadata.requires("minilearn") or []
    except metadata.PackageNotFoundError:
        return []
    return [tuple(one.split(">=")) for one in asked if ">=" in one and ";" not in one]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def _broken(version: Callable[[str], str]) -> str:
    """What does not work although it is there, in a sentence."""
    # torchvision is not imported for this: it brings Triton, which chapter 9 sets up before
    pins = [
        re.match(r"torch\W*([=>]=)([\d.]+)", one) for one in metadata.requires("torchvision") or ()
    ]
    for pin in filter(None, pins):
        there, bound = _numbers(version("torch")), _numbers(pin[2])
        if there < bound or pin[1] == "==" and there != bound:
            return (
                f"torchvision {version('torchvision')} is made for torch {pin[2]}, and "
                f"{version('torch')} is here: install both anew, and start the notebook again"
            )
    try:
        torch.ones(1, device="cuda" if torch.cuda.is_available() else "cpu").sum().item()
    except RuntimeError as error:
        why = str(error).splitlines()[0][:100]
        return f"the GPU does not answer ({why}): restart the machine, or choose one without a GPU"
    return ""


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "no GPU, and none is needed"
