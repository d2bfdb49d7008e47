"""Where a number is computed: is what a notebook needs here, and what does a result file say?"""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch
from packaging.requirements import Requirement

from minilearn import __version__
from minilearn.checks import check_count


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


def provenance(device: torch.device, command: str, folder: Path) -> dict[str, str]:
    """The columns of a result file that say how a number came about, all but the time.

    `folder` is the root of the code that runs: the state of its git repository is noted.

    Example:
        >>> sorted(provenance(torch.device("cpu"), "python", Path("nowhere")))
        ['command', 'commit', 'device', 'minilearn', 'torch', 'triton']
    """
    try:
        triton = metadata.version("triton")
    except metadata.PackageNotFoundError:
        triton = ""
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "triton": triton,
        "minilearn": __version__,
        "commit": commit(folder),
        "command": command,
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def device_name(device: torch.device) -> str:
    """The processor's model in words; of a CPU with the number of threads that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    model = (named or [platform.processor() or platform.machine()])[0]
    threads = torch.get_num_threads()
    return f"{model}, {threads} thread{'s' if threads > 1 else ''}"


def commit(folder: Path) -> str:
    """The short hash of the commit checked out in `folder`, with "-dirty" if files differ.

    It is "" if `folder` is not the root of a git repository, or git is not there. Files of results
    (`*.csv`) do not count: a run changes them.
    """
    if not (folder / ".git").exists():
        return ""
    head = _git(folder, "rev-parse", "--short", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--", ".", ":!*.csv")
    return f"{head}-dirty" if head and changes else head


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
