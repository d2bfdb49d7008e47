"""A stream of requests, unlearned one after another, that survives being killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from minilearn.checkpoint import fill, held_by
from minilearn.checks import check_count
from minilearn.cost import Cost
from minilearn.data.examples import subset
from minilearn.data.reading import targets_of
from minilearn.evaluation import evaluate
from minilearn.files import check_file, read_state, write_state
from minilearn.fingerprints import fingerprint
from minilearn.functions import check_function
from minilearn.identity import code_of, structure, take_settings, warn_of_state
from minilearn.measured import checked_numbers
from minilearn.metrics.utility import accuracy
from minilearn.models import build, duplicate, evaluation_copy
from minilearn.requests import Request
from minilearn.run import File
from minilearn.unlearn import access, unlearn
from minilearn.unlearned import History, NothingToDo, Unlearned


@dataclass(frozen=True)
class Served:
    """One request of a stream: what was asked, of which model, and which model came out.

    Args:
        request, items, seed: its name, how many items it withdraws, the seed it ran with
        before, after: fingerprints of the two models
        finished: whether the method stopped by its own rule
        recognised: for every request up to this one the share of its items that the new model
            still gives their old label; nothing where there are no classes
        metrics: what `measure` returned
        seconds, samples: what it took
    """

    request: str
    items: int
    seed: int
    before: str
    after: str
    finished: bool
    recognised: tuple[float, ...]
    metrics: dict[str, float]
    seconds: float
    samples: int


def continual(
    method: Callable,
    model: nn.Module,
    requests: Sequence[Request],
    *,
    options: Sequence[dict] = (),
    fresh=None,
    config=None,
    seed: int = 0,
    measure: Callable[[nn.Module], dict] | None = None,
    checkpoint: File | None = None,
) -> tuple[nn.Module, list[Served]]:
    """Unlearn requests one after another, each from the model that the one before it left.

    What was withdrawn before is not retained any more, and a request that an earlier one has met
    already costs nothing. Returned are the last model, and one record a request.

    Args:
        method: any function of `METHODS`
        model: the original
        requests: over one training set, no item in two of them
        options: for each request what else the method takes, such as {"relabel": labels}
        fresh, config: as in `unlearn`
        seed: request i runs with seed + i
        measure: `measure(model)` returns a dictionary of numbers, after every request
        checkpoint: a file that holds the last model and all records; the same call goes on from
            there, on a CPU to the same bits as if never stopped
    Paper: Cha et al. 2024 name the setting; nothing is released for it.          Chapter: 7
    Raises: ValueError if there is no request, they are of several training sets or two withdraw one
        item, or the file is of another stream; whatever the method raises, what is finished is kept
    Example:
        >>> from minilearn.data import Examples
        >>> from minilearn.methods import finetune
        >>> from minilearn.requests import by_index
        >>> train = Examples(torch.randn(6, 2), torch.tensor([0, 1] * 3))
        >>> stream = [by_index(train, [0]), by_index(train, [1, 2])]
        >>> [len(s.recognised) for s in continual(finetune, nn.Linear(2, 2), stream)[1]]
        [1, 2]
    """
    left = _left(requests)
    seed = check_count("seed", seed, 0)
    check_function("measure", measure, "model")
    path = check_file("checkpoint", checkpoint)
    options = list(options) or [{} for _ in requests]
    if len(options) != len(requests):
        raise ValueError(f"{len(requests)} requests need as many options, got {len(options)}")
    if not hasattr(method, "__name__"):  # records and the file say which method it was
        raise ValueError("give the method itself, and what else it takes as options=[{...}, ...]")
    known = signature(method).parameters
    for unknown in {name for given in options for name in given} - {*known}:
        raise ValueError(f"{method.__name__} has no option {unknown!r}, but {', '.join(known)}")
    _check_end(method, requests[-1], left[-1], options[-1])
    model, served = duplicate(model), []
    about = ""
    if path:
        settings = repr(config), seed, measure, fresh and build(fresh, 0)
        about = _identity(method, model, requests, options, settings)
    if path and path.exists():
        model, served = _load(path, about, model, fresh)
    elif path:  # a disk that cannot be written is found out before any work
        _save(path, about, model, served)
    steps = range(len(served), len(requests))
    for i in tqdm(steps, desc="requests", unit="request", delay=1, leave=False):
        arguments = {"fresh": fresh, "config": config, "seed": seed + i} | options[i]
        before = fingerprint(model)
        result = _unlearned(method, model, _of_what_is_left(requests[i], left[i]), arguments)
        model = result.model
        numbers = {}
        if measure:
            with evaluation_copy(model) as twin:
                numbers = checked_numbers("measure", measure(twin))
        served.append(_record(result, before, requests[: i + 1], numbers))
        if path:
            _save(path, about, model, served)
    return model, served


def _of_what_is_left(request: Request, left: Tensor) -> Request:
    """The request over the examples that earlier ones left; without a mask if it asks for all."""
    mask = request.mask[left]
    return Request(subset(request.train, left), None if mask.all() else mask, request.name)


def _unlearned(method: Callable, model: nn.Module, request: Request, arguments: dict) -> Unlearned:
    """What the method makes of the model; the model itself if an earlier request did it, too."""
    try:
        return unlearn(method, model, request, **arguments)
    except NothingToDo:
        config, seed = arguments["config"], arguments["seed"]
        return Unlearned(model, method.__name__, config, seed, History(), Cost())


def _record(result: Unlearned, before: str, requests: Sequence[Request], numbers: dict) -> Served:
    """What is kept of the last of these requests."""
    request, model = requests[-1], result.model
    return Served(
        request=request.name,
        items=int(request.mask.sum()),
        seed=result.seed,
        before=before,
        after=fingerprint(model),
        finished=result.finished,
        recognised=tuple(share for past in requests for share in _recognised(model, past)),
        metrics=numbers,
        seconds=result.cost.seconds,
        samples=result.cost.samples,
    )


def _left(requests: Sequence[Request]) -> list[Tensor]:
    """Which examples no earlier request withdrew, for every request."""
    stream = isinstance(requests, list | tuple)
    if not stream or not requests or not all(isinstance(r, Request) for r in requests):
        raise ValueError("a stream is a list of Requests, one at least")
    withdrawn = torch.zeros_like(requests[0].mask)
    left = []
    for request in requests:
        if request.train is not requests[0].train:
            raise ValueError("the requests of a stream must be of one training set")
        twice = (withdrawn & request.mask).nonzero()
        if len(twice):
            raise ValueError(f"{request.name}: item {int(twice[0])} was withdrawn already")
        left.append(~withdrawn)
        withdrawn = withdrawn | request.mask
    return left


def _check_end(method: Callable, last: Request, left: Tensor, options: dict):
    """Refuse at once a stream that leaves nothing to a method that needs retained data."""
    needs = any(name.startswith("retain") for name in access(method)) and "retain" not in options
    if needs and bool((last.mask | ~left).all()):
        raise ValueError(
            f"{last.name}: the stream withdraws all examples in the end, and {method.__name__} "
            "needs retained ones: leave this request out"
        )


def _recognised(model: nn.Module, request: Request) -> list[float]:
    """The share in a list, which is empty where there are no classes."""
    if targets_of(request.forget).is_floating_point():
        return []
    return [accuracy(evaluate(model, request.forget))]


def _identity(method, model, requests, options, settings: tuple) -> str:
    asked = (requests[0].train, *(r.mask for r in requests), *map(dict, options))
    return fingerprint((method, access(method), settings, model, *asked))


def _load(path: Path, about: str, model: nn.Module, fresh) -> tuple[nn.Module, list[Served]]:
    """The last model, which is built as the original or as a fresh one, and the records."""
    state = read_state(path, {"about", "model", "network", "settings", "served"})
    if state["about"] != about:
        raise ValueError(
            f"{path} belongs to another stream, and holds its last model: choose another file; for "
            "new requests call this again with the model that the stream returned"
        )
    served = [Served(**row | {"recognised": tuple(row["recognised"])}) for row in state["served"]]
    if served:
        built = [model, *([build(fresh, 0)] if fresh else [])]
        like = [network for network in built if _network(network) == state["network"]]
        model = like[0] if like else model
        fill(model, state["model"])
        take_settings(model, state["settings"])
        warn_of_state(path, model, state["settings"])
    return model, served


def _network(model: nn.Module) -> str:
    return fingerprint(([*structure(model).items()], code_of(model)))


def _save(path: Path, about: str, model: nn.Module, served: list[Served]):
    state = {"about": about, "model": held_by(model), "network": _network(model)}
    state["settings"] = structure(model)
    state["served"] = [asdict(s) for s in served]
    write_state(path, state)
