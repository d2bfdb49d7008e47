"""The report: what is compared with what, what is printed, and that nothing is changed by it."""

import copy
import hashlib
import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import Pairs, unseen
from torch import nn

from minilearn.cost import Cost
from minilearn.data.examples import Examples
from minilearn.evaluation import evaluate
from minilearn.losses import Quantile
from minilearn.methods import Unlearned
from minilearn.metrics import (
    METRICS,
    accuracy,
    anamnesis_index,
    gap,
    js,
    linear_probe,
    loss_attack,
    mean_loss,
    null_band,
    relearn_curve,
    report,
    tow,
)
from minilearn.metrics.band import SIDES, Row, t_half_width
from minilearn.metrics.headlines import INSIDE, OUTSIDE, QUESTIONS
from minilearn.metrics.metric import TASKS, results_of
from minilearn.metrics.report import Report
from minilearn.metrics.utility import constant_answer
from minilearn.requests import Request, by_index, by_range
from minilearn.training import History, Training


def fingerprint(model: nn.Module) -> str:
    """Weights, buffers, gradients, and every part's flags."""
    digest = hashlib.sha256()
    for name, value in model.state_dict(keep_vars=True).items():
        digest.update(f"{name} {value.requires_grad} {value.grad}".encode())
        digest.update(value.detach().numpy().tobytes())
    digest.update(str([module.training for module in model.modules()]).encode())
    digest.update(str([len(module._forward_hooks) for module in model.modules()]).encode())
    return digest.hexdigest()


@pytest.fixture
def request_(classification) -> Request:
    return by_index(classification, [0, 5, 9, 11, 20])


@pytest.fixture
def models(tiny_net):
    """Three originals, three retrained, three of a method: untrained weights will do here."""
    return [[tiny_net(seed=10 * role + seed) for seed in range(3)] for role in range(3)]


def made(request, test, models, **options):
    original, retrained, method = models
    options.setdefault("methods", {"finetune": method})
    return report(request, test, original=original, retrained=retrained, **options)


@pytest.fixture
def tests_of(classification):
    test = Examples(torch.randn(16, 6), torch.arange(16) % 3)
    return {"test": test, "test_forget": test[:6], "test_retain": test[6:]}


def test_every_number_is_the_metric_itself(request_, classification, models, tests_of):
    found = made(request_, tests_of, models, metrics=list(METRICS))
    assert {row.metric for row in found.rows} == {
        name for name, metric in METRICS.items() if "classification" in metric.tasks
    }

    def results(entries):
        return [evaluate(m, request_.forget) for m in entries]

    _, retrained, method = map(results, models)
    gold = [accuracy(e) for e in retrained]
    row = found.row("accuracy", "forget", "finetune")
    assert row.values == tuple(accuracy(e) for e in method)
    assert row.band == null_band(gold, more=3, least=0, most=1, grain=1 / 5)
    assert row.examples == 5
    row = found.row("gap", "forget", "finetune")
    for value, e in zip(row.values, method, strict=True):
        assert value == pytest.approx(sum(gap(e, r) for r in retrained) / 3)
    own, gold = (found.row("accuracy", "forget", name) for name in ("finetune", "retrained"))
    assert row.half_width == t_half_width(own.values, less=gold.values)
    assert found.row("gap", "forget", "retrained").half_width == t_half_width(gold.values)
    row = found.row("js", "forget", "finetune")
    apart = [[js(a.log_probs, b.log_probs).double().mean().item() for b in retrained]
             for a in [*retrained, *method]]  # fmt: skip
    assert row.values == pytest.approx([sum(each) / 3 for each in apart[3:]], rel=1e-5)
    own = [sum(each) / 2 for each in apart[:3]]  # the distance from itself is 0
    expected = null_band(own, more=3, side="low", pairwise=True, least=0, most=math.log(2))
    assert row.band == pytest.approx(expected, rel=1e-5)


