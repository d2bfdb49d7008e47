"""Files in and out of grading: submissions, roster, grades, answers for the reader."""

from __future__ import annotations

import csv
import html
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from minilearn.course.gradebook import Course, name_of
from minilearn.course.sources import RUBRIC, Question, text_of

OURS = ("submission", "student", "name", "points", "of", "days late")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
NOT_OURS = {"__MACOSX", ".ipynb_checkpoints"}


def submissions(
    folder: Path, source: Path, out: Path, roster: str | os.PathLike | None
) -> tuple[dict[str, Path], list[tuple[str, str]]]:
    """The notebooks of a folder by student, and every other file with the reason in words."""
    known = read_roster(roster)
    own = (out.parent / "gradebook").resolve(), (out.parent / "feedback").resolve()
    found: dict[str, Path] = {}
    left_out = []
    for path in sorted(
        folder.rglob("*"), key=lambda p: (p.lstat().st_mtime if known else 0, str(p))
    ):
        where = path.relative_to(folder).as_posix()
        parts = NOT_OURS & set(path.parts)
        if path.is_dir() and not path.is_symlink() or any(o in path.resolve().parents for o in own):
            continue
        if parts or path.name.startswith("._"):
            continue
        if path.is_symlink() or not path.is_file():
            left_out.append((where, "is a link or no file"))
        elif path.suffix.lower() != ".ipynb":
            left_out.append((where, "is no notebook: its name does not end in .ipynb"))
        elif path.samefile(source):
            left_out.append((where, "is the source"))
        elif known and not (student := _student(where, known)):
            left_out.append((where, "holds no id of the roster in its name"))
        else:
            student = student if known else name_of(where[: -len(path.suffix)])
            if student in found and known:
                older = found[student].relative_to(folder).as_posix()
                left_out.append((older, f"is older than {where} of the same student"))
            while student in found and not known:
                student += "_"
            found[student] = path
    out_files = {p.resolve() for p in out.parent.glob("*.csv")} | {out.with_name("answers.md")}
    return found, [each for each in left_out if (folder / each[0]).resolve() not in out_files]


def read_roster(roster: str | os.PathLike | None) -> dict[str, dict[str, str]]:
    """The rows of a roster by id. Raises: ValueError if it has no column id."""
    if roster is None:
        return {}
    with Path(roster).open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or "id" not in rows[0]:
        raise ValueError(f"{roster} needs a first line with the columns id and name")
    return {name_of(row["id"]): row for row in rows}


def _student(where: str, known: dict[str, dict[str, str]]) -> str:
    """The student whose id is a word of a path; else the one whose name begins a part of it."""
    words = set(re.split(r"[^\w-]+|_", where)) | set(where.split("/"))
    ids = [student for student, row in known.items() if {student, row["id"]} & words]
    names = [s for s, row in known.items() if row.get("name") and row["name"] in where]
    return (ids if len(ids) == 1 else names if len(names) == 1 else [""])[0]


def marks_by_hand(out: Path, course: Course, asked: Sequence[Question]):
    """Enter what a reader has typed into the table since it was written."""
    for row in _rows(out):
        for column, value in row.items():
            name = (column or "").split(" (reader")[0]
            if name != column and any(q.name == name for q in asked):
                try:
                    points = float(str(value).replace(",", "."))
                except ValueError:
                    continue
                course.mark(row.get("student", ""), name, points)


def write(
    out: Path,
    course: Course,
    asked: Sequence[Question],
    folder: Path,
    students: dict[str, Path],
    left_out: list[tuple[str, str]],
    roster: str | os.PathLike | None,
) -> list[dict[str, str]]:
    """Write the grades, in the form of Canvas and Moodle too if there is a roster."""
    known = read_roster(roster)
    columns = {q.name: f"{q.name} ({q.points if q.test else f'reader, {q.points}'})" for q in asked}
    earlier = {row.get("student", ""): row for row in _rows(out)}
    named = {*OURS, *columns.values(), "reason"}
    more = [c for row in earlier.values() for c in row if c and c not in named]
    more = [c for c in dict.fromkeys(more) if c.split(" (")[0] not in columns]
    rows = []
    for student in [*students, *(s for s in known if s not in students)]:
        row = dict.fromkeys([*OURS, *columns.values(), "reason"], "")
        row |= {"student": student, "name": known.get(student, {}).get("name", "")}
        row["of"] = str(sum(q.points for q in asked if q.test))
        row["reason"] = "nothing was handed in"
        row["points"] = "0"
        if student in students:
            row |= _row(course, asked, columns, student)
            row["submission"] = students[student].relative_to(folder).as_posix()
        row |= {column: earlier.get(student, {}).get(column, "") for column in more}
        rows.append({name: _safe(value) for name, value in row.items()})
    _write(out, rows)
    unread = [{"file": _safe(file), "reason": reason} for file, reason in left_out]
    _write(out.with_name("not_read.csv"), unread or [{"file": "", "reason": "every file was read"}])
    if known:
        _for_platforms(out, rows, known, course.assignment)
    return rows


def _row(course: Course, asked, columns, student: str) -> dict[str, str]:
    scores = course.scores(student, asked)
    row = {columns[n]: "" if s is None else f"{s:g}" for n, s in scores.items()}
    report = course.earlier(student) or {"reasons": ["not graded in this run"]}
    row["points"] = f"{sum(s for s in scores.values() if s is not None):g}"
    row["days late"] = f"{course.days_late(student):g}"
    row["reason"] = "; ".join(report["reasons"][:8]) or "all tests passed"
    return row


def _for_platforms(out: Path, rows: list[dict], known: dict[str, dict], assignment: str):
    canvas, moodle = [], []
    for row in rows:
        person = known[row["student"]]
        name, number = _safe(person.get("name", "")), _safe(person["id"])
        canvas.append({"Student": name, "ID": person.get("ID", ""), "SIS User ID": number})
        canvas[-1] |= {"SIS Login ID": _safe(person.get("login", "")), "Section": ""}
        canvas[-1][assignment] = row["points"]
        moodle.append({"ID number": number, "Full name": name})
        moodle[-1] |= {"Email address": _safe(person.get("email", "")), "Grade": row["points"]}
    _write(out.with_name("canvas.csv"), canvas)
    _write(out.with_name("moodle.csv"), moodle)


def write_answers(out: Path, source: dict, answers: dict[str, dict[str, str]]):
    """All answers to each question for a reader, below its rubric."""
    from minilearn.files import write_whole

    lines = []
    for cell in source["cells"]:
        text = text_of(cell)
        for name in [n for n in next(iter(answers.values()), {}) if f"<!-- ANSWER {n} (" in text]:
            _, _, rest = text.partition(RUBRIC[0])
            lines += [f"# {name}", rest.partition(RUBRIC[1])[0].strip()]
            for student, written in answers.items():
                lines += [f"## {student}", html.escape(written[name], quote=False) or "*nothing*"]
    write_whole(out, lambda part: part.write_text("\n\n".join(lines) + "\n", "utf-8"))


def _safe(value: str) -> str:
    """Text that neither a spreadsheet nor a terminal takes for a command."""
    value = str(value).encode("utf-8", "replace").decode()
    value = "".join(c if c.isprintable() else " " for c in value)
    return f"'{value}" if value.startswith(FORMULA) else value


def _rows(out: Path) -> list[dict[str, str]]:
    if not out.exists():
        return []
    with out.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _write(out: Path, rows: list[dict[str, str]]):
    from minilearn.files import write_whole

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(out, lambda part: part.write_text(text.getvalue(), "utf-8"))
