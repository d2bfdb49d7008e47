"""What the page of results says, held against the rows, with margins."""

from functools import cache
from pathlib import Path
from statistics import mean

import pandas
import pytest

from minilearn.kernels import NAMES
from minilearn.methods import METHODS
from minilearn.metrics import METRICS
from minilearn.metrics.report import t_half_width
from minilearn.sweep import read_rows

RESULTS = Path(__file__).parents[2] / "book" / "results"
TASKS = ("random", "class", "noisy")
rows_in = cache(read_rows)  # a file is read once


def reader(name: str, setting: str = ""):
    """A function that gives the mean over seeds of a metric, by task and method.

    `setting` is in the config that is meant, where a method has several.
    """
    rows = rows_in(RESULTS / f"{name}.csv")

    def value(task: str, method: str, split: str = "", metric: str = "accuracy") -> float:
        values = {}
        for row in rows:
            asked = (row["method"], row["split"], row["metric"]) == (method, split, metric)
            if row["request"].startswith(task) and asked:
                values.setdefault(row["config"], []).append(float(row["value"]))
        if len(values) > 1:
            values = {config: own for config, own in values.items() if setting in config}
        (own,) = values.values()
        return mean(own)

    return value


def regained(value, method: str) -> float:
    """The share of the test accuracy lost to wrong labels that a method brings back."""
    low, high = (value("noisy", name, "test") for name in ("original", "retrained"))
    return (value("noisy", method, "test") - low) / (high - low)


def test_every_task_and_seed_is_there():
    for name, seeds in (("laf_digits", 5), ("laf_mnist", 5), ("laf_fashion", 5)):
        rows = rows_in(RESULTS / f"{name}.csv")
        for task in TASKS:
            for method in ("original", "retrained", "laf", "laf_repair"):
                those = [r for r in rows if r["request"].startswith(task) and r["method"] == method]
                assert len({row["seed"] for row in those}) >= seeds


def test_digits():
    value = reader("laf_digits")
    assert value("class", "laf", "test_forget") == 0
    assert value("class", "laf", "test_retain") > value("class", "retrained", "test_retain") - 0.02
    assert 0.4 < regained(value, "laf") < 0.6
    assert 0.65 < regained(value, "laf_repair") < 0.85
    assert abs(regained(value, "scrub") - regained(value, "laf_repair")) < 0.15
    assert regained(value, "finetune") > 0.95
    for other in ("laf", "laf_repair", "scrub", "sisa"):
        assert regained(value, "finetune") > regained(value, other) + 0.05
    assert abs(value("noisy", "sisa", "test") - value("noisy", "laf", "test")) < 0.03
    assert value("noisy", "sisa", "forget") < value("noisy", "laf", "forget")
    for other in ("neggrad", "boundary", "bad_teacher", "unrolling"):
        assert value("noisy", other, "test") < value("noisy", "laf", "test") - 0.05
    items = [value("random", name, "forget") for name in ("retrained", "laf", "original")]
    assert items == sorted(items)
    for task in ("random", "class"):
        for name in ("original", "laf", "retrained"):
            assert value(task, name, "forget", "asr") == pytest.approx(0.5, abs=0.05)
    attack = [value("noisy", name, "forget", "asr") for name in ("original", "laf", "retrained")]
    assert attack[0] < 0.4 and 0.6 < (attack[1] - attack[0]) / (attack[2] - attack[0]) < 1
    cost = {
        (task, unit): value(task, "laf", "", unit) / value(task, "retrained", "", unit)
        for task in TASKS
        for unit in ("samples", "seconds")
    }
    assert cost["class", "samples"] == pytest.approx(0.5, abs=0.05)
    assert cost["random", "samples"] == pytest.approx(1, abs=0.1)
    assert cost["random", "seconds"] == pytest.approx(1, abs=0.1)
    assert cost["noisy", "samples"] > 1.7 and cost["noisy", "seconds"] > 1.7
    assert 0.7 < cost["class", "seconds"] < 1


def test_the_published_attack_moves_towards_retraining_on_digits():
    value = reader("laf_digits")
    for task in TASKS:
        far = [
            abs(
                value(task, name, "forget", "asr_published")
                - value(task, "retrained", "forget", "asr_published")
            )
            for name in ("original", "laf")
        ]
        assert far[1] < far[0]


def test_mnist():
    value = reader("laf_mnist", "temperature=5.0,")
    for method in ("laf", "laf_repair"):  # the published claim, with its margins
        assert value("class", method, "test_forget") < 0.05
        lost = value("class", "retrained", "test_retain") - value("class", method, "test_retain")
        assert 0 < lost < 0.015
    start, end = (value("random", name, "forget") for name in ("original", "retrained"))
    assert start - value("random", "laf", "forget") < 0.25 * (start - end)
    assert 0.4 < (start - value("random", "laf_repair", "forget")) / (start - end) < 0.65
    assert 0.3 < regained(value, "laf") < 0.5
    assert 0.75 < regained(value, "laf_repair") < 0.9
    attack = {
        name: value("noisy", name, "forget", "asr_published")
        for name in ("original", "laf", "laf_repair", "retrained")
    }
    assert attack["laf"] - attack["original"] < 0.01
    assert attack["laf_repair"] - attack["original"] < 0.2 * (
        attack["retrained"] - attack["original"]
    )
    low, high = (value("class", name, "forget", "asr_published") for name in ("laf", "laf_repair"))
    assert low < high < value("class", "retrained", "forget", "asr_published")


