"""`make gpu`: what wants a GPU is measured in the order of its worth, until the minutes are over.

A unit begins if it is expected to be done in time, else a shorter one does, and is broken off when
its time is over. Rows are written as each unit ends, so that a kill costs the unit in progress and
nothing else; networks that were trained for several units are kept in a cache, epoch by epoch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from book.experiments import REPOSITORY, Run, command, units_of
from book.experiments.__main__ import usable
from book.experiments.gpu_data import unpack
from book.experiments.gpu_rows import JOBS, PLAIN, STORED, Job, waiting
from minilearn.environment import provenance
from minilearn.files import check_place
from minilearn.results import append_unit, read_rows, unit_of
from minilearn.sweep import run_units

LONGEST = 360.0  # seconds that a unit may take
START = 25.0  # seconds that a process is expected to take before its first unit
FAILURES = 3  # after so many in a row a job is left
CHECKS = 90.0  # seconds for the tests of kernels, and of recorded steps, but those for no GPU
TESTS = {"kernels": "tests/kernels", "recorded steps": "tests/test_graphs.py"}
NO_GPU = "not (compile or dispatch or planted or contributing or tape)"
TOO_LONG = "too_long.txt"


@dataclass(frozen=True)
class Task:
    """A unit of a job: its position in `units_of(job.experiment, run)`, and what it is in words."""

    job: Job
    run: Run
    index: int
    name: str


def visit(tasks: Iterable[Task], worker, end: float, clock: Callable[[], float]) -> dict[Task, str]:
    """Measure tasks in their order until `end`: what was begun, "" if measured, else why not.

    `worker.start(task)` gives the seconds expected before it measures, and
    `worker.measure(task, seconds)` returns "", or a sentence.
    """
    left = list(tasks)
    longest: dict[str, float] = {}
    failures: Counter = Counter()
    said: dict[Task, str] = {}

    def fits(task: Task) -> bool:
        expected = worker.start(task) + longest.get(task.job.title, task.job.each)
        return failures[task.job.title] < FAILURES and clock() + expected <= end

    while task := next(filter(fits, left), None):
        left.remove(task)
        title, begin, running = task.job.title, clock(), worker.start(task) == 0
        said[task] = worker.measure(task, min(LONGEST, end - begin))
        failures[title] = failures[title] + 1 if said[task] else 0
        if running and not said[task]:
            longest[title] = max(longest.get(title, 0.0), clock() - begin)
    return said


class Worker:
    """A process that measures, a new one for other experiments; what it prints is in a log."""

    def __init__(self, out: Path):
        self.out = out
        self.process = None
        self.run = None

    def start(self, task: Task) -> float:
        """Seconds expected before it can measure."""
        return 0.0 if self.process and self.run == (task.job.experiment, task.run) else START

    def measure(self, task: Task, seconds: float) -> str:
        """Have a unit measured within so many seconds; "", or why it was not, in a sentence."""
        if self.start(task):
            self.stop()
            self._begin(task)
        said = f"it was broken off after {seconds:.0f} s"
        try:
            self.pipe.send(task.index)
            if self.pipe.poll(seconds):
                said = self.pipe.recv()
            elif seconds == LONGEST:
                with (self.out / TOO_LONG).open("a") as file:
                    file.write(f"{task.name}\n")
        except (EOFError, OSError):
            said = "its process ended"
        if said:  # a failure may leave a GPU's allocator or generator in disorder
            self.stop()
        print(f"{task.job.title}: {said or 'measured'}: {task.name[:90]}", flush=True)
        return said

    def stop(self):
        """End the process, whatever it does."""
        if self.process:
            self.process.kill()
            self.process.join()
        self.process = None

    def _begin(self, task: Task):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.run = task.job.experiment, task.run
        self.process = context.Process(target=serve, args=(theirs, *self.run, self.out))
        self.process.start()
        theirs.close()


def serve(pipe, experiment: str, run: Run, out: Path):
    """Measure the units whose positions come through the pipe; it answers as `Worker.measure`."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log = os.open(out / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    units = units_of(experiment, run)
    called = command(experiment, run)
    if kernels := os.environ.get("MINILEARN_KERNELS"):
        called = f"MINILEARN_KERNELS={kernels} {called}"
    origin = provenance(run.device, called, REPOSITORY)
    while True:
        unit = units[pipe.recv()]
        try:
            run_units(experiment, [unit], out / f"{experiment}.csv", origin)
            pipe.send("")
        except Exception as error:  # whatever it is, the other units go on
            traceback.print_exc()
            words = " ".join(str(error).split())[:300]
            pipe.send(f"{type(error).__name__}: {words}")


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def listed(jobs: Sequence[Job], device, size: str, out: Path, cache: Path) -> tuple[list, dict]:
    """All that is missing, in the jobs' order, and why a job is left out, by its title.

    What was once broken off after `LONGEST` comes last: of a training the next try goes on.
    """
    late = (out / TOO_LONG).read_text().splitlines() if (out / TOO_LONG).exists() else []
    tasks: dict = {}
    left_out = {}
    for job in jobs:
        run = Run(job.seeds, device, size, cache, job.fast)
        try:
            for index, name in waiting(job, run, out):
                tasks.setdefault((job.experiment, run, index), Task(job, run, index, name))
        except (ValueError, ImportError) as error:  # data or a package that are not here
            left_out[job.title] = str(error)
    return sorted(tasks.values(), key=lambda task: task.name in late), left_out


