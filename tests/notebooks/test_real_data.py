"""Chapter 1 tells the same story on another real set, with one line changed."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

CHAPTER = Path(__file__).parents[2] / "notebooks/01_can_a_model_forget.ipynb"
LINE = 'DATASET = "digits"'


@pytest.mark.realdata
@pytest.mark.timeout(1200)
def test_chapter_1_on_mnist(realdata_root, monkeypatch):
    """Its own assertions stand in its cells, and stop the run where they fail."""
    monkeypatch.setenv("MINILEARN_DATA", str(realdata_root))
    notebook = nbformat.read(CHAPTER, as_version=4)
    changed = [c for c in notebook.cells if c.cell_type == "code" and LINE in c.source]
    assert len(changed) == 1
    changed[0].source = changed[0].source.replace(LINE, 'DATASET = "mnist"')
    client = NotebookClient(notebook, timeout=900, kernel_name="python3")
    client.execute(cwd=CHAPTER.parent)
    printed = "".join(
        output.get("text", "")
        for c in notebook.cells
        if c.cell_type == "code"
        for output in c.outputs
    )
    assert "forget 100 of 1000" in printed
