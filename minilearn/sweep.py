"""Measure many settings once each, and keep every number, with its origin, in one file.

`sweep` does it for a model of your own, `run_units` for units of your own. A unit is in the file
with all its rows or not at all (see `minilearn.results`). So the same call goes on where it was
stopped, or killed, and measures nothing twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from pathlib import Path

from joblib import Parallel, delayed
from torch import nn
from tqdm import tqdm

from minilearn.checks import check_choice, check_count, check_kind
from minilearn.cost import Cost
from minilearn.environment import now, provenance
from minilearn.evaluation import evaluate
from minilearn.files import check_file
from minilearn.fingerprints import fingerprint, without_addresses
from minilearn.functions import check_call
from minilearn.identity import code_of_own
from minilearn.losses import Loss
from minilearn.measured import checked_numbers
from minilearn.methods import METHODS, Unlearned, retrain, unlearn
from minilearn.methods.retrain import RECIPE
from minilearn.metrics.metric import ALL
from minilearn.metrics.report import t_half_width
from minilearn.metrics.utility import accuracy
from minilearn.models import build, device_of, evaluation_copy
from minilearn.precision import Process
from minilearn.requests import Request
from minilearn.results import COLUMNS, UNIT, append_unit, read_rows, unit_of
from minilearn.training import NonFiniteLoss, Training
from minilearn.unlearned import NothingToDo

OWN_METRICS = ("samples", "seconds", "overflowed")  # of every unit, whatever `measure` returns


@dataclass(frozen=True)
class Unit:
    """What is written together: the rows of `value` that `measure()` returns.

    The other fields are columns. `config` holds every setting: another config is another unit.
    """

    dataset: str
    request: str
    method: str
    seed: int
    config: str
    measure: Callable[[], list[dict]]

    def _texts(self, experiment: str) -> dict[str, str]:
        """As the file has them: a line break, as in an array's text, is a space there."""
        texts = {name: " ".join(str(getattr(self, name)).splitlines()) for name in UNIT[1:]}
        return {"experiment": experiment} | texts


def value(metric: str, split: str, number, unit: str, published="", source: str = "") -> dict:
    """One number, as text without loss.

    Args: split: "" or one of `registry.ALL`. unit: in words. published: what `source` gives for it
    """
    text = repr(number if isinstance(number, int) else float(number))
    row = {"metric": metric, "split": split, "value": text, "unit": unit}
    return row | {"published": str(published), "source": "" if published == "" else source}


def scores(
    model: nn.Module, request: Request, *, loss: Loss = "auto"
) -> dict[tuple[str, str], float]:
    """Accuracy on `forget` and `retain`, as fractions; of a regression the mean loss.

    Raises: NonFiniteLoss if outputs are not finite, which a sweep writes as `overflowed`
    """
    results = {
        split: evaluate(model, getattr(request, split), loss=loss) for split in ("forget", "retain")
    }
    if not all(bool(result.outputs.isfinite().all()) for result in results.values()):
        raise NonFiniteLoss("the model's outputs are NaN or infinite: it has diverged")
    if results["forget"].targets.is_floating_point():
        return {("loss", split): float(r.loss.double().mean()) for split, r in results.items()}
    return {("accuracy", split): accuracy(result) for split, result in results.items()}


