"""The claims of the three papers, as a table; `book/_ext/verdicts.py` judges them by the rows.

A claim has its own words, where they stand, and a quantity with the bounds in which it holds. The
quantity is taken seed by seed: a value, or its difference from another method's, its ratio to it,
or how much nearer it is than that one to the retrained model's. Nothing measured is typed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

from book.experiments.faces import BANDS

DIGITS, MNIST, FASHION, CIFAR, SVHN = (
    f"laf_{name}" for name in ("digits", "mnist", "fashion", "cifar10", "svhn")
)
TASKS = {"random": "random items", "class": "a class", "noisy": "wrong labels"}
CHAPTERS = {"random": 8, "class": 9, "noisy": 9}
ERRORS = {"stsb": "mse", "electricity": "quantile_loss"}  # of the others mae
REGRESSION = [(name, "") for name in ("rotated_digits", "stsb", "electricity")]
FACES = [
    (f"{dataset}_allcnn", f"targets in [{low}, {high})")
    for dataset, bands in BANDS.items()
    for low, high in bands
]


@dataclass(frozen=True)
class Claim:
    """One claim on one data set.

    Args:
        work: as in `papers.Row`
        words: the claim
        source: where it stands
        chapter: number of the chapter about it
        experiment, request: the rows' file, and what their request begins with
        metric, split, method: the rows
        how: "value"; against `other` "difference", "ratio" or "nearer" (to the retrained model)
        low, high: the claim holds if the whole interval lies here
        size, label: of the rows' configs, where several stand in a file
        base: what the request of the rows of `other` begins with, if it is another one
        network: the label of these rows
    """

    work: str
    words: str
    source: str
    chapter: int
    experiment: str = ""
    request: str = ""
    metric: str = "accuracy"
    split: str = "test"
    method: str = ""
    how: str = "value"
    other: str = ""
    low: float = -inf
    high: float = inf
    size: str = ""
    label: str = ""
    base: str = ""
    network: str = ""


def in_words(claim: Claim) -> str:
    """What is compared, and when the claim holds; "" without a quantity."""
    if not claim.method:
        return ""
    what = f"`{claim.method}`"
    if claim.how == "difference":
        what += f" - `{claim.other}`"
    elif claim.how == "ratio":
        what += f" / `{claim.other}`"
    elif claim.how == "nearer":
        what = f"distance to `retrained`: {what} - `{claim.other}`"
    where = f" on `{claim.split}`" if claim.split else ""
    bounds = []
    if claim.low > -inf:
        bounds.append(f"at least {claim.low:g}")
    if claim.high < inf:
        bounds.append(f"at most {claim.high:g}")
    bound = " and ".join(bounds)
    return f"{what}, `{claim.metric}`{where}: {bound}"


# ---- the table


def _laf() -> Iterator[Claim]:
    abstract, notebook = "abstract", "authors' notebook, CIFAR-10, class 0"
    protocol = "question RQ1, comparison with retraining"
    for task, chapter in CHAPTERS.items():
        base = Claim("LAF", "", abstract, chapter, DIGITS, task, method="laf", how="difference")
        yield replace(
            base,
            words=f"Without labels it is comparable to a method with labels, SCRUB ({TASKS[task]})",
            other="scrub",
            low=-0.03,
        )
        yield replace(
            base,
            words=f"With a few labels it is better than SCRUB with all of them ({TASKS[task]})",
            method="laf_repair",
            other="scrub",
            low=0.0,
        )
    for name in (DIGITS, MNIST, FASHION, CIFAR, SVHN):
        of_class = Claim("LAF", "A class is forgotten", notebook, 9, name, "class")
        yield replace(of_class, method="laf", split="test_forget", high=0.05)
        kept = replace(of_class, words="The other classes are read about as by a retrained model")
        kept = replace(kept, method="laf", other="retrained", split="test_retain")
        yield replace(kept, how="difference", low=-0.05)
        items = replace(of_class, words="Answers on forgotten items move towards retraining")
        items = replace(items, source=protocol, request="random", method="laf", split="forget")
        items = replace(items, chapter=8)
        yield replace(items, how="nearer", other="original", high=0.0)
        noisy = replace(of_class, words="Wrong labels do less harm", source=protocol)
        yield replace(
            noisy, request="noisy", method="laf", how="difference", other="original", low=0.0
        )
        for task, chapter in CHAPTERS.items():
            attack = replace(
                items, chapter=chapter, words="The attack's success moves towards retraining"
            )
            attack = replace(attack, words=f"{attack.words} ({TASKS[task]})", request=task)
            yield replace(attack, metric="asr_published", how="nearer", other="original", high=0.0)
    yield Claim("LAF", "Its representations are like a retrained model's", "question RQ2", 9)
    yield Claim("LAF", "Both of its losses are needed", "question RQ3", 8)


def _dru() -> Iterator[Claim]:
    nearer = {"how": "nearer", "high": 0.0, "split": "test_forget"}
    for name, request in (*REGRESSION, *FACES):
        metric = ERRORS.get(name, "mae")
        chapter = {"stsb": 4, "electricity": 5}.get(name, 3)
        source = "authors' notebooks, AgeDB and STS-B"
        base = Claim("DRU", "", source, chapter, name, request, metric=metric)
        about = "comes nearer to retraining on what is forgotten than"
        for method, words, other, than in (
            ("blindspot", "Blindspot", "finetune", "fine-tuning"),
            ("blindspot", "Blindspot", "amnesiac", "Gaussian-Amnesiac"),
            ("amnesiac", "Gaussian-Amnesiac", "finetune", "fine-tuning"),
        ):
            words = f"{words} {about} {than}"
            yield replace(base, words=words, method=method, other=other, **nearer)
        kept = replace(base, words="Blindspot keeps the error on what is retained")
        kept = replace(kept, method="blindspot", other="retrained", split="test_retain")
        yield replace(kept, how="ratio", high=1.1)
        apart = replace(base, words="Blindspot's answers are distributed like a retrained model's")
        apart = replace(apart, words=f"{apart.words}, more than fine-tuning's", split="forget")
        apart = replace(apart, method="blindspot", other="finetune", metric="wasserstein")
        yield replace(apart, how="difference", high=0.0)
        cost = replace(base, words="Blindspot is cheaper than retraining", metric="samples")
        cost = replace(cost, method="blindspot", other="retrained", split="")
        yield replace(cost, how="ratio", high=1.0)
    for name, request in FACES:
        words = "By the attack it is nearer to retraining than fine-tuning is"
        attack = Claim("DRU", words, "authors' notebook, AgeDB", 3, name, request)
        attack = replace(attack, metric="svc_published", split="forget", method="blindspot")
        yield replace(attack, other="finetune", how="nearer", high=0.0)
        words = "Blindspot takes about as long to relearn as a retrained model"
        index = Claim("DRU", words, "authors' notebook, AgeDB", 3, name, request)
        index = replace(index, metric="anamnesis", split="", method="blindspot")
        yield replace(index, low=0.5, high=2.0)


ITEMS = ("1 random item", "16 random items", "64 random items")
SWEEPS = (  # file, size, network, label, requests
    ("l2ul_digits", "toy", "small_cnn", "base", ITEMS),
    ("l2ul_cifar10", "toy", "resnet20", "base", ITEMS),
    ("l2ul_cifar10", "toy", "resnet20", "released", ("16 random items",)),
    ("l2ul_cifar10", "paper", "resnet18", "as released", ("16 random items", "64 random items")),
)


def _l2ul() -> Iterator[Claim]:
    for name, size, network, label, requests in SWEEPS:
        chapter, where = 6, {"experiment": name, "size": size, "label": label}
        for request in requests:
            base = Claim("L2UL", "", "abstract", chapter, request=request, **where)
            against = {"how": "difference", "other": "original", "base": "nothing"}
            against["network"] = network
            yield replace(
                base, words="Gradient ascent forgets", method="neggrad", split="forget", high=0.0
            )
            words = "Gradient ascent loses much on other data"
            yield replace(base, words=words, method="neggrad", high=-0.1, **against)
            for method, called in (
                ("l2ul_adv", "With adversarial images"),
                ("l2ul", "With adversarial images and the anchor"),
            ):
                done = replace(base, words=f"{called} all items are forgotten", method=method)
                yield replace(done, split="forget", high=0.0)
                for split, whose in (("test", "unseen data"), ("retain", "retained data")):
                    words = f"{called} the accuracy on {whose} is kept"
                    kept = replace(base, words=words, method=method, split=split)
                    yield replace(kept, low=-0.02, **against)
            more = replace(base, words="Adversarial images keep more than gradient ascent alone")
            more = replace(more, how="difference", low=0.0)
            yield replace(more, method="l2ul_adv", other="neggrad")
            words = "The anchor keeps more than adversarial images alone"
            yield replace(more, words=words, method="l2ul", other="l2ul_adv")
    for words, request in (
        ("Items can be given new labels", "relabel"),
        ("A stream of requests can be served", "a stream"),
    ):
        asked = Claim("L2UL", words, "abstract", 7, "l2ul_cifar10_resnet18", request)
        yield replace(asked, metric="finished", split="", method="l2ul", low=1.0)


CLAIMS = (*_laf(), *_dru(), *_l2ul())
