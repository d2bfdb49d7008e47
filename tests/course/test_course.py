"""The whole loop: a source, its student version, and submissions of every kind, graded exactly."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minilearn.course import assign, attempt, grade, questions, read_source, student_version
from minilearn.course.__main__ import main
from minilearn.course.grading import _cells
from minilearn.course.sandbox import Kernel, protection
from minilearn.course.sources import text_of

TEXTS = [
    ("markdown", "# Toy\n\nTwo questions and an argument."),
    ("code", "from minilearn.course import attempt\nGIVEN = [1, 2, 6]"),
    (
        "code",
        "def double(x):\n    ### BEGIN SOLUTION\n    answer = 2 * x + 0\n    return answer\n"
        "    ### END SOLUTION",
    ),
    (
        "code",
        '# TEST double (2 points)\nwith attempt("double"):\n    assert double(2) == 4\n'
        '    ### BEGIN HIDDEN TESTS\n    assert double(-3) == -6, "negative numbers"\n'
        "    ### END HIDDEN TESTS",
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


def cell(kind: str, text: str, **extra) -> dict:
    made = {"cell_type": kind, "metadata": {}, "source": text.splitlines(keepends=True)} | extra
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def notebook(*cells: dict) -> dict:
    made = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return made


def write(path: Path, content: dict | str) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


@pytest.fixture
def source(tmp_path) -> Path:
    cells = [cell(kind, text, id=f"c{i}") for i, (kind, text) in enumerate(TEXTS)]
    return write(tmp_path / "source.ipynb", notebook(*cells))


@pytest.fixture
def student(source) -> dict:
    return student_version(read_source(source))


def answered(student: dict, double: str = DOUBLE, mean: str = MEAN) -> dict:
    """A student's notebook with answers in the places of the stubs."""
    made = json.loads(json.dumps(student))
    made["cells"][2]["source"], made["cells"][4]["source"] = double, mean
    return made


def test_questions_have_points_and_bodies(source):
    double, mean, why = questions(read_source(source))
    assert (double.name, double.points, mean.points, why.points) == ("double", 2, 3, 4)
    assert "attempt" not in double.test and "assert double(-3)" in double.test
    assert not why.test


def test_the_student_version_has_stubs_and_no_secrets(student):
    text = "\n".join(text_of(c) for c in student["cells"])
    assert "def double(x):\n    raise NotImplementedError  # your code here" in text
    assert "found = {}\n# your code here" in text and "assert double(2) == 4" in text
    for secret in ("answer =", "sum(GIVEN)", "negative", "found['mean']", "this and that", "###"):
        assert secret not in text
    assert "<!-- ANSWER why (4 points) -->" in text and len(student["cells"]) == len(TEXTS)


def test_the_source_for_nbgrader_has_its_metadata(source, tmp_path):
    main(["assign", str(source), str(tmp_path / "n.ipynb"), "--nbgrader"])
    cells = json.loads((tmp_path / "n.ipynb").read_text())["cells"]
    about = [c["metadata"].get("nbgrader", {}) for c in cells]
    assert [(a.get("grade_id"), a.get("points")) for a in about] == [
        (None, None),
        (None, None),
        ("answer_1", None),
        ("double", 2),
        ("answer_2", None),
        ("mean", 3),
        ("why", 4),
    ]
    assert about[2]["solution"] and not about[2]["grade"] and about[3]["locked"]
    test, why = text_of(cells[3]), text_of(cells[6])
    assert "attempt" not in test and "\nassert double(2) == 4\n### BEGIN HIDDEN TESTS\n" in test
    assert test.rstrip().endswith("### END HIDDEN TESTS") and "this and that" not in why


def test_a_leak_is_refused(source, tmp_path):
    made = json.loads(source.read_text())
    made["cells"][1]["source"] = "found['mean'] = sum(GIVEN) / len(GIVEN)"
    write(source, made)
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


