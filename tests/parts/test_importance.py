"""Importance against the definition, one item at a time, for every kind of layer."""

import pytest
import torch
from torch import nn

from minilearn import models
from minilearn.cost import Cost
from minilearn.data import Examples
from minilearn.fingerprints import fingerprint
from minilearn.kernels.abs_bmm import abs_bmm
from minilearn.parts import importance as mas
from minilearn.parts import products
from minilearn.parts.anchor import Anchor, firmness
from minilearn.parts.importance import importance


def definition(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """sum_n | d |f(x_n)| / d theta |, written out in float64."""
    model = model.double().eval()
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for one in x.double():
        model.zero_grad()
        model(one[None]).square().sum().sqrt().backward()
        for name, p in model.named_parameters():
            total[name] += 0 if p.grad is None else p.grad.abs()
    return total


def images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


class Residual(nn.Module):
    """Additions, an operation in place, and a layer that never runs."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.second, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)
        self.never = nn.Linear(2, 2)

    def forward(self, x):
        x = self.norm(self.first(x)).relu_()
        y = self.second(x)
        y += x
        return self.head(y.relu_().mean((2, 3)))


class Tokens(nn.Module):
    """Positions in rows, normalised, with an embedding that is added to every item."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, 5, 6))
        self.norm, self.inner, self.head = nn.LayerNorm(6), nn.Linear(6, 7), nn.Linear(7, 3)

    def forward(self, x):
        return self.head(self.inner(self.norm(x + self.place)).tanh().mean(1))


class Frozen(nn.Module):
    """A first part that runs without gradients."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        with torch.no_grad():
            x = self.first(x)
        return self.second(x)


def vit(**options) -> nn.Module:
    from torchvision.models import VisionTransformer

    net = VisionTransformer(16, 4, 2, 2, 12, 20, num_classes=5, **options)
    nn.init.normal_(net.heads.head.weight)  # made of zeros, which would hide everything before
    return net


CASES = {
    "linear": (lambda: nn.Linear(4, 3), (6, 4)),
    "linear without bias": (lambda: nn.Linear(4, 3, bias=False), (6, 4)),
    "one item": (lambda: nn.Linear(4, 3), (1, 4)),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten()), (5, 2, 6, 7)),
    "stride, dilation, padding": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, (3, 2), 2, (2, 1), 2), nn.Tanh(), nn.Flatten()),
        (5, 2, 9, 8),
    ),
    "many positions": (  # which are taken by groups, the others by windows
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.Conv2d(3, 2, 5), nn.Flatten()),
        (5, 2, 22, 23),
    ),
    "many positions, stride, dilation, padding": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, (3, 2), 2, (2, 1), 2), nn.Tanh(), nn.Flatten()),
        (5, 2, 34, 35),
    ),
    "in place after the first": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.Flatten()),
        (5, 2, 6, 7),
    ),
    "without gradients": (Frozen, (6, 4)),
    "batch normalisation": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)),
        (6, 4),
    ),
    "group normalisation": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(36, 3)
        ),
        (5, 2, 5, 5),
    ),
    "normalisation without weights": (
        lambda: nn.Sequential(
            nn.Linear(4, 5), nn.LayerNorm(5, elementwise_affine=False), nn.Linear(5, 3)
        ),
        (6, 4),
    ),
    "residual": (Residual, (5, 2, 6, 6)),
    "tokens": (Tokens, (6, 5, 6)),
    "resnet20": (lambda: models.resnet20(4, 1), (5, 1, 9, 9)),
    "vision transformer": (vit, (4, 3, 16, 16)),
}


@pytest.mark.parametrize("case", CASES)
def test_products_are_the_sum_over_items(case):
    make, shape = CASES[case]
    model, x = make(), images(*shape)
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(), part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight), nn.init.normal_(part.bias)
    found, by_loop = importance(model, x, batch_size=2), importance(model, x, "loop")
    expected = definition(model, x)
    assert list(found) == list(expected)
    for name, one in expected.items():
        for mine in (found[name], by_loop[name]):
            assert (mine - one).norm() <= 1e-5 * one.norm().clamp(min=1e-6), name


@pytest.mark.parametrize("at_once", [1, 7, 200, 2**30])
def test_chunks_do_not_change_the_sum(monkeypatch, at_once):
    """Less than one item's product, less than a row of it, several items, all."""
    g, a = images(7, 3, 4) - 0.5, images(7, 4, 5) - 0.5
    monkeypatch.setitem(abs_bmm.__globals__, "CACHED", at_once)
    expected = sum((one @ two).abs() for one, two in zip(g, a, strict=True))
    torch.testing.assert_close(abs_bmm(g, a), expected)
    one = sum((g[n, :, :1] @ a[n, :1]).abs() for n in range(7))
    torch.testing.assert_close(abs_bmm(g[:, :, :1], a[:, :1]), one)


@pytest.mark.parametrize("cached", [1, 2000, 2**30])
@pytest.mark.parametrize("many", [1, 2**30])
def test_every_way_of_a_convolution_is_the_sum_over_items(monkeypatch, many, cached):
    """By groups and by windows; one item, some items and all at a time."""
    monkeypatch.setattr(products, "MANY", many)
    monkeypatch.setattr(products, "CACHED", cached)
    monkeypatch.setattr(products, "AT_ONCE", cached)
    net = nn.Sequential(
        nn.Conv2d(2, 5, 3, stride=(2, 1), padding=(1, 2)), nn.BatchNorm2d(5), nn.Tanh(),
        nn.Conv2d(5, 4, (1, 3), dilation=2), nn.GroupNorm(2, 4), nn.Flatten(),
    )  # fmt: skip
    x = images(7, 2, 9, 8).double()
    found = importance(net.double(), x)
    for name, one in definition(net, x).items():
        torch.testing.assert_close(found[name], one)
        assert found[name].is_contiguous()


@pytest.mark.parametrize("many", [1, 2**30])
def test_no_product_holds_a_gradient_of_every_item(monkeypatch, many):
    """The largest tensor of a convolution's product stays under the bound."""
    sizes, bmm, by_groups = [], torch.bmm, products.conv2d_weight

    def spy(product):
        def spied(*given):
            sizes.append(product(*given).numel())
            return product(*given)

        return spied

    monkeypatch.setattr(torch, "bmm", spy(bmm))
    monkeypatch.setattr(products, "conv2d_weight", spy(by_groups))
    monkeypatch.setattr(products, "MANY", many)
    for module, bound in ((products, "AT_ONCE"), (products, "CACHED")):
        monkeypatch.setattr(module, bound, 700)
    monkeypatch.setitem(abs_bmm.__globals__, "CACHED", 700)
    net = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.Flatten())
    importance(net, images(20, 4, 6, 6), batch_size=20)
    assert max(sizes) <= 700 and len(sizes) >= 10


