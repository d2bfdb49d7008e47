"""The page of results: what a planted file is shown as, and what the stored files hold."""

import importlib.util
import re
import sys
from pathlib import Path

import pandas
import pytest

from book.experiments import KNOWN, MODULES, NAMES
from book.experiments.speed_l2ul import PASSES
from minilearn.methods import METHODS
from minilearn.metrics.report import t_half_width
from minilearn.sweep import COLUMNS, append_unit, read_rows

ROOT = Path(__file__).parents[2]
PAGES = "\n".join(path.read_text("utf-8") for path in sorted(ROOT.glob("book/results*.md")))
STORED = sorted((ROOT / "book" / "results").glob("*.csv"))
OTHERS = {"original", "retrained", "oracle", "blindspot_model", "reading", "evaluation"}
OTHERS |= {"neggrad_open", "l2ul_adv", "l2_pgd", "importance", "vmap(grad)"}
OTHERS |= {"reference", "compiled", "triton", "replayed", "published", "stored"}
OTHERS |= {f"{way}, replayed" for way in ("reference", "compiled", "triton")}
OTHERS |= {"correct_label", "laf_repair", "sisa", "laf_vaes", "laf_student"}
OTHERS |= {"interval", "range", "again", "bad_teacher_long", "amnesiac_long"}
OTHERS |= {"blindspot_fast", "laf_fast", "l2_pgd_fast", "l2ul_fast"}

sys.path.insert(0, str(ROOT / "book" / "_ext"))  # as Sphinx does
_spec = importlib.util.spec_from_file_location("results_page", ROOT / "book/_ext/results.py")
page = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(page)
headlines = importlib.import_module("headlines")
pictures = importlib.import_module("pictures")


def row(method="original", seed=0, value=1.0, **given) -> dict[str, str]:
    made = dict.fromkeys(COLUMNS, "")
    made |= {"experiment": "stsb", "dataset": "a_set", "request": "a band [0, 2)"}
    made |= {"split": "test_forget", "metric": "mse", "unit": "points", "config": "size=toy; lr=1"}
    made |= {"device": "A Processor(R), 1 thread", "torch": "2.8.0+cpu", "minilearn": "0.1.0"}
    made |= {"commit": "abc1234", "utc": f"2026-01-0{seed + 1}T00:00:00Z", "command": "python -m x"}
    return made | {"method": method, "seed": str(seed), "value": str(value)} | given


@pytest.fixture
def planted(tmp_path):
    """A function that plants rows in a file and returns what the page shows of it."""

    def plant(*rows: dict) -> str:
        units = {}
        for one in rows:
            units.setdefault((one["method"], one["seed"], one["config"], one["dataset"]), [])
            units[one["method"], one["seed"], one["config"], one["dataset"]].append(one)
        for unit in units.values():
            append_unit(tmp_path / "stsb.csv", unit)
        return page.markdown("stsb", tmp_path)

    return plant


