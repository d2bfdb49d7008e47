"""Named experiments, whose rows the book's tables and figures are made of.

`python -m book.experiments NAME`, from the root of the repository, runs one: the module of that
name, which says in `units(run)` what is measured, writes `book/results/NAME.csv`. Run again, it
goes on where it stopped.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

from minilearn.metrics.registry import METRICS
from minilearn.precision import fast
from minilearn.sweep import Unit

# Experiments that are a module of their own, or a row of a module's table; all in one order.
MODULES = {"coverage": "coverage"}
MODULES |= {name: name for name in ("rotated_digits", "stsb", "electricity", "l2ul_digits")}
MODULES |= {name: name for name in ("l2ul_cifar10", "l2ul_width")}
MODULES |= {name: name for name in ("laf_digits", "laf_mnist", "laf_fashion")}
MODULES |= {"laf_cifar10": "laf_images", "speed": "speed", "kernels": "kernels"}
MODULES |= {f"laf_{row}": "laf_images" for row in ("cifar10_224", "svhn", "svhn_224")}
MODULES |= {
    f"{faces}_{network}": "faces"
    for faces in ("agedb", "imdb_wiki")
    for network in ("allcnn", "resnet18", "mobilenet_v3")
}
MODULES |= {
    f"l2ul_{row}": "l2ul_images"
    for row in ("cifar10_resnet18", "cifar100_resnet50", "cifar100_vit")
}
MODULES |= {f"l2ul_{row}": "l2ul_images" for row in ("imagenet_resnet50", "utkface_resnet18")}
MODULES |= {f"audit_{what}": f"audit_{what}" for what in ("digits", "mnist", "rotated")}
MODULES |= {f"audit_{what}": f"audit_{what}" for what in ("null", "sources", "speed")}
NAMES = tuple(MODULES)
REPOSITORY = Path(__file__).resolve().parents[2]
# Settings that are younger than the stored rows, by config.
YOUNG = {"L2UL": ("shuffle",), "PGD": ("floor",)}
YOUNG |= dict.fromkeys(("NegGrad", "Repair", "Unrolling"), ("loss",))
KNOWN = {
    *METRICS,
    *("seconds", "samples", "peak_bytes", "ratio", "released_seconds"),
    *("steps", "finished", "overflowed", "reached", "agreement"),
    *("bandwidth", "launches", "turns", "overhead"),  # of `kernels` and `speed`
    *("pass_passes", "importance_passes", "vmap_passes", "loop_passes"),  # of importance
    *("pass_seconds", "importance_seconds", "vmap_seconds"),
    *("svc", "svc_published", "anamnesis"),  # of faces
    *("asr", "asr_published", "asr_chance"),  # not of `METRICS`: see `metrics.asr`
    *("ulira", "ulira_low", "ulira_high", "ulira_tpr", "rmia", "kl_of_fits"),  # of audits
    *("klom", "klom_95", "js_right"),
    *("spread", "price", "share_draw", "share_training_seed", "share_unlearning_seed"),
    *("runs_draw", "runs_training_seed", "runs_unlearning_seed"),
    *("memory_known", "memory_left", "memory_left_10", "memory_left_90", "loop_seconds"),
}


@dataclass(frozen=True)
class Run:
    """What the command line asks of an experiment.

    `cache` is a folder for trained models, so that an interrupted run need not train them again;
    `fast` says that they are trained inside `precision.fast`, which makes others of them; `made`
    that the files are made and nothing is measured, see `book.experiments.made`. `experiment` is
    its name, which `units_of` fills in.
    """

    seeds: Sequence[int] = range(5)
    device: torch.device = torch.device("cpu")
    size: str = "toy"
    cache: Path | None = None
    fast: bool = False
    made: bool = False
    experiment: str = ""

    def file(self, *names) -> Path | None:
        """A checkpoint in the cache, None without a cache."""
        if self.cache is None:
            return None
        names += self.size, self.device.type, *["fast"] * self.fast, *["made"] * self.made
        return self.cache / "-".join(map(str, names))


def module_of(name: str) -> ModuleType:
    """The module of an experiment.

    Raises: ValueError if there is no such experiment
    """
    if name not in MODULES:
        close = get_close_matches(name.lower().replace("-", "_"), NAMES, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"there is no experiment {name!r}, only {', '.join(NAMES)}{hint}")
    return importlib.import_module(f"book.experiments.{MODULES[name]}")


def units_of(name: str, run: Run) -> list[Unit]:
    """Everything that an experiment measures in a run, always in the same order."""
    module, run = module_of(name), replace(run, experiment=name)
    units = list(module.units(run) if MODULES[name] == name else module.units(run, name))
    if run.made:
        units = [_marked(unit) for unit in units]
    return [_inside_fast(unit) for unit in units] if run.fast else units


def command(name: str, run: Run) -> str:
    """The command line of a run, for the rows."""
    text = f"python -m book.experiments {name} --seeds {max(run.seeds) + 1} "
    text += f"--device {run.device} --size {run.size}"
    return text + " --fast" * run.fast + " --made" * run.made


def measure(name: str, run: Run, index: int) -> list[dict]:
    """Measure one unit of `units_of(name, run)`, wherever this is called.

    A unit holds functions that cannot be sent to another process or machine; these three arguments
    can. A process makes the list once and keeps it, and with it the models that its units share.

    Raises: IndexError if there is no such unit; whatever the unit raises
    """
    return kept_units(name, run)[index].measure()


kept_units = cache(units_of)


def said(config) -> str:
    """Settings as a unit's name has them: all, but for young ones that are at their default.

    So a row that was measured before there was such a setting stays the row of the same unit.

    Example:
        >>> from minilearn.methods import NegGrad
        >>> said(NegGrad(epochs=1))
        'NegGrad(epochs=1, batch_size=64, lr=0.0001, alpha=0.95)'
        >>> said(NegGrad(epochs=1, loss="squared"))
        "NegGrad(epochs=1, batch_size=64, lr=0.0001, alpha=0.95, loss='squared')"
    """
    if isinstance(config, tuple):
        words = [said(each) for each in config]
        return f"({', '.join(words)}{',' * (len(words) == 1)})"
    if not is_dataclass(config):
        return repr(config)
    young = YOUNG.get(type(config).__name__, ())
    shown = {field.name: getattr(config, field.name) for field in fields(config)}
    for field in fields(config):
        if field.name in young and shown[field.name] == field.default:
            del shown[field.name]
    words = ", ".join(f"{name}={said(value)}" for name, value in shown.items())
    return f"{type(config).__name__}({words})"


def told_apart(configs: Iterable[str]) -> dict[str, str]:
    """A name for each config: as many settings in which it differs from the others as it takes.

    One config alone has the name "".

    Example:
        >>> told_apart(["LAF(epochs=1, lr=5.0)", "LAF(epochs=1, lr=2.0)"])
        {'LAF(epochs=1, lr=5.0)': 'lr 5', 'LAF(epochs=1, lr=2.0)': 'lr 2'}
    """
    # what would end a cell of a table or its code is no part of a name
    parts = {config: re.split(r"[;,()|`]+ *", config) for config in configs}
    shared = set.intersection(*map(set, parts.values()))
    words = {
        config: [part.removesuffix(".0").replace("=", " ") for part in own if part not in shared]
        for config, own in parts.items()
    }
    for count in range(1 + max(map(len, words.values()))):
        names = {config: ", ".join(own[:count]) for config, own in words.items()}
        if len(set(names.values())) == len(names):
            return names
    # the same settings in other places
    return {config: f"setting {place}" for place, config in enumerate(words, start=1)}


def _inside_fast(unit: Unit) -> Unit:
    """The same unit under other settings: whatever it trains is another run, rounded otherwise."""
    switched = fast(torch.float32, graph=True)(unit.measure)
    return replace(unit, config=f"{unit.config}; inside fast", measure=switched)


def _marked(unit: Unit) -> Unit:
    """The same unit, named so that no table takes it for a measurement."""
    config = unit.config.replace("size=toy", "size=toy, made files", 1)
    return replace(unit, dataset=f"made {unit.dataset}", config=config)
