"""The repair against its plain loop; what it may not touch."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import StackDataset

from minilearn.data import Examples, batches
from minilearn.evaluation import evaluate
from minilearn.fingerprints import fingerprint
from minilearn.methods import Repair, repair
from minilearn.models import cnn

CASE = {"access": ("model", "retain")}

SHORT = Repair(fraction=0.5, epochs=2, batch_size=5, lr=1e-2)


def test_it_is_the_plain_loop_over_the_classifier(tiny_net, classification):
    net = tiny_net().eval()  # so that nothing is dropped, and statistics stay
    result = repair(net, classification, config=SHORT, seed=3)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(3))[:12]
    few = classification[order.sort().values]
    head, shuffle = copy.deepcopy(net.head), torch.Generator().manual_seed(3)
    optimizer, losses = torch.optim.Adam(head.parameters(), 1e-2), []
    for _ in range(2):
        for x, y in batches(few, 5, order=shuffle):
            loss = F.cross_entropy(head(net.body(x).detach()) * net.scale, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    torch.testing.assert_close(result.history.loss, torch.tensor(losses))
    torch.testing.assert_close(result.model.head.weight, head.weight)
    assert fingerprint(result.model.body) == fingerprint(net.body)
    assert result.cost.by_source() == {"retain": 2 * 12 + 3}  # forwards, and one pass to look


def test_flags_are_as_before(tiny_net, classification):
    net = tiny_net()
    net.body[0].weight.requires_grad_(False)
    result = repair(net, classification, config=SHORT)
    flags = [[p.requires_grad for p in m.parameters()] for m in (net, result.model)]
    assert flags[0] == flags[1] and not all(flags[0])


def test_the_papers_network_keeps_its_256_numbers(classification):
    net = cnn(10, 8)
    data = Examples(torch.rand(30, 1, 8, 8), torch.arange(30) % 10)
    model = repair(net, data, config=SHORT).model
    assert fingerprint(model.features) == fingerprint(net.features)
    assert all(
        not torch.equal(a, b)
        for a, b in zip(model.head.parameters(), net.head.parameters(), strict=True)
    )
    deeper = dataclasses.replace(SHORT, layer="head.0")
    model = repair(net, data, config=deeper).model
    assert fingerprint(model.head[0]) == fingerprint(net.head[0])
    assert fingerprint(model.head[1]) != fingerprint(net.head[1])


def test_it_learns_new_places_from_a_few_labels(trained, classification):
    """A classifier whose rows were permuted reads nothing right, and is taught again."""
    lost = copy.deepcopy(trained)
    with torch.no_grad():
        lost.head.weight.copy_(trained.head.weight.roll(1, 0))
        lost.head.bias.copy_(trained.head.bias.roll(1, 0))
    config = Repair(fraction=0.5, epochs=60, batch_size=6, lr=3e-2)
    result = repair(lost, classification, config=config).model
    right = [evaluate(m, classification).correct.double().mean() for m in (lost, result)]
    assert right[0] < 0.3 and right[1] > 0.7


def test_it_has_the_loss_of_the_training():
    """Three tenths of the targets are 10, the rest 0: the mean is 3, the median 0."""
    data = Examples(torch.zeros(20, 2), torch.tensor([10.0] * 6 + [0.0] * 14))
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1), nn.Flatten(0))
    for loss, answer in (("auto", 0.0), ("squared", 3.0)):
        config = Repair(fraction=1.0, epochs=500, lr=0.03, loss=loss)
        found = repair(net, data, config=config).model(data.inputs[:1]).item()
        assert found == pytest.approx(answer, abs=0.1)


def test_a_dataset_will_do(tiny_net, classification):
    data = StackDataset(classification.inputs, classification.targets)
    one, other = (repair(tiny_net(), d, config=SHORT) for d in (classification, data))
    assert fingerprint(one.model) == fingerprint(other.model)


def test_bad_input(tiny_net, classification):
    net = tiny_net()
    with pytest.raises(ValueError, match="nothing that can be trained follows the representation"):
        repair(net, classification, config=dataclasses.replace(SHORT, layer="head"))
    frozen = tiny_net()
    frozen.head.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing that can be trained follows"):
        repair(frozen, classification, config=SHORT)
    with pytest.raises(ValueError, match="no layer named 'haed'"):
        repair(net, classification, config=dataclasses.replace(SHORT, layer="haed"))
    with pytest.raises(ValueError, match="inputs without targets|without targets"):
        repair(net, classification.inputs, config=SHORT)
    with pytest.raises(ValueError, match="no linear layer inside"):
        repair(nn.Sequential(nn.Conv1d(1, 1, 1)), classification, config=SHORT)
    for wrong in (
        {"fraction": 0},
        {"fraction": 2},
        {"layer": 3},
        {"lr": -1},
        {"epochs": -1},
        {"loss": 1},
    ):
        with pytest.raises(ValueError, match="must|layer is|loss"):
            Repair(**wrong)
