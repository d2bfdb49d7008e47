"""A submission put together anew: the student's own cells, and the source's tests at their places.

Cells are matched by content and by the names that they bind, never by what an editor may lose:
ids, metadata, order. A student's test cells say at most where the source's tests stand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from minilearn.course.sources import ANSWER, SOLUTION, TEST, Question, text_of

MAGIC = re.compile(r"^([ \t]*)[%!].*", re.MULTILINE)
LONG = 10**6  # characters of a cell in which names are looked for
ANSWERED = 20_000  # characters that are kept of an answer in prose


@dataclass
class Step:
    """A cell as it is run: "given", "cell" (the student's own) or "test"."""

    kind: str
    text: str
    name: str = ""
    number: int = 0
    imports: str = ""


def recompose(source: dict, submission: dict, asked: Sequence[Question]) -> list[Step]:
    """The steps of a submission: every given cell and every test of the source, at its place.

    A given cell that a student has changed or deleted stands before the student's version, or
    before the first answer that follows it. A test stands where the student has it if no cell
    that it needs comes later, else as early as it can; and where it stands after all, for a later
    cell may have changed what it asks about.
    """
    wanted = {name for q in asked for name in _names(q.test, ast.Load)}
    cells = enumerate(submission["cells"], 1)
    code = [(i, text_of(cell)) for i, cell in cells if cell["cell_type"] == "code"]
    copies = [(i, _test_name(text)) for i, text in code]
    own = [(i, text) for i, text in code if not _test_name(text)]
    placed = [(i, 1, Step("cell", text, number=i)) for i, text in own]
    tests, imports = {q.name: q for q in asked if q.test}, ""
    last, waiting = 0, []  # the last of the student's cells that belongs to what came so far
    for cell in source["cells"]:
        text = text_of(cell)
        if cell["cell_type"] != "code":
            continue
        if name := _test_name(text):
            if name in tests:
                there = [i for i, copy in copies if i > last and copy == name]
                waiting.append((min(there, default=last), name, imports))
                before = [i for i, copy in copies if i <= last and copy == name]
                waiting += [(i, name, imports) for i in before[-1:]]
            continue
        is_given = SOLUTION[0] not in text
        names = _names(text, ast.Store)
        if not is_given:
            names &= wanted
        same = [i for i, student in own if _belongs(student, text, names, is_given)]
        if is_given:
            place = min(same, default=last + 1)
            placed = [s for s in placed if s[0] != place or s[2].text.strip() != text.strip()]
            placed.append((place, 0, Step("given", text)))
            imports += _imports(text)
        last = max([last, *same])
    end = max((i for i, _ in code), default=0)
    for place, name, known in waiting:
        placed.append((place or end, 2, Step("test", tests[name].test, name, imports=known)))
    return [step for _, _, step in sorted(placed, key=lambda each: each[:2])]


def prose(source: dict, submission: dict) -> dict[str, str]:
    """What a student wrote below each question for a reader."""
    given = {text_of(cell).strip() for cell in source["cells"]}
    answers: dict[str, str] = {}
    name = ""
    for cell in submission["cells"]:
        text = text_of(cell)
        if cell["cell_type"] != "code" and (match := ANSWER.search(text)):
            name = match[1]
            answers.setdefault(name, "")
            text = text[match.end() :]
        elif text.strip() in given:
            continue
        if name and cell["cell_type"] != "code":
            answers[name] = f"{answers[name]}\n\n{text}".strip()[:ANSWERED]
    return answers


def _test_name(text: str) -> str:
    match = TEST.match(text.lstrip())
    return match[1] if match else ""


def _belongs(student: str, source: str, names: frozenset[str], is_given: bool) -> bool:
    if student.strip() == source.strip():
        return True
    bound = _names(student, ast.Store)
    return bool(names) and (names <= bound if is_given else bool(names & bound))


def _tree(text: str) -> list[ast.stmt]:
    """The statements of a cell, as it stands or else without its magics; none if it is no Python.

    IPython's own reading of magics takes minutes where there are hundreds of them.
    """
    for python in (text[:LONG], MAGIC.sub(r"\1pass", text[:LONG])):
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # nested too deep
            return ast.parse(python).body
    return []


@lru_cache(1000)  # every cell is asked about at every cell of the source
def _names(text: str, use: type) -> frozenset[str]:
    """The names that a cell binds at its top level, or all that it reads."""
    names = set()
    for statement in _tree(text):
        if use is ast.Store and isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.add(statement.name)
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, use):
                names.add(node.id)
            if use is ast.Store and isinstance(node, ast.alias):
                names.add((node.asname or node.name).split(".")[0])
            place = use is ast.Store and isinstance(node, ast.Subscript | ast.Attribute)
            if place and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
                names.add(node.value.id)
    return frozenset(names)


def _imports(text: str) -> str:
    kept = [s for s in _tree(text) if isinstance(s, ast.Import | ast.ImportFrom)]
    return "".join(f"{ast.unparse(s)}\n" for s in kept)
