"""The attack against a loop written out in float64, its ball and its box, and its targets."""

import copy
import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minilearn.cost import Cost
from minilearn.data import Examples
from minilearn.fingerprints import fingerprint
from minilearn.models import resnet20
from minilearn.parts.attack import PGD, adversarial_images, l2_pgd
from minilearn.precision import fast

SHORT = PGD(eps=0.6, steps=7, repeats=3)


@pytest.fixture
def items() -> Examples:
    generator = torch.Generator().manual_seed(1)
    return Examples(torch.rand(6, 1, 4, 4, generator=generator), torch.tensor([0, 1, 2, 3, 3, 0]))


@pytest.fixture
def net() -> nn.Module:
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten()
    return nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(12, 5))


def written_out(net, x0, start, targets, config: PGD) -> torch.Tensor:
    """One image at a time, in float64: the two published orders, and AdverTorch's floor."""
    net, (low, high) = net.double().eval(), config.box
    done = []
    for one, begin, y in zip(x0.double(), start.double(), targets, strict=True):
        x = begin
        for _ in range(config.steps):
            x = x.clone().requires_grad_()
            F.cross_entropy(net(x[None]), y[None]).backward()
            moved = (x - config.step * x.grad / max(float(x.grad.norm()), config.floor)).detach()
            if config.order == "clamp_project":
                moved = moved.clamp(low, high)
                d = moved - one
                x = one + d * min(1.0, config.eps / float(d.norm()))
            else:
                d = moved - one
                x = (one + d * min(1.0, config.eps / float(d.norm()))).clamp(low, high)
        done.append(x.detach())
    return torch.stack(done)


@pytest.mark.parametrize("order", ["clamp_project", "project_clamp"])
def test_every_attack_is_the_one_written_out(net, items, order):
    config = dataclasses.replace(SHORT, order=order, step=0.2)
    begun = l2_pgd(net, items, dataclasses.replace(config, steps=0), seed=4)
    found = l2_pgd(net, items, config, seed=4)
    assert torch.equal(begun.targets, found.targets)
    x0 = items.inputs.repeat(3, 1, 1, 1)
    expected = written_out(net, x0, begun.images, found.targets, config)
    torch.testing.assert_close(found.images.double(), expected, atol=2e-5, rtol=0)
    answers = net.double().eval()(expected).argmax(1)
    assert torch.equal(found.reached, answers == found.targets)


@pytest.mark.parametrize("order", ["clamp_project", "project_clamp"])
@pytest.mark.parametrize("floor", [1e-6, 0.1, 10.0])
def test_a_step_from_below_the_floor_is_shorter(net, items, order, floor):
    """The gradients here are between 0.01 and 1: one floor is below all, one inside, one above."""
    config = dataclasses.replace(SHORT, order=order, step=0.2, floor=floor)
    begun = l2_pgd(net, items, dataclasses.replace(config, steps=0), seed=4).images
    found = l2_pgd(net, items, config, seed=4)
    x0 = items.inputs.repeat(3, 1, 1, 1)
    expected = written_out(net, x0, begun, found.targets, config)
    torch.testing.assert_close(found.images.double(), expected, atol=2e-5, rtol=0)
    plain = l2_pgd(net.float(), items, dataclasses.replace(config, floor=0.0), seed=4).images
    same = torch.isclose(found.images, plain, atol=1e-5, rtol=0).flatten(1).all(1)
    assert {1e-6: same.all(), 10.0: not same.any()}.get(floor, True)


