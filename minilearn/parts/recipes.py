"""The settings that the papers and their code publish, by method and by data set or network."""

from __future__ import annotations

from minilearn.parts.attack import PGD
from minilearn.training import Training

# Deep regression unlearning, the authors' notebooks.
AMNESIAC = {
    "agedb": {"epochs": 1, "batch_size": 256, "loss": "absolute"},
    "stsb": {"epochs": 5, "batch_size": 256, "loss": "squared"},
}
BLINDSPOT = {
    "agedb": AMNESIAC["agedb"] | {"teacher": Training(2, 256, 1e-2)},
    "stsb": AMNESIAC["stsb"] | {"teacher": Training(10, 256, 1e-2)},
}


def _l2ul(eps: float, repeats: int, items: int, images: int, epochs: int) -> dict:
    sizes = {"epochs": epochs, "batch_size": items, "adversarial_batch": images}
    released = {"forget_weight": None, "forget_loss_on": "all", "batch_norm": "train"}
    attack = PGD(eps, repeats=repeats)
    return {"attack": attack, "anchor": 1.0, "importance": "batch-mean"} | sizes | released


# L2UL, the released scripts: radius, attacks an item, items and images a step, most passes.
L2UL = {
    "cifar10": _l2ul(4.0, 20, 32, 256, 1000),
    "cifar100": _l2ul(4.0, 200, 32, 256, 100),
    "vit": _l2ul(4.0, 200, 32, 512, 1000),  # CIFAR-100
    "imagenet": _l2ul(4.0, 200, 16, 128, 100),
    "utkface": _l2ul(2.0, 300, 128, 128, 1000),
}

# LAF, the released scripts, by network and task.
_LAF = ("latent", "epochs", "lr_extraction", "lr_alignment", "temperature")
LAF = {
    ("cnn", "random"): dict(zip(_LAF, (8, 20, 5e-5, 1e-4, 5.0), strict=True)),
    ("cnn", "class"): dict(zip(_LAF, (8, 20, 5e-5, 1e-4, 20.0), strict=True)),
    ("cnn", "noisy"): dict(zip(_LAF, (8, 20, 5e-5, 1e-4, 20.0), strict=True)),
    ("resnet", "random"): dict(zip(_LAF, (16, 40, 1e-5, 4e-5, 20.0), strict=True)),
    ("resnet", "class"): dict(zip(_LAF, (16, 40, 1e-5, 5e-5, 20.0), strict=True)),
    ("resnet", "noisy"): dict(zip(_LAF, (16, 40, 1e-5, 4e-5, 5.0), strict=True)),
}


def published(recipes: dict, *key: str):
    """The entry of a table for a data set, or for a network and a task.

    Raises: ValueError that names the keys of the table
    """
    wanted = key[0] if len(key) == 1 else key
    if wanted not in recipes:
        known = ", ".join(one if isinstance(one, str) else " ".join(one) for one in recipes)
        raise ValueError(f"recipes are published for {known}, not for {' '.join(map(repr, key))}")
    return recipes[wanted]
