"""torchvision's sets on small files in the exact layout: whole, missing, broken."""

import errno
import hashlib
import pickle
from pathlib import Path

import pytest
import torch

from minilearn.data import MissingData, load, vision


def test_good_files_are_read_as_they_were_written(small, tmp_path, monkeypatch):
    name, files = small
    small.write(tmp_path)
    small.check(load(name, root=tmp_path))
    small.check(load(name, root=str(tmp_path), download=True))  # nothing to fetch, nothing fetched
    monkeypatch.setenv("MINILEARN_DATA", str(tmp_path))
    small.check(getattr(vision, name)())
    assert small.tree(tmp_path) == files


def test_every_missing_file_is_named(small, tmp_path):
    name, files = small
    for lost in files:
        small.write(tmp_path)
        (tmp_path / lost).unlink()
        with pytest.raises(MissingData) as caught:
            load(name, root=tmp_path)
        sentence = str(caught.value)
        assert lost in sentence and str(tmp_path) in sentence and "\n" not in sentence
        assert "download=True" in sentence and "MINILEARN_DATA" in sentence


def test_every_broken_file_is_named(small, tmp_path):
    name, files = small
    for broken, content in files.items():
        flipped = content[:-1] + bytes([content[-1] ^ 1])
        for damaged in (content[: len(content) // 2], b"", flipped, content + b"\0"):
            small.write(tmp_path, {**files, broken: damaged})
            with pytest.raises(ValueError) as caught:
                load(name, root=tmp_path)
            sentence = str(caught.value)
            assert (
                f"{tmp_path / broken} is broken" in sentence
                and hashlib.md5(damaged).hexdigest() in sentence
            )
            assert "download=True to replace it" in sentence and "\n" not in sentence


def test_a_broken_pickle_is_never_opened(small, tmp_path):
    name, files = small
    marker = tmp_path / "opened"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (marker,))

    small.write(tmp_path, {path: pickle.dumps(Trap()) for path in files})
    with pytest.raises(ValueError, match="is broken"):
        load(name, root=tmp_path)
    assert not marker.exists()


# Folders that are none


def test_a_folder_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MINILEARN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(MissingData, match="MNIST is not there: .*nowhere, which does not exist"):
        load("mnist")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("download", [False, True])
def test_a_folder_that_is_a_file(tmp_path, monkeypatch, download):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINILEARN_DATA", str(tmp_path / "file"))
    with pytest.raises(
        ValueError, match="the data folder .*file is a file; root or MINILEARN_DATA"
    ):
        load("mnist", download=download)


def test_a_folder_inside_a_file(tmp_path):
    (tmp_path / "MNIST").write_text("")
    with pytest.raises(MissingData, match="MNIST is not there"):
        load("mnist", root=tmp_path)


def test_a_folder_that_must_not_be_read(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        ValueError, match="cannot read .*train-images-idx3-ubyte: Permission denied$"
    ):
        load("mnist", root=tmp_path)
    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(ValueError, match="cannot read the data folder .*: Permission denied$"):
        load("mnist", root=tmp_path)


def test_a_folder_where_a_file_should_be(tmp_path):
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte").mkdir(parents=True)
    with pytest.raises(ValueError, match="cannot read .*idx3-ubyte"):
        load("mnist", root=tmp_path)


@pytest.mark.parametrize("root", [0, 3, b"folder", ["a"], torch.zeros(1)])
def test_a_root_that_is_no_path(root):
    with pytest.raises(ValueError, match="root must be the path of a folder, got"):
        load("mnist", root=root)


def test_where_the_data_belong(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for empty in (None, ""):
        monkeypatch.delenv("MINILEARN_DATA", raising=False)
        if empty is not None:
            monkeypatch.setenv("MINILEARN_DATA", empty)
        assert vision.data_root() == tmp_path / ".cache/minilearn"
    monkeypatch.setenv("MINILEARN_DATA", "~/sets")
    assert vision.data_root() == tmp_path / "sets"
    assert vision.data_root("here") == Path("here")


# The real sets


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "train", "test", "shape"),
    [
        ("mnist", 60000, 10000, (1, 28, 28)),
        ("fashion_mnist", 60000, 10000, (1, 28, 28)),
        ("cifar10", 50000, 10000, (3, 32, 32)),
        ("cifar100", 50000, 10000, (3, 32, 32)),
        ("svhn", 73257, 26032, (3, 32, 32)),
    ],
)
def test_the_real_set_is_whole(realdata_root, name, train, test, shape):
    try:
        split = load(name, root=realdata_root)
    except MissingData as missing:
        pytest.skip(str(missing))
    assert (len(split.train), len(split.test)) == (train, test)
    for part in split:
        assert part.inputs.shape[1:] == shape and part.classes == (
            100 if name == "cifar100" else 10
        )
        assert part.inputs.min() == 0 and part.inputs.max() == 1 and part.inputs.is_contiguous()
    if name == "mnist":  # the first ten labels, as every tutorial shows them
        assert split.train.targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
        assert split.train.inputs.mean().item() == pytest.approx(0.1307, abs=1e-4)
    if name in ("fashion_mnist", "cifar10"):
        assert split.test.targets.bincount().tolist() == [1000] * 10
    if name == "cifar10":  # the channel means that everyone normalises with
        means = split.train.inputs.mean((0, 2, 3)).tolist()
        assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)