def test_batch_means_cancel_where_items_disagree():
    """Two items with opposite gradients: the definition sees both, the released variant none."""
    net = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0], [0.0]]))
    # |f(x)| = |x| |w|: both gradients have the sign of w. A bias turns the sign of one around.
    biased = nn.Linear(1, 1)
    with torch.no_grad():
        biased.weight.fill_(1.0), biased.bias.fill_(0.0)
    x = torch.tensor([[1.0], [-1.0]])  # |f| = |w x + b|: d/db = sign(x)
    per_item, mean = importance(biased, x), importance(biased, x, "batch-mean")
    assert per_item["bias"].item() == 2.0 and mean["bias"].item() == 0.0
    assert per_item["weight"].item() == 2.0 and mean["weight"].item() == 1.0
    same = importance(net, torch.tensor([[1.0], [2.0]]), "batch-mean", batch_size=1)
    torch.testing.assert_close(same["weight"], torch.tensor([[1.5], [0.0]]))


def test_a_ragged_batch_weighs_by_its_size():
    """The released sum in float64: n_b |d mean_b |f| |, over batches; what it is divided by goes
    away in W, where equal weights of unequal batches would leave a gap."""
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(11, 3)
    found = importance(net, x, "batch-mean", batch_size=4)
    net = net.double()
    released, equal = ({n: torch.zeros_like(p) for n, p in net.named_parameters()} for _ in "ab")
    for part in x.double().split(4):  # 4, 4 and 3
        net.zero_grad()
        net(part).square().sum(1).sqrt().mean().backward()
        for name, p in net.named_parameters():
            released[name] += len(part) * p.grad.abs()
            equal[name] += p.grad.abs() / 3
    for name, total in found.items():
        torch.testing.assert_close(total.double(), released[name] / 11, atol=1e-6, rtol=1e-5)
    ours, theirs, others = (firmness(one) for one in (found, released, equal))
    gaps = [(theirs[name] - others[name]).abs().max() for name in ours]
    assert max(gaps) > 0.01
    for name, w in ours.items():
        torch.testing.assert_close(w.double(), theirs[name], atol=1e-5, rtol=0)


def test_equal_batches_give_a_plain_mean(tiny_net):
    net, x = tiny_net(dropout=0.0).double(), torch.randn(15, 6).double()
    found = importance(net, x, "batch-mean", batch_size=5)
    net.eval()
    total = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for part in x.split(5):
        net.zero_grad()
        torch.linalg.vector_norm(net(part), dim=1).mean().backward()
        for name, p in net.named_parameters():
            total[name] += p.grad.abs()
    for name, value in total.items():
        torch.testing.assert_close(found[name], value / 3, rtol=1e-12, atol=1e-12)