def test_divergences_and_tugs_of_war_are_written_out(request_, models, tests_of):
    found = made(request_, tests_of, models, metrics=["kl", "tow", "tow_mia"])
    splits = {"forget": request_.forget, "retain": request_.retain} | tests_of
    evaluated = [
        [{split: evaluate(m, data) for split, data in splits.items()} for m in each]
        for each in models[1:]
    ]

    def divergence(mine, gold):
        log_p, log_q = (e["forget"].outputs.double().log_softmax(1) for e in (gold, mine))
        return (log_p.exp() * (log_p - log_q)).sum(1).mean().item()

    def kept(mine, gold, *names):
        return math.prod(1 - abs(gap(mine[name], gold[name])) for name in names)

    def attacked(mine, gold):
        areas = [loss_attack(e["forget"], e["test_forget"]).auc for e in (mine, gold)]
        return (1 - abs(areas[0] - areas[1])) * kept(mine, gold, "retain", "test")

    def tug(mine, gold):
        return kept(mine, gold, "forget", "retain", "test")

    for split, name, each in (
        ("forget", "kl", divergence),
        ("", "tow", tug),
        ("", "tow_mia", attacked),
    ):
        expected = [sum(each(mine, gold) for gold in evaluated[0]) / 3 for mine in evaluated[1]]
        assert found.row(name, split, "finetune").values == pytest.approx(expected)


def test_where_retrained_models_agree_a_tug_of_war_may_miss_one_example_a_split(
    request_, models, tests_of
):
    original, (gold, *_), method = models
    alike = [copy.deepcopy(gold) for _ in range(3)]
    for factor, net in enumerate(alike, start=1):  # as right as each other, and not as sure
        net.scale.fill_(factor)
    found = made(request_, tests_of, [original, alike, method], metrics=["tow"])
    low, high = found.row("tow", "", "finetune").band
    assert (low, high) == pytest.approx((tow(1 / 5, 1 / 19, 1 / 16), 1))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_nothing_is_changed_by_any_metric(request, tiny_net, task):
    """Flags of every part, hooks, gradients, weights, buffers, data, and the global generator."""
    data = request.getfixturevalue(task)
    nets = [tiny_net(3 if task == "classification" else 1, seed=s) for s in range(5)]
    for net in nets:
        net.train()
        net.body[1].eval()
        net.head.bias.requires_grad_(False)
        net.head.weight.grad = torch.ones_like(net.head.weight)
    before, inputs, targets = (
        [fingerprint(n) for n in nets],
        data.inputs.clone(),
        data.targets.clone(),
    )
    state, drawn = torch.get_rng_state(), np.random.get_state()
    wanted = by_index(data, [1, 2, 3, 4])
    known = [name for name, metric in METRICS.items() if task in metric.tasks]
    for name in known:
        report(
            wanted,
            unseen(data),
            original=nets[:1],
            retrained=nets[1:3],
            methods={"m": nets[3:]},
            metrics=[name],
        )
    relearn_curve(nets[0], data, wanted.forget, steps=(0, 2))
    for published in (False, True):
        anamnesis_index(*nets[:3], data, data, cap=2, seeds=1, published=published)
    linear_probe(nets[0], data, data)
    assert [fingerprint(n) for n in nets] == before
    assert torch.equal(data.inputs, inputs) and torch.equal(data.targets, targets)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_equal(np.random.get_state(), drawn)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_twice_and_in_another_order_gives_the_same(request, tiny_net, task):
    data = request.getfixturevalue(task)
    nets = [tiny_net(3 if task == "classification" else 1, seed=s) for s in range(4)]
    names = [name for name, metric in METRICS.items() if task in metric.tasks]

    def values(names):
        found = report(
            by_index(data, [1, 2, 3]), unseen(data), original=nets[:1], retrained=nets[1:3],
            methods={"m": nets[3:]}, metrics=names,
        )  # fmt: skip
        return {(r.metric, r.split, r.method): (r.values, r.band) for r in found.rows}

    assert values(names) == values(names) == values(names[::-1])