def test_the_temperature_that_the_paper_prints_ruins_the_model_on_mnist():
    rows = [r for r in rows_in(RESULTS / "laf_mnist.csv") if r["request"].startswith("random")]

    def values(method: str, split: str, temperature: str) -> list[float]:
        return [
            float(row["value"])
            for row in rows
            if (row["method"], row["split"], row["metric"]) == (method, split, "accuracy")
            and f"temperature={temperature}," in row["config"]
        ]

    for split in ("forget", "test"):
        assert len(values("laf", split, "5.0")) == 3 and min(values("laf", split, "5.0")) > 0.98
    assert len(values("laf", "test", "2.0")) == 5 and max(values("laf", "forget", "2.0")) < 0.3
    assert min(values("laf", "test", "2.0")) > 0.5 and max(values("laf", "test", "2.0")) < 0.65
    assert 0.85 < mean(values("laf_repair", "test", "2.0")) < 0.88


def test_fashion_mnist():
    value = reader("laf_fashion")
    assert value("class", "laf_repair", "test_forget") < 0.001
    lost = value("class", "retrained", "test_retain") - value("class", "laf_repair", "test_retain")
    assert 0.02 < lost < 0.03
    items = [value("random", name, "forget") for name in ("retrained", "laf_repair", "laf")]
    assert items == sorted(items) and items[2] < value("random", "original", "forget") - 0.03
    for split in ("retain", "test"):
        worse = value("random", "original", split) - value("random", "laf", split)
        assert worse == pytest.approx(0.02, abs=0.006)
    assert 0.15 < regained(value, "laf") < 0.3
    assert 0.65 < regained(value, "laf_repair") < 0.75
    for metric in ("asr_published", "asr"):
        start, end = (value("noisy", name, "forget", metric) for name in ("original", "retrained"))
        for method in ("laf", "laf_repair"):
            assert 0.4 < (value("noisy", method, "forget", metric) - start) / (end - start) < 0.65
            assert abs(value("class", method, "forget", "asr") - 0.5) < 0.01
        left = value("random", "laf", "forget", metric)
        assert left < value("random", "original", "forget", metric) - 0.02
        assert left < value("random", "retrained", "forget", metric) - 0.02
    published = [value("class", name, "forget", "asr_published") for name in ("laf", "laf_repair")]
    assert max(published) < value("class", "retrained", "forget", "asr_published") - 0.03


def test_speed_of_laf():
    rows = [r for r in rows_in(RESULTS / "speed.csv") if r["metric"] == "ratio"]

    def ratios(data: str, method: str) -> list[float]:
        return [float(r["value"]) for r in rows if (r["dataset"], r["method"]) == (data, method)]

    digits, inside = ratios("digits", "laf"), ratios("digits", "laf_fast")
    assert min(digits) > 2 and max(digits) < 2.5
    assert mean(inside) > 3 > min(inside)
    assert max(digits) < max(ratios("mnist", "laf")) < 3 < min(ratios("mnist", "laf_fast"))


def test_no_method_takes_more_than_a_tenth_on_top_of_its_passes():
    rows = [r for r in rows_in(RESULTS / "speed.csv") if r["metric"] == "overhead"]
    methods = {row["method"] for row in rows}
    assert methods == set(METHODS) - {"unrolling"}  # which has no loop
    for method in methods:
        overheads = [float(row["value"]) for row in rows if row["method"] == method]
        assert len(overheads) == 3 and mean(overheads) <= 1.1, method


LARGER = ("allcnn", "resnet20", "resnet18")


def test_importance_in_passes():
    rows = [r for r in rows_in(RESULTS / "speed.csv") if r["metric"].endswith("_passes")]

    def passes(way: str, network: str) -> list[float]:
        chosen = [r for r in rows if (r["metric"], r["method"]) == (f"{way}_passes", network)]
        return [float(r["value"]) for r in chosen]

    for network in {row["method"] for row in rows}:
        ours, vmapped = passes("importance", network), passes("vmap", network)
        assert max(ours) < min(passes("loop", network)), network
        assert len(ours) == 3, network
        if network == "resnet20, 32 pixels":
            assert mean(ours) == pytest.approx(mean(vmapped), rel=0.05)
        else:
            assert max(ours) < min(vmapped), network
    for network in ("cnn, 28 pixels", *(f"{net}, 32 pixels" for net in LARGER)):
        assert max(passes("importance", network)) < 1.8, network
    assert max(passes("importance", "cnn, 8 pixels, 256 items")) < 2
    for network in ("mlp, 28 pixels", "cnn, 8 pixels"):
        assert mean(passes("importance", network)) == pytest.approx(3, abs=0.2), network


def test_cifar10_beside_the_notebook():
    value = reader("laf_cifar10", "size=paper;")
    assert value("class", "laf", "test_forget") == value("class", "laf_repair", "test_forget") == 0
    loss = value("class", "retrained", "test_retain") - value("class", "laf", "test_retain")
    assert loss == pytest.approx(0.8512 - 0.8048, abs=0.005)
    for split, points in (("retain", 0.14), ("test_retain", 0.03)):
        lost = value("class", "original", split) - value("class", "laf", split)
        assert lost == pytest.approx(points, abs=0.005)
    back = value("class", "laf_repair", "test_retain") - value("class", "laf", "test_retain")
    assert back == pytest.approx(0.03, abs=0.005)