def odd(student: dict) -> dict[str, tuple[dict | str, list[str], int]]:
    """Name: (submission, what the reason says, points of 5). Nothing here takes long."""
    good, fine = answered(student), ["all tests passed"]
    bare = notebook(*[json.loads(json.dumps(good["cells"][i])) for i in (5, 3, 1, 4, 2)])
    bare["nbformat_minor"] = 0
    for c in bare["cells"]:
        c.pop("id"), c.update(metadata={"id": "xyz", "colab": {}})
    twice = answered(student, *GO_ON)
    twice["cells"] = [c for c in twice["cells"] for _ in range(2)]
    noise = "for i in range(10**5):\n    print('y' * 999)"
    magic = "%pip install nothing\nif True:\n    !rm -rf x"
    fewer = between(student, "%%time\n" + DOUBLE, magic, noise)
    fewer["cells"] = [c for c in fewer["cells"] if "# TEST" not in text_of(c)]
    tampered = answered(student, WRONG)
    tampered["cells"][3]["source"] = '# TEST double (2 points)\nwith attempt("double"):\n    pass'
    stumbles = between(student, DOUBLE, "exit()", "x = bytearray(2**42)")
    negative = ["double: AssertionError: negative numbers"]
    return {
        "good": (good, fine, 5),
        "half": (answered(student, WRONG), negative, 3),
        "empty": (student, ["double: not attempted; mean: not attempted"], 0),
        "without ids, in another order": (bare, fine, 5),
        "every cell twice, lines that go on": (twice, fine, 5),
        "without tests, with magics and much output": (fewer, fine, 5),
        "with a test that tests nothing": (tampered, negative, 3),
        "stumbling": (stumbles, ["cell 4: SystemExit", "cell 5: MemoryError"], 5),
        "no json": ("{", ["it is no notebook: it is not JSON"], 0),
        "no cells": ("[1]", ["it is no notebook: it has no list of cells"], 0),
    }


def hostile(student: dict) -> dict[str, tuple[dict, list[str], int]]:
    """The same; these end the kernel, or do not end by themselves."""
    late = "it took more than {seconds:g} seconds"
    forever = "def double(x):\n    while True:\n        pass"
    deadly = "import os\ndef double(x):\n    os._exit(3)"
    endless = "while True:\n    pass"
    stubborn = "import signal\nsignal.signal(2, signal.SIG_IGN)\nwhile True:\n    pass"
    ended, stopped = ["double: it ended the kernel"], [f"cell 4: {late}", f"double: {late}"]
    deaths = ["cell 4: it ended the kernel", f"cell 5: {late} and could not be interrupted"]
    return {
        "killing": (
            between(student, deadly, "import os\nos._exit(1)", stubborn),
            deaths + ended,
            3,
        ),
        "endless": (between(student, forever, endless), stopped, 3),
    }


