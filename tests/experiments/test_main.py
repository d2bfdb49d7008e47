"""The command line: what it refuses, in one sentence, and what it writes."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from book.experiments import NAMES, module_of, rotated_digits
from book.experiments import __main__ as command
from book.experiments.__main__ import main, usable
from book.experiments.papers import ROWS
from minilearn import environment, precision
from minilearn.sweep import read_rows
from minilearn.training import Training

WRONG = {
    "an unknown name": (
        ["rotated_digit"],
        "no experiment 'rotated_digit', only .* mean rotated_digits?",
    ),
    "a name with a hyphen": (["rotated-digits"], "did you mean rotated_digits?"),
    "no name like it": (["42"], "no experiment '42', only coverage, rotated_digits"),
    "an empty name": ([""], "no experiment ''"),
    "no seeds": (["speed", "--seeds", "0"], "--seeds must be a whole number of at least 1, got 0"),
    "half a seed": (["speed", "--seeds", "1.5"], "--seeds must be a whole number"),
    "fewer seeds": (["speed", "--seeds=-3"], "--seeds must be a whole number .* got '-3'"),
    "many seeds": (["speed", "--seeds", "many"], "--seeds must be a whole number .* got 'many'"),
    "no job": (["stsb", "--jobs", "0"], "--jobs must be a whole number of at least 1, got 0"),
    "a timing beside another": (
        ["speed", "--jobs", "2"],
        "--jobs is not for speed, which measures",
    ),
    "made files of no row": (["speed", "--made"], "--made is for the papers' rows, not for speed"),
    "made files as a measurement": (
        ["stsb", "--made", "--size", "paper"],
        "--made is for --size toy, got paper",
    ),
    "made files for several": (["stsb", "--made", "--jobs", "2"], "--made runs in one process"),
    "half a part": (["stsb", "--part", "1/x"], "--part must be like 2/8, .*, got '1/x'"),
    "a part of nothing": (["stsb", "--part", "3"], "--part must be like 2/8, .*, got '3'"),
    "no part": (["stsb", "--part", "0/2"], "--part must be like 2/8, .*, got '0/2'"),
    "a part too many": (["rotated_digits", "--part", "3/2"], "--part 3/2 names no part: it is 1/2"),
    "a switch of its own": (
        ["speed", "--fast"],
        "--fast is not for speed, which chooses what it times",
    ),
    "a device of another kind": (["speed", "--device", "toaster"], "--device toaster cannot be"),
    "a device that is not here": (["speed", "--device", "cuda:99"], "--device cuda:99 cannot be"),
}


@pytest.mark.parametrize("arguments, sentence", WRONG.values(), ids=WRONG)
def test_a_wrong_call_is_one_sentence(tmp_path, arguments, sentence):
    with pytest.raises(SystemExit, match=sentence) as refused:
        main([*arguments, "--out", str(tmp_path / "out")])
    assert len(str(refused.value.code).splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["speed", "--size", "huge"], ["speed", "--sdees", "1"]])
def test_what_the_parser_refuses(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "huge" in (said := capsys.readouterr().err) or "sdees" in said


def test_without_a_name_every_experiment_is_listed(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name}" in said for name in NAMES)
    assert all(f"{row.dataset}, {row.network}" in said for row in ROWS)


def test_a_file_for_a_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(SystemExit, match="--out must name a folder, but .* is a file"):
        main(["rotated_digits", "--out", str(tmp_path / "out")])


@pytest.mark.parametrize("option", ["--out", "--cache"])
def test_a_folder_is_looked_at_before_any_work_and_may_be_at_home(tmp_path, monkeypatch, option):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=f"{option}.*/file"):
        main(["rotated_digits", option, str(tmp_path / "file" / "folder")])
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []
    monkeypatch.setattr(rotated_digits, "units", lambda run: [seen.append(run.cache)][:0])
    main(["rotated_digits", "--out=~/new", "--cache=~/models"])
    assert seen == [tmp_path / "models"]


def test_a_damaged_file_is_found_out_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(rotated_digits, "units", lambda run: pytest.fail("it began to work"))
    (tmp_path / "rotated_digits.csv").write_text("half a li")
    with pytest.raises(SystemExit, match="is no whole result file"):
        main(["rotated_digits", "--out", str(tmp_path)])
    assert (tmp_path / "rotated_digits.csv").read_text() == "half a li"


def test_data_that_are_missing_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("MINILEARN_DATA", str(tmp_path))
    for name in ("stsb", "electricity"):
        with pytest.raises(SystemExit, match=r"sts-\w+.csv|LD2011_2014.txt"):
            main([name, "--size", "paper", "--out", str(tmp_path / "out")])


def test_an_interruption_says_how_to_go_on(tmp_path, monkeypatch, make_units):
    def work(method, seed):
        if seed == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(rotated_digits, "units", lambda run: make_units(work))
    with pytest.raises(SystemExit, match="stopped; what is finished is in .* goes on from there"):
        main(["rotated_digits", "--out", str(tmp_path)])
    assert len(read_rows(tmp_path / "rotated_digits.csv")) == 6


@pytest.mark.parametrize("name", NAMES)
def test_every_name_has_itsmodule_of(name):
    module = module_of(name)
    assert module.SEEDS >= 1 and callable(module.units)
    assert name in module.__name__ or name in module.ROWS


def test_it_writes_and_goes_on(tmp_path, monkeypatch, make_units, capsys):
    monkeypatch.setattr(rotated_digits, "units", lambda run: make_units(seeds=len(run.seeds)))
    call = ["rotated_digits", "--out", str(tmp_path / "new" / "folder")]
    assert main([*call, "--seeds", "2"]) == 6
    assert main([*call, "--seeds", "2"]) == 0
    assert main([*call, "--seeds", "3"]) == 3
    assert "3 units written to" in capsys.readouterr().out
    rows = read_rows(tmp_path / "new" / "folder" / "rotated_digits.csv")
    called = "python -m book.experiments rotated_digits --seeds 3 --device cpu --size toy"
    assert rows[-1]["command"] == called and len(rows) == 18
    assert all(str(tmp_path) not in text for row in rows for text in row.values())


def test_the_switch_holds_for_every_unit_and_is_written(tmp_path, monkeypatch, make_units):
    asked = []
    work = lambda method, seed: asked.append(list(precision._asked))  # noqa: E731
    monkeypatch.setattr(rotated_digits, "units", lambda run: make_units(work))
    call = ["rotated_digits", "--out", str(tmp_path), "--seeds", "3"]
    assert main([*call, "--fast"]) == 9 and asked == [[(torch.float32, True)]] * 9
    assert main(call) == 9 and asked[9:] == [[]] * 9  # not the same units
    rows = read_rows(tmp_path / "rotated_digits.csv")
    assert [row["command"].endswith(" --fast") for row in rows] == [True] * 18 + [False] * 18
    assert [row["config"].endswith("; inside fast") for row in rows] == [True] * 18 + [False] * 18


def test_one_experiment_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(rotated_digits, "SIZES", {"toy": (12, 1, "small_cnn")})
    monkeypatch.setattr(rotated_digits, "RECIPE", Training(epochs=1))
    call = [
        "rotated_digits",
        "--seeds",
        "1",
        "--out",
        str(tmp_path),
        "--cache",
        str(tmp_path / "c"),
    ]
    assert main(call) == 7
    rows = read_rows(tmp_path / "rotated_digits.csv")
    assert {row["method"] for row in rows} == {
        *("original", "retrained", "finetune", "neggrad", "amnesiac", "blindspot_model"),
        "blindspot",
    }
    assert len(rows) == 7 * 8 and {row["published"] for row in rows} == {""}


def test_the_default_folder_is_the_books():
    assert command._folder(None).as_posix().endswith("book/results")


# ---- where a number comes from


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    assert environment.commit(tmp_path) == ""
    (tmp_path / ".git").mkdir()
    assert environment.commit(tmp_path) == ""  # a broken one
    monkeypatch.setenv("PATH", "")
    assert environment.commit(tmp_path) == ""


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_says_whether_the_code_has_changed(tmp_path):
    (tmp_path / "book" / "results").mkdir(parents=True)
    (tmp_path / "old.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "first")
    head = git(tmp_path, "rev-parse", "--short", "HEAD")
    assert environment.commit(tmp_path) == head
    (tmp_path / "book" / "results" / "speed.csv").write_text("the run itself writes it")
    assert environment.commit(tmp_path) == head
    (tmp_path / "new.py").write_text("")
    assert environment.commit(tmp_path) == f"{head}-dirty"
    assert environment.commit(tmp_path / "book") == ""  # a folder in somebody else's repository


@pytest.mark.parametrize("name", ["meta", "cuda:99", "nothing"])
def test_a_device_that_computes_nothing_is_refused(name):
    with pytest.raises(ValueError, match=f"--device {name} cannot be used here; cpu always can"):
        usable(name)


def test_the_device_is_a_model_in_words(tmp_path):
    found = environment.provenance(torch.device("cpu"), "the command", tmp_path)
    assert "thread" in found["device"] and len(found["device"]) > 8
    node = platform.node()
    assert not any(node and node in text for text in found.values())
    assert found["torch"] == torch.__version__ and found["command"] == "the command"
