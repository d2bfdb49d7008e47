"""Fine-tuning is the original, trained further on what is retained."""

import copy

import torch

from minilearn.evaluation import evaluate
from minilearn.methods import finetune
from minilearn.training import Training, fit

CASE = {"access": ("model", "retain")}

SHORT = Training(epochs=2, batch_size=6)


def test_it_is_a_copy_and_fit(tiny_net, classification):
    original = tiny_net()
    by_hand = copy.deepcopy(original)
    fit(by_hand, classification[7:], SHORT, seed=5)
    result = finetune(original, classification[7:], config=SHORT, seed=5)
    for ours, theirs in zip(
        result.model.state_dict().values(), by_hand.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert result.cost.by_source() == {"retain": 3 * 2 * 17}


def test_no_epoch_is_the_original(tiny_net, classification):
    original = tiny_net()
    result = finetune(original, classification, config=Training(epochs=0))
    before, after = evaluate(original, classification), evaluate(result.model, classification)
    assert torch.equal(before.outputs, after.outputs) and result.cost.samples == 0
