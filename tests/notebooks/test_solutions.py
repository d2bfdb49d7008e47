"""The folded solutions: all their names are known, and `make solutions` runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("*.ipynb"))
FOLDED = re.compile(r"<details>\s*<summary>Solution.*?</details>", re.S)

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def solutions(notebook: nbformat.NotebookNode) -> list[str]:
    """The code of every folded solution, a text for each solution that has some."""
    texts = (c.source for c in notebook.cells if c.cell_type == "markdown")
    folded = (block for text in texts for block in FOLDED.findall(text))
    found = ("\n".join(re.findall(r"```python\n(.*?)```", block, re.S)) for block in folded)
    return [code for code in found if code.strip()]


def unknown_names(code: str) -> list[str]:
    """What a program uses and never defines, as the linter says it."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821"]
    command += ["--output-format", "concise", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True)
    return re.findall(r"Undefined name `\w+`|invalid-syntax.*", done.stdout)


def test_an_unknown_name_is_found():
    assert unknown_names("a = 1\nprint(a, b)") == ["Undefined name `b`"]


@each_chapter
def test_a_solution_uses_what_the_chapter_defines(path):
    notebook = nbformat.read(path, as_version=4)
    solved = solutions(notebook)
    assert solved, "no folded solution has code"
    cells = (c.source for c in notebook.cells if c.cell_type == "code" and "%pip" not in c.source)
    chapter = "\n".join(cells)
    for code in solved:
        assert not unknown_names(f"{chapter}\n{code}"), code


@pytest.mark.skipif(not os.environ.get("MINILEARN_SOLUTIONS"), reason="slow: make solutions")
@pytest.mark.timeout(1800)
@each_chapter
def test_a_solution_runs_after_the_chapter(path):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [
        c for c in notebook.cells if "skip-execution" not in c.metadata.get("tags", [])
    ]
    solved = solutions(notebook)
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in solved]
    NotebookClient(notebook, timeout=900, kernel_name="python3").execute(cwd=NOTEBOOKS)
