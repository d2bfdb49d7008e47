"""Running units: what is there is skipped, and a run that is killed goes on where it was."""

import subprocess
import sys

import pytest
import torch

from book.experiments import Run, rotated_digits, said, told_apart, units_of
from minilearn.methods import L2UL, LAF, PGD, NegGrad, Repair
from minilearn.sweep import COLUMNS, Unit, append_unit, read_rows, run_units, value
from minilearn.training import Training


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rotated_digits.csv"


def without_time(rows: list[dict]) -> list[dict]:
    return [{name: text for name, text in row.items() if name != "utc"} for row in rows]


def test_every_row_is_whole(path, make_units, origin):
    assert run_units("rotated_digits", make_units(), path, origin) == 9
    rows = read_rows(path)
    assert len(rows) == 18 and all(tuple(row) == COLUMNS for row in rows)
    first, second = rows[:2]
    assert first["value"] == "0.25" and first["published"] == "7" and first["source"] == "a paper"
    assert second["value"] == "0" and second["published"] == "" and second["source"] == ""
    assert all(row[name] == text for row in rows for name, text in origin.items())


def test_what_is_there_is_not_measured_again(path, make_units, origin):
    seen = []
    run_units("rotated_digits", make_units(seeds=1), path, origin)
    units = make_units(lambda *which: seen.append(which), seeds=2)
    assert run_units("rotated_digits", units, path, origin) == 3
    assert seen == [("original", 1), ("retrained", 1), ("finetune", 1)]
    assert run_units("rotated_digits", units, path, origin) == 0 and len(seen) == 3


def test_another_config_is_another_unit(path, make_units, origin):
    run_units("rotated_digits", make_units(seeds=1), path, origin)
    others = [
        Unit("a set", "a band", u.method, 0, "size=small", u.measure) for u in make_units(seeds=1)
    ]
    assert run_units("rotated_digits", others, path, origin) == 3


def test_a_unit_that_fails_leaves_nothing_of_itself(path, make_units, origin):
    def work(method, seed):
        if (method, seed) == ("retrained", 1):
            raise ValueError("the loss became inf")

    with pytest.raises(ValueError, match="the loss became inf"):
        run_units("rotated_digits", make_units(work), path, origin)
    assert {(row["method"], row["seed"]) for row in read_rows(path)} == {
        ("original", "0"),
        ("retrained", "0"),
        ("finetune", "0"),
        ("original", "1"),
    }


def test_a_number_that_is_none_is_refused(path, origin):
    unit = Unit(
        "a set",
        "a band",
        "finetune",
        0,
        "",
        lambda: [value("mae", "", torch.tensor(torch.nan), "")],
    )
    with pytest.raises(ValueError, match="mae of finetune has value 'nan'"):
        run_units("rotated_digits", [unit], path, origin)
    assert not path.exists()


def test_values_are_text_without_loss():
    assert float(value("mae", "", torch.tensor(0.1).double() / 3, "")["value"]) == float(
        torch.tensor(0.1).double() / 3
    )
    assert value("samples", "", 12, "")["value"] == "12"
    assert value("mae", "", 1.0, "", 0.0, "a paper")["published"] == "0.0"
    assert value("mae", "", 1.0, "", "", "a paper")["source"] == ""


def test_a_cache_names_a_file_for_every_model(tmp_path):
    assert Run().file("a set", "original", 0) is None
    run = Run(cache=tmp_path)
    files = {run.file("a set", m, s) for m in ("original", "retrained") for s in (0, 1)}
    for other in ({"size": "small"}, {"fast": True}, {"made": True}):
        files.add(Run(cache=tmp_path, **other).file("a set", "original", 0))
    assert len(files) == 7
    assert {file.parent for file in files} == {tmp_path}


def test_an_experiment_is_told_its_name(monkeypatch):
    seen = []
    monkeypatch.setattr(rotated_digits, "units", lambda run: [seen.append(run.experiment)][:0])
    assert units_of("rotated_digits", Run()) == [] and seen == ["rotated_digits"]


