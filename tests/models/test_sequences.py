"""Networks for sequences against loops in float64, closed forms and the paper's count."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import count
from torch import nn

from minilearn.data import Examples
from minilearn.losses import Quantile
from minilearn.methods.amnesiac import Amnesiac, amnesiac
from minilearn.methods.blindspot import Blindspot, blindspot
from minilearn.models import (
    activations,
    build,
    copy_of,
    quantile_net,
    representation,
    sequences,
    siamese_lstm,
)
from minilearn.parts.attention import attention_gap
from minilearn.training import Training, fit


def some_vectors(rows: int = 7, width: int = 5) -> torch.Tensor:
    return torch.cat([torch.zeros(1, width), torch.randn(rows - 1, width)])


def pairs(n: int, tokens: int = 6, vocabulary: int = 7) -> torch.Tensor:
    ids = torch.randint(1, vocabulary, (n, 2, tokens))
    ids[:, 0, :2] = 0  # padding stands in front
    return ids


def windows(n: int) -> torch.Tensor:
    return torch.randn(n, 24)


def test_parameter_counts():
    given_vectors = siamese_lstm(vectors=torch.zeros(4, 300))
    assert count(given_vectors) == 104_577  # the paper's
    assert count(siamese_lstm(11, width=300)) == 11 * 300 + 104_577
    convolutions, hidden = 9 * 32 + 32 + 9 * 32 * 32 + 32, 11 * 32 * 64 + 64
    assert count(quantile_net()) == convolutions + hidden + 64 * 72 + 72 == 36_840


def test_siamese_lstm_against_a_loop_over_sentences_and_words():
    vectors, ids = some_vectors(), pairs(4)
    net = siamese_lstm(vectors=vectors).double().eval()
    weights = net.lstm.cell
    states = torch.zeros(4, 2, 6, 64, dtype=torch.float64)
    for i in range(4):
        for s in range(2):
            h = c = torch.zeros(64, dtype=torch.float64)
            for t in range(6):
                gates = weights.weight_ih_l0 @ vectors[ids[i, s, t]].double() + weights.bias_ih_l0
                gates = gates + weights.weight_hh_l0 @ h + weights.bias_hh_l0
                into, keep, new, out = gates.chunk(4)
                c = keep.sigmoid() * c + into.sigmoid() * new.tanh()
                h = states[i, s, t] = out.sigmoid() * c.tanh()
    with activations(net, ["lstm"]) as taps, torch.no_grad():
        answer = net(ids)
    assert taps["lstm"].shape == (4, 6, 128)  # a row per pair, the sentences side by side
    torch.testing.assert_close(taps["lstm"][..., :64], states[:, 0])
    torch.testing.assert_close(taps["lstm"][..., 64:], states[:, 1])
    x = torch.cat([states[:, 0, -1], states[:, 1, -1]], 1)
    for layer in (net.linear1, net.linear2, net.linear3):
        x = layer(x).relu()
    torch.testing.assert_close(answer, net.linear4(x)[:, 0])
    torch.testing.assert_close(representation(net, ids), x)


def released_attention(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """One of Tarun et al.'s terms in float64: two activations (B, T, D), the mean over all."""
    one, other = (x.double().square().mean(1).flatten(1) for x in (a, b))
    gap = one / one.norm(dim=1, keepdim=True) - other / other.norm(dim=1, keepdim=True)
    return gap.square().mean()


def test_attention_looks_at_two_sentences_as_released_and_at_one_activation_four_times_weaker():
    student, teacher = (build(lambda: siamese_lstm(7, width=30), seed) for seed in (0, 1))
    ids = pairs(300, tokens=10)
    both = ("lstm.first", "lstm.second")
    assert Blindspot.paper("stsb").layers == both
    with activations(student, both) as ours, activations(teacher, both) as theirs:
        student.eval()(ids), teacher.eval()(ids)
        assert [tap.shape for tap in ours.values()] == [(300, 10, 64)] * 2
        found = attention_gap(ours, theirs, both, 300).double().mean()
        expected = sum(released_attention(ours[name], theirs[name]) for name in both)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    with activations(student, ["lstm"]) as ours, activations(teacher, ["lstm"]) as theirs:
        student(ids), teacher(ids)
        alone = attention_gap(ours, theirs, ["lstm"], 300).double().mean()
    assert (expected / alone).item() == pytest.approx(3.94, abs=0.15)


def test_dropout_is_on_the_outputs_of_the_lstm_in_training_only():
    net, ids = siamese_lstm(vectors=some_vectors()), pairs(200)
    with activations(net, ["lstm"]) as taps:
        net.train()(ids)
        dropped = (taps["lstm"] == 0).float().mean()
        net.eval()(ids)
        assert not (taps["lstm"] == 0).any()
    assert float(dropped) == pytest.approx(0.3, abs=0.01)


def test_given_vectors_stay_and_learnt_ones_change_but_for_the_padding():
    vectors, data = some_vectors(), Examples(pairs(20), torch.randn(20))
    fixed = siamese_lstm(vectors=vectors)
    assert fixed.embedding.vectors is not vectors
    fit(fixed, data, Training(epochs=2), progress=False)
    assert torch.equal(fixed.embedding.vectors, vectors)
    frozen = copy_of(fixed.requires_grad_(False))  # all that was ever trained can be trained again
    fit(frozen, data, Training(epochs=1), progress=False)
    assert torch.equal(frozen.embedding.vectors, vectors)
    learnt = siamese_lstm(7, width=5)
    before = learnt.embedding.vectors.detach().clone()
    fit(learnt, data, Training(epochs=2, weight_decay=0.1), progress=False)
    after = learnt.embedding.vectors.detach()
    assert not after[0].any() and not before[0].any()
    assert ((after - before)[1:].abs().amax(1) > 0).all()


