"""The course that nbgrader keeps beside the grades: database, submissions, feedback."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from minilearn.course.sources import write_text

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
    name = re.sub(r"[^\w-]+", "_", text).strip("_") or "_"
    return name if len(name.encode()) <= 100 else f"{name[:30]}_{digest(name)}"


def digest(text: str) -> str:
    """A few letters that tell a text from others."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class Course:
    """nbgrader's folder of a course, to be used in a `with` block; one run at a time has it."""

    def __init__(self, out: Path, assignment: str):
        self.root = (out.parent / "gradebook").resolve()
        self.feedback = out.parent / "feedback"
        self.assignment = assignment
        self.shown = self.root / f"{assignment}.json"  # the marks by hand that the table shows

    def __enter__(self) -> Course:
        try:
            import fcntl

            from nbgrader.apps.api import NbGraderAPI
            from traitlets.config.loader import PyFileConfigLoader
        except ImportError as error:
            raise ValueError(
                "grading needs Linux or macOS, and nbgrader: "
                f"python -m pip install 'minilearn[course]' ({error})"
            ) from None
        self.root.mkdir(parents=True, exist_ok=True)
        self.lock = (self.root / "lock").open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.close()
            raise ValueError(f"another run grades into {self.root.parent} now") from None
        config = self.root / "nbgrader_config.py"
        if not config.exists():
            config.write_text(CONFIG, "utf-8")
        settings = PyFileConfigLoader(config.name, path=str(self.root)).load_config()
        settings.CourseDirectory.root = str(self.root)
        self.api = NbGraderAPI(config=settings)
        self.api.log.setLevel("ERROR")
        path = os.environ.get("PATH", "")  # nbgrader runs alembic by name
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{path}"
        try:
            self.book = self.api.gradebook
        finally:
            os.environ["PATH"] = path
        return self

    def __exit__(self, *error):
        self.book.close()
        self.lock.close()

    def _path(self, step: str, student: str) -> Path:
        return self.root / step / student / self.assignment / f"{self.assignment}.ipynb"

    def _page(self, student: str) -> Path:
        return self.feedback / f"{student}-{self.assignment}.html"

    def _call(self, what: str, *given, force: bool = True):
        result = getattr(self.api, what)(*given, force=force)
        if not result["success"]:
            raise ValueError(f"nbgrader stopped: {(result.get('log') or result['error'])[-500:]}")
        self.book.db.expire_all()

    def source(self, notebook: dict):
        """Enter the source; what belongs to questions that stay is kept."""
        about = [cell["metadata"].get("nbgrader") for cell in notebook["cells"]]
        self._adapt({each["grade_id"]: each for each in about if each})
        write_text(self._path("source", "."), json.dumps(notebook, indent=1, ensure_ascii=False))
        self._call("generate_assignment", self.assignment)

    def _adapt(self, asked: dict[str, dict]):
        """Give what was submitted the questions of a changed source, which nbgrader refuses to."""
        from nbgrader import api

        try:
            notebook = self.book.find_notebook(self.assignment, self.assignment)
        except api.MissingEntry:
            return
        kinds = {name: {"cell_type": about["cell_type"]} for name, about in asked.items()}
        points = {name: {"max_score": asked[name]["points"]} | kinds[name] for name in asked}
        prose = {name: {} for name in asked if asked[name]["solution"]}
        for kind, known, wanted, belongs in (
            (api.GradeCell, notebook.grade_cells, points, api.Grade),
            (api.SolutionCell, notebook.solution_cells, prose, api.Comment),
            (api.SourceCell, notebook.source_cells, kinds, None),
        ):
            for cell in known:
                if wanted.pop(cell.name, None) is not None:
                    continue
                if belongs:
                    self.book.db.query(belongs).filter_by(cell_id=cell.id).delete()
                self.book.db.delete(cell)
            for name, fields in wanted.items():
                cell = kind(name=name, notebook_id=notebook.id, **fields)
                self.book.db.add(cell)
                self.book.db.flush()
                for submission in notebook.submissions if belongs else []:
                    self.book.db.add(belongs(cell_id=cell.id, notebook_id=submission.id))
        self.book.db.commit()

    def people(self, known: dict[str, dict[str, str]]):
        """Enter a roster."""
        for student, row in known.items():
            names = {"last_name": row.get("name"), "email": row.get("email")}
            self.book.update_or_create_student(student, **names)

    def earlier(self, student: str) -> dict | None:
        """What came of a submission in an earlier run; None if it is new."""
        try:
            self._path("graded", student).stat()  # made last: without it a run was killed
            text = self._path("submitted", student).read_text("utf-8")
            return json.loads(text)["metadata"]["minilearn"]
        except (OSError, ValueError, KeyError):
            return None

    def submit(self, student: str, notebook: dict, file: Path):
        """Hand a submission to nbgrader, which reads its points."""
        path = self._path("submitted", student)
        path.parent.mkdir(parents=True, exist_ok=True)
        when = datetime.datetime.fromtimestamp(file.stat().st_mtime, datetime.UTC)
        path.with_name("timestamp.txt").write_text(f"{when:%Y-%m-%d %H:%M:%S} UTC")
        self._page(student).unlink(missing_ok=True)
        self._path("graded", student).unlink(missing_ok=True)
        write_text(path, json.dumps(notebook, ensure_ascii=False))
        self._call("autograde", self.assignment, student)
        write_text(self._path("graded", student), "")  # nbgrader's own file is there before points

    def mark(self, student: str, question: str, points: float | None):
        """Enter what a reader has typed into the table, unless it stood there before.

        None takes back a mark that stood there.
        """
        from nbgrader.api import MissingEntry

        if self.marked(student).get(question, [None])[0] == points:
            return
        with suppress(MissingEntry):
            given = question, self.assignment, self.assignment, student
            found = self.book.find_grade(*given)
            found.manual_score = points
            found.needs_manual_grade = points is None
            self.book.db.commit()

    def marks_shown(self) -> dict[str, dict[str, list]]:
        """The marks by hand as the table has them."""
        return json.loads(self.shown.read_text("utf-8")) if self.shown.exists() else {}

    def marked(self, student: str) -> dict[str, list]:
        """The marks by hand of a student, by question, as the table has them."""
        return self.marks_shown().get(student, {})

    def outdate_pages(self):
        """Remove the page of everyone whom a reader has marked since the last tables."""
        self.marks, shown = self._marks(), self.marks_shown()
        for student, given in self.marks.items():
            if given != shown.get(student, {}):
                self._page(student).unlink(missing_ok=True)

    def write_feedback(self):
        """Write every page that is missing, when the tables are written.

        All at once: nbgrader translates its templates anew each time that it is asked.
        """
        write_text(self.shown, json.dumps(self.marks))
        missing = [student for student in self.marks if not self._page(student).exists()]
        for student in missing:
            shutil.rmtree(self._path("feedback", student).parent, ignore_errors=True)
        if missing:
            self._call("generate_feedback", self.assignment, force=False)
        for student in missing:
            made = self._path("feedback", student).with_suffix(".html")
            write_text(self._page(student), made.read_text("utf-8"))

    def _marks(self) -> dict[str, dict[str, list]]:
        """By student and question: points, extra points and comment of a reader."""
        found = {}
        for submission in self.book.assignment_submissions(self.assignment):
            comments = {each.name: each.manual_comment for each in submission.notebooks[0].comments}
            grades = submission.notebooks[0].grades
            marks = {g.name: [g.manual_score, g.extra_credit, comments.get(g.name)] for g in grades}
            given = {name: mark for name, mark in marks.items() if mark != [None, None, None]}
            found[submission.student.id] = given
        return found

    def results(self) -> dict[str, tuple[dict[str, float], float]]:
        """By student: each question's points, by hand before by test, and the days late.

        A question that a reader has yet to mark is left out.
        """
        found = {}
        for submission in self.book.assignment_submissions(self.assignment):
            grades = submission.notebooks[0].grades
            marked = [g for g in grades if g.manual_score is not None or g.cell.cell_type == "code"]
            late = round(submission.total_seconds_late / 86400, 1)
            found[submission.student.id] = {grade.name: grade.score for grade in marked}, late
        return found
