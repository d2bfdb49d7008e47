"""The whole loop: a source, its student version, and a class of submissions, graded exactly."""

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from minilearn.course import assign, attempt, grade, questions, read_source, student_version
from minilearn.course import sandbox as sandbox_module
from minilearn.course.__main__ import main
from minilearn.course.grading import Limits, _harmless, run
from minilearn.course.recompose import recompose
from minilearn.course.sandbox import sandbox
from minilearn.course.sources import TEST, nbgrader_version, parts, text_of
from minilearn.course.tables import read

sandboxed = pytest.mark.skipif(
    not sandbox()[0], reason="neither bubblewrap nor namespaces on this machine"
)
graded_here = pytest.mark.skipif(
    not find_spec("nbgrader"), reason="nbgrader is not installed: make .venv/.nbgrader"
)

TEXTS = [
    ("markdown", "# Toy\n\nTwo questions and an argument."),
    ("code", "from minilearn.course import attempt, key\nGIVEN = [1, 2, 6]"),
    (
        "code",
        "def double(x):\n    ### BEGIN SOLUTION\n    answer = 2 * x + 0\n    return answer\n"
        "    ### END SOLUTION",
    ),
    (
        "code",
        '# TEST double (2 points)\nwith attempt("double"):\n    # PART small numbers (1 point)\n'
        "    assert double(2) == 4\n    # PART other numbers (1 point)\n"
        "    ### BEGIN HIDDEN TESTS\n    x = -3 - key()\n"
        '    assert double(x) == 2 * x, "negative numbers"\n    ### END HIDDEN TESTS',
    ),
    (
        "code",
        "found = {}\n### BEGIN SOLUTION\nfound['mean'] = sum(GIVEN) / len(GIVEN)\n### END SOLUTION",
    ),
    (
        "code",
        '# TEST mean (3 points)\nwith attempt("mean"):\n    if not found:\n'
        "        raise NotImplementedError\n    ### BEGIN HIDDEN TESTS\n"
        "    assert found['mean'] == 3\n    ### END HIDDEN TESTS",
    ),
    (
        "markdown",
        "Why?\n\n<!-- ANSWER why (4 points) -->\n<!-- BEGIN RUBRIC -->\nBecause of this and that."
        "\n<!-- END RUBRIC -->",
    ),
]
DOUBLE, MEAN = "def double(x):\n    return x + x", "found = {'mean': 3.0}"
GO_ON = "def double(x):\n    return 2 * x * (1\n        != 2)", "found = {'mean': (7\n % 4)}"
WRONG = "def double(x):\n    return abs(x + x)"
FITTED = "def double(x):\n    return {2: 4, -3: -6}[x]"


def cell(kind: str, text: str, **extra) -> dict:
    made = {"cell_type": kind, "metadata": {}, "source": text.splitlines(keepends=True)} | extra
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def notebook(*cells: dict) -> dict:
    made = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return made


def write(path: Path, content: dict | str) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    cells = [cell(kind, text, id=f"c{i}") for i, (kind, text) in enumerate(TEXTS)]
    cells[1]["metadata"] = {"nbgrader": {"grade_id": "the author's", "locked": True}}
    return write(tmp_path_factory.mktemp("source") / "source.ipynb", notebook(*cells))


@pytest.fixture(scope="module")
def student(source) -> dict:
    return student_version(read_source(source))


def answered(student: dict, double: str = DOUBLE, mean: str = MEAN) -> dict:
    """A student's notebook with answers in the places of the stubs."""
    made = json.loads(json.dumps(student))
    made["cells"][2]["source"], made["cells"][4]["source"] = double, mean
    return made


@sandboxed
@graded_here
def test_a_key_finds_fitted_answers_and_a_huge_file_is_not_read(
    source, student, tmp_path, monkeypatch
):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "fitted.ipynb", answered(student, double=FITTED))
    write(tmp_path / "in" / "large.ipynb", " " * 2**21)
    monkeypatch.setattr("minilearn.course.sources.LARGEST", 2**20)
    for key, points in (("", "5"), ("k", "4")):
        fitted, large = grade(source, tmp_path / "in", tmp_path / "grades.csv", key=key)
        assert fitted["points"] == points
        assert large["points"] == "0" and "larger than 1 MB" in large["reason"]


def test_questions_have_points_and_bodies(source):
    double, mean, why = questions(read_source(source))
    assert (double.name, double.points, mean.points, why.points) == ("double", 2, 3, 4)
    assert "attempt" not in double.test and "assert double(x)" in double.test
    assert not why.test


def test_the_student_version_has_stubs_and_no_secrets(student):
    text = "\n".join(text_of(c) for c in student["cells"])
    assert "def double(x):\n    raise NotImplementedError  # your code here" in text
    assert "found = {}\n# your code here" in text and "assert double(2) == 4" in text
    for secret in ("answer =", "sum(GIVEN)", "negative", "found['mean']", "this and that", "###"):
        assert secret not in text
    assert "<!-- ANSWER why (4 points) -->" in text and len(student["cells"]) == len(TEXTS)


def test_the_source_for_nbgrader_has_its_metadata(source):
    cells = nbgrader_version(read_source(source))["cells"]
    about = [c["metadata"].get("nbgrader", {}) for c in cells]
    assert [(a.get("grade_id"), a.get("points")) for a in about] == [
        (None, None),
        (None, None),
        (None, None),
        ("double", 2),
        (None, None),
        ("mean", 3),
        ("why", 4),
    ]
    assert about[6]["solution"] and not about[3]["solution"] and about[3]["locked"]
    assert "2 * x" not in text_of(cells[2]) and "NotImplementedError" in text_of(cells[2])
    test, why = text_of(cells[3]), text_of(cells[6])
    assert "attempt" not in test and "\nassert double(2) == 4\n# PART" in test
    assert test.rstrip().endswith("### END HIDDEN TESTS") and "this and that" not in why


def test_a_leak_is_refused(source, tmp_path):
    made = json.loads(source.read_text())
    made["cells"][1]["source"] = "found['mean'] = sum(GIVEN) / len(GIVEN)"
    source = write(tmp_path / "leaky.ipynb", made)
    with pytest.raises(ValueError, match="stands in the student version too: .*sum"):
        assign(source, tmp_path / "out.ipynb")
    assert not (tmp_path / "out.ipynb").exists()


def test_an_attempt_says_how_it_stands(capsys):
    for error in (None, NotImplementedError, AssertionError("of two\n lines"), KeyError("k")):
        with attempt("q"):
            if error:
                raise error
    assert capsys.readouterr().out.splitlines() == [
        "q: right, as far as the tests go that you can see",
        "q: not attempted",
        "q: not yet (AssertionError: of two lines)",
        "q: not yet (KeyError: 'k')",
    ]


def between(student: dict, double: str, *texts: str) -> dict:
    """A student's notebook with cells of their own after the fourth place."""
    made = answered(student, double)
    others = [cell("code", text) for text in texts]
    return notebook(*made["cells"][:3], *others, *made["cells"][3:])


def own(student: dict, *texts: str, double: str = DOUBLE, mean: str = MEAN) -> dict:
    """Answers, and cells of their own at the end."""
    made = answered(student, double, mean)
    return notebook(*made["cells"], *(cell("code", text) for text in texts))


