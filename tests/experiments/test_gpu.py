"""`make gpu`: what is measured when, what a kill costs, and what a visit says at its end."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from book.experiments import NAMES, Run, gpu, gpu_rows, released, speed, units_of
from book.experiments.gpu import Task, Worker, listed, main, measured, merge, visit
from book.experiments.gpu_rows import JOBS, PLAIN, Job
from minilearn.sweep import read_rows, run_units, value

CPU = torch.device("cpu")
FIRST = Job("first", "kernels", "mixed_l1: 256 *: published", 1)
SECOND = Job("second", "kernels", "alignment: *: published", 1)
FAILING = Job("failing", "l2ul_cifar10", "*: nothing: *", 1)  # its network is not there


class Fake:
    """A worker on a clock of its own: a task takes `took` seconds, or as long as it is given."""

    def __init__(self, took: dict, failing=(), start: float = 0.0):
        self.now = 0.0
        self.took = took
        self.failing = failing
        self.starting = start
        self.begun = []

    def clock(self) -> float:
        return self.now

    def start(self, task) -> float:
        return self.starting

    def measure(self, task, seconds: float) -> str:
        self.begun.append((task.name, self.now, seconds))
        took = self.took[task.job.title]
        self.now += min(took, seconds)
        if took > seconds:
            return "broken off"
        return "it failed" if task.name in self.failing else ""

    def stop(self):
        pass


def tasks(**jobs) -> list[Task]:
    """Some tasks of jobs, (number, seconds expected) by their titles."""
    return [
        Task(Job(title, "kernels", "*", each), Run(range(1)), i, f"{title}{i}")
        for title, (count, each) in jobs.items()
        for i in range(count)
    ]


def names(worker: Fake) -> list[str]:
    return [name for name, _, _ in worker.begun]


def test_time_that_is_over_at_once_begins_nothing():
    worker = Fake({"a": 1})
    assert visit(tasks(a=(2, 1)), worker, 0.0, worker.clock) == {} and worker.begun == []
    worker = Fake({"a": 1}, start=25)
    assert visit(tasks(a=(2, 1)), worker, 25.9, worker.clock) == {}


def test_the_worthiest_comes_first_and_a_shorter_one_where_it_does_not_fit():
    worker = Fake({"long": 100, "short": 10})
    visit(tasks(long=(3, 100), short=(4, 10)), worker, 225.0, worker.clock)
    assert names(worker) == ["long0", "long1", "short0", "short1"] and worker.now == 220


def test_a_unit_that_outlasts_the_time_is_broken_off_at_its_end():
    worker = Fake({"a": 100, "b": 1})
    said = visit(tasks(a=(1, 10), b=(1, 1)), worker, 50.0, worker.clock)
    assert worker.begun == [("a0", 0.0, 50.0)] and worker.now == 50
    assert list(said.values()) == ["broken off"]


def test_what_was_measured_says_how_long_the_next_will_take():
    worker = Fake({"a": 60, "b": 5})
    visit(tasks(a=(3, 10), b=(1, 10)), worker, 100.0, worker.clock)
    assert names(worker) == ["a0", "b0"]


def test_the_start_of_a_process_is_not_taken_for_the_time_of_a_unit():
    worker = Fake({"a": 60}, start=25)  # every unit needs a process
    visit(tasks(a=(3, 10)), worker, 140.0, worker.clock)
    assert names(worker) == ["a0", "a1"] and worker.now == 120


def test_no_unit_has_more_than_six_minutes():
    worker = Fake({"a": 1000, "b": 1})
    said = visit(tasks(a=(1, 10), b=(1, 10)), worker, 1000.0, worker.clock)
    assert list(said.values()) == ["broken off", ""] and worker.now == gpu.LONGEST + 1


def test_the_others_go_on_after_a_failure_and_a_job_that_always_fails_is_left(monkeypatch):
    monkeypatch.setattr(gpu, "FAILURES", 2)
    worker = Fake({"a": 1, "b": 1}, failing={"a0", "a2", "b0", "b1", "b2"})
    said = visit(tasks(a=(4, 1), b=(4, 1)), worker, 100.0, worker.clock)
    assert names(worker) == ["a0", "a1", "a2", "a3", "b0", "b1"]
    assert [why for why in said.values() if why] == ["it failed"] * 4


# ---- on the CPU


@pytest.fixture
def out(tmp_path, monkeypatch) -> Path:
    """A folder for the rows, and a book that has none."""
    monkeypatch.setattr(gpu_rows, "STORED", tmp_path / "book")
    monkeypatch.setenv("MINILEARN_DATA", str(tmp_path / "data"))
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def measure(out: Path, *jobs: Job, minutes: float = 5.0) -> int:
    return measured(jobs, CPU, "toy", minutes, out, out.parent / "cache")


def rows_by_unit(out: Path) -> list[tuple]:
    return [(r["dataset"], r["request"], r["metric"]) for r in read_rows(out / "kernels.csv")]


def test_time_over_at_once_says_what_is_missing(out, capsys):
    assert measure(out, FIRST, SECOND, minutes=0) == 0
    assert "second: 0 measured, 2 missing" in capsys.readouterr().out
    assert not (out / "kernels.csv").exists()


def test_what_the_book_has_is_not_measured_again_and_is_merged_once(out, origin):
    units = units_of("kernels", Run((0,), CPU, "toy"))
    first = [
        unit for unit in units if f"{unit.dataset}: {unit.request}" == "cosine: 32 rows of 256"
    ]
    made = [replace(unit, measure=lambda: [value("ratio", "", 1, "x")]) for unit in first]
    run_units("kernels", made, out / "kernels.csv", origin)
    book, empty = gpu_rows.STORED, out.parent / "empty"
    empty.mkdir()
    job = Job("cosine", "kernels", "cosine: *", 1)
    assert len(listed([job], CPU, "toy", empty, out)[0]) == 4
    assert merge(out, book) == 2
    stored = (book / "kernels.csv").read_bytes()
    assert merge(out, book) == 0 and (book / "kernels.csv").read_bytes() == stored
    assert len(listed([job], CPU, "toy", empty, out)[0]) == 2


def test_a_unit_that_is_too_long_comes_last_next_time(out, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "LONGEST", 0.2)
    first, *others = listed([FIRST, SECOND], CPU, "toy", out, out)[0]
    assert measure(out, FIRST) == 1
    assert "it was broken off after 0 s" in capsys.readouterr().out
    assert not (out / "kernels.csv").exists()
    *before, last = listed([FIRST, SECOND], CPU, "toy", out, out)[0]
    assert last == first and before == others


def test_units_of_two_jobs_are_measured_once(out):
    found, _ = listed([FIRST, Job("all", "kernels", "*", 1)], CPU, "toy", out, out)
    assert len({task.index for task in found}) == len(found) and found[0].job is FIRST


def test_a_job_without_its_data_is_left_out(out):
    found, left_out = listed(
        [Job("laf", "laf_mnist", "*", 1, "MNIST"), FIRST], CPU, "toy", out, out
    )
    assert [task.job.title for task in found] == ["first"]
    assert "train-images-idx3-ubyte belongs in the folder" in left_out["laf"]
    assert "make gpu-data" in left_out["laf"]


PROGRAM = """
from book.experiments import gpu, gpu_rows
from test_gpu import CPU, FIRST, SECOND
from pathlib import Path
if __name__ == "__main__":
    out = Path({out!r})
    gpu_rows.STORED = out / "book"
    gpu.measured([FIRST, SECOND], CPU, "toy", 5.0, out, out)
