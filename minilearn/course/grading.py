"""Grade a folder of submissions: recompose, run in the sandbox, and let nbgrader keep the marks."""

from __future__ import annotations

import hashlib
import os
import re
import time
import warnings
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tqdm import tqdm

from minilearn.course import gradebook, sandbox, sources, tables
from minilearn.course.recompose import Step, prose, recompose
from minilearn.course.sources import Question, text_of

DEATHS = 5  # times that one submission may end its program
LIMITED = "took more than", "did not stop", "memory", "MemoryError"  # what a limit has done


@dataclass
class Grade:
    """What one submission got, question by question, and what happened, in words."""

    points: dict[str, int]
    problems: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    outputs: dict[int, str] = field(default_factory=dict)

    @property
    def reasons(self) -> list[str]:
        """Why it did not get all points, and what else went wrong."""
        return [*self.notes, *(f"{name}: {why}" for name, why in self.problems.items() if why)]


@dataclass(frozen=True)
class Limits:
    """For a submission: seconds a cell and in all, bytes beyond the start."""

    seconds: float = 60
    memory: int = 4 * 2**30
    total_seconds: float = 900

    def __post_init__(self):
        _check_positive(**asdict(self))


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
        same `out`, the table is another assignment's or holds what is no mark, or there is no
        sandbox and `trusted` is not said; OSError if a file cannot be written
    """
    sandbox.check_sandbox(trusted)
    source, folder, out = (Path(each).resolve() for each in (source, folder, out))
    limits = Limits(seconds, memory, total_seconds)
    _check_positive(jobs=jobs)
    notebook = sources.read_source(source)
    asked = sources.questions(notebook)
    _check_name("test", question, [q.name for q in asked if q.test])
    known = tables.read_roster(roster)
    students, left_out = tables.submissions(folder, source, out, known)
    _check_name("submission", only, students)
    quiet = warnings.catch_warnings(action="ignore")  # students' "\d", nbgrader's own
    with quiet, gradebook.Course(out, gradebook.name_of(source.stem)) as course:
        course.people(known)
        table = out, course, asked, {*students, *known}, bool(known)
        tables.marks_by_hand(*table)
        course.source(sources.nbgrader_version(notebook))

        def work(student: str):
            about = _about(students[student], source, key, limits)
            earlier = course.earlier(student)
            fresh = _is_new(earlier, about)
            if only not in ("", student) or not (fresh or question or only):
                return None
            mine = [q for q in asked if fresh or question in ("", q.name)]
            submission, result = _attempt(notebook, students[student], mine, limits, key, trusted)
            if earlier:
                _add_earlier(result, earlier, fresh, notebook, submission, course.marked(student))
            return _executed(notebook, submission, asked, result, about)

        with ThreadPoolExecutor(jobs) as pool, closing(pool.map(work, students)) as done:
            bar = tqdm(done, "grading", len(students), unit="submission")
            for student, made in zip(students, bar, strict=True):
                if made is not None:
                    course.submit(student, made, students[student])
        tables.marks_by_hand(*table)  # typed meanwhile
        course.outdate_pages()
        tables.write_answers(out.with_name("answers.md"), notebook, course, students)
        rows = tables.write(out, course, asked, folder, students, left_out, known)
        course.write_feedback()
        return rows


def _add_earlier(result: Grade, earlier: dict, fresh: bool, source, submission, marked: dict):
    """What an earlier run says of questions that were not asked now, and of marked answers."""
    written = prose(source, submission)
    if not fresh:
        result.points = earlier["points"] | result.points
        result.problems = earlier["problems"] | result.problems
    for name in marked:
        if name in earlier["answers"] and written.get(name) != earlier["answers"][name]:
            result.notes.append(f"the answer to {name} has changed since it was marked")


def _check_positive(**numbers: float):
    for name, value in numbers.items():
        if value <= 0:
            raise ValueError(f"{name} must be more than 0, but it is {value}")


def _check_name(what: str, name: str, names: Collection[str]):
    if name and name not in names:
        raise ValueError(f"no {what} is called {name!r}, but: {', '.join(names)[:300]}")


def _is_new(earlier: dict | None, about: dict) -> bool:
    """Whether a submission, the source or the key has changed, or a limit that it met has grown."""
    if earlier is None or earlier["fingerprint"] != about["fingerprint"]:
        return True
    grown = any(a > b for a, b in zip(about["limits"], earlier.get("limits", [0] * 3), strict=True))
    return grown and any(word in reason for word in LIMITED for reason in earlier["reasons"])


def _attempt(source: dict, path: Path, asked, limits, key, trusted) -> tuple[dict, Grade]:
    """A submission and what it got; what cannot be read is empty and gets nothing."""
    try:
        submission = sources.read_notebook(path)
    except ValueError as error:
        nothing = {q.name: 0 for q in asked if q.test}
        return {"cells": []}, Grade(nothing, notes=[str(error).replace(str(path), "it")])
    return submission, run(recompose(source, submission, asked), asked, limits, key, trusted)


def run(
    steps: list[Step], asked: Sequence[Question], limits: Limits, key: str, trusted: bool = False
) -> Grade:
    """Run the steps; one that ends the program is left out in the next attempt.

    A test that fails at its place is tried once more at the end, where a student may have put
    what it needs. Without a sandbox nothing runs unless it is `trusted`.
    """
    tests = {q.name: q for q in asked if q.test}
    result = Grade(dict.fromkeys(tests, 0))
    heavy = any("torch" in step.text for step in steps)
    waiting = [*steps, *(step for step in steps if step.kind == "test")]
    begin = time.monotonic()
    for _ in range(DEATHS):
        program = {"seconds": limits.seconds, "memory": limits.memory, "torch": heavy}
        program["steps"] = [_work(step, tests, key) for step in waiting]
        said, why = sandbox.run(program, limits.total_seconds, begin, trusted)
        for answer, step in zip(said, waiting, strict=False):
            _note(result, step, answer, tests)
        if not why:
            break
        fatal = waiting[len(said)]
        _note(result, fatal, {"problem": why, "points": 0, "output": ""}, tests)
        if why.startswith("all of it"):
            break
        passed = [name for name, q in tests.items() if result.points[name] == q.points]
        left = [s for i, s in enumerate(waiting) if s.kind != "test" or i > len(said)]
        waiting = [s for s in left if s is not fatal and s.name not in passed]
    else:
        result.notes.append(f"it ended {DEATHS} programs: what was not yet tested counts as wrong")
    result.problems = dict.fromkeys(tests, "it was not reached") | result.problems
    return result


def _work(step: Step, tests: dict[str, Question], key: str) -> dict:
    if step.kind != "test":
        return {"kind": step.kind, "code": step.text}
    about = {"kind": "test", "name": step.name, "imports": step.imports, "key": key}
    return about | {"parts": sources.parts(tests[step.name])}


def _note(result: Grade, step: Step, answer: dict, tests: dict[str, Question]):
    """Enter what a step said; a second attempt at a test counts only if it was better."""
    problem = "".join(c if c.isprintable() else " " for c in answer["problem"])[:500]
    if step.kind == "test":
        worth = min(max(answer["points"], 0), tests[step.name].points)
        if worth > result.points[step.name] or step.name not in result.problems:
            result.points[step.name] = worth
            result.problems[step.name] = problem
        return
    if step.number:
        result.outputs.setdefault(step.number, answer["output"])
    where = f"cell {step.number}" if step.number else "a cell that was given"
    own_time = step.number or problem.startswith("all of it")
    if not own_time and any(word in problem for word in LIMITED):
        problem += f", so {tables.TOO_SLOW}: raise --seconds"
    if problem and f"{where}: {problem}" not in result.notes:
        result.notes.append(f"{where}: {problem}")


def _executed(source: dict, submission: dict, asked, result: Grade, about: dict) -> dict:
    """The submission as nbgrader takes it, with nbgrader's metadata and what came of each cell."""
    from nbformat import v4

    cells, written = [], prose(source, submission)
    given = sources.nbgrader_version(source)["cells"]
    named = [cell for cell in given if "nbgrader" in cell["metadata"]]
    official = {cell["metadata"]["nbgrader"]["grade_id"]: cell for cell in named}
    texts = [text_of(c).strip() for c in submission["cells"] if c["cell_type"] != "code"]
    has_own = not set(texts) <= {text_of(cell).strip() for cell in given}
    for step in recompose(source, submission, asked):
        if step.kind == "test" and step.name not in official:
            continue  # it stands in two places
        if step.kind == "test":
            cell = official.pop(step.name)
            made = v4.new_code_cell(text_of(cell), metadata=cell["metadata"])
            points, words = result.points[step.name], result.problems.get(step.name, "")
            if points < cell["metadata"]["nbgrader"]["points"]:
                made.outputs.append(_said(points, words))
        else:
            made = v4.new_code_cell(step.text.replace("\0", ""))
            if text := result.outputs.get(step.number):
                made.outputs.append(v4.new_output("stream", text=text))
        cells.append(made)
    for name, cell in official.items():
        if submission["cells"] and name not in written:
            result.notes.append(f"the mark of {name} is not in the notebook, nor what stands below")
        elif has_own and not written.get(name):
            result.notes.append(f"a text of their own stands elsewhere, and none below {name}")
        answer = _harmless(written.get(name, ""))
        text = f"{text_of(cell)}\n\n{answer}" if answer else text_of(cell)
        cells.append(v4.new_markdown_cell(text, metadata=cell["metadata"]))
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    report = about | {"points": result.points, "problems": result.problems}
    report |= {"reasons": result.reasons, "answers": written}
    return v4.new_notebook(cells=cells, metadata={"minilearn": report, "kernelspec": python})


def _harmless(text: str) -> str:
    """Text in which Markdown and MathJax find no script, image or link for the reader."""
    text = text.replace("<", "&lt;").replace("\\href", "href")
    return re.sub(r"\](?=[(:\[])", "]\N{ZERO WIDTH SPACE}", text)


def _said(points: int, words: str) -> dict:
    """What nbgrader reads the points from: an error, or a number for a part of them."""
    from nbformat.v4 import new_output

    if points:
        data = {"text/plain": str(float(points))}
        return new_output("execute_result", data=data, metadata={"why": words})
    return new_output("error", ename="not right", evalue=words, traceback=[words])


def _about(path: Path, source: Path, key: str, limits: Limits) -> dict:
    """What the grade of a submission depends on."""
    digest = hashlib.sha256(key.encode())
    for file in (source, path):
        with suppress(OSError):
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    bounds = [limits.seconds, limits.total_seconds, limits.memory]
    return {"fingerprint": digest.hexdigest()[:16], "limits": bounds}
