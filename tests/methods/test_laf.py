"""LAF against the released order of work, its losses in closed form, and what may go wrong."""

import dataclasses
import math
from contextlib import nullcontext
from functools import partial
from itertools import chain, repeat

import pytest
import torch
from shared import bits
from torch import nn

from book.experiments import released_laf
from minilearn.data import Examples, Unlabelled, batches, digits
from minilearn.evaluation import evaluate
from minilearn.fingerprints import fingerprint
from minilearn.losses import alignment_loss, cosine_distance, extraction_loss
from minilearn.methods import LAF, laf, retrain, unlearn
from minilearn.models import VAE, build, cnn, extractor
from minilearn.parts.vae import AUTOENCODERS, check_sets
from minilearn.precision import fast
from minilearn.requests import by_class, by_index, mislabel
from minilearn.schedule import Plateau
from minilearn.training import NonFiniteLoss, Training, fit

CASE = {
    "access": ("model", "forget inputs", "retain inputs"),
    "task": "classification",
    "settings": {"vae": Training(epochs=1, batch_size=5), "lr_extraction": 1e-2},
}

SHORT = LAF(2, 5, lr_extraction=1e-2, lr_alignment=1e-2, vae=Training(1, 5))


@pytest.fixture
def run(tiny_net, classification):
    """Forget the first seven inputs by inputs alone."""

    def call(model=None, forget=None, retain=None, config=SHORT, **options):
        x = classification.inputs
        model = tiny_net() if model is None else model
        forget = x[:7] if forget is None else forget
        return laf(model, forget, x[7:] if retain is None else retain, config=config, **options)

    return call


# ---- the losses


def test_the_alignment_loss_is_the_contrast_of_every_pair():
    g = torch.Generator().manual_seed(0)
    kept, gone = (2 * torch.rand(n, generator=g, dtype=torch.float64) for n in (6, 9))
    pairs = 0.0
    for d in kept:
        pairs += math.log(math.exp(d) / sum(math.exp(far / 5.0) for far in gone))
    torch.testing.assert_close(alignment_loss(kept, gone, 5.0).item(), pairs)
    kept.requires_grad_(True), gone.requires_grad_(True)
    alignment_loss(kept, gone, 5.0).backward()
    torch.testing.assert_close(kept.grad, torch.ones_like(kept))
    # the forgotten inputs share |B_r| / tau
    torch.testing.assert_close(gone.grad.sum().item(), -6 / 5.0)


@pytest.mark.parametrize(
    "kept, gone, tau, loss",
    [
        ((32, 0.0), (32, 0.0), 20, -110.9035),  # at the start
        ((8, 0.0), (32, 0.0), 20, -8 * math.log(32)),
        ((32, 0.0), (32, 2.0), 20, -114.10),  # every forgotten feature reversed
        ((32, 0.0), (32, 2.0), 5, -123.70),
    ],
)
def test_values_that_the_released_code_has(kept, gone, tau, loss):
    found = alignment_loss(
        *(torch.full(*pair) for pair in (((kept[0],), kept[1]), ((gone[0],), gone[1]))), tau
    )
    assert found.item() == pytest.approx(loss, abs=5e-3)


def test_the_extraction_loss_saturates():
    m = torch.tensor([0.0, 1.0, 20.0, 119.0, 161.0], dtype=torch.float64, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.float64)
    extraction_loss(m, nothing).backward()
    slope = (m / (m + 1)).exp() / (1 + m) ** 2
    torch.testing.assert_close(m.grad, slope.detach())
    assert m.grad[:4].tolist() == pytest.approx([1, 0.412, 5.9e-3, 1.9e-4], rel=0.02)
    bound = extraction_loss(torch.full((32,), 1e9), torch.zeros(32)).item()
    assert bound == pytest.approx(32 * (math.e - 1), rel=1e-3)
    m.grad = None
    extraction_loss(nothing, m, "squared").backward()
    assert m.grad.tolist() == [-1.0] * 5
    with pytest.raises(ValueError, match="form is one of"):
        extraction_loss(m, m, "plain")