def test_cifar10_in_its_smaller_form():
    found = {task: laf_of(task) for task in ("random", "class", "noisy")}
    forgotten = found["class"]
    for name in ("laf", "laf_repair"):
        assert (forgotten[name, "forget"] == 0).all() and (
            forgotten[name, "test_forget"] == 0
        ).all()
    lost = forgotten["retrained", "test_retain"] - forgotten["laf", "test_retain"]
    assert len(lost) == 3 and lost.mean() == pytest.approx(0.05, abs=0.005)
    items = found["random"]
    assert abs(items["retrained", "forget"].mean() - 0.5) < 0.03
    assert items["laf", "forget"].mean() > 0.8
    wrong = found["noisy"]
    low, high = (wrong[name, "test"].mean() for name in ("original", "retrained"))
    assert (wrong["laf", "test"].mean() - low) / (high - low) > 0.55
    for own in found.values():
        assert own["laf", "retain"].max() < 0.9 and own["retrained", "retain"].min() > 0.999
        assert own["original", "retain"].min() > 0.99
        back = own["laf_repair", "retain"] - own["laf", "retain"]
        assert 0 < back.mean() < 0.03
    for task in ("random", "class"):
        assert 0.5 < found[task]["original", "test"].mean() < 0.6
    assert wrong["original", "test"].mean() < 0.4


def laf_of(task: str) -> dict:
    """Accuracies on CIFAR-10 in the smaller form, a series over seeds, by method and split."""
    rows = pandas.read_csv(RESULTS / "laf_cifar10.csv", keep_default_na=False)
    rows = rows[rows["config"].str.startswith("size=small") & (rows["metric"] == "accuracy")]
    rows = rows[rows["request"].str.startswith(task)]
    return dict(rows.pivot_table("value", "seed", ["method", "split"]).items())


def test_the_ruler_holds_what_its_page_says():
    rows = rows_in(RESULTS / "coverage.csv")

    def shares(data: str, ruler: str, more: int, ks, pairwise: bool | None = None) -> list[float]:
        return [
            float(row["value"])
            for row in rows
            for k in ks
            if (row["dataset"], row["method"]) == (data, ruler)
            and f"; k={k}; more={more};" in row["config"]
            and pairwise in (None, METRICS[row["metric"]].pairwise)
        ]

    for data in ("digits", "rotated_digits"):
        assert mean(shares(data, "range", 1, (2,), pairwise=False)) == pytest.approx(1 / 3, abs=0.1)
        assert mean(shares(data, "range", 1, (3,), pairwise=False)) == pytest.approx(1 / 2, abs=0.1)
        assert max(shares(data, "range", 1, (2, 3), pairwise=True)) < 0.85
        assert min(shares(data, "range", 1, (10, 20), pairwise=True)) > 0.97
        assert shares(data, "interval", 1, (2,), pairwise=True) == []
        few = shares(data, "interval", 1, (2,), pairwise=False)
        assert 0.9 < min(few + shares(data, "interval", 1, (3, 5, 10, 20))) <= max(few) < 0.99
        assert 0.87 < min(shares(data, "interval", 5, (3, 5, 10, 20))) < 0.95
    skewed = shares("rotated_digits", "interval", 5, (3, 5, 10, 20), pairwise=True)
    assert mean(skewed) < mean(shares("digits", "interval", 5, (3, 5, 10, 20)))


# ---- regression, single items and kernels