def cells(shown: str) -> list[list[str]]:
    """The cells of every table's lines, without the rules."""
    lines = [line for line in shown.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_without_a_file_it_says_how_to_make_one(tmp_path):
    shown = page.markdown("speed", tmp_path)
    assert "not been measured yet" in shown and "python -m book.experiments speed" in shown


def test_a_cell_is_the_mean_and_half_of_its_interval(planted):
    values = [1.0, 2.0, 6.0]
    shown = planted(*(row(seed=i, value=v) for i, v in enumerate(values)))
    ((_, line),) = [cells(shown)]
    assert line[:2] == ["`original`", "3"]
    mean, half = (float(number) for number in line[2].split("\u00a0±\u00a0"))
    assert mean == pytest.approx(3.0)
    assert half == pytest.approx(t_half_width(values), abs=0.01)
    assert "95 % interval over seeds" in shown


def test_kernels_share_one_table(tmp_path):
    given = {"experiment": "kernels", "dataset": "cosine", "request": "32 rows", "split": ""}
    for seed in range(2):
        for way, ms in (("reference", 4), ("compiled", 2)):
            one = {"metric": "ratio", "unit": "x", "value": str(4 / ms + seed)}
            rows = [given | one, given | {"metric": "seconds", "unit": "s", "value": str(ms / 1e3)}]
            rows.append(given | {"metric": "bandwidth", "unit": "of a copy", "value": "0.25"})
            rows.append(given | {"metric": "launches", "unit": "launches", "value": "27"})
            append_unit(tmp_path / "kernels.csv", [row(way, seed, **r) for r in rows])
    ((*_, case, plain, launches, compiled),) = cells(page.markdown("kernels", tmp_path))[1:]
    assert (case, plain, launches) == ("`cosine` 32 rows", "4", "27")
    assert compiled.startswith("2.5") and compiled.endswith("(25%)")
    assert "not been measured" in page.markdown("kernels", tmp_path / "none")


def test_a_kernel_that_was_deleted_keeps_its_rows_in_a_table_of_its_own(tmp_path):
    given = {"experiment": "kernels", "request": "32 rows", "split": "", "unit": "-"}
    values = {"ratio": 1, "seconds": 0.004, "launches": 27}
    for name in ("anchored", "cosine"):
        rows = [given | {"dataset": name, "metric": m} for m in values]
        rows = [row("reference", 0, values[r["metric"]], **r) for r in rows]
        append_unit(tmp_path / "kernels.csv", rows)
    shown = page.markdown("kernels", tmp_path)
    ours, deleted = shown.split("kernels that are no longer in the package")
    assert cells(ours)[1:] == [["`cosine` 32 rows", "4", "27"]]
    assert cells(deleted)[1:] == [["`anchored` 32 rows", "4", "27"]]


def test_coverage_is_shown_beside_the_level(tmp_path):
    given = {"experiment": "coverage", "metric": "accuracy", "split": "test"}
    given |= {"unit": "share inside, of 200"}
    for ruler, more, k, share in (
        *(("interval", 1, k, 0.9 + k / 100) for k in (2, 10)),
        ("interval", 5, 10, 0.93),
        ("range", 1, 2, 0.305),
    ):
        config = f"size=toy; k={k}; more={more}; 200 groups"
        append_unit(tmp_path / "coverage.csv", [row(ruler, 0, share, config=config, **given)])
    shown = page.markdown("coverage", tmp_path)
    assert cells(shown) == [
        ["metric", "ruler", "2 retrained", "10 retrained"],
        ["`accuracy` on `test`", "interval, one more", "92%", "100%"],
        ["`accuracy` on `test`", "interval, mean of 5 more", "", "93%"],
        ["`accuracy` on `test`", "range, one more", "30%", ""],
    ]
    assert "level 95 %" in shown and "is uncertain by 3 points" in shown


def test_one_seed_has_no_interval(planted):
    shown = planted(row(value=1.5))
    assert cells(shown)[1] == ["`original`", "1", "1.500"] and "One seed: no interval" in shown


def test_what_ran_inside_fast_has_a_table_of_its_own(planted):
    shown = planted(row(value=1), row(value=9, config="size=toy; lr=1; inside fast"))
    lines = [line for line in cells(shown) if line[0] != "method"]
    assert lines == [["`original`", "1", "1.000"], ["`original`", "1", "9.000"]]
    assert "size toy\n" in shown and "size toy, inside fast\n" in shown


def test_methods_are_rows_and_splits_are_columns(planted):
    shown = planted(
        *(
            row(m, split=s, value=v)
            for m in ("original", "finetune")
            for s, v in (("forget", 1), ("test_retain", 2))
        ),
    )
    head, *lines = cells(shown)
    assert head == ["method", "seeds", "`forget`", "`test_retain`"] and "`mse` (points)" in shown
    assert lines == [["`original`", "1", "1.000", "2.000"], ["`finetune`", "1", "1.000", "2.000"]]


def test_metrics_of_one_split_share_a_table(planted):
    shown = planted(
        row(split="forget"),
        row(),
        row(split="forget", metric="wasserstein"),
        row(split="", metric="seconds", unit="s", value=2),
    )
    heads = [line for line in cells(shown) if line[0] == "method"]
    assert heads == [
        ["method", "seeds", "`forget`", "`test_forget`"],
        ["method", "seeds", "`wasserstein` on `forget` (points)", "`seconds` (s)"],
    ]


def test_a_published_figure_enters_no_mean(planted):
    figure = {"published": "100", "source": "a notebook, one run"}
    rows = [row(seed=s, value=s, split=t) for s in (1, 2) for t in ("forget", "retain")]
    bare = planted(*(one | {"config": "size=toy; other"} for one in rows))
    assert "published" not in bare.lower()
    rows = [one | figure if one["split"] == "retain" else one for one in rows]
    rows.append(row("finetune", split="retain", value=7))
    shown = planted(*(one | {"dataset": "another"} for one in rows))
    tail = cells(shown[shown.index("another") :])
    assert tail[0] == ["method", "seeds", "`forget`", "`retain`", "`retain`, published"]
    assert tail[1][3].startswith("1.5") and tail[1][4] == "100"
    assert tail[2] == ["`finetune`", "1", "", "7.000", ""]
    assert shown.count("Published, not measured here: a notebook, one run.") == 1


def test_what_differs_is_not_mixed(planted):
    planted(row(seed=0, value=1), row(seed=1, value=3, device="Another"))
    planted(row(seed=0, value=5, config="size=small; lr=1"))
    shown = planted(row(seed=0, value=7, config="size=toy; lr=2"))
    lines = [line for line in cells(shown) if line[0] != "method"]
    assert lines == [
        ["`original, lr 1`", "1", "1.000"],
        ["`original, lr 2`", "1", "7.000"],
        ["`original`", "1", "3.000"],
        ["`original`", "1", "5.000"],
    ]
    assert "lr=2" in shown and shown.count("<summary>Settings</summary>") == 3


def test_the_origin_stands_beneath(planted):
    shown = planted(row(seed=1), row(seed=0, triton="3.4.0", command="python -m y"))
    for part in (
        "A Processor\\(R\\), 1 thread",
        "PyTorch 2.8.0\\+cpu",
        "Triton 3.4.0",
        "minilearn 0.1.0",
        "commit abc1234",
        "from 2026-01-01T00:00:00Z to 2026-01-02T00:00:00Z",
        "`python -m x`, `python -m y`",
    ):
        assert part in shown
    assert "commit" not in page.origin(pandas.DataFrame([row(commit="")]))


def test_no_text_of_a_file_is_markup(planted):
    shown = planted(row(unit="a|b", request="<b>*x*</b> $1$ [y](z)", config="size=toy; {a} `b`"))
    assert "\\<b\\>\\*x\\*\\</b\\> \\$1\\$ \\[y\\]\\(z\\)" in shown
    assert "a\\|b" in shown and "\\{a\\} \\`b\\`" in shown
    assert len({len(line) for line in cells(shown)}) == 1
    shown = planted(*(row(config=f"size=toy; `b`|c={n}", dataset="other") for n in (1, 2)))
    names = [line[0] for line in cells(shown[shown.index("other") :])]
    assert names == ["method", "`original, c 1`", "`original, c 2`"]


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "stsb.csv").write_text("half a li")
    with pytest.raises(ValueError, match="is no whole result file"):
        page.markdown("stsb", tmp_path)