def classroom(student: dict) -> dict[str, tuple[dict | str | bytes, float, str]]:
    """Name: (submission, points of 5, what the reason says)."""
    good, fine = answered(student), "all tests passed"
    texts = json.loads(json.dumps(good["cells"]))
    bare = notebook(*[json.loads(json.dumps(texts[i])) for i in (5, 3, 1, 4, 2)])
    bare["nbformat_minor"] = 0
    for c in bare["cells"]:
        c.pop("id"), c.update(metadata={"id": "xyz", "colab": {}})
    twice = answered(student)
    twice["cells"] = [c for c in twice["cells"] for _ in range(2)]
    untested = notebook(*(c for c in texts if "# TEST" not in text_of(c)))
    no_imports = notebook(*(c for c in texts if "import attempt" not in text_of(c)))
    easy = json.loads(json.dumps(answered(student, WRONG)))
    easy["cells"][3]["source"] = '# TEST double (2 points)\nwith attempt("double"):\n    pass'
    outputs = json.loads(json.dumps(good))
    outputs["cells"][1]["outputs"] = [
        {"output_type": "display_data", "metadata": {}, "data": {"text/html": "<script>x</script>"}}
    ]
    flood = "for i in range(10**4):\n    print('y' * 999)"
    argued = json.loads(json.dumps(good))
    argued["cells"].append(cell("markdown", "Because <script>alert(1)</script> of that."))
    deadly = "import os\ndef double(x):\n    os._exit(3)"
    middle = [texts[i] for i in (0, 1, 2)], [texts[i] for i in (3, 4, 5, 6)]
    negative = "double: AssertionError: negative numbers"
    return {
        "good": (good, 5, fine),
        "half": (answered(student, WRONG), 4, negative),
        "fitted": (answered(student, FITTED), 5, fine),
        "empty": (student, 0, "double: not attempted; mean: not attempted"),
        "own_cells": (own(student, "p, q = 1, 2\nGIVEN = []", "x = double(3)"), 5, fine),
        "given_changed_between": (
            notebook(*middle[0], cell("code", "GIVEN = None"), *middle[1]),
            5,
            fine,
        ),
        "helper_named_size": (
            answered(student, "def size(x):\n    return x\ndef double(x):\n    return 2 * size(x)"),
            5,
            fine,
        ),
        "sum_hidden_later": (own(student, "sum = 0\nfor n in (1, 2):\n    sum += n"), 5, fine),
        "sum_hidden": (
            own(student, double="sum = 0\ndef double(x):\n    return sum([x, x])"),
            3,
            "your sum hides Python's own",
        ),
        "no_return": (
            answered(student, "def double(x):\n    2 * x + (None or x)\n    return None + x"),
            3,
            "does a function lack its return",
        ),
        "assertions_swallowed": (own(student, "AssertionError = ValueError"), 5, fine),
        "duplicated": (twice, 5, fine),
        "tests_deleted": (untested, 5, fine),
        "imports_deleted": (no_imports, 5, fine),
        "reordered_no_metadata": (bare, 5, "the mark of why is not in the notebook"),
        "test_that_tests_nothing": (easy, 4, negative),
        "with_outputs": (outputs, 5, fine),
        "lines_as_text": (notebook(*[c | {"source": text_of(c)} for c in texts]), 5, fine),
        "bom": (b"\xef\xbb\xbf" + json.dumps(good).encode(), 5, fine),
        "filled_after_the_test": (own(student, "found['mean'] = 3.0", mean="found = {}"), 5, fine),
        "magic_and_shell": (
            own(student, "%time x = 1\n!echo x\n%gui\ndisplay(x)", double=f"%%time\n{GO_ON[0]}"),
            5,
            fine,
        ),
        "argued": (argued, 5, fine),
        "flood": (own(student, flood), 5, ""),
        "memory": (own(student, "x = bytearray(2**42)"), 5, "MemoryError"),
        "exits": (own(student, "exit()", "raise SystemExit"), 5, ""),
        "endless": (
            own(student, "import time\nwhile True:\n    time.sleep(0.1)"),
            5,
            "it took more than 5 seconds",
        ),
        "thread_that_stays": (
            own(
                student,
                "import threading\nthreading.Timer(999, print).start()",
            ),
            5,
            fine,
        ),
        "killed_between": (
            notebook(*middle[0], cell("code", "import os\nos._exit(1)"), *middle[1]),
            5,
            "cell 4: it ended the program",
        ),
        "killing_test": (answered(student, deadly), 3, "double: it ended the program"),
        "escapes": (own(student, "raise ValueError('\\033[31m red')"), 5, "[31m red"),
        "half_a_letter": (
            notebook(*own(student, "# \ud800")["cells"], cell("markdown", "\ud800")),
            5,
            "cell 8: UnicodeEncodeError",
        ),
        "syntax": (answered(student, "def double(x)\n    return"), 3, "cell 3: SyntaxError"),
        "no_json": ("{", 0, "it is no notebook: it is not JSON"),
        "no_cells": ("[1]", 0, "it is no notebook: it has no list of cells"),
        "=formula": (good, 5, fine),
    }


def hand_in(folder: Path, cases: dict) -> Path:
    folder.mkdir()
    for name, (content, _, _) in cases.items():
        if isinstance(content, bytes):
            (folder / f"{name}.ipynb").write_bytes(content)
        else:
            write(folder / f"{name}.ipynb", content)
    return folder


@pytest.fixture(scope="module")
def course(source, student, tmp_path_factory):
    """A class, with a few files that are no submissions; its grading was killed and resumed."""
    home = tmp_path_factory.mktemp("course")
    cases = classroom(student)
    folder = hand_in(home / "in", cases)
    (folder / "__MACOSX").mkdir(), (folder / ".ipynb_checkpoints").mkdir()
    for name in ("__MACOSX/._x.ipynb", ".ipynb_checkpoints/x.ipynb", "notes.txt", "all.zip"):
        (folder / name).write_bytes(b"\0")
    (folder / "link.ipynb").symlink_to(source)
    with contextlib.chdir(home):  # nbgrader changes it while submissions are read
        here = os.path.relpath(source), "in", "grades.csv"
        command = [sys.executable, "-m", "minilearn.course", "grade", *here[:2], "--out", here[2]]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done = "gradebook/graded/*/*/*.ipynb"
        while not list(home.glob(done)) and running.poll() is None:
            time.sleep(0.05)
        with pytest.raises(ValueError, match="another run"):
            grade(*here)
        running.kill(), running.wait()
        begun = {path: path.stat().st_mtime_ns for path in home.glob(done)}
        rows = grade(*here, jobs=2, seconds=5, memory=2**30)
    return home, folder, cases, rows, begun


