"""The course that nbgrader keeps beside the grades: database, submissions, feedback."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from minilearn.course.sources import Question

CONFIG = """c = get_config()
c.CourseDirectory.course_id = "course"
# what ran, ran in minilearn's sandbox: nbgrader reads the outputs and runs nothing
c.Autograde.sanitize_preprocessors = [
    "nbgrader.preprocessors.OverwriteCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.Autograde.autograde_preprocessors = [
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
"""


def name_of(text: str) -> str:
    """A name that nbgrader and every file system take."""
    return re.sub(r"[^\w-]+", "_", text).strip("_") or "_"


class Course:
    """nbgrader's folder of a course, to be used in a `with` block; one run at a time has it."""

    def __init__(self, out: Path, assignment: str):
        self.root = (out.parent / "gradebook").resolve()
        self.feedback = out.parent / "feedback"
        self.assignment = assignment

    def __enter__(self) -> Course:
        try:
            from nbgrader.api import Gradebook
            from nbgrader.apps.api import NbGraderAPI
            from traitlets.config.loader import PyFileConfigLoader
        except ImportError:
            raise ValueError(
                "grading needs nbgrader: python -m pip install 'minilearn[course]'"
            ) from None
        self.root.mkdir(parents=True, exist_ok=True)
        self.lock = (self.root / "lock").open("w")
        with suppress(ImportError):
            import fcntl

            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self.lock.close()
                raise ValueError(f"another run grades into {self.root.parent} now") from None
        self.path = os.environ.get("PATH", "")  # nbgrader runs a program of its own by name
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{self.path}"
        config = self.root / "nbgrader_config.py"
        if not config.exists():
            config.write_text(CONFIG, "utf-8")
        settings = PyFileConfigLoader(config.name, path=str(self.root)).load_config()
        settings.CourseDirectory.root = str(self.root)
        self.api = NbGraderAPI(config=settings)
        self.api.log.setLevel("ERROR")
        self.book = Gradebook(f"sqlite:///{self.root / 'gradebook.db'}", "course")
        return self

    def __exit__(self, *error):
        self.book.close()
        os.environ["PATH"] = self.path
        self.lock.close()

    def _path(self, step: str, student: str) -> Path:
        return self.root / step / student / self.assignment / f"{self.assignment}.ipynb"

    def _page(self, student: str) -> Path:
        return self.feedback / f"{student}-{self.assignment}.html"

    def source(self, notebook: dict):
        """Enter the source. Marks by hand are kept when questions come or go."""
        from minilearn.files import write_whole

        path = self._path("source", ".")
        text = json.dumps(notebook, indent=1, ensure_ascii=False)
        if path.exists() and path.read_text("utf-8") == text:
            return
        from nbgrader.api import MissingEntry

        write_whole(self.root / "marks.json", lambda p: p.write_text(json.dumps(self.marks())))
        due = None
        with suppress(MissingEntry):
            due = self.book.find_assignment(self.assignment).duedate
            shutil.copy(self.root / "gradebook.db", self.root / "gradebook.db.before")
            self.book.remove_assignment(self.assignment)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        self._call("generate_assignment", self.assignment)
        self.book.db.expire_all()
        self.book.update_or_create_assignment(self.assignment, duedate=due)

    def _call(self, what: str, *given):
        with warnings.catch_warnings(action="ignore"):  # nbgrader's own, of its database
            result = getattr(self.api, what)(*given, force=True)
        if not result["success"]:
            raise ValueError(f"nbgrader stopped: {result.get('log', '')[-500:]}")

    def marks(self) -> dict[str, dict[str, float]]:
        """Marks by hand, by student and question."""
        from nbgrader.api import MissingEntry

        kept = {}
        if (self.root / "marks.json").exists():
            kept = json.loads((self.root / "marks.json").read_text("utf-8"))
        with suppress(MissingEntry):
            for each in self.book.assignment_submissions(self.assignment):
                for notebook in each.notebooks:
                    for grade in notebook.grades:
                        if grade.manual_score is not None:
                            kept.setdefault(each.student.id, {})[grade.name] = grade.manual_score
        return kept

    def mark(self, student: str, question: str, points: float):
        """Enter a mark by hand."""
        from nbgrader.api import MissingEntry

        with suppress(MissingEntry):
            given = question, self.assignment, self.assignment, student
            found = self.book.find_grade(*given)
            found.manual_score = points
            found.needs_manual_grade = False
            self.book.db.commit()

    def earlier(self, student: str) -> dict | None:
        """What came of a submission in an earlier run; None if it is new."""
        try:
            self._page(student).stat()  # written last: without it a run was killed
            text = self._path("submitted", student).read_text("utf-8")
            return json.loads(text)["metadata"]["minilearn"]
        except (OSError, ValueError, KeyError):
            return None

    def submit(self, student: str, notebook: dict, file: Path):
        """Hand a submission to nbgrader, which reads its marks and writes feedback."""
        from minilearn.files import write_whole

        path = self._path("submitted", student)
        path.parent.mkdir(parents=True, exist_ok=True)
        seconds = file.stat().st_mtime if file.exists() else 0
        when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        path.with_name("timestamp.txt").write_text(f"{when:%Y-%m-%d %H:%M:%S} UTC")
        self._page(student).unlink(missing_ok=True)
        write_whole(path, lambda part: part.write_text(json.dumps(notebook), "utf-8"))
        marks = self.marks().get(student, {})
        self._call("autograde", self.assignment, student)
        for question, points in marks.items():
            self.mark(student, question, points)
        self._call("generate_feedback", self.assignment, student)
        page = self._path("feedback", student).with_suffix(".html")
        write_whole(self._page(student), lambda part: shutil.copy(page, part))

    def scores(self, student: str, asked: Sequence[Question]) -> dict[str, float | None]:
        """Each question's points, by hand before by test; None where a reader has yet to mark."""
        from nbgrader.api import MissingEntry

        found = dict.fromkeys(q.name for q in asked)
        for q in asked:
            given = q.name, self.assignment, self.assignment, student
            with suppress(MissingEntry):
                grade = self.book.find_grade(*given)
                self.book.db.refresh(grade)
                if grade.manual_score is not None or q.test:
                    found[q.name] = grade.score
        return found

    def days_late(self, student: str) -> float:
        """Days after the due date, which the formgrader sets; 0 if there is none."""
        from nbgrader.api import MissingEntry

        with suppress(MissingEntry):
            found = self.book.find_submission(self.assignment, student)
            return round(found.total_seconds_late / 86400, 1)
        return 0

    def answers(self, student: str, asked: Sequence[Question]) -> dict[str, str]:
        """What a student wrote for the reader."""
        written = (self.earlier(student) or {}).get("answers", {})
        return {q.name: written.get(q.name, "") for q in asked if not q.test}