def test_the_page_shows_every_experiment():
    assert sorted(re.findall(r"```\{results\} (\w+)", PAGES)) == sorted(
        name for name, module in MODULES.items() if name == module or name == "laf_cifar10"
    )


def test_stored_files_are_of_known_experiments():
    assert {path.stem for path in STORED} <= set(NAMES)


def test_every_stored_number_says_where_it_comes_from():
    # reading refuses an unknown split, and a figure without its source
    for path, one in ((file, row) for file in STORED for row in read_rows(file)):
        assert one["experiment"] == path.stem
        assert one["method"] in METHODS or one["method"] in OTHERS or one["method"] in PASSES
        empty = [c for c in COLUMNS if not one[c]]
        allowed = {"split", "triton", "commit", "published", "source"}
        assert set(empty) <= allowed, f"without {empty}: {one}"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", one["utc"])
        assert one["metric"] in KNOWN
        # measured before the experiments moved, or after
        started = r"(MINILEARN_KERNELS=\w+ )?python -m (minilearn|book)\.experiments"
        assert re.match(rf"{started} {path.stem} ", one["command"])
        assert one["config"].startswith("size=") and not re.search(r"(^|[\s=])/\w", one["config"])


# ---- a sweep


def swept(tmp_path, *rows: dict) -> list[str]:
    units = {}
    for one in rows:
        key = tuple(one[c] for c in ("request", "method", "seed", "config", "device"))
        units.setdefault(key, []).append({c: one[c] for c in COLUMNS})
    for unit in units.values():
        append_unit(tmp_path / "l2ul_digits.csv", unit)
    return page.swept("l2ul_digits", tmp_path)


