"""How much faster LAF is than by the released procedure.

`laf` is all of it, from the training set and the class to be forgotten to the new model: finding
the indices, both autoencoders, the student. `laf_fast` is the same in single precision inside
`fast`: channels last, fused optimisers, and on a GPU recorded steps. `laf_vaes` is the first part
without the indices, `laf_student` the second. Both sides have the same network, images, settings
and number of steps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial

import torch

from book.experiments import Run
from book.experiments import released_laf as released
from book.experiments.label_free import CLASS
from minilearn import data
from minilearn.cost import Cost
from minilearn.data.examples import Examples
from minilearn.methods import LAF, laf
from minilearn.models import build, cnn
from minilearn.parts.vae import autoencoders, original_features
from minilearn.precision import fast
from minilearn.requests import by_class
from minilearn.sweep import Unit

PIXELS = 28
CONFIG = LAF.paper("mnist", "class")
# one as released; with few images its start is felt, and the faster counts
WORKERS = {"toy": (0, 1), "small": (0, 1), "paper": (1,)}


def images(run: Run) -> Examples:
    """The digits as large as MNIST's, or, at size "paper", MNIST itself."""
    train = data.load("mnist").train if run.size == "paper" else data.digits(PIXELS).train
    return train.to(run.device)


def units(run: Run, timed: Callable) -> Iterator[Unit]:
    """The whole and its two parts; `timed(name, ours, theirs, device, workers)` takes the times."""
    name = "mnist" if run.size == "paper" else "digits"
    text = f"size={run.size}; {run.device.type}; {name}, {PIXELS} pixels; cnn; {CONFIG}; "
    text += f"released loader with {' or '.join(map(str, WORKERS[run.size]))} workers"

    @cache
    def sides(seed: int) -> dict:  # the images are read when the first is measured
        return _sides(images(run), CONFIG, seed)

    def measure(method: str, seed: int) -> list[dict]:
        return timed(method, *sides(seed)[method], run.device, WORKERS[run.size])

    for seed in run.seeds:
        for method in ("laf", "laf_fast", "laf_vaes", "laf_student"):
            one = partial(measure, method, seed)
            yield Unit(name, f"class {CLASS}", method, seed, text, one)


def _sides(train: Examples, config: LAF, seed: int) -> dict[str, tuple[Callable, Callable]]:
    """(ours, theirs) by name; theirs takes the number of workers."""
    model = build(lambda: cnn(10, train.inputs.shape[-1]), seed).to(train.device)
    request = by_class(train, CLASS)
    chosen, rest = (mask.nonzero().flatten().tolist() for mask in (request.mask, ~request.mask))

    def ours(config: LAF = config):
        request = by_class(train, CLASS)
        laf(model, request.forget.inputs, request.retain.inputs, config=config, seed=seed)

    def prepared():
        cost = Cost()
        forget = original_features(model, request.forget.inputs, config.layer, "forget", cost)
        retain = original_features(model, request.retain.inputs, config.layer, "retain", cost)
        autoencoders(forget, retain, config, seed, None, cost)

    def read(which: list[int], workers: int):
        return released.loader(train, which, config.batch_size, workers)

    def vaes(workers: int, indices=(chosen, rest)):
        h, h_f = released.vaes(model, 256, config)
        twin = copy.deepcopy(model)
        released.train_vae(h, twin, read(sorted(indices[0] + indices[1]), workers), config)
        released.train_vae(h_f, twin, read(indices[0], workers), config)
        return h, h_f

    def student(workers: int, indices=(chosen, rest), pair=None):
        forget, retain = (read(some, workers) for some in indices)
        pair = released.vaes(model, 256, config) if pair is None else pair
        released.unlearn(copy.deepcopy(model), copy.deepcopy(model), pair, forget, retain, config)

    def whole(workers: int):
        indices = released.divided(train, CLASS)
        student(workers, indices, vaes(workers, indices))

    return {
        "laf": (ours, whole),
        "laf_fast": (fast(torch.float32, graph=True)(ours), whole),
        "laf_vaes": (prepared, vaes),
        "laf_student": (partial(ours, replace(config, vae=replace(config.vae, epochs=0))), student),
    }