def test_the_batch_size_changes_nothing(request_, models, tests_of):
    sizes = set()
    hook = models[0][0].register_forward_pre_hook(lambda _, x: sizes.add(len(x[0])))
    one = made(request_, tests_of, models, batch_size=3)
    hook.remove()
    assert 3 in sizes and max(sizes) <= 4  # a last one joins the batch before
    two = made(request_, tests_of, models, batch_size=512)
    for a, b in zip(one.rows, two.rows, strict=True):
        assert a.values == pytest.approx(b.values, abs=1e-5)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_any_dataset_gives_the_same_report(request, tiny_net, task):
    data = request.getfixturevalue(task)
    nets = [tiny_net(3 if task == "classification" else 1, seed=s) for s in range(4)]
    reports = [
        report(
            by_index(d, [1, 2, 3]),
            test,
            original=nets[:1],
            retrained=nets[1:3],
            methods={"m": nets[3:]},
        )
        for d, test in ((data, unseen(data)), (Pairs(data), Pairs(unseen(data))))
    ]
    assert reports[0].title == reports[1].title
    for a, b in zip(*[r.rows for r in reports], strict=True):
        assert (a.metric, a.split, a.method) == (b.metric, b.split, b.method)
        assert a.values == pytest.approx(b.values, abs=1e-5)


def test_several_targets_an_example(tiny_net, regression):
    data = regression.with_targets(torch.stack([regression.targets, 2 * regression.targets], 1))
    nets = [tiny_net(2, seed=s) for s in range(4)]
    found = report(
        by_index(data, [1, 2]),
        unseen(data),
        original=nets[:1],
        retrained=nets[1:3],
        methods={"m": nets[3:]},
    )
    w1, apart = (found.row(name, "test", "m").mean for name in ("wasserstein", "paired_difference"))
    assert 0 < w1 <= apart


def test_one_forgotten_number_has_no_spread_but_a_tug_of_war(tiny_net, regression):
    nets = [tiny_net(1, seed=s) for s in range(4)]
    found = report(
        by_index(regression, [3]),
        unseen(regression),
        original=nets[:1],
        retrained=nets[1:3],
        methods={"m": nets[3:]},
    )
    assert 0 <= found.row("tow", "", "m").mean <= 1


@pytest.mark.parametrize("task", ["classification", "regression", "quantiles"])
def test_two_identical_models_differ_by_nothing(request, tiny_net, task):
    """A copy under another name has every value and every verdict of what it is a copy of."""
    data = request.getfixturevalue("regression" if task == "quantiles" else task)
    test = unseen(data)
    outputs = {"classification": 3, "regression": 1, "quantiles": 2}[task]
    nets = [tiny_net(outputs, seed=seed) for seed in range(5)]
    copies = copy.deepcopy(nets)
    found = report(
        by_index(data, [1, 2, 3, 4]),
        {"test": test, "test_forget": test[:6], "test_retain": test[6:]},
        original=nets[:1],
        retrained=nets[1:4],
        methods={"as before": copies[:1], "again": copies[1:4], "a": nets[4:], "b": copies[4:]},
        metrics=[name for name, metric in METRICS.items() if task in metric.tasks],
        loss=Quantile((0.2, 0.7)) if task == "quantiles" else "auto",
    )
    assert len({row.metric for row in found.rows}) > 8
    for row in found.rows:
        for one, other in (("original", "as before"), ("retrained", "again"), ("a", "b")):
            if row.method == one:
                twin = found.row(row.metric, row.split, other)
                assert (twin.values, twin.band) == (row.values, row.band)