def accuracy(method: str, label: str, test: float, left: float, seed: int = 0, **given) -> list:
    about = {"metric": "accuracy", "unit": "fraction", "request": "4 random items"} | given
    about |= {"config": f"size=toy; {label}; L2UL(attack=PGD(eps=2.0), lr=0.1)"}
    return [
        row(method, seed, value, split=split, **about)
        for split, value in (("test", test), ("forget", left))
    ]


def test_a_sweep_is_shown_by_what_was_asked_and_by_what_was_changed(tmp_path):
    rows = [
        *accuracy("original", "small_cnn", 0.97, 1.0, request="nothing"),
        *(r for s in (0, 1) for r in accuracy("l2ul", "base", 0.8 + 0.1 * s, 0.25, s)),
        *accuracy("neggrad", "base", 0.1, 0.0),
        *accuracy("l2ul", "eps 10.0", 0.5, 0.0),
        *accuracy("l2ul", "eps 9.0", 0.6, 0.5),
        *accuracy("l2ul", "lr 0.2", 0.4, 0.0),
        *accuracy("l2ul", "push all, eps 4.0, lr 0.001", 0.3, 0.0),
    ]
    parts = swept(tmp_path, *rows)
    assert "The original's test accuracy: small_cnn 97\u00a0(100)." in parts[0]
    head, line = cells(parts[1])
    assert head == ["items", "seeds", "NegGrad", "ADV + IMP"]
    half = 100 * t_half_width([0.8, 0.9])
    assert line[:3] == ["4\u00a0random\u00a0items", "1-2", "10\u00a0(0)"]
    assert line[3] == f"85\u00a0±\u00a0{half:.0f}\u00a0(25)"
    changed = [line[0] for line in cells(parts[3])]
    assert changed == [
        "changed",
        "nothing",
        "eps 9.0",
        "eps 10.0",
        "lr 0.2",
        "push all, eps 4.0, lr 0.001",
    ]
    assert "radius: ADV + IMP, test accuracy: 0.85 at 2, 0.6 at 9, 0.5 at 10" in parts[4].alt
    assert "learning rate: ADV + IMP, share of items left: 0.25 at 0.1, 0 at 0.2" in parts[4].alt
    assert "Measured on" in parts[5] and len(parts) == 6


def test_a_sweep_has_its_intervals(tmp_path):
    rows = [r for s in (0, 1) for r in accuracy("l2ul", "base", 0.8 + 0.1 * s, 0.25, s)]
    rows += accuracy("l2ul", "lr 0.2", 0.4, 0.0)
    figure = swept(tmp_path, *rows)[4].figure
    (errorbars,) = figure.axes[1].containers  # test accuracy against the learning rate
    halves = [(high - low) / 2 for (_, low), (_, high) in errorbars.lines[2][0].get_segments()]
    assert halves == pytest.approx([t_half_width([0.8, 0.9]), 0])


def test_a_run_that_overflowed_is_counted(tmp_path):
    lost = row("neggrad", 1, 1, metric="overflowed", split="", request="4 random items",
               config="size=toy; base; L2UL")  # fmt: skip
    parts = swept(tmp_path, *accuracy("neggrad", "base", 0.1, 0.0), lost)
    assert cells(parts[1])[1][2] == "10\u00a0(0)<br>1\u00a0overflowed"


