"""A submission put together anew: the student's own cells, and the source's tests at their places.

Cells are matched by content and by the names that they bind, never by what an editor may lose:
ids, metadata, order. A student's test cells say at most where the source's tests stand.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from minilearn.course.sources import ANSWER, SOLUTION, TEST, Question, text_of


@dataclass
class Step:
    """A cell as it is run: "given", "cell" (the student's own) or "test"."""

    kind: str
    text: str
    name: str = ""
    number: int = 0
    imports: str = ""


def recompose(source: dict, submission: dict, asked: Sequence[Question]) -> list[Step]:
    """The steps of a submission: every given cell and every test of the source once, at its place.

    A given cell that a student has changed or deleted stands before the student's version, or
    before the first answer that follows it. A test stands where the student has it if no cell
    that it needs comes later, else as early as it can.
    """
    wanted = {name for q in asked for name in _names(q.test, ast.Load)}
    cells = enumerate(submission["cells"], 1)
    code = [(i, text_of(cell)) for i, cell in cells if cell["cell_type"] == "code"]
    copies = [(i, _test_name(text)) for i, text in code]
    own = [(i, _python(text)) for i, text in code if not _test_name(text)]
    placed = [(i, 1, Step("cell", python, number=i)) for i, python in own]
    tests, imports = {q.name: q for q in asked if q.test}, ""
    last, waiting = 0, []  # the last of the student's cells that belongs to what came so far
    for cell in source["cells"]:
        text = text_of(cell)
        if cell["cell_type"] != "code":
            continue
        if match := TEST.match(text):
            if match[1] in tests:
                there = [i for i, name in copies if i > last and name == match[1]]
                waiting.append((min(there, default=0), last, match[1], imports))
            continue
        python, is_given = _python(text), SOLUTION[0] not in text
        names = _names(python, ast.Store)
        if not is_given:
            names &= wanted
        same = [i for i, student in own if _belongs(student, python, names, is_given)]
        if is_given:
            place = min(same, default=last + 1)
            exact = [s for s in placed if s[0] == place and s[2].text.strip() == python.strip()]
            placed = [s for s in placed if s not in exact]
            placed.append((place, 0, Step("given", python)))
            imports += _imports(python)
        last = max([last, *same])
    ends = [i for i, _ in code]
    for there, after, name, known in waiting:
        place = there or (after if after in ends else max(ends, default=0))
        placed.append((place, 2, Step("test", tests[name].test, name, imports=known)))
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
            answers[name] = f"{answers[name]}\n\n{text}".strip()
    return answers


def _test_name(text: str) -> str:
    match = TEST.match(text.lstrip())
    return match[1] if match else ""


def _belongs(student: str, source: str, names: set[str], is_given: bool) -> bool:
    if student.strip() == source.strip():
        return True
    bound = _names(student, ast.Store)
    return bool(names) and (names <= bound if is_given else bool(names & bound))


def _python(text: str) -> str:
    """A cell as Python: what IPython makes of its magics."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        return TransformerManager().transform_cell(text)
    except Exception:  # half a statement: it is the student's, and fails where it runs
        return text


def _tree(text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # null bytes, nested too deep
        return []


def _names(text: str, use: type) -> set[str]:
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
    return names


def _imports(python: str) -> str:
    kept = [s for s in _tree(python) if isinstance(s, ast.Import | ast.ImportFrom)]
    return "".join(f"{ast.unparse(s)}\n" for s in kept)
