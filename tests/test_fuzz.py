"""Odd arguments to every public function, in odd states of torch, and stops at odd moments.

What must hold whatever is given: a result or one sentence of this package, arguments as they were,
and torch's, NumPy's and Python's global state as before. MINILEARN_FUZZ sets how many calls are
tried; `make test` tries a few hundred.
"""

import dataclasses
import inspect
import os
import random
import traceback
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from shared import Pairs, unseen
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset

import minilearn
from minilearn import (
    data,
    draws,
    losses,
    methods,
    metrics,
    models,
    plots,
    precision,
    requests,
    widgets,
)
from minilearn.data import Examples
from minilearn.data.examples import Unlabelled
from minilearn.evaluation import evaluate
from minilearn.fingerprints import fingerprint
from minilearn.kernels.abs_bmm import abs_bmm
from minilearn.kernels.gaussian_elbo import gaussian_elbo
from minilearn.kernels.l2_pgd import l2_pgd_step
from minilearn.kernels.laf_losses import alignment_loss, cosine_distance, reconstruction_error
from minilearn.kernels.mixed_l1 import mixed_l1
from minilearn.methods import METHODS, PGD, unlearn
from minilearn.parts.attention import attention_map, attention_transfer
from minilearn.run import Run
from minilearn.sources import design, sources_of_variance
from minilearn.stack import side_by_side, stack, unstack
from minilearn.training import Training, fit
from minilearn.trials import Trials, pairs_of_draws, trials

PACKAGE = str(Path(minilearn.__file__).parent)


@pytest.fixture(autouse=True, scope="module")
def _folder_of_its_own(tmp_path_factory):
    """A text is the name of a file where a checkpoint is asked for."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("fuzz"))
    yield
    os.chdir(before)


CALLS = int(os.environ.get("MINILEARN_FUZZ", "400"))


class Net(nn.Module):
    """Counts its passes, and may stop the program at one of them."""

    passes, stop_at = 0, None

    def __init__(self, outputs: int = 3, seed: int = 1):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            first = nn.Conv2d(1, 2, 3)
            self.body = nn.Sequential(first, nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(0.1))
            self.head = nn.Linear(8, outputs)

    def forward(self, x):
        Net.passes += 1
        if Net.passes == Net.stop_at:
            raise KeyboardInterrupt
        out = self.head(self.body(x).flatten(1))
        return out.squeeze(1) if out.shape[1] == 1 else out


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])

    def __len__(self):
        return 4


def classes(n: int = 16) -> Examples:
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    return Examples(x, torch.arange(n) % 3, torch.arange(n) // 2)


def numbers(n: int = 16) -> Examples:
    return Examples(classes(n).inputs, torch.arange(n) / 5)


def seen(n: int = 8, task=classes) -> object:
    return evaluate(Net(3 if task is classes else 1), task(n))


def of_rows() -> torch.Tensor:
    return torch.rand(5, 4)


# What nobody should give, made anew for every call.
ODD = {
    "none": lambda: None,
    "true": lambda: True,
    "minus one": lambda: -1,
    "zero": lambda: 0,
    "half": lambda: 0.5,
    "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "huge": lambda: 10**30,
    "numpy's integer": lambda: np.int64(2),
    "numpy's number": lambda: np.float32(0.5),
    "text": lambda: "text",
    "no text": lambda: "",
    "bytes": lambda: b"bytes",
    "list": lambda: [1, 2],
    "no list": lambda: [],
    "texts": lambda: ["a", "b"],
    "tuple": lambda: (1, 2),
    "set": lambda: {1, 2},
    "dictionary": lambda: {"a": 1},
    "object": object,
    "class": lambda: Examples,
    "function": lambda: len,
    "path": lambda: Path("."),
    "frame": lambda: pandas.DataFrame({"a": [1.0, 2.0], "b": [0, 1]}),
    "array": lambda: np.zeros((4, 3), "float32"),
    "scalar": lambda: torch.tensor(1.0),
    "no rows": lambda: torch.zeros(0, 3),
    "row": lambda: torch.arange(4.0),
    "labels": lambda: torch.tensor([0, 1, 2, 1]),
    "mask": lambda: torch.tensor([True, False, True]),
    "NaNs": lambda: torch.full((4, 1, 4, 4), float("nan")),
    "doubles": lambda: torch.rand(16, 1, 4, 4, dtype=torch.float64),
    "halves": lambda: torch.rand(16, 1, 4, 4).half(),
    "complex": lambda: torch.zeros(4, 3, dtype=torch.complex64),
    "elsewhere": lambda: torch.zeros(16, 1, 4, 4, device="meta"),
    "with a gradient": lambda: torch.rand(16, 1, 4, 4).requires_grad_(),
    "other shape": lambda: torch.rand(16, 5),
    "classes": classes,
    "numbers": numbers,
    "one example": lambda: classes(1),
    "dataset": lambda: Pairs(classes()),
    "inputs alone": lambda: Unlabelled(Pairs(classes())),
    "subset": lambda: Subset(Pairs(classes()), [1, 2, 3]),
    "stream": Stream,
    "loader": lambda: DataLoader(Pairs(classes()), generator=torch.Generator()),
    "request": lambda: requests.by_class(classes(), 1),
    "network": Net,
    "one output": lambda: Net(1),
    "other network": lambda: nn.Linear(3, 2),
    "no weights": nn.ReLU,
    "frozen": lambda: Net().requires_grad_(False),
    "double network": lambda: Net().double(),
    "half network": lambda: Net().half(),
    "network elsewhere": lambda: Net().to("meta"),
    "broken network": lambda: nn.Sequential(nn.Flatten(), nn.Linear(5, 3)),
    "training": Training,
    "evaluation": seen,
}

SHORT = {
    "epochs": 1,
    "batch_size": 4,
    "attack": PGD(eps=9.0, step=3.0, steps=3, repeats=1),
    "vae": Training(epochs=1, batch_size=4),
    "teacher": Training(epochs=1, batch_size=4),
}


def short(method):
    """A method's own settings for a run of a moment."""
    config = inspect.signature(method).parameters["config"].default
    fields = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **{k: v for k, v in SHORT.items() if k in fields})


