"""Retraining owes nothing to the original or to the forgotten examples."""

import copy
import sys

import torch

from minilearn.data import Examples
from minilearn.methods import retrain, unlearn
from minilearn.models import build, device_of
from minilearn.requests import by_index
from minilearn.training import Training, fit

CASE = {"access": ("fresh", "retain")}

SHORT = Training(epochs=2, batch_size=6)


def state(model) -> dict:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(a: dict, b: dict) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_no_weight_comes_from_elsewhere(tiny_net, classification):
    kind = type(tiny_net())
    original = build(kind, 8)
    fit(original, classification, SHORT, seed=8)
    result = retrain(kind, classification[7:], config=SHORT, seed=1)
    for other in (original, build(kind, 2)):
        for (name, ours), theirs in zip(
            result.model.named_parameters(), other.parameters(), strict=True
        ):
            share = (ours == theirs).float().mean()
            assert share == 0, f"{share:.0%} of {name} is as in another model"


def test_the_forgotten_pixels_do_not_matter(tiny_net, classification):
    kind, request = type(tiny_net()), by_index(classification, range(7))
    inputs = classification.inputs.clone()
    inputs[:7] = 1e3 * torch.randn(7, 6)
    changed = by_index(Examples(inputs, classification.targets), range(7))
    a, b = (unlearn(retrain, None, r, fresh=kind, config=SHORT, seed=3) for r in (request, changed))
    assert equal(state(a.model), state(b.model)) and torch.equal(a.history.loss, b.history.loss)


def test_it_is_a_new_model_and_fit(tiny_net, classification):
    kind = type(tiny_net())
    by_hand = build(kind, 5)
    fit(by_hand, classification[7:], SHORT, seed=5)
    result = retrain(kind, classification[7:], config=SHORT, seed=5)
    assert equal(state(result.model), state(by_hand))
    assert result.cost.by_source() == {"retain": 3 * 2 * 17}


def test_the_new_model_goes_to_where_the_examples_are(tiny_net, classification, monkeypatch):
    """As `fresh=lambda: MyNetwork()` is written; a dataset's batches come to the model instead."""
    elsewhere, seen = copy.copy(classification), []
    object.__setattr__(elsewhere, "inputs", classification.inputs.to("meta"))
    monkeypatch.setattr(
        sys.modules["minilearn.methods.retrain"],
        "fit",
        lambda model, *given, **options: seen.append(device_of(model).type),
    )
    pairs = list(zip(classification.inputs, classification.targets, strict=True))
    for data in (elsewhere, classification, pairs):
        retrain(type(tiny_net()), data, config=SHORT)
    assert seen == ["meta", "cpu", "cpu"]