def means(name: str, request: str = "", label: str = "", size: str = "size=") -> dict:
    """Mean and half of its interval over seeds, by method, metric and split."""
    values = {}
    for row in rows_in(RESULTS / f"{name}.csv"):
        scale, _, rest = row["config"].partition("; ")
        asked = row["request"] == request or not request
        if asked and scale.startswith(size) and (not label or rest.split("; ")[0] == label):
            key = row["method"], row["metric"], row["split"]
            values.setdefault(key, []).append(float(row["value"]))
    return {key: (mean(own), t_half_width(own)) for key, own in values.items()}


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two intervals have a point in common."""
    return abs(one[0] - other[0]) <= one[1] + other[1]


def test_rotated_digits():
    found = means("rotated_digits")
    for method in ("amnesiac", "blindspot"):
        assert overlap(found[method, "mae", "forget"], found["retrained", "mae", "forget"])
    model, student = found["blindspot_model", "paired_difference", "forget"], "blindspot"
    assert not overlap(model, found[student, "paired_difference", "forget"])
    for method in ("amnesiac", "blindspot"):
        assert model[0] < found[method, "paired_difference", "forget"][0]
        for split in ("retain", "test_retain"):
            assert found["blindspot_model", "mae", split][0] > found[method, "mae", split][0]


def test_pairs_of_sentences():
    found = means("stsb")
    published = {
        row["method"]: float(row["published"])
        for row in rows_in(RESULTS / "stsb.csv")
        if row["published"] and (row["metric"], row["split"]) == ("mse", "test_forget")
    }
    order = ["original", "amnesiac", "finetune"]
    for figures in (published, {m: found[m, "mse", "test_forget"][0] for m in order}):
        assert sorted(order, key=figures.get) == order
    apart = [found[m, "mse", "forget"] for m in ("retrained", "blindspot_model", "blindspot")]
    assert all(overlap(one, other) for one in apart for other in apart)
    first, last = (found[m, "mse", "forget"][0] for m in ("original", "retrained"))
    assert found["finetune", "mse", "forget"][0] - first > 0.7 * (last - first)


def test_electric_load():
    found = means("electricity")
    gold = found["retrained", "quantile_loss", "forget"]
    for method in ("finetune", "amnesiac"):
        short = found[method, "quantile_loss", "forget"]
        assert short[0] < gold[0] and not overlap(short, gold)
    student = found["blindspot", "quantile_loss", "forget"]
    assert gold[0] < student[0] < gold[0] + student[1]
    for split in ("forget", "retain", "test_forget", "test_retain"):
        model, retrained = (
            found[m, "quantile_loss", split][0] for m in ("blindspot_model", "retrained")
        )
        assert model > retrained
    for name in ("blindspot", "blindspot_model"):
        for split in ("retain", "test_retain"):
            worse, gold = (found[m, "quantile_loss", split] for m in (name, "retrained"))
            assert worse[0] > gold[0] and not overlap(worse, gold)
    tuned, student = (found[m, "paired_difference", "forget"][0] for m in ("finetune", "blindspot"))
    assert 0.8 < tuned / student < 1


def test_single_items_of_the_digits():
    def base(items: str, method: str) -> tuple[float, float]:
        found = means("l2ul_digits", items, "base")
        return tuple(found[method, "accuracy", split][0] for split in ("test", "forget"))

    assert base("2 random items", "neggrad")[0] < 0.5 < 0.7 < base("2 random items", "l2ul_adv")[0]
    assert base("4 typical items", "neggrad")[0] < 0.5 < base("4 typical items", "l2ul_adv")[0]
    counts = ("1 random item", *(f"{n} random items" for n in (2, 4, 8, 16, 64)))
    for method in ("l2ul_adv", "l2ul"):
        left = [base(items, method)[1] for items in counts]
        assert max(left[:2]) < min(left[-2:])
    original = means("l2ul_digits", "nothing", "small_cnn")["original", "accuracy", "test"][0]
    eight = base("8 atypical items", "l2ul_adv")
    assert eight[1] == 0 and original - eight[0] == pytest.approx(0.08, abs=0.015)
    assert base("16 atypical items", "l2ul_adv")[1] > 0
    assert base("8 typical items", "l2ul_adv")[0] < eight[0] - 0.05
    assert base("8 random items", "l2ul_adv")[1] > 0.1
    for items in counts:
        found = means("l2ul_digits", items, "base")
        assert overlap(*(found[m, "accuracy", "test"] for m in ("l2ul", "l2ul_adv")))
    for n in (2, 4, 8, 16):
        assert base(f"{n} typical items", "l2ul")[1] > base(f"{n} typical items", "l2ul_adv")[1]
    small, large = (means("l2ul_digits", "4 random items", net) for net in ("base", "allcnn"))
    for method in ("l2ul_adv", "l2ul"):
        fewer = large[method, "accuracy", "forget"], small[method, "accuracy", "forget"]
        assert fewer[0][0] < fewer[1][0] and overlap(*fewer)
    kept = large["l2ul_adv", "accuracy", "test"], small["l2ul_adv", "accuracy", "test"]
    assert kept[0][0] > kept[1][0] and overlap(*kept)


def test_single_items_of_cifar10():
    toy = {"label": "base", "size": "size=toy"}
    methods = ("neggrad", "neggrad_open", "l2ul_adv", "l2ul")
    original = means("l2ul_cifar10", "nothing", size="size=toy")["original", "accuracy", "test"][0]
    one = means("l2ul_cifar10", "1 random item", **toy)
    assert all(original - one[m, "accuracy", "test"][0] < 0.02 for m in methods)
    many = means("l2ul_cifar10", "16 random items", **toy)
    kept = [many[m, "accuracy", "test"][0] for m in methods]
    assert kept == sorted(kept) and kept[1] < 0.5 < kept[2]
    assert overlap(*(many[m, "accuracy", "test"] for m in ("l2ul_adv", "l2ul")))
    assert all(many[m, "accuracy", "forget"][0] > 0.3 for m in ("l2ul_adv", "l2ul"))


def test_every_run_that_forgot_sixteen_photographs_lost_accuracy():
    rows = [r for r in rows_in(RESULTS / "l2ul_cifar10.csv") if r["metric"] == "accuracy"]
    runs = {}
    for row in rows:
        key = tuple(row[c] for c in ("request", "method", "seed", "config"))
        runs.setdefault(key, {})[row["split"]] = float(row["value"])
    start = {}
    for (_, method, _, config), splits in runs.items():
        if method == "original":
            start[config.split(";")[0]] = splits["test"]
    lost = [
        start[config.split(";")[0]] - splits["test"]
        for (request, _, _, config), splits in runs.items()
        if request == "16 random items" and splits.get("forget") == 0
    ]
    assert len(lost) > 5 and 0.04 < min(lost) < 0.06 and max(lost) > 0.7


def test_kernels():
    rows = pandas.DataFrame(rows_in(RESULTS / "kernels.csv")).astype({"value": float})
    rows = rows[rows["dataset"].isin(NAMES)]
    values = rows.groupby(["device", "dataset", "request", "method", "metric"])["value"].mean()
    compiled = []
    for kernel in NAMES:
        cases = values["AMD EPYC, 1 thread", kernel]
        largest = cases[:, "reference", "seconds"].idxmax()
        compiled.append(cases[largest, "compiled", "ratio"])
    assert min(compiled) > 0.9 and 3 < max(compiled) < 4
    assert values["NVIDIA H200", "mixed_l1", "1048576 rows", "triton", "ratio"] < 0.9


def audits(name: str, request: str) -> dict[tuple[str, str, str], float]:
    """The rows of a request by method, metric and split."""
    rows = pandas.read_csv(RESULTS / f"{name}.csv", keep_default_na=False)
    rows = rows[rows["request"].str.fullmatch(request)]
    return rows.set_index(["method", "metric", "split"])["value"].astype(float).to_dict()


def methods_in(found: dict) -> set[str]:
    return {method for method, _, _ in found} - {"again", "retrained", "original"}


def test_what_the_chapters_say_of_the_strong_attack():
    """Chapters 6, 8 and 9 send their reader to these rows."""
    found = audits("audit_digits", "items.*small_cnn")
    null = found["again", "ulira_high", "forget"]
    audited = methods_in(found)
    assert {"laf", "l2ul", "bad_teacher", "boundary", "scrub", "finetune"} < audited
    for name in audited:
        assert found[name, "ulira_low", "forget"] > null, name
    nothing = found["original", "ulira_high", "forget"]
    assert found["l2ul", "ulira_low", "forget"] > nothing
    assert found["laf", "ulira", "test"] > found["laf", "ulira", "forget"]
    weak = {name: found[name, "loss_attack_auc", ""] for name in audited | {"retrained"}}
    teachers = {name for name in audited if name.startswith("bad_teacher")}
    assert max(weak[name] for name in teachers) < weak["retrained"]
    strong = {name: found[name, "ulira", "forget"] for name in audited}
    assert min(strong[name] for name in teachers) > max(strong[n] for n in audited - teachers)


def test_what_chapter_12_says_of_other_settings():
    found = audits("audit_digits", "items.*mlp")
    assert found["bad_teacher", "memory_left", "forget"] < 0.7
    assert found["bad_teacher", "ulira_low", "forget"] > found["original", "ulira_high", "forget"]


def test_what_chapter_9_says_of_wrong_labels_and_of_a_class():
    for network in ("mlp", "small_cnn"):
        labels = audits("audit_digits", f"mislabelled.*{network}")
        others = methods_in(labels) - {"finetune"}
        assert labels["finetune", "ulira_low", "forget"] > labels["again", "ulira_high", "forget"]
        tuned = labels["finetune", "ulira", "forget"]
        assert tuned < min(labels[name, "ulira", "forget"] for name in others)
    assert labels["laf", "ulira_low", "forget"] > labels["original", "ulira_high", "forget"]
    for network, names in (("mlp", ("finetune", "boundary")), ("small_cnn", ("laf",))):
        found = audits("audit_digits", f"class.*{network}")
        for name, split in ((name, split) for name in names for split in ("forget", "test")):
            assert found[name, "ulira_low", split] > found["original", "ulira_high", split]


def test_what_chapter_3_says_of_the_strong_attack():
    items, band = (audits("audit_rotated", f"{task}: .*") for task in ("items", "band"))
    for name in ("original", "finetune", "amnesiac", "blindspot"):
        assert 0.5 < items[name, "ulira_low", "forget"] < items[name, "ulira", "forget"] < 0.6, name
    null = band["again", "ulira_high", "forget"], band["again", "ulira_high", "test_forget"]
    assert band["again", "ulira_low", "forget"] < 0.5
    for name in methods_in(band):
        assert band[name, "ulira_low", "forget"] > null[0], name
        assert band[name, "ulira_low", "test_forget"] > null[1], name
    gold, start = (band[name, "mae", "forget"] for name in ("retrained", "original"))
    for name in ("amnesiac", "blindspot"):
        assert abs(band[name, "mae", "forget"] - gold) < 0.13 * (gold - start)
    # on the results page: what the null's interval is like
    for split in ("forget", "test_forget"):
        assert band["again", "ulira_low", split] < 0.5 < band["again", "ulira_high", split] + 0.005
    wide, narrow = (
        found["again", "ulira_high", "forget"] - found["again", "ulira_low", "forget"]
        for found in (band, items)
    )
    assert 2.5 < wide / narrow < 3


def test_what_the_page_says_of_regression_and_of_writers():
    items, band = (audits("audit_rotated", f"{task}: .*") for task in ("items", "band"))
    for split in ("forget", "test"):
        assert items["blindspot_model", "ulira_low", split] > items["again", "ulira_high", split]
    assert items["blindspot_model", "mae", "forget"] > 1.3 * items["retrained", "mae", "forget"]
    for name in ("amnesiac", "blindspot"):
        ends = [band[name, f"memory_left{part}", "forget"] for part in ("_10", "", "_90")]
        assert ends[0] < -0.2 and abs(ends[1]) < 0.15 and ends[2] > 0.1
        assert 4 < band[name, "paired_difference", "forget"] < 5
    assert 3 < band["again", "paired_difference", "forget"] < 3.5
    for name in methods_in(items) - {"original", "blindspot_model"}:
        assert items[name, "ulira", "forget"] >= items["original", "ulira", "forget"] - 0.01, name
        beyond = items[name, "ulira", "forget"] - items[name, "ulira", "test"]
        assert beyond < 0.04, name
    assert band["finetune", "memory_left_10", "forget"] > 0.7
    for network, apart in (("mlp", 0.03), ("small_cnn", 0.1)):
        writers = audits("audit_digits", f"users.*{network}")
        for name in (*methods_in(writers), "original"):
            assert writers[name, "ulira", "test"] > writers[name, "ulira", "forget"] - apart
            assert writers[name, "ulira_low", "forget"] > writers["again", "ulira_high", "forget"]
    for name in ("bad_teacher", "bad_teacher_long"):
        assert audits("audit_digits", "class.*mlp")[name, "memory_left", "forget"] > 2


def test_what_the_page_says_of_the_small_cnns_writers():
    found = audits("audit_digits", "users.*small_cnn")
    assert found["original", "memory_known", "forget"] < 0.2 * 672  # digits of eight writers
    for name in ("neggrad", "scrub", "finetune"):
        assert found[name, "memory_left", "forget"] > 0.9
        assert found[name, "ulira_low", "forget"] > found[name, "ulira_high", "test"]
    for name in ("bad_teacher", "bad_teacher_long", "boundary", "laf"):
        assert found[name, "memory_left", "forget"] < -1.5
        assert found[name, "ulira", "test"] > found[name, "ulira", "forget"]
    low, middle, high = (
        found["l2ul", f"memory_left{part}", "forget"] for part in ("_10", "", "_90")
    )
    assert low < -0.5 and abs(middle) < 0.05 and high > 0.5


def test_what_the_page_says_of_mnist():
    items, labels = (audits("audit_mnist", f"{task}: .*") for task in ("items", "mislabelled"))
    weak = {
        name: items[name, "loss_attack_auc", ""] for name in ("retrained", "laf", "bad_teacher")
    }
    assert abs(weak["laf"] - weak["retrained"]) < 0.03
    assert weak["bad_teacher"] < weak["retrained"] - 0.2
    for name in ("laf", "bad_teacher", "bad_teacher_long"):
        assert items[name, "ulira_low", "forget"] > 0.9 and items[name, "ulira", "test"] > 0.95
        assert items[name, "memory_left", "forget"] < 0.27
    for name in ("finetune", "neggrad"):
        assert items[name, "memory_left", "forget"] > 0.8
        assert abs(items[name, "ulira", "forget"] - items["original", "ulira", "forget"]) < 0.03
    found = audits("audit_mnist", "class: .*")
    for name in ("scrub", "bad_teacher", "laf"):
        assert found[name, "ulira_low", "forget"] > 0.9 < found[name, "ulira", "test"]
    assert found["original", "ulira", "forget"] < 0.65
    assert found["original", "memory_known", "forget"] < 200  # of some 1,800 answers
    assert found["again", "memory_left_90", "forget"] > 0.5
    for each in (items, labels, found):
        assert each["again", "ulira_low", "forget"] < 0.5 < each["again", "ulira_high", "forget"]
    assert labels["original", "memory_known", "forget"] == 64  # of 64
    assert labels["original", "ulira", "test"] < 0.6
    left = {name: labels[name, "memory_left", "forget"] for name in methods_in(labels)}
    seen = {name: labels[name, "ulira", "forget"] for name in methods_in(labels)}
    boundary = left.pop("boundary"), seen.pop("boundary")
    assert 0.2 < boundary[0] < 0.3 and min(left.values()) > 0.7
    assert boundary[1] < min(seen.values()) - 0.1


def test_what_the_page_says_of_other_numbers_of_the_audits():
    for task in ("items", "class"):
        of_cnn = audits("audit_digits", f"{task}.*small_cnn")
        known = {name: of_cnn[name, "memory_known", "forget"] for name in methods_in(of_cnn)}
        assert set(known.values()) == {0}
        assert of_cnn["original", "ulira_low", "forget"] > of_cnn["again", "ulira_high", "forget"]
    rows = pandas.read_csv(RESULTS / "audit_digits.csv", keep_default_na=False)
    null = rows[rows["method"] == "again"].pivot_table("value", "request", ["metric", "split"])
    assert len(null) == 8 and null["klom", "forget"].min() > 0.5
    assert null["kl_of_fits", "forget"].max() < 0.1
    ranks = {
        (task, number): ranked("audit_digits", f"{task}.*small_cnn", number)
        for task in ("items", "mislabelled", "users")
        for number in ("js_right", "loss_attack_auc")
    }
    assert min(ranks[task, "js_right"] for task in ("items", "mislabelled", "users")) > 0.7
    assert ranks["mislabelled", "loss_attack_auc"] > 0.7
    assert max(ranks[task, "loss_attack_auc"] for task in ("items", "users")) < 0.3


def test_what_the_page_says_of_the_spread():
    rows = pandas.read_csv(RESULTS / "audit_sources.csv", keep_default_na=False)
    found = rows.pivot_table("value", ["request", "method"], "metric")
    attack, forget, test = (
        found.loc[number]
        for number in ("loss_attack_auc", "accuracy on forget", "accuracy on test")
    )
    assert attack["share_draw"].min() > 0.8
    assert forget["share_draw"].drop("l2ul").min() > 0.6
    assert forget["share_unlearning_seed"]["l2ul"] > forget["share_draw"]["l2ul"]
    for number in (attack, forget):
        assert set(number["runs_training_seed"]) == set(number["runs_unlearning_seed"]) == {1}
    assert test["spread"].drop(["boundary", "l2ul"]).max() < 0.005
    assert test["spread"][["boundary", "l2ul"]].min() > 0.02


def test_what_the_page_says_of_the_oracle():
    toy = {"size": "size=toy"}
    start = means("l2ul_cifar10", "nothing", **toy)["original", "accuracy", "test"][0]
    rows = pandas.read_csv(RESULTS / "l2ul_cifar10.csv", keep_default_na=False)
    rows = rows[(rows["method"] == "oracle") & (rows["metric"] == "accuracy")]
    rows["label"] = rows["config"].str.split(";").str[1].str.strip()
    found = rows.pivot_table("value", ["label", "seed"], "split")
    released, ours, patient = (
        found.loc[label] for label in ("as released", "base", "lr 0.01, more steps")
    )
    assert len(released) == len(ours) == 3 and len(patient) == 1
    assert (released["forget"] == 0).all() and 0.17 < start - released["test"].mean() < 0.2
    assert (start - ours["test"]).max() < 0.002 and 0.7 < ours["forget"].mean() < 0.8
    assert patient["forget"].iloc[0] == 2 / 16
    assert 0.04 < start - patient["test"].iloc[0] < 0.05


def test_what_the_page_says_of_widths():
    rows = pandas.read_csv(RESULTS / "l2ul_width.csv", keep_default_na=False)
    rows["width"] = rows["config"].str.extract(r"width ([\d.]+)")[0]
    rows["label"] = rows["config"].str.split(";").str[1].str.strip()
    rows["what"] = rows["metric"] + " " + rows["split"]
    rows = rows[rows["request"].isin(["nothing", "16 random items"])]
    found = rows.pivot_table("value", ["width", "label", "method", "seed"], "what").reset_index()
    start = found[found["label"] == "original"].set_index("width")["accuracy test"]
    every = found[(found["label"] != "original") & found["accuracy test"].notna()]
    every = every.assign(lost=every["width"].map(start) - every["accuracy test"])
    runs, oracle = (every[(every["method"] == "oracle") == side] for side in (False, True))
    assert runs["lost"][runs["accuracy forget"] == 0].min() > 0.05
    whole = runs[runs["method"] == "l2ul"].groupby(["width", "label"])
    theirs = oracle.groupby(["width", "label"])
    assert set(oracle["width"]) == {"0.125", "0.25", "0.5", "1.0"}
    for width in ("0.125", "0.25"):
        kept, without = (
            group.get_group((width, "as released"))["accuracy test"].mean()
            for group in (theirs, whole)
        )
        assert kept - without < 0.03
    assert 0.065 < theirs.get_group(("0.5", "as released"))["lost"].item() < 0.08
    ours = oracle[oracle["label"] == "base"]
    assert ours["lost"].max() < 0 and ours["accuracy forget"].between(1 / 16, 6 / 16).all()
    lost = runs[runs["method"] == "l2ul"].pivot_table("lost", ["width", "seed"], "label")
    assert (lost["as released"] - lost["base"]).dropna().between(0.07, 0.13).all()
    assert 0.16 < lost["as released"]["0.5", 0] < 0.175
    second = lost.xs(1, level="seed")
    assert set(second.index) == {"0.125", "0.25", "1.0"}
    assert second["as released"].between(0.135, 0.155).all()
    assert second["base"].between(0.02, 0.045).all()
    images = runs[(runs["label"] == "as released") & (runs["method"] == "l2ul_adv")]
    alone = images[images["seed"] == 1].set_index("width")["lost"]
    assert [round(100 * alone[width]) for width in ("0.125", "0.25", "1.0")] == [20, 23, 18]
    wide = theirs.get_group(("1.0", "as released")).set_index("seed")["lost"]
    behind = wide - lost["as released"]["1.0"]
    assert 0 < behind[0] < 0.015 and 0.07 < wide[1] < 0.085
    climbed = runs[(runs["method"] == "neggrad") & (runs["label"] == "base")]
    assert len(climbed) and climbed["accuracy test"].max() < 0.13
    images = runs[(runs["label"] == "base") & runs["method"].isin(["l2ul", "l2ul_adv"])]
    assert images["reached "].between(0.65, 0.78).all()
    first = runs[runs["seed"] == 0].pivot_table("lost", ["label", "method"], "width")
    assert first.loc["as released", "l2ul"].between(0.15, 0.195).all() and len(first.columns) == 4
    assert first.loc["base", "l2ul"].between(0.055, 0.1).all()
    narrow = first.drop(columns="1.0")
    assert narrow.loc["as released", "l2ul_adv"].between(0.26, 0.31).all()
    assert narrow.loc["base", "l2ul_adv"].between(0.1, 0.13).all()
    assert 0.195 < first["1.0"]["as released", "l2ul_adv"] < 0.205
    assert 0.065 < first["1.0"]["base", "l2ul_adv"] < 0.075
    released = runs[runs["label"] == "as released"]
    attacks = released["reached "].dropna()
    assert attacks.min() == 1 and released["accuracy forget"].max() < 0.2
    kept = released.pivot_table("accuracy test", ["width", "seed"], "method").dropna()
    assert (kept["neggrad"] < kept["l2ul_adv"]).all() and (kept["l2ul_adv"] < kept["l2ul"]).all()
    of = runs[runs["method"] == "l2ul"].groupby(["width", "label"])[["accuracy test"]].mean()
    for label in ("base", "advised"):
        assert (of.loc[("0.25", label)] > of.loc[("0.25", "as released")]).all()
        left = runs[runs["method"] == "l2ul"].groupby("label")["accuracy forget"].mean()
        assert left[label] > left["as released"] + 0.05
    both = runs[runs["seed"] == 0].pivot_table("accuracy test", ["label", "method"], "width")
    both = both.loc[(slice(None), "l2ul"), :].dropna()
    assert (both.diff(axis=1).dropna(axis=1) > 0).all(axis=None) and len(both) == 2
    assert start.is_monotonic_increasing and round(100 * start["1.0"]) == 91


def losses_at(width: str) -> pandas.DataFrame:
    """Of a width every number of a run, and what it lost, by request, label, method and seed."""
    rows = pandas.read_csv(RESULTS / "l2ul_width.csv", keep_default_na=False)
    rows = rows[rows["config"].str.contains(f"width {width};")]
    rows["label"] = rows["config"].str.split(";").str[1].str.strip()
    rows["what"] = rows["metric"] + " " + rows["split"]
    index = ["request", "label", "method", "seed"]
    found = rows.pivot_table("value", index, "what")
    found["lost"] = found.loc["nothing", "accuracy test"].item() - found["accuracy test"]
    return found


def test_what_the_page_says_of_one_photograph_at_the_whole_width():
    found = losses_at("1.0")
    one = found.loc["1 random item"]
    ours, theirs = (one.loc[label] for label in ("base", "as released"))
    assert (ours["accuracy forget"] == 0).all() and ours["lost"].max() < 0.05
    whole = ours.loc["l2ul"]["lost"]
    assert len(whole) == 3 and sorted(round(100 * lost) for lost in whole) == [0, 1, 4]
    assert len(ours.loc["neggrad"]) == 3 and ours.loc["neggrad"]["lost"].between(0, 0.025).all()
    whole, climbed = theirs.loc["l2ul"], theirs.loc["neggrad"]
    assert sorted(whole["accuracy forget"]) == [0, 1, 1]
    assert whole["lost"].between(0.175, 0.595).all()
    assert (climbed["accuracy forget"] == 0).all() and climbed["lost"].between(0.01, 0.155).all()
    (many,) = found.loc[("64 random items", "as released", "l2ul")].itertuples()
    assert many[1] < 0.5 and 0.13 < many.lost < 0.145


def test_what_the_page_says_of_one_photograph_and_of_sixty_four():
    found = losses_at("0.125")

    def of(request: str, label: str, method: str) -> pandas.DataFrame:
        own = found.loc[(request, label, method)]
        assert len(own) == 3
        return own

    one = {key: of("1 random item", *key) for key in found.loc["1 random item"].index.droplevel(2)}
    for (label, method), own in one.items():
        if label == "base" or method == "neggrad":
            assert (own["accuracy forget"] == 0).all()
    climbed, whole = one["as released", "neggrad"], one["as released", "l2ul"]
    assert climbed["lost"].between(0.06, 0.295).all()
    assert (whole["accuracy forget"] == 1).sum() == 2 and whole["lost"].between(0.13, 0.36).all()
    assert (whole["finished "] == 0).sum() == 2
    assert whole["lost"].mean() > of("16 random items", "as released", "l2ul")["lost"].mean()
    assert one["base", "neggrad"]["lost"].between(0.01, 0.07).all()
    for method in ("l2ul", "l2ul_adv"):
        own = one["base", method]
        bad = own["lost"] > 0.1
        assert bad.sum() == 1 and own["lost"][bad].between(0.27, 0.29).all()
        assert own["reached "][bad].item() == 0.5 and own["reached "][~bad].min() >= 0.9
        assert own["lost"][~bad].between(0.01, 0.025).all()
    many = "64 random items"
    for label, lost in (("base", (0.02, 0.09)), ("as released", (0.125, 0.315))):
        for method, left in (("l2ul_adv", (0.18, 0.33)), ("l2ul", (0.33, 0.5))):
            own = of(many, label, method)
            assert own["accuracy forget"].between(*left).all() and own["lost"].between(*lost).all()
    assert all(of(many, "advised", m)["accuracy forget"].min() > 0.6 for m in ("l2ul", "l2ul_adv"))
    climbed = of(many, "as released", "neggrad")
    assert (climbed["accuracy forget"] == 0).all() and (climbed["lost"] > 0.5 * 0.805).all()
    assert (of(many, "base", "neggrad")["overflowed "] == 1).all()


def ranked(experiment: str, request: str, number: str) -> float:
    """Spearman's correlation of a number with the strong attack over the models; see `audits`."""
    found = audits(experiment, request)
    names = sorted(methods_in(found) | {"original"})
    strong = pandas.Series([found[name, "ulira", "forget"] for name in names])
    if number == "js_right":
        other = [found[name, number, "forget"] for name in names]
    else:
        gold = found["retrained", number, ""]
        other = [abs(found[name, number, ""] - gold) for name in names]
    return strong.corr(pandas.Series(other), method="spearman")


def test_null_audits_lie_at_one_half():
    rows = pandas.read_csv(RESULTS / "audit_null.csv", keep_default_na=False)
    found = rows.pivot(index=["seed", "split"], columns="metric", values="value")
    assert len(found) >= 2 * 20
    assert found["ulira"].between(0.45, 0.55).all()
    assert abs(found["ulira"].mean() - 0.5) < 0.01
    missed = (found["ulira_low"] > 0.5) | (found["ulira_high"] < 0.5)
    assert not missed.any()