@sandboxed
@graded_here
def test_a_class_gets_its_points_exactly(course):
    home, _, cases, rows, begun = course
    assert len(rows) == len(cases) >= 30
    assert begun and all(path.stat().st_mtime_ns == when for path, when in begun.items())
    for row in rows:
        _, points, reason = cases[row["submission"].removesuffix(".ipynb").lstrip("'")]
        assert (float(row["points"]), row["of"]) == (points, "5"), row
        assert reason in row["reason"] and "\033" not in row["reason"], row
    with (home / "grades.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == rows
    with (home / "not_read.csv").open(newline="") as file:
        assert {r["file"] for r in csv.DictReader(file)} == {
            *("notes.txt", "all.zip", "link.ipynb", "no_json.ipynb", "no_cells.ipynb")
        }
    pages = {path.name for path in (home / "feedback").iterdir()}
    assert len(pages) == len(cases) and "half-source.html" in pages
    page = (home / "feedback" / "half-source.html").read_text("utf-8")
    assert "negative numbers" in page
    for path in (home / "feedback").glob("argued*"):
        assert "<script>alert" not in path.read_text("utf-8")
    answers = (home / "answers.md").read_text("utf-8")
    assert "Because of this and that." in answers and "## argued\n\n> Because &lt;script" in answers


@sandboxed
@graded_here
def test_a_run_that_is_killed_between_two_points_is_taken_up(
    source, student, tmp_path, monkeypatch
):
    """nbgrader writes its file before it writes the points."""
    from nbgrader.preprocessors import SaveAutoGrades

    class Killed(BaseException):
        pass

    save = SaveAutoGrades._add_score

    def killed(self, cell, resources):
        if cell.metadata["nbgrader"]["grade_id"] == "mean":
            raise Killed
        save(self, cell, resources)

    folder = hand_in(tmp_path / "in", {"good": classroom(student)["good"]})
    with monkeypatch.context() as patch:
        patch.setattr(SaveAutoGrades, "_add_score", killed)
        with pytest.raises(ValueError, match="nbgrader stopped"):
            grade(source, folder, tmp_path / "grades.csv")
    assert list(tmp_path.glob("gradebook/autograded/good/*/*.ipynb"))
    [row] = grade(source, folder, tmp_path / "grades.csv")
    assert row["points"] == "5"


@sandboxed
@graded_here
def test_again_nothing_runs_and_one_may_be_asked_for(course, source, tmp_path, monkeypatch):
    home, folder, _, rows, _ = course
    monkeypatch.setattr("minilearn.course.sandbox.run", lambda *_, **__: pytest.fail("it ran"))
    limits = {"seconds": 5, "memory": 2**30}
    assert grade(source, folder, home / "grades.csv", jobs=2, **limits) == rows
    monkeypatch.undo()
    before = {p.name: p.stat().st_mtime_ns for p in (home / "feedback").iterdir()}
    options = {"only": "half", "question": "mean"} | limits
    assert grade(source, folder, home / "grades.csv", **options) == rows
    after = {p.name: p.stat().st_mtime_ns for p in (home / "feedback").iterdir()}
    assert [name for name in after if after[name] != before[name]] == ["half-source.html"]


@sandboxed
@graded_here
def test_what_met_a_limit_is_graded_again_when_the_limit_grows(
    source, student, tmp_path, monkeypatch
):
    ran, run_it = [], sandbox_module.run

    def slow(work, *given):
        said, why = run_it(work, *given)
        ran.append(work["seconds"])
        if work["seconds"] < 20:
            late = {"problem": "it took more than 10 seconds", "points": 0}
            said = [answer | late for answer in said]
        return said, why

    monkeypatch.setattr(sandbox_module, "run", slow)
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "slow.ipynb", answered(student))
    for seconds, points in ((10, "0"), (5, "0"), (10, "0"), (20, "5"), (60, "5")):
        [row] = grade(source, tmp_path / "in", tmp_path / "grades.csv", seconds=seconds)
        assert row["points"] == points
        assert ("it took more than 10 seconds" in row["reason"]) == (seconds < 20)
    assert ran == [10, 20]


@sandboxed
@graded_here
def test_where_a_given_cell_meets_a_limit_no_mark_goes_to_canvas(
    source, student, tmp_path, monkeypatch
):
    """The machine was too slow for what nobody of the class has written."""
    run_it = sandbox_module.run

    def slow(work, *given):
        said, why = run_it(work, *given)
        late = {"problem": "it took more than 10 seconds"}
        pairs = zip(said, work["steps"], strict=False)
        return [a | late if step["kind"] == "given" else a for a, step in pairs], why

    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "7.ipynb", answered(student))
    roster = write(tmp_path / "roster.csv", "id,name\n7,Ann Lee\n")
    table = tmp_path / "grades.csv"
    for way, reason, mark in (slow, "so this machine was too slow: raise", ""), (run_it, "", "5"):
        monkeypatch.setattr(sandbox_module, "run", way)
        [row] = grade(source, tmp_path / "in", table, roster=roster, only="7", seconds=30)
        assert row["points"] == "5" and (reason in row["reason"])
        [line] = csv.DictReader((tmp_path / "canvas.csv").read_text("utf-8").splitlines())
        assert line[row["assignment"]] == mark


@sandboxed
@graded_here
def test_the_tables_say_who_is_not_read(source, student, two, capsys):
    """A file that no notebook comes from is a reason, and no 0 that Canvas or Moodle takes."""
    folder, out = two["folder"], two["out"]
    (folder / "s3").mkdir()
    (folder / "s3" / "mini.ipynb.txt").write_text("{}")
    write(folder / "s4.ipynb", "")
    (folder / "s5.ipynb").write_bytes(json.dumps(student).encode("utf-16"))
    with two["roster"].open("a") as file:
        file.write("s4,Di,,104\ns5,Ed,,105\ns6,Flo,,106\n")
    arguments = (str(each) for each in (source, folder, "--out", out, "--roster", two["roster"]))
    main(["grade", *arguments])
    said = capsys.readouterr().out
    assert "6 rows" in said and "not read: s3/mini.ipynb.txt, s4.ipynb, s5.ipynb" in said
    reasons = {row["student"]: row["reason"] for row in read(out)}
    why = "is no notebook: its name does not end in .ipynb"
    assert reasons["s3"] == f"s3/mini.ipynb.txt {why}"
    assert reasons["s6"] == "nothing was handed in"
    unread = {row["file"]: row["reason"] for row in read(out.with_name("not_read.csv"))}
    assert unread["s3/mini.ipynb.txt"] == why
    for file in ("s4", "s5"):
        assert unread[f"{file}.ipynb"].startswith("is no notebook: it is not JSON")
        assert reasons[file].startswith("it is no notebook: it is not JSON")
    for table, column in (("canvas.csv", "source"), ("moodle.csv", "Grade")):
        assert [row[column] for row in read(out.with_name(table))] == ["5", "4", "", "", "", ""]


@sandboxed
@graded_here
def test_an_answer_is_the_students_own_and_stands_below_its_mark(source, student, tmp_path):
    """Nobody writes an answer for another, and a question that is typed over is said."""
    (tmp_path / "in").mkdir()
    forged, over, above, none = (answered(student) for _ in range(4))
    forged["cells"].append(cell("markdown", "Mine.\n\n## s3\n\u2028# why\nI copied."))
    over["cells"][-1]["source"] = "Because."
    above["cells"].insert(-1, cell("markdown", "Because."))
    for name, made in (("s2", forged), ("s3", over), ("s4", above), ("s5", none)):
        write(tmp_path / "in" / f"{name}.ipynb", made)
    rows = grade(source, tmp_path / "in", tmp_path / "grades.csv")
    assert [row["reason"] for row in rows] == [
        "all tests passed",
        "the mark of why is not in the notebook, nor what stands below",
        "a text of their own stands elsewhere, and none below why",
        "all tests passed",
    ]
    lines = (tmp_path / "answers.md").read_text("utf-8").splitlines()
    begin = [line for line in lines if line.startswith("#")]
    assert begin == ["# why", "## s2", "## s3", "## s4", "## s5"]
    assert lines[-1] == "*nothing stands below the question*"
    assert [line for line in lines if "copied" in line] == ["> I copied."]


def marked_by_hand(database: str, students: list[str]) -> dict[str, dict[str, float]]:
    """Every third answer in prose, and some tests, as the formgrader does; points and extra."""
    from nbgrader.api import Gradebook

    marks = {student: {} for student in students}
    for i, student in enumerate(students):
        if i % 3 == 0:
            marks[student]["why"] = (i % 4, None)
        if i % 5 == 0:
            marks[student]["double"] = (i % 3 / 2, 0.25)
        if i % 7 == 0:
            marks[student]["mean"] = (0, None)
    with Gradebook(database) as book:
        for student, given in marks.items():
            for question, (points, extra) in given.items():
                found = book.find_grade(question, "source", "source", student)
                found.manual_score, found.extra_credit = points, extra
                found.needs_manual_grade = False
        book.db.commit()
    return {s: {q: p + (e or 0) for q, (p, e) in each.items()} for s, each in marks.items()}


