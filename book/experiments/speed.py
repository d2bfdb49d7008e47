"""How much faster one Blindspot epoch on rotated digits is than by the released procedure.

Both are timed in one run, in turns, after one turn that does not count; the ratio is of medians of
five turns, or of fewer (`turns`) if a minute is over before. A first turn that takes longer than
that counts, and is the only one.
Same network, images, batches of 256, number of steps and kind of loss. `blindspot` is a student's
epoch and the evaluation of the test set after it, `blindspot_fast` the same inside `fast()`, with
channels last, a fused optimiser and, on a GPU, bfloat16; `reading` the training data read once,
`evaluation` the test set evaluated once. See `released` for what stands on the other side.

Included there: PIL images and their transforms, masks, the teacher's answer on the whole batch,
one wait a step. Not included, though released: reading files and decoding JPEG, loaders for other
evaluations, weights saved every epoch. Its loader runs with and without worker processes, and the
faster of the two counts. The teacher is not trained: its weights cost the same. At size "paper" the
same is timed on made faces: random pixels and ages in AgeDB's shape and number, which cost what
AgeDB's own would. The rows of L2UL are those of `speed_l2ul`, those of LAF of `speed_laf`, and
those of every method beside a bare loop of `overhead`.
"""

from __future__ import annotations

import copy
import os
import statistics
from collections.abc import Callable, Iterator
from functools import partial

import torch
from tqdm import tqdm

from book.experiments import Run, overhead, released, speed_l2ul, speed_laf
from book.experiments.overhead import seconds_of
from book.experiments.rotated_digits import BAND
from minilearn import data
from minilearn.data.batches import mixed
from minilearn.evaluation import evaluate
from minilearn.methods.blindspot import Blindspot, blindspot
from minilearn.models import allcnn, build
from minilearn.precision import fast
from minilearn.requests import Request, by_range
from minilearn.sweep import Unit, value

SEEDS = 3
# pixels, copies of every digit, width of AllCNN
SIZES = {"toy": (16, 2, 0.125), "small": (24, 4, 0.25), "paper": (32, 10, 1.0)}
FACES = {"paper": (32, 12_208, 2_140)}  # pixels, faces to train on, faces to test on
MADE = "made faces"  # what the rows call them
REPEATS, ENOUGH = 5, 60.0  # turns; seconds after which no other is begun
CONFIG = Blindspot(batch_size=released.BATCH, beta=released.BETA, lr=released.LR)
WORKERS = min(64, os.cpu_count() or 1)  # 64 as released, but never more than there are processors


def units(run: Run) -> Iterator[Unit]:
    """The epoch as a whole, and two of its parts."""
    pixels, copies, width = SIZES[run.size]
    digits = data.rotated_digits(pixels, copies)
    about = f"rotated_digits({pixels}, {copies}); allcnn, width {width}"
    yield from _epoch(run, "rotated_digits", digits, BAND, about)
    yield from speed_l2ul.units(run, timed)
    yield from speed_laf.units(run, timed)
    yield from overhead.units(run)
    if run.size in FACES:
        about = f"made faces {FACES[run.size]}; allcnn, width {width}"
        yield from _epoch(run, MADE, made_faces(*FACES[run.size]), data.BANDS["agedb"], about)


def made_faces(pixels: int, train: int, test: int) -> data.Split:
    """Faces in AgeDB's shape: random pixels, and whole ages from 1 to 101, all equally often."""
    order = torch.Generator().manual_seed(0)

    def made(count: int) -> data.Examples:
        faces = torch.rand(count, 3, pixels, pixels, generator=order)
        return data.Examples(faces, torch.randint(1, 102, (count,), generator=order).float())

    return data.Split(made(train), made(test))


def _epoch(run: Run, dataset: str, sets: data.Split, band: tuple, about: str) -> Iterator[Unit]:
    train, test = (part.to(run.device) for part in sets)
    request = by_range(train, *band)
    config = f"size={run.size}; {run.device.type}; {about}; {CONFIG}; medians of {REPEATS}; "
    config += f"released loader with 0 or {WORKERS} workers"
    for seed in run.seeds:
        for name, (ours, theirs) in _sides(run, request, test, seed).items():
            measure = partial(timed, name, ours, theirs, run.device, (0, WORKERS))
            yield Unit(dataset, request.name, name, seed, config, measure)


def _sides(run: Run, request: Request, test, seed: int) -> dict[str, tuple[Callable, Callable]]:
    """(ours, theirs) by name; theirs takes the number of workers."""
    device = run.device

    def fresh():
        channels = test.inputs.shape[1]
        return allcnn(width=SIZES[run.size][2], channels=channels).to(device)

    student, teacher = build(fresh, seed), build(fresh, seed + 1)
    pictures = released.Pictures(request.train, request.mask, training=True)
    unseen = released.Pictures(test, torch.zeros(len(test)), training=False)
    forget, retain = request.forget.inputs, request.retain
    order = torch.Generator().manual_seed(seed)

    def ours():
        options = {"fresh": fresh, "teacher": teacher, "config": CONFIG, "seed": seed}
        evaluate(blindspot(student, forget, retain, **options).model, test)

    def theirs(workers: int):
        pupil = copy.deepcopy(student)
        train = released.loader(pictures, workers, shuffle=True)
        released.blindspot_epoch(pupil, teacher, train, device)
        validate(workers, pupil)

    def validate(workers: int, network=student):
        released.validate(network, released.loader(unseen, workers, shuffle=False), device)

    def read(workers: int):
        released.read(released.loader(pictures, workers, shuffle=True), device)

    return {
        "blindspot": (ours, theirs),
        "blindspot_fast": (fast()(ours), theirs),
        "reading": (lambda: list(mixed(forget, retain, released.BATCH, order=order)), read),
        "evaluation": (lambda: evaluate(student, test), validate),
    }


def timed(name: str, ours: Callable, theirs: Callable, device, workers=(0,)) -> list[dict]:
    """Ratio and both times; `theirs` is called with each number of workers, the fastest counts."""
    runs = [ours, *(partial(theirs, count) for count in dict.fromkeys(workers))]
    times = []
    while not times or (len(times) <= REPEATS and sum(map(sum, times)) < ENOUGH):
        times.append([seconds_of(run, device) for run in runs])
    times = times[1:] or times
    here, *there = (statistics.median(column) for column in zip(*times, strict=True))
    slow = min(there)
    tqdm.write(f"{name}: released {slow:.4f} s, here {here:.4f} s, ratio {slow / here:.2f}")
    rows = [value("ratio", "", slow / here, "x"), value("seconds", "", here, "s")]
    rows.append(value("released_seconds", "", slow, "s"))
    return [*rows, value("turns", "", len(times), "turns")]
