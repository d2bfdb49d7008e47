"""Files in and out of grading: submissions, roster, grades, answers for the reader."""

from __future__ import annotations

import csv
import html
import io
import os
import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from minilearn.course.gradebook import Course, digest, name_of
from minilearn.course.sources import ANSWER, RUBRIC, Question, read_notebook, text_of, write_text

FORMULA = ("=", "+", "-", "@", "\t", "\r")
WORD, PART = r"[^\w-]+|_", r"[\W_]+"  # between words, and between their parts
NOT_OURS = {"__MACOSX", ".ipynb_checkpoints"}
COPY = re.compile(r" ?\(\d+\)(?=\.\w+$)")  # what a browser puts behind a name that is taken
MOODLES = re.compile(r"_\d+_assignsubmission_")  # its own number of a submission, nobody's id
TOO_SLOW = "this machine was too slow"  # for a cell that was given: then nothing goes to Canvas
CANVAS = {"Student": "name", "ID": "ID", "SIS User ID": "id"}
CANVAS |= {"SIS Login ID": "login", "Section": "section"}
MOODLE = {"ID number": "id", "Full name": "name", "Email address": "email", "Grade": "points"}


def submissions(
    folder: Path, source: Path, out: Path, known: dict[str, dict[str, str]]
) -> tuple[dict[str, Path], dict[str, str]]:
    """The notebooks of a folder by student, and every other file with the reason in words.

    Raises: ValueError if there is no notebook
    """
    found: dict[str, Path] = {}
    left_out = {}
    files = _files(folder, out)
    called = Counter(name for p in files for name in _whose(p.relative_to(folder).as_posix(), {}))
    for path in files:
        where = path.relative_to(folder).as_posix()
        whose = _whose(where, known)
        if path.is_symlink() or not path.is_file():
            left_out[where] = "is a link or no file"
        elif path.suffix.lower() != ".ipynb":
            left_out[where] = "is no notebook: its name does not end in .ipynb"
        elif path.samefile(source):
            left_out[where] = "is the source"
        elif len(whose) != 1:
            whom = " and ".join(whose) or "no student of the roster"
            left_out[where] = f"holds the id or name of {whom}"
        elif known and (student := whose[0]) in found:
            older, newer = sorted([found[student], path], key=_age)
            than = "is older than" if _age(older)[0] < _age(newer)[0] else "has the time of"
            reason = f"{than} {newer.relative_to(folder).as_posix()} of the same student"
            left_out[older.relative_to(folder).as_posix()] = reason
            found[student] = newer
        else:
            student = whose[0]
            if not known and called[student] > 1:  # else a new file could take an older one's mark
                student += f"_{digest(where)}"
            found[student] = path
    notebooks = [f"{where!r} {why}" for where, why in left_out.items() if ".ipynb" in where]
    if not found:
        why = f": {len(notebooks)} are not read, and {notebooks[0]}" if notebooks else ""
        raise ValueError(f"there is no notebook in the folder {folder}{why}")
    for path in found.values():
        try:
            read_notebook(path)
        except ValueError as error:
            left_out[path.relative_to(folder).as_posix()] = str(error).replace(f"{path} ", "")
    return found, left_out


def _age(path: Path) -> tuple[float, int, str]:
    """When a file was written; of two at one time Canvas numbers the later, "a-1.ipynb"."""
    return path.stat().st_mtime, len(path.name), path.name


def _files(folder: Path, out: Path) -> list[Path]:
    """All files but those that a system adds and those that we write."""
    books = folder.resolve().rglob("gradebook/nbgrader_config.py")
    homes = {out.parent.resolve(), *(path.parents[1] for path in books)}
    ours = [home / name for home in homes for name in ("gradebook", "feedback")]
    written = {path for home in homes for path in [*home.glob("*.csv"), home / "answers.md"]}
    kept = []
    for path in sorted(folder.rglob("*"), key=str):
        hidden = NOT_OURS & set(path.parts) or path.name.startswith("._")
        place = path.resolve()
        if hidden or place in written or any(place.is_relative_to(each) for each in ours):
            continue
        if path.is_symlink() or not path.is_dir():
            kept.append(path)
    return kept


