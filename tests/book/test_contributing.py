"""The method that CONTRIBUTING shows: saved as it says, it is a method like any other."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def shown(first_words: str) -> str:
    """The block of code that begins so."""
    (block,) = re.findall(rf'```python\n("""{first_words}.*?)```', TEXT, flags=re.DOTALL)
    return block


def test_the_example_is_short():
    assert len(shown("Random labels: train").splitlines()) <= 60


def test_a_new_method_touches_its_file_and_its_test(tmp_path):
    """In a copy of package and tests: the registry, the tests of all methods and its own."""
    for folder in ("minilearn", "tests", "book/experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for file in ("pyproject.toml", "book/__init__.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    method = shown("Random labels: train")
    (tmp_path / "minilearn" / "methods" / "random_labels.py").write_text(method)
    test = shown("Random labels: no item")
    (tmp_path / "tests" / "methods" / "test_random_labels.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "no:nbval", "tests/methods"]
    command += ["-k", "random_labels", "-q"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert passed >= 20, done.stdout[-500:]
    assert '"access": ("model", "forget")' in test  # what one of these tests holds it to
