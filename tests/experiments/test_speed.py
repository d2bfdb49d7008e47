"""The released procedure does what it is said to do, and the clock compares like with like."""

import pytest
import torch

from book.experiments import Run, overhead, released, speed, speed_l2ul, speed_laf
from minilearn.data import Examples, rotated_digits
from minilearn.models import activations, allcnn, build, chain
from minilearn.parts.attention import attention_transfer


@pytest.fixture
def digits() -> Examples:
    return rotated_digits(size=12, copies=1).train.sample(40)


@pytest.fixture
def networks():
    return [build(lambda: allcnn(width=0.05, channels=1), seed) for seed in (0, 1)]


def test_the_pictures_are_the_examples(digits):
    flags = digits.targets < 30
    plain = released.Pictures(digits, flags, training=False)
    for i in (0, 17, 39):
        image, target, flag = plain[i]
        # a PIL image holds whole numbers up to 255
        assert (image - (2 * digits.inputs[i] - 1)).abs().max() <= 2 / 255
        assert target == digits.targets[i].item() and flag == bool(flags[i])
    moved, *_ = released.Pictures(digits, flags, training=True)[0]
    assert moved.shape == digits.inputs[0].shape and len(plain) == 40


def test_the_mixture_is_the_mean_that_the_package_takes(digits, networks):
    student, teacher = networks
    student.eval(), teacher.eval()
    x, y, forget = digits.inputs, digits.targets, digits.targets < 30
    layers = chain(student)[:8]
    with torch.no_grad(), activations(teacher, layers) as b, activations(student, layers) as a:
        out, answer = student(x), teacher(x)
    each = torch.where(forget, (out - answer).abs(), (out - y).abs())
    for layer in layers:
        each = each + forget * released.BETA * attention_transfer(a[layer], b[layer])
    answer, theirs = released._with_maps(teacher, x)
    out, mine = released._with_maps(student, x)
    assert len(mine) == 8
    loss = released._mixture(out, y, answer, mine, theirs, forget)
    torch.testing.assert_close(loss.detach(), each.mean())


@pytest.mark.parametrize("all_of_them", [True, False])
def test_a_batch_may_be_all_of_one_kind(digits, networks, all_of_them):
    forget = torch.full((40,), all_of_them)
    answer, theirs = released._with_maps(networks[1], digits.inputs)
    out, mine = released._with_maps(networks[0], digits.inputs)
    assert released._mixture(out, digits.targets, answer, mine, theirs, forget).isfinite()


def test_an_epoch_trains_the_student_alone(digits, networks):
    student, teacher = networks
    before = [p.clone() for p in teacher.parameters()], [p.clone() for p in student.parameters()]
    pictures = released.Pictures(digits, digits.targets < 30, training=True)
    read = released.loader(pictures, 0, shuffle=True)
    losses = released.blindspot_epoch(student, teacher, read, torch.device("cpu"))
    assert len(losses) == 1 and all(isinstance(loss, float) for loss in losses)
    assert all(map(torch.equal, before[0], teacher.parameters()))
    assert not any(map(torch.equal, before[1], student.parameters()))


def test_the_evaluation_averages_batches(digits, networks, monkeypatch):
    monkeypatch.setattr(released, "BATCH", 30)  # 30 and 10: an unweighted mean of two means
    plain = released.Pictures(digits, torch.zeros(40), training=False)
    error = released.validate(networks[0], released.loader(plain, 0, False), torch.device("cpu"))
    x = torch.stack([plain[i][0] for i in range(40)])
    with torch.no_grad():
        each = (networks[0].eval()(x) - digits.targets).abs()
    assert error == pytest.approx((each[:30].mean() + each[30:].mean()).item() / 2, rel=1e-4)


def test_both_sides_are_timed_and_written(monkeypatch):
    monkeypatch.setattr(speed, "SIZES", {"toy": (12, 1, 0.02)})
    monkeypatch.setattr(speed, "WORKERS", 0)
    monkeypatch.setattr(speed, "REPEATS", 1)
    monkeypatch.setattr(speed, "FACES", {"toy": (12, 40, 20)})
    monkeypatch.setattr(overhead, "units", lambda run: [])
    for other in (speed_l2ul, speed_laf):  # they have tests of their own
        monkeypatch.setattr(other, "units", lambda run, timed: iter(()))
    units = list(speed.units(Run(seeds=range(1))))
    methods = ["blindspot", "blindspot_fast", "reading", "evaluation"]
    sets = ["rotated_digits", "made faces"]
    asked = [(unit.dataset, unit.method) for unit in units]
    assert asked == [(one, method) for one in sets for method in methods]
    for unit in units:
        rows = {row["metric"]: row for row in unit.measure()}
        ratio = float(rows["released_seconds"]["value"]) / float(rows["seconds"]["value"])
        assert float(rows["ratio"]["value"]) == pytest.approx(ratio) and ratio > 0
        assert rows["ratio"]["unit"] == "x" and rows["seconds"]["unit"] == "s"


def test_faces_are_made_in_the_shape_and_number_of_agedb():
    pixels, *counts = speed.FACES["paper"]
    assert (pixels, sum(counts)) == (32, 16_488 - 2_140)  # the rest is its validation set
    train, test = speed.made_faces(8, 1000, 10)
    assert train.inputs.shape == (1000, 3, 8, 8) and len(test) == 10
    assert train.targets.min() == 1 and train.targets.max() == 101
    again, _ = speed.made_faces(8, 1000, 10)
    assert torch.equal(train.inputs, again.inputs) and not train.inputs[:10].equal(test.inputs)


def test_the_ratio_is_of_medians_and_of_the_faster_loader(monkeypatch):
    # ours, released without workers, released with: the first turn does not count
    turns = iter([9, 9, 9, 1, 8, 5, 1, 8, 7, 4, 8, 6])
    monkeypatch.setattr(speed, "seconds_of", lambda run, device: next(turns))
    monkeypatch.setattr(speed, "WORKERS", 2)
    monkeypatch.setattr(speed, "REPEATS", 3)
    device = torch.device("cpu")
    rows = speed.timed("blindspot", None, lambda workers: None, device, (0, speed.WORKERS))
    assert {row["metric"]: float(row["value"]) for row in rows} == {
        "ratio": 6.0,
        "seconds": 1.0,
        "released_seconds": 6.0,
        "turns": 3,
    }


@pytest.mark.parametrize(
    "seconds, ratio, turns",
    [
        ([70.0, 700.0], 10.0, 1),  # the first turn takes too long for another
        ([1.0, 2.0, 20.0, 60.0, 9.0, 9.0], 3.0, 1),  # the second one
        ([1.0, 2.0, 5.0, 20.0, 5.0, 40.0], 6.0, 2),
    ],
)
def test_long_turns_are_few(monkeypatch, seconds, ratio, turns):
    seconds = iter(seconds)
    monkeypatch.setattr(speed, "seconds_of", lambda run, device: next(seconds))
    rows = speed.timed("laf", None, lambda workers: None, torch.device("cpu"))
    found = {row["metric"]: float(row["value"]) for row in rows}
    assert found["ratio"] == ratio and found["turns"] == turns
