"""Result files: the designed columns, whole rows, and nothing overwritten that is not whole."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from book.experiments import Run, module_of, units_of
from minilearn import data, sweep
from minilearn.data import Examples
from minilearn.sweep import COLUMNS, append_unit, missing, read_rows, unit_of

DESIGNED = (
    "experiment,dataset,request,method,seed,split,metric,value,unit,device,torch,triton,minilearn,"
    "commit,utc,command,config,published,source"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "rotated_digits.csv"


def test_the_columns_are_the_designed_ones(path, make_row):
    assert ",".join(COLUMNS) == DESIGNED
    append_unit(path, [make_row()])
    assert path.read_text().splitlines()[0] == DESIGNED


def test_what_is_written_is_read(path, make_row):
    awkward = make_row(config='size=toy; a "quoted", comma; ± é \u2028', command="a,b")
    rows = [awkward, {**awkward, "split": "retain"}]
    assert append_unit(path, rows)
    assert read_rows(path) == rows
    assert append_unit(path, [make_row(seed="1")])
    assert read_rows(path) == [*rows, make_row(seed="1")]
    with path.open(newline="", encoding="utf-8") as file:  # any reader of csv sees the same
        assert list(csv.DictReader(file)) == [*rows, make_row(seed="1")]


def test_a_unit_that_is_there_is_not_written_again(path, make_row):
    append_unit(path, [make_row()])
    before = path.read_bytes()
    assert not append_unit(path, [make_row(value="9.0", split="retain", utc="later")])
    assert path.read_bytes() == before
    for other in sweep.UNIT:
        assert append_unit(path, [make_row(**{other: "17"})])


def test_a_link_stays_a_link_and_home_is_found(tmp_path, make_row, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "there").mkdir()
    (tmp_path / "here.csv").symlink_to("there/results.csv")
    for seed in "01":
        append_unit("~/here.csv", [make_row(seed=seed)])
    assert (tmp_path / "here.csv").is_symlink() and len(read_rows("~/here.csv")) == 2
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["results.csv"]


def test_no_file_has_no_rows(path):
    assert read_rows(path) == []


def test_nothing_but_the_result_file_is_left(path, make_row):
    for seed in "012":
        append_unit(path, [make_row(seed=seed)])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


DAMAGE = {
    "empty": lambda text: "",
    "other columns": lambda text: text.replace("value", "number", 1),
    "columns in another order": lambda text: text.replace("split,metric", "metric,split", 1),
    "no line break at the end": lambda text: text[:-1],
    "half a line": lambda text: text[: len(text) - 40],
    "half a line in between": lambda text: text + "rotated_digits,half\n" + text.split("\n")[1],
    "half a line that ends well": lambda text: text + "rotated_digits,a set,a band,fine\n",
    "an open quote": lambda text: text.replace('"size', "size"),
    "a merge conflict": lambda text: text.replace("\nrot", "\n<<<<<<< HEAD\nrot", 1),
    "a blank line": lambda text: text + "\n",
    "a row twice": lambda text: text + text.split("\n")[1] + "\n",
    "no number": lambda text: text.replace("1.5", "fast"),
    "no finite number": lambda text: text.replace("1.5", "nan"),
    "an unknown split": lambda text: text.replace("forget", "forgotten"),
    "an unsourced figure": lambda text: text.rstrip("\n,") + ",3.5,\n",
    "a source for nothing": lambda text: text.rstrip("\n,") + ",,the paper\n",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_refused_and_left_as_it_is(path, make_row, damage):
    append_unit(path, [make_row()])
    damaged = damage(path.read_text())
    assert damaged != path.read_text()
    path.write_text(damaged)
    for attempt in (lambda: read_rows(path), lambda: append_unit(path, [make_row(seed="1")])):
        with pytest.raises(ValueError, match="is no whole result file: .*left as it is") as refused:
            attempt()
        assert len(str(refused.value).splitlines()) == 1
        assert path.read_text() == damaged


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00" * 64, b"PK\x03\x04"])
def test_bytes_that_are_no_text_are_refused(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no whole result file"):
        read_rows(path)


def test_a_folder_of_that_name_is_one_sentence(path):
    path.mkdir(parents=True)
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_rows(path)


WRONG = [
    {"value": ""},
    {"value": "inf"},
    {"value": "1.5 degrees"},
    {"seed": "-1"},
    {"seed": "one"},
    {"split": "train"},
    {"config": "two\nlines"},
    {"config": "one\r"},
    {"unit": None},
    {"published": "3.5"},
    {"source": "a paper"},
    {"published": "high", "source": "a paper"},
    {"extra": "column"},
]


@pytest.mark.parametrize("given", WRONG, ids=str)
def test_a_row_that_is_no_result_is_refused(path, make_row, given):
    with pytest.raises(ValueError, match="mae"):
        append_unit(path, [make_row(), make_row(**{"split": "retain"} | given)])
    assert not path.exists()


def test_rows_of_two_units_or_of_none_are_refused(path, make_row):
    for rows in ([], [make_row(), make_row(seed="1")]):
        with pytest.raises(ValueError, match="exactly one unit"):
            append_unit(path, rows)
    with pytest.raises(ValueError, match="mae of one unit and split twice"):
        append_unit(path, [make_row(), make_row()])


def test_a_row_knows_its_unit(make_row):
    assert unit_of(make_row()) == unit_of(make_row(value="3", split="", utc=""))
    assert unit_of(make_row()) != unit_of(make_row(config="size=small"))


PROGRAM = """
import sys
from minilearn.sweep import append_unit, read_rows
path, row = sys.argv[1], eval(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for seed in range(int(sys.argv[3]), 20, 2):
    append_unit(path, [row | {"seed": str(seed), "split": s} for s in ("forget", "retain")])
"""


def test_two_processes_at_once_lose_nothing(path, make_row):
    command = [sys.executable, "-c", PROGRAM, str(path), repr(make_row())]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([*command, first], **pipes) for first in "01"]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate()
        assert process.returncode == 0
    rows = read_rows(path)
    assert {(int(row["seed"]), row["split"]) for row in rows} == {
        (seed, split) for seed in range(20) for split in ("forget", "retain")
    }
    assert len(rows) == 40


# ---- the book's own rows

STORED = Path(__file__).parents[2] / "book" / "results"
# Without files of data, and not those whose older rows the pages name.
WHOLE = [(name, "toy") for name in ("coverage", "rotated_digits", "l2ul_digits", "laf_digits")]
WHOLE += [(f"audit_{name}", "toy") for name in ("mnist", "rotated", "null", "sources", "speed")]
WHOLE += [("speed", "toy"), ("audit_digits", "paper")]


@pytest.mark.parametrize("name, size", WHOLE)
def test_the_stored_rows_are_the_units_of_today(name, size):
    """So the command of the page measures nothing again, and no mean misses a seed."""
    units = units_of(name, Run(range(module_of(name).SEEDS), size=size))
    assert missing(name, units, STORED / f"{name}.csv") == []
    today = {unit_of(unit._texts(name)) for unit in units}
    rows = read_rows(STORED / f"{name}.csv")
    assert {unit_of(row) for row in rows if row["config"].startswith(f"size={size};")} == today


def test_the_stored_rows_of_mnist_hold_all_units_of_today(monkeypatch):
    part = Examples(torch.rand(40, 1, 28, 28), torch.arange(40) % 10)
    monkeypatch.setattr(data, "load", lambda name: data.Split(part, part))
    units = units_of("laf_mnist", Run(range(5), size="paper"))
    assert len(units) == 60 and missing("laf_mnist", units, STORED / "laf_mnist.csv") == []
