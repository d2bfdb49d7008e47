"""The command line: run a named experiment and write its rows."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

import torch

from minilearn.data.checks import check_count
from minilearn.experiments import NAMES
from minilearn.experiments.provenance import OF_PROJECT, REPOSITORY, provenance
from minilearn.experiments.results import read_rows
from minilearn.experiments.runner import Run, Unit, run_units
from minilearn.precision import fast

TIMINGS = ("kernels", "speed")  # they choose what they time


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments name; returns how many units were written.

    Raises: SystemExit with one sentence if the arguments or the result file are no good
    """
    asked = _parser().parse_args(arguments)
    try:
        path = _folder(asked.out) / f"{asked.name}.csv"
        module = _module(asked.name)
        if asked.fast and asked.name in TIMINGS:
            raise ValueError(f"--fast is not for {asked.name}, which chooses what it times")
        read_rows(path)  # a damaged file is found out before any work
        seeds = module.SEEDS if asked.seeds is None else _count(asked.seeds)
        cache = None if asked.cache is None else Path(asked.cache)
        run = Run(range(seeds), _device(asked.device), asked.size, cache, asked.fast)
        command = f"python -m minilearn.experiments {asked.name} --seeds {seeds} "
        command += f"--device {run.device} --size {run.size}" + " --fast" * asked.fast
        origin = provenance(run.device, command)
        units = islice(module.units(run), *_part(asked.part))
        units = map(_inside_fast, units) if asked.fast else units
        written = run_units(asked.name, units, path, origin)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(f"stopped; what is finished is in {path}, and the same command goes on from there")
    print(f"{written} units written to {path}")
    return written


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m minilearn.experiments",
        description="Run a named experiment; run again, it goes on where it stopped.",
    )
    parser.add_argument("name", help=", ".join(NAMES))
    parser.add_argument("--seeds", help="how many seeds, from 0 on")
    parser.add_argument("--device", default="cpu", help="cpu (the default), cuda, cuda:1, ...")
    parser.add_argument("--size", default="toy", choices=["toy", "small", "paper"])
    parser.add_argument(
        "--out", help="folder of the result files (default: the book's, or results)"
    )
    parser.add_argument("--part", default="1/1", help="2/8: every eighth unit, from the second on")
    words = "train inside precision.fast in single precision; on a GPU small steps are recorded"
    parser.add_argument("--fast", action="store_true", help=words)
    parser.add_argument("--cache", help="folder to keep trained models in (default: none are kept)")
    return parser


def _module(name: str):
    if name not in NAMES:
        close = get_close_matches(name.lower().replace("-", "_"), NAMES, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"there is no experiment {name!r}, only {', '.join(NAMES)}{hint}")
    return importlib.import_module(f"minilearn.experiments.{name}")


def _inside_fast(unit: Unit) -> Unit:
    """The same unit under other settings: whatever it trains is another run, rounded otherwise."""
    switched = fast(torch.float32, graph=True)(unit.measure)
    return replace(unit, config=f"{unit.config}; inside fast", measure=switched)


def _part(text: str) -> tuple[int, None, int]:
    """Start, end and step of the units that this process measures."""
    first, _, of = text.partition("/")
    first, of = (int(t) if t.isdecimal() else t for t in (first, of))
    if check_count("--part", first, 1) > check_count("--part", of, 1):
        raise ValueError(f"--part {text} names no part: it is 1/{of} up to {of}/{of}")
    return first - 1, None, of


def _count(text: str) -> int:
    return check_count("--seeds", int(text) if text.isdecimal() else text, 1)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise ValueError(f"--device {name} cannot be used here; cpu always can") from None
    return device


def _folder(name: str | None) -> Path:
    default = REPOSITORY / "book" / "results" if OF_PROJECT.exists() else Path("results")
    folder = default if name is None else Path(name)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out must name a folder, but {folder} is a file")
    return folder


if __name__ == "__main__":
    main()
