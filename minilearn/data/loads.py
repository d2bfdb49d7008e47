"""Hourly electricity loads to forecast: the UCI set, and an artificial one of households."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from minilearn.checks import check_count, check_kind
from minilearn.data.embedded import TEST_SHARE, Split
from minilearn.data.examples import Examples, kind_of
from minilearn.data.places import MissingData, data_root, own_file
from minilearn.data.table import check_on_bad, leave_out
from minilearn.draws import order_of

ORIGINAL = "LD2011_2014.txt"
DAY, WEEK = 24, 168
WARM, PER_DEGREE = 10.0, 0.25  # daily_loads heats below 10 degrees, 0.25 of the mean load a degree


def electricity(
    *,
    root=None,
    file: str = ORIGINAL,
    clients=None,
    context: int = WEEK,
    horizon: int = DAY,
    stride: int = DAY,
    on_bad: str = "skip",
) -> Split:
    """UCI electricity: 370 Portuguese clients from 2011 to 2014; forecast a day from a week.

    Files: electricity/LD2011_2014.txt as published (semicolons, decimal commas, quarter-hours in
    kW, which are averaged to hours: the quarters 00:15 to 01:00 make hour 0), or `file`, a CSV
    table in the same folder whose first column is `date`, by the hour, with a column for each
    client. A date begins with its year, as in 2014-01-31 13:00. `clients` names columns, or says
    how many of the first.

    A window is `context` hours and the `horizon` hours after them; one begins every `stride` hours.
    The last quarter of the windows in time is the test set: no training window reaches into its
    targets, while its contexts may reach back. A client's loads are in standard deviations from the
    mean of its own training hours. Zeros before a client's first reading count as missing. A
    window is bad if an hour is missing, or its client's training hours are all alike or missing.
    `groups` is the client's column, from 0.

    Source: Trindade, ElectricityLoadDiagrams20112014, UCI 2015
    Shapes: inputs (N, context) float32; targets (N, horizon) float32; groups (N,) int64
    Differs: from the paper (Tarun et al. 2023), of whose preparation only the window of 168 + 24
        hours is known; split, scaling and stride are our own, and the past load is the only input
    Raises: MissingData if the file is not there; ValueError if it is no such table, an option makes
        no sense, no window is left, or a window is bad and on_bad="refuse"
    """
    check_on_bad(on_bad)
    path = _file(file, root)
    hours, columns = _hours(path, clients)
    split, bad = _windows(hours, columns, context, horizon, stride)
    if bad:
        left = 0 if split is None else len(split.train) + len(split.test)
        share = f"{bad} of {bad + left} windows of {path}"
        leave_out(f"{share} are bad (an hour is missing, or the load never changes)", left, on_bad)
    return split


def daily_loads(households: int = 16, days: int = 140, seed: int = 0) -> Split:
    """Artificial hourly loads of households; forecast a day from the week before. No real meter.

    A household has a mean load and peaks in the morning and in the evening, at hours of its own;
    at weekends the morning peak comes two hours later and the load is a fifth higher. It is the
    same weather for all: 11 degrees, with cold spells every three weeks (a cosine of 7 degrees)
    and a random part that fades within days. Every degree below 10 adds a quarter of the mean load
    in the night, from 22 to 6 o'clock, and a tenth of it by day. Noise of 5 % is multiplied on. So
    days of high load are cold days, and their shape cannot be guessed from warm ones.
    The windows, the split in time and the scaling are those of `electricity`, one window a day.

    Args: households, days: how many. seed: of all draws
    Shapes: inputs (N, 168) float32; targets (N, 24) float32; groups (N,) int64, the household
    Raises: ValueError if households < 1 or days < 60
    Example:
        >>> train, test = daily_loads()
        >>> train.inputs.shape, test.targets.shape
        (torch.Size([1600, 168]), torch.Size([528, 24]))
    """
    households = check_count("households", households, 1)
    days = check_count("days", days, 60)
    generator = order_of(seed)
    cold = (WARM - _temperature(days, generator)).clamp(min=0)
    hours = torch.stack([_household(cold, generator) for _ in range(households)])
    split, _ = _windows(hours, list(range(households)), WEEK, DAY, DAY)
    return split


def level(examples: Examples) -> Tensor:
    """The mean target of each example, the level of its day: what a request can choose days by.

    Forgetting a day takes it away as a target. Its hours are still in the contexts of the days
    after it, unless those are forgotten, too.

    Shapes: returns (N,) float32, in the unit of the targets
    Raises: ValueError if these are no examples with several floating-point targets each
    Example:
        >>> from minilearn.requests import Request
        >>> train, test = daily_loads()
        >>> Request(train, level(train) > 0.8, "days of high load")
        Request(days of high load: forget 315 of 1600)
    """
    targets = getattr(examples, "targets", None)
    if not isinstance(targets, Tensor) or targets.ndim < 2 or not targets.is_floating_point():
        got = kind_of(examples if targets is None else targets)
        raise ValueError(f"the level of a day needs Examples with targets (N, hours), got {got}")
    return targets.flatten(1).mean(1)


def _temperature(days: int, generator: torch.Generator) -> Tensor:
    """Degrees of every day, from a cosine of 21 days and a first-order random process: (days,)."""
    random = torch.randn(days, generator=generator, dtype=torch.float64)
    for day in range(1, days):
        random[day] += 0.7 * random[day - 1]
    spells = torch.arange(days, dtype=torch.float64) * (2 * math.pi / 21)
    return 11 + 7 * spells.cos() + random


def _household(cold: Tensor, generator: torch.Generator) -> Tensor:
    """The loads of one household on days so many degrees too cold: (24 days,)."""
    size, early, late = torch.rand(3, generator=generator, dtype=torch.float64)
    weekend = (torch.arange(len(cold)) % 7 >= 5).double()[:, None]
    clock = torch.arange(DAY, dtype=torch.float64)
    morning = (-((clock - 6.5 - early - 2 * weekend) ** 2) / 4).exp()
    evening = (-((clock - 18.5 - late) ** 2) / 8).exp()
    usual = (0.6 + 0.7 * morning + 1.1 * evening) * (1 + 0.2 * weekend)
    night = ((clock >= 22) | (clock < 6)).double()
    heating = PER_DEGREE * cold[:, None] * (0.4 + 0.6 * night)
    noise = 1 + 0.05 * torch.randn(len(cold), DAY, generator=generator, dtype=torch.float64)
    return ((0.5 + 2 * size) * (usual + heating) * noise).flatten()


def _file(file: str, root) -> Path:
    check_kind("file", file, str)
    how = f"take {ORIGINAL} from UCI (ElectricityLoadDiagrams20112014)"
    try:
        return own_file("electricity", f"electricity/{file}", how, root)
    except MissingData as error:
        others = sorted(path.name for path in (data_root(root) / "electricity").glob("*.csv"))
        hint = f"; or name one that is there by file=: {', '.join(others[:5])}" if others else ""
        raise MissingData(f"{error}{hint}") from None


def _hours(path: Path, clients) -> tuple[Tensor, list[int]]:
    """Loads by client and hour, (C, T) float64 with NaN where one is missing; the columns."""
    import pandas  # imported here: it is slow to import

    try:
        with path.open(encoding="utf-8-sig") as opened:
            header = opened.readline()
        original = ";" in header
        form = {"sep": ";", "decimal": ","} if original else {"sep": ","}
        names = [name.strip().strip('"') for name in header.split(form["sep"])]
        columns = _columns(names[1:], clients, path)
        if not original and names[0] != "date":
            raise ValueError(f"the first column of {path} is {names[0]!r}, not 'date'")
        places = [0, *(column + 1 for column in columns)]
        frame = pandas.read_csv(path, usecols=places, index_col=0, encoding="utf-8-sig", **form)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"the file {path} is no text in UTF-8: {error}") from None
    except pandas.errors.ParserError as error:
        raise ValueError(f"the file {path} is no table: {' '.join(str(error).split())}") from None
    return torch.tensor(_hourly(frame, original, path).to_numpy("float64").T.copy()), columns


def _columns(names: list[str], clients, path: Path) -> list[int]:
    if not names:
        raise ValueError(f"the file {path} has no client: it needs a column after the dates")
    if clients is None:
        return list(range(len(names)))
    if isinstance(clients, str) or not hasattr(clients, "__len__"):
        if isinstance(clients, str) or check_count("clients", clients, 1) > len(names):
            raise ValueError(
                f"clients is a list of columns, or a number up to {len(names)}, got {clients!r:.80}"
            )
        return list(range(int(clients)))
    absent = [name for name in clients if name not in names]
    if absent:
        raise ValueError(
            f"{path} has no client {absent[0]!r}; its clients are {names[0]!r} to {names[-1]!r}"
        )
    if not len(clients) or len(set(clients)) < len(clients):
        raise ValueError(f"clients must name one column or more, each once, got {clients!r:.80}")
    return sorted(names.index(name) for name in clients)  # read_csv keeps the file's order


def _hourly(frame, original: bool, path: Path):
    """Every hour from the first to the last, as a row of numbers; NaN where one is missing."""
    import pandas

    try:
        stamps = pandas.to_datetime(frame.index, errors="coerce", format="ISO8601")
    except ValueError:
        raise ValueError(
            f"the dates of {path} are in several time zones, as over a change of the clock: write "
            "all of them in UTC"
        ) from None
    if stamps.hasnans or not len(stamps):
        first = frame.index[stamps.isna()][0] if len(stamps) else "nothing"
        raise ValueError(f"the dates of {path} hold {first!r}: write dates as 2014-01-31 13:00")
    if stamps.has_duplicates:
        raise ValueError(f"{path} has two rows for {stamps[stamps.duplicated()][0]}")
    frame = frame.apply(pandas.to_numeric, errors="coerce").set_axis(stamps).sort_index()
    if original:  # a stamp is the end of its quarter
        quarters = frame.groupby((frame.index - pandas.Timedelta(minutes=15)).floor("h"))
        frame = quarters.mean().where(quarters.count() == 4)
    elif (stamps != stamps.floor("h")).any():
        odd = stamps[stamps != stamps.floor("h")][0]
        raise ValueError(f"{path} is not by the hour: it has {odd}")
    frame = frame.asfreq("h").replace([math.inf, -math.inf], math.nan)
    return frame.where((frame.notna() & (frame != 0)).cumsum() > 0)


def _windows(
    hours: Tensor, columns: list[int], context: int, horizon: int, stride: int
) -> tuple[Split | None, int]:
    """The split of loads (C, T) into windows, and how many windows are bad."""
    check_count("context", context, 1)
    check_count("horizon", horizon, 1)
    check_count("stride", stride, 1)
    count = (hours.shape[1] - context - horizon) // stride + 1
    held = max(1, round(TEST_SHARE * count))
    if count < 2:
        raise ValueError(
            f"{hours.shape[1]} hours give fewer than two windows of {context} + {horizon} hours"
        )
    starts = stride * torch.arange(count)
    border = int(starts[-held]) + context  # the first hour of a test target
    train = starts + context + horizon <= border
    test = starts >= starts[-held]
    if not train.any():
        raise ValueError(
            f"none of the {count} windows ends before the test targets begin: "
            f"{hours.shape[1]} hours are too few for windows of {context} + {horizon}"
        )
    hours = _scaled(hours, border)
    windows = hours.unfold(1, context + horizon, stride)  # (C, count, context + horizon), a view
    fine = windows.sum(2).isfinite()
    bad = int((~fine)[:, train | test].sum())
    groups = torch.tensor(columns)[:, None].expand(fine.shape)
    parts = []
    for mask in (fine & train, fine & test):
        if not mask.any():
            return None, bad
        x = windows[mask].float()
        parts.append(Examples(x[:, :context], x[:, context:], groups[mask]))
    return Split(*parts), bad


def _scaled(hours: Tensor, border: int) -> Tensor:
    """Each client by the mean and standard deviation of its hours before `border`; NaN if 0."""
    before = hours[:, :border]
    mean = before.nanmean(1, keepdim=True)
    spread = (before - mean).square().nanmean(1, keepdim=True).sqrt()
    return (hours - mean) / torch.where(spread > 1e-9 * mean.abs(), spread, math.nan)
