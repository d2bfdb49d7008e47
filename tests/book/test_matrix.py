"""The generated pages: verdicts follow from the rows, states from the files, hours from a count."""

import importlib
import re
import sys
from dataclasses import replace
from math import inf, isnan
from pathlib import Path

import pandas
import pytest
import torch
from torch import nn

from book.claims import CLAIMS, Claim
from book.experiments import NAMES, audit_digits, faces, operations
from book.experiments.papers import ROWS, row_of
from minilearn.data import Examples
from minilearn.requests import by_range
from minilearn.sweep import COLUMNS, append_unit, read_rows

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))  # as Sphinx does
matrix = importlib.import_module("matrix")
page = importlib.import_module("claims_page")
verdicts = importlib.import_module("verdicts")
TESTED = [claim for claim in CLAIMS if claim.method]
NOTHING = pandas.DataFrame(columns=[*COLUMNS, "size"])


def row(method, seed, value, claim, **given) -> dict:
    made = dict.fromkeys(COLUMNS, "") | {"experiment": claim.experiment, "dataset": "a set"}
    made |= {"request": claim.request, "method": method, "seed": str(seed), "split": claim.split}
    made |= {"metric": claim.metric, "value": value, "device": "a processor"}
    return made | {"config": f"size=paper; {claim.label}; x", "size": claim.size or "paper"} | given


def planted(claim: Claim, *quantities: float) -> pandas.DataFrame:
    """Rows whose quantity is one of these for every seed."""
    rows = []
    for seed, q in enumerate(quantities):
        own = {"value": q, "difference": 0.5 + q, "ratio": 2 * q, "nearer": 9 + q}[claim.how]
        other = {"value": 0.0, "difference": 0.5, "ratio": 2.0, "nearer": 9.0}[claim.how]
        rows.append(row(claim.method, seed, own, claim))
        if claim.other and (seed == 0 or not claim.base):
            about = {"request": claim.base, "config": f"size=paper; {claim.network}; x"}
            if not claim.base:
                about = {}
            rows.append(row(claim.other, seed, other, claim, **about))
        if claim.how == "nearer":
            rows.append(row("retrained", seed, 0.0, claim))
    return pandas.DataFrame(rows)


def verdict(claim: Claim, rows: pandas.DataFrame):
    """The only one."""
    (found,) = verdicts.verdicts(claim, rows)
    return found


@pytest.mark.parametrize("claim", TESTED, ids=lambda c: f"{c.words}, {c.experiment}, {c.request}")
def test_a_verdict_follows_from_the_rows(claim):
    bound, out = (claim.high, 0.01) if claim.high < inf else (claim.low, -0.01)
    inside, outside = bound - out, bound + out
    if -inf < claim.low and claim.high < inf:
        assert verdict(claim, planted(claim, *[claim.low - 0.01] * 3)).word == "not held"
    said = {
        "held": [(inside,) * 3, (inside, inside, inside + 1e-4)],
        "not held": [(outside,) * 3, (outside, outside, outside + 1e-4)],
        "cannot be told": [(inside, outside, inside), (inside,), (outside,)],
    }
    for word, cases in said.items():
        for quantities in cases:
            assert verdict(claim, planted(claim, *quantities)).word == word, quantities
    assert verdict(claim, NOTHING).word == "not measured"
    others = planted(claim, inside, inside).assign(method="another")
    assert verdict(claim, others).word == "not measured"


A = Claim("LAF", "a claim", "", 7, "x", "class", method="a", how="difference", other="b", low=0.0)


def test_seeds_are_paired_and_devices_are_not_mixed():
    rows = [row("a", seed, 1.0 + seed, A) for seed in (0, 1, 2)]
    rows += [row("b", seed, 0.5 + seed, A) for seed in (1, 2, 3)]
    found = verdict(A, pandas.DataFrame(rows))
    assert (found.word, found.seeds, found.mean) == ("held", 2, 0.5)
    rows = [row("a", seed, 1.0, A, device="one") for seed in (0, 1)]
    rows += [row("b", seed, 0.0, A, device="other") for seed in (0, 1)]
    assert verdict(A, pandas.DataFrame(rows)).word == "not measured"


def test_the_interval_is_students():
    found = verdict(A, planted(A, 0.1, 0.3, 0.2))
    half = 4.302653 * 0.1 / 3**0.5  # t of two degrees of freedom
    assert found.mean == pytest.approx(0.2) and found.half == pytest.approx(half, rel=1e-5)
    assert found.word == "cannot be told"


