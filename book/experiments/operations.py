"""What a row of the papers costs, counted: operations of a pass, and passes of a run with one seed.

A unit is an example's forward pass; its backward pass counts two. Runs are counted at most: what
is retained is counted as all, and every run of L2UL makes `PASSES` passes over its images.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from book.experiments import audit_digits, electricity, faces, l2ul_images, laf_images, stsb
from book.experiments.instances import SHOWN
from book.experiments.papers import Row, row_of
from minilearn.data import AGE_GROUPS, digits
from minilearn.methods import L2UL, LAF
from minilearn.models import cnn, siamese_lstm, tft
from minilearn.training import Training

PEAK = {"T4": 8.1e12, "H100": 67e12}  # single precision without tensor cores, operations a second
SHARE = 1 / 3  # of the peak, sustained
PASSES = 10
STEP = 3  # units of a forward and a backward pass
# Training, validation and test examples; of electricity 370 clients, a window a day, four years.
EXAMPLES = {
    **{"mnist": (60_000, 0, 10_000), "fashion_mnist": (60_000, 0, 10_000)},
    **{"cifar10": (50_000, 0, 10_000), "cifar100": (50_000, 0, 10_000)},
    **{"svhn": (73_257, 0, 26_032), "imagenet": (1_281_167, 0, 50_000)},
    **{"agedb": (12_208, 2_140, 2_140), "imdb_wiki": (191_509, 11_022, 11_022)},
    **{"utkface": (18_966, 0, 4_742), "stsb": (5_749, 1_500, 1_379)},
    "electricity": (403_000, 0, 135_000),
}
FORGOTTEN = {  # by LAF, in the order of its tasks
    "mnist": (11_760, 5_923, 18_355),
    "fashion_mnist": (12_000, 6_000, 18_000),
    "cifar10": (10_000, 5_000, 15_000),
    "svhn": (11_161, 4_948, 27_207),
}


def network(row: Row) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    """A function that makes a row's network, and the shape of one input."""
    name = row.experiment
    if name in laf_images.ROWS:
        pixels = laf_images.ROWS[name][1]
        return lambda: laf_images.network(pixels), (3, 32, 32)
    if name in faces.ROWS:
        net = faces.ROWS[name][1]
        return faces.NETWORKS[net][0], (3, *[faces.PIXELS[net][0]] * 2)
    if name in l2ul_images.ROWS:
        groups = len(AGE_GROUPS["balanced"]) - 1 if row.dataset == "utkface" else 0
        pixels = 224 if "vit" in name else l2ul_images.PIXELS.get(row.dataset, 32)
        return lambda: l2ul_images.ROWS[name].network("paper", groups), (3, pixels, pixels)
    others = {
        "stsb": (lambda: siamese_lstm(vectors=torch.zeros(5, 300)), (2, 10)),
        "electricity": (lambda: tft(width=160), (168,)),
    }
    return others.get(name, (cnn, (1, 28, 28)))


@cache
def operations(experiment: str) -> int:
    """Operations of one example's forward pass: a multiplication and an addition count two."""
    make, shape = network(row_of(experiment))
    x = torch.ones(1, *shape)
    return counted(make(), x.long() if experiment == "stsb" else x)


def counted(net: nn.Module, x: torch.Tensor) -> int:
    """Operations of a network's forward pass over a batch."""
    net = net.eval()
    if any(isinstance(part, nn.LSTM) for part in net.modules()):
        # in single precision a recurrent layer is one operation, which is not counted
        net = net.double()
        x = x.double() if x.is_floating_point() else x
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(x)
    return counter.get_total_flops()


def units(row: Row) -> dict[str, float]:
    """Units of one seed, by what they are spent on."""
    return {"LAF": _laf, "DRU": _dru, "L2UL": _l2ul}[row.work](row)


def hours(row: Row, device: str) -> float:
    """Hours of one seed on a device."""
    return operations(row.experiment) * sum(units(row).values()) / (PEAK[device] * SHARE * 3600)


def audit(draws: int) -> tuple[int, int]:
    """What the trainings of `audit_digits` take for the small CNN: operations, and steps of stacks.

    A draw has an original and two retrained models, each counted as trained on all digits.
    """
    each = counted(audit_digits.NETWORKS["small_cnn"](), torch.ones(1, 1, 8, 8))
    recipe, at_once = audit_digits.RECIPE, audit_digits.AT_ONCE["small_cnn"]
    trainings, examples = 3 * draws, len(digits().train)
    batches = -(-examples // recipe.batch_size)
    steps = trainings // at_once * recipe.epochs * batches
    return each * STEP * trainings * recipe.epochs * examples, steps


def _laf(row: Row) -> dict[str, float]:
    train, _, test = EXAMPLES[row.dataset]
    epochs = Training.paper(row.dataset, "laf").epochs
    forgotten = FORGOTTEN[row.dataset]
    passes = 0
    for task, count in zip(("random", "class", "noisy"), forgotten, strict=True):
        # features once; then two steps a pair of batches, each of as many retained examples
        passes += train + LAF.paper(row.dataset, task).epochs * 2 * STEP * 2 * count
    retained = 3 * train - sum(forgotten)
    return {
        "originals": 3 * epochs * STEP * train,
        "retrained": epochs * STEP * retained,
        "unlearning": passes,
        "evaluation": 3 * 4 * (train + test),
    }


def _dru(row: Row) -> dict[str, float]:
    train, validation, test = EXAMPLES[row.dataset]
    source = "file" if row.dataset == "stsb" else "paper"
    epochs = Training.paper(row.dataset, "blindspot", source).epochs
    configs = {"stsb": stsb.CONFIGS, "electricity": electricity.PAPER_CONFIGS}.get(row.dataset)
    if configs is None:
        configs = faces.recipes(row.dataset, ())
    passes = sum(STEP * config.epochs * train for config in configs.values())
    student = configs["blindspot"]
    passes += STEP * student.teacher.epochs * train + student.epochs * train  # the teacher's answer
    once = {
        "originals": epochs * (STEP * train + validation),
        "retrained": epochs * (STEP * train + validation),
        "unlearning": passes,
        "evaluation": (len(configs) + 3) * (2 * train + test),
    }
    return {part: len(row.tasks) * count for part, count in once.items()}


def _l2ul(row: Row) -> dict[str, float]:
    train, _, test = EXAMPLES[row.dataset]
    case = l2ul_images.ROWS[row.experiment]
    config, settings = L2UL.paper(case.released), len(AGE_GROUPS) * (row.dataset == "utkface") or 1
    requests, each = l2ul_images.STREAM
    items = 2 * sum(case.counts) + requests * each  # two goals, and the stream
    images = 2 * items * config.attack.repeats  # with the anchor and without
    images_again = 2 * 2 * sum(case.counts) * 10  # fresh ones, which show what is kept
    beside = config.batch_size / config.adversarial_batch
    evaluated = SHOWN + test
    once = {
        "originals": case.training.epochs * STEP * train if case.training else 0,
        "attacks": (images + images_again) * config.attack.steps * STEP,
        "unlearning": PASSES * STEP * images * (1 + beside),
        "evaluation": 3 * (2 * len(case.counts) + 1) * evaluated,
    }
    return {part: settings * count for part, count in once.items()}
