"""L2UL against its published steps in float64, its stop rule, and whatever may go wrong with it."""

import dataclasses
import inspect

import pytest
import torch
import torch.nn.functional as F
from shared import bits
from torch import nn

from minilearn.data import Examples
from minilearn.evaluation import evaluate
from minilearn.methods import L2UL, METHODS, PGD, l2ul, unlearn
from minilearn.parts.anchor import firmness
from minilearn.parts.attack import l2_pgd
from minilearn.parts.importance import importance
from minilearn.requests import by_index
from minilearn.training import NonFiniteLoss

CASE = {
    "access": ("model", "forget"),
    "task": "classification",
    "settings": {"attack": PGD(6.0, step=2.0, steps=4, repeats=2, box=(-9.0, 9.0)), "lr": 1e-3},
}

# most of these attacks are too short to arrive; that it is said is a test of its own
pytestmark = pytest.mark.filterwarnings("ignore:only .* adversarial images reach")

BOX = (-9.0, 9.0)
SHORT = L2UL(PGD(1.0, steps=5, repeats=3, box=BOX), epochs=3, batch_size=4, adversarial_batch=8)
CLIMB = L2UL(attack=None, anchor=0.0)


@pytest.fixture
def items(trained, classification) -> Examples:
    """Five items that the model classifies right."""
    return classification[evaluate(trained, classification).correct][:5]


# ---- the step is the published one


def written_out(net, items, drawn, config: L2UL, goal=None, steps: int = 3) -> list:
    """Full batches in float64: losses, the penalty by autograd, and SGD by hand."""
    net = net.double()
    net.train(config.batch_norm == "train")
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    firm = firmness({k: v.double() for k, v in importance(net.float(), items).items()})
    net.double()
    speed = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    y = items.targets if goal is None else goal
    losses = []
    for _ in range(steps):
        each = F.cross_entropy(net(items.inputs.double()), y, reduction="none")
        if config.forget_loss_on == "remaining":
            right = net(items.inputs.double()).argmax(1) == y
            each = each * (right if goal is None else ~right)
        loss = each.mean() * (-1 if goal is None else 1)
        n, m = len(items), len(drawn)
        w = n / (n + m) if config.forget_weight is None else config.forget_weight
        loss = w * loss + (1 - w) * F.cross_entropy(net(drawn.images.double()), drawn.targets)
        named = dict(net.named_parameters())
        gap = sum((firm[k] * (p - start[k]) ** 2).sum() for k, p in named.items())
        loss = loss + config.anchor / 2 * gap
        gradients = torch.autograd.grad(loss, [*named.values()])
        with torch.no_grad():
            for (name, p), g in zip(named.items(), gradients, strict=True):
                speed[name] = config.momentum * speed[name] + g + config.weight_decay * p
                p -= config.lr * speed[name]
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("pushed", ["all", "remaining"])
@pytest.mark.parametrize("weight", [None, 0.5])
@pytest.mark.parametrize("relabel", [False, True])
def test_three_steps_are_the_published_ones(trained, items, pushed, weight, relabel):
    goal = (items.targets + 1) % 3 if relabel else None
    config = dataclasses.replace(
        SHORT,
        batch_size=5,
        adversarial_batch=99,
        forget_loss_on=pushed,
        forget_weight=weight,
        anchor=30.0,
    )
    config = dataclasses.replace(config, lr=5e-3)
    drawn = l2_pgd(trained, items, config.attack, seed=7)
    result = l2ul(trained, items, relabel=goal, config=config, seed=7)
    assert len(result.history.loss) == 3  # it does not stop on the way
    expected = written_out(trained, items, drawn, config, goal)
    assert result.history.loss.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for (name, mine), theirs in zip(
        result.model.named_parameters(), trained.parameters(), strict=True
    ):
        torch.testing.assert_close(mine.double(), theirs, atol=1e-5, rtol=1e-4, msg=name)


def test_gradient_ascent_is_a_special_case(trained, items):
    config = dataclasses.replace(CLIMB, epochs=1, batch_size=5)
    result = l2ul(trained, items, config=config)
    before = evaluate(trained, items).loss
    assert result.history.loss[0].item() == pytest.approx(-before.mean().item(), rel=1e-5)
    assert evaluate(result.model, items).loss.mean() > before.mean()


