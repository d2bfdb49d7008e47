"""Grade a folder of submissions: recompose, run in the sandbox, and let nbgrader keep the marks."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tqdm import tqdm

from minilearn.course import gradebook, sandbox, tables
from minilearn.course.recompose import Step, prose, recompose
from minilearn.course.sources import (
    TEST,
    Question,
    nbgrader_version,
    parts,
    questions,
    read_notebook,
    read_source,
    text_of,
)

KEY = "MINILEARN_KEY"  # a secret of the instructor's, from which hidden tests draw their data
DEATHS = 5  # times that one submission may end its program
LARGEST = 20 * 2**20  # bytes of a notebook
EMPTY = {"cells": []}


@dataclass
class Grade:
    """What one submission got, question by question, and what happened, in words."""

    points: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    outputs: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """For a submission: seconds a cell and in all, bytes beyond the start, sandbox or none."""

    seconds: float = 60
    memory: int = 4 * 2**30
    total_seconds: float = 900
    trusted: bool = False


def grade(
    source: str | os.PathLike,
    folder: str | os.PathLike,
    out: str | os.PathLike = "grades.csv",
    *,
    seconds: float = 60,
    memory: int = 4 * 2**30,
    total_seconds: float = 900,
    key: str = "",
    jobs: int = 1,
    only: str = "",
    question: str = "",
    roster: str | os.PathLike | None = None,
    trusted: bool = False,
) -> list[dict[str, str]]:
    """Grade every notebook of a folder; one row each.

    Beside `out` stand `feedback/*.html` for the students, `answers.md` for the reader, with a
    roster `canvas.csv` and `moodle.csv`, and `gradebook/`, a course of nbgrader's in which marks
    by hand are kept. Run again, only what is new or has changed is graded; `only` grades one
    submission again, `question` one question of each.

    `key` reaches the tests as the variable MINILEARN_KEY, and no other cell.

    Raises: ValueError if the source is no source, the folder has no notebook, another run has the
        same `out`, or there is no sandbox and `trusted` is not said; OSError if a file cannot be
        written
    """
    sandbox.check_sandbox(trusted)
    limits = Limits(seconds, memory, total_seconds, trusted)
    for name, value in asdict(limits).items():
        if value <= 0 and name != "trusted":
            raise ValueError(f"{name} must be more than 0, but it is {value}")
    notebook, out = read_source(source), Path(out)
    asked = questions(notebook)
    if question and question not in [q.name for q in asked if q.test]:
        raise ValueError(f"no test is called {question!r}")
    students, left_out = tables.submissions(Path(folder), Path(source), out, roster)
    if not students:
        raise ValueError(f"there is no notebook in the folder {folder}")
    if only and only not in students:
        raise ValueError(f"no submission is called {only!r}, but: {', '.join(students)[:300]}")
    assignment = gradebook.name_of(Path(source).stem)
    with gradebook.Course(out, assignment) as course:
        course.source(nbgrader_version(notebook))
        tables.marks_by_hand(out, course, asked)

        def work(student: str):
            path = students[student]
            fingerprint = _fingerprint(path, source, key)
            earlier = course.earlier(student)
            fresh = earlier is None or earlier["fingerprint"] != fingerprint
            asked_for = only == student or not only and (fresh or question)
            if not asked_for:
                return student, None
            mine = [q for q in asked if fresh or question in ("", q.name)]
            before = earlier if len(mine) < len(asked) else None
            return student, _anew(notebook, path, asked, mine, limits, key, before, fingerprint)

        with ThreadPoolExecutor(jobs) as pool:
            done = pool.map(work, students)
            for student, made in tqdm(done, "grading", len(students), unit="submission"):
                if made is not None:
                    course.submit(student, made, students[student])
        answers = {s: course.answers(s, asked) for s in students}
        tables.write_answers(out.with_name("answers.md"), notebook, answers)
        return tables.write(out, course, asked, Path(folder), students, left_out, roster)


def _anew(source, path, asked, mine, limits: Limits, key: str, earlier, fingerprint: str) -> dict:
    """A submission's executed notebook; what is not asked anew is taken from the earlier run."""
    result, submission = Grade(), EMPTY
    try:
        submission = readable(path)
    except ValueError as error:
        reason = str(error).replace(str(path), "it")
        result = Grade({q.name: 0 for q in asked if q.test}, reasons=[reason])
    if not result.reasons:
        result = run(recompose(source, submission, mine), mine, limits, key)
    if earlier:
        result.points = earlier["points"] | result.points
        result.problems = earlier["problems"] | result.problems
    steps = recompose(source, submission, asked)
    return _executed(source, submission, steps, result, fingerprint)


def graded(
    path: Path, asked: Sequence[Question], seconds: float, memory: int, key: str = ""
) -> Grade:
    """Grade one submission by tests alone; nothing that it does raises here."""
    tests = {"cells": [_cell(f"# TEST {q.name} ({q.points} points)\n") for q in asked if q.test]}
    try:
        steps = recompose(tests, readable(path), asked)
    except ValueError as error:
        return Grade({q.name: 0 for q in asked if q.test}, reasons=[str(error)])
    return run(steps, asked, Limits(seconds, memory), key)


