"""The command line: what it refuses, in one sentence, and what it writes."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from minilearn import precision
from minilearn.experiments import NAMES, provenance, rotated_digits
from minilearn.experiments.__main__ import _module, main
from minilearn.experiments.results import read_rows
from minilearn.training import Training

WRONG = {
    "an unknown name": (["rotated"], "no experiment 'rotated', only .* mean rotated_digits?"),
    "a name with a hyphen": (["rotated-digits"], "did you mean rotated_digits?"),
    "no name like it": (["42"], "no experiment '42', only rotated_digits, stsb"),
    "an empty name": ([""], "no experiment ''"),
    "no seeds": (["speed", "--seeds", "0"], "--seeds must be a whole number of at least 1, got 0"),
    "half a seed": (["speed", "--seeds", "1.5"], "--seeds must be a whole number"),
    "fewer seeds": (["speed", "--seeds=-3"], "--seeds must be a whole number .* got '-3'"),
    "many seeds": (["speed", "--seeds", "many"], "--seeds must be a whole number .* got 'many'"),
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


@pytest.mark.parametrize("arguments", [[], ["speed", "--size", "huge"], ["speed", "--sdees", "1"]])
def test_what_the_parser_refuses(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert (
        "required: name" in (said := capsys.readouterr().err) or "huge" in said or "sdees" in said
    )


def test_a_file_for_a_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(SystemExit, match="--out must name a folder, but .* is a file"):
        main(["rotated_digits", "--out", str(tmp_path / "out")])


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
def test_every_name_has_its_module(name):
    module = _module(name)
    assert module.SEEDS >= 1 and callable(module.units) and name in module.__name__


def test_it_writes_and_goes_on(tmp_path, monkeypatch, make_units, capsys):
    monkeypatch.setattr(rotated_digits, "units", lambda run: make_units(seeds=len(run.seeds)))
    call = ["rotated_digits", "--out", str(tmp_path / "new" / "folder")]
    assert main([*call, "--seeds", "2"]) == 6
    assert main([*call, "--seeds", "2"]) == 0
    assert main([*call, "--seeds", "3"]) == 3
    assert "3 units written to" in capsys.readouterr().out
    rows = read_rows(tmp_path / "new" / "folder" / "rotated_digits.csv")
    command = "python -m minilearn.experiments rotated_digits --seeds 3 --device cpu --size toy"
    assert rows[-1]["command"] == command and len(rows) == 18
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


def test_the_default_folder_is_the_books_or_one_of_its_own(monkeypatch, tmp_path):
    from minilearn.experiments import __main__ as command

    assert command._folder(None).as_posix().endswith("book/results")
    monkeypatch.setattr(command, "OF_PROJECT", tmp_path / "nothing")
    assert command._folder(None) == Path("results")


# ---- where a number comes from


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A folder that looks like the project's, without git."""
    (tmp_path / "book" / "results").mkdir(parents=True)
    (tmp_path / "book" / "_toc.yml").write_text("root")
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    monkeypatch.setattr(provenance, "OF_PROJECT", tmp_path / "book" / "_toc.yml")
    return tmp_path


def test_without_git_there_is_no_commit(checkout, monkeypatch):
    assert provenance.commit() == ""
    (checkout / ".git").mkdir()
    assert provenance.commit() == ""  # a broken one
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == ""


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_says_whether_the_code_has_changed(checkout):
    git(checkout, "init", "-q")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "first")
    head = git(checkout, "rev-parse", "--short", "HEAD")
    assert provenance.commit() == head
    (checkout / "book" / "results" / "speed.csv").write_text("the run itself writes it")
    assert provenance.commit() == head
    (checkout / "new.py").write_text("")
    assert provenance.commit() == f"{head}-dirty"


def test_an_installation_in_somebody_elses_repository_has_no_commit(checkout, monkeypatch):
    monkeypatch.setattr(provenance, "OF_PROJECT", checkout / "nothing")
    (checkout / ".git").mkdir()
    assert provenance.commit() == ""


def test_the_device_is_a_model_in_words():
    import platform

    import torch

    found = provenance.provenance(torch.device("cpu"), "the command")
    assert "thread" in found["device"] and len(found["device"]) > 8
    node = platform.node()
    assert not any(node and node in text for text in found.values())
    assert found["torch"] == torch.__version__ and found["command"] == "the command"