def test_devices_are_not_mixed_in_a_sweep_and_no_file_says_so(tmp_path):
    assert "not been measured yet" in page.swept("l2ul_digits", tmp_path)[0]
    one, other = (accuracy("l2ul", "base", 0.5, 0.0, s, device=d) for s, d in enumerate("AB"))
    parts = swept(tmp_path, *one, *other)
    assert sum(part.startswith("| items") for part in parts) == 2


# ---- what stands first


def first(name: str):
    return headlines.headline(name, page.rows_of(name, page.FOLDER))


@pytest.mark.parametrize("name", [path.stem for path in STORED])
def test_what_stands_first_is_short(name):
    picture, shown = first(name)
    assert 1 < len(cells(shown)) <= 1 + headlines.MOST
    assert len({len(line) for line in cells(shown)}) == 1
    assert 100 < len(picture.alt) < 1600 and len(picture.caption) < 250
    assert "nan" not in picture.alt + shown


def test_the_picture_and_the_table_show_the_planted_numbers(tmp_path):
    given = {"experiment": "stsb", "unit": "points"}
    numbers = {"original": (1, 2), "retrained": (5, 7), "blindspot": (5.5, 6.5)}
    for method, values in numbers.items():
        for seed, value in enumerate(values):
            unit = [row(method, seed, value, split="forget", **given)]
            unit += [row(method, seed, 9, split="test_retain", **given)]
            for metric in ("wasserstein", "paired_difference"):
                unit.append(row(method, seed, 0.25, split="forget", metric=metric, **given))
            unit.append(row(method, seed, 100, split="", metric="samples", **given))
            append_unit(tmp_path / "stsb.csv", unit)
    picture, shown = headlines.errors(page.rows_of("stsb", tmp_path), "mse")
    assert "On the forget set: original 1.5; retrained 6; blindspot 6." in picture.alt
    assert [line[0] for line in cells(shown)[1:]] == [f"`{method}`" for method in numbers]
    mean, half = (float(number) for number in cells(shown)[2][1].split("\u00a0±\u00a0"))
    assert mean == 6 and half == pytest.approx(t_half_width([5, 7]), abs=0.01)
    left = picture.figure.axes[0]
    means = [bar.lines[0].get_xdata()[0] for bar in left.containers]
    assert means == [1.5, 6.0, 6.0]
    assert [label.get_text() for label in left.get_yticklabels()] == [*numbers]


def laf_rows(tmp_path, **by_method: tuple[float, ...]) -> pandas.DataFrame:
    given = {"experiment": "laf_digits", "metric": "accuracy", "unit": "fraction"}
    for method, values in by_method.items():
        for seed, value in enumerate(values):
            about = given | {"request": "class: class 0"}
            splits = ("test_forget", "test_retain")
            unit = [row(method, seed, value, split=split, **about) for split in splits]
            append_unit(tmp_path / "laf_digits.csv", unit)
    return page.rows_of("laf_digits", tmp_path)


def test_a_gap_is_taken_seed_by_seed(tmp_path):
    rows = laf_rows(tmp_path, retrained=(0.5, 0.7), laf=(0.6, 0.8))
    picture, shown = headlines.laf(rows)
    assert picture.alt.count("laf 10") == 2  # both parts of the data
    ((_, *caps, bar), *_) = [c.lines for c in picture.figure.axes[0].containers]
    (segment,) = bar[0].get_segments()
    assert segment[:, 0] == pytest.approx([10, 10])  # no spread, though both accuracies have one
    assert cells(shown)[1][1].startswith("60.0\u00a0±\u00a0")


def test_every_setting_of_a_method_has_a_line_whichever_stands_first(tmp_path):
    rows = laf_rows(tmp_path, retrained=(0.5, 0.5), laf=(0.6, 0.6), scrub=(0.7, 0.7))
    colder = rows[rows["method"] == "laf"].assign(config="size=toy; lr=2.0", value=0.2)
    for order in ([rows, colder], [colder, rows]):
        both = pandas.concat(order, ignore_index=True)
        picture, shown = headlines.laf(both)
        lines = {line[0]: line[1].split("\u00a0")[0] for line in cells(shown)[1:]}
        expected = {"`laf, lr 1`": "60.0", "`laf, lr 2`": "20.0", "`scrub`": "70.0"}
        assert lines == {"`retrained`": "50.0"} | expected
        assert "laf, lr 1 10; laf, lr 2 -30; scrub 20" in picture.alt
        asked = "accuracy", "test_retain"
        assert headlines.measured(both, "class", "laf, lr 2", *asked).startswith("20.0")
        with pytest.raises(ValueError, match="of laf for .*: there are .*laf, lr 1"):
            headlines.measured(both, "class", "laf", *asked)