def test_where_a_network_is_sure_the_released_step_is_shorter():
    """Softmax of 40 x: at its target the slope is far below AdverTorch's floor of 1e-6."""
    net = nn.Linear(2, 2, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(40 * torch.eye(2))
    item = Examples(torch.tensor([[0.9, 0.1]], dtype=torch.float64), torch.tensor([1]))

    def after(steps: int, floor: float) -> torch.Tensor:
        config = PGD(0.1, step=0.01, steps=steps, repeats=1, floor=floor)
        return l2_pgd(net, item, config, seed=1).images

    start = after(0, 0.0)
    p = (40 * start).softmax(1)[0, 1].item()
    slope = math.hypot(40 * p, 40 * p)  # 40 (p - e_target), and p sums up to 1
    assert 1e-14 < slope < 1e-6
    for floor, length in ((0.0, 0.01), (1e-6, 0.01 * slope / 1e-6)):
        moved = float((after(1, floor) - start).norm())
        assert moved == pytest.approx(length, rel=1e-4)


def test_the_two_orders_differ(net, items):
    one, other = (
        l2_pgd(net, items, dataclasses.replace(SHORT, order=order, eps=1.0, step=0.5)).images
        for order in ("clamp_project", "project_clamp")
    )
    assert not torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("order", ["clamp_project", "project_clamp"])
@pytest.mark.parametrize("eps", [1e-4, 0.3, 2.0, 100.0])
@pytest.mark.parametrize("box", [(0.0, 1.0), (-3.0, 2.0)])
def test_ball_and_box_hold(net, items, order, eps, box):
    config = PGD(eps, steps=5, repeats=4, order=order, box=box)
    found = l2_pgd(net, items, config)
    away = (found.images - items.inputs.repeat(4, 1, 1, 1)).double().flatten(1).norm(dim=1)
    assert away.max() <= eps * (1 + 1e-6) + 1e-6  # the last: pixels near 1 are rounded
    assert found.images.min() >= box[0] and found.images.max() <= box[1]
    assert away.min() > 0


def test_it_begins_from_uniform_images_pulled_into_the_ball(net):
    many = Examples(torch.full((1, 1, 4, 4), 0.5), torch.tensor([0]))
    whole = l2_pgd(net, many, PGD(eps=100.0, steps=0, repeats=4000)).images
    assert abs(float(whole.mean()) - 0.5) < 0.01 and abs(float(whole.var()) - 1 / 12) < 0.005
    pulled = l2_pgd(net, many, PGD(eps=0.1, steps=0, repeats=50)).images
    away = (pulled - 0.5).flatten(1).norm(dim=1)
    torch.testing.assert_close(away, torch.full((50,), 0.1))


def test_channels_last_change_nothing_but_rounding():
    model = resnet20().eval()
    data = Examples(torch.rand(3, 3, 8, 8), torch.tensor([0, 1, 2]))
    plain = l2_pgd(model, data, PGD(steps=3, repeats=2))
    with fast():
        other = l2_pgd(model, data, PGD(steps=3, repeats=2))
    torch.testing.assert_close(plain.images, other.images, rtol=1e-3, atol=1e-4)
    weight = next(p for p in model.parameters() if p.ndim == 4)
    assert not weight.is_contiguous(memory_format=torch.channels_last)


def test_targets_are_uniform_over_the_other_classes(net):
    data = Examples(torch.zeros(5, 1, 4, 4), torch.arange(5))
    found = l2_pgd(net, data, PGD(steps=0, repeats=4000))
    true = data.targets.repeat(4000)
    table = torch.zeros(5, 5).index_put_((true, found.targets), torch.ones(20_000), accumulate=True)
    assert table.diag().sum() == 0
    others = table[~torch.eye(5, dtype=torch.bool)]
    chi_square = ((others - 1000).square() / 1000).sum()
    assert chi_square < 45  # 15 degrees of freedom: one in ten thousand


def test_targets_reach_every_class_of_a_large_model():
    data = Examples(torch.zeros(2, 3), torch.tensor([0, 99]))
    found = l2_pgd(nn.Linear(3, 100), data, PGD(steps=0, repeats=3000))
    assert found.targets.unique().tolist() == list(range(100))


def test_the_other_class_of_two_is_reached():
    net = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.eye(2))
    data = Examples(torch.tensor([[0.8, 0.2], [0.2, 0.8]]), torch.tensor([0, 1]))
    far, near = (
        l2_pgd(net, data, PGD(eps, steps=60, repeats=1))
        for eps in (0.6, 0.2)  # the boundary is 0.424 away
    )
    assert far.reached.all() and not near.reached.any()
    # what is nearest to the other class in the ball: straight across the boundary
    expected = torch.tensor([[0.6586, 0.3414], [0.3414, 0.6586]])
    torch.testing.assert_close(near.images, expected, atol=1e-3, rtol=0)
    assert repr(far) == "Attacked(2 of 2 images reached their class)"


@pytest.mark.parametrize("memory", [1, 20_000, 2**30])
def test_chunks_do_not_change_the_images(net, items, memory):
    whole = l2_pgd(net, items, SHORT)
    parts = l2_pgd(net, items, dataclasses.replace(SHORT, memory=memory))
    assert torch.equal(whole.targets, parts.targets)
    torch.testing.assert_close(parts.images, whole.images, atol=1e-5, rtol=0)


def test_chunks_keep_the_memory_bound(items):
    """The largest batch that the network sees shrinks with the bound, as what it keeps does."""
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(
                nn.Flatten(), nn.Linear(16, 1000), nn.Tanh(), nn.Linear(1000, 5)
            )

        def forward(self, x):
            seen.append(len(x))
            return self.inner(x)

    for memory, largest in ((2**30, 18), (5 * 5000, 5)):
        seen.clear()
        l2_pgd(Spy(), items, dataclasses.replace(SHORT, memory=memory))
        assert 1 <= max(seen) <= largest and (max(seen) == 18) == (memory == 2**30)


def test_no_weight_gets_a_gradient_and_the_model_is_as_before(net, items, everything_of):
    net.train()
    before, random = everything_of(net), torch.get_rng_state()
    l2_pgd(net, items, SHORT)
    assert everything_of(net) == before and torch.equal(random, torch.get_rng_state())


