"""Which factor decides whether L2UL works: one digit, then more, out of 1,347.

For every number of items and every kind of them the paper's three methods; then one setting after
another changed, for 4 and for 16 items drawn at random. `python -m book.experiments
l2ul_digits` runs it. A run has 800 steps at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial

from torch import nn

from book.experiments import Run
from book.experiments.instances import capped, methods, random_items, reference, unit, word
from minilearn import data
from minilearn.data.examples import Examples
from minilearn.methods import L2UL, PGD, retrain
from minilearn.models import allcnn, build, cnn, small_cnn
from minilearn.requests import Request, by_index, by_typicality
from minilearn.sweep import Unit
from minilearn.training import Training, fit

SEEDS = 5
STEPS = 800
COUNTS = (1, 2, 4, 8, 16, 64)
KINDS = ("random", "typical", "atypical")
RECIPE = Training(epochs=20, lr=3e-3, schedule="cosine")
BASE = L2UL(PGD(eps=2.0), lr=3e-3, forget_weight=0.5, forget_loss_on="remaining")
NETWORKS = {
    "small_cnn": lambda: small_cnn(10, 8),  # chapter 6
    "cnn": lambda: cnn(10, 8),
    "allcnn": lambda: allcnn(10, 0.25, channels=1),  # with batch normalisation
}
RELEASED = {"forget_loss_on": "all", "forget_weight": None}
# What is changed: the network, and fields of BASE (of its attack behind "attack.").
FACTORS: list[tuple[str, dict]] = [
    *(("small_cnn", {"attack.eps": eps}) for eps in (0.5, 1.0, 1.5, 3.0, 4.0)),
    *(("small_cnn", {"lr": lr}) for lr in (3e-4, 1e-3, 1e-2)),
    *(("small_cnn", {"attack.repeats": n}) for n in (5, 100)),
    *(("small_cnn", {"forget_weight": w}) for w in (None, 0.2, 0.8)),
    *(("small_cnn", {"anchor": a}) for a in (0.1, 10.0)),
    *(("small_cnn", {"importance": kind}) for kind in ("batch-mean",)),
    ("small_cnn", {"forget_loss_on": "all"}),
    ("small_cnn", RELEASED),
    ("small_cnn", RELEASED | {"attack.eps": 4.0, "lr": 1e-3}),
    ("cnn", {}),
    ("cnn", RELEASED),
    ("allcnn", {}),
    ("allcnn", {"batch_norm": "train"}),
    ("allcnn", RELEASED | {"batch_norm": "train"}),
]


def units(run: Run) -> Iterator[Unit]:
    """The original models, the three methods for every request, and the changed settings."""
    train, test = (part.to(run.device) for part in data.digits())

    @cache
    def model(network: str, seed: int) -> nn.Module:
        net = build(NETWORKS[network], seed).to(run.device)
        fit(net, train, RECIPE, seed=seed, checkpoint=run.file("digits", network, seed))
        return net

    def splits(request: Request) -> dict:
        return {"forget": request.forget, "retain": request.retain, "test": test}

    def one(network: str, kind: str, count: int, name: str, seed: int, config: L2UL, label: str):
        return unit(
            dataset="digits",
            request=partial(ask, train, kind, count, seed),
            name=items(count, kind),
            method=name,
            seed=seed,
            config=capped(config, count, STEPS),
            settings=f"size={run.size}; {label}; digits; {network}; original={RECIPE}",
            model=partial(model, network, seed),
            splits=splits,
        )

    everything = partial(dict, retain=train, test=test)
    for seed in run.seeds:
        for network in NETWORKS:
            where = f"size={run.size}; {network}; digits; {network}; original={RECIPE}"
            net = partial(model, network, seed)
            yield reference("digits", "nothing", "original", seed, where, net, everything)
        for count in COUNTS:
            where = f"size={run.size}; base; digits; small_cnn; {RECIPE}"
            request, name = ask(train, "random", count, seed), items(count, "random")
            net, parts = partial(retrained, request, seed), partial(splits, request)
            yield reference("digits", name, "retrained", seed, where, net, parts)
        for (network, kind, count), label, name, config in asked():
            yield one(network, kind, count, name, seed, config, label)


def retrained(request: Request, seed: int) -> nn.Module:
    """A network of chapter 6 that has never seen the items."""
    return retrain(NETWORKS["small_cnn"], request.retain, config=RECIPE, seed=100 + seed).model


def ask(train: Examples, kind: str, count: int, seed: int) -> Request:
    """The request for so many items of a kind; the seed decides about random ones alone."""
    if kind == "random":
        return by_index(train, random_items(train, count, seed))
    return by_typicality(train, count, typical=kind == "typical")


def items(count: int, kind: str) -> str:
    """How many of which kind, in words."""
    return f"{count} {kind} item{'s' if count > 1 else ''}"


def asked() -> Iterator[tuple[tuple, str, str, L2UL]]:
    """(Network, kind and number of items), what is changed in words, method and settings."""
    seen = set()
    for request, label, base in _asked():
        for name, config in methods(base).items():
            if (request, name, config) not in seen:  # a change that the method does not notice
                seen.add((request, name, config))
                yield request, label, name, config


def _asked() -> Iterator[tuple[tuple, str, L2UL]]:
    for count in COUNTS:
        for kind in KINDS:
            yield ("small_cnn", kind, count), "base", BASE
    for network, changes in FACTORS:
        yield (network, "random", 4), in_words(network, changes), changed(changes)


def in_words(network: str, changes: dict) -> str:
    """What is changed, as the results page says it."""
    words = [] if network == "small_cnn" else [network]
    words += [f"{word(name.removeprefix('attack.'))} {new}" for name, new in changes.items()]
    return ", ".join(words)


def changed(changes: dict) -> L2UL:
    """BASE with other values in these fields."""
    attack = {k.removeprefix("attack."): v for k, v in changes.items() if k.startswith("attack.")}
    plain = {k: v for k, v in changes.items() if not k.startswith("attack.")}
    return replace(BASE, attack=replace(BASE.attack, **attack), **plain)