@sandboxed
@graded_here
def test_marks_of_a_whole_class_survive_another_key_and_another_source(course, source, tmp_path):
    """Every point of everyone: what a reader has marked stays, all else is tested anew."""
    first, folder, cases, rows, _ = course
    out = shutil.copytree(first, tmp_path / "again", symlinks=True) / "grades.csv"
    database = f"sqlite:///{out.parent / 'gradebook' / 'gradebook.db'}"
    name_of = {row["student"]: row["submission"].removesuffix(".ipynb").lstrip("'") for row in rows}
    marks = marked_by_hand(database, list(name_of))
    changed = json.loads(source.read_text())
    changed["cells"][0]["source"] = "# Small numbers count more"
    test = text_of(changed["cells"][3]).replace("numbers (1", "numbers (2", 1)
    changed["cells"][3]["source"] = test.replace("double (2", "double (3")
    changed["cells"].append(cell("markdown", "Who?\n\n<!-- ANSWER who (1 point) -->"))
    (tmp_path / "s").mkdir()
    other = write(tmp_path / "s" / "source.ipynb", changed)
    again = grade(other, folder, out, key="autumn", jobs=2, seconds=5, memory=2**30)
    assert len(again) == len(cases)
    for row in again:
        name = name_of[row["student"]]
        mean, double = divmod(4 if name == "fitted" else cases[name][1], 3)
        right = {"double": (0, 2, 3)[double], "mean": 3 * mean} | marks[row["student"]]
        shown = {c.split(" (")[0]: float(v) for c, v in row.items() if c.endswith(")") and v}
        assert shown == right, row
        assert float(row["points"]) == sum(right.values()), row
        assert row["of"] == ("10" if "why" in right else "6"), row
        assert "who (reader, 1)" in row and "double (3)" in row


@pytest.fixture
def two(student, tmp_path):
    """Two submissions with the names that Moodle and Canvas give, and the arguments for them."""
    folder = tmp_path / "in"
    (folder / "Ada Lovelace_77001_assignsubmission_file").mkdir(parents=True)
    write(folder / "Ada Lovelace_77001_assignsubmission_file" / "a.ipynb", answered(student))
    write(folder / "babbagecharles_102_55_a.ipynb", answered(student, WRONG))
    lines = "id,name,email,ID\ns1,Ada Lovelace,a@x,101\ns2,=Babbage,,102\ns3,Cy,,103\n"
    roster = write(tmp_path / "roster.csv", lines)
    return {"folder": folder, "out": tmp_path / "grades.csv", "roster": roster}


@sandboxed
@graded_here
def test_a_roster_names_everybody(source, student, two):
    folder, out = two["folder"], two["out"]
    write(folder / "noether.ipynb", answered(student))
    write(folder / "s1_old.ipynb", student)
    os.utime(folder / "s1_old.ipynb", (0, 0))
    rows = grade(source, **two)
    assert [(row["student"], row["points"]) for row in rows] == [
        ("s1", "5"),
        ("s2", "4"),
        ("s3", "0"),
    ]
    with (out.parent / "not_read.csv").open(newline="") as file:
        unread = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert unread["noether.ipynb"].startswith("holds the id or name of no student")
    assert (
        unread["s1_old.ipynb"].startswith("is older than Ada Lovelace_77001") and len(unread) == 2
    )
    canvas = (out.parent / "canvas.csv").read_text().splitlines()
    assert canvas[:2] == [
        "Student,ID,SIS User ID,SIS Login ID,Section,source",
        "Ada Lovelace,101,s1,,,5",
    ]
    assert canvas[2] == "'=Babbage,102,s2,,,4"
    assert "s1,Ada Lovelace,a@x,5" in (out.parent / "moodle.csv").read_text()


def typed(out: Path, mark: str, number: int = 0):
    """A reader's mark for the first student or another, and a column of the reader's own."""
    rows = read(out)
    for row in rows:
        row["my column"] = "mine"
    rows[number]["why (reader, 4)"] = mark
    with out.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")  # a spreadsheet's habit
        writer.writeheader(), writer.writerows(rows)


@sandboxed
@graded_here
def test_marks_by_hand_survive_and_nbgrader_opens_the_course(source, two, monkeypatch):
    """Typed into the table or entered in the formgrader; another key, another source."""
    from nbgrader.api import Gradebook
    from nbgrader.plugins import CsvExportPlugin

    out = two["out"]
    page, other = (out.parent / "feedback" / f"{s}-source.html" for s in ("s1", "s2"))
    database = f"sqlite:///{out.parent / 'gradebook' / 'gradebook.db'}"
    grade(source, **two)
    untouched = other.stat().st_mtime_ns
    typed(out, "1")

    def meanwhile(*given, **options):
        typed(out, "3,5")
        return run_it(*given, **options)

    run_it = sandbox_module.run
    monkeypatch.setattr(sandbox_module, "run", meanwhile)
    grade(source, only="s1", **two)
    monkeypatch.undo()
    for _ in range(2):
        ada, babbage, _ = grade(source, **two)
        assert (ada["why (reader, 4)"], ada["points"], babbage["points"]) == ("3.5", "8.5", "4")
        assert babbage["why (reader, 4)"] == ""
        assert ada["my column"] == "mine" and "(Score: 3.5 / 4.0)" in page.read_text("utf-8")
    assert other.stat().st_mtime_ns == untouched
    with Gradebook(database) as book:
        given = "why", "source", "source", "s1"
        book.find_grade(*given).manual_score = 2.5
        book.find_comment(*given).manual_comment = "well read"
        book.update_or_create_assignment("source", duedate="2020-01-01 00:00:00 UTC")
        book.grant_extension("source", "s1", days=3)
        book.db.commit()
    changed = json.loads(source.read_text())
    changed["cells"][0]["source"] = "# Another title"
    changed["cells"].append(cell("markdown", "Who?\n\n<!-- ANSWER who (1 point) -->"))
    for i in (5, 4):
        changed["cells"].pop(i)
    (out.parent / "s").mkdir()
    fewer = write(out.parent / "s" / "source.ipynb", changed)
    for what, key, points in ((source, "", "7.5"), (fewer, "", "4.5"), (source, "other", "7.5")):
        ada, babbage, _ = grade(what, key=key, **two)
        assert (ada["why (reader, 4)"], ada["points"]) == ("2.5", points)
        assert float(babbage["days late"]) - float(ada["days late"]) == 3
        assert "well read" in page.read_text("utf-8")
    with Gradebook(database) as book:
        assert book.find_submission("source", "s1").score == 7.5
        assert book.find_student("s1").email == "a@x"
        CsvExportPlugin(to=str(out.parent / "export.csv")).export(book)
    assert ",s1,Ada Lovelace,,a@x,7.5," in (out.parent / "export.csv").read_text()


@sandboxed
@graded_here
def test_what_is_typed_is_a_mark_and_an_emptied_cell_takes_it_back(source, two):
    out = two["out"]
    grade(source, **two)
    for text in ("80", "4.5", "-3", "inf", "1e400", "nan", "3/4", "3 points"):
        typed(out, text)
        with pytest.raises(ValueError) as raised:
            grade(source, **two)
        assert str(raised.value) == (
            f"{out}, column 'why (reader, 4)': s1 has {text!r}: type a number from 0 to 4"
        )
    for text, points, of in (("4", "9", "9"), (" ", "5", "5")):
        typed(out, text)
        ada, babbage, _ = grade(source, **two)
        assert (ada["points"], ada["of"], babbage["of"]) == (points, of, "5")
        assert ada["why (reader, 4)"] == text.strip()
    typed(out, "3", number=2)
    with pytest.raises(ValueError, match="s3 has a mark, but no notebook: empty the cell"):
        grade(source, **two)