def test_attacks_compare_like_with_like(request_, models, tests_of):
    """With test_forget, the test set as a whole plays no part in either attack."""
    names = ["loss_attack_auc", "loss_attack_tpr", "attack_auc"]
    other = {**tests_of, "test": Examples(torch.randn(9, 6), torch.arange(9) % 3)}
    one, two = (made(request_, t, models, metrics=names) for t in (tests_of, other))
    assert [r.values for r in one.rows] == [r.values for r in two.rows]


def test_untrained_models_stand_last_and_are_one_a_seed(request_, classification, models, tiny_net):
    def fresh():
        return tiny_net(seed=int(torch.randint(10**6, ())))

    found = made(request_, unseen(classification), models, fresh=fresh)
    assert list(found.frame())[-1] == "untrained"
    assert len(found.row("gap", "test", "untrained").values) == 3
    assert len(set(found.row("js", "test", "untrained").values)) == 3


def row(values, band, method="m") -> Row:
    return Row("accuracy", "test", method, tuple(values), band)


@pytest.mark.parametrize(
    "value, inside", [(0.5, True), (0.39, False), (0.61, False), (0.4, True), (0.6, True)]
)
def test_inside_the_band(value, inside):
    assert row([value], (0.4, 0.6)).inside is inside


def test_without_a_band_nothing_is_inside():
    assert not row([0.5], None).inside


@pytest.mark.parametrize(
    "shown, text",
    [
        (row([0.5], (0.4, 0.6)), "0.500 *"),
        (row([0.7], (0.4, 0.6)), "0.700"),
        (row([0.5], (0.4, 0.6), method="retrained"), "0.500"),
        (row([1.0, 2.0, 3.0], None), "2.000 ± 2.484"),
        (row([0.5, 0.5], None), "0.500 ± 0.000"),
        (row([12.345], None), "12.35"),
        (row([123.45], None), "123.5"),
        (row([12345.6], None), "12,346"),
        (row([0.00042], None), "0.0004"),
        (row([4.2e-5], None), "4e-05"),
        (row([0.0], None), "0.000"),
        (row([-0.0], None), "0.000"),
        (row([0.0, 0.0], None), "0.000 ± 0.000"),
        (row([1e-17, -1e-17], None), "0.000 ± 0.000"),
        (Row("samples", "", "m", (9672.0,), None), "9,672"),
        (Row("seconds", "", "m", (1.0, 2.0, 3.0), None), "2.000 ± 2.484"),
    ],
)
def test_how_a_number_is_written(shown, text):
    assert str(shown) == text


def test_the_printed_report(request_, classification, models, tiny_net):
    text = str(made(request_, unseen(classification), models, fresh=lambda: tiny_net(seed=99)))
    first, *lines = text.splitlines()
    assert first == "5 chosen examples: 5 of 24 forgotten"
    assert max(map(len, lines)) <= 110
    assert "nan" not in text.lower()
    assert "null band: 95 % prediction interval for the mean of 3 more, from 3 retrained" in text
    assert "* in it: by this metric not distinguishable from retraining" in text
    assert "over seeds: original 3, retrained 3, finetune 3, untrained 3" in text
    assert "examples: forget 5, retain 19, test 24" in text


def test_one_model_of_each_reads_well_too(request_, classification, models):
    text = str(made(request_, unseen(classification), [m[:1] for m in models]))
    assert "±" not in text and "*" not in text and "nan" not in text.lower()
    assert "null band: none; with 1 retrained this report cannot judge" in text
    assert "one seed each: no interval" in text


def test_html_is_escaped_and_complete(request_, classification, models):
    odd = Request(classification, request_.mask, "age < 30 & <b>old</b>")
    page = made(
        odd, unseen(classification), models, methods={"<i>mine</i>": models[2]}
    )._repr_html_()
    assert "<i>" not in page and "<b>" not in page
    assert "age &lt; 30 &amp; " in page and "&lt;i&gt;mine" in page
    assert page.count("<table") == page.count("</table>") == 2
    assert "nan" not in page.lower()