def test_batch_mean_in_training_mode_uses_the_batch_and_leaves_the_model(tiny_net, everything_of):
    net, x = tiny_net(dropout=0.0), torch.randn(8, 6)
    before = everything_of(net)
    one, other = (importance(net, x, "batch-mean", train=t) for t in (True, False))
    assert everything_of(net) == before
    net.train()
    reference = net(x).norm(dim=1).mean()
    expected = torch.autograd.grad(reference, net.head.weight)[0].abs()
    torch.testing.assert_close(one["head.weight"], expected)
    assert not torch.allclose(one["head.weight"], other["head.weight"])


def test_an_answer_of_zero_has_importance_zero():
    net = nn.Linear(2, 2)
    nn.init.zeros_(net.weight), nn.init.zeros_(net.bias)
    for kind in mas.KINDS:
        assert all((v == 0).all() for v in importance(net, torch.ones(3, 2), kind).values())


def test_cost_counts_every_pass():
    cost = Cost()
    importance(nn.Linear(2, 2), torch.rand(7, 2), "loop", cost=cost)
    assert (cost.forward["forget"], cost.backward["forget"]) == (7, 7)
    cost = Cost()
    net = nn.Linear(2, 2)
    importance(net, torch.rand(7, 2), cost=cost)  # and two items checked, twice
    assert (cost.forward["forget"], cost.backward["forget"]) == (11, 11)
    cost = Cost()
    importance(net, torch.rand(7, 2), cost=cost)  # a network is checked once
    assert (cost.forward["forget"], cost.backward["forget"]) == (7, 7)


class Switched(nn.Module):
    """A network that uses its weight plainly, or with the batch's sign."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.odd = False

    def forward(self, x):
        y = self.one(x)
        return y + self.one.weight.sum() * x if self.odd else y


CHANGES = {
    "a setting": lambda net: setattr(net, "odd", True),
    "a layer": lambda net: setattr(net, "one", Outside()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_network_that_has_changed_is_checked_again(change):
    net, x = Switched(), torch.randn(4, 3)
    first = importance(net, x)
    with torch.no_grad():
        net.one.weight += 1  # other weights are the same network
    cost = Cost()
    importance(net, x, cost=cost)
    assert cost.forward["forget"] == 4 and len(first) == 2
    change(net)
    with pytest.raises(ValueError, match="in a way that has no product"):
        importance(net, x)
    with pytest.raises(ValueError, match="in a way that has no product"):
        importance(net, x)  # what was refused is not remembered as right


def test_a_kink_refuses_no_network(monkeypatch):
    """Where single precision falls to another side alone than in a batch, double decides."""
    net, x = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)), torch.randn(4, 3)
    right = importance(net, x)
    mas.CHECKED.clear()
    plain, seen = mas._absolute_gradients, []

    def shaken(model, parts, cost, reduce):
        found = plain(model, parts, cost, reduce)
        seen.append(parts[0].dtype)
        if parts[0].dtype == torch.float32:
            found["0.weight"] = found["0.weight"] + 1
        return found

    monkeypatch.setattr(mas, "_absolute_gradients", shaken)
    again = importance(net, x)
    assert seen == [torch.float32, torch.float64]
    assert all(torch.equal(right[name], again[name]) for name in right)


def test_the_given_model_is_as_before(everything_of, tiny_net):
    net = tiny_net()
    net.head.requires_grad_(False)
    before = everything_of(net)
    importance(net, torch.rand(5, 6))
    assert everything_of(net) == before


class Twice(nn.Module):
    """One layer that runs twice."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(3, 3)

    def forward(self, x):
        return self.one(self.one(x))


class Outside(nn.Module):
    """A weight that is used past its layer."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.two(x) + x @ self.one.weight


class Mixing(nn.Module):
    """Items that look at each other."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(3, 3)

    def forward(self, x):
        x = self.one(x)
        return x - x.mean(0)


def tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    return net


def scaled() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 3))
    net.scale = nn.Parameter(torch.ones(3))
    return net


