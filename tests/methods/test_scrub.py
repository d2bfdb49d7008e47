"""SCRUB against its plain loop, written out."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from shared import bits

from minilearn.data import batches
from minilearn.methods import SCRUB, scrub

CASE = {"access": ("model", "forget inputs", "retain"), "task": "classification"}

SHORT = SCRUB(3, 2, 6, 4, 1e-2)


def divergence(original, logits, x, t):
    """sum over classes of p log(p / q) at temperature t, mean over examples, times t^2."""
    p, q = (original(x).detach() / t).softmax(1), (logits / t).softmax(1)
    return t**2 * (p * (p / q).log()).sum(1).mean()


def test_it_is_the_plain_loop(tiny_net, classification):
    # the student normalises by the batch and the original does not: they differ from the start,
    # where the gradient of the divergence would be nought and Adam would follow its rounding
    net = tiny_net(dropout=0.0).eval()
    forget, retain = classification.inputs[:7], classification[7:]
    mine = scrub(net, forget, retain, config=SHORT, seed=5)
    student, order = copy.deepcopy(net).train(), torch.Generator().manual_seed(5)
    optimizer, losses = torch.optim.Adam(student.parameters(), SHORT.lr), []

    def step(loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    for epoch in range(3):
        if epoch < 2:
            for x in batches(forget, 4, order=order):
                step(-divergence(net, student(x), x, 2.0))
        for x, y in batches(retain, 6, order=order):
            logits = student(x)
            step(F.cross_entropy(logits, y) + 0.5 * divergence(net, logits, x, 2.0))
    torch.testing.assert_close(mine.history.loss, torch.tensor(losses), rtol=1e-4, atol=1e-5)
    x = classification.inputs  # a bias before batch normalisation has no effect, and no gradient
    torch.testing.assert_close(mine.model.train()(x), student(x), rtol=1e-4, atol=1e-4)
    assert mine.cost.by_source() == {"forget": 7 * 2 * 4, "retain": 17 * 3 * 4}


def test_the_original_answers_in_evaluation_mode_whatever_mode_it_comes_in(
    tiny_net, classification
):
    forget, retain = classification.inputs[:7], classification[7:]
    nets = tiny_net().eval(), tiny_net().train()
    runs = [scrub(net, forget, retain, config=SHORT, seed=5) for net in nets]
    assert bits(runs[0]) == bits(runs[1])


def test_a_resumed_run_makes_no_ascent_twice(tiny_net, classification, tmp_path):
    """Interrupted after the last epoch with an ascent, and before it."""
    given = tiny_net(), classification.inputs[:7], classification[7:]
    whole = scrub(*given, config=SHORT)
    for last in (1, 2):
        path = tmp_path / f"run{last}"

        def stop(epoch, model, last=last):
            if epoch == last + 1:
                raise KeyboardInterrupt
            return {}

        with pytest.raises(KeyboardInterrupt):
            scrub(*given, config=SHORT, watch=stop, checkpoint=path)
        again = scrub(*given, config=SHORT, checkpoint=path)
        assert torch.equal(again.history.loss, whole.history.loss)
        assert again.cost.by_source() == whole.cost.by_source()


def test_it_moves_away_on_the_forgotten_and_not_on_the_others(trained, classification):
    x_f, kept = classification.inputs[:7], classification[7:]
    config = dataclasses.replace(SHORT, epochs=5, ascents=5, forget_batch=7)
    model = scrub(trained, x_f, kept, config=config).model.eval()
    with torch.no_grad():
        away, near = (divergence(trained, model(x), x, 1.0) for x in (x_f, kept.inputs))
        right = (model(kept.inputs).argmax(1) == kept.targets).double().mean()
    assert away > 2 * near and right > 0.8


def test_bad_input(tiny_net, classification, regression):
    x, net = classification.inputs, tiny_net()
    with pytest.raises(ValueError, match="these targets are numbers"):
        scrub(net, x[:7], regression[7:])
    with pytest.raises(ValueError, match="config must be a SCRUB"):
        scrub(net, x[:7], classification[7:], config={})
    for wrong in (
        *({"temperature": t} for t in (0, -1, float("nan"), "2")),
        *({"ascents": a} for a in (-1, 0.5)),
        *({name: -1} for name in ("alpha", "gamma", "forget_batch", "lr")),
    ):
        with pytest.raises(ValueError, match="must be"):
            SCRUB(**wrong)
