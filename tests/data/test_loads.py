"""Hourly loads: windows against a loop, the split in time, scaling, both forms of the file."""

import math

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minilearn.data import Examples, MissingData, daily_loads, electricity, level, load
from minilearn.data import loads as module
from minilearn.evaluation import evaluate
from minilearn.requests import Request
from minilearn.training import Training, fit

SMALL = {"context": 6, "horizon": 3, "stride": 3}


def hourly(hours: int, clients: int = 2, seed: int = 0) -> pandas.DataFrame:
    random = np.random.default_rng(seed)
    index = pandas.date_range("2016-07-01 02:00", periods=hours, freq="h", name="date")
    loads = random.integers(1, 100, (hours, clients)).astype(float)
    return pandas.DataFrame(loads, index, [str(i) for i in range(clients)])


def write(root, frame, name="loads.csv"):
    (root / "electricity").mkdir(exist_ok=True)
    path = root / "electricity" / name
    # the form of the subsets in use: 2016/7/1 2:00
    stamps = [f"{t.year}/{t.month}/{t.day} {t.hour}:{t.minute:02}" for t in frame.index]
    frame.set_axis(stamps).rename_axis("date").to_csv(path)
    return {"root": root, "file": name}


def by_a_loop(loads: np.ndarray, context: int, horizon: int, stride: int):
    """(client, inputs, targets, is a test window) of every window that is used, one at a time."""
    starts = list(range(0, len(loads) - context - horizon + 1, stride))
    held = max(1, round(0.25 * len(starts)))
    border = starts[-held] + context
    for client, series in enumerate(loads.T):
        known = series[:border]
        scaled = (series - np.nanmean(known)) / np.nanstd(known)
        for k, s in enumerate(starts):
            test = k >= len(starts) - held
            if test or s + context + horizon <= border:
                window = scaled[s : s + context + horizon]
                yield client, window[:context], window[context:], test


def check(split, loads, **sizes):
    wanted = list(by_a_loop(loads, **sizes))
    for part, is_test in zip(split, (False, True), strict=True):
        chosen = [w for w in wanted if w[3] == is_test and np.isfinite([*w[1], *w[2]]).all()]
        assert part.groups.tolist() == [w[0] for w in chosen]
        for got, i in ((part.inputs, 1), (part.targets, 2)):
            expected = torch.tensor(np.array([w[i] for w in chosen]), dtype=torch.float32)
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_the_hourly_form(tmp_path):
    frame = hourly(60, 3)
    split = electricity(**write(tmp_path, frame), **SMALL)
    check(split, frame.to_numpy(), **SMALL)
    assert split.train.inputs.dtype == torch.float32 and split.train.groups.dtype == torch.int64


@settings(max_examples=60)
@given(st.integers(30, 80), st.integers(1, 9), st.integers(1, 5), st.integers(1, 9))
def test_windows_of_any_size(hours, context, horizon, stride):
    sizes = {"context": context, "horizon": horizon, "stride": stride}
    loads = hourly(hours).to_numpy()
    split, bad = module._windows(torch.tensor(loads.T), [0, 1], context, horizon, stride)
    assert bad == 0
    check(split, loads, **sizes)


def test_no_training_window_sees_a_test_target():
    hours = torch.arange(100, dtype=torch.float64)[None]
    for stride in (1, 2, 5):
        train, test = module._windows(hours, [0], 6, 3, stride)[0]
        assert train.targets.max() < test.targets.min()


def test_clients_by_number_and_by_name(tmp_path):
    frame = hourly(60, 4)
    there = write(tmp_path, frame)
    whole = electricity(**there, **SMALL).train
    chosen = electricity(**there, **SMALL, clients=["3", "1"]).train
    assert chosen.groups.unique().tolist() == [1, 3]
    for group in (1, 3):
        mine, all_ = (x.inputs[x.groups == group] for x in (chosen, whole))
        torch.testing.assert_close(mine, all_)
    assert electricity(**there, **SMALL, clients=2).train.groups.unique().tolist() == [0, 1]


def original(root, frame, quarters=None):
    """LD2011_2014.txt with each hour's load in quarters of which it is the mean."""
    (root / "electricity").mkdir(exist_ok=True)
    lines = ['"";' + ";".join(f'"MT_{int(c) + 1:03}"' for c in frame)]
    for stamp, row in frame.iterrows():
        for i, off in enumerate((-3, -1, 1, 3)):
            end = stamp + pandas.Timedelta(minutes=15 * (i + 1))
            cells = [f"{load + off:.2f}".replace(".", ",") for load in row]
            lines.append(f'"{end:%Y-%m-%d %H:%M:%S}";' + ";".join(cells))
    lines = lines if quarters is None else quarters(lines)
    (root / "electricity" / "LD2011_2014.txt").write_text("\n".join(lines) + "\n")
    return root