def test_every_setting_has_a_verdict_and_the_file_s_order_decides_nothing():
    rows = planted(A, 1.0, 1.0)
    tuned = rows[rows["method"] == "a"].assign(config="size=paper; ; x; a=A(lr=1.0, steps=2)")
    colder = tuned.assign(config="size=paper; ; x; a=A(lr=0.5, steps=2)", value=-1.0)
    parts = [rows[rows["method"] == "b"], tuned, colder]
    for order in (parts, parts[::-1]):
        found = verdicts.verdicts(A, pandas.concat(order))
        said = {one.setting: one.word for one in found}
        assert said == {"lr 1": "held", "lr 0.5": "not held"} and len(found) == 2
        assert all(one.setting in page.where_of(A, one) for one in found)


def test_both_temperatures_of_mnist_are_on_the_page():
    lines = [line for line in page.page().splitlines() if "laf\\_mnist, random" in line]
    for words in ("temperature 5, ", "temperature 2, "):
        assert len([line for line in lines if words in line]) == 2  # two claims
    assert len(lines) == 4


def test_a_run_is_compared_with_the_original_of_its_own_network():
    claim = replace(A, base="nothing", network="net", label="base")
    other = planted(claim, 1.0, 1.0)
    other = other[other["method"] == "b"].assign(config="size=paper; wide; x", value=9.0)
    found = verdict(claim, pandas.concat([other, planted(claim, 1.0, 1.0)]))
    assert (found.word, found.mean) == ("held", 1.0)


def test_a_seed_that_occurs_twice_is_refused():
    rows = planted(A, 1.0, 1.0)
    again = rows.assign(request="class 2")
    twice = "x: a has accuracy twice for seed 0, of class and of class 2"
    with pytest.raises(ValueError, match=twice):
        verdict(A, pandas.concat([rows, again]))


def test_each_band_of_the_faces_is_judged_alone():
    claims = [claim for claim in TESTED if claim.experiment == "agedb_allcnn"]
    ages = Examples(torch.zeros(3), torch.tensor([5.0, 40.0, 70.0]))
    young, old = (by_range(ages, *band).name for band in faces.BANDS["agedb"])
    assert {claim.request for claim in claims} == {young, old}
    assert len({(claim.words, claim.request) for claim in claims}) == len(claims)
    for claim in claims:
        if claim.words == "Blindspot keeps the error on what is retained":
            inside, outside = (
                planted(claim, q, q).assign(request=request)
                for q, request in ((1.0, young), (1.2, old))
            )
            word = "held" if claim.request == young else "not held"
            assert verdict(claim, pandas.concat([inside, outside])).word == word


def test_runs_that_overflowed_are_counted_and_hide_nothing():
    lost = [row("b", seed, 1.0, A, metric="overflowed", split="") for seed in (0, 1)]
    none_left = verdict(A, pandas.DataFrame(lost))
    assert (none_left.word, none_left.overflowed) == ("cannot be told", 2)
    assert page.seeds(none_left) == "2 overflowed" and page.number(none_left) == ""
    some = verdict(A, pandas.concat([planted(A, 0.5, 0.5), pandas.DataFrame(lost)]))
    assert page.seeds(some) == "2, 2 overflowed"


def test_every_claim_can_be_followed():
    there = page.labels()
    text = "".join(path.read_text("utf-8") for path in ROOT.glob("book/results_*.md"))
    for claim in CLAIMS:
        assert claim.experiment in ("", *NAMES) and bool(claim.method) == bool(claim.experiment)
        assert page.chapter(claim.chapter)
        if claim.experiment in there:
            assert f"({there[claim.experiment]})=" in text
        else:
            assert not claim.experiment or row_of(claim.experiment)
    assert {row.work for row in ROWS} == {claim.work for claim in CLAIMS}


def test_the_page_has_a_line_for_every_claim_and_set():
    found = verdicts.judged(matrix.measured)
    shown = page.page()
    for word in page.VERDICTS:
        count = sum(verdict.word == word for _, verdict in found)
        assert shown.count(f"| **{word}** |") == count
        assert count or word != "held"
    numbers = [page.number(verdict) for _, verdict in found if not isnan(verdict.mean)]
    assert all(number in shown for number in numbers)


