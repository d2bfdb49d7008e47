"""The command line: run a named experiment and write its rows."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from book.experiments import NAMES, REPOSITORY, Run, command, made, measure, module_of, units_of
from book.experiments.papers import ROWS, row_of
from minilearn.checks import check_count
from minilearn.environment import provenance
from minilearn.files import check_place
from minilearn.sweep import Unit, read_rows, run_units

TIMINGS = (
    "kernels",
    "speed",
    "audit_speed",
)  # they choose what they time, and must be alone on the machine


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments name; returns how many units were written. No name: list them all.

    Raises: SystemExit with one sentence if the arguments or the result file are no good
    """
    asked = _parser().parse_args(arguments)
    if asked.name is None:
        print(listed())
        return 0
    try:
        path = _folder(asked.out) / f"{asked.name}.csv"
        run = _run(asked)
        jobs = _count("--jobs", asked.jobs)
        if jobs > 1 and asked.name in TIMINGS:
            raise ValueError(f"--jobs is not for {asked.name}, which measures time: leave it out")
        read_rows(path)  # a damaged file is found out before any work
        origin = provenance(run.device, command(asked.name, run), REPOSITORY)
        with made.files(row_of(asked.name)) if run.made else nullcontext():
            units = _part(_units(asked.name, run, jobs), asked.part)
            written = run_units(asked.name, units, path, origin, jobs)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(f"stopped; what is finished is in {path}, and the same command goes on from there")
    print(f"{written} units written to {path}")
    return written


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m book.experiments",
        description="Run a named experiment; run again, it goes on where it stopped.",
    )
    parser.add_argument("name", nargs="?", help="without it all are listed")
    parser.add_argument("--seeds", help="how many seeds, from 0 on")
    parser.add_argument("--device", default="cpu", help="cpu (the default), cuda, cuda:1, ...")
    parser.add_argument("--size", default="toy", choices=["toy", "small", "paper"])
    home = os.path.expanduser  # what the shell leaves of ~ in --out=~/results
    parser.add_argument("--out", type=home, help="folder of the result files (default: the book's)")
    parser.add_argument("--part", default="1/1", help="2/8: every eighth unit, from the second on")
    parser.add_argument(
        "--jobs", default="1", help="how many processes measure at once (default 1)"
    )
    words = "train inside precision.fast in single precision; on a GPU small steps are recorded"
    parser.add_argument("--fast", action="store_true", help=words)
    words = "try a row of the papers on made files (size toy, a folder of your own for --out)"
    parser.add_argument("--made", action="store_true", help=words)
    words = "folder to keep trained models in (default: none are kept)"
    parser.add_argument("--cache", type=home, help=words)
    return parser


def _run(asked: argparse.Namespace) -> Run:
    module = module_of(asked.name)
    if asked.fast and asked.name in TIMINGS:
        raise ValueError(f"--fast is not for {asked.name}, which chooses what it times")
    seeds = module.SEEDS if asked.seeds is None else _count("--seeds", asked.seeds)
    cache = None if asked.cache is None else Path(asked.cache)
    if cache is not None:
        check_place("--cache", cache / "model")
    if asked.made:
        _check_made(asked)
    return Run(range(seeds), usable(asked.device), asked.size, cache, asked.fast, asked.made)


def _check_made(asked: argparse.Namespace):
    """Refuse, by ValueError, what made files are not for."""
    if row_of(asked.name) is None:
        names = ", ".join(row.experiment for row in ROWS)
        raise ValueError(f"--made is for the papers' rows, not for {asked.name}: {names}")
    if asked.size != "toy":
        raise ValueError(f"--made is for --size toy, got {asked.size}: nothing is measured by it")
    if asked.out is None:
        raise ValueError("--made needs a folder of your own, as --out FOLDER: it is no result")
    if asked.jobs != "1":
        raise ValueError(f"--made runs in one process, got --jobs {asked.jobs}: leave it out")


def listed() -> str:
    """Every experiment: the papers' rows with data set and network, then the book's own."""
    lines = ["The papers' rows, by `python -m book.experiments NAME --size paper`:", ""]
    for row in ROWS:
        tasks = ", ".join(row.tasks)
        lines.append(f"  {row.experiment:24}{row.work}: {row.dataset}, {row.network}: {tasks}")
    others = [name for name in NAMES if row_of(name) is None]
    return "\n".join([*lines, "", "The book's own:", "", *(f"  {name}" for name in others)])


def _units(name: str, run: Run, jobs: int) -> list[Unit]:
    """The units; for several processes each with a `measure` that another one can be sent."""
    units = units_of(name, run)
    if jobs == 1:
        return units
    return [
        replace(unit, measure=partial(measure, name, run, index))
        for index, unit in enumerate(units)
    ]


def _part(units: list[Unit], text: str) -> list[Unit]:
    """The units that this process measures."""
    asked = re.fullmatch(r"([1-9][0-9]*)/([1-9][0-9]*)", text)
    if asked is None:
        raise ValueError(f"--part must be like 2/8, the second of eight parts, got {text!r}")
    first, of = map(int, asked.groups())
    if first > of:
        raise ValueError(f"--part {text} names no part: it is 1/{of} up to {of}/{of}")
    return units[first - 1 :: of]


def _count(name: str, text: str) -> int:
    return check_count(name, int(text) if text.isdecimal() else text, 1)


def usable(name: str) -> torch.device:
    """The device of a name.

    Raises: ValueError if nothing can be computed on it here
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # holds numbers, too
    except (RuntimeError, AssertionError):
        raise ValueError(f"--device {name} cannot be used here; cpu always can") from None
    return device


def _folder(name: str | None) -> Path:
    folder = REPOSITORY / "book" / "results" if name is None else Path(name)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out must name a folder, but {folder} is a file")
    return check_place("--out", folder / "file").parent


if __name__ == "__main__":
    main()