def graded(source: Path, folder: Path, cases: dict, **options) -> list[dict[str, str]]:
    """Hand the cases in, and compare what they get with what is their due."""
    folder.mkdir()
    for name, (content, _, _) in cases.items():
        write(folder / f"{name}.ipynb", content)
    rows = grade(source, folder, folder / "g.csv", memory=2**30, **options)
    assert len(rows) == len(cases)
    for row in rows:
        _, reasons, points = cases[row["submission"].removesuffix(".ipynb")]
        assert (row["points"], row["of"]) == (str(points), "5"), row
        assert all(reason.format(**options) in row["reason"] for reason in reasons), row
        assert row["why (reader, 4)"] == "", row
    with (folder / "g.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == rows
    return rows


def test_good_half_empty_and_odd_submissions_get_their_points(source, student, tmp_path):
    graded(source, tmp_path / "in", odd(student))


def test_hostile_submissions_get_their_points(source, student, tmp_path):
    """How long is too long is measured: longer than a whole kernel, with its start, for a cell that
    takes no time, so that a busy machine is no reason to fail."""
    begin = time.monotonic()
    with Kernel(2**30) as kernel:
        assert kernel.run("from minilearn.course import attempt", 120) == ""
    seconds = 0.5 + time.monotonic() - begin
    graded(source, tmp_path / "in", hostile(student), seconds=seconds)


def test_what_is_no_submission_has_no_row(source, tmp_path):
    kept, folder = tmp_path / "in" / ".ipynb_checkpoints", tmp_path / "in" / "d.ipynb"
    kept.mkdir(parents=True), folder.mkdir()
    for path in (kept / "x-checkpoint.ipynb", tmp_path / "in" / "x.ipynb", folder / "y.ipynb"):
        write(path, "{")  # what does not even need a kernel
    rows = grade(source, tmp_path / "in", tmp_path / "g.csv")
    assert [row["submission"] for row in rows] == ["d.ipynb/y.ipynb", "x.ipynb"]
    (folder / "y.ipynb").unlink(), (tmp_path / "in" / "x.ipynb").unlink()
    with pytest.raises(ValueError, match="no notebook in the folder"):
        grade(source, tmp_path / "in")


CELLS = {  # what is run of a cell; None for all of it
    "a remainder": ("x = (7\n     % 4)", None),
    "a comparison": ("y = (a\n != b)", None),
    "a string": ('s = """\n%ls\n!ls\n"""', None),
    "a warning": ("p = '\\d'", None),
    "timed": ("%%time\nx = 1", "pass\nx = 1"),
    "lines": ("if x:\n    !ls\n%ls", "if x:\n    pass\npass"),
    "a null byte": ("x = \0", None),
    "half a character": ("x = '\ud800'", None),
    "deep": ("-" * 10**5 + "1", None),
    "deep brackets": ("(" * 10**5, None),
}


@pytest.mark.parametrize("name", CELLS)
def test_only_magics_are_left_out_of_a_cell(name):
    text, expected = CELLS[name]
    assert _cells(notebook(cell("code", text))) == {1: text if expected is None else expected}


def test_a_killed_run_goes_on_where_it_was(source, student, tmp_path):
    """Killed while the second submission is graded, which waits for that."""
    folder, out = tmp_path / "in", tmp_path / "g.csv"
    folder.mkdir()
    waits = between(student, DOUBLE, "import time\ntime.sleep(600)")
    for i, content in enumerate((answered(student), waits, "{")):
        write(folder / f"{i}.ipynb", content)
    command = [sys.executable, "-m", "minilearn.course", "grade", source, folder, "--out", out]
    run = subprocess.Popen(
        [*command, "--seconds", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not out.exists() and run.poll() is None:
        time.sleep(0.05)
    run.kill(), run.wait()
    assert len(out.read_text().splitlines()) == 2  # the header and the first
    out.write_text(out.read_text().replace("all tests passed", "graded before the kill"))
    write(folder / "1.ipynb", answered(student))
    rows = grade(source, folder, out)
    assert [row["points"] for row in rows] == ["5", "5", "0"]
    assert [row["reason"] for row in rows[:2]] == ["graded before the kill", "all tests passed"]
    write(folder / "0.ipynb", answered(student, WRONG))  # handed in anew
    again = grade(source, folder, out)
    assert [row["points"] for row in again] == ["3", "5", "0"] and again[1:] == rows[1:]


@pytest.mark.skipif("no network" not in protection(), reason="no namespaces on this machine")
def test_there_is_no_network_and_no_home(tmp_path):
    with Kernel(2**30, {"MINILEARN_KEY": "k"}) as kernel:
        code = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
        assert kernel.run(code, 10)
        seen = f"import os; assert os.environ['HOME'] != {str(Path.home())!r}"
        assert kernel.run(seen + "; assert os.environ['MINILEARN_KEY'] == 'k'", 10) == ""
        assert kernel.run("assert 'PYTEST_CURRENT_TEST' not in os.environ", 10) == ""
        place = kernel.folder
    assert not place.exists()


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
    ],
)
def test_a_faulty_source_is_refused(source, change, sentence):
    made = json.loads(source.read_text())
    change(made["cells"])
    write(source, made)
    with pytest.raises(ValueError, match=sentence):
        read_source(source)


def test_silly_arguments_get_a_sentence(source, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="no notebook in the folder"):
        grade(source, empty)
    with pytest.raises(ValueError, match="no notebook in the folder"):
        grade(source, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is the source itself"):
        assign(source, source)
    with pytest.raises(ValueError, match="cannot be read"):
        read_source(tmp_path / "nothing.ipynb")
    other = write(tmp_path / "other.csv", "a,b\n1,2\n")
    with pytest.raises(ValueError, match="holds other columns"):
        grade(source, tmp_path, other)
    with pytest.raises(SystemExit, match="no notebook in the folder"):
        main(["grade", str(source), str(empty)])
    main(["assign", str(source), str(tmp_path / "new" / "student.ipynb")])
    assert "written" in capsys.readouterr().out


ASSIGNMENTS = sorted((Path(__file__).parents[2] / "notebooks/assignments").glob("*.ipynb"))


@pytest.mark.parametrize("path", ASSIGNMENTS, ids=lambda p: p.stem)
def test_an_assignment_gives_full_points_to_its_solution_under_another_key(path, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "whole.ipynb").write_bytes(path.read_bytes())
    (row,) = grade(path, tmp_path / "in", tmp_path / "g.csv", key="another key")
    whole = sum(q.points for q in questions(read_source(path)) if q.test)
    assert (int(row["points"]), row["reason"]) == (whole, "all tests passed")


def test_the_faulty_functions_of_the_labs_get_nothing(tmp_path):
    path = next(p for p in ASSIGNMENTS if p.stem == "find_the_bug")
    made = json.loads(path.read_text("utf-8"))
    for c in made["cells"]:
        if "### BEGIN SOLUTION" in text_of(c):
            name = text_of(c).split("(")[0].removeprefix("def ")
            c["source"] = f"{name} = {name}_faulty"
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "faulty.ipynb", made)
    (row,) = grade(path, tmp_path / "in", tmp_path / "g.csv")
    assert row["points"] == "0" and row["reason"].count("AssertionError") == 6, row
