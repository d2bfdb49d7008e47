"""What is no method is refused where it is written, and a wrong metric, too."""

import pytest
import torch
from torch import nn

from minilearn.checks import POSITIVE, check_settings
from minilearn.methods import BadTeacher, bad_teacher
from minilearn.metrics.metric import Metric
from minilearn.unlearn import access, method


def test_a_method_says_that_it_returns_unlearned():
    with pytest.raises(ValueError, match=r"write mine\(...\) -> Unlearned"):

        @method
        def mine(model: nn.Module):
            return model


def test_one_class_has_no_divergence():
    x = torch.zeros(4, 2)
    with pytest.raises(ValueError, match="2 classes are needed, but the model has 1"):
        bad_teacher(nn.Linear(2, 1), x, x, fresh=lambda: nn.Linear(2, 1), config=BadTeacher())


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"splits": "forget"}, "splits of mine is a tuple of"),
        ({"splits": ("forgot",)}, "splits of mine is a tuple of"),
        ({"tasks": "classification"}, "tasks of mine is a tuple of"),
        ({"good": "higher"}, "good is one of"),
    ],
)
def test_a_metric_that_makes_no_sense_is_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        Metric("mine", "a number", "all", lambda m, r, s: 0.0, **wrong)


@pytest.mark.parametrize("words", ["Tensor | Unlabelled", "Unlabelled", "torch.Tensor | None"])
def test_a_method_of_inputs_alone_may_say_so_in_several_ways(words):
    def own(model, forget):
        pass

    own.__annotations__["forget"] = words
    assert access(own) == ("model", "forget inputs")


def test_a_rule_for_a_setting_that_is_not_there_is_no_rule():
    with pytest.raises(AttributeError, match="temprature"):
        check_settings(BadTeacher(), temprature=POSITIVE)