def test_no_result_is_typed_into_the_pages():
    for name in ("matrix", "claims"):
        text = (ROOT / "book" / f"{name}.md").read_text("utf-8")
        assert not re.search(r"\d\.\d|^\|", text, re.M), name


# ---- the matrix


@pytest.fixture
def stored(tmp_path):
    """A function that stores rows of an experiment and returns the folder."""

    def store(experiment: str, *rows: dict) -> Path:
        for one in rows:
            kept = {c: str(one[c]) for c in COLUMNS}
            append_unit(tmp_path / f"{experiment}.csv", [kept | {"experiment": experiment}])
        return tmp_path

    return store


def lines(shown: str, experiment: str) -> list[str]:
    return [line for line in shown.splitlines() if f"| `{experiment}` |" in line]


def test_a_state_follows_from_the_files(stored):
    request = Claim("LAF", "", "", 7, request="class: class 0")
    rows = [row("laf", seed, 0.5, request) for seed in (0, 1)]
    made = [row("laf", 2, 0.5, request, dataset="made svhn")]
    folder = stored("laf_svhn", *rows, *made)
    toy = row("laf", 0, 0.5, request, config="size=toy; x", request="random: some")
    stored("laf_svhn", toy)
    stored("laf_cifar10", row("laf", 0, 0.5, request, dataset="made cifar10"))
    shown = matrix.matrix(folder)
    found = lines(shown, "laf_svhn")
    assert len(found) == 3
    assert "| a class | **measured**: a processor: 2 seeds, 2 runs |" in found[1]
    assert "reduced \\(size toy\\)" in found[0] or "reduced (size toy)" in found[0]
    assert "| wrong labels | not measured |" in found[2]
    (cifar,) = lines(shown, "laf_cifar10")
    assert "not measured" in cifar
    (faces,) = lines(shown, "agedb_allcnn")
    assert "data wanted: AgeDB/agedb.csv" in faces


def test_every_row_of_the_papers_is_in_both_tables():
    shown, costs = matrix.matrix(), matrix.costs()
    for one in ROWS:
        assert lines(shown, one.experiment) and f"| `{one.experiment}` |" in costs
        assert all(task in shown for task in one.tasks)
    assert set(operations.EXAMPLES) == {one.dataset for one in ROWS}


# ---- the count


def test_operations_are_those_by_hand():
    first, second = 28 * 28 * 16 * 25, 14 * 14 * 32 * 16 * 25
    linear = 1568 * 256 + 256 * 128 + 128 * 10
    assert operations.operations("laf_mnist") == 2 * (first + second + linear)
    recurrent = 2 * 10 * 4 * 64 * (300 + 64)  # two sentences of ten words
    linear = 128 * 64 + 64 * 32 + 32 * 16 + 16
    assert operations.operations("stsb") == 2 * (recurrent + linear)


def test_an_audit_is_counted_by_hand():
    """Convolutions of 1, 16 and 32 channels over 64 and 16 places, and the linear layers."""
    net = audit_digits.NETWORKS["small_cnn"]()
    linear = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Linear))
    each = 2 * (9 * 16 * 64 + 9 * 16 * 32 * 16 + linear)
    work, steps = operations.audit(64)
    assert work == each * 3 * (3 * 64) * 20 * 1347  # forward and back, of 192 models in 20 epochs
    assert steps == 12 * 20 * 22  # twelve stacks of 16, 22 batches


def test_units_are_those_of_the_ledger():
    rows = read_rows(ROOT / "book/results/laf_mnist.csv")

    def spent(method: str) -> float:
        chosen = [r for r in rows if r["metric"] == "samples" and r["method"] == method]
        first = {r["request"]: float(r["value"]) for r in reversed(chosen) if r["seed"] == "0"}
        return sum(first.values())  # of each task's first setting

    counted = operations.units(row_of("laf_mnist"))
    for part, method in (("originals", "original"), ("retrained",) * 2, ("unlearning", "laf")):
        assert counted[part] == pytest.approx(spent(method), rel=1e-3)


def test_hours_are_operations_times_units_over_speed(monkeypatch):
    one = row_of("laf_svhn")
    passes = sum(operations.units(one).values())
    expected = operations.operations(one.experiment) * passes / (8.1e12 / 3) / 3600
    assert operations.hours(one, "T4") == pytest.approx(expected)
    more = replace(one, dataset="cifar10")
    assert operations.hours(more, "T4") < operations.hours(one, "T4")