def of_method(name: str):
    """A right call of a method through `unlearn`."""
    method = METHODS[name]
    for_numbers = name in ("blindspot", "amnesiac")
    task, outputs = (numbers, 1) if for_numbers else (classes, 3)

    def arguments() -> dict:
        request = requests.by_index(task(), [0, 1, 2, 3, 4])
        everything = {
            "model": Net(outputs),
            "fresh": lambda: Net(outputs),
            "start": Net(outputs, seed=5),
            "forget": request.forget,
            "retain": request.retain,
        }
        sees = [part.split() for part in methods.access(method)]
        given = {n: data.without_targets(everything[n]) if i else everything[n] for n, *i in sees}
        return given | {"config": short(method), "seed": 0, "watch": None, "checkpoint": None}

    return method, arguments


def request_of(task=classes):
    return requests.by_index(task(), [0, 1, 2, 3, 4])


def reported() -> dict:
    return {
        "request": request_of(),
        "test": unseen(classes(9)),
        "original": [Net()],
        "retrained": [Net(seed=2), Net(seed=3), Net(seed=4)],
        "methods": {"one": [Net()]},
        "metrics": ["accuracy", "gap", "js", "loss_attack_auc"],
    }


# Right calls: the function, and its arguments made anew.
RIGHT = {name: of_method(name) for name in METHODS}
RIGHT["unrolling"] = (
    METHODS["unrolling"],
    lambda: {"model": Net(), "forget": classes(5), "start": Net(seed=5), "seed": 0},
)
RIGHT |= {
    "unlearn": (
        unlearn,
        lambda: {
            "method": methods.finetune,
            "model": Net(),
            "request": request_of(),
            "config": Training(1),
        },
    ),
    "continual": (
        methods.continual,
        lambda: {
            "method": methods.finetune,
            "model": Net(),
            "requests": [request_of()],
            "config": Training(1),
            "seed": 0,
        },
    ),
    "sharded": (
        methods.sharded,
        lambda: {"fresh": Net, "train": classes(), "config": methods.SISA(2, 1, Training(1))},
    ),
    "fit": (
        fit,
        lambda: {"model": Net(), "data": classes(), "config": Training(1), "seed": 0, "cost": None},
    ),
    "evaluate": (
        evaluate,
        lambda: {"model": Net(), "data": classes(), "loss": "auto", "batch_size": 8},
    ),
    "report": (metrics.report, reported),
    "l2_pgd": (
        methods.l2_pgd,
        lambda: {"model": Net(), "data": classes(4), "config": PGD(steps=2, repeats=1), "seed": 0},
    ),
    "importance": (
        methods.importance,
        lambda: {"model": Net(), "data": classes(4), "kind": "loop", "batch_size": 2},
    ),
    "by_class": (requests.by_class, lambda: {"train": classes(), "classes": 1}),
    "by_group": (requests.by_group, lambda: {"train": classes(), "group": 1}),
    "by_fraction": (
        requests.by_fraction,
        lambda: {"train": classes(), "fraction": 0.5, "classes": None, "seed": 0},
    ),
    "by_range": (requests.by_range, lambda: {"train": numbers(), "low": 0.0, "high": 1.0}),
    "by_index": (requests.by_index, lambda: {"train": classes(), "indices": [0, 1]}),
    "mislabel": (
        requests.mislabel,
        lambda: {"train": classes(), "fraction": 0.5, "classes": None, "reach": None, "seed": 0},
    ),
    "near_duplicates": (
        requests.near_duplicates,
        lambda: {"request": request_of(), "tolerance": 0.1, "chunk": 4},
    ),
    "Request": (
        requests.Request,
        lambda: {"train": classes(), "mask": torch.arange(16) < 3, "name": "three"},
    ),
    "Examples": (
        Examples,
        lambda: {"inputs": classes().inputs, "targets": classes().targets, "groups": None},
    ),
    "batches": (
        lambda **given: list(data.batches(**given)),
        lambda: {"data": classes(), "size": 4, "order": None},
    ),
    "mixed": (
        lambda **given: list(data.mixed(**given)),
        lambda: {"forget": classes(), "retain": classes(), "size": 4, "order": torch.Generator()},
    ),
    "targets_of": (data.targets_of, lambda: {"data": classes()}),
    "without_targets": (data.without_targets, lambda: {"data": classes()}),
    "with_targets": (
        data.with_targets,
        lambda: {"data": classes(), "targets": classes().targets},
    ),
    "varies": (data.varies, lambda: {"data": Pairs(classes())}),
    "subset": (data.subset, lambda: {"data": classes(), "mask": torch.arange(16) < 3}),
    "digits": (data.digits, lambda: {"size": 8}),
    "rotated_digits": (data.rotated_digits, lambda: {"size": 12, "copies": 1, "seed": 0}),
    "load": (data.load, lambda: {"name": "digits"}),
    "seeded": (draws.seeded, lambda: {"seed": 0}),
    "philox": (draws.philox, lambda: {"seed": 0, "index": torch.arange(3)}),
    "normal": (draws.normal, lambda: {"seed": 0, "index": torch.arange(3)}),
    "fast": (precision.fast, lambda: {"dtype": "auto", "graph": False}),
    "loss_per_example": (
        losses.loss_per_example,
        lambda: {"outputs": torch.rand(4, 3), "targets": torch.tensor([0, 1, 2, 1])},
    ),
    "Quantile": (losses.Quantile, lambda: {"levels": (0.1, 0.9)}),
    "accuracy": (metrics.accuracy, lambda: {"result": seen()}),
    "mae": (metrics.mae, lambda: {"result": seen(task=numbers)}),
    "mse": (metrics.mse, lambda: {"result": seen(task=numbers)}),
    "mean_loss": (metrics.mean_loss, lambda: {"result": seen()}),
    "gap": (metrics.gap, lambda: {"unlearned": seen(), "retrained": seen()}),
    "tow": (metrics.tow, lambda: {"forget_gap": 0.1, "retain_gap": 0.1, "test_gap": 0.1}),
    "auc": (metrics.auc, lambda: {"members": torch.rand(4), "nonmembers": torch.rand(5)}),
    "tpr_at_fpr": (
        metrics.tpr_at_fpr,
        lambda: {"members": torch.rand(4), "nonmembers": torch.rand(5), "fpr": 0.2},
    ),
    "loss_attack": (metrics.loss_attack, lambda: {"forget": seen(), "unseen": seen()}),
    "logistic_attack": (
        metrics.logistic_attack,
        lambda: {"retain": seen(), "unseen": seen(), "forget": seen(), "seed": 0},
    ),
    "svc_attack": (
        metrics.svc_attack,
        lambda: {"retain": seen(), "unseen": seen(), "forget": seen(), "seed": 0},
    ),
    "js": (
        metrics.js,
        lambda: {"log_p": of_rows().log_softmax(1), "log_q": of_rows().log_softmax(1)},
    ),
    "kl": (
        metrics.kl,
        lambda: {"log_p": of_rows().log_softmax(1), "log_q": of_rows().log_softmax(1)},
    ),
    "wasserstein": (metrics.wasserstein, lambda: {"u": torch.rand(4), "r": torch.rand(5)}),
    "paired_difference": (metrics.paired_difference, lambda: {"u": of_rows(), "r": of_rows()}),
    "relearn_curve": (
        metrics.relearn_curve,
        lambda: {"model": Net(), "data": classes(), "probe": classes(), "steps": (0, 1)},
    ),
    "relearn_time": (
        metrics.relearn_time,
        lambda: {"model": Net(), "data": classes(), "probe": classes(), "target": 1.0, "cap": 2},
    ),
    "relearn_area": (
        metrics.relearn_area,
        lambda: {"unlearned": torch.ones(2), "retrained": torch.ones(2) * 2, "original": [0.0] * 2},
    ),
    "copy_of": (models.copy_of, lambda: {"model": Net()}),
    "build": (models.build, lambda: {"fresh": Net, "seed": 0}),
    "check_architecture": (models.check_architecture, lambda: {"model": Net(), "new": Net()}),
    "chain": (models.chain, lambda: {"model": Net()}),
    "extractor": (
        lambda model, layer, x: models.extractor(model, layer)(x),
        lambda: {"model": Net().eval(), "layer": None, "x": classes().inputs},
    ),
    "representation": (
        models.representation,
        lambda: {"model": Net(), "data": classes(), "layer": "body", "batch_size": 4},
    ),
    "cnn": (models.cnn, lambda: {"classes": 3, "size": 8, "channels": 1}),
    "Normalize": (models.Normalize, lambda: {"mean": [0.5], "std": [0.5]}),
    "VAE": (models.VAE, lambda: {"inputs": 6, "latent": 2, "decoder": "sigmoid"}),
    "attention_map": (attention_map, lambda: {"activation": torch.rand(2, 3, 4), "axis": 1}),
    "attention_transfer": (
        attention_transfer,
        lambda: {"student": torch.rand(2, 3, 4), "teacher": torch.rand(2, 3, 4), "axis": 1},
    ),
    "l2_pgd_step": (
        l2_pgd_step,
        lambda: {
            "x": of_rows(),
            "gradient": of_rows(),
            "x0": of_rows(),
            "step": 0.1,
            "eps": 1.0,
            "low": 0.0,
            "high": 1.0,
        },
    ),
    "mixed_l1": (
        mixed_l1,
        lambda: {"out": torch.rand(4), "target": torch.rand(4), "extra": torch.rand(4)},
    ),
    "cosine_distance": (
        cosine_distance,
        lambda: {"a": of_rows(), "b": of_rows()},
    ),
    "reconstruction_error": (
        reconstruction_error,
        lambda: {"rebuilt": of_rows(), "e": of_rows()},
    ),
    "alignment_loss": (
        alignment_loss,
        lambda: {"d_retain": torch.rand(4), "d_forget": torch.rand(4), "temperature": 2.0},
    ),
    "gaussian_elbo": (
        gaussian_elbo,
        lambda: {
            "rebuilt": of_rows(),
            "e": of_rows(),
            "mean": of_rows(),
            "log_variance": of_rows(),
            "weight": 0.1,
        },
    ),
    "abs_bmm": (abs_bmm, lambda: {"g": torch.rand(2, 3, 4), "a": torch.rand(2, 4, 5)}),
    "Run": (Run, lambda: {"model": Net(), "config": None, "seed": 0, "checkpoint": None}),
}


