"""The environment with Colab's versions, before `make colab` runs every notebook in it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = os.environ.get("MINILEARN_COLAB", "")
PYTHON = Path(HERE) / "bin" / "python"
pytestmark = [
    pytest.mark.skipif(not HERE, reason="MINILEARN_COLAB names no environment: run make colab"),
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