REFUSED = {
    "shared by two layers": tied,
    "runs twice": Twice,
    "in a way that has no product": Outside,
    "way that has no product here": Mixing,
    "no product for scale": scaled,
    "normalises by its batch": lambda: nn.Sequential(
        nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_has_no_product_is_refused(sentence):
    with pytest.raises(ValueError, match=sentence):
        importance(REFUSED[sentence](), torch.randn(4, 3))


@pytest.mark.parametrize(
    "layer, sentence",
    [
        (nn.Conv2d(2, 4, 3, groups=2), "convolution in groups"),
        (nn.Conv2d(2, 4, 3, padding="same"), "pads in a way"),
        (nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), "pads in a way"),
    ],
)
def test_convolutions_of_other_kinds_are_refused_and_the_loop_takes_them(layer, sentence):
    net, x = nn.Sequential(layer, nn.Flatten()), images(3, 2, 6, 6)
    with pytest.raises(ValueError, match=rf"{sentence}.*loop"):
        importance(net, x)
    found, expected = importance(net, x, "loop"), definition(net, x)
    weight, right = found["0.weight"].double(), expected["0.weight"]
    torch.testing.assert_close(weight, right, rtol=1e-5, atol=1e-5)


def test_attention_of_other_kinds_is_refused():
    class Cross(nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x + 1, x)[0].mean(1)

    with pytest.raises(ValueError, match="to itself.*loop"):
        importance(Cross(), images(3, 5, 4))
    encoder = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8), nn.Flatten())
    with pytest.raises(ValueError, match="attention has no product.*loop"):
        importance(encoder, images(3, 5, 4))


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"kind": "fast"}, "kind is one of"),
        ({"train": True}, "an item has no gradient"),
        ({"kind": "loop", "train": True}, "an item has no gradient"),
        ({"batch_size": 0}, "batch_size"),
        ({"data": torch.zeros(0, 3)}, "one at least"),
        ({"data": [1, 2]}, "one at least"),
        ({"data": torch.zeros(2, 4)}, "the model fails on a batch"),
        ({"model": nn.LSTM(3, 2)}, "one tensor of logits"),
        ({"model": len}, "torch.nn.Module"),
    ],
)
def test_bad_input_is_one_sentence(options, sentence):
    model = options.pop("model", None) or nn.Linear(3, 3)
    with pytest.raises(ValueError, match=sentence):
        importance(model, options.pop("data", torch.zeros(2, 3)), **options)


def test_an_overflow_is_one_sentence():
    net = nn.Linear(3, 3)
    nn.init.constant_(net.weight, float("inf"))
    with pytest.raises(ValueError, match="importance of weight .* hold NaN or infinite"):
        importance(net, torch.ones(2, 3), "loop")


# ---- the anchor


def test_the_most_important_is_free_and_a_constant_tensor_is_held():
    firm = firmness(
        {"w": torch.tensor([1.0, 3.0, 2.0]), "b": torch.tensor([4.0]), "z": torch.zeros(2)}
    )
    assert firm["w"].tolist() == [1.0, 0.0, 0.5]
    assert firm["b"].tolist() == [1.0] and firm["z"].tolist() == [1.0, 1.0]


def test_the_penalty_and_its_gradient_are_autograds(tiny_net):
    net = tiny_net()
    net.body[1].requires_grad_(False)
    omega = {name: torch.rand_like(p) for name, p in net.named_parameters()}
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    anchor = Anchor(net, omega)
    assert anchor.penalty().item() == 0
    with torch.no_grad():
        for p in net.parameters():
            p += torch.randn_like(p)
    firm, named = firmness(omega), dict(net.named_parameters())
    trained = [name for name, p in named.items() if p.requires_grad]
    written = sum((firm[n] * (named[n] - start[n]).square()).sum() / 2 for n in trained)
    torch.testing.assert_close(anchor.penalty(), written)
    weights = [named[n] for n in trained]
    mine = torch.autograd.grad(3 * anchor.penalty(), weights)
    for a, b in zip(mine, torch.autograd.grad(3 * written, weights), strict=True):
        torch.testing.assert_close(a, b)


def test_examples_and_their_inputs_give_the_same():
    net, data = nn.Linear(3, 3), Examples(images(4, 3), torch.tensor([0, 1, 2, 0]))
    assert fingerprint(importance(net, data)) == fingerprint(importance(net, data.inputs))


@pytest.mark.parametrize("seed", [163, 200])
def test_a_resnet_is_not_refused_for_a_kink(seed):
    """Inputs at which, on one CPU at least, a batch and an item fall to other sides of a ReLU."""
    net = models.build(lambda: models.resnet18(pool=True), 0).eval()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    found = importance(net, x)
    expected = importance(net, x, "loop")
    apart = (found["head.weight"] - expected["head.weight"]).norm()
    assert apart < 1e-3 * expected["head.weight"].norm()


def test_a_last_batch_of_one_joins_the_one_before_as_in_the_loop():
    """Else batch normalisation in training mode could not read it."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    found = importance(net, x, "batch-mean", train=True, batch_size=4)
    whole = importance(net, x, "batch-mean", train=True, batch_size=5)
    assert all(torch.equal(found[name], whole[name]) for name in whole)