def plain() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def of_draws(**more) -> dict:
    """What models of twelve draws say of six candidates."""
    answers = {"unlearned": torch.rand(12, 6), "retrained": torch.rand(12, 6)}
    return answers | {"forgotten": pairs_of_draws(12, 6)} | more


def attacks() -> dict:
    return {"original": metrics.loss_attack(seen(), seen())}


def audited() -> Trials:
    answers = {name: torch.rand(10, 6).double() for name in ("original", "retrained")}
    return Trials(pairs_of_draws(10, 6), answers, {}, torch.arange(6))


# Audits of many models, what is left of the metrics and networks, and pictures.
RIGHT |= {
    "trials": (
        trials,
        lambda: {
            "fresh": plain,
            "train": classes(),
            "pool": [0, 1, 2, 3],
            "unseen": Examples(torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 2])),
            "methods": {},
            "folder": "trials",
            "draws": 2,
            "training": Training(1),
            "seed": 0,
            "at_once": 1,
            "whole": False,
        },
    ),
    "pairs_of_draws": (pairs_of_draws, lambda: {"draws": 4, "candidates": 5, "seed": 0}),
    "ulira": (metrics.ulira, lambda: of_draws(prior=8.0, seed=0)),
    "klom": (metrics.klom, lambda: of_draws(bins=20)),
    "memory": (plots.memory, lambda: {"left": {"laf": torch.rand(5)}, "title": "t"}),
    "rmia": (
        metrics.rmia,
        lambda: of_draws(
            unlearned=-torch.rand(12, 6),
            retrained=-torch.rand(12, 6),
            unseen_unlearned=-torch.rand(12, 5),
            unseen_retrained=-torch.rand(12, 5),
            references=1,
            gamma=1.0,
        ),
    ),
    "memory_left": (metrics.memory_left, lambda: of_draws(original=torch.rand(12, 6) + 5)),
    "divergence_of_fits": (metrics.divergence_of_fits, lambda: of_draws(prior=8.0)),
    "signal": (metrics.signal, lambda: {"result": seen(), "kept": [0, 1]}),
    "stack": (stack, lambda: {"networks": [plain(), plain()], "inputs": classes(4).inputs}),
    "unstack": (unstack, lambda: {"together": stack([plain(), plain()], classes(4).inputs)}),
    "side_by_side": (side_by_side, lambda: {"sets": [classes(), classes()]}),
    "sources_of_variance": (sources_of_variance, lambda: {"values": torch.rand(3, 2, 2)}),
    "design": (design, lambda: {"variances": [1.0] * 3, "costs": [1.0] * 3, "budget": 100.0}),
    "by_typicality": (
        requests.by_typicality,
        lambda: {"train": classes(), "count": 3, "typical": False},
    ),
    "linear_probe": (
        metrics.linear_probe,
        lambda: {"model": Net(), "fit_on": classes(), "read_on": classes(9), "layer": "body"},
    ),
    "asr": (metrics.asr, lambda: {"retain": seen(), "test": seen(), "forget": seen(), "seed": 0}),
    "anamnesis_index": (
        metrics.anamnesis_index,
        lambda: {
            "unlearned": Net(),
            "retrained": Net(seed=2),
            "original": Net(seed=3),
            "data": classes(),
            "probe": classes(),
            "alpha": 0.1,
            "cap": 2,
            "every": 1,
            "seeds": 1,
        },
    ),
    "small_cnn": (models.small_cnn, lambda: {"outputs": 2, "size": 12, "channels": 1}),
    "siamese_lstm": (models.siamese_lstm, lambda: {"vocabulary": 5, "width": 4}),
    "quantile_net": (models.quantile_net, lambda: {"context": 24, "horizon": 4, "width": 4}),
    "layer_names": (models.layer_names, lambda: {"model": Net()}),
    "activations": (
        models.activations,
        lambda: {"model": Net(), "layers": ["body"], "side": "output"},
    ),
    "role": (plots.role, lambda: {"name": "laf"}),
    "items": (
        plots.items,
        lambda: {"images": classes(4).inputs, "captions": ["a"] * 4, "title": "t", "columns": 2},
    ),
    "roc": (plots.roc, lambda: {"attacks": attacks(), "title": "t"}),
    "drag_threshold": (widgets.drag_threshold, lambda: {"attacks": attacks()}),
    "draw_prediction": (
        widgets.draw_prediction,
        lambda: {
            "true": torch.arange(6) / 6,
            "answers": torch.rand(2, 6),
            "band": (0.2, 0.4),
            "unit": "degrees",
        },
    ),
    "follow_points": (
        widgets.follow_points,
        lambda: {
            "places": {"laf": torch.rand(2, 16, 2)},
            "steps": [0, 1],
            "forget": classes(4),
            "retain": classes(12),
        },
    ),
    "judge_candidate": (
        widgets.judge_candidate,
        lambda: {"found": audited(), "train": classes(8)},
    ),
    "stop_ascent": (
        widgets.stop_ascent,
        lambda: {
            "forget": classes(5),
            "said": torch.zeros(3, 5, dtype=torch.long),
            "test_accuracy": torch.rand(3),
            "retrained": torch.zeros(2, 5, dtype=torch.long),
        },
    ),
    "paint_digit": (widgets.paint_digit, lambda: {"models": {"a": plain()}, "digits": classes()}),
    "withdraw_point": (
        widgets.withdraw_point,
        lambda: {
            "points": torch.rand(8, 2),
            "labels": torch.arange(8) % 2,
            "axes": ("a", "b"),
            "classes": ("c", "d"),
            "seed": 0,
            "begin": 0,
        },
    ),
}