def readable(path: Path) -> dict:
    """A submission. Raises: ValueError if it is none, cannot be read, or is very large."""
    with suppress(OSError):
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path} is larger than {LARGEST >> 20} MB: were outputs left in it?")
    return read_notebook(path)


def run(steps: list[Step], asked: Sequence[Question], limits: Limits, key: str) -> Grade:
    """Run the steps; one that ends the program is left out in the next attempt.

    A test that fails at its place is tried once more at the end, where a student may have put
    what it needs.
    """
    tests = {q.name: q for q in asked if q.test}
    result = Grade(dict.fromkeys(tests, 0))
    again = [copy.copy(step) for step in steps if step.kind == "test"]
    waiting, tried, heavy = [*steps, *again], set(), any("torch" in s.text for s in steps)
    for _ in range(DEATHS):
        program = {"seconds": limits.seconds, "memory": limits.memory, "torch": heavy}
        program["steps"] = [_work(step, tests, key) for step in waiting]
        said, dead, why = sandbox.run(program, total=limits.total_seconds, trusted=limits.trusted)
        for answer, step in zip(said, waiting, strict=False):
            _note(result, step, answer, tests)
            tried |= {id(step)}
        if dead is None:
            break
        step = waiting[dead]
        _note(result, step, {"problem": why, "points": 0, "output": ""}, tests)
        if why.startswith("all of it"):
            break
        gone = {id(step)} | {id(s) for s in waiting if step.name and s.name == step.name}
        passed = {n for n, q in tests.items() if result.points[n] == q.points}
        gone |= {
            id(s) for s in waiting if s.kind == "test" and (id(s) in tried or s.name in passed)
        }
        waiting = [s for s in waiting if id(s) not in gone]
    else:
        result.reasons.append(
            f"it ended {DEATHS} programs: what was not yet tested counts as wrong"
        )
    for name, q in tests.items():
        if result.points[name] < q.points:
            problem = result.problems.setdefault(name, "it was not reached")
            result.reasons.append(f"{name}: {problem}")
    return result


def _work(step: Step, tests: dict[str, Question], key: str) -> dict:
    if step.kind != "test":
        return {"kind": step.kind, "code": step.text}
    return {"kind": "test", "imports": step.imports, "key": key, "parts": parts(tests[step.name])}


def _note(result: Grade, step: Step, answer: dict, tests: dict[str, Question]):
    """Enter what a step said; a second attempt at a test counts only if it was better."""
    problem = "".join(c if c.isprintable() else " " for c in str(answer["problem"]))[:500]
    if step.kind == "test":
        worth = min(max(int(answer["points"]), 0), tests[step.name].points)
        if worth > result.points[step.name] or step.name not in result.problems:
            result.points[step.name] = worth
            result.problems[step.name] = problem
        return
    if step.number:
        result.outputs.setdefault(step.number, str(answer["output"]))
    where = f"cell {step.number}" if step.number else "a cell that was given"
    if problem and f"{where}: {problem}" not in result.reasons:
        result.reasons.append(f"{where}: {problem}")


def _cell(text: str, kind: str = "code", **about) -> dict:
    made = {"cell_type": kind, "metadata": about, "source": text}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def _executed(source: dict, submission: dict, steps: list[Step], result: Grade, fingerprint: str):
    """The submission as nbgrader takes it, with nbgrader's metadata and what came of each cell."""
    cells, official, written = [], {}, prose(source, submission)
    for cell in nbgrader_version(source)["cells"]:
        about = cell["metadata"].get("nbgrader", {})
        if about.get("grade"):
            official[about["grade_id"]] = cell
    texts = {i: text_of(cell) for i, cell in enumerate(submission["cells"], 1)}
    for step in steps:
        made = _cell(texts.get(step.number, step.text).replace("\0", ""))
        if step.kind == "test":
            made = copy.deepcopy(official[step.name])
            whole = int(TEST.match(text_of(made))[2])
            points, words = result.points[step.name], result.problems.get(step.name, "")
            made["outputs"] = [_said(points, words)] if points < whole else []
        elif text := result.outputs.get(step.number):
            made["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
        cells.append(made)
    for name, cell in official.items():
        if cell["cell_type"] == "markdown":
            answer = written.get(name, "").replace("<", "&lt;")  # no script for the reader
            shown = copy.deepcopy(cell)
            shown["source"] = text_of(cell) + (f"\n\n{answer}" if answer else "")
            cells.append(shown)
    report = {"fingerprint": fingerprint, "points": result.points, "problems": result.problems}
    report |= {"reasons": result.reasons, "answers": written}
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"minilearn": report, "kernelspec": python}
    return {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def _said(points: int, words: str) -> dict:
    """What nbgrader reads the points from: an error, or a number for a part of them."""
    if points:
        shown = {"text/plain": str(float(points))}
        return {"output_type": "execute_result", "metadata": {"why": words}, "data": shown} | {
            "execution_count": None
        }
    return {"output_type": "error", "ename": "not right", "evalue": words, "traceback": [words]}


def _fingerprint(path: Path, source, key: str) -> str:
    digest = hashlib.sha256(key.encode())
    for file in (source, path):
        with suppress(OSError):
            digest.update(hashlib.sha256(Path(file).read_bytes()).digest())
    return digest.hexdigest()[:16]
