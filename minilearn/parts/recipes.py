"""The settings that the papers and their code publish, by method and by data set: plain data.

What a paper states is the entry; what the authors' file has instead stands in it under "file".
Where that is None the file has no such recipe. What neither states is the package's own default.
"""

from __future__ import annotations

from minilearn.checks import check_choice
from minilearn.losses import Quantile
from minilearn.parts.attack import PGD
from minilearn.schedule import Plateau

SOURCES = ("paper", "file")

# Deep regression unlearning. The paper has one recipe for its four data sets; batches of 256, the
# patience and the losses are those of the authors' code, which has notebooks for AgeDB and STS-B.
LOSSES = dict(agedb="absolute", imdb_wiki="absolute", stsb="squared", electricity=Quantile())


def _dru(recipe: dict, file: dict[str, dict]) -> dict[str, dict]:
    """A recipe for the four data sets; `file` has what the notebook of a data set has instead."""
    recipe = {"batch_size": 256} | recipe
    return {name: recipe | {"loss": loss, "file": file.get(name)} for name, loss in LOSSES.items()}


AMNESIAC = _dru({"epochs": 1, "lr": 1e-3}, {"agedb": {}, "stsb": {"epochs": 5}})
NEGGRAD = _dru({"epochs": 1, "lr": 1e-3}, {})


_TEACHER = {"epochs": 2, "batch_size": 256, "lr": 1e-2}
BLINDSPOT = _dru(
    {"epochs": 1, "lr": 1e-3, "beta": 50.0, "teacher": _TEACHER},
    {"agedb": {}, "stsb": {"epochs": 5, "teacher": _TEACHER | {"epochs": 10}}},
)
BLINDSPOT["stsb"]["layers"] = ("lstm.first", "lstm.second")  # of `siamese_lstm`; no other has a map


def _l2ul(eps: float, repeats: int, items: int, images: int, epochs: int) -> dict:
    sizes = {"epochs": epochs, "batch_size": items, "adversarial_batch": images, "lr": 1e-3}
    loss = {"anchor": 1.0, "importance": "batch-mean", "forget_weight": None}
    loss |= {"forget_loss_on": "all", "batch_norm": "released", "shuffle": False}
    attack = PGD(eps, step=0.1, steps=100, repeats=repeats, floor=1e-6)
    return {"attack": attack, "file": {}} | sizes | loss


# L2UL, the released scripts: radius, attacks an item, items and images a step, most passes.
L2UL = {
    "cifar10": _l2ul(4.0, 20, 32, 256, 1001),
    "cifar100": _l2ul(4.0, 200, 32, 256, 101),
    "vit": _l2ul(4.0, 200, 32, 512, 1001),  # CIFAR-100
    "imagenet": _l2ul(4.0, 200, 16, 128, 101),
    "utkface": _l2ul(2.0, 300, 128, 128, 1001),
}


def _laf(latent: int, epochs: int, lr_extraction: float, lr_alignment: float, tau: float) -> dict:
    rates = {"lr_extraction": lr_extraction, "lr_alignment": lr_alignment, "temperature": tau}
    return {"latent": latent, "epochs": epochs, "batch_size": 32, "file": {}} | rates


# LAF: latent numbers, passes, the two rates, tau.
_LAF_CNN = {
    "random": _laf(8, 20, 5e-5, 1e-4, 2.0) | {"file": {"temperature": 5.0}},
    "class": _laf(8, 20, 5e-5, 1e-4, 20.0),
    "noisy": _laf(8, 20, 5e-5, 1e-4, 20.0),
}
_LAF_RESNET = {
    "random": _laf(16, 40, 1e-5, 4e-5, 20.0),
    "class": _laf(16, 40, 1e-5, 5e-5, 20.0),
    "noisy": _laf(16, 40, 1e-5, 4e-5, 5.0),
}
SMALL, LARGE = ("mnist", "fashion_mnist"), ("cifar10", "svhn")
LAF = {(name, task): one for name in SMALL for task, one in _LAF_CNN.items()}
LAF |= {(name, task): one for name in LARGE for task, one in _LAF_RESNET.items()}
REPAIR = {name: {"epochs": 1, "lr": 1e-3, "file": None} for name in SMALL}
REPAIR |= {name: {"epochs": 1, "lr": 5e-5, "file": None} for name in LARGE}

# Supervised training: of the original models, under the method that unlearns them, and fine-tuning.
_ALIKE = {"agedb": {}, "stsb": {}}
_ORIGINAL = _dru({"epochs": 100, "lr": 1e-2, "schedule": Plateau(0.1, 10)}, _ALIKE)
_FINETUNE = _dru({"epochs": 5, "lr": 1e-3}, _ALIKE)
_LAF_ORIGINAL = {"epochs": 20, "batch_size": 32, "lr": 1e-4, "weight_decay": 1e-4, "file": {}}
_L2UL_ORIGINAL = {
    **{"epochs": 200, "batch_size": 128, "lr": 0.01, "optimizer": "sgd", "momentum": 0.9},
    **{"weight_decay": 5e-4, "schedule": "cosine", "file": {}},
}
TRAINING = {
    **{(name, "blindspot"): recipe for name, recipe in _ORIGINAL.items()},
    **{(name, "finetune"): recipe for name, recipe in _FINETUNE.items()},
    **{(name, "laf"): _LAF_ORIGINAL for name in SMALL + LARGE},
    **{(name, "l2ul"): _L2UL_ORIGINAL for name in ("cifar10", "cifar100")},
}


def published(recipes: dict, *key: str, source: str = "paper") -> dict:
    """The entry of a table for a data set, or for a data set and a task.

    Raises: ValueError that names the keys of the table, or if the authors' file has no such recipe
    """
    check_choice("source", source, SOURCES)
    wanted = key[0] if len(key) == 1 else key
    asked = " ".join(map(repr, key))
    if wanted not in recipes:
        known = ", ".join(one if isinstance(one, str) else " ".join(one) for one in recipes)
        raise ValueError(f"recipes are published for {known}, not for {asked}")
    recipe = dict(recipes[wanted])
    file = recipe.pop("file")
    if source == "file" and file is None:
        raise ValueError(f'the authors\' file has no recipe for {asked}: take source="paper"')
    return recipe | file if source == "file" else recipe
