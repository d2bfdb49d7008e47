"""torchvision's sets as Examples: every file is checked before use, a download is whole or gone."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from minilearn.data.embedded import Split
from minilearn.data.examples import Examples
from minilearn.data.places import data_root, missing, reason

# torchvision knows the sums of the packed files only; these are of the files that are read.
IDX_FILES = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


def mnist(*, root=None, download: bool = False) -> Split:
    """MNIST: 60,000 and 10,000 handwritten digits.

    Args: root: see `data_root`. download: whether to fetch what is missing or broken
    Source: LeCun, Cortes and Burges 1998
    Shapes: inputs (N, 1, 28, 28) float32 in [0, 1]; targets (N,) int64 in 0..9
    Raises: MissingData (a ValueError) if a file is not there; ValueError if one is broken, or
        cannot be read or downloaded
    """
    return _load("MNIST", root, download)


def fashion_mnist(*, root=None, download: bool = False) -> Split:
    """Fashion-MNIST: 60,000 and 10,000 pictures of clothes in ten classes.

    Source: Xiao, Rasul and Vollgraf 2017
    Shapes: inputs (N, 1, 28, 28) float32 in [0, 1]; targets (N,) int64 in 0..9
    Raises: as mnist
    """
    return _load("FashionMNIST", root, download)


def cifar10(*, root=None, download: bool = False) -> Split:
    """CIFAR-10: 50,000 and 10,000 small colour photographs in ten classes.

    Source: Krizhevsky 2009
    Shapes: inputs (N, 3, 32, 32) float32 in [0, 1]; targets (N,) int64 in 0..9
    Raises: as mnist
    """
    return _load("CIFAR10", root, download)


def cifar100(*, root=None, download: bool = False) -> Split:
    """CIFAR-100: 50,000 and 10,000 small colour photographs in a hundred classes.

    Source: Krizhevsky 2009; the targets are the fine labels
    Shapes: inputs (N, 3, 32, 32) float32 in [0, 1]; targets (N,) int64 in 0..99
    Raises: as mnist
    """
    return _load("CIFAR100", root, download)


def svhn(*, root=None, download: bool = False) -> Split:
    """SVHN: 73,257 and 26,032 house-number digits cut from street photographs.

    Source: Netzer et al. 2011; class 0 is the digit 0, which the files call 10
    Shapes: inputs (N, 3, 32, 32) float32 in [0, 1]; targets (N,) int64 in 0..9
    Raises: as mnist
    """
    return _load("SVHN", root, download)


def _load(kind: str, root, download: bool) -> Split:
    root = data_root(root)
    files = _files(kind)
    try:
        _verify(kind, root, files)
    except ValueError:
        if not download:
            raise
        _download(kind, root, files)
    return Split(_part(kind, root, train=True), _part(kind, root, train=False))


def _files(kind: str) -> dict[str, str]:
    """Every file that is read, by its path under the root, and its md5 sum."""
    if kind in IDX_FILES:
        return {f"{kind}/raw/{file}": md5 for file, md5 in IDX_FILES[kind].items()}
    import torchvision  # imported in functions only: it costs seconds

    source = getattr(torchvision.datasets, kind)
    if kind == "SVHN":
        return {file: md5 for _, file, md5 in map(source.split_list.get, ("train", "test"))}
    listed = [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]
    return {f"{source.base_folder}/{file}": md5 for file, md5 in listed}


def _verify(kind: str, root: Path, files: dict[str, str]):
    """Raise a sentence unless every file is there and whole."""
    for file, md5 in files.items():
        try:
            with (root / file).open("rb") as opened:
                digest = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False))
        except (FileNotFoundError, NotADirectoryError):
            how = "fetch it with download=True"
            raise missing(kind, f"the file {file} belongs", root, how) from None
        except OSError as error:
            raise ValueError(f"cannot read {root / file}: {reason(error)}") from None
        if digest.hexdigest() != md5:
            raise ValueError(
                f"the file {root / file} is broken: its md5 sum is {digest.hexdigest()} and should "
                f"be {md5}; load with download=True to replace it"
            )


def _download(kind: str, root: Path, files: dict[str, str]):
    """Fetch into a folder beside the set's, and move each file into place once all are whole."""
    is_new = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(
            prefix=".download-", dir=root, ignore_cleanup_errors=True
        ) as beside:
            _fetch(kind, beside)
            _verify(kind, Path(beside), files)
            for file in files:
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(beside, file), root / file)
    except Exception as error:  # torchvision, urllib, gzip and tarfile each raise their own
        why = reason(error)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            why = "the disk is full; make room or choose another folder"
        raise ValueError(
            f"{kind} could not be downloaded to {root}: {why}; what was begun has been removed"
        ) from error
    finally:
        if is_new and root.is_dir() and not any(root.iterdir()):
            root.rmdir()


def _fetch(kind: str, folder: str):
    import torchvision

    source = getattr(torchvision.datasets, kind)
    if kind == "SVHN":
        source(folder, download=True, split="train")
        source(folder, download=True, split="test")
    else:
        source(folder, download=True)


def _part(kind: str, root: Path, train: bool) -> Examples:
    """One part of a set, from files that were found whole."""
    import torchvision

    source = getattr(torchvision.datasets, kind)
    if kind in IDX_FILES:
        part = root / kind / "raw" / ("train" if train else "t10k")
        pixels = torchvision.datasets.mnist.read_image_file(f"{part}-images-idx3-ubyte")[:, None]
        labels = torchvision.datasets.mnist.read_label_file(f"{part}-labels-idx1-ubyte")
    elif kind == "SVHN":
        part = source(root, split="train" if train else "test")
        pixels = torch.tensor(part.data)
        labels = torch.tensor(part.labels)
    else:
        part = source(root, train=train)
        pixels = torch.tensor(part.data).permute(0, 3, 1, 2)
        labels = torch.tensor(part.targets)
    return Examples(pixels.contiguous().float().div_(255), labels.long())
