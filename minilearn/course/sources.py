"""The source of an assignment: its questions, and the version that students get."""

from __future__ import annotations

import ast
import copy
import json
import os
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

SOLUTION = "### BEGIN SOLUTION", "### END SOLUTION"
HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
RUBRIC = "<!-- BEGIN RUBRIC -->", "<!-- END RUBRIC -->"
TEST = re.compile(r"# TEST (\w+) \((\d+) points?\)[ \t]*(?:\n|$)\s*")
PART = re.compile(r"^# PART .*\((\d+) points?\)[ \t]*$", re.MULTILINE)
ANSWER = re.compile(r"<!-- ANSWER (\w+) \((\d+) points?\) -->")
STUB = "raise NotImplementedError  # your code here"  # inside a function
BLANK = "# your code here"  # outside: the notebook goes on
LIKE_A_MARK = re.compile(
    r"\s*###|\s*#.*\d\s*(point|pt)|.*\b(begin|end)\W*(solution|hidden|rubric)"
    r"|\s*#\W*(begin|end|test|part)\b|\s*#.*\b(solution|hidden)\b|.*\battempt\(",
    re.IGNORECASE,
)
LIKE_A_QUESTION = re.compile(r".*(<!|-->|\bANSWER\b|\bRUBRIC\b)|.*### (BEGIN|END)")
SHORT = 12  # characters: so short a line, such as `return x`, gives nothing away
LARGEST = 20 * 2**20  # bytes of a notebook


@dataclass(frozen=True)
class Question:
    """One question: its name, its points and its test; no test if a reader marks it."""

    name: str
    points: int
    test: str = ""


