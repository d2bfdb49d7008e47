"""The first line of every notebook: is what it needs here, and how long will it take?"""

from __future__ import annotations

import platform
from importlib import metadata

import torch
from packaging.requirements import Requirement

from minilearn import __version__
from minilearn.data.checks import check_count


def setup(minutes: int):
    """Print what this environment is made of, or stop with a sentence if it will not do.

    `minutes` is what the notebook takes on two cores, rounded up. Nothing is installed or changed.

    Raises: RuntimeError if a package is missing or of an unfit version, or the GPU does not answer;
        ValueError if `minutes` is no whole number from 1 on
    Example:
        >>> setup(minutes=2)
        minilearn ..., Python ..., torch ..., ...; about 2 minutes
    """
    check_count("minutes", minutes, 1)
    # torchvision is read about and not imported: it brings Triton, which chapter 9 sets up before
    if broken := _unfit("minilearn") or _unfit("torchvision") or _silent_gpu():
        raise RuntimeError(broken)
    print(
        f"minilearn {__version__}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{_device()}; about {minutes} minute{'s' * (minutes != 1)}"
    )


def _unfit(package: str) -> str:
    """What the package asks for and does not find, in a sentence; nothing if it is content."""
    try:
        asked = map(Requirement, metadata.requires(package) or ())
    except metadata.PackageNotFoundError:  # run from its folder
        return ""
    for one in asked:
        if one.marker and not one.marker.evaluate({"extra": ""}):
            continue
        remedy = f'run %pip install "{one.name}{one.specifier}", and start the notebook anew'
        try:
            there = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            return f"{package} needs {one.name}, which is missing: {remedy}"
        if not one.specifier.contains(there, prereleases=True):
            return f"{package} needs {one.name}{one.specifier}, and {there} is here: {remedy}"
    return ""


def _silent_gpu() -> str:
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
