"""Whose a notebook is, and what the tables say of it."""

import os
import unicodedata
from pathlib import Path

import pytest

from minilearn.course.tables import read_roster, submissions

ADA, CHARLES = "1,Ada Lovelace,ada@example.org", "2,Charles Babbage,"


def roster(folder: Path, *rows: str, columns: str = "id,name,email") -> dict[str, dict[str, str]]:
    path = folder / "roster.csv"
    path.write_text("\n".join([columns, *rows]) + "\n", "utf-8")
    return read_roster(path)


def handed_in(folder: Path, *files: str) -> Path:
    for file in files:
        path = folder / "in" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"cells": []}')
    return folder / "in"


def sorted_out(folder: Path, known: dict, *files: str) -> tuple[dict[str, str], dict[str, str]]:
    """By student the name of the file that counts, and what is not read."""
    place = handed_in(folder, *files)
    (folder / "source.ipynb").touch()
    found, left_out = submissions(place, folder / "source.ipynb", folder / "grades.csv", known)
    return {s: path.relative_to(place).as_posix() for s, path in found.items()}, left_out


def test_a_browsers_copy_stays_with_its_student(tmp_path):
    files = "Ada Lovelace/mini (2).ipynb", "Charles Babbage/mini.ipynb"
    found, left_out = sorted_out(tmp_path, roster(tmp_path, ADA, CHARLES), *files)
    assert found == {"1": files[0], "2": files[1]} and not left_out


def test_a_path_that_names_two_students_is_nobodys(tmp_path):
    files = "Ada Lovelace/mini_2.ipynb", "Ada-Lovelace/mini_2.ipynb", "Charles Babbage/mini.ipynb"
    found, left_out = sorted_out(tmp_path, roster(tmp_path, ADA, CHARLES), *files)
    assert found == {"2": files[2]}
    assert left_out == dict.fromkeys(files[:2], "holds the id or name of 1 and 2")


def test_an_empty_row_of_a_roster_is_no_student(tmp_path):
    known = roster(tmp_path, ",,", ADA, " ,,")
    file = "Ada Lovelace_123_assignsubmission_file_/mini.ipynb"
    assert sorted_out(tmp_path, known, file, "x.ipynb") == (
        {"1": file},
        {"x.ipynb": "holds the id or name of no student of the roster"},
    )


def test_a_roster_is_refused_that_has_no_student_or_one_twice(tmp_path):
    with pytest.raises(ValueError, match="needs a first line .* and a row per student"):
        roster(tmp_path, ",,")
    with pytest.raises(ValueError, match="roster.csv has the id '1' twice"):
        roster(tmp_path, ADA, "1,Someone Else,")


@pytest.mark.parametrize(
    "file",
    [
        unicodedata.normalize("NFD", "José Núñez_77_assignsubmission_file_/mini.ipynb"),
        "josé_núñez.ipynb",
        "hw-s16.ipynb",
        "S16/mini.ipynb",
        "jnunez@example.org/mini.ipynb",
        "nunezjose_4711_55_mini-1.ipynb",  # Canvas's second attempt
    ],
)
def test_right_students_are_found(tmp_path, file):
    rows = "1,Ada Lovelace,ada@example.org,4710", "s16,José Núñez,jnunez@example.org,4711"
    known = roster(tmp_path, *rows, columns="id,name,email,ID")
    found, left_out = sorted_out(tmp_path, known, file)
    assert found == {"s16": file} and not left_out


def test_blanks_in_a_roster_do_not_matter(tmp_path):
    known = roster(tmp_path, "s16, José Núñez ", columns=" id, name")
    assert known == {"s16": {"id": "s16", "name": "José Núñez"}}


def test_a_name_counts_only_as_a_whole(tmp_path):
    known = roster(tmp_path, "1,Ann Li,", "2,Joann Lisle,")
    found, _ = sorted_out(tmp_path, known, "Joann Lisle_5_/mini.ipynb", "Ann Li_6_/mini.ipynb")
    assert found == {"1": "Ann Li_6_/mini.ipynb", "2": "Joann Lisle_5_/mini.ipynb"}


def test_a_folder_of_which_nothing_is_anybodys_is_said(tmp_path):
    files = "b.ipynb", "a.ipynb", "notes.txt"
    with pytest.raises(ValueError) as raised:
        sorted_out(tmp_path, roster(tmp_path, ADA, CHARLES), *files)
    why = "2 are not read, and 'a.ipynb' holds the id or name of no student of the roster"
    assert str(raised.value) == f"there is no notebook in the folder {tmp_path / 'in'}: {why}"


def test_what_another_run_has_written_is_no_submission(tmp_path):
    written = "nbgrader_config.py", "submitted/1/a1/a1.ipynb", "autograded/1/a1/a1.ipynb"
    files = [f"graded/gradebook/{file}" for file in written]
    files += ["graded/g.csv", "graded/answers.md", "graded/feedback/1-a1.html"]
    found, left_out = sorted_out(
        tmp_path, {}, "1.ipynb", *files, "2/nbgrader_config.py", "2/a.ipynb"
    )
    assert found == {"1": "1.ipynb", "2_a": "2/a.ipynb"}
    assert list(left_out) == ["2/nbgrader_config.py"]


def test_notebooks_of_one_name_have_names_of_their_own(tmp_path):
    """Whatever comes later: else a new file would get an older one's mark by hand."""
    (tmp_path / "in").mkdir()
    first, _ = sorted_out(tmp_path, {}, "ann_lee.ipynb")
    both, left_out = sorted_out(tmp_path, {}, "ann lee.ipynb")
    assert [*first] == ["ann_lee"] and len(both) == 2 and not left_out
    assert "ann_lee" not in both and all(name.startswith("ann_lee_") for name in both)


def test_a_very_long_path_is_a_name_that_a_file_system_takes(tmp_path):
    files = [f"{'a' * 120}/{'b' * 120}/{end * 100}.ipynb" for end in "cd"]
    found, _ = sorted_out(tmp_path, {}, *files)
    assert len(found) == 2 and all(len(name.encode()) <= 100 for name in found)


def test_accents_and_moodles_own_numbers_are_nobodys(tmp_path):
    known = roster(tmp_path, "55,José Núñez,", "102,Bob Stone,")
    file = "Jose Nunez_102_assignsubmission_file_/a.ipynb"
    assert sorted_out(tmp_path, known, file) == ({"55": file}, {})


def test_of_two_files_of_one_time_the_second_attempt_counts(tmp_path):
    files = "lovelaceada_1_57_mini.ipynb", "lovelaceada_1_57_mini-1.ipynb"
    handed_in(tmp_path, *files)
    for file in files:
        os.utime(tmp_path / "in" / file, (1000, 1000))
    (tmp_path / "source.ipynb").touch()
    given = tmp_path / "in", tmp_path / "source.ipynb", tmp_path / "grades.csv"
    found, left_out = submissions(*given, roster(tmp_path, ADA))
    assert found["1"].name == files[1]
    assert left_out == {files[0]: f"has the time of {files[1]} of the same student"}
