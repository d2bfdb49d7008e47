"""Grade a folder of submissions by the tests of the source."""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from minilearn.checks import check_count, check_number
from minilearn.course.sandbox import Died, Kernel
from minilearn.course.sources import (
    TEST,
    Question,
    questions,
    read_notebook,
    read_source,
    text_of,
)
from minilearn.files import write_whole

MAGIC = re.compile(r"\s*[%!]")
KEY = "MINILEARN_KEY"  # a secret of the instructor's, from which hidden tests draw their data
DEATHS = 5  # kernels that one submission may end


@dataclass
class Grade:
    """What one submission got, question by question, and what happened, in words."""

    points: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def grade(
    source: str | os.PathLike,
    folder: str | os.PathLike,
    out: str | os.PathLike = "grades.csv",
    *,
    seconds: float = 60,
    memory: int = 4 * 2**30,
    key: str = "",
) -> list[dict[str, str]]:
    """Grade every notebook of a folder; one row each, written as soon as it is known.

    A submission's own test cells are not run: whatever was done to them, the source's count, after
    all other cells, in a fresh kernel. Where a cell is no Python as it stands, its lines that begin
    with % or ! are left out. A cell that takes more than `seconds` is interrupted; one that ends
    the kernel is left out in the next. A question that a reader marks has an empty column. Run
    again, only what is new or has changed is graded. What Jupyter keeps in `.ipynb_checkpoints` is
    no submission.

    `key` reaches the hidden tests as the variable MINILEARN_KEY, so that they can draw other data
    than those which the public source draws.

    Raises: ValueError if the source is no source, the folder has no notebook, `out` is no file of
        grades of this source, or a limit makes no sense; OSError if it cannot be written
    """
    check_number("seconds", seconds, 0)
    check_count("memory", memory, 1)
    asked = questions(read_source(source))
    files = sorted(path for path in Path(folder).rglob("*.ipynb") if path.is_file())
    files = [path for path in files if path.parent.name != ".ipynb_checkpoints"]
    if not files:
        raise ValueError(f"there is no notebook in the folder {folder}")
    columns = _columns(asked)
    earlier = _earlier(Path(out), columns)
    rows: list[dict[str, str]] = []
    for path in tqdm(files, desc="grading", unit="submission"):
        name = path.relative_to(folder).as_posix()
        fingerprint = _fingerprint(path, source, key)
        row = earlier.pop(name, None)
        if row is None or row["fingerprint"] != fingerprint:
            result = graded(path, asked, seconds, memory, key)
            row = _row(name, asked, result, fingerprint)
        rows.append(row)
        _write(Path(out), columns, [*rows, *earlier.values()])
    _write(Path(out), columns, rows)
    return rows


def graded(
    path: Path, asked: Sequence[Question], seconds: float, memory: int, key: str = ""
) -> Grade:
    """Grade one submission; nothing that it does raises here."""
    result = Grade({q.name: 0 for q in asked if q.test})
    try:
        cells = _cells(read_notebook(path))
    except ValueError as error:
        result.reasons.append(str(error).replace(str(path), "it"))
        return result
    waiting = [q for q in asked if q.test]
    for _ in range(DEATHS):
        try:
            with Kernel(memory, {KEY: key}) as kernel:
                _answers(kernel, cells, waiting, result, seconds)
            return result
        except Died:
            continue
    result.reasons.append(f"it ended {DEATHS} kernels: what was not yet tested counts as wrong")
    return result


def _answers(kernel: Kernel, cells: dict, waiting: list[Question], result: Grade, seconds: float):
    """Run the cells, then the tests that wait; who ends the kernel is not run again."""
    said = set(result.reasons)
    for number in list(cells):
        try:
            problem = kernel.run(cells[number], seconds)
        except Died as death:
            del cells[number]
            result.reasons.append(f"cell {number}: {death}")
            raise
        if problem and (reason := f"cell {number}: {problem}") not in said:
            result.reasons.append(reason)
    while waiting:
        question = waiting.pop(0)
        try:
            problem = kernel.run(question.test, seconds)
        except Died as death:
            result.reasons.append(f"{question.name}: {death}")
            raise
        if problem:
            unanswered = problem.startswith("NotImplementedError")
            result.reasons.append(f"{question.name}: {'not attempted' if unanswered else problem}")
        else:
            result.points[question.name] = question.points


def _cells(notebook: dict) -> dict[int, str]:
    """The code of a submission but its tests, by the number of the cell."""
    cells = {}
    for number, cell in enumerate(notebook["cells"], 1):
        text = text_of(cell)
        if cell["cell_type"] == "code" and not TEST.match(text.lstrip()):
            cells[number] = text if _is_python(text) else _without_magics(text)
    return cells


def _is_python(text: str) -> bool:
    """Whether it is; then a line that begins with % or != goes on with the one above."""
    try:
        with warnings.catch_warnings(action="ignore"):  # "\d" is the student's affair
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # null bytes, or nested too deep
        return False
    return True


def _without_magics(text: str) -> str:
    lines = text.splitlines()
    return "\n".join(re.sub(r"\S.*", "pass", x) if MAGIC.match(x) else x for x in lines)


def _columns(asked: Sequence[Question]) -> list[str]:
    names = [
        f"{q.name} ({q.points})" if q.test else f"{q.name} (reader, {q.points})" for q in asked
    ]
    return ["submission", "points", "of", *names, "reason", "fingerprint"]


def _row(name: str, asked: Sequence[Question], result: Grade, fingerprint: str) -> dict[str, str]:
    whole = sum(q.points for q in asked if q.test)
    each = [str(result.points[q.name]) if q.test else "" for q in asked]
    reason = "; ".join(result.reasons[:8]) or "all tests passed"
    reason = "".join(c if c.isprintable() else " " for c in reason)
    points = sum(result.points.values())
    values = [name, str(points), str(whole), *each, reason, fingerprint]
    return dict(zip(_columns(asked), values, strict=True))


def _fingerprint(path: Path, source, key: str) -> str:
    digest = hashlib.sha256(key.encode())
    for file in (source, path):
        digest.update(hashlib.sha256(Path(file).read_bytes()).digest())
    return digest.hexdigest()[:16]


def _earlier(out: Path, columns: list[str]) -> dict[str, dict[str, str]]:
    """The rows of an earlier run, by submission."""
    if not out.exists():
        return {}
    with out.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != columns:
            raise ValueError(f"{out} holds other columns than the grades of this source")
        return {row["submission"]: row for row in reader}


def _write(out: Path, columns: list[str], rows: list[dict[str, str]]):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(out, lambda part: part.write_text(text.getvalue(), "utf-8"))