def test_same_seed_same_images(net, items):
    one, again, other = (l2_pgd(net, items, SHORT, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.images, again.images) and torch.equal(one.targets, again.targets)
    assert not torch.equal(one.images, other.images)


def test_cost_counts_what_ran(net, items):
    cost = Cost()
    l2_pgd(net, items, SHORT, cost=cost)
    # one to look, seven steps forward and backward, and the last look at 18 images
    assert cost.forward["forget"] == 1 + 8 * 18 and cost.backward["forget"] == 7 * 18


def test_a_single_channel_a_vector_and_an_odd_size():
    for shape in ((3,), (1, 5, 3), (2, 3, 1, 2)):
        data = Examples(torch.rand(2, *shape), torch.tensor([0, 1]))
        width = int(torch.tensor(shape).prod())
        found = l2_pgd(nn.Sequential(nn.Flatten(), nn.Linear(width, 3)), data, SHORT)
        assert found.images.shape == (6, *shape)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"eps": 0}, "eps must be a finite number above 0, got 0"),
        ({"eps": -1.0}, "eps must be"),
        ({"eps": float("nan")}, "eps must be"),
        ({"eps": "2"}, "eps must be a finite number above 0, got '2'"),
        ({"eps": True}, "eps must be a finite number above 0, got True"),
        ({"step": 0.0}, "step must be"),
        ({"steps": -1}, "steps must be a whole number"),
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"repeats": 0}, "repeats must be"),
        ({"memory": 0}, "memory must be"),
        ({"order": "both"}, "order is one of"),
        ({"box": (1.0, 0.0)}, "box is .low, high."),
        ({"box": 1.0}, "box is .low, high."),
        ({"box": [0.0, 1.0]}, "box is .low, high."),
        ({"box": ("0", "1")}, "an end of the box must be a finite number, got '0'"),
    ],
)
def test_bad_settings_are_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        PGD(**options)


BAD = [
    (
        lambda d: Examples(d.inputs + 1, d.targets),
        {},
        r"run from 1.* outside the box \(0.0, 1.0\).* PGD\(box=",
    ),
    (lambda d: Examples(d.inputs - 0.5, d.targets), {}, "Normalize"),
    (lambda d: Examples(d.inputs, d.targets.float()), {}, "class labels"),
    (
        lambda d: Examples((d.inputs * 255).byte(), d.targets),
        {},
        r"got torch.uint8; where there are no pixels, L2UL\(attack=None\) goes without",
    ),
    (lambda d: Examples(d.inputs, d.targets + 3), {}, "7 classes are needed, but the model has 5"),
    (lambda d: d.inputs, {}, "inputs without targets"),
    (lambda d: [], {}, "there are no examples to read"),
    (lambda d: d, {"seed": -1}, "seed"),
]


@pytest.mark.parametrize("change, options, sentence", BAD)
def test_bad_items_are_one_sentence(net, items, change, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        l2_pgd(net, change(items), SHORT, **options)


class Pair(nn.Module):
    """Returns more than it should."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 5)

    def forward(self, x):
        return self.inner(x.flatten(1)), x


@pytest.mark.parametrize(
    "model, sentence",
    [
        (Pair(), "one tensor of logits .B, C., got a tuple"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Flatten(0)),
            r"logits .B, C., got \(5,\)",
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 1)), "classes are needed, but the model has 1"),
        (nn.Linear(7, 5), "the model fails on a batch"),
        (len, "torch.nn.Module"),
    ],
)
def test_bad_models_are_one_sentence(items, model, sentence):
    with pytest.raises(ValueError, match=sentence):
        l2_pgd(model, items, SHORT)


def test_attacks_that_do_not_arrive_are_said(net, items):
    with pytest.warns(
        UserWarning, match=r"only . of 5 adversarial images reach .* as PGD\(eps=0.02"
    ):
        adversarial_images(
            net, items[:5], PGD(0.01, steps=1, repeats=1, box=(-9.0, 9.0)), 0, Cost()
        )


def test_what_a_network_says_in_training_mode_is_looked_at_before_the_attack(items):
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(items.inputs[0].numel(), 3)

        def forward(self, x):
            z = self.head(x.flatten(1))
            return (z, z) if self.training else z

    cost = Cost()
    with pytest.raises(ValueError, match="in training mode the model returns a tuple"):
        adversarial_images(Auxiliary().eval(), items, PGD(), 0, cost)
    assert cost.samples == 0


def test_a_model_that_answers_with_no_number_is_a_sentence(net, items):
    broken = copy.deepcopy(net)
    with torch.no_grad():
        next(broken.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="the model's outputs of 1 example.s. hold NaN"):
        l2_pgd(broken, items, PGD(steps=1, repeats=1))


def test_two_classes_leave_one_target():
    data = Examples(torch.rand(4, 3), torch.tensor([0, 1, 1, 0]))
    found = l2_pgd(nn.Linear(3, 2), data, SHORT)
    assert torch.equal(found.targets, 1 - data.targets.repeat(3))
    assert fingerprint(found.targets) == fingerprint(l2_pgd(nn.Linear(3, 2), data, SHORT).targets)