def failing(out: Path, end: float, about: str) -> dict[str, str]:
    """What fails its tests on the GPU, in words; what passed, `about` this, is not run again."""
    wrong = {}
    for what, place in TESTS.items():
        passed = out / f"{what}.txt"
        if passed.exists() and passed.read_text() == about:
            continue
        if why := _failed(place, out, min(CHECKS, max(0.0, end - time.monotonic()))):
            wrong[what] = f"the tests of {what} {why}"
        else:
            passed.write_text(about)
    return wrong


def _failed(place: str, out: Path, seconds: float) -> str:
    """Run tests on the GPU; "", or what went wrong."""
    # a library that is newer here than in the environment of the tests may warn
    options = "-q", "-W", "default", "--maxfail=5", "-p", "no:cacheprovider"
    asked = [sys.executable, "-m", "pytest", place, "-k", NO_GPU, *options]
    surroundings = os.environ | {"TRITON_INTERPRET": "0"}
    with (out / "log.txt").open("a") as log:
        both = {"stdout": log, "stderr": log}
        try:
            done = subprocess.run(asked, cwd=REPOSITORY, env=surroundings, timeout=seconds, **both)
        except subprocess.TimeoutExpired:
            return f"were not done after {seconds:.0f} s"
    return "failed" if done.returncode else ""


def measured(jobs: Sequence[Job], device, size: str, minutes: float, out: Path, cache: Path) -> int:
    """One visit from its beginning to its report; returns the exit code."""
    begin = time.monotonic()
    end = begin + 60 * minutes
    tasks, left_out = listed(jobs, device, size, out, cache)
    wrong = {}
    if tasks and device.type == "cuda" and end > time.monotonic():
        wrong = failing(out, end, str(provenance(device, "", REPOSITORY)))
    todo = tasks
    if wrong:
        print(f"{', '.join(wrong.values())} (see {out}/log.txt): what needs them is left out")
        right = PLAIN if "recorded steps" in wrong else (*PLAIN, "kernels")  # it compares first
        todo = [task for task in tasks if task.job.experiment in right]
    if "kernels" in wrong:
        os.environ["MINILEARN_KERNELS"] = "reference"
    worker = Worker(out)
    try:
        said = visit(todo, worker, end, time.monotonic)
    finally:
        worker.stop()
    print(report(tasks, said, left_out, (time.monotonic() - begin) / 60, out))
    return int(bool(wrong) or any(said.values()))


def report(tasks: Sequence[Task], said: dict, left_out: dict, minutes: float, out: Path) -> str:
    """What was measured, what failed, what is left out, and how long the rest may take."""
    done = [task for task in tasks if said.get(task) == ""]
    lines = [f"{len(done)} units measured in {minutes:.1f} minutes, rows in {out}"]
    for title in dict.fromkeys(task.job.title for task in tasks):
        own = [task for task in tasks if task.job.title == title]
        rest = len(own) - sum(task in done for task in own)
        about = f"about {rest * own[0].job.each / 60:.0f} minutes" if rest else "all is there"
        lines.append(f"  {title}: {len(own) - rest} measured, {rest} missing, {about}")
    for task, why in said.items():
        if why:
            lines.append(f"failed: {task.name[:100]}: {why} (see {out}/log.txt)")
    for why in dict.fromkeys(left_out.values()):
        titles = [title for title, reason in left_out.items() if reason == why]
        lines.append(f"left out ({', '.join(titles)}): {why}")
    rest = sum(task.job.each for task in tasks if task not in done) / 60
    lines.append(f"missing: about {rest:.0f} minutes" if rest else "nothing is missing")
    return "\n".join(lines)


def merge(out: Path, into: Path = STORED) -> int:
    """Add the rows of a visit to the book's, each unit once; returns how many were new.

    Raises: ValueError if a file is damaged; OSError if one cannot be written
    """
    new = 0
    for path in sorted(out.glob("*.csv")):
        units: dict = {}
        for row in read_rows(path):
            units.setdefault(unit_of(row), []).append(row)
        new += sum(append_unit(into / path.name, rows) for rows in units.values())
    return new


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code.

    Raises: SystemExit with one sentence if there is no GPU, or a folder is no good
    """
    parser = argparse.ArgumentParser("python -m book.experiments.gpu", description=__doc__)
    parser.add_argument("--minutes", type=float, default=12.0, help="until it ends (default 12)")
    parser.add_argument("--out", type=Path, default=Path("gpu_out"), help="folder of the rows")
    parser.add_argument("--cache", type=Path, default=Path("gpu_cache"), help="of networks")
    parser.add_argument("--data", type=Path, default=Path("gpu_data"), help="of packed data")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", default="paper", choices=["toy", "small", "paper"])
    parser.add_argument("--merge", action="store_true", help="add the rows to the book's, and end")
    asked = parser.parse_args(arguments)
    try:
        if asked.merge:
            print(f"{merge(asked.out)} units are new in {STORED}")
            return 0
        device = _device(asked.device)
        check_place("--out", asked.out / "log.txt").parent.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        if not os.environ.get("MINILEARN_DATA") and any(asked.data.glob("*.zip")):
            os.environ["MINILEARN_DATA"] = str(unpack(asked.data))
        minutes = asked.minutes - (time.monotonic() - begin) / 60
        return measured(JOBS, device, asked.size, minutes, asked.out, asked.cache)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(
            f"stopped; what is finished is in {asked.out}: the same command goes on from there"
        )


def _device(name: str) -> torch.device:
    try:
        return usable(name)
    except ValueError as error:
        raise ValueError(f"{error}: --device cpu --size toy tries it without a GPU") from None


if __name__ == "__main__":
    sys.exit(main())