def test_the_autoencoder_is_the_papers():
    assert sum(p.numel() for p in VAE(256, 8).parameters()) == 75_088
    assert sum(p.numel() for p in VAE(256, 16).parameters()) == 75_872
    vae, e = VAE(6, 2).double(), torch.randn(5, 6, dtype=torch.float64)
    torch.manual_seed(3)
    loss = vae.loss(e, 0.3)
    torch.manual_seed(3)
    rebuilt, mean, log_variance = vae(e)
    prior = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
    code = torch.distributions.Normal(mean, (log_variance / 2).exp())
    kl = torch.distributions.kl_divergence(code, prior).sum(1)
    torch.testing.assert_close(loss, ((rebuilt - e) ** 2).sum(1) + 0.3 * kl)
    for layer, value in ((vae.mean, 3.0), (vae.log_variance, math.log(4))):
        nn.init.zeros_(layer.weight), nn.init.constant_(layer.bias, value)
    vae.decoder = nn.Identity()
    z = vae(torch.zeros(20_000, 6, dtype=torch.float64))[0]  # N(3, 2^2)
    assert abs(z.mean() - 3) < 0.05 and abs(z.std() - 2) < 0.05
    assert bool((VAE(6, 2, "sigmoid")(e.float())[0] > 0).all())
    with pytest.raises(ValueError, match="decoder is one of"):
        VAE(6, 2, "tanh")


# ---- the procedure is the released one


