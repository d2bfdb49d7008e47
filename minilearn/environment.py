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
        ValueError if `minutes` is not a whole number from 1 on
    Example:
        >>> setup(minutes=2)
        minilearn ..., Python ..., torch ..., ...; about 2 minutes
    """
    check_count("minutes", minutes, 1)
    # torchvision is read about and not imported: it brings Triton, which chapter 10 sets up before
    for package in ("minilearn", "torchvision"):
        _check_requirements(package)
    gpu = torch.cuda.is_available()
    try:
        torch.ones(1, device="cuda" if gpu else "cpu").sum().item()
    except RuntimeError as error:
        why = str(error).splitlines()[0][:100]
        remedy = "restart the machine, or choose one without a GPU"
        raise RuntimeError(f"the GPU does not answer ({why}): {remedy}") from None
    print(
        f"minilearn {__version__}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{torch.cuda.get_device_name() if gpu else 'no GPU, and none is needed'}; "
        f"about {minutes} minute{'s' * (minutes != 1)}"
    )


def _check_requirements(package: str):
    """Refuse, by RuntimeError, that a requirement of a package is missing or of another version."""
    try:
        requirements = map(Requirement, metadata.requires(package) or ())
    except metadata.PackageNotFoundError:  # run from its folder
        return
    for needed in requirements:
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        version = _version(needed.name)
        if version and needed.specifier.contains(version, prereleases=True):
            continue
        lack = f"{needed.name}{needed.specifier}, and {version} is here"
        if not version:
            lack = f"{needed.name}, which is missing"
        remedy = f'run %pip install "{needed.name}{needed.specifier}", and start the notebook anew'
        raise RuntimeError(f"{package} needs {lack}: {remedy}")


def _version(package: str) -> str:
    """The installed version of a package, "" if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def provenance(device: torch.device, command: str, folder: Path) -> dict[str, str]:
    """The columns of a result file that say how a number came about, all but the time.

    Args:
        device: where the number is computed
        command: how the program was called
        folder: the root of the code that runs: the state of its git repository is noted
    Example:
        >>> sorted(provenance(torch.device("cpu"), "python", Path("nowhere")))
        ['command', 'commit', 'device', 'minilearn', 'torch', 'triton']
    """
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "triton": _version("triton"),
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
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{model}, {threads} thread{'s' * (threads > 1)}"


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
