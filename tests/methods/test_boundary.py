"""Boundary shrink: the class next door of a linear model is known in closed form."""

import math

import pytest
import torch
from torch import nn

from minilearn.cost import Cost
from minilearn.data import Examples
from minilearn.methods import Boundary, boundary
from minilearn.methods.boundary import neighbours

CASE = {
    "access": ("model", "forget"),
    "task": "classification",
    "settings": {"box": None},  # the inputs of these tests are no pixels
}


@pytest.fixture
def corners():
    """Three classes: right, left and up; logits are linear in two pixels."""
    net = nn.Sequential(nn.Linear(2, 3, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[9.0, 0.0], [-9.0, 0.0], [0.0, 9.0]]))
    return net


def test_the_neighbour_is_on_the_other_side(corners):
    x = torch.tensor([[0.05, 0.04], [0.05, -0.4], [0.4, 0.3]])
    items = Examples(x, torch.zeros(3, dtype=torch.int64))
    cost, config = Cost(), Boundary(step=0.1, box=None)
    # the loss of class 0 rises to the left: the first goes up, the second to the left, and the
    # third, still called 0, to the second most probable class, which is up
    assert neighbours(corners, items, config, cost).tolist() == [2, 1, 2]
    assert cost.by_source() == {"forget": 3 * 4}
    boxed = Boundary(step=0.1, box=(0.0, 1.0))
    assert neighbours(corners, items[:1], boxed, cost).tolist() == [2]


@pytest.mark.parametrize("box", [None, (-0.3, 0.3)])
def test_the_step_goes_up_the_loss_in_float64(box):
    """logits W x, so the loss's slope is W^T (p - e_y); downhill, or without a step, the class
    next door would be another one for many items."""
    g = torch.Generator().manual_seed(3)
    w = 3 * torch.randn(4, 2, generator=g, dtype=torch.float64)
    net = nn.Sequential(nn.Linear(2, 4, bias=False)).double()
    with torch.no_grad():
        net[0].weight.copy_(w)
    x = 0.6 * torch.rand(60, 2, generator=g, dtype=torch.float64) - 0.3
    y = torch.randint(0, 4, (60,), generator=g)

    def beyond(step: float) -> list[int]:
        classes = []
        for pixels, label in zip(x, y.tolist(), strict=True):
            z = [math.exp(float(row @ pixels)) for row in w]
            p = [value / sum(z) for value in z]
            slope = sum((p[c] - (c == label)) * w[c] for c in range(4))
            moved = [
                float(v) + step * math.copysign(1, s) for v, s in zip(pixels, slope, strict=True)
            ]
            if box:
                moved = [min(max(v, box[0]), box[1]) for v in moved]
            logits = [sum(float(a) * v for a, v in zip(row, moved, strict=True)) for row in w]
            best = sorted(range(4), key=logits.__getitem__, reverse=True)
            classes.append(best[1] if best[0] == label else best[0])
        return classes

    config = Boundary(step=0.1, box=box)
    found = neighbours(net, Examples(x, y), config, Cost()).tolist()
    assert found == beyond(0.1)
    for wrong in (-0.1, 0.0):
        assert sum(a != b for a, b in zip(found, beyond(wrong), strict=True)) >= 5


def test_labels_are_the_originals_and_are_reached(trained, classification):
    items = classification[:7]
    config = Boundary(100, 7, 1e-2, step=0.3, box=None)
    before = neighbours(trained, items, config, Cost())
    model = boundary(trained, items, config=config).model.eval()
    assert torch.equal(model(items.inputs).argmax(1), before)
    assert not bool((before == items.targets).any())


def test_the_loss_is_the_cross_entropy_to_them(tiny_net, classification):
    net, items = tiny_net(dropout=0.0), classification[:7]
    net.body[1] = nn.Identity()
    config = Boundary(1, 100, 1e-2, box=None)
    goal = neighbours(net, items, config, Cost())
    expected = nn.functional.cross_entropy(net(items.inputs), goal).item()
    assert boundary(net, items, config=config).history.loss[0].item() == pytest.approx(expected)


def test_bad_input(tiny_net, classification):
    net, items = tiny_net(), classification[:7]
    with pytest.raises(ValueError, match=r"outside the box .* as Boundary\(box="):
        boundary(net, items)
    with pytest.raises(ValueError, match="need class labels"):
        boundary(net, Examples(items.inputs, torch.zeros(7)), config=Boundary(box=None))
    with pytest.raises(ValueError, match=r"needs floating-point ones, got torch\.\w+$"):
        whole = Examples(torch.ones(3, 6, dtype=torch.int64), torch.tensor([0, 1, 2]))
        boundary(net, whole, config=Boundary(box=None))
    with pytest.raises(ValueError, match="3 classes are needed|the model has 1"):
        boundary(nn.Sequential(nn.Linear(6, 1)), items, config=Boundary(box=None))
    for name, values in {"step": (0, "1", True), "box": ((1, 0), 3, [0, 1]), "lr": (-1,)}.items():
        for wrong in values:
            with pytest.raises(ValueError, match=f"^{name} (must|is)"):
                Boundary(**{name: wrong})