def read_roster(roster: str | os.PathLike | None) -> dict[str, dict[str, str]]:
    """The rows of a roster by id. Raises: ValueError if there is none, or no id, or one twice."""
    if roster is None:
        return {}
    if not os.path.exists(roster):
        raise ValueError(f"there is no roster {roster}")
    known: dict[str, dict[str, str]] = {}
    for row in read(Path(roster)):
        row = {column.strip(): value.strip() for column, value in row.items() if column != "more"}
        student = name_of(row.get("id", ""))
        if student in known:
            raise ValueError(f"{roster} has the id {row['id']!r} twice: give each student one")
        if row.get("id"):
            known[student] = row
    if not known:
        raise ValueError(f"{roster} needs a first line with id and name, and a row per student")
    return known


def _whose(where: str, known: dict[str, dict[str, str]]) -> list[str]:
    """The students whose id, name or e-mail stands in a path; an id between "-" if none does."""
    if not known:
        return [name_of(where[: where.rfind(".")])]
    where = MOODLES.sub(" ", COPY.sub("", where))
    for between in (WORD, PART):
        if found := [s for s, row in known.items() if _stands(row, where, between)]:
            return found
    return []


def _stands(row: dict[str, str], where: str, between: str) -> bool:
    looks = {"id": between, "ID": between, "name": PART, "email": PART}
    return any(_words(row.get(c, ""), each) in _words(where, each) for c, each in looks.items())