def test_the_original_form(tmp_path):
    frame = hourly(60, 2)
    split = electricity(root=original(tmp_path, frame), **SMALL)
    check(split, frame.to_numpy(), **SMALL)
    one = electricity(root=tmp_path, **SMALL, clients=["MT_002"]).test
    assert one.groups.unique().tolist() == [1]


def test_an_hour_with_three_quarters_is_missing(tmp_path):
    frame = hourly(60, 2)
    original(tmp_path, frame, lambda lines: lines[:50] + lines[51:])  # one quarter of hour 12
    frame.iloc[12] = math.nan
    with pytest.warns(UserWarning, match="left out: 6 of 36 windows of .* are bad") as warned:
        split = electricity(root=tmp_path, **SMALL)
    check(split, frame.to_numpy(), **SMALL)
    assert warned[0].filename == __file__


def test_missing_and_unread_hours_are_left_out(tmp_path):
    frame = hourly(60, 3).astype(object)
    frame.iloc[20, 0], frame.iloc[40, 1], frame.iloc[:10, 2] = "", "broken", 0
    there = write(tmp_path, frame.drop(frame.index[30]))  # and an hour without a row
    frame.iloc[30], frame.iloc[20, 0], frame.iloc[40, 1], frame.iloc[:10, 2] = (math.nan,) * 4
    loads = frame.to_numpy(dtype=float)
    bad = sum(not np.isfinite([*w[1], *w[2]]).all() for w in by_a_loop(loads, **SMALL))
    with pytest.warns(UserWarning, match=f"left out: {bad} of 54 windows"):
        split = electricity(**there, **SMALL)
    check(split, loads, **SMALL)
    with pytest.raises(ValueError, match=f"{bad} of 54 windows of .*on_bad"):
        electricity(**there, **SMALL, on_bad="refuse")


@pytest.mark.parametrize("value", [0.0, 7.3])
def test_a_client_that_never_changes_is_left_out(tmp_path, value):
    frame = hourly(60, 2)
    frame["1"] = value
    with pytest.warns(UserWarning, match="18 of 36 windows .*the load never changes"):
        split = electricity(**write(tmp_path, frame), **SMALL)
    assert split.train.groups.unique().tolist() == [0]
    with (
        pytest.raises(ValueError, match="18 of 18 windows .* none is left"),
    ):
        electricity(**write(tmp_path, frame), **SMALL, clients=["1"])


def test_the_missing_file(tmp_path):
    wanted = r"the file electricity/LD2011_2014\.txt belongs in the folder"
    with pytest.raises(MissingData, match=f"electricity is not there: {wanted}.*does not exist"):
        load("electricity", root=tmp_path / "none")
    write(tmp_path, hourly(60))
    with pytest.raises(MissingData, match=r"or name one that is there by file=: loads\.csv$"):
        electricity(root=tmp_path)


def text(root, content):
    (root / "electricity").mkdir(exist_ok=True)
    content = content if isinstance(content, bytes) else content.encode()
    (root / "electricity" / "t.csv").write_bytes(content)
    return {"root": root, "file": "t.csv"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "has no client: it needs a column after the dates"),
        ("date\n2016/7/1 2:00\n", "has no client"),
        ("day,0\n2016/7/1 2:00,1\n", "the first column of .* is 'day', not 'date'"),
        ("date,0\n", "hold 'nothing': write dates as 2014-01-31 13:00"),
        ("date,0\nyesterday,1\n", "hold 'yesterday': write dates as"),
        ("date,0\n01/02/2014 00:00,1\n", "hold '01/02/2014 00:00': write dates as"),
        ("date,0\n13.01.2014 00:00,1\n", "hold '13.01.2014 00:00': write dates as"),
        ("date,0\n2016/7/1 2:00,1\n2016/7/1 2:00,1\n", "has two rows for 2016-07-01 02:00"),
        ("date,0\n2016/7/1 2:30,1\n", "is not by the hour: it has 2016-07-01 02:30"),
        ("date,0\n2016/7/1 2:00,1\n", "1 hours give fewer than two windows of 168"),
        (
            "date,0\n2016-03-27 01:00+01:00,1\n2016-03-27 03:00+02:00,1\n",
            "are in several time zones, .*: write all of them in UTC",
        ),
        (b"date,0\n2016/7/1 2:00,\xe9\n", "is no text in UTF-8"),
        ('date,0\n"2016/7/1 2:00,1\n', "is no table: .*EOF"),
    ],
)
def test_files_that_are_no_such_table(tmp_path, content, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        electricity(**text(tmp_path, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"context": 0}, "context must be a whole number of at least 1, got 0"),
        ({"horizon": "a day"}, "horizon must be .* got 'a day'"),
        ({"stride": 1.5}, "stride must be .* got 1.5"),
        ({"context": 500}, r"60 hours give fewer than two windows of 500 \+ 3"),
        ({"context": 45, "horizon": 9, "stride": 1}, "none of the 7 windows ends before"),
        ({"clients": 0}, "clients must be a whole number of at least 1, got 0"),
        ({"clients": 9}, "clients is a list of columns, or a number up to 2, got 9"),
        ({"clients": "0"}, "clients is a list of columns, or .* got '0'"),
        ({"clients": ["9"]}, "has no client '9'; its clients are '0' to '1'"),
        ({"clients": []}, "clients must name one column or more, each once"),
        ({"clients": ["0", "0"]}, "each once"),
        ({"file": 3}, "file must be a str, got int"),
        ({"file": "other.csv"}, r"other.csv belongs in .* by file=: loads\.csv"),
        ({"on_bad": "ignore"}, "on_bad is one of .'refuse', 'skip'., got 'ignore'"),
        ({"root": 3}, "root must be the path of a folder"),
    ],
)
def test_options_that_make_no_sense(tmp_path, option, sentence):
    there = write(tmp_path, hourly(60))
    with pytest.raises(ValueError, match=sentence):
        electricity(**there | SMALL | option)