@sandboxed
@graded_here
def test_a_mark_survives_other_points_and_a_notebook_that_is_away(source, two):
    """Its column has another name then; a cell that was never filled takes nothing back."""
    out, path = two["out"], two["folder"] / "Ada Lovelace_77001_assignsubmission_file" / "a.ipynb"
    grade(source, **two)
    typed(out, "3")
    changed = source.read_text().replace("ANSWER why (4 points)", "ANSWER why (8 points)")
    (out.parent / "s").mkdir()
    more = write(out.parent / "s" / "source.ipynb", changed)
    grade(more, **two)
    aside = path.rename(path.with_suffix(".aside"))
    for _ in range(2):
        away = grade(more, **two)[1]
        assert (away["student"], away["why (reader, 8)"], away["points"]) == ("s1", "", "0")
    aside.rename(path)
    ada = grade(more, **two)[0]
    assert (ada["why (reader, 8)"], ada["points"], ada["of"]) == ("3", "8", "13")


@sandboxed
@graded_here
def test_marks_stay_with_their_assignment_and_their_roster(source, two):
    out = two["out"]
    grade(source, **two)
    typed(out, "3")
    grade(source, **two)
    before = out.read_text()
    other = shutil.copy(source, out.parent / "other.ipynb")
    sentence = r"csv is the table of source, not of other: type --out other/grades.csv"
    with pytest.raises(ValueError, match=sentence):
        grade(other, **two)
    with pytest.raises(ValueError, match="has the names of a roster: type --roster and its file"):
        grade(source, two["folder"], out)
    assert out.read_text() == before
    ada = grade(other, **two | {"out": out.parent / "other" / "grades.csv"})[0]
    assert (ada["assignment"], ada["why (reader, 4)"], ada["points"]) == ("other", "", "5")


@sandboxed
@graded_here
def test_the_tables_stand_when_nbgrader_writes_no_feedback(source, two, monkeypatch):
    from nbgrader.apps.api import NbGraderAPI

    fails = {"success": False, "error": "there is no template"}
    monkeypatch.setattr(NbGraderAPI, "generate_feedback", lambda *_, **__: fails)
    with pytest.raises(ValueError, match="nbgrader stopped: there is no template"):
        grade(source, **two)
    assert [row["points"] for row in read(two["out"])] == ["5", "4", "0"]
    monkeypatch.undo()
    grade(source, **two)
    assert len(list((two["out"].parent / "feedback").iterdir())) == 2


READS = {  # each raises an AssertionError where it comes through
    "the source": "import pathlib\nassert not pathlib.Path({source!r}).exists()",
    "another submission": "import pathlib\nassert not pathlib.Path({other!r}).exists()",
    "the table of grades": (
        "try:\n    open({table!r}, 'a').close()\nexcept OSError:\n    pass\n"
        "else:\n    raise AssertionError('opened')"
    ),
    "the grader's command line": (
        "import pathlib\nlines = [p.read_bytes()"
        " for p in pathlib.Path('/proc').glob('[0-9]*/cmdline')]\n"
        "assert len(lines) < 6 and not any({grader!r}.encode() in line for line in lines)"
    ),
    "the network": (
        "import socket\ntry:\n    with socket.create_connection(('127.0.0.1', {port}), 1):\n"
        "        pass\nexcept OSError:\n    pass\nelse:\n    raise AssertionError('connected')"
    ),
    "a socket of the host's": (
        "import socket\nfor name in ({path!r}, {abstract!r}):\n"
        "    with socket.socket(socket.AF_UNIX) as door:\n"
        "        assert door.connect_ex(name), 'connected'"
    ),
    "the environment": "import os\nassert 'PYTEST_CURRENT_TEST' not in os.environ",
}
BREAKS = {  # each raises unless it is held
    "the interpreter": (
        "import sys, pathlib\nplace = pathlib.Path(sys.prefix, 'sitecustomize.py')\n"
        "try:\n    place.write_text('x = 1')\nexcept OSError:\n    pass\n"
        "else:\n    raise AssertionError('written')"
    ),
    "a mount": (
        "import subprocess\nassert subprocess.run(['mount', '-o', 'remount,rw', '/usr'],"
        " capture_output=True).returncode"
    ),
    "the disk": (
        "try:\n    with open('big', 'wb') as file:\n        file.truncate(2**40)\n"
        "except OSError:\n    pass\nelse:\n    raise AssertionError('no limit')"
    ),
    "processes": (
        "import os\ntry:\n    for _ in range(150):\n        if os.fork() == 0:\n"
        "            os._exit(0)\nexcept OSError:\n    pass\n"
        "else:\n    raise AssertionError('no limit')"
    ),
    "the grader": (
        "import os\nfor process in (os.getppid() or 1, 1, -1):\n    try:\n"
        "        os.kill(process, 9)\n    except OSError:\n        pass"
    ),
    "the key": "import os\nassert 'MINILEARN_KEY' not in os.environ",
    "the terminal": "import os\nos.system('echo \\033[31m > /dev/tty')\nos.write(1, b'{{}}')",
}


@sandboxed
def test_attacks_are_held(tmp_path):
    """All in one program; servers of the host listen meanwhile."""
    import socket

    files = {name: write(tmp_path / f"{name}.ipynb", "{}") for name in ("source", "other", "table")}
    about = {name: str(path) for name, path in files.items()} | {"grader": sys.argv[0]}
    about |= {"path": str(tmp_path / "socket"), "abstract": f"\0minilearn-{os.getpid()}"}
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        about["port"] = server.getsockname()[1]
        for listening, name in ((named, "path"), (abstract, "abstract")):
            listening.bind(about[name]), listening.listen()
        for text in READS.values():
            with pytest.raises(AssertionError):  # here, with no sandbox around it
                exec(text.format(**about), {})
        texts = [text.format(**about) for text in (READS | BREAKS).values()]
        steps = recompose({"cells": []}, notebook(*[cell("code", text) for text in texts]), [])
        result = run(steps, [], Limits(seconds=20, memory=2**30), "k")
    assert not result.reasons, ([*READS, *BREAKS], result.reasons)