# New layers take numbers from torch's generator, as everywhere, and so does dropout.
NETWORKS = ("cnn", "VAE", "small_cnn", "siamese_lstm", "quantile_net", "extractor")
DRAWING = tuple(RIGHT[name][0] for name in NETWORKS)
# Functions of the caller's: what they raise themselves is theirs.
CALLED = ("fresh", "method", "watch")
# What reads data says in a sentence that new tensors must be made on the CPU.
READING = [name for name in RIGHT if name in METHODS or name.startswith("by_")]
READING += ["fit", "evaluate", "report", "unlearn", "continual", "sharded", "batches", "mislabel"]


def attacked():
    items = Examples(torch.arange(32.0, dtype=torch.float32).view(2, 1, 4, 4) / 32, torch.arange(2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, dtype=torch.float32))
    return methods.l2_pgd(net, items, PGD(steps=2, repeats=1)).images


def held(value) -> object:
    """What must be the same of an argument after the call."""
    if isinstance(value, torch.Tensor):
        numbers = "elsewhere" if value.is_meta else value.detach().nan_to_num(7.0).tolist()
        return numbers, value.requires_grad, value.grad is None
    if isinstance(value, nn.Module):
        tensors = {**dict(value.named_parameters()), **dict(value.named_buffers())}
        flags = [(module.training, len(module._forward_hooks)) for module in value.modules()]
        return {name: held(tensor) for name, tensor in tensors.items()}, flags
    if isinstance(value, Examples):
        return held(value.inputs), held(value.targets)
    if isinstance(value, requests.Request):
        return held(value.train), held(value.mask)
    if isinstance(value, Pairs):
        return held(value.data)
    if isinstance(value, list | tuple):
        return [held(entry) for entry in value]
    if isinstance(value, dict):
        return {str(key): held(entry) for key, entry in value.items()}
    if isinstance(value, torch.Generator):
        return "draws as it goes"
    return type(value).__name__, repr(value)


