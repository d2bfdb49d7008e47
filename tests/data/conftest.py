"""Small sets in torchvision's exact layouts, written by the tests, and a server that has them."""

import functools
import gzip
import hashlib
import http.server
import io
import pickle
import struct
import tarfile
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from minilearn.data import vision

KINDS = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "svhn": "SVHN",
}
SIZES = {"train": 7, "test": 4}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def arrays(part: str, channels: int, side: int, classes: int):
    random = np.random.default_rng(len(part))
    n = SIZES[part]
    pixels = random.integers(0, 256, (n, channels, side, side), dtype=np.uint8)
    pixels.flat[:2] = 0, 255
    labels = random.integers(0, classes, n)
    labels[:2] = 0, classes - 1
    return pixels, labels


def idx_files(kind: str) -> dict[str, bytes]:
    files = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        pixels, labels = arrays(part, 1, 28, 10)
        head = struct.pack(">IIII", 0x803, len(pixels), 28, 28)
        files[f"{kind}/raw/{prefix}-images-idx3-ubyte"] = head + pixels.tobytes()
        head = struct.pack(">II", 0x801, len(labels))
        files[f"{kind}/raw/{prefix}-labels-idx1-ubyte"] = head + labels.astype(np.uint8).tobytes()
    return files


def cifar_files(kind: str) -> dict[str, bytes]:
    fine = kind == "CIFAR100"
    folder = "cifar-100-python" if fine else "cifar-10-batches-py"
    key = "fine_labels" if fine else "labels"
    files = {}
    for part, name in (("train", "train" if fine else "data_batch_1"), ("test", "test_batch")):
        pixels, labels = arrays(part, 3, 32, 100 if fine else 10)
        content = {"data": pixels.reshape(len(pixels), -1), key: labels.tolist()}
        files[f"{folder}/{'test' if fine and part == 'test' else name}"] = pickle.dumps(content)
    names = {"fine_label_names" if fine else "label_names": ["a", "b"]}
    files[f"{folder}/{'meta' if fine else 'batches.meta'}"] = pickle.dumps(names)
    return files


def svhn_files(kind: str) -> dict[str, bytes]:
    from scipy.io import savemat

    files = {}
    for part in SIZES:
        pixels, labels = arrays(part, 3, 32, 10)
        stored = np.where(labels == 0, 10, labels)[:, None]  # the files call the digit 0 ten
        opened = io.BytesIO()
        savemat(opened, {"X": pixels.transpose(2, 3, 1, 0), "y": stored})
        files[f"{part}_32x32.mat"] = opened.getvalue()
    return files


MAKE = {
    "MNIST": idx_files,
    "FashionMNIST": idx_files,
    "CIFAR10": cifar_files,
    "CIFAR100": cifar_files,
    "SVHN": svhn_files,
}


class SmallSet(NamedTuple):
    """A few images in the exact layout of the set `name`: the bytes of each file by its path."""

    name: str
    files: dict[str, bytes]

    def write(self, root: Path, files: dict[str, bytes] | None = None):
        for path, content in (self.files if files is None else files).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)

    @staticmethod
    def tree(root: Path) -> dict[str, bytes]:
        files = (path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    def check(self, split):
        """What was loaded is what was written."""
        channels, side = (1, 28) if "mnist" in self.name else (3, 32)
        for part, examples in zip(("train", "test"), split, strict=True):
            pixels, labels = arrays(part, channels, side, 100 if self.name == "cifar100" else 10)
            assert examples.inputs.dtype == torch.float32 and examples.targets.dtype == torch.int64
            assert examples.inputs.is_contiguous()
            torch.testing.assert_close(examples.inputs, torch.from_numpy(pixels).float() / 255)
            assert examples.targets.tolist() == labels.tolist()


@pytest.fixture(params=list(KINDS))
def small(request, monkeypatch):
    """A SmallSet: the tables of checksums are told that these few files are the whole set."""
    import torchvision

    name, kind = request.param, KINDS[request.param]
    files = MAKE[kind](kind)
    source = getattr(torchvision.datasets, kind)
    sums = {Path(path).name: md5(content) for path, content in files.items()}
    if kind in vision.IDX_FILES:
        monkeypatch.setitem(vision.IDX_FILES, kind, sums)
    elif kind == "SVHN":
        lists = {
            p: [f"http://nowhere/{p}", f"{p}_32x32.mat", sums[f"{p}_32x32.mat"]] for p in SIZES
        }
        monkeypatch.setattr(source, "split_list", lists)
    else:
        meta, *rest = sorted(sums, key=lambda file: "meta" not in file)
        test, train = sorted(rest, key=lambda file: "test" not in file)
        monkeypatch.setattr(source, "train_list", [[train, sums[train]]])
        monkeypatch.setattr(source, "test_list", [[test, sums[test]]])
        monkeypatch.setattr(source, "meta", {**source.meta, "filename": meta, "md5": sums[meta]})
    monkeypatch.delenv("MINILEARN_DATA", raising=False)
    return SmallSet(name, files)


@pytest.fixture
def server(tmp_path_factory, monkeypatch):
    """A folder and the address on this machine that serves it."""
    folder = tmp_path_factory.mktemp("served")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        yield folder, f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()
        thread.join()


@pytest.fixture
def published(small, server, monkeypatch) -> Path:
    """The folder of a server that has the small set as its own site does; torchvision is told."""
    import torchvision

    (name, files), (folder, address) = small, server
    source = getattr(torchvision.datasets, KINDS[name])
    if "mnist" in name:
        packed = {f"{Path(path).name}.gz": gzip.compress(files[path]) for path in files}
        small.write(folder, packed)
        monkeypatch.setattr(source, "mirrors", [address])
        monkeypatch.setattr(source, "resources", [(p, md5(c)) for p, c in packed.items()])
    elif name == "svhn":
        small.write(folder)
        lists = {k: [address + v[1], *v[1:]] for k, v in source.split_list.items()}
        monkeypatch.setattr(source, "split_list", lists)
    else:
        with tarfile.open(folder / source.filename, "w:gz") as archive:
            for path, content in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        monkeypatch.setattr(source, "url", address + source.filename)
        monkeypatch.setattr(source, "tgz_md5", md5((folder / source.filename).read_bytes()))
    return folder