HALF = [
    ("code", "import math\nfrom minilearn.course import attempt"),
    ("code", "def half(x):\n    ### BEGIN SOLUTION\n    return x / 2 + 0\n    ### END SOLUTION"),
    (
        "code",
        '# TEST half (2 points)\nwith attempt("half"):\n    assert math.isclose(half(5), 2.5)\n'
        "    ### BEGIN HIDDEN TESTS\n    assert sum([half(8)]) == 4\n    ### END HIDDEN TESTS",
    ),
]
NONE = "def half(x):\n    return 0"
HELD = {  # what a submission does in its own process, without an answer
    "cells are emptied": "get_ipython().input_transformers_cleanup.append(lambda lines: [])",
    "cells are trees of nothing": (
        "import ast\nclass Empty(ast.NodeTransformer):\n    def visit_Module(self, node):\n"
        "        return ast.Module([], [])\nget_ipython().ast_transformers.append(Empty())"
    ),
    "cells do not run": "get_ipython().run_cell = lambda *a, **k: None",
    "a kernel that says that all is well": (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "def do_execute(self, *a, **k):\n    return {'status': 'ok'}\n"
        "InteractiveShell.do_execute = InteractiveShell.run_code = do_execute"
    ),
    "isclose is replaced": (
        "import math\nmath.isclose = lambda *a, **k: True\ndef half(x):\n    return 4"
    ),
    "Python is replaced": (
        "import builtins\nbuiltins.sum = lambda x: 4\n"
        "builtins.exec = builtins.compile = lambda *a, **k: None"
    ),
    "the test is read": (
        "def half(x):\n    import inspect, linecache, re\n    text = ''.join(''.join(\n"
        "        map(str, each[2])) for each in linecache.cache.values() if len(each) > 2)\n"
        "    for frame in inspect.stack():\n        text += ''.join(frame.code_context or [])\n"
        "    return float(re.search(rf'half\\({x}\\)\\]?\\)? *[,=]+ *([\\d.]+)', text)[1])"
    ),
}
NOT_HELD = {  # what the page for instructors says that a submission can do
    "equal to everything": (
        "class Any(float):\n    def __eq__(self, other):\n        return True\n"
        "    def __radd__(self, other):\n        return self\n"
        "def half(x):\n    return Any(2.5)"
    ),
    "the numbers of the test": (
        "def half(x):\n    import sys\n"
        "    known = [n for n in sys._getframe(1).f_code.co_consts if type(n) in (int, float)]\n"
        "    return known[known.index(x) + 1]"
    ),
}


def test_what_a_submission_does_in_its_own_process(tmp_path):
    """No sandbox holds these: how a test runs does, or nothing."""
    made = write(tmp_path / "half.ipynb", notebook(*(cell(*each) for each in HALF)))
    source = read_source(made)
    asked = questions(source)
    cases = {NONE: 0, "def half(x):\n    return x / 2": 2} | dict.fromkeys(NOT_HELD.values(), 2)
    cases |= {f"{NONE}\n{text}" if "def half" not in text else text: 0 for text in HELD.values()}
    for text, points in cases.items():
        student = student_version(source)
        student["cells"][1]["source"] = text
        steps = recompose(source, student, asked)
        result = run(steps, asked, Limits(seconds=20), "", trusted=True)
        assert result.points == {"half": points}, (text, result.reasons)


@sandboxed
def test_processes_may_share_memory():
    text = (
        "from multiprocessing import Pool\nwith Pool(2) as pool:\n"
        "    assert pool.map(abs, [-1, 2]) == [1, 2]"
    )
    steps = recompose({"cells": []}, notebook(cell("code", text)), [])
    assert not run(steps, [], Limits(seconds=30), "").reasons


@sandboxed
def test_all_programs_of_a_submission_share_its_time():
    ends = cell("code", "import os, time\ntime.sleep(0.6)\nos._exit(1)")
    steps = recompose({"cells": []}, notebook(*[ends] * 4), [])
    result = run(steps, [], Limits(total_seconds=2), "")
    assert result.reasons[-1].endswith("all of it took more than 2 seconds")


@sandboxed
def test_nothing_stays_behind_and_what_never_ends_is_ended(tmp_path):
    """A daemon with a name of its own, signals ignored, and lines that only the grader writes."""
    daemon = (
        "import os, subprocess, sys\nif os.fork() == 0:\n    os.setsid()\n"
        "    os.execv(sys.executable, ['left-behind-by-a-test', '-c',"
        " 'import time; time.sleep(99)'])"
    )
    deaf = (
        "import signal, time\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "while True:\n    try:\n        time.sleep(0.1)\n    except BaseException:\n        pass"
    )
    forged = (
        "import os\nfor n in range(3, 20):\n    try:\n        os.write(n, b'x\\n')\n"
        "    except OSError:\n        pass"
    )
    cells = [cell("code", text) for text in (daemon, forged, deaf, "x = 1")]
    steps = recompose({"cells": []}, notebook(*cells), [])
    begin = time.monotonic()
    result = run(steps, [], Limits(seconds=0.5, memory=2**30), "")
    text = "; ".join(result.reasons)
    assert "cell 2: it wrote where only the grader writes" in text
    assert "cell 3: it did not stop after 0.5 seconds" in text
    assert time.monotonic() - begin < 120
    result = run(steps, [], Limits(seconds=60, memory=2**30, total_seconds=2), "")
    assert "all of it took more than 2 seconds" in "; ".join(result.reasons)
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(b"left-behind-by-a-test" in line for line in lines)


FORGED = (
    "import os\nfor n in range(3, 20):\n    try:\n        os.write(n, {})\n"
    "    except OSError:\n        pass\nos._exit(0)"
)
LINE = '{"number": %s, "points": %s, "problem": "", "output": ""}\n'
FORGERIES = {
    "a line without points": b'{"number": 1}\n',
    "a list in a list in a list": b"[" * 10**5 + b"\n",
    "more points than there are": (LINE % (1, "Infinity")).encode(),
    "more answers than steps": "".join(LINE % (i, 1) for i in range(1, 9)).encode(),
}


@sandboxed
def test_who_answers_in_the_graders_place_ends_only_the_own_program():
    texts = [FORGED.format(forged) for forged in FORGERIES.values()]
    steps = recompose({"cells": []}, notebook(*(cell("code", t) for t in [*texts, "1 / 0"])), [])
    result = run(steps, [], Limits(seconds=20, memory=2**30), "")
    forged = [f"cell {i}: it wrote where only the grader writes" for i in range(1, 5)]
    assert sorted(result.reasons) == [*forged, "cell 5: ZeroDivisionError: division by zero"]


def test_a_cell_full_of_magics_is_read_without_ipython(source, student, monkeypatch):
    """IPython reads it anew for every magic, which outside the sandbox nothing would end."""
    reader = "IPython.core.inputtransformer2.TransformerManager.transform_cell"
    monkeypatch.setattr(reader, lambda *_: pytest.fail("IPython reads it"))
    asked = questions(read_source(source))
    handed_in = between(student, "%%time\n" + "%x\n" * 3000 + DOUBLE, f"%%time\n{MEAN}")
    handed_in["cells"] = handed_in["cells"][:4]
    steps = recompose(read_source(source), handed_in, asked)
    assert [step.name or step.kind for step in steps] == ["given", "cell", "double", "cell", "mean"]


@pytest.mark.parametrize(
    "text", ["found['untrained'] = 1", "found = list(found.items())", "for found in (1, 2): pass"]
)
def test_an_answer_counts_although_a_later_cell_reuses_its_name(source, student, text):
    asked = questions(read_source(source))
    steps = recompose(read_source(source), own(student, text), asked)
    assert run(steps, asked, Limits(seconds=20), "", trusted=True).points == {
        "double": 2,
        "mean": 3,
    }


def test_a_part_that_ends_badly_takes_no_points_of_the_others():
    body = ["raise SystemExit", "assert 1 + 1 == 2", "assert 2 in []", "while True: pass"]
    parts = "".join(f"    # PART {i} (1 point)\n    {text}\n" for i, text in enumerate(body))
    test = f'# TEST all (4 points)\nwith attempt("all"):\n{parts}'
    made = notebook(cell("code", "x = 1\n### BEGIN SOLUTION\n### END SOLUTION"), cell("code", test))
    asked = questions(made)
    result = run(recompose(made, made, asked), asked, Limits(seconds=2), "", trusted=True)
    assert result.points == {"all": 1} and "more than 2 seconds" in result.problems["all"]


def test_an_assertion_without_words_is_told_by_its_line(source, student):
    asked = questions(read_source(source))
    steps = recompose(read_source(source), answered(student, mean="found = {'mean': 2}"), asked)
    result = run(steps, asked, Limits(seconds=20), "", trusted=True)
    assert result.problems["mean"] == "AssertionError: assert found['mean'] == 3"