def test_the_page_shows_each_row_once_and_answers_four_questions_first(
    request_, classification, models
):
    found = made(request_, unseen(classification), models)
    found = replace(found, rows=(*found.rows, Row("samples", "", "original", (9.0,), None)))
    page = found._repr_html_()
    first, rest = page.split("<details>")
    for question in QUESTIONS:
        assert first.count(f">{question}<") == 1 and question not in rest
    for metric, split in found.frame().index:
        shown = re.findall(rf">{metric} ?{split}</th>", page)
        assert len(shown) == 1, (metric, split)
    assert ">accuracy forget</th>" in first and ">accuracy retain</th>" in rest


def test_the_rest_is_what_is_not_of_the_forgotten_kind(request_, models, tests_of):
    first, rest = made(request_, tests_of, models)._repr_html_().split("<details>")
    assert ">accuracy test_retain</th>" in first and ">accuracy test</th>" in rest


def test_the_page_colours_what_was_judged_and_nothing_else(request_, classification, models):
    found = made(request_, unseen(classification), models)
    far = Row("accuracy", "forget", "finetune", (9.0,), (0.4, 0.6))
    found = replace(found, rows=(*found.rows[:2], far, *found.rows[3:]))
    judged = [r for r in found.rows if r.band is not None and r.method != "retrained"]
    page = found._repr_html_()
    assert page.count(f'<td style="background:{INSIDE}') == sum(r.inside for r in judged) > 0
    assert page.count(f'<td style="background:{OUTSIDE}') == sum(not r.inside for r in judged) > 0
    few = made(request_, unseen(classification), [m[:1] for m in models])._repr_html_()
    assert INSIDE not in few and OUTSIDE not in few


def test_notes_say_what_each_metric_means(request_, classification, models):
    found = made(request_, unseen(classification), models)
    notes = found.notes()
    for name in {r.metric for r in found.rows}:
        assert f"{name}: " in notes
    assert " ".join(notes.split()).count("Cannot see:") == len({r.metric for r in found.rows})
    assert "mae:" not in notes and max(map(len, notes.splitlines())) <= 88


def test_the_registry_is_whole():
    for name, metric in METRICS.items():
        assert metric.name == name and metric.good in SIDES
        assert metric.tasks and set(metric.tasks) <= set(TASKS)
        assert set(metric.blind_to) <= {"untrained"}
        assert str(metric).startswith(f"{name}: ") and "Cannot see: " in str(metric)
        assert bool(metric.blind_to) == ("over-forgetting" in str(metric))


def test_costs_stand_below(request_, classification, models):
    def unlearned(model, seconds):
        cost = Cost(seconds=seconds, forward=Counter(retain=10), backward=Counter(retain=10))
        return Unlearned(model, "finetune", Training(), 0, History(), cost)

    method = [unlearned(m, s) for m, s in zip(models[2], (1.0, 2.0, 3.0), strict=True)]
    found = made(request_, unseen(classification), [*models[:2], method], metrics=["accuracy"])
    assert found.row("samples", "", "finetune").values == (30.0,) * 3
    assert str(found.row("seconds", "", "finetune")) == "2.000 ± 2.484"
    assert [r.method for r in found.rows if r.metric == "seconds"] == ["finetune"]


def test_a_missing_row_is_named(request_, classification, models):
    found = made(request_, unseen(classification), models, metrics=["accuracy"])
    with pytest.raises(ValueError, match="no accuracy on 'train' for 'finetune', which has"):
        found.row("accuracy", "train", "finetune")


