"""What stands first of each experiment: its picture, and a table of at most eight lines.

The directive `{results}` shows these and folds everything else. Nothing here is typed but the names
of methods and columns; a test counts the lines.
"""

from collections.abc import Callable

import audits
import pandas
import pictures
import sweep
import widths
from pictures import Picture, by_setting, point, values
from results import PLUS_MINUS, drawn, interval, ruled, text

MOST = 8  # lines
ERRORS = {"rotated_digits": "mae", "stsb": "mse", "electricity": "quantile_loss"}
LAF = ("original", "retrained", "laf", "laf_repair", "finetune", "scrub", "sisa", "neggrad")
PARTS = {"reading", "evaluation"}  # of Blindspot's procedure: they stand in the fold
Headline = tuple[Picture, str]


def headline(name: str, rows: pandas.DataFrame) -> Headline:
    """The picture and the short table of an experiment's rows."""
    if name in ERRORS:
        return errors(largest(rows), ERRORS[name])
    if name.startswith("laf_"):
        return laf(largest(rows))
    if name.startswith("l2ul_") and name not in OTHERS:
        return sweep.headline(rows)
    return OTHERS[name](rows)


def largest(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of the device and size with most seeds, and of these with most rows."""
    groups = [own for _, own in rows.groupby(["device", "size"], sort=False)]
    return max(groups, key=lambda own: (own["seed"].nunique(), len(own)))


def errors(rows: pandas.DataFrame, metric: str) -> Headline:
    """Regression: both errors, both distances, and the cost."""
    rows = by_setting(rows)
    asked = {f"{pictures.words(metric)}, `{split}`": (metric, split) for split in pictures.WHERE}
    distances = ("wasserstein", "paired_difference")
    asked |= {pictures.words(name): (name, "forget") for name in distances}
    asked |= {"sample units": ("samples", "")}
    lines = []
    for name in rows["method"].unique():
        cells = [interval(values(rows, name, *which), which[0]) for which in asked.values()]
        lines.append([f"`{name}`", *cells])
    unit, far = (rows.loc[rows["metric"] == m, "unit"].iloc[0] for m in (metric, "wasserstein"))
    apart = f"Errors are in {unit}, distances in {far}."
    note = "\n\n" + (f"Errors and distances are in {unit}." if unit == far else apart)
    return pictures.errors(rows, metric), drawn(ruled(["method", *asked], lines)) + note


def laf(rows: pandas.DataFrame) -> Headline:
    """A line a method; of every request the accuracy on what is forgotten, and on the rest.

    A method has a line of its own for each of several settings.
    """
    rows = by_setting(rows[rows["method"].isin(LAF) & (rows["metric"] == "accuracy")])
    names = sorted(set(rows["method"]), key=lambda name: (LAF.index(name.split(",")[0]), name))
    heads, lines = ["method"], {name: [f"`{name}`"] for name in names}
    for task, splits in pictures.PARTS.items():
        own = rows[rows["request"].str.startswith(task)]
        for split in splits:
            shown = own[own["split"] == split]
            if shown.empty:
                continue
            heads.append(f"{pictures.TASK[task]}: `{split}`")
            known = shown[shown["published"] != ""].drop_duplicates("method")
            known = known.set_index("method")["published"]
            if len(known):
                heads.append("published")
            for name in names:
                lines[name].append(percent(shown.loc[shown["method"] == name, "value"]))
                if len(known):
                    lines[name].append(f"{100 * float(known[name]):.1f}" if name in known else "")
    note = "\n\nAccuracies in per cent."
    return pictures.gaps(rows, names), drawn(ruled(heads, list(lines.values()))) + note


def percent(shares: pandas.Series) -> str:
    """`97.8 ± 0.3` of shares, "" of none."""
    own = point(100 * shares)
    if own is None:
        return ""
    return f"{own.mean:.1f}" + ("" if own.half != own.half else f"{PLUS_MINUS}{own.half:.1f}")


def coverage(rows: pandas.DataFrame) -> Headline:
    """A line a set, ruler and number of judged models: the mean share of all metrics."""
    from results import counted

    rows = counted(rows)
    numbers = sorted(rows["k"].unique())
    lines = []
    for (data, ruler, more), own in rows.groupby(["dataset", "method", "more"], sort=False):
        judged = f"{more} more"
        cells = [text(pictures.words(data)).replace(" ", "\u00a0"), f"{ruler}, {judged}"]
        for k in numbers:
            shares = 100 * own.loc[own["k"] == k, "value"]
            ends = f"{shares.min():.0f}-{shares.max():.0f}"
            cells.append(f"{shares.mean():.0f} ({ends})" if len(shares) else "")
        lines.append(cells)
    heads = ["set", "ruler", *(f"{k} models" for k in numbers)]
    note = "\n\nPer cent inside: the mean of all metrics, and the lowest and highest."
    return pictures.ruler(rows), drawn(ruled(heads, lines, 2)) + note


def ratios(rows: pandas.DataFrame) -> dict[str, dict[str, list[float]]]:
    """Released time over ours, by procedure and way, a value per seed."""
    found, rows = {}, rows[(rows["metric"] == "ratio") & ~rows["method"].isin(PARTS)]
    for (data, method), own in rows.groupby(["dataset", "method"], sort=False):
        name = pictures.words(method.removesuffix("_fast"))
        name += f", {data}" if method.startswith("laf") else ""
        way = "fast" if method.endswith("_fast") else "plain"
        found.setdefault(name, {})[way] = list(own["value"])
    return found


def speed(rows: pandas.DataFrame) -> Headline:
    """A line a procedure: released time over ours, and the seconds of both, on one device each."""
    procedure = rows["method"].str.removesuffix("_fast"), rows["dataset"], rows["metric"]
    rows = pandas.concat([largest(own) for _, own in rows.groupby([*procedure], sort=False)])
    named, lines = ratios(rows), []
    for name, ways in named.items():
        method, _, data = name.partition(", ")
        own = rows[rows["method"] == method.replace(" ", "_")]
        own = own[(own["dataset"] == data) | (data == "")]
        cells = [name]
        cells += [interval(pandas.Series(ways.get(way, [])), "ratio") for way in ("plain", "fast")]
        for metric in ("released_seconds", "seconds"):
            chosen = own[(own["metric"] == metric) & (own["request"] != "overhead")]
            cells.append(interval(chosen["value"], "seconds"))
        lines.append(cells)
    heads = ["procedure", "released / ours", "inside fast", "released (s)", "ours (s)"]
    note = "\n\nOne run has no interval."
    return pictures.speeds(rows, ratios), drawn(ruled(heads, lines)) + note


def kernels(rows: pandas.DataFrame) -> Headline:
    """A line a kernel of the package: its largest shape on the device with most rows."""
    from minilearn.kernels import NAMES

    there = rows[rows["dataset"].isin(NAMES)]
    shown = there[there["device"] == there["device"].value_counts().index[0]]
    names = [name for name in shown["dataset"].unique()]
    others = [way for way in pictures.WAYS if (shown["method"] == way).any()]
    lines = []
    for name in names:
        own = shown[shown["dataset"] == name]
        plain = own[(own["method"] == "reference") & (own["metric"] == "seconds")]
        seconds = plain.groupby("request")["value"].mean()
        case = seconds.idxmax() if len(seconds) else ""
        own = own[own["request"] == case]
        cells = [f"`{name}`", text(case), f"{1e3 * seconds.max():.3g}"]
        cells += [interval(of(own, way, "ratio"), "ratio") for way in others]
        lines.append(cells)
    heads = ["kernel", "largest shape", "PyTorch (ms)", *(f"`{way}`" for way in others)]
    device = text(shown["device"].iloc[0])
    note = f"\n\nTimes as fast as plain PyTorch, on {device}."
    return pictures.kernels(there, names), drawn(ruled(heads, lines, 2)) + note


def of(rows: pandas.DataFrame, method: str, metric: str) -> pandas.Series:
    """The values of a method's metric, whatever the split."""
    return rows.loc[(rows["method"] == method) & (rows["metric"] == metric), "value"]


OTHERS: dict[str, Callable[[pandas.DataFrame], Headline]] = {
    "audit_digits": audits.headline,
    "audit_mnist": audits.headline,
    "audit_rotated": audits.rotated_headline,
    "audit_null": audits.null_headline,
    "audit_sources": audits.sources_headline,
    "audit_speed": audits.speed_headline,
    "coverage": coverage,
    "l2ul_width": widths.headline,
    "speed": speed,
    "kernels": kernels,
}


def measured(rows: pandas.DataFrame, request: str, method: str, metric: str, split: str) -> str:
    """A number for a sentence: mean and half of its interval, shares in per cent.

    Raises: ValueError if there is no such number; of a method with several settings each has a name
    """
    rows = by_setting(rows[rows["request"].str.startswith(request)])
    found = values(largest(rows), method, metric, split) if len(rows) else rows["value"]
    if found.empty:
        known = ", ".join(rows["method"].unique())
        where = f"for a request of {request!r}: there are {known or 'no rows'}"
        raise ValueError(f"no {metric} on {split!r} of {method} {where}")
    unit = rows.loc[rows["metric"] == metric, "unit"].iloc[0]
    if unit == "fraction":
        return f"{percent(found)}\u00a0%"
    return f"{interval(found, metric)}\u00a0{unit}"