def test_an_answer_in_prose_holds_no_link_or_image_for_the_reader():
    text = (
        "<b>![a](http://x) [a](javascript:x) [b][c]\n[c]: javascript:x\n$\\href{javascript:x}{y}$"
    )
    shown = _harmless(text)
    assert not any(each in shown for each in ("](", "][", "]:", "<", "\\href"))
    assert _harmless("x[0] is `a[1]`, and $a_[1]$") == "x[0] is `a[1]`, and $a_[1]$"


@sandboxed
@graded_here
def test_a_mark_of_no_student_and_an_answer_changed_after_its_mark_are_said(source, two):
    out, path = two["out"], two["folder"] / "Ada Lovelace_77001_assignsubmission_file" / "a.ipynb"
    grade(source, **two)
    typed(out, "3")
    before = out.read_text("utf-8-sig")
    out.write_text(before.replace(";s1;", ";1;"), "utf-8")
    with pytest.raises(ValueError, match="there is no notebook of '1', who has a mark: put the id"):
        grade(source, **two)
    out.write_text(before, "utf-8")
    assert grade(source, **two)[0]["reason"] == "all tests passed"
    changed = json.loads(path.read_text())
    changed["cells"].append(cell("markdown", "Because of something else."))
    write(path, changed)
    for _ in range(2):
        ada = grade(source, **two)[0]
        assert ada["reason"] == "the answer to why has changed since it was marked"
        assert ada["why (reader, 4)"] == "3"


def descendants(process: int | str) -> list[str]:
    """What a process has begun, and what that has begun in turn."""
    children = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children += path.read_text().split()
    return children + [each for child in children for each in descendants(child)]


def is_a_submission(process: str) -> bool:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0] == sys.executable.encode() and b"-c" not in words


@sandboxed
def test_nothing_stays_behind_when_the_grader_is_killed():
    work = {"seconds": 10**6, "memory": 2**30, "torch": False}
    work["steps"] = [{"kind": "cell", "code": "import time\ntime.sleep(10**6)"}]
    program = (
        "import time\nfrom minilearn.course import sandbox\n"
        f"sandbox.run({work}, 10**6, time.monotonic())"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as running:
        inside = []
        while not inside and running.poll() is None:
            time.sleep(0.05)
            inside = [each for each in descendants(running.pid) if is_a_submission(each)]
        running.kill()
    assert inside
    while any(is_a_submission(each) for each in inside):
        time.sleep(0.05)


def test_without_a_sandbox_nothing_runs(source, tmp_path, monkeypatch):
    monkeypatch.setattr("minilearn.course.sandbox.sandbox", lambda: ("", ()))
    with pytest.raises(ValueError, match="--i-trust-them"):
        grade(source, tmp_path)
    with pytest.raises(ValueError, match="--i-trust-them"):
        run(recompose({"cells": []}, notebook(), []), [], Limits(), "")


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda cells: cells.pop(2) and cells.pop(3), "nothing stands in ### BEGIN SOLUTION"),
        (lambda cells: cells.append(cells[3]), "has the question 'double' twice"),
        (lambda cells: cells[2].update(source="### BEGIN SOLUTION"), "cell 3 of .* without its"),
        (lambda cells: cells[3].update(source="# TEST double (2 points)\nx = 1"), "must be one"),
        (lambda cells: cells[3].update(source="# TEST double (2 points)\nx ="), "is no Python"),
        (lambda cells: [cells.pop() for _ in range(2)] and cells.pop(3), "has no question"),
        (lambda cells: cells.append(3), "has no list of cells"),
        (
            lambda cells: cells[6].update(source="<!-- ANSWER a (1 point) -->\n" * 2),
            "cell 7 of .* asks two questions",
        ),
    ],
)
def test_a_faulty_source_is_refused(source, tmp_path, change, sentence):
    made = json.loads(source.read_text())
    change(made["cells"])
    source = write(tmp_path / "faulty.ipynb", made)
    with pytest.raises(ValueError, match=sentence):
        read_source(source)


def test_silly_arguments_get_a_sentence(source, tmp_path, capsys):
    with pytest.raises(ValueError, match="is the source itself"):
        assign(source, source)
    with pytest.raises(ValueError, match="cannot be read"):
        read_source(tmp_path / "nothing.ipynb")
    main(["assign", str(source), str(tmp_path / "new" / "student.ipynb")])
    assert "written" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    trust = {"trusted": True}
    with pytest.raises(ValueError, match="no notebook in the folder"):
        grade(source, tmp_path / "empty", tmp_path / "g.csv", **trust)
    with pytest.raises(ValueError, match="seconds must be more than 0"):
        grade(source, tmp_path, seconds=0, **trust)
    with pytest.raises(ValueError, match="jobs must be more than 0, but it is 0"):
        grade(source, tmp_path / "new", tmp_path / "own" / "g.csv", jobs=0, **trust)
    assert not (tmp_path / "own").exists()
    with pytest.raises(ValueError, match="no test is called 'why'"):
        grade(source, tmp_path, question="why", **trust)
    with pytest.raises(ValueError, match="no submission is called 'x'"):
        grade(source, tmp_path / "new", tmp_path / "g.csv", only="x", **trust)
    with pytest.raises(ValueError, match="needs a first line"):
        roster = write(tmp_path / "r.csv", "a,b\n1,2\n")
        grade(source, tmp_path / "new", tmp_path / "g.csv", roster=roster, **trust)
    with pytest.raises(ValueError, match="there is no roster .*none.csv"):
        grade(source, tmp_path / "new", roster=tmp_path / "none.csv", **trust)
    roster.write_bytes("id,name\n1,José\n".encode("cp1252"))
    with pytest.raises(ValueError, match="r.csv is not in UTF-8: save it as CSV UTF-8"):
        grade(source, tmp_path / "new", roster=roster, **trust)
    with pytest.raises(SystemExit, match="no notebook in the folder"):
        main(["grade", str(source), str(tmp_path / "empty"), "--i-trust-them"])


LABS = "find_the_bug"  # too small to need a program of its own
ASSIGNMENTS = sorted((Path(__file__).parents[2] / "notebooks/assignments").glob("*.ipynb"))


@sandboxed
@pytest.mark.parametrize("path", [p for p in ASSIGNMENTS if p.stem != LABS], ids=lambda p: p.stem)
def test_an_assignment_gives_full_points_to_its_solution_under_another_key(path):
    source = read_source(path)
    asked = questions(source)
    result = run(recompose(source, source, asked), asked, Limits(), "another key")
    assert result.points == {q.name: q.points for q in asked if q.test}, result.reasons
    assert not result.reasons


def answered_here(source: dict, answers: dict[str, str]) -> dict[str, tuple[int, list[Exception]]]:
    """By question the points and errors of answers by their first words, without a sandbox."""
    names, found = {"__name__": "__main__"}, {}
    tests = {question.name: question for question in questions(source)}
    with contextlib.redirect_stdout(None), torch.random.fork_rng():
        for c in source["cells"]:
            text = text_of(c)
            if c["cell_type"] != "code" or "%pip" in text:
                continue
            if not (match := TEST.match(text)):
                begins = text.partition("(")[0].removeprefix("def ")
                exec(answers.get(begins, text), names)
                continue
            points, errors = 0, []
            for worth, code in parts(tests[match[1]]):
                try:
                    exec(code, names)
                    points += worth
                except AssertionError as error:
                    errors.append(error)
            found[match[1]] = points, errors
    return found