def sweep(
    fresh: Callable[[], nn.Module],
    request: Request,
    methods: Mapping[str, object],
    path: str | os.PathLike,
    *,
    seeds: Iterable[int] = range(3),
    training: Training = RECIPE,
    measure: Callable[[nn.Module, Request], Mapping] = scores,
    jobs: int = 1,
):
    """Measure methods on a request over seeds, beside the original and a retrained model.

    For each seed an original is trained on `request.train`, and each method starts from it.

    Args:
        fresh: makes your network
        methods: settings by name, None for the default ones, with the loss of `training`; the first
            word of a name is one of `minilearn.methods.METHODS`: "scrub", and also "scrub long"
        path: the file; every number is in it as soon as it is measured, and is not measured again;
            new settings are added
        training: the recipe of the original and the retrained model
        measure: `measure(model, request)` returns numbers by metric or by (metric, split), see
            `value`, of a copy in evaluation mode; by default `scores`, by the loss of `training`.
            One with other code, or that keeps other things, is another measure: see `fingerprint`
        jobs: processes that measure at once, each with as many threads as PyTorch has here

    Returns a pandas DataFrame, a row per method and metric: the `mean` over seeds; the `spread`,
    half of the 95 % interval of the mean, NaN with one seed; the number of `seeds`. Beside your
    metrics are `samples` (sample units), `seconds`, and `overflowed` alone where a loss was not
    finite.

    Raises: ValueError if an argument is wrong or the file is damaged; whatever a method raises
    Example:
        >>> import tempfile
        >>> from minilearn.data import digits
        >>> from minilearn.requests import by_class
        >>> request, recipe = by_class(digits().train, 3), Training(epochs=2)
        >>> network = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        >>> methods = {"finetune": Training(epochs=1), "finetune long": Training(epochs=4)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = sweep(network, request, methods, folder + "/my.csv", training=recipe)
        >>> print(table.loc["finetune long"])
                                mean    spread  seeds
        metric
        samples             14520.00...             3
        seconds             ...
        accuracy on forget      0.0...
        accuracy on retain      0.8...
    """
    import pandas  # imported here: it is slow to import

    if not isinstance(request, Request):
        raise ValueError(f"by_class(train, 3) makes a request; this is a {type(request).__name__}")
    check_methods(methods)
    if not isinstance(seeds, Iterable) or not (seeds := [*seeds]):
        raise ValueError(f"seeds must be several, as in seeds=range(3), got {seeds!r:.80}")
    seeds = [check_count("a seed", seed, 0) for seed in seeds]
    check_kind("training", training, Training)
    methods = {name: _settled(name, config, training.loss) for name, config in methods.items()}
    check_kind("measure", measure, Callable)
    check_call("measure", measure, "model", "request")
    check_count("jobs", jobs, 1)
    _ = request.retain  # which retraining needs
    path = _checked(path)
    keys = set()
    for seed in seeds:
        units = _units(fresh, request, methods, training, measure, seed)
        keys |= {unit_of(unit._texts("sweep")) for unit in units}
        if missing("sweep", units, path):  # the original is trained here, not in every process
            original = retrain(fresh, request.train, config=training, seed=seed)
            units = [replace(unit, measure=partial(unit.measure, original)) for unit in units]
            origin = provenance(device_of(original.model), "minilearn.sweep", Path.cwd())
            run_units("sweep", units, path, origin, jobs)
    rows = [row for row in read_rows(path) if unit_of(row) in keys]
    rows.sort(key=lambda row: ["original", "retrained", *methods].index(row["method"]))
    frame = pandas.DataFrame(rows, columns=list(COLUMNS)).astype({"value": float})
    frame["metric"] += (" on " + frame["split"]).mask(frame["split"] == "", "")
    groups = frame.groupby(["method", "metric"], sort=False)["value"]
    return groups.agg(mean="mean", spread=lambda each: t_half_width(list(each)), seeds="count")


def method_of(name: str) -> str:
    """The method that settings are of: the first word of their name."""
    return str(name).split(" ")[0]


def check_methods(methods: Mapping[str, object]):
    """Refuse, by ValueError, what is not settings by name, each None or of its method's kind."""
    if not isinstance(methods, Mapping):
        raise ValueError('methods must be settings by name, as in methods={"finetune": None}')
    for name, config in methods.items():
        check_choice(f"the first word of {name!r} in methods", method_of(name), METHODS)
        parameters = signature(METHODS[method_of(name)]).parameters
        if config is not None and "config" in parameters:
            check_kind(f"methods[{name!r}]", config, type(parameters["config"].default))


def _settled(name: str, config, loss: Loss):
    """The settings of a method; for None its own default ones, with the loss of the training."""
    parameters = signature(METHODS[method_of(name)]).parameters
    default = parameters["config"].default if "config" in parameters else None
    if config is None and loss != "auto" and hasattr(default, "loss"):
        return replace(default, loss=loss)
    return config