def test_clear_errors(request_, classification, regression, models, tiny_net):
    original, retrained, method = models
    cases = {
        "original must be a non-empty list": dict(original=original[0]),
        "retrained must be a non-empty list": dict(retrained=[]),
        "finetune must be a non-empty list": dict(methods={"finetune": method[0]}),
        "methods must be a dictionary": dict(methods=[method]),
        "are taken": dict(methods={"retrained": method}),
        "retrained names one model twice": dict(retrained=[retrained[0]] * 2),
        "unknown metric 'speed'": dict(metrics=["speed"]),
        'a list of names, as \\["js"\\]': dict(metrics="js"),
        "none of the metrics mae is for classification": dict(metrics=["mae"]),
        "got NoneType|must be a torch.nn.Module": dict(original=[None]),
        "fresh must be a function": dict(fresh=method[0]),
        'must hold "test"': dict(test={"test_forget": unseen(classification)}),
        "may hold .* got 'test', 'forget'": dict(
            test={"test": unseen(classification), "forget": classification}
        ),
        "needs a request": dict(request=classification),
    }
    for says, change in cases.items():
        good = dict(
            request=request_, test=unseen(classification), original=original, retrained=retrained,
            methods={"finetune": method}, fresh=None,
        )  # fmt: skip
        given = {**good, **change}
        with pytest.raises(ValueError, match=says):
            report(given.pop("request"), given.pop("test"), **given)


def test_a_model_that_diverged_is_named(request_, classification, models, tiny_net):
    broken = tiny_net(seed=7)
    with torch.no_grad():
        broken.head.weight.fill_(math.nan)
    with pytest.raises(ValueError, match="neggrad: the model's outputs on 5 of 5 examples are NaN"):
        made(request_, unseen(classification), models, methods={"neggrad": [broken]})


def test_a_band_of_numbers_has_a_report(regression, tiny_net):
    nets = [tiny_net(1, seed=s) for s in range(4)]
    found = report(
        by_range(regression, -9, 0),
        unseen(regression),
        original=nets[:1],
        retrained=nets[1:3],
        methods={"m": nets[3:]},
    )
    assert isinstance(found, Report) and found.title.startswith("targets in [-9, 0): ")
    assert {r.metric for r in found.rows} >= {"mae", "wasserstein", "paired_difference", "tow"}


LOSSES = {"auto": 1, "squared": 1, Quantile((0.2, 0.7)): 2}


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_gaps_and_tugs_of_war_are_of_the_loss_asked_for(regression, tiny_net, loss):
    """By hand, from evaluations with that loss; the scale is that of the same loss."""
    nets = [tiny_net(LOSSES[loss], seed=seed) for seed in range(4)]
    request, test = by_index(regression, [0, 1, 2, 3]), unseen(regression)
    found = report(
        request, test, original=nets[:1], retrained=nets[1:2], methods={"m": nets[3:]},
        loss=loss,
    )  # fmt: skip
    sets = {"forget": request.forget, "retain": request.retain, "test": test}
    gaps = [
        gap(evaluate(nets[3], data, loss=loss), evaluate(nets[1], data, loss=loss))
        for data in sets.values()
    ]
    scale = mean_loss(constant_answer(test.targets, loss))
    assert found.row("gap", "test", "m").mean == pytest.approx(gaps[2])
    assert found.row("tow", "", "m").mean == pytest.approx(tow(*(g / scale for g in gaps)))
    names = {row.metric for row in found.rows}
    assert ("quantile_loss" in names, "mae" in names) == (LOSSES[loss] > 1, LOSSES[loss] == 1)
    assert {"wasserstein", "paired_difference", "loss_attack_auc", "attack_auc"} <= names
    if LOSSES[loss] > 1:
        row = found.row("quantile_loss", "test", "m")
        assert row.mean == mean_loss(evaluate(nets[3], test, loss=loss))


