"""Chapters tell the same story on another real set, with one line changed."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# chapter, its line, the line in its place, and what the run then prints
CHAPTERS = [
    ("01_can_a_model_forget", 'DATASET = "digits"', 'DATASET = "mnist"', "forget 100 of 700"),
    ("04_sentences", 'DATA = "sentence_pairs"', 'DATA = "stsb"', "forget 882 of 2875"),
]
# What shortens them: as few seeds as a null band needs, and fewer examples.
SHORTER = [
    (r"^SEEDS = \d+$", "SEEDS = 3"),
    (r"\.sample\(1000\)", ".sample(700)"),
    (r"( *)(train, _, test, words = stsb_corpus\(\))", r"\1\2\n\1train = train[::2]"),
]
# What holds on the real set as well, of what a chapter says of its artificial one.
CLAIMS = {
    "04_sentences": """
assert mean(retrained_errors) > 0.75 * constant_error, retrained_errors
wrong = {name: mean(each(error, name, unlike)) for name in ("original", "retrained")}
assert wrong["original"] < 0.65 * wrong["retrained"], wrong
gaps = {name: value("paired_difference", "forget", name) for name in METHODS}
assert gaps["blindspot"] < 0.7 * gaps["finetune"], gaps
assert gaps["blindspot model"] < 0.85 * gaps["finetune"], gaps
""",
}


@pytest.mark.realdata
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name, line, other, expected", CHAPTERS, ids=[c[0] for c in CHAPTERS])
def test_the_chapter_on_real_data(realdata_root, monkeypatch, name, line, other, expected):
    """Its assertions stop the run where they fail; those for artificial data alone are left out."""
    monkeypatch.setenv("MINILEARN_DATA", str(realdata_root))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    changed = [c for c in notebook.cells if c.cell_type == "code" and line in c.source]
    assert len(changed) == 1
    changed[0].source = changed[0].source.replace(line, other)
    for cell in notebook.cells:
        for long, short in SHORTER:
            cell.source = re.sub(long, short, cell.source, flags=re.M)
    notebook.cells = [c for c in notebook.cells if "artificial" not in c.metadata.get("tags", [])]
    notebook.cells.append(nbformat.v4.new_code_cell(CLAIMS.get(name, "")))
    client = NotebookClient(notebook, timeout=900, kernel_name="python3")
    client.execute(cwd=NOTEBOOKS)
    printed = "".join(
        output.get("text", "")
        for c in notebook.cells
        if c.cell_type == "code"
        for output in c.outputs
    )
    assert expected in printed