@pytest.mark.parametrize("inside", [nullcontext, partial(fast, torch.float32)])
def test_it_is_the_released_procedure_with_less_work(inside):
    """Same batches, same noise: the autoencoders and 60 steps agree, and the weights they give."""
    train = digits().train.sample(200, seed=1)
    request = by_class(train, 0)
    model = build(lambda: cnn(10, 8), 0)
    fit(model, train, Training(8), progress=False)
    forget, retain = request.forget.inputs, request.retain.inputs
    size = len(forget) // 3
    config = LAF.paper("mnist", "random")  # the one with another temperature than the default
    config = dataclasses.replace(config, epochs=10, batch_size=size, vae=Training(2, 32))
    with inside():
        mine = laf(model, forget, retain, config=config, seed=4)

    vaes = []
    for shift, x in ((0, torch.cat([forget, retain])), (1, forget)):
        seed = 4 + AUTOENCODERS + shift
        vae = build(lambda: VAE(256, 8, "sigmoid"), seed)
        order = torch.Generator().manual_seed(seed)
        passes = Passes(
            lambda order=order, x=x: ((part, None) for part in batches(x, 32, order=order))
        )
        network = build_twin(model)
        torch.manual_seed(seed)
        released_laf.train_vae(vae, network, passes, config)
        vaes.append(vae)
    order, student, original = (
        torch.Generator().manual_seed(4),
        build_twin(model),
        build_twin(model),
    )
    fed = [[], []]
    for _ in range(config.epochs):
        again = chain.from_iterable(batches(retain, size, order=order) for _ in repeat(None))
        for pair in zip(batches(forget, size, order=order), again, strict=False):
            for side, x in zip(fed, pair, strict=True):
                side.append((x, None))
    torch.manual_seed(4)
    once = dataclasses.replace(config, epochs=1)
    losses = released_laf.unlearn(student, original, tuple(vaes), *fed, once)
    assert len(losses) == len(mine.history.loss) >= 50
    torch.testing.assert_close(mine.history.loss, torch.tensor(losses), rtol=1e-4, atol=1e-4)
    for a, b in zip(mine.model.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert fingerprint(mine.model.features) != fingerprint(model.features)


class Passes:
    """Batches that are read anew in every pass."""

    def __init__(self, read):
        self.read = read

    def __iter__(self):
        return iter(self.read())


def build_twin(model: nn.Module) -> nn.Module:
    twin = cnn(10, 8)
    twin.load_state_dict(model.state_dict())
    return twin


def test_an_epoch_is_one_pass_over_the_forgotten_with_both_losses_in_turns(run, classification):
    result = run()
    assert len(result.history.loss) == 2 * 2 * 2  # epochs, batches of 5 of 7, losses
    assert bool((result.history.loss[1::2] < 0).all())  # L_RA; L_UE is near 0
    units = result.cost.by_source()
    assert units["forget"] == 7 + 1 + 3 * 7 * 2 * 2  # features, a look, epochs and losses
    few = run(retain=classification.inputs[7:13])  # fewer than are forgotten: read again
    assert len(few.history.loss) == 8


# ---- exact economies


def test_a_dataset_of_the_same_inputs_gives_the_same_model(run, classification):
    """Features kept, or computed at every reading."""
    x = classification.inputs
    sets = [Unlabelled([(row, 0) for row in part]) for part in (x[:7], x[7:])]
    for config in (SHORT, dataclasses.replace(SHORT, first="retain")):
        tensors, read = run(config=config), run(forget=sets[0], retain=sets[1], config=config)
        torch.testing.assert_close(tensors.history.loss, read.history.loss)
        for a, b in zip(tensors.model.parameters(), read.model.parameters(), strict=True):
            torch.testing.assert_close(a, b)
        assert read.cost.samples > tensors.cost.samples


def test_the_classifier_is_not_changed_and_run_only_to_find_it(run, tiny_net):
    net = tiny_net()
    calls = []
    net.head.register_forward_hook(lambda *_: calls.append(1))
    result = run(net)
    # once over forgotten and once over retained inputs by the original, twice by the student
    assert len(calls) == 4 and fingerprint(result.model.head) == fingerprint(net.head)
    assert fingerprint(result.model.body[0]) != fingerprint(net.body[0])
    assert torch.equal(result.model.body[1].running_mean, net.body[1].running_mean)


def test_nothing_is_dropped_out(run, tiny_net):
    nets = [tiny_net(dropout=share) for share in (0.0, 0.9)]
    one, other = (run(net) for net in nets)
    assert torch.equal(one.history.loss, other.history.loss)


def test_a_loss_is_left_out_by_its_rate(run, tiny_net):
    start = tiny_net()
    none = run(config=dataclasses.replace(SHORT, lr_extraction=0, lr_alignment=0))
    assert fingerprint(none.model) == fingerprint(start)
    for rates in ({"lr_extraction": 0}, {"lr_alignment": 0}):
        assert fingerprint(run(config=dataclasses.replace(SHORT, **rates)).model) != fingerprint(
            start
        )


def test_the_extractor_stops_at_its_layer_and_is_what_the_network_computes(tiny_net):
    net, x = tiny_net().eval(), torch.randn(5, 6)
    torch.testing.assert_close(extractor(net)(x), net.body(x))
    torch.testing.assert_close(extractor(net, "head")(x), net(x))
    paper = cnn(10, 8)
    assert extractor(paper)(torch.zeros(2, 1, 8, 8)).shape == (2, 256)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


# ---- no label gets in


def test_shuffled_labels_change_nothing(tiny_net, classification):
    order = torch.randperm(24)
    shuffled = classification.with_targets(classification.targets[order])
    one, other = (
        unlearn(laf, tiny_net(), by_index(data, range(7)), config=SHORT)
        for data in (classification, shuffled)
    )
    assert bits(one) == bits(other)


# ---- what it does


def test_a_class_is_forgotten_and_the_others_are_kept():
    """Beside a retrained model, which is at 0 on the class; the original is at 1."""
    train, test = digits()
    request, recipe = by_class(train, 3), Training(6, 32)
    model = build(lambda: cnn(10, 8), 0)
    fit(model, train, recipe, progress=False)
    config = LAF(epochs=30, batch_size=16, lr_alignment=4e-4)
    result = laf(model, request.forget.inputs, request.retain.inputs, config=config)
    gone = test.targets == 3
    right = evaluate(result.model, test).correct
    again = evaluate(retrain(lambda: cnn(10, 8), request.retain, config=recipe).model, test).correct
    assert evaluate(model, test).correct[gone].double().mean() > 0.9
    assert right[gone].double().mean() < 0.1
    assert right[~gone].double().mean() > again[~gone].double().mean() - 0.05


# ---- silly inputs


def test_bad_input_is_one_sentence(run, tiny_net, classification):
    x = classification.inputs
    for change, sentence in (
        ({"forget": x[:4]}, "4 inputs in the forget set do not fill a batch: take batch_size=4"),
        ({"retain": x[7:9]}, "2 inputs in the retain set do not fill a batch"),
        ({"retain": x}, "7 of the 7 forgotten inputs are in the retain set too"),
        ({"retain": x[2:]}, "5 of the 7 forgotten inputs are in the retain set too"),
        ({"retain": x[7:, :4]}, r"forgotten inputs have shape \(6,\) and retained ones \(4,\)"),
        ({"forget": x[:7, :4], "retain": x[7:, :4]}, "the model fails on a batch"),
        ({"forget": x[:7].to("meta")}, "model is on cpu but the data are on meta"),
        ({"seed": "1"}, "seed must be a whole number"),
        ({"config": dataclasses.replace(SHORT, layer="boddy")}, "no layer named 'boddy'"),
        ({"model": nn.Sequential(nn.ReLU(), nn.Conv1d(1, 1, 1))}, "no linear layer inside"),
    ):
        with pytest.raises(ValueError, match=sentence):
            run(**change)


def test_some_overlap_is_a_warning_for_it_may_be_true_duplicates(run, classification):
    x = classification.inputs
    with pytest.warns(UserWarning, match="2 of the 7 forgotten inputs are in the retain set too"):
        run(retain=x[5:])


def test_inputs_of_few_values_are_alike_by_nature():
    x = torch.arange(12).reshape(6, 2).bool()
    with pytest.warns(UserWarning, match="2 of the 2 forgotten inputs are in the retain set too"):
        check_sets(x[:4], x, 1)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64, torch.int16])