def test_the_batches_are_the_published_ones(trained, items, monkeypatch):
    """Every adversarial image once in a pass, each batch beside the next of the items."""
    seen = []

    def spy(logits, targets, *rest, **options):
        seen.append(len(targets))
        return F_cross_entropy(logits, targets, *rest, **options)

    F_cross_entropy = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", spy)
    config = dataclasses.replace(SHORT, epochs=1, adversarial_batch=4, lr=0.0)
    l2ul(trained, items, config=config)
    pairs = seen[-8:]
    # 15 images in batches of 4; 5 items in one batch of 5, because a batch of 1 is joined
    assert pairs == [5, 4, 5, 4, 5, 4, 5, 3]


def released(net, items, drawn, config: L2UL, passes: int) -> None:
    """The released loop in float64: images first, then items, each a pass of its own in training
    mode, in their order; SGD and momentum by hand. The penalty's W is the released one."""
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    net.train()
    norm = net(items.inputs).square().sum(1).sqrt().mean()
    omega = torch.autograd.grad(norm, [*net.parameters()])
    for module in net.modules():  # the importance was that of another copy
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
    firm = firmness({name: g.abs() for name, g in zip(start, omega, strict=True)})
    speed = {name: torch.zeros_like(p) for name, p in start.items()}
    for _ in range(passes):
        for x_adv, y_adv in zip(
            drawn.images.double().split(config.adversarial_batch),
            drawn.targets.split(config.adversarial_batch),
            strict=True,
        ):
            n, m = len(items), len(x_adv)
            adversarial = F.cross_entropy(net(x_adv), y_adv)
            loss = m / (n + m) * adversarial
            loss = loss - n / (n + m) * F.cross_entropy(net(items.inputs), items.targets)
            for name, p in net.named_parameters():
                loss = loss + config.anchor / 2 * (firm[name] * (p - start[name]) ** 2).sum()
            gradients = torch.autograd.grad(loss, [*net.parameters()])
            with torch.no_grad():
                for (name, p), g in zip(net.named_parameters(), gradients, strict=True):
                    speed[name] = config.momentum * speed[name] + g + config.weight_decay * p
                    p -= config.lr * speed[name]


def test_the_paper_recipe_is_the_released_loop_down_to_the_running_statistics(tiny_net, items):
    """With batch normalisation in training mode the order of the two passes and of the images
    decides: with another one the weights and statistics are others."""
    attack = PGD(1.0, steps=3, repeats=3, box=BOX)
    config = dataclasses.replace(
        L2UL.paper("cifar10"), attack=attack, epochs=2, batch_size=9, adversarial_batch=6, lr=1e-2
    )
    net = tiny_net(dropout=0.0).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
    five = Examples(items.inputs.double(), net.eval()(items.inputs.double()).argmax(1))
    drawn = l2_pgd(net, five, attack, seed=3)
    result = l2ul(net, five, config=config, seed=3)
    assert len(result.history.loss) == 6  # 15 images in batches of 6: it did not stop before
    released(net, five, drawn, config, passes=2)
    state, expected = result.model.state_dict(), net.state_dict()
    for name, value in expected.items():
        if value.is_floating_point():
            torch.testing.assert_close(state[name], value, atol=1e-7, rtol=1e-6, msg=name)


@pytest.mark.parametrize("change", [{"batch_norm": "train"}, {"shuffle": True}])
def test_the_order_of_passes_and_of_images_decides(tiny_net, items, change):
    attack = PGD(1.0, steps=3, repeats=3, box=BOX)
    config = dataclasses.replace(
        L2UL.paper("cifar10"), attack=attack, epochs=2, batch_size=9, adversarial_batch=6, lr=1e-2
    )
    net = tiny_net(dropout=0.0)
    five = items.with_targets(net.eval()(items.inputs).argmax(1))
    one = l2ul(net, five, config=config, seed=3)
    other = l2ul(net, five, config=dataclasses.replace(config, **change), seed=3)
    assert bits(one) != bits(other)


# ---- when it stops


