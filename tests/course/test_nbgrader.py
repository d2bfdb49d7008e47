"""The sources under nbgrader itself: it takes them, and its points are ours."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minilearn.course import assign, questions, read_source

NBGRADER = Path(sys.executable).with_name("nbgrader")
ASSIGNMENTS = sorted((Path(__file__).parents[2] / "notebooks/assignments").glob("*.ipynb"))


def nbgrader(course: Path, *arguments: str):
    path = f"{NBGRADER.parent}{os.pathsep}{os.environ['PATH']}"  # it runs its own tools by name
    options = ["--ExecutePreprocessor.timeout=300"]
    subprocess.run(
        [NBGRADER, *arguments, *options],
        cwd=course,
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize("path", ASSIGNMENTS, ids=lambda path: path.stem)
def test_nbgrader_gives_the_same_points(path, tmp_path):
    if not NBGRADER.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("nbgrader is not installed")
    name, file = path.stem, f"{path.stem}/{path.name}"
    source, released = tmp_path / "source" / file, tmp_path / "release" / file
    assign(path, source, nbgrader=True)
    nbgrader(tmp_path, "generate_assignment", name)
    text = released.read_text("utf-8")
    assert "BEGIN SOLUTION" not in text and "BEGIN HIDDEN" not in text
    for student, handed_in in (("solved", source), ("empty", released)):
        submitted = tmp_path / "submitted" / student / file
        submitted.parent.mkdir(parents=True)
        shutil.copy(handed_in, submitted)
    nbgrader(tmp_path, "autograde", name)
    nbgrader(tmp_path, "export")
    with (tmp_path / "grades.csv").open(newline="") as grades:
        points = {row["student_id"]: float(row["score"]) for row in csv.DictReader(grades)}
    whole = sum(question.points for question in questions(read_source(path)) if question.test)
    assert points == {"solved": whole, "empty": 0}