@pytest.mark.realdata
def test_the_real_subsets(realdata_root):
    folder = realdata_root / "electricity"
    if not folder.is_dir():
        pytest.skip("no electricity in the folder of real data")
    train, test = electricity(root=realdata_root, file="electricity_26304h_2clients.csv")
    assert len(train) + len(test) == 2 * ((26304 - 192) // 24 + 1)
    assert train.inputs.shape[1:] == (168,) and test.targets.shape[1:] == (24,)
    with pytest.warns(UserWarning, match="of 6902 windows"):  # 203 clients of 34 windows
        train, test = electricity(root=realdata_root, file="electricity_1000h_203clients.csv")
    assert 6800 < len(train) + len(test) < 6902
    assert level(test).abs().max() < 10


def test_daily_loads_by_seed_and_size():
    (train, test), again, other = daily_loads(), daily_loads(), daily_loads(seed=1)
    assert train.inputs.shape == (1600, 168) and test.targets.shape == (528, 24)
    assert torch.equal(train.inputs, again.train.inputs)
    assert not torch.equal(train.inputs, other.train.inputs)
    assert train.groups.unique().tolist() == list(range(16))
    small = load("daily_loads").test, daily_loads(households=1, days=60).test
    assert torch.equal(small[0].targets, test.targets) and len(small[1]) == round(0.25 * 53)
    state = torch.get_rng_state()
    daily_loads(1, 60)
    assert torch.equal(torch.get_rng_state(), state)


def test_heating_is_what_is_stated():
    """A household with and without cold, from the same draws: the rest cancels."""
    cold = torch.arange(14, dtype=torch.float64)
    made = [
        module._household(degrees, torch.Generator().manual_seed(3)).reshape(14, 24)
        for degrees in (cold, 0 * cold)
    ]
    size = 0.5 + 2 * torch.rand(1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    extra = (made[0] - made[1]) / size
    night = [*range(6), 22, 23]
    torch.testing.assert_close(extra[:, night].mean(1), 0.25 * cold, rtol=0.1, atol=0.01)
    torch.testing.assert_close(extra[:, 6:22].mean(1), 0.1 * cold, rtol=0.1, atol=0.01)


def test_level_is_the_mean_of_the_day():
    train = daily_loads().train
    torch.testing.assert_close(level(train), torch.stack([y.mean() for y in train.targets]))
    request = Request(train, level(train) > 0.8, "days of high load")
    assert 0.15 < request.mask.float().mean() < 0.25


def test_retraining_without_high_days_fails_on_them_only():
    train, test = daily_loads()
    high, kept = level(test) > 0.8, train[level(train) <= 0.8]
    errors = []
    for data in (train, kept):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(168, 64), nn.ReLU(), nn.Linear(64, 24))
        fit(net, data, Training(epochs=10, lr=2e-3), progress=False)
        loss = evaluate(net, test).loss
        errors.append((loss[high].mean(), loss[~high].mean()))
    (high_before, rest_before), (high_after, rest_after) = errors
    assert high_after > 1.5 * high_before and rest_after < 1.2 * rest_before


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: daily_loads(0), "households must be a whole number of at least 1, got 0"),
        (lambda: daily_loads(days=59), "days must be a whole number of at least 60, got 59"),
        (lambda: daily_loads(days="all"), "days must be .* got 'all'"),
        (lambda: daily_loads(seed=-1), "seed must be a whole number of at least 0"),
        (lambda: level(daily_loads()), "the level of a day needs Examples .*, got Split"),
        (lambda: level(None), "the level of a day needs .*, got NoneType"),
        (lambda: level(Examples(torch.zeros(2, 3), torch.zeros(2))), r"float32 of shape \(2,\)"),
        (lambda: level(Examples(torch.zeros(2), torch.tensor([0, 1]))), "got torch.int64 of"),
    ],
)
def test_calls_that_make_no_sense(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