@pytest.mark.parametrize("factor", [2.0, 90.0])
@pytest.mark.parametrize("loss", ["absolute", "squared"])
def test_the_unit_of_the_targets_changes_no_tug_of_war(regression, tiny_net, loss, factor):
    def tugs(scale: float) -> list:
        data = regression.with_targets(scale * regression.targets)
        nets = [tiny_net(1, seed=seed).double() for seed in range(3)]
        for net in nets:
            net.scale.fill_(scale)
        data = Examples(data.inputs.double(), data.targets)
        found = report(
            by_index(data, [0, 1, 2, 3]), unseen(data), original=nets[:1], retrained=nets[1:2],
            methods={"m": nets[2:]}, metrics=["tow", "tow_mia"], loss=loss,
        )  # fmt: skip
        return [row.mean for row in found.rows]

    assert tugs(factor) == pytest.approx(tugs(1.0))


def test_a_gap_of_losses_without_its_scale_is_refused(regression, tiny_net):
    splits = dict.fromkeys(("forget", "retain", "test"), regression)
    whole = results_of(tiny_net(1), splits)
    assert METRICS["tow"].compute(whole, whole, "") == 1
    bare = {split: whole[split] for split in splits}
    with pytest.raises(ValueError, match="needs its scale, the loss of a constant answer"):
        METRICS["tow"].compute(bare, bare, "")


def test_a_loss_that_does_not_fit_is_refused(request_, classification, regression, models):
    with pytest.raises(ValueError, match="is for floating-point targets"):
        made(request_, unseen(classification), models, loss="squared")
    with pytest.raises(ValueError, match="loss is one of"):
        made(request_, unseen(classification), models, loss="cosine")
    with pytest.raises(ValueError, match="none of the metrics quantile_loss is for"):
        made(request_, unseen(classification), models, metrics=["quantile_loss"])


class Answers(nn.Module):
    """Answers class 1 to the first of ten examples, as many as told, and class 0 to the others."""

    def __init__(self, ones: int):
        super().__init__()
        self.ones = nn.Parameter(torch.tensor(float(ones)))

    def forward(self, x):
        """Logits (B, 2), by the number of the example."""
        one = 4 * (x[:, 0] < self.ones).float() - 2
        return torch.stack([-one, one], 1)


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 10), min_size=3, max_size=5, unique=True) | st.just([6.2, 6.5, 6.8]),
    st.lists(st.integers(0, 10), min_size=1, max_size=3, unique=True),
)
def test_a_value_and_its_gap_never_contradict_each_other(gold, method):
    data = Examples(torch.arange(10.0)[:, None], torch.ones(10).long())
    found = report(
        by_index(data, [0, 3, 7]),
        unseen(data),
        original=[Answers(10.5)],
        retrained=[Answers(ones) for ones in gold],
        methods={"m": [Answers(ones) for ones in method]},
        metrics=["accuracy", "gap"],
    )
    for row in found.rows:
        if row.metric == "accuracy":
            other = found.row("gap", row.split, row.method)
            assert other.inside == row.inside and (other.band is None) == (row.band is None)
            middle = found.row("accuracy", row.split, "retrained").mean
            both = (other.band or (), row.band or ()), (other.values, row.values)
            for mine, theirs in both:
                assert mine == pytest.approx([value - middle for value in theirs])


def test_where_the_band_is_the_whole_scale_nothing_is_judged():
    """Of one forgotten example, which three retrained models call right or wrong."""
    data = Examples(torch.arange(10.0)[:, None], torch.ones(10).long())
    found = report(
        by_index(data, [5]),
        unseen(data),
        original=[Answers(10.5)],
        retrained=[Answers(ones) for ones in (5, 6, 7)],
        methods={"m": [Answers(9)]},
        metrics=["accuracy"],
    )
    row = found.row("accuracy", "forget", "original")
    assert found.retrained == 3 and row.band is None and "*" not in str(row)
    assert found.row("accuracy", "test", "original").band is not None


def test_a_band_is_for_as_many_models_as_stand_beside_it(request_, classification, models):
    original, retrained, method = models
    found = made(request_, unseen(classification), [original[:1], retrained, method])
    assert found.row("accuracy", "test", "retrained").band is not None  # but it is not judged
    one, three = (found.row("accuracy", "test", name).band for name in ("original", "finetune"))
    assert three[1] - three[0] < one[1] - one[0]
    assert [name for name in found.frame() if "band" in name] == ["null band (1)", "null band (3)"]
    assert "interval for one more or the mean of 3 more, from 3 retrained" in str(found)