def test_it_stops_at_the_first_step_that_forgets_all(trained, items):
    config = dataclasses.replace(CLIMB, lr=0.02, forget_loss_on="remaining")
    result = l2ul(trained, items, config=config)
    assert result.finished and not evaluate(result.model, items).correct.any()
    steps = len(result.history.loss)
    shorter = l2ul(trained, items, config=dataclasses.replace(config, epochs=steps - 1))
    assert not shorter.finished and evaluate(shorter.model, items).correct.any()
    assert "stopped by its cap" in repr(shorter) and "cap" not in repr(result)


@pytest.mark.parametrize("batch_norm", ["frozen", "train", "released"])
def test_a_late_answer_gives_the_weights_of_stopping_at_once(trained, items, batch_norm, late):
    """As on a GPU: the answers are read every few steps, the steps taken meanwhile are undone."""
    config = dataclasses.replace(
        SHORT,
        epochs=100,
        adversarial_batch=5,
        lr=0.02,
        batch_norm=batch_norm,
        forget_loss_on="remaining",
    )
    config = dataclasses.replace(config, forget_weight=0.9, anchor=0.01)
    at_once = l2ul(trained, items, config=config)
    assert at_once.finished and len(at_once.history.loss) > 3
    for every in (2, 16):
        late(every)
        assert bits(l2ul(trained, items, config=config)) == bits(at_once)


def test_relabelled_items_get_their_new_labels(trained, items):
    new = (items.targets + 1) % 3
    config = dataclasses.replace(SHORT, epochs=300, lr=0.02, anchor=0.0)
    result = l2ul(trained, items, relabel=new, config=config)
    assert result.finished and evaluate(result.model, items.with_targets(new)).correct.all()
    again = unlearn(l2ul, trained, by_index(items, [0, 1]), config=config, relabel=new[:2])
    assert evaluate(again.model, items[:2].with_targets(new[:2])).correct.all()


def test_items_that_are_wrong_already_do_not_matter(trained, classification):
    evaluation = evaluate(trained, classification)
    assert not evaluation.correct.all()
    mixed = torch.cat([(~evaluation.correct).nonzero()[:1], evaluation.correct.nonzero()[:2]])
    result = l2ul(
        trained, classification[mixed.flatten()], config=dataclasses.replace(CLIMB, lr=0.05)
    )
    assert result.finished


# ---- what it does not touch


def test_statistics_stay_unless_asked_for(trained, items):
    frozen, drifting = (
        l2ul(trained, items, config=dataclasses.replace(SHORT, batch_norm=way))
        for way in ("frozen", "train")
    )
    before = trained.body[1].running_mean
    assert torch.equal(frozen.model.body[1].running_mean, before)
    assert not torch.equal(drifting.model.body[1].running_mean, before)


def test_its_signature_has_no_retained_data():
    names = inspect.signature(l2ul).parameters
    assert "retain" not in names and "fresh" not in names and METHODS["l2ul"] is l2ul


def test_a_dataset_of_pairs_gives_the_same(trained, items):
    pairs = [(x, int(y)) for x, y in zip(items.inputs, items.targets, strict=True)]
    assert bits(l2ul(trained, pairs, config=SHORT)) == bits(l2ul(trained, items, config=SHORT))


def test_each_term_can_be_left_out(trained, items):
    """ADV without an anchor, the anchor without ADV, neither: all differ, and cost what they do."""
    forms = {
        "both": SHORT,
        "adversarial": dataclasses.replace(SHORT, anchor=0.0),
        "anchored": dataclasses.replace(SHORT, attack=None),
        "neither": dataclasses.replace(SHORT, attack=None, anchor=0.0),
    }
    found = {name: l2ul(trained, items, config=config) for name, config in forms.items()}
    assert len({bits(result) for result in found.values()}) == 4
    samples = {name: result.cost.samples for name, result in found.items()}
    assert samples["both"] > samples["adversarial"] > samples["neither"]


@pytest.mark.parametrize("kind", ["per-item", "loop", "batch-mean"])
def test_every_kind_of_importance_runs(trained, items, kind):
    for way in ("frozen", "train", "released"):
        config = dataclasses.replace(SHORT, importance=kind, batch_norm=way, batch_size=5)
        assert l2ul(trained, items, config=config).history.loss.isfinite().all()