@settings(max_examples=25)
@given(
    batch=st.integers(1, 4),
    context=st.integers(1, 40),
    horizon=st.integers(1, 30),
    levels=st.integers(1, 6),
    width=st.integers(1, 8),
)
def test_quantiles_ascend_at_every_size(batch, context, horizon, levels, width):
    net = quantile_net(context, horizon, levels, width)
    out = net(5 * torch.randn(batch, context))
    assert out.shape == (batch, horizon, levels) and out.isfinite().all()
    assert (out.diff(dim=-1) > 0).all()


def test_ascending_is_a_sum_of_positive_steps():
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    found = sequences._Ascending()(x)
    for k in range(4):
        steps = [x[..., j].exp().add(1).log() for j in range(1, k + 1)]
        torch.testing.assert_close(found[..., k], x[..., 0] + sum(steps))


def test_forecasts_of_noise_are_the_quantiles_of_the_noise():
    noise = torch.randn(2000, 2) * torch.tensor([1.0, 2.0]) + torch.tensor([0.0, 3.0])
    net = quantile_net(4, 2, width=2)
    config = Training(epochs=300, batch_size=2000, lr=0.1, schedule="cosine", loss=Quantile())
    fit(net, Examples(torch.zeros(2000, 4), noise), config, progress=False)
    expected = noise.quantile(torch.tensor([0.1, 0.5, 0.9]), 0).T
    with torch.no_grad():
        torch.testing.assert_close(net(torch.zeros(1, 4))[0], expected, atol=0.1, rtol=0)


def test_attention_layers_of_the_forecaster_are_maps():
    net = quantile_net()
    with activations(net, ["features.conv1", "features.conv2"]) as taps:
        net(torch.randn(3, 168))
    assert [tap.shape for tap in taps.values()] == [(3, 32, 42), (3, 32, 11)]


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: siamese_lstm(), "either the size of the vocabulary or vectors"),
        (lambda: siamese_lstm(7, vectors=some_vectors()), "either the size of the vocabulary"),
        (lambda: siamese_lstm(1), "vocabulary must be a whole number of at least 2, got 1"),
        (lambda: siamese_lstm("7"), "vocabulary must be a whole number"),
        (lambda: siamese_lstm(7, width=0), "width must be a whole number"),
        (lambda: siamese_lstm(vectors=[[0.0], [1.0]]), "floating-point tensor"),
        (lambda: siamese_lstm(vectors=torch.zeros(3)), "floating-point tensor"),
        (lambda: siamese_lstm(vectors=torch.zeros(3, 2).long()), "floating-point tensor"),
        (lambda: siamese_lstm(vectors=torch.zeros(1, 2)), r"two rows or more .* \(1, 2\)"),
        (lambda: siamese_lstm(vectors=torch.zeros(2, 0)), r"two rows or more .* \(2, 0\)"),
        (lambda: siamese_lstm(vectors=torch.ones(3, 2)), "row 0 .* must be zero"),
        (lambda: siamese_lstm(vectors=torch.tensor([[0.0], [torch.nan]])), "NaN or infinite"),
        (lambda: siamese_lstm(7)(torch.ones(2, 6).long()), r"\(B, 2, T\), got .* \(2, 6\)"),
        (lambda: siamese_lstm(7)(torch.ones(2, 3, 6).long()), r"\(2, 3, 6\)"),
        (lambda: siamese_lstm(7)(torch.ones(2, 2, 6)), "got torch.float32"),
        (lambda: siamese_lstm(7)(torch.full((2, 2, 6), 7)), "between 0 and 6, .* got 7 to 7"),
        (lambda: siamese_lstm(7)(torch.full((2, 2, 6), -1)), "got -1 to -1"),
        (lambda: quantile_net(0), "context must be a whole number of at least 1, got 0"),
        (lambda: quantile_net(horizon=2.0), "horizon must be a whole number"),
        (lambda: quantile_net(levels=(0.1, 0.5)), "levels must be a whole number .* got tuple"),
        (lambda: quantile_net(width=None), "width must be a whole number"),
        (lambda: quantile_net()(torch.zeros(2, 100)), r"\(B, 168\), got \(2, 100\)"),
        (lambda: quantile_net()(torch.zeros(168)), r"got \(168,\)"),
        (lambda: quantile_net()(torch.zeros(2, 168, 1)), r"got \(2, 168, 1\)"),
    ],
)
def test_silly_inputs_are_refused_in_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_is_returned_is_an_ordinary_network():
    for net in (siamese_lstm(7), quantile_net()):
        assert isinstance(net, nn.Module)
        twin = copy_of(net)
        twin.load_state_dict(net.state_dict(), strict=True)


@pytest.mark.parametrize(
    "fresh, inputs, targets, loss",
    [
        (lambda: siamese_lstm(7, width=4), pairs, (30,), "squared"),
        (lambda: siamese_lstm(vectors=torch.arange(7.0).diag()), pairs, (30,), "squared"),
        (lambda: quantile_net(24, 3, 2, 4), windows, (30, 3), Quantile((0.2, 0.8))),
    ],
)
def test_methods_run_on_them(fresh, inputs, targets, loss, everything_of):
    model, data = fresh(), Examples(inputs(30), torch.randn(targets))
    forget, retain, before = data[:10], data[10:], everything_of(model)
    config = Blindspot(loss=loss, teacher=Training(epochs=1))
    found = blindspot(model, forget.inputs, retain, fresh=fresh, config=config)
    found = [found, amnesiac(model, forget, retain, config=Amnesiac(loss=loss))]
    assert everything_of(model) == before
    assert all(result.history.loss.isfinite().all() for result in found)