def world() -> tuple:
    """The global state that no call may change."""
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        str(torch.get_default_device()),
        torch.get_num_threads(),
    )


@contextmanager
def state(name: str):
    """An odd state of torch."""
    if name == "gradients off":
        with torch.no_grad():
            yield
    elif name == "inference":
        with torch.inference_mode():
            yield
    elif name == "double":
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)
    elif name == "other device":
        with torch.device("meta"):
            yield
    else:
        yield


def ours(error: BaseException) -> bool:
    """Whether an error is a sentence of this package: raised by it, and of a readable length."""
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    kinds = ValueError | OSError | IndexError
    return isinstance(error, kinds) and raised_in.startswith(PACKAGE) and len(str(error)) < 700


def tried(function, arguments: dict, where: str):
    """Call, and hold what must hold; returns the error, if there was one."""
    before = {name: held(value) for name, value in arguments.items()}
    with state(where):
        around = world()
        try:
            function(**arguments)
            error = None
        except (Exception, KeyboardInterrupt) as raised:
            error = raised
        if function not in DRAWING:
            assert world() == around, "global state was changed"
    changing = ("model",) if function in (fit, Run, *DRAWING) else ()
    for name, value in arguments.items():
        if name not in changing:
            assert held(value) == before[name], f"{name} was changed"
    return error