def read_source(path: str | os.PathLike) -> dict:
    """The notebook of an assignment, looked through.

    Raises: ValueError with one sentence if it cannot be read, is no notebook, has no question or
        no solution, a marker is not closed, a line looks like a mark and is none, a name comes
        twice, a cell asks two questions, a test is no test, or its parts have other points than it
    """
    notebook = read_notebook(path)
    for i, cell in enumerate(notebook["cells"], 1):
        _check_marks(cell, f"cell {i} of {path}")
    if not any(SOLUTION[0] in text_of(cell) for cell in notebook["cells"]):
        raise ValueError(f"{path} is no source of an assignment: nothing stands in {SOLUTION[0]}")
    names = [question.name for question in questions(notebook)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        what = f"has the question {twice[0]!r} twice" if twice else "has no question"
        raise ValueError(f"{path} {what}")
    return notebook


def read_notebook(path: str | os.PathLike) -> dict:
    """A notebook of format 4; ValueError with one sentence if it is none, or very large."""
    try:
        if os.path.getsize(path) > LARGEST:
            raise OSError(0, f"it is larger than {LARGEST >> 20} MB: were outputs left in it?")
        notebook = json.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no notebook: it is not JSON ({error!s:.80})") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or not all(map(_is_cell, cells)):
        raise ValueError(f"{path} is no notebook: it has no list of cells")
    return notebook


def questions(notebook: dict) -> list[Question]:
    """The questions of a source, in order.

    Raises: ValueError if a test is more or less than one block `with attempt("name"):`
    """
    result = []
    for cell in notebook["cells"]:
        text = text_of(cell)
        if cell["cell_type"] != "code":
            result += [Question(name, int(points)) for name, points in ANSWER.findall(text)]
        elif match := TEST.match(text):
            question = Question(match[1], int(match[2]), _body(text, match[1]))
            if sum(points for points, _ in parts(question)) != question.points:
                raise ValueError(f"the parts of {match[1]!r} do not add up to its points")
            result.append(question)
    return result


def parts(question: Question) -> list[tuple[int, str]]:
    """Points and code of each part of a test; what stands before the first belongs to it."""
    found = list(PART.finditer(question.test))
    if not found:
        return [(question.points, question.test)]
    begins = [0, *(mark.start() for mark in found[1:]), len(question.test)]
    codes = [question.test[a:b] for a, b in zip(begins, begins[1:], strict=False)]
    return [(int(mark[1]), code) for mark, code in zip(found, codes, strict=True)]


def student_version(source: dict) -> dict:
    """The source without solutions, hidden tests, rubrics and outputs.

    Raises: ValueError if a line of a solution or of a hidden test still stands in it
    """
    notebook = copy.deepcopy(source)
    secret = set()
    for cell in notebook["cells"]:
        text = text_of(cell)
        for markers in (SOLUTION, HIDDEN, RUBRIC):
            text, hidden = _without(text, markers)
            if markers != RUBRIC:
                secret |= hidden
        cell["source"] = text.strip("\n").splitlines(keepends=True)
        if cell["cell_type"] == "code":
            cell["outputs"] = []
            cell["execution_count"] = None
    shown = {line.strip() for cell in notebook["cells"] for line in text_of(cell).splitlines()}
    if leaked := sorted(secret & shown):
        raise ValueError(f"a line of a solution stands in the student version too: {leaked[0]!r}")
    return notebook


def assign(source: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Write the student version of a source.

    Raises: ValueError as `read_source` and `student_version`, or if `out` is the source itself;
        OSError if it cannot be written
    """
    source, out = Path(source), Path(out)
    if out.resolve() == source.resolve():
        raise ValueError(f"{out} is the source itself: the student version needs another name")
    notebook = student_version(read_source(source))
    write_text(out, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return out


def write_text(path: Path, text: str):
    """Write a file, whole at every moment; half a letter becomes a question mark."""
    from minilearn.files import write_whole  # torch, which an attempt does not need

    write_whole(path, lambda part: part.write_text(text, "utf-8", "replace"))


def nbgrader_version(source: dict) -> dict:
    """The source without solutions and rubrics, with the metadata that nbgrader keys on.

    nbgrader takes a test that raises nothing as passed, so that the tests stand here without
    their `attempt`.
    """
    notebook = copy.deepcopy(source)
    for cell in notebook["cells"]:
        text, is_code = text_of(cell), cell["cell_type"] == "code"
        match = TEST.match(text) if is_code else ANSWER.search(text)
        cell["source"], _ = _without(text, SOLUTION if is_code else RUBRIC)
        cell["metadata"] = {}
        if not match:
            continue
        if is_code:
            cell["source"] = match[0] + _body(text, match[1])
        about = {"grade_id": match[1], "points": int(match[2]), "cell_type": cell["cell_type"]}
        about |= {"grade": True, "solution": not is_code, "locked": is_code, "task": False}
        about["schema_version"] = 3
        cell["metadata"]["nbgrader"] = about
    return notebook


def text_of(cell: dict) -> str:
    """A cell's text; a file may hold it whole or line by line."""
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    return text.replace("\r\n", "\n")


def _is_cell(cell) -> bool:
    if not isinstance(cell, dict):
        return False
    source = cell.get("source")
    lines = source if isinstance(source, list) else [source]
    return all(isinstance(text, str) for text in [cell.get("cell_type"), *lines])


def _check_marks(cell: dict, where: str):
    """Refuse a line that looks like a mark and is none, marks without their ends, two questions."""
    text = text_of(cell)
    for begin, end in (SOLUTION, HIDDEN, RUBRIC):
        marks = re.findall(f"{re.escape(begin)}|{re.escape(end)}", text)
        if marks != [begin, end] * (len(marks) // 2):
            raise ValueError(f"{where} has a {begin} without its {end}, or the other way round")
    code = cell["cell_type"] == "code"
    if not code and len(ANSWER.findall(text)) > 1:
        raise ValueError(f"{where} asks two questions for a reader: each needs a cell of its own")
    exact = {*SOLUTION, *HIDDEN} if code else {*RUBRIC}
    test = code and TEST.match(text)
    for number, line in enumerate(text.splitlines()):
        word = line.strip()
        known = word in exact or PART.fullmatch(word) or (number == 0 and test)
        attempts = test and word == f'with attempt("{test[1]}"):'
        asks = not code and ANSWER.fullmatch(word)
        like = LIKE_A_MARK if code else LIKE_A_QUESTION
        if not (known or attempts or asks) and like.match(line):
            raise ValueError(f"{where}: the line {word!r} looks like a mark and is none")


def _without(text: str, markers: tuple[str, str]) -> tuple[str, set[str]]:
    """The text without what is marked, or a stub for a solution; and the lines that were there."""
    shown = []
    secret = set()
    inside = False
    for line in text.splitlines():
        word = line.strip()
        if word == markers[0]:
            inside = True
            stub = STUB if line.startswith(" ") else BLANK
            if markers == SOLUTION:
                shown.append(line.replace(word, stub))
        elif word == markers[1]:
            inside = False
        elif not inside:
            shown.append(line)
        elif len(word) > SHORT and not word.startswith("#"):
            secret.add(word)
    return "\n".join(shown), secret


def _body(text: str, name: str) -> str:
    """What stands in the block of a test, as code of its own."""
    try:
        tree = ast.parse(text).body
    except SyntaxError as error:
        raise ValueError(f"the test {name!r} is no Python: {error.msg}") from None
    form = f'with attempt("{name}"):'
    if len(tree) != 1 or ast.get_source_segment(text, tree[0]).splitlines()[0] != form:
        raise ValueError(f"the test {name!r} must be one block that begins {form}")
    lines = text.splitlines()[tree[0].lineno :]  # with the marks of hidden tests around it
    return textwrap.dedent("\n".join(lines)) + "\n"
