"""What is packed for a machine without data comes out as it went in, byte for byte."""

import pickle
import re
from pathlib import Path

import numpy
import pytest

from book.experiments import gpu_data
from book.experiments.gpu_data import main, pack, pieces, restored, unpack


@pytest.fixture
def made(tmp_path, monkeypatch) -> Path:
    """Files where the real ones lie and in their form, the pictures of CIFAR-10 noise."""
    monkeypatch.setattr(gpu_data, "IMAGES", 400)
    draw = numpy.random.default_rng(0)
    root = tmp_path / "data"
    for kind in gpu_data.SETS:
        for i, name in enumerate(gpu_data._files(kind)):
            content = draw.integers(0, 256, 5_000 + i, numpy.uint8).tobytes()
            if "batch_" in name or name.endswith("_batch"):
                pixels = draw.integers(0, 256, (400, 3072), numpy.uint8)
                content = pickle.dumps({"labels": [i] * 400, "data": pixels, "filenames": ["a"]})
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
    monkeypatch.setenv("MINILEARN_DATA", str(root))
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_what_is_packed_is_read_back_equal_from_files_of_limited_size(made, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_data, "LIMIT", 3_000_000)
    packed = pack(tmp_path / "packed")
    assert [path.name for path in packed] == ["data-1.zip", "data-2.zip", "data-3.zip"]
    assert all(path.stat().st_size <= 3_000_000 for path in packed)
    assert contents(unpack(tmp_path / "packed")) == contents(made)
    again = pack(tmp_path / "packed")  # nothing of the old files is left among the new ones
    assert [path.stat().st_size for path in again] == [path.stat().st_size for path in packed]


def test_of_some_packed_files_only_whole_files_come_out_and_the_rest_later(
    made, tmp_path, monkeypatch
):
    monkeypatch.setattr(gpu_data, "LIMIT", 3_000_000)
    first, *others = pack(tmp_path / "packed")
    trip = tmp_path / "trip"
    trip.mkdir()
    (trip / first.name).write_bytes(first.read_bytes())
    some, every = contents(unpack(trip)), contents(made)
    assert 1 <= len(some) < len(every) and some.items() <= every.items()
    for path in others:
        (trip / path.name).write_bytes(path.read_bytes())
    assert contents(unpack(trip)) == every


def test_a_damaged_file_is_a_sentence(made, tmp_path):
    (path,) = pack(tmp_path / "packed")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="data-1.zip is damaged: pack the data again, or send"):
        unpack(tmp_path / "packed")


def test_without_the_originals_it_says_which_belong_where(made, tmp_path):
    (made / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(SystemExit, match="CIFAR10 is not there: the file .*test_batch belongs in"):
        main([str(tmp_path / "packed")])
    assert not (tmp_path / "packed").exists()


@pytest.mark.realdata
def test_real_photographs_shrink_and_keep_every_pixel(realdata_root, monkeypatch):
    monkeypatch.setattr(gpu_data, "IMAGES", 300)
    batch = (realdata_root / "cifar-10-batches-py" / "data_batch_2").read_bytes()
    size = re.escape((10_000 * 3072).to_bytes(4, "little"))
    begin = re.search(b"T" + size, batch).end()
    content = b"head T" + (300 * 3072).to_bytes(4, "little")
    content += batch[begin : begin + 300 * 3072] + b"tail"
    cut = list(pieces(content))
    assert [kind for kind, _ in cut] == ["xz", "webp", "webp", "webp", "xz"]
    assert sum(len(packed) for _, packed in cut) < 0.6 * len(content)
    assert b"".join(restored(*piece) for piece in cut) == content
