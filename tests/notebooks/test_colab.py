"""Every notebook with the versions that Colab has, in the environment that `make colab` makes."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("COLAB_PYTHON", "")
NOTEBOOKS = [
    p for folder in (".", "students") for p in (ROOT / "notebooks" / folder).glob("*.ipynb")
]
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="COLAB_PYTHON names no environment: run make colab"),
    pytest.mark.timeout(1200),
]


def pip(*arguments) -> list[str]:
    command = [PYTHON, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.fixture(scope="module")
def frozen(tmp_path_factory) -> tuple[set[str], set[str]]:
    """What was there before the package was installed as the first cell does it, and after."""
    copy = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "minilearn", copy / "minilearn")
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-text"):
        shutil.copy(ROOT / name, copy)
    pip("uninstall", "-q", "-y", "minilearn")
    before = pip("freeze", "--all")
    pip("install", "-q", copy)
    return set(before), set(pip("freeze", "--all"))


def test_the_environment_is_what_the_list_says(frozen):
    there = {line.split("+")[0] for line in frozen[0]}
    asked = (ROOT / "book/colab.txt").read_text("utf-8").splitlines()
    assert {line for line in asked if not line.startswith("#")} <= there


def test_nothing_is_replaced_and_nothing_else_comes(frozen):
    before, after = frozen
    assert before < after
    assert [line.split(" ")[0].split("=")[0] for line in after - before] == ["minilearn"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, frozen, tmp_path, monkeypatch):
    """The live cells too: Colab's widgets are a version older."""
    kernel = tmp_path / "kernels" / "colab"
    kernel.mkdir(parents=True)
    argv = [PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Colab", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=600, kernel_name="colab", skip_cells_with_tag="-")
    client.execute(cwd=tmp_path)
    printed = [output for c in notebook.cells for output in c.get("outputs", [])]
    assert "torch 2.11.0" in str(printed[0])
