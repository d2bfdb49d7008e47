"""Checkers are checked: the right answer passes, every known mistake gets its own sentence."""

import pytest
import torch

from minilearn.check import EXERCISES, check, verdict

MISTAKES = [(name, words) for name, e in EXERCISES.items() for words in e.mistakes]


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("seed", range(3))
def test_the_oracle_is_right_in_either_precision(name, seed):
    oracle = EXERCISES[name].oracle
    assert verdict(EXERCISES[name], oracle, seed) == (True, "right, to the last digit.")
    right, sentence = verdict(EXERCISES[name], lambda *args: oracle(*args) * (1 + 1e-9), seed)
    assert right and "rounding" in sentence


@pytest.mark.parametrize("name, words", MISTAKES)
@pytest.mark.parametrize("seed", range(3))
def test_a_known_mistake_is_named(name, words, seed):
    wrong = EXERCISES[name].mistakes[words]
    assert verdict(EXERCISES[name], wrong, seed) == (
        False,
        f"not right. It looks as if {words}.",
    )


def test_every_exercise_knows_three_mistakes():
    assert all(len(e.mistakes) >= 3 for e in EXERCISES.values())


@pytest.mark.parametrize("name", EXERCISES)
def test_nothing_comes_out_but_a_sentence(name, capsys):
    oracle = EXERCISES[name].oracle

    def raises(*args):
        raise KeyError("k")

    def stub(*args):
        raise NotImplementedError

    def greedy(first, *rest):
        value = oracle(first, *rest)
        first += 1
        return value

    attempts = {
        "It raised KeyError: 'k'": raises,
        "not attempted": stub,
        "must return a tensor, got NoneType": lambda *args: None,
        "returns the shape": lambda *args: torch.zeros(1, 2, 3, 4, 5),
        "It raised TypeError": lambda: None,
        "not callable": 3,
        "changes what it is given": greedy,
        "The largest difference is nan": lambda *args: oracle(*args) * torch.nan,
        "The largest difference is": lambda *args: oracle(*args) + 1.0,
    }
    for sentence, attempt in attempts.items():
        assert check(name, attempt) is False
        assert sentence in capsys.readouterr().out


def test_there_is_no_such_exercise():
    with pytest.raises(ValueError, match="no exercise 'align', only draw, "):
        check("align", len)