def test_overlap_is_found_in_any_kind_of_numbers(kind):
    x = torch.arange(12).reshape(6, 2).to(kind).requires_grad_(kind.is_floating_point)
    with pytest.raises(ValueError, match="forgotten inputs are in the retain set too"):
        check_sets(x[:4], x, 1)
    check_sets(x[:1], x[1:], 1)  # nothing in common


def test_an_unreadable_input_of_a_dataset_is_named_wherever_it_stands(run, classification):
    """Only the first 512 inputs are looked at beforehand: the others as they are read."""
    x = classification.inputs.repeat(30, 1)
    x[600] = torch.nan
    forget, retain = (Unlabelled([(row, 0) for row in part]) for part in (x[:7], x[7:]))
    with pytest.raises(ValueError, match=r"inputs of 1 example\(s\) hold NaN"):
        run(forget=forget, retain=retain, config=dataclasses.replace(SHORT, batch_size=7))


class Odd(nn.Module):
    """A layer whose output is one row whatever it is given."""

    def __init__(self):
        super().__init__()
        self.sums, self.head = nn.Flatten(0), nn.Linear(6, 3)

    def forward(self, x):
        self.sums(x)
        return self.head(x)


def test_a_representation_must_have_a_row_an_input_and_differ(run, tiny_net):
    with pytest.raises(ValueError, match="'sums' is no tensor with one row per input"):
        run(Odd(), config=dataclasses.replace(SHORT, layer="sums"))
    net = tiny_net()
    nn.init.zeros_(net.body[0].weight)
    with pytest.raises(
        ValueError, match="the representation is the same for all inputs of the forget"
    ):
        run(net)
    net.body[1].running_mean.fill_(torch.nan)  # no weight, which is refused at the door
    with pytest.raises(ValueError, match="features of the forget set are not finite"):
        run(net)