def _units(fresh, request, methods, training, measure, seed) -> list[Unit]:
    """The units of one seed, whose `measure` is given the original."""
    start, process = build(fresh, seed), Process()
    measure = partial(scores, loss=training.loss) if measure is scores else measure
    name = getattr(measure, "__name__", type(measure).__name__)
    common = f"training={training}; measure={name} {fingerprint(measure)}; "
    common += f"data={fingerprint((request.train, request.mask))}; "
    common += f"network={fingerprint(start)}" + process.identity()

    def result(name: str, original: Unlearned) -> Unlearned:
        if name == "original":
            return original
        if name == "retrained":  # from other new weights than the original
            return retrain(fresh, request.retain, config=training, seed=100 + seed)
        begin = start.to(device_of(original.model))
        arguments = {"fresh": fresh, "start": begin, "config": methods[name], "seed": seed}
        try:
            return unlearn(METHODS[method_of(name)], original.model, request, **arguments)
        except NothingToDo:  # the original answers as asked
            return replace(original, cost=Cost())

    def numbers(name: str, original: Unlearned) -> list[dict]:
        try:
            unlearned = result(name, original)
            with evaluation_copy(unlearned.model) as twin:
                measured = checked_numbers("measure", measure(twin, request))
        except NonFiniteLoss:
            return [value("overflowed", "", 1, "runs")]
        rows = [value("samples", "", unlearned.cost.samples, "sample units")]
        rows.append(value("seconds", "", unlearned.cost.seconds, "s"))
        rows += [value(*_metric_and_split(key), n, "as measured") for key, n in measured.items()]
        return rows

    units = []
    for name in ("original", "retrained", *methods):
        config = common + (_settings(name, methods[name]) if name in methods else "")
        config = without_addresses(config)
        data = f"{len(request.train)} examples"
        units.append(Unit(data, request.name, name, seed, config, partial(numbers, name)))
    return units


def _metric_and_split(key: str | tuple[str, str]) -> tuple[str, str]:
    """The two of a name that `measure` returns."""
    metric, split = (key, "") if isinstance(key, str) else key
    if metric in OWN_METRICS or split not in ("", *ALL):
        raise ValueError(
            f"measure returns {key!r}: give other names than {', '.join(OWN_METRICS)}, and as the "
            f"split of (metric, split) one of {', '.join(ALL)}"
        )
    return metric, split


def _settings(name: str, config) -> str:
    """What a unit of a method depends on; of an own method its code, too."""
    code = code_of_own(METHODS[method_of(name)])
    return f"; {name}={config}" + (f" {code} {fingerprint(config)}" if code else "")


def run_units(experiment: str, units: Iterable[Unit], path, origin: dict, jobs: int = 1) -> int:
    """Measure every unit that the file at `path` lacks, write each as it is done; returns how many.

    Several machines take a part each: `units[1::8]` is the second of eight.

    Args: origin: what `environment.provenance` returns. jobs: as in `sweep`; with several the
        `measure` of a unit must be one that can be pickled
    Raises: ValueError if the file is damaged or cannot be written, or `jobs` no number from 1 on;
        whatever a unit raises
    """
    path = _checked(path)
    waiting = missing(experiment, units, path)
    process = Process()

    def measured(unit: Unit) -> tuple[dict, list[dict]]:
        with process.again():
            return unit._texts(experiment), unit.measure()

    pool = Parallel(check_count("jobs", jobs, 1), batch_size=1, return_as="generator_unordered")
    results = pool(delayed(measured)(unit) for unit in waiting)
    written = 0
    for texts, rows in tqdm(results, experiment, len(waiting), unit="unit"):
        common = dict.fromkeys(COLUMNS) | origin | texts | {"utc": now()}
        written += append_unit(path, [common | row for row in rows])
    return written


def _checked(path) -> Path:
    return check_file("path", "" if path is None else path)


def missing(experiment: str, units: Iterable[Unit], path) -> list[Unit]:
    """The units that the file at `path` does not have."""
    measured = {unit_of(row) for row in read_rows(path)}
    return [unit for unit in units if unit_of(unit._texts(experiment)) not in measured]