def test_a_number_in_a_sentence_is_the_rows(tmp_path):
    rows = laf_rows(tmp_path, retrained=(0.5, 0.7), laf=(0.6, 0.8))
    half = 100 * t_half_width([0.6, 0.8])
    said = headlines.measured(rows, "class", "laf", "accuracy", "test_retain")
    assert said == f"70.0\u00a0±\u00a0{half:.1f}\u00a0%"
    for missing in (("class", "scrub"), ("noisy", "laf")):
        with pytest.raises(ValueError, match=r"no accuracy on 'test_retain' of"):
            headlines.measured(rows, *missing, "accuracy", "test_retain")


def audited(method: str, weak: float, strong: float, apart: float) -> list[dict]:
    given = {"experiment": "audit_rotated", "request": "items: half", "unit": "area"}
    numbers = {("ulira", "forget"): strong, ("loss_attack_auc", ""): weak}
    numbers |= {("paired_difference", "forget"): apart}
    if method == "retrained":
        numbers = {("loss_attack_auc", ""): weak}
    return [row(method, value=v, metric=m, split=s, **given) for (m, s), v in numbers.items()]


def test_ranks_are_compared_without_retrained_models(tmp_path):
    """Planted: the weak attack's distances are in order of the strong one's, the others turned."""
    planted = {"again": (0.9, 0.5, 0.0), "retrained": (0.3, 0, 0)}
    planted |= {"original": (0.5, 0.9, 1.0), "finetune": (0.2, 0.8, 2.0)}
    planted |= {"scrub": (0.35, 0.6, 3.0), "boundary": (0.31, 0.55, 4.0), "laf": (0.3, 0.54, 5.0)}
    for method, numbers in planted.items():
        append_unit(tmp_path / "audit_rotated.csv", audited(method, *numbers))
    audits = importlib.import_module("audits")
    found = cells(audits.ranks(page.rows_of("audit_rotated", tmp_path)))
    assert found[1:] == [
        ["items: half", "`loss_attack_auc`", "5", "1.00"],
        ["items: half", "`paired_difference`", "5", "-1.00"],
    ]
    append_unit(tmp_path / "audit_rotated.csv", audited("neggrad", 0.301, 0.99, 6.0))
    rho = cells(audits.ranks(page.rows_of("audit_rotated", tmp_path)))[1][3]
    middle, low, high = (float(part) for part in re.findall(r"-?\d\.\d\d", rho))
    assert -1 < low < middle < high < 1
    assert middle == pytest.approx(1 - 6 * 20 / 210, abs=0.005)  # one is last instead of second


def test_null_audits_are_counted_by_their_intervals(tmp_path):
    ends = [(0.45, 0.5, 0.55), (0.51, 0.52, 0.53), (0.4, 0.48, 0.5)]
    for seed, numbers in enumerate(ends):
        given = {"experiment": "audit_null", "unit": "area"}
        names = ("ulira_low", "ulira", "ulira_high")
        unit = [
            row("again", seed, value, metric=name, split=split, **given)
            for split in ("forget", "test")
            for name, value in zip(names, numbers, strict=True)
        ]
        append_unit(tmp_path / "audit_null.csv", unit)
    picture, shown = headlines.headline("audit_null", page.rows_of("audit_null", tmp_path))
    assert cells(shown)[1][:3] == ["candidates", "3", "0.500"]
    assert cells(shown)[1][4:] == ["0.48 to 0.52", "2 of 3"]
    assert "At unseen digits 2 of 3 intervals hold one half" in picture.alt