@pytest.mark.filterwarnings("ignore")
@given(
    name=st.sampled_from(sorted(RIGHT)),
    place=st.integers(0, 9),
    odd=st.sampled_from(sorted(ODD)),
    where=st.sampled_from(["plain"] * 6 + ["gradients off", "inference", "double"]),
)
@settings(max_examples=CALLS, deadline=None, suppress_health_check=list(HealthCheck))
def test_an_odd_argument_is_a_result_or_a_sentence(name, place, odd, where):
    function, make = RIGHT[name]
    arguments = make()
    which = sorted(arguments)[place % len(arguments)]
    arguments[which] = ODD[odd]()
    # torch chooses nothing of no numbers, and moves none
    assume(not (name in ("subset", "stack", "trials") and odd == "elsewhere"))
    assume(not (which in CALLED and callable(arguments[which])))
    error = tried(function, arguments, where)
    if error is not None and not ours(error):
        raise AssertionError(f"{name}({which}={odd}) when {where}: {type(error).__name__}: {error}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("where", ["plain", "gradients off", "double"])
@pytest.mark.parametrize("name", sorted(RIGHT))
def test_a_right_call_is_right_in_every_state(name, where):
    function, make = RIGHT[name]
    error = tried(function, make(), where)
    if where in ("plain", "gradients off"):
        assert error is None, error
    assert error is None or ours(error), error


@pytest.mark.parametrize("make", [data.rotated_digits, data.pair_vectors, attacked])
def test_what_is_drawn_does_not_depend_on_the_default_precision(make):
    with state("double"):
        found = make()
    assert fingerprint(found) == fingerprint(make())


@pytest.mark.parametrize("name", READING)
def test_another_default_device_is_a_sentence(name):
    function, make = RIGHT[name]
    error = tried(function, make(), "other device")
    assert "torch's default device is meta" in str(error)


@pytest.mark.filterwarnings("ignore")
@given(name=st.sampled_from(sorted(METHODS) + ["fit", "report", "continual"]), part=st.floats(0, 1))
@settings(max_examples=max(20, CALLS // 8), deadline=None, suppress_health_check=list(HealthCheck))
def test_a_stop_at_any_pass_leaves_everything_as_it_was(name, part):
    function, make = RIGHT[name]
    Net.passes, Net.stop_at = 0, None
    function(**make())
    Net.passes, Net.stop_at = 0, 1 + int(part * (Net.passes - 1))
    arguments = make()
    try:
        Net.passes = 0  # what made the arguments does not count
        error = tried(function, arguments, "plain")
    finally:
        Net.stop_at = None
    assert isinstance(error, KeyboardInterrupt)
    for value in arguments.values():
        if isinstance(value, nn.Module):
            assert all(parameter.grad is None for parameter in value.parameters())


def test_the_fingerprints_of_odd_things_differ():
    """What tells two runs apart tells any two of these things apart."""
    found = {}
    for name, make in ODD.items():
        if name in ("function", "class", "object", "NaNs", "elsewhere", "network elsewhere"):
            continue
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            try:
                found[name] = fingerprint(make())
            except ValueError:
                continue
    assert found.pop("half") == found["numpy's number"]
    assert len(set(found.values())) == len(found)