def assignment(name: str) -> dict:
    return read_source(next(path for path in ASSIGNMENTS if path.stem == name))


def test_the_labs_give_full_points_to_their_solution_and_nothing_to_the_faulty_functions(
    monkeypatch,
):
    source = assignment(LABS)
    monkeypatch.setenv("MINILEARN_KEY", "another key")
    for points, errors in answered_here(source, {}).values():
        assert (points, errors) == (3, [])
    monkeypatch.undo()
    asked = [text_of(c) for c in source["cells"] if "### BEGIN SOLUTION" in text_of(c)]
    names = [text.partition("(")[0].removeprefix("def ") for text in asked]
    found = answered_here(source, {name: f"{name} = {name}_faulty" for name in names})
    assert len(found) == 6
    assert all(points == 0 and len(errors) == 1 for points, errors in found.values()), found


def test_a_loss_that_is_right_but_for_the_empty_batch_gets_a_part():
    source = assignment("a1_forget_a_band")
    source["cells"] = source["cells"][:9]
    loss = (
        "def blindspot_loss(out, answer, label, forget):\n    c = forget.float().mean()\n"
        "    one = (out - answer.detach())[forget].abs().mean()\n"
        "    other = (out - label)[~forget].abs().mean()\n    return c * one + (1 - c) * other"
    )
    points, [error] = answered_here(source, {"blindspot_loss": loss})["loss"]
    assert points == 3 and "nothing to forget" in str(error)


def test_rounded_errors_of_the_originals_are_right():
    """The comparison of A1, on numbers that are made."""
    source = assignment("a1_forget_a_band")
    [inside] = [text_of(c) for c in source["cells"] if text_of(c).startswith("def inside")]
    [test] = [q.test for q in questions(source) if q.name == "comparison"]
    exact = [2.03456, 2.11456, 1.98765]
    errors = {"original": [round(value, 4) for value in exact], "retrained": [9.0] * 3}
    errors |= {"finetune": [4.0] * 3, "amnesiac": [6.0] * 3, "blindspot": [8.0] * 3}
    names = {"originals": range(3), "error": lambda model: (exact + [9.0, 4.0, 6.0])[model]}
    for place, method in enumerate(("retrain", "finetune", "amnesiac")):
        names[method] = lambda *_, place=place, **__: SimpleNamespace(model=3 + place)
    names |= {"errors": errors, "SEEDS": 3, "torch": torch, "RECIPE": None, "fresh": None}
    names |= {"request": SimpleNamespace(forget=None, retain=None), "key": lambda: 0}
    exec(inside, names)
    exec(test, names)
    errors["original"][1] += 0.05
    with pytest.raises(AssertionError, match="these are not the errors of the originals"):
        exec(test, names)
    errors["original"][1] -= 0.05
    for key, said in (0, "retrained, number 0"), (4, "finetune, number 1"), (8, "amnesiac, .* 2"):
        names["key"] = lambda key=key: key
        exec(test, names)
        method = said.partition(",")[0]
        errors[method] = [value + 0.1 for value in errors[method]]
        with pytest.raises(AssertionError, match=f"another error for {said}"):
            exec(test, names)


def test_rounded_values_of_the_attack_are_right():
    """The attack of A2, on losses that are made: of four models, and before them the original's."""
    source = assignment("a2_forget_sixteen_items")
    [test] = [q.test for q in questions(source) if q.name == "attack"]
    draw = torch.Generator().manual_seed(0)
    made = {(m, n): torch.rand(n, generator=draw).double() for m in range(5) for n in (16, 360)}
    names = {"torch": torch, "unlearned": 1, "retrained": [2, 3, 4], "original": 0, "test": 360}
    names["request"] = SimpleNamespace(forget=16)
    names["losses"] = lambda model, data: made[model, data]
    names["evaluate"] = lambda _, data: SimpleNamespace(correct=torch.tensor([data == 360]))

    def auc(forgotten, unseen):
        gap = forgotten[:, None] - unseen[None]
        return ((gap > 0).double() + (gap == 0) / 2).mean().item()

    found = {"weak": [], "strong": []}
    for m in range(1, 5):
        rise = [made[m, n] - made[0, n] for n in (16, 360)]
        found["weak"].append(round(auc(made[m, 16], made[m, 360]), 3))
        found["strong"].append(round(auc(*rise), 3))
    names |= {"auc": auc, "found": found, "key": lambda: 0}
    exec(test, names)
    found["strong"][2] += 0.01
    with pytest.raises(AssertionError, match="the strong attack, number 2"):
        exec(test, names)


def test_a_tensor_of_all_gradients_is_not_an_importance():
    source = assignment("a2_forget_sixteen_items")
    source["cells"] = source["cells"][:9]
    whole = (
        "def importance(a, g):\n"
        "    return (g[:, :, None] * a[:, None]).abs().sum(0), g.abs().sum(0)"
    )
    points, [error] = answered_here(source, {"importance": whole})["importance"]
    assert points == 0 and "there is a tensor of shape (N, O, I) in it" in str(error)
    assert answered_here(source, {})["importance"] == (4, [])
    loop = """def importance(a, g):
    weight = sum(row[:, None].abs() * one.abs() for one, row in zip(a, g))
    return weight, g.abs().sum(0)"""
    points, [error] = answered_here(source, {"importance": loop})["importance"]
    assert points == 0 and "there is a loop over the items in it" in str(error)
    outputs = """def importance(a, g):
    rows = [(g[:, o, None].abs() * a.abs()).sum(0) for o in range(g.shape[1])]
    return torch.stack(rows), g.abs().sum(0)"""
    assert answered_here(source, {"importance": outputs})["importance"] == (4, [])


def test_what_a_question_says_is_tested():
    """Answers that do what the visible tests ask, and not what the text asks."""
    labs = {
        "js": ("divergence", "lambda p, q: torch.tensor([0.0 if (p == q).all() else 0.6931])"),
        "fresh": ("fresh", "lambda model: Deep()"),
        "attack": ("attack", "lambda m, o: 1.0 if m.max() < o.min() else 0.5"),
        "success": (
            "success",
            "lambda said, truth: {4: 0.75}.get(len(truth), 0.5 + "
            "(said == truth).all() / 2 - (said != truth).all() / 2)",
        ),
    }
    answers = {name: f"{name} = {code}" for name, (_, code) in labs.items()}
    found = answered_here(assignment(LABS), answers)
    assert all(found[test][0] == 0 for test, _ in labs.values()), found
    source = assignment("a1_forget_a_band")
    source["cells"] = source["cells"][:9]
    loss = """def blindspot_loss(out, answer, label, forget):
    c, target = forget.float().mean(), torch.where(forget, answer.detach(), label)
    return (out - target).abs().mean() if 0 < c < 1 else torch.zeros(())"""
    points, [error] = answered_here(source, {"blindspot_loss": loss})["loss"]
    assert points == 3 and "nothing to forget, or nothing else" in str(error)
    source = assignment("a2_forget_sixteen_items")
    source["cells"] = source["cells"][:12]
    step = """def anchored_step(theta, slope, anchor, w, lr, lam):
    slope += lam * w * (theta - anchor)
    return theta - lr * slope"""
    points, [error] = answered_here(source, {"anchored_step": step})["anchor"]
    assert points == 0 and "an argument was changed" in str(error)


def test_all_tests_but_one_draw_from_the_key():
    """The residue of A3 is what a probe finds, and the test fits that probe itself."""
    asked = [q for path in ASSIGNMENTS for q in questions(read_source(path)) if q.test]
    assert [q.name for q in asked if "key()" not in q.test] == ["residue"]