@cache
def _words(text: str, between: str) -> str:
    """Words as they are compared: letters of one case without accents, a blank around each."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return f" {' '.join(filter(None, re.split(between, plain)))} "


def marks_by_hand(
    out: Path,
    course: Course,
    asked: Sequence[Question],
    students: Collection[str],
    has_roster: bool,
):
    """Enter what a reader has typed into the table since it was written.

    Raises: ValueError if the table is none of ours or of another assignment, has names that a
        roster gave and there is none, a mark is not a number between 0 and the question's points,
        or is of none of the `students`
    """
    rows = read(out)
    if rows and "student" not in rows[0]:
        raise ValueError(f"{out} has no column student: move it away, or name another with --out")
    mine, names = course.assignment, {row.get("assignment") or "" for row in rows} - {""}
    if rows and names != {_safe(mine)}:
        other, where = ", ".join(sorted(names)) or "no assignment", f"{mine}/{out.name}"
        raise ValueError(f"{out} is the table of {other}, not of {mine}: type --out {where}")
    if not has_roster and any(row.get("name") for row in rows):
        raise ValueError(f"{out} has the names of a roster: type --roster and its file, too")
    for row in rows:
        for question in [q for q in asked if not q.test]:
            for column, typed in row.items():
                if column.startswith(f"{question.name} (reader"):
                    where = f"{out}, column {column!r}"
                    if typed.strip() and row["student"].removeprefix("'") not in students:
                        raise ValueError(
                            f"{where}: there is no notebook of {row['student']!r}, who has a mark: "
                            "put the id back if a spreadsheet has changed it, or empty the cell"
                        )
                    _enter(course, row, question, typed.strip(), where)


def _enter(course: Course, row: dict[str, str], question: Question, typed: str, where: str):
    student, points, most = row["student"].removeprefix("'"), None, question.points
    with suppress(ValueError):
        points = float(typed.replace(",", "."))
    if typed and (points is None or not 0 <= points <= most):
        raise ValueError(f"{where}: {student} has {typed!r}: type a number from 0 to {most}")
    if row.get("submission") != "":
        course.mark(student, question.name, points)
    elif typed:
        raise ValueError(f"{where}: {student} has a mark, but no notebook: empty the cell")


def _column(question: Question) -> str:
    return f"{question.name} ({'' if question.test else 'reader, '}{question.points})"


def write(
    out: Path,
    course: Course,
    asked: Sequence[Question],
    folder: Path,
    students: dict[str, Path],
    left_out: dict[str, str],
    known: dict[str, dict[str, str]],
) -> list[dict[str, str]]:
    """Write the grades, in the form of Canvas and Moodle too if there is a roster."""
    earlier = {row["student"].removeprefix("'"): row for row in read(out)}
    results = course.results()
    whose = {file: _whose(file, known) for file in left_out}
    rows, people = [], []
    for student in dict.fromkeys([*students, *known]):
        where, points, late = "", {}, ""
        reasons = [f"{file} {left_out[file]}" for file in whose if student in whose[file]]
        reasons = reasons or ["nothing was handed in"]
        if student in students:
            where = students[student].relative_to(folder).as_posix()
            points, late = results.get(student, ({}, ""))
            reasons = (course.earlier(student) or {"reasons": ["not graded yet"]})["reasons"]
        row = {"assignment": course.assignment, "submission": where, "student": student}
        row |= {"name": known.get(student, {}).get("name", ""), "points": sum(points.values())}
        row |= {"of": sum(q.points for q in asked if q.test or q.name in points)}
        row |= {"days late": late}
        row |= {_column(q): points.get(q.name, "") for q in asked}
        row["reason"] = "; ".join(reasons[:8]) or "all tests passed"
        row = {name: _safe(value) for name, value in row.items()}
        for column, value in earlier.get(student, {}).items():
            if not any(re.fullmatch(rf"{q.name} \((reader, )?\d+\)", column) for q in asked):
                row.setdefault(column, value)
        rows.append(row)
        graded = where and where not in left_out and not any(TOO_SLOW in r for r in reasons)
        people.append(known.get(student, {}) | {"points": row["points"] if graded else ""})
    _write(out, rows)
    unread = [{"file": _safe(file), "reason": _safe(reason)} for file, reason in left_out.items()]
    _write(out.with_name("not_read.csv"), unread, ["file", "reason"])
    tables = {"canvas.csv": CANVAS | {course.assignment: "points"}, "moodle.csv": MOODLE}
    for name, columns in tables.items() if known else ():
        table = [{c: _safe(each.get(f, "")) for c, f in columns.items()} for each in people]
        _write(out.with_name(name), table)
    return read(out)


def write_answers(out: Path, source: dict, course: Course, students: Iterable[str]):
    """All answers to each question for a reader, below its rubric."""
    lines = []
    for cell in source["cells"]:
        text = text_of(cell)
        if not (match := ANSWER.search(text)):
            continue
        _, _, rest = text.partition(RUBRIC[0])
        lines += [f"# {match[1]}", rest.partition(RUBRIC[1])[0].strip()]
        for student in students:
            written = (course.earlier(student) or {}).get("answers", {})
            answer = html.escape(written.get(match[1], ""), quote=False)
            quoted = textwrap.indent(answer, "> ", lambda line: True)  # no heading of their own
            lines += [f"## {student}", quoted or "*nothing stands below the question*"]
    write_text(out, "\n\n".join(lines) + "\n")


def _safe(value: object) -> str:
    """Text that neither a spreadsheet nor a terminal takes for a command."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    text = "".join(c if c.isprintable() else " " for c in text)
    return f"'{text}" if text.startswith(FORMULA) else text


def read(table: Path) -> list[dict[str, str]]:
    """The rows of a table, also if a spreadsheet has put semicolons between its columns.

    Raises: ValueError if it is not in UTF-8
    """
    if not table.exists():
        return []
    try:
        text = io.StringIO(table.read_text("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError(f"{table} is not in UTF-8: save it as CSV UTF-8") from None
    delimiter = max(",;\t", key=text.readline().count)
    text.seek(0)
    return list(csv.DictReader(text, delimiter=delimiter, restkey="more", restval=""))


def _write(out: Path, rows: list[dict[str, str]], columns: Sequence[str] | None = None):
    import pandas as pd  # which a student's notebook does not need

    write_text(out, pd.DataFrame(rows, columns=columns).fillna("").to_csv(index=False))
