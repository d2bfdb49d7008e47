"""Where a number comes from: the machine in words, the versions and the state of the code."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from minilearn import __version__

REPOSITORY = Path(__file__).resolve().parents[2]
OF_PROJECT = REPOSITORY / "book" / "_toc.yml"  # there in a checkout, not beside an installation


def provenance(device: torch.device, command: str) -> dict[str, str]:
    """The columns that say how a row came about, all but the time.

    Example:
        >>> sorted(provenance(torch.device("cpu"), "python"))
        ['command', 'commit', 'device', 'minilearn', 'torch', 'triton']
    """
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "minilearn": __version__,
        "commit": commit(),
        "command": command,
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def device_name(device: torch.device) -> str:
    """The processor's model in words; of a CPU with the number of threads that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def commit() -> str:
    """The short hash of the checked-out commit, with "-dirty" if files differ; "" without git.

    Result files do not count: a run changes them.
    """
    if not (OF_PROJECT.exists() and (REPOSITORY / ".git").exists()):
        return ""
    head = _git("rev-parse", "--short", "HEAD")
    changes = _git("status", "--porcelain", "--", ".", ":!book/results")
    return f"{head}-dirty" if head and changes else head


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return (named or [platform.processor() or platform.machine()])[0]