def test_a_copy_of_the_only_retrained_model_is_nought_away(request_, classification, models):
    original, retrained, _ = models
    twin = copy.deepcopy(retrained[:1])
    found = made(request_, unseen(classification), [original, retrained[:1], twin])
    for metric, split, value in (("js", "forget", 0), ("gap", "test", 0), ("tow", "", 1)):
        assert found.row(metric, split, "finetune").values == (value,)
    with pytest.raises(ValueError, match="no js on 'forget' for 'retrained'"):
        found.row("js", "forget", "retrained")  # it has no other to be compared with


@pytest.mark.parametrize("count", [1, 2])
def test_with_two_retrained_models_a_report_cannot_judge(request_, classification, models, count):
    original, retrained, method = models
    found = made(request_, unseen(classification), [original, retrained[:count], method])
    assert all(row.band is None and not row.inside for row in found.rows)
    assert f"with {count} retrained this report cannot judge: it takes 3, better five" in str(found)
    assert "*" not in str(found) and found.row("js", "test", "finetune").mean > 0


def test_without_retrained_models_there_is_no_gold_standard(request_, models, tests_of):
    original, _, method = models
    found = report(request_, tests_of, original=original, methods={"finetune": method})
    assert found.title == "5 chosen examples: 5 of 24 forgotten; no gold standard"
    names = {row.metric for row in found.rows}
    assert names == {"accuracy", "loss_attack_auc", "attack_auc"}
    assert {row.method for row in found.rows} == {"original", "finetune"}
    assert not any(row.band or row.inside for row in found.rows)
    text = str(found)
    assert "left out: gap, tow, js (no retrained models)" in text and "*" not in text
    assert "look like unseen ones (test_forget)" in text
    assert "cannot be said: that they are forgotten" in text
    assert max(map(len, text.splitlines())) <= 110 and "no gold standard" in found._repr_html_()


def test_without_retained_data_either(models, tests_of, classification):
    """A hospital that has the patient's records and the model: two metrics are left."""
    original, retrained, method = models
    request = Request(classification[:5], None, "patient 5")
    given = {"original": original, "methods": {"l2ul": method}}
    found = report(request, tests_of, **given)
    assert found.title == "patient 5: 5 forgotten; no gold standard"
    assert {row.metric for row in found.rows} == {"accuracy", "loss_attack_auc"}
    assert "retain" not in {row.split for row in found.rows}
    assert "left out: attack_auc (no retained data)" in str(found)
    judged = report(request, tests_of, retrained=retrained, **given)
    assert {row.metric for row in judged.rows} >= {"gap", "js"} and "no gold" not in judged.title
    assert "left out: tow, attack_auc (no retained data)" in str(judged)
    with pytest.raises(ValueError, match="none of the metrics can be computed: attack_auc"):
        report(request, tests_of, metrics=["attack_auc"], **given)


def test_the_original_is_no_retrained_model(request_, classification, models):
    original, retrained, method = models
    wrapped = Unlearned(original[0], "retrain", Training(), 0, History(), Cost())
    for alias in (original[0], copy.deepcopy(original[0]), wrapped):
        with pytest.raises(ValueError, match="retrained holds the original, or its weights"):
            made(request_, unseen(classification), [original, [*retrained, alias], method])


def test_probabilities_in_place_of_logits_are_warned_of(request_, classification, models):
    soft = [[nn.Sequential(net, nn.Softmax(1)) for net in nets] for nets in models]
    with pytest.warns(UserWarning, match="a softmax of a softmax; take the network without"):
        made(request_, unseen(classification), soft, metrics=["accuracy"])
