"""Ten lines with a network and a dataset of one's own run every method and the report."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from minilearn.methods import L2UL, LAF, METHODS, unlearn
from minilearn.metrics import report
from minilearn.requests import by_class
from minilearn.training import Training, fit

# Methods for another task, or for other inputs.
NOT_FOR_CLASSES = {"blindspot", "amnesiac", "boundary"}  # the last takes a step over pixels


class Letters(nn.Module):
    """A reader's network: letters to vectors to their mean to a class; nothing of ours in it."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 8)
        self.read = nn.Linear(8, 2)

    def forward(self, word):
        return self.read(self.embed(word).mean(1))


class Words(Dataset):
    """A reader's dataset: text, turned into numbers item by item; no tensor of all inputs."""

    def __init__(self, first: int, count: int):
        self.words = [self.spell(first + 7 * i) for i in range(count)]

    @staticmethod
    def spell(n: int) -> str:
        return "".join("abcde"[n // 5**k % 5] for k in range(4))

    def __len__(self):
        return len(self.words)

    def __getitem__(self, i):
        word = self.words[i]
        return torch.tensor(["abcde".index(letter) for letter in word]), int("a" in word)


def ten_lines():
    train, test, recipe = Words(0, 40), Words(3, 20), Training(epochs=2, batch_size=8)
    request = by_class(train, 1)
    originals = [Letters() for _ in range(2)]
    for seed, model in enumerate(originals):
        fit(model, train, recipe, seed=seed)
    options = {"l2ul": {"config": L2UL(attack=None, anchor=0, epochs=2)}}  # letters are no pixels
    options |= {"laf": {"config": LAF(epochs=2, batch_size=4)}}  # there are few
    options |= {"unrolling": {"start": Letters()}}
    runs = {
        name: [
            unlearn(method, m, request, fresh=Letters, seed=s, **options.get(name, {}))
            for s, m in enumerate(originals)
        ]
        for name, method in METHODS.items()
        if name not in NOT_FOR_CLASSES
    }
    retrained = runs.pop("retrain")
    return report(
        request, test, original=originals, retrained=retrained, methods=runs, fresh=Letters
    )


def test_own_model_and_own_dataset():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = ten_lines()
    text = str(table)
    for name in ("original", "retrained", "untrained", "finetune", "neggrad"):
        assert name in text
    row = table.row("accuracy", "forget", "neggrad")
    assert len(row.values) == 2 and all(0 <= value <= 1 for value in row.values)
    assert table.row("samples", "", "retrained").values[0] > 0


def test_items_that_are_no_pairs_are_one_sentence():
    class Inputs(Words):
        def __getitem__(self, i):
            return super().__getitem__(i)[0]

    with pytest.raises(ValueError, match="pairs|input, target|item of a dataset"):
        fit(Letters(), Inputs(0, 9), Training(epochs=1))