def test_sources_of_spread_are_shown_with_what_to_run(tmp_path):
    shares = {"draw": 0.7, "training_seed": 0.2, "unlearning_seed": 0.1}
    for number in ("accuracy on forget", "accuracy on test", "loss_attack_auc"):
        for method, draws in (("finetune", 14), ("scrub", 9)):
            given = {"experiment": "audit_sources", "request": number, "split": ""}
            unit = [row(method, value=0.05, metric="spread", **given)]
            for place, (stage, share) in enumerate(shares.items()):
                unit.append(row(method, value=share, metric=f"share_{stage}", **given))
                runs = {"value": draws if not place else 1, "unit": "for 40 trainings"}
                unit.append(row(method, metric=f"runs_{stage}", **given | runs))
            append_unit(tmp_path / "audit_sources.csv", unit)
    rows = page.rows_of("audit_sources", tmp_path)
    picture, shown = headlines.headline("audit_sources", rows)
    assert cells(shown)[1] == ["`finetune`", *["0.050", "70% / 20% / 10%", "14 x 1 x 1"] * 2]
    assert "for the price of 40 trainings" in shown
    assert "loss_attack_auc, the share of the draw: finetune 70%, scrub 70%" in picture.alt
    bars = picture.figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx([0.7, 0.7, 0.2, 0.2, 0.1, 0.1])
    assert [bar.get_x() for bar in bars] == pytest.approx([0, 0, 0.7, 0.7, 0.9, 0.9])


def test_widths_stand_beside_their_originals(tmp_path):
    kept = {0.125: (0.8, 0.25), 0.25: (0.85, 0.5)}
    for width, (test, left) in kept.items():
        given = {"experiment": "l2ul_width", "dataset": "cifar10", "metric": "accuracy"}
        where = f"cifar10; cpu; resnet18, width {width}; original=Training(30)"
        config = {"config": f"size=toy; original; {where}", "request": "nothing"}
        unit = [row("original", value=test + 0.1, split="test", **given | config)]
        append_unit(tmp_path / "l2ul_width.csv", unit)
        for method in ("neggrad", "l2ul"):
            for label in ("base", "as released"):
                config = {
                    "config": f"size=toy; {label}; {where}; L2UL()",
                    "request": "16 random items",
                }
                numbers = {"test": test - 0.5 * (method == "neggrad"), "forget": left}
                parts = [
                    row(method, value=v, split=k, **given | config) for k, v in numbers.items()
                ]
                append_unit(tmp_path / "l2ul_width.csv", parts)
    picture, shown = headlines.headline("l2ul_width", page.rows_of("l2ul_width", tmp_path))
    found = [[cell.replace("\u00a0", " ") for cell in line] for line in cells(shown)]
    assert found[0] == ["width", "original", "settings", "NegGrad", "ADV + IMP"]
    assert found[1] == ["0.125", "90", "our settings", "30 (25)", "80 (25)"]
    assert found[4] == ["0.25", "95", "as released", "35 (50)", "85 (50)"]
    assert "our settings, test accuracy: 0.8 at 0.125, 0.85 at 0.25." in picture.alt


def test_no_result_is_typed_into_the_sentences():
    aside = r"```.*?```|^## How to read.*?(?=^# )|\{measured\}`[^`]*`"
    shown = re.sub(aside, "", PAGES, flags=re.S | re.M)
    assert len(shown.split()) > 1000 and not re.search(r"\d\s*%|\d\.\d", shown)
    blocks = len(re.findall(r"```\{results\}", PAGES))
    assert blocks == PAGES.count("\n```\n") - PAGES.count("```bash")


BLOCKS = re.findall(r"```\{results\} (\w+)( sweep)?", PAGES)


@pytest.mark.parametrize("name, sweep", BLOCKS, ids=[name for name, _ in BLOCKS])
def test_every_block_of_the_page_can_be_drawn(name, sweep):
    """From the stored rows, as the build does."""
    rows = page.rows_of(name, page.FOLDER)
    picture, lines = headlines.headline(name, rows)
    assert picture.alt and "|" in str(lines)
    parts = page.swept(name) if sweep else [page.markdown(name)]
    assert parts and all(parts)
