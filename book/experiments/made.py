"""A few made files in the real layout of a set, to try an experiment without the set.

`with files("svhn"): ...` makes such files and lets them stand for the folder of the data. What is
run on them is marked as made in every row, and the command line keeps it out of the book's results.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from book.experiments.papers import Row
from minilearn.data import vision

COUNTS = {"train": 20, "test": 10}
SIDE = 16  # pixels of a picture
AGES = (5, 12, 18, 25, 28, 33, 41, 52, 64, 77)


def images(part: str, channels: int, side: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Random pixels (N, channels, side, side) and labels in which every number up to 9 is there."""
    random = np.random.default_rng(len(part))
    count = COUNTS[part]
    pixels = random.integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    labels = np.arange(count) % 10
    labels[-1] = classes - 1
    return pixels, labels


def idx_files(kind: str) -> dict[str, bytes]:
    """MNIST's four files."""
    made = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        pixels, labels = images(part, 1, 28)
        head = struct.pack(">IIII", 0x803, len(pixels), 28, 28)
        made[f"{kind}/raw/{prefix}-images-idx3-ubyte"] = head + pixels.tobytes()
        head = struct.pack(">II", 0x801, len(labels))
        made[f"{kind}/raw/{prefix}-labels-idx1-ubyte"] = head + labels.astype(np.uint8).tobytes()
    return made


def cifar_files(kind: str) -> dict[str, bytes]:
    """One training batch, the test batch and the names of the classes."""
    fine = kind == "CIFAR100"
    folder = "cifar-100-python" if fine else "cifar-10-batches-py"
    names = ("train", "test", "meta") if fine else ("data_batch_1", "test_batch", "batches.meta")
    made = {}
    for part, name in zip(COUNTS, names, strict=False):
        pixels, labels = images(part, 3, 32, 100 if fine else 10)
        batch = {"data": pixels.reshape(len(pixels), -1)}
        batch["fine_labels" if fine else "labels"] = labels.tolist()
        made[f"{folder}/{name}"] = pickle.dumps(batch)
    meta = {"fine_label_names" if fine else "label_names": ["a", "b"]}
    return made | {f"{folder}/{names[2]}": pickle.dumps(meta)}


def svhn_files(kind: str) -> dict[str, bytes]:
    """Two MATLAB files, which call the digit 0 ten."""
    from scipy.io import savemat

    made = {}
    for part in COUNTS:
        pixels, labels = images(part, 3, 32)
        content = io.BytesIO()
        stored = np.where(labels == 0, 10, labels)[:, None]
        savemat(content, {"X": pixels.transpose(2, 3, 1, 0), "y": stored})
        made[f"{part}_32x32.mat"] = content.getvalue()
    return made


def picture(number: int) -> bytes:
    """A JPEG of one random colour."""
    content = io.BytesIO()
    colour = tuple(np.random.default_rng(number).integers(0, 256, 3).tolist())
    Image.new("RGB", (SIDE, SIDE), colour).save(content, "jpeg")
    return content.getvalue()


