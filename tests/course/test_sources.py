"""Marks that are almost right: each is refused, or means exactly what it says."""

import json
import random
import subprocess
import sys

import pytest

from minilearn.course import key, questions, read_source, student_version
from minilearn.course.sources import parts, text_of

CODE = [
    "from minilearn.course import attempt",
    "def double(x):\n    ### BEGIN SOLUTION\n    secret_answer = 2 * x + 0\n"
    "    return secret_answer\n    ### END SOLUTION",
    '# TEST double (3 points)\nwith attempt("double"):\n    # PART small numbers (2 points)\n'
    "    assert double(2) == 4\n    # PART negative numbers (1 point)\n"
    '    ### BEGIN HIDDEN TESTS\n    assert double(-3) == -6, "hidden sentence"\n'
    "    ### END HIDDEN TESTS",
]
PROSE = (
    "Why?\n\n<!-- ANSWER why (4 points) -->\n"
    "<!-- BEGIN RUBRIC -->\nsecret rubric\n<!-- END RUBRIC -->"
)
MARKS = ("### ", "# TEST", "# PART", "<!--", "with attempt")


def made(tmp_path, place: int = -1, change=None):
    """A source on the disk, its marks in order, one of them changed."""
    cells, seen = [], -1
    for text in [*CODE, PROSE]:
        lines = text.splitlines()
        for i, line in enumerate(lines):
            if line.strip().startswith(MARKS):
                seen += 1
                lines[i] = change(line) if seen == place else line
        kind = "markdown" if text == PROSE else "code"
        cell = {"cell_type": kind, "metadata": {}, "source": "\n".join(lines)}
        cells.append(cell)
    path = tmp_path / "source.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}), "utf-8")
    return path


def mutation(draw: random.Random, line: str) -> str:
    """One character more, less or other, two exchanged, another case, or a remark behind."""
    i = draw.randrange(len(line) - len(line.lstrip()), len(line) - 1)
    letter = draw.choice("abzXY19 #:-_.()")
    return draw.choice(
        [
            line[:i] + line[i + 1 :],
            line[:i] + letter + line[i:],
            line[:i] + letter + line[i + 1 :],
            line[:i] + line[i + 1] + line[i] + line[i + 2 :],
            line.swapcase(),
            line + " " + letter,
        ]
    )


def test_a_hundred_changed_marks_are_exact_or_refused(tmp_path):
    draw, refused = random.Random(3), 0
    marks = sum(line.strip().startswith(MARKS) for t in [*CODE, PROSE] for line in t.splitlines())
    for turn in range(40 * marks):
        path = made(tmp_path, turn % marks, lambda line: mutation(draw, line))
        try:
            source = read_source(path)
            shown = "\n".join(text_of(cell) for cell in student_version(source)["cells"])
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error)
            continue
        for secret in ("secret_answer", "hidden sentence", "secret rubric"):
            assert secret not in shown, path.read_text()
        assert len(questions(source)) == 2, path.read_text()
    assert refused > 30 * marks


def test_parts_add_up_and_begin_with_what_stands_before_them(tmp_path):
    double, _ = questions(read_source(made(tmp_path)))
    (two, first), (one, second) = parts(double)
    assert (two, one) == (2, 1) and "double(2)" in first and "double(-3)" in second
    wrong = made(tmp_path, 4, lambda line: line.replace("2 points", "3 points"))
    with pytest.raises(ValueError, match="do not add up"):
        read_source(wrong)


def test_another_key_is_another_number(monkeypatch):
    texts = ("group 12", "group 21", "autumn 2026 group 1", "autumn 2025 group 2", "a", "")
    numbers = []
    for text in texts:
        monkeypatch.setenv("MINILEARN_KEY", text)
        numbers.append(key())
    assert len(set(numbers)) == len(texts) and all(1 <= n <= 10_000 for n in numbers[:-1])
    assert numbers[-1] == 0


def test_what_students_import_brings_neither_torch_nor_pandas():
    """Their first cell runs against the clock, beside others."""
    program = "import sys, minilearn.course; print({'torch', 'pandas'} & set(sys.modules))"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "set()\n"