PROGRAM = """
import sys
from pathlib import Path
from minilearn.sweep import Unit, run_units, value

def measure(method, seed):
    print(method, seed, flush=True)
    return [value("mae", s, seed + len(method) / 7, "degrees") for s in ("forget", "retain")]

units = [
    Unit("a set", "a band", m, s, "size=toy", lambda m=m, s=s: measure(m, s))
    for s in range(30) for m in ("original", "retrained")
]
origin = dict.fromkeys(("device", "torch", "triton", "minilearn", "commit", "command"), "x")
run_units("rotated_digits", units, Path(sys.argv[1]), origin)
"""


def test_a_run_that_is_killed_goes_on(tmp_path, monkeypatch, capsys):
    """Killed twice, wherever it is when that many units have begun: it does not wait for it."""
    interrupted, whole = tmp_path / "interrupted.csv", tmp_path / "whole.csv"
    counts = [0]
    for units in (3, 20):
        command = [sys.executable, "-c", PROGRAM, str(interrupted)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(units):
                assert process.stdout.readline()
                counts.append(len(read_rows(interrupted)))  # whole at every moment
            process.kill()
        counts.append(len(read_rows(interrupted)))
        assert counts[-1] >= 2 * (units - 1)
    assert counts == sorted(counts) and all(n % 2 == 0 for n in counts)  # never half a unit
    begun = []
    for path in (interrupted, whole):
        monkeypatch.setattr(sys, "argv", ["program", str(path)])
        exec(PROGRAM, {})
        begun.append(capsys.readouterr().out.splitlines())
    assert without_time(read_rows(interrupted)) == without_time(read_rows(whole))
    assert len(read_rows(whole)) == 120
    # what was there is not measured again
    assert begun[0] == begun[1][counts[-1] // 2 :] and len(begun[1]) == 60


def test_one_that_is_killed_while_it_holds_the_lock_blocks_nobody(path, make_row):
    """Killed while it writes, and writing never ends by itself."""
    program = (
        "import sys; from minilearn import results\n"
        "def wait(*given):\n    print('locked', flush=True); sys.stdin.read()\n"
        "results.write_whole = wait\n"
        "results.append_unit(sys.argv[1], [eval(sys.argv[2])])"
    )
    command = [sys.executable, "-c", program, str(path), repr(make_row())]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "locked\n"
        process.kill()
    assert not read_rows(path) and append_unit(path, [make_row()])


def test_a_young_setting_is_said_only_where_it_is_changed():
    """So a stored row stays the row of its unit; everything else is said."""
    attack = "PGD(eps=2.0, step=0.1, steps=100, repeats=20, order='clamp_project', "
    attack += "box=(0.0, 1.0), memory=1073741824"
    assert said(PGD()) == f"{attack})" and said(PGD(floor=0.5)) == f"{attack}, floor=0.5)"
    released, plain = L2UL(shuffle=False), L2UL(attack=None)
    assert said(released) == repr(released).replace(", floor=0.0", "")
    assert said(plain) == repr(plain).replace(", shuffle=True", "")
    assert said(NegGrad()) == repr(NegGrad()).replace(", loss='auto'", "")
    assert said((Repair(),)) == f"({said(Repair())},)" and "loss" not in said(Repair())
    assert said((LAF(), Repair())) == f"({LAF()!r}, {said(Repair())})"
    for config in (LAF(), Training(), (0.5, ("a",), ()), "text", None):
        assert said(config) == repr(config)


def test_configs_are_told_apart_by_as_few_settings_as_it_takes():
    both = [f"size=toy; a set; A(lr={lr}, steps={steps})" for lr, steps in ((1.0, 2), (0.5, 3))]
    assert list(told_apart(both).values()) == ["lr 1", "lr 0.5"]
    three = [*both, both[0].replace("steps=2", "steps=4")]
    assert list(told_apart(three).values()) == ["lr 1, steps 2", "lr 0.5, steps 3", "lr 1, steps 4"]
    assert told_apart(both[:1]) == {both[0]: ""}
    turned = ["A(lr=1, of=B(lr=2))", "A(lr=2, of=B(lr=1))"]
    assert list(told_apart(turned).values()) == ["setting 1", "setting 2"]