def age_files(kind: str) -> dict[str, bytes]:
    """AgeDB's or IMDB-WIKI's table of ages and splits, and its pictures."""
    folder = "" if kind == "AgeDB" else "IMDB-WIKI/"
    made, lines = {}, ["age,path,split"]
    for i in range(40):
        age, split = AGES[i % 10], ("train", "train", "val", "test")[i // 10]
        path = f"AgeDB/{i}_Person{i % 7}_{age}_f.jpg" if not folder else f"imdb_crop/{i:02}/a.jpg"
        made[folder + path] = picture(i)
        lines.append(f"{age},{path},{split}")
    table = "AgeDB/agedb.csv" if not folder else "IMDB-WIKI/imdb_wiki.csv"
    return made | {table: ("\n".join(lines) + "\n").encode()}


def utkface_files(kind: str) -> dict[str, bytes]:
    """Pictures whose names begin with an age."""
    names = (f"{AGES[i % 10] + 40 * (i % 20 == 19)}_0_2_2017{i:04}.jpg.chip.jpg" for i in range(60))
    return {f"UTKFace/{name}": picture(i) for i, name in enumerate(names)}


def imagenet_files(kind: str) -> dict[str, bytes]:
    """Three classes, a folder each, in either part."""
    return {
        f"imagenet/{part}/n0000000{label}/{part}_{i}.JPEG": picture(10 * label + i)
        for part, count in (("train", 6), ("val", 3))
        for label in range(3)
        for i in range(count)
    }


def stsb_files(kind: str) -> dict[str, bytes]:
    """Tab-separated pairs of sentences with scores."""
    nouns, verbs = ("dog", "cat", "child", "bird"), ("runs", "sleeps", "eats")
    pairs = [(f"the {n} {v}", f"a {m} {v}") for n in nouns for m in nouns for v in verbs]
    made = {}
    for part, count in (("train", 40), ("dev", 12), ("test", 12)):
        lines = (f"genre\tfile\t2012\t{i}\t{i % 6}\t{a}\t{b}" for i, (a, b) in enumerate(pairs))
        made[f"stsb/sts-{part}.csv"] = "\n".join(list(lines)[:count]).encode()
    return made


def electricity_files(kind: str) -> dict[str, bytes]:
    """Three clients by the quarter of an hour, with decimal commas."""
    start, random = np.datetime64("2011-01-01T00:15:00"), np.random.default_rng(0)
    lines = ['"";' + ";".join(f'"MT_{client:03}"' for client in (1, 2, 3))]
    for quarter in range(4 * 24 * 16):
        stamp = str(start + np.timedelta64(15 * quarter, "m")).replace("T", " ")
        loads = (f"{load:.3f}".replace(".", ",") for load in random.uniform(1, 9, 3))
        lines.append(f'"{stamp}";' + ";".join(loads))
    return {"electricity/LD2011_2014.txt": ("\n".join(lines) + "\n").encode()}


# What torchvision or the loader calls a set, and who makes its files.
SETS = {
    "mnist": ("MNIST", idx_files),
    "fashion_mnist": ("FashionMNIST", idx_files),
    "cifar10": ("CIFAR10", cifar_files),
    "cifar100": ("CIFAR100", cifar_files),
    "svhn": ("SVHN", svhn_files),
    "agedb": ("AgeDB", age_files),
    "imdb_wiki": ("IMDB-WIKI", age_files),
    "utkface": ("UTKFace", utkface_files),
    "imagenet": ("ImageNet", imagenet_files),
    "stsb": ("STS-B", stsb_files),
    "electricity": ("electricity", electricity_files),
}


@contextmanager
def files(row: Row) -> Iterator[Path]:
    """Made files of a row stand for the folder of the data, for a block.

    Where the files of a set have known sums, those of the made ones hold for as long.
    """
    kind, make = SETS[row.dataset]
    made = make(kind)
    with TemporaryDirectory() as folder, ExitStack() as block:
        for path, content in (made | weights(row)).items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(content)
        sums = {Path(path).name: hashlib.md5(content).hexdigest() for path, content in made.items()}
        _accept(kind, sums, block)
        block.enter_context(patch.dict(os.environ, {"MINILEARN_DATA": folder}))
        yield Path(folder)


def weights(row: Row) -> dict[str, bytes]:
    """The file of pretrained weights that a row reads, of a new network; or none."""
    from book.experiments import l2ul_images

    case = l2ul_images.ROWS.get(row.experiment)
    if case is None or not case.weights:
        return {}
    content = io.BytesIO()
    torch.save(case.network("toy", 0).state_dict(), content)
    return {case.weights: content.getvalue()}


def _accept(kind: str, sums: dict[str, str], block: ExitStack):
    """Let these sums hold for a set of torchvision's, by its files' names."""
    if kind in vision.IDX_FILES:
        block.enter_context(patch.dict(vision.IDX_FILES, {kind: sums}))
        return
    if kind not in ("CIFAR10", "CIFAR100", "SVHN"):
        return
    import torchvision

    source = getattr(torchvision.datasets, kind)
    if kind == "SVHN":
        lists = {part: ["", f"{part}_32x32.mat", sums[f"{part}_32x32.mat"]] for part in COUNTS}
        block.enter_context(patch.object(source, "split_list", lists))
        return
    train, test, meta = sums  # in the order in which they were made
    about = source.meta | {"filename": meta, "md5": sums[meta]}
    block.enter_context(patch.object(source, "train_list", [[train, sums[train]]]))
    block.enter_context(patch.object(source, "test_list", [[test, sums[test]]]))
    block.enter_context(patch.object(source, "meta", about))