"""


def test_a_kill_costs_the_unit_in_progress_and_the_next_visit_goes_on(out, tmp_path, capsys):
    begun = rows_of_a_killed_visit(out, tmp_path)
    assert 0 < len({row[:2] for row in begun}) < 3
    assert measure(out, FIRST, SECOND, FAILING) == 1  # the others go on after a failure
    said = capsys.readouterr().out
    assert "second: measured: kernels: " in said
    assert "second: " in said and ", 0 missing, all is there" in said
    assert "failing: 0 measured, 1 missing, about 0 minutes" in said
    assert "original, seed 0" in said and "MissingData: the pretrained resnet20 is not" in said
    assert "Traceback" in (out / "log.txt").read_text()
    after = rows_by_unit(out)
    assert after[: len(begun)] == begun and len({row[:2] for row in after}) == 3
    assert len(set(after)) == len(after)
    called = "python -m book.experiments kernels --seeds 1 --device cpu --size toy"
    assert {row["command"] for row in read_rows(out / "kernels.csv")} == {called}
    assert measure(out, FIRST, SECOND) == 0 and rows_by_unit(out) == after
    assert capsys.readouterr().out.endswith("nothing is missing\n")


def rows_of_a_killed_visit(out: Path, folder: Path) -> list[tuple]:
    """Kill a visit when its first unit is written; its process of measuring ends with it."""
    program = folder / "program.py"
    program.write_text(PROGRAM.format(out=str(out)))
    paths = f"{Path(__file__).parents[2]}{os.pathsep}{Path(__file__).parent}"
    process = subprocess.Popen([sys.executable, program], env=os.environ | {"PYTHONPATH": paths})
    waited = 0
    while not (out / "kernels.csv").exists() and waited < 3000:
        time.sleep(0.1)
        waited += 1
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGKILL)
    process.wait()
    while any(alive(child) for child in children) and waited < 3000:
        time.sleep(0.1)
        waited += 1
    assert children and not any(alive(child) for child in children)
    return rows_by_unit(out)


def alive(process: str) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_process_that_dies_is_a_sentence(out, monkeypatch):
    def begin(worker, task):
        worker.pipe, theirs = multiprocessing.Pipe()
        theirs.close()

    monkeypatch.setattr(Worker, "_begin", begin)
    task = Task(FIRST, Run((0,), CPU, "toy"), 0, "a unit")
    assert Worker(out).measure(task, 60) == "its process ended"


# ---- with a GPU, or without


@pytest.mark.parametrize("device", ["cuda:99", "foo"])
def test_without_a_gpu_it_is_one_sentence(tmp_path, device):
    sentence = f"--device {device} cannot be used here; .*: --device cpu --size toy tries it"
    with pytest.raises(SystemExit, match=sentence):
        main(["--device", device, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="--out: .* could not be written, because .*file is a"):
        main(["--device", "cpu", "--out", str(tmp_path / "file" / "out")])


@pytest.mark.parametrize(
    "wrong, left", [("kernels", ["kernels", "l2ul_cifar10"]), ("recorded steps", ["l2ul_cifar10"])]
)
def test_where_checks_fail_what_needs_them_is_left_out(out, monkeypatch, capsys, wrong, left):
    jobs = [Job(name, name, "*", 1) for name in ("kernels", "speed", *PLAIN)]
    listed = [Task(job, Run(range(1)), 0, job.title) for job in jobs], {}
    worker = Fake(dict.fromkeys(left, 1))
    monkeypatch.setenv("MINILEARN_KERNELS", "")
    monkeypatch.setattr(gpu, "failing", lambda *_: {wrong: f"the tests of {wrong} failed"})
    monkeypatch.setattr(gpu, "provenance", lambda *_: {})
    monkeypatch.setattr(gpu, "listed", lambda *_: listed)
    monkeypatch.setattr(gpu, "Worker", lambda out: worker)
    assert measured(jobs, torch.device("cuda"), "toy", 5.0, out, out) == 1
    assert names(worker) == left
    assert os.environ["MINILEARN_KERNELS"] == ("reference" if wrong == "kernels" else "")
    assert f"the tests of {wrong} failed (see " in capsys.readouterr().out


def test_the_checks_are_those_of_a_gpu_and_what_passed_is_not_run_again(out, monkeypatch):
    seen, codes = [], {"tests/kernels": 1, "tests/test_graphs.py": 0}

    def run(command, **options):
        seen.append(place := next(part for part in command if part in codes))
        assert (options["cwd"] / place).exists() and 0 < options["timeout"] <= 30
        assert options["env"]["TRITON_INTERPRET"] == "0"
        return subprocess.CompletedProcess(command, codes[place])

    monkeypatch.setattr(gpu.subprocess, "run", run)
    end = time.monotonic() + 30
    failed = {"kernels": "the tests of kernels failed"}
    assert gpu.failing(out, end, "a GPU") == failed and seen == [*codes]
    assert gpu.failing(out, end, "a GPU") == failed and seen[2:] == ["tests/kernels"]
    codes["tests/kernels"] = 0
    assert gpu.failing(out, end, "a GPU") == {} and gpu.failing(out, end, "a GPU") == {}
    assert len(seen) == 4 and gpu.failing(out, end, "another GPU") == {} and len(seen) == 6


def test_checks_that_take_too_long_are_a_sentence(out, monkeypatch):
    monkeypatch.setattr(gpu, "TESTS", {"kernels": "no_such_file"})
    late = gpu.failing(out, time.monotonic() + 0.01, "a GPU")
    assert late == {"kernels": "the tests of kernels were not done after 0 s"}


def test_every_line_of_the_table_names_units(monkeypatch):
    monkeypatch.setattr(released, "Pictures", lambda *given, **options: None)  # they take seconds
    monkeypatch.setattr(speed.data, "rotated_digits", lambda *size: ROTATED)
    monkeypatch.setattr(speed, "FACES", {"paper": (8, 40, 20)})
    seen = set()
    for job in JOBS:
        assert job.experiment in NAMES and job.each < gpu.LONGEST
        if job.experiment.startswith("laf"):  # they read their data
            assert job.data and gpu_rows.fnmatchcase("a set: class: class 0: laf", job.only)
            continue
        names = {
            f"{u.dataset}: {u.request}: {u.method}"
            for u in units_of(job.experiment, Run(job.seeds, torch.device("cpu"), "paper"))
        }
        matched = {name for name in names if gpu_rows.fnmatchcase(name, job.only)}
        assert matched, job.title
        seen |= {(job.experiment, name) for name in matched}
    assert {name for experiment, name in seen if experiment == "speed"} == {
        f"{u.dataset}: {u.request}: {u.method}" for u in units_of("speed", Run((0,), CPU, "paper"))
    }


ROTATED = speed.data.rotated_digits(12, 1)