# ---- bad input


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"attack": 0.4}, "attack must be a PGD"),
        ({"anchor": -1}, "anchor must be a finite number from 0"),
        ({"anchor": float("inf")}, "anchor must be a finite number from 0"),
        ({"anchor": "1"}, "anchor must be a finite number from 0 on, got '1'"),
        ({"forget_weight": 0}, r"forget_weight must be a number in \(0, 1\], got 0"),
        ({"forget_weight": 1.5}, r"forget_weight must be a number in \(0, 1\]"),
        ({"importance": "exact"}, "importance is one of"),
        ({"batch_norm": "eval"}, "batch_norm is one of"),
        ({"forget_loss_on": "some"}, "forget_loss_on is one of"),
        ({"adversarial_batch": 0}, "adversarial_batch must be"),
        ({"shuffle": 1}, "shuffle must be a bool, got int"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"epochs": -1}, "epochs must be"),
        ({"lr": -1.0}, "lr must be"),
    ],
)
def test_bad_settings_are_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        L2UL(**options)


def test_bad_new_labels_are_one_sentence(trained, items):
    new = (items.targets + 1) % 3
    same = new.clone()
    same[2] = items.targets[2]
    for labels, sentence in (
        (same, f"the new label of item 2 is its old one, {int(same[2])}"),
        (new[:3], "5 items need as many new labels, got 3"),
        (new.float(), "new labels must be a flat list of integers"),
        (new + 5, "classes are needed, but the model has 3"),
        (-new - 1, "class labels start at 0"),
        ("cat", "new labels must be a flat list"),
    ):
        with pytest.raises(ValueError, match=sentence):
            l2ul(trained, items, relabel=labels, config=SHORT)


def test_nothing_to_do_is_one_sentence(trained, items):
    wrong = items.with_targets((items.targets + 1) % 3)
    with pytest.raises(ValueError, match="answers as asked already: there is nothing"):
        l2ul(trained, wrong, config=SHORT)
    with pytest.raises(ValueError, match="answers as asked already"):
        l2ul(trained, wrong, relabel=items.targets, config=SHORT)


def test_bad_items_are_one_sentence(trained, items):
    outside = dataclasses.replace(SHORT, attack=PGD(box=(0.0, 1.0)))
    for given, config, sentence in (
        (items, outside, "outside the box"),
        (items.with_targets(items.targets.float()), SHORT, "class labels"),
        (items.with_targets(items.targets + 4), SHORT, "classes are needed, but the model has 3"),
        (items.inputs, SHORT, "inputs without targets"),
    ):
        with pytest.raises(ValueError, match=sentence):
            l2ul(trained, given, config=config)


def test_a_model_that_returns_two_things_is_one_sentence(items):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 3)

        def forward(self, x):
            return self.inner(x), x

    for config in (SHORT, CLIMB):
        with pytest.raises(ValueError, match="one tensor of logits .B, C., got a tuple"):
            l2ul(Two(), items, config=config)


def test_requests_refuse_what_cannot_be_asked(classification):
    for indices, sentence in (
        ([1, 1], "named twice"),
        ([99], "outside 0..23"),
        ([-1], "outside 0..23"),
        ([], "nothing is to be forgotten"),
        (range(24), "nothing is retained"),
    ):
        with pytest.raises(ValueError, match=sentence):
            by_index(classification, list(indices))


def test_an_ascent_that_overflows_says_so(trained, items):
    with pytest.raises(NonFiniteLoss, match="smaller learning rate"):
        l2ul(trained, items, config=dataclasses.replace(CLIMB, lr=1e30))


class Overflows(nn.Module):
    """Right about every item until its weight has moved; then its outputs are NaN."""

    def __init__(self, right: torch.Tensor):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("right", right)

    def forward(self, x):
        moved = self.weight.detach() != 0
        return self.right + self.weight * self.right + torch.where(moved, torch.nan, 0.0)


@pytest.mark.parametrize("relabelled", [False, True])
def test_outputs_that_overflow_are_no_forgetting(relabelled):
    """NaN is no answer, and so no other answer: the run goes on and meets the loss."""
    y = torch.tensor([1, 2])
    model = Overflows(3.0 * F.one_hot(y, 3))
    relabel = torch.tensor([0, 0]) if relabelled else None  # 0 is what argmax says of NaN
    settings = L2UL(attack=None, anchor=0.0, forget_loss_on="all", epochs=3, lr=0.1)
    with pytest.raises(NonFiniteLoss):
        l2ul(model, Examples(torch.rand(2, 4), y), relabel=relabel, config=settings)
