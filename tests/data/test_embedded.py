"""The embedded digits: what they are, how they are split, and how the rotated ones are turned."""

import subprocess
import sys
from difflib import SequenceMatcher

import pytest
import torch
from torch.nn.functional import interpolate

from minilearn.data import digits, embedded, load, rotated_digits


@pytest.fixture(scope="module")
def stored():
    return embedded._sklearn_digits()


def rows(images: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def test_digits_are_scikit_learns_own():
    from sklearn.datasets import load_digits

    raw, (train, test) = load_digits(), digits()
    images = torch.cat([train.inputs, test.inputs]) * 16
    assert sorted(rows(images.flatten(1))) == sorted(rows(torch.tensor(raw.data).float()))
    assert len(train) + len(test) == 1797 and images.min() == 0 and images.max() == 16
    label = dict(zip(rows(torch.tensor(raw.data).float()), raw.target, strict=True))
    for part in (train, test):
        assert [label[row] for row in rows(16 * part.inputs.flatten(1))] == part.targets.tolist()


def test_forms_repeat_the_printed_text(stored):
    labels = stored[1]
    groups = embedded._forms(labels)
    assert groups.unique().tolist() == list(range(14)) and bool((groups.diff() >= 0).all())
    texts = ["".join(map(str, labels[groups == form].tolist())) for form in range(14)]
    for form, text in enumerate(texts):
        assert text.count("9556509") == 1, f"form {form}: {text}"
        assert text.startswith("12345" if form == 7 else "012345")  # the set lacks that 0
        assert SequenceMatcher(None, text, texts[0]).ratio() > 0.95


def test_split_is_disjoint_and_stratified(stored):
    train, test = digits()
    assert not set(rows(train.inputs)) & set(rows(test.inputs))  # no two of the images are equal
    assert len(set(rows(stored[0]))) == 1797
    in_all, in_test = stored[1].bincount(), test.targets.bincount()
    assert torch.equal(in_test, (0.25 * in_all).round().long())
    assert torch.equal(train.targets.bincount() + in_test, in_all)
    assert train.groups.unique().tolist() == list(range(14))


def test_same_digits_every_time():
    for first, again in ((digits(), digits()), (rotated_digits(12, 1), rotated_digits(12, 1))):
        for one, other in zip(first, again, strict=True):
            assert torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)
    other = rotated_digits(12, 1, seed=1)
    assert not torch.equal(rotated_digits(12, 1).train.targets, other.train.targets)


def test_larger_digits_are_the_same_digits():
    small, large = digits().train, digits(16).train
    assert large.inputs.shape == (1347, 1, 16, 16) and torch.equal(small.targets, large.targets)
    assert torch.equal(
        large.inputs, interpolate(small.inputs, (16, 16), mode="bilinear", align_corners=False)
    )


@pytest.mark.parametrize("size", [12, 24, 25])
def test_ninety_degrees_is_a_quarter_turn_against_the_clock(stored, size):
    images = stored[0][:30]
    for start in (0.0, 20.0, 45.0):
        angles = torch.full((30,), start)
        upright = embedded._turn(images, angles, size)
        turned = embedded._turn(images, angles + 90, size)
        torch.testing.assert_close(turned, torch.rot90(upright, 1, (2, 3)), rtol=0, atol=1e-4)


def test_small_angles_agree_with_another_implementation(stored):
    from scipy.ndimage import rotate

    upright = embedded._turn(stored[0][:20], torch.zeros(20), 24)
    turned = embedded._turn(stored[0][:20], torch.full((20,), 30.0), 24)
    # scipy's angle counts against the clock, too; both blur a little, and differently
    scipys = torch.tensor(rotate(upright.numpy(), 30, axes=(3, 2), reshape=False, order=1))
    clockwise = torch.tensor(rotate(upright.numpy(), -30, axes=(3, 2), reshape=False, order=1))
    assert (turned - scipys).abs().mean() < 0.02 < 0.05 < (turned - clockwise).abs().mean()


def test_no_corner_leaves_the_frame(stored):
    white = torch.ones(1, 1, 8, 8)
    for angle in (0.0, 30.0, 45.0, 90.0):
        drawn = embedded._turn(white, torch.tensor([angle]), 24)[0, 0]
        border = torch.cat([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]])
        # the blurred rim of a white corner may just touch the border; nothing is cut off
        assert border.max() < 0.2 and drawn.sum() == pytest.approx(16**2, rel=0.01)


def test_train_and_test_have_their_own_angles():
    train, test = (part.targets[:450] for part in rotated_digits(12, copies=1))
    assert (train - test).abs().mean() > 20


def test_every_copy_is_its_own_digit_turned_by_its_target():
    upright, (train, test) = digits(), rotated_digits(24, copies=2)
    for whole, turned in zip(upright, (train, test), strict=True):
        assert len(turned) == 2 * len(whole) and turned.inputs.shape[1:] == (1, 24, 24)
        for copy in range(2):
            part = turned[copy * len(whole) : (copy + 1) * len(whole)]
            again = embedded._turn(whole.inputs, part.targets, 24)
            torch.testing.assert_close(part.inputs, again)
            assert torch.equal(part.groups, whole.groups)
        first, second = turned.targets.chunk(2)
        assert (first - second).abs().mean() > 20  # independent angles: 30 on average
        assert turned.targets.min() >= 0 and turned.targets.max() < 90
        assert 43 < turned.targets.mean() < 47
        assert turned.inputs.min() >= 0 and turned.inputs.max() <= 1


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: digits(7), "can only be enlarged.* at least 8, got 7"),
        (lambda: digits("8"), "at least 8, got '8'"),
        (lambda: digits(8.5), "at least 8, got 8.5"),
        (lambda: digits(None), "at least 8, got NoneType"),
        (lambda: rotated_digits(11), "size must be a whole number of at least 12, got 11"),
        (lambda: rotated_digits(copies=0), "copies must be a whole number of at least 1, got 0"),
        (lambda: rotated_digits(copies=1.5), "copies must be .* got 1.5"),
        (lambda: rotated_digits((24, 24)), "size must be .* got tuple"),
    ],
)
def test_sizes_that_make_no_sense(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_load_by_name():
    assert torch.equal(load("digits").train.inputs, digits().train.inputs)
    assert load("rotated_digits").test.task == "regression"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mnnist", "no data set named 'mnnist', only digits, .*svhn; did you mean mnist?"),
        ("CIFAR-10", "did you mean cifar10?"),
        ("Digits", "did you mean digits?"),
        ("", "only digits, rotated_digits, sentence_pairs, .*, stsb, .*, mnist, .*, svhn$"),
        (None, "no data set named None"),
        (["digits"], "no data set named"),
    ],
)
def test_load_an_unknown_name(name, sentence):
    with pytest.raises(ValueError, match=sentence):
        load(name)


def test_importing_data_is_light():
    program = (
        "import sys, torch; before = set(sys.modules); import minilearn.data, minilearn.requests; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before}; "
        "print(*new & {'torchvision', 'sklearn', 'scipy', 'PIL', 'matplotlib'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not done.stdout.split()
