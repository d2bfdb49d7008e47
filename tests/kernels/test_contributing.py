"""The kernel that CONTRIBUTING shows: saved as it says, it is a kernel like any other."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Add a kernel\n")[2]
BLOCKS = re.findall(r"```python\n(.*?)```", SECTION.partition("\n## ")[0], flags=re.DOTALL)
TESTS = ("tests/kernels", "tests/experiments/test_kernel_timings.py")


@pytest.fixture
def copy(tmp_path) -> Path:
    """Package, tests and experiments in another place, with the kernel's file."""
    for folder in ("minilearn", "tests", "book/experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for file in ("pyproject.toml", "CONTRIBUTING.md", "book/__init__.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / "minilearn" / "kernels" / "dampened.py").write_text(BLOCKS[0])
    return tmp_path


def ran(copy: Path, chosen: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:nbval", *TESTS, "-k", chosen, "-q"]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True).stdout


def test_the_file_alone_is_told_what_it_lacks(copy):
    said = ran(copy, "has_all_its_tests and dampened or has_sizes")
    assert "tests/kernels/test_dampened.py is not there" in said
    assert "kernel_cases.py has no sizes for ['dampened']" in said and "2 failed" in said


def test_a_new_kernel_touches_three_files(copy):
    _, test, sizes = BLOCKS
    (copy / "tests" / "kernels" / "test_dampened.py").write_text(test)
    cases = copy / "book" / "experiments" / "kernel_cases.py"
    there = cases.read_text("utf-8")
    entered = f'{sizes}\n\nCASES = {{\n    "dampened": _dampened,\n'
    cases.write_text(there.replace("CASES = {\n", entered, 1), "utf-8")
    said = ran(copy, "dampened")
    assert "failed" not in said and "error" not in said, said[-2000:]
    assert int(re.search(r"(\d+) passed", said)[1]) >= 12, said[-500:]