def test_there_must_be_something_to_train_before_the_representation(run, monkeypatch):
    monkeypatch.setattr("minilearn.parts.vae.autoencoder", None)  # refused before one is trained
    flat = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    with pytest.raises(ValueError, match="no weight that can be trained comes before"):
        run(flat, config=dataclasses.replace(SHORT, layer="0"))


def test_double_precision_will_do(run, classification, tiny_net):
    x, plain = classification.inputs.double(), run()
    double = run(tiny_net().double(), x[:7], x[7:])
    torch.testing.assert_close(double.history.loss, plain.history.loss, rtol=1e-3, atol=1e-3)
    assert next(double.model.parameters()).dtype == torch.float64


def test_the_losses_refuse_what_is_no_row_of_numbers():
    row = torch.zeros(3)
    for loss in (alignment_loss, extraction_loss):
        for wrong in (3.0, torch.zeros(2, 2), None):
            with pytest.raises(ValueError, match="one number per example as a tensor"):
                loss(row, wrong)
    for gone, tau in ((row[:0], 5), (row, 0), (row, -1), (row, float("nan"))):
        with pytest.raises(ValueError, match="one forgotten distance at least|temperature must be"):
            alignment_loss(row, gone, tau)
    with pytest.raises(ValueError, match="a and b differ in shape"):
        cosine_distance(torch.zeros(2, 3), torch.zeros(2, 4))


def test_of_two_learning_rates_the_larger_is_to_blame(run):
    for rates in (1e30, 1e-4), (1e-4, 1e30), (1e30, 0.0):
        wild = dataclasses.replace(SHORT, lr_extraction=rates[0], lr_alignment=rates[1])
        with pytest.raises(NonFiniteLoss, match=r"a smaller learning rate than 1e\+30"):
            run(config=wild)


def test_an_autoencoder_that_breaks_says_which(run):
    wild = dataclasses.replace(SHORT, vae=Training(3, 5, 1e30, "sgd"))
    with pytest.raises(NonFiniteLoss, match="the autoencoder over the features of all inputs: the"):
        run(config=wild)
    with pytest.raises(NonFiniteLoss, match="the features of retain inputs: the"):
        run(config=dataclasses.replace(wild, first="retain"))


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"temperature": 0}, "temperature must be a finite number above 0, got 0"),
        ({"temperature": "20"}, "temperature must be"),
        ({"kl": -1}, "kl must be a finite number from 0 on"),
        ({"error": "square"}, "error is one of"),
        ({"decoder": "tanh"}, "decoder is one of"),
        ({"first": "forget"}, "first is one of"),
        ({"latent": 0}, "latent must be a whole number"),
        ({"vae": 3}, "vae must be a Training"),
        ({"layer": 3}, "layer is the name of a layer"),
        ({"lr_extraction": -1}, "lr_extraction must be"),
        ({"epochs": 1.5}, "epochs must be"),
    ],
)
def test_settings_that_make_no_sense(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        LAF(**change)


def test_wrong_labels_reach_as_far_as_asked(classification):
    many = Examples(torch.zeros(4000, 1), torch.arange(4000) % 10)
    for reach, seen in ((None, set(range(10))), (9, set(range(9)))):
        request = mislabel(many, 0.6, range(5), reach=reach)
        wrong, right = request.forget.targets, many.targets[request.mask]
        assert set(wrong.tolist()) == seen and not bool((wrong == right).any())
    for reach in (4, 11, 1, "9"):
        with pytest.raises(ValueError, match="reach must"):
            mislabel(many, 0.6, range(5), reach=reach)


@pytest.mark.parametrize("change", [{"loss": "squared"}, {"schedule": Plateau()}])
def test_a_recipe_that_no_autoencoder_follows_is_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} is one of"):
        LAF(vae=dataclasses.replace(LAF().vae, **change))
