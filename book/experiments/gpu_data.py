"""`make gpu-data`: the sets that `make gpu` reads, packed without loss for a machine without them.

They travel as files of at most `LIMIT` bytes, because such a machine may take no more at a time.
A file is cut into pieces, the pixels of CIFAR-10 into lossless pictures, which take 98 MB, where xz
needs 140; the loaders check the sums of the files that are put together again.
"""

from __future__ import annotations

import io
import lzma
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from minilearn.data.places import data_root, missing
from minilearn.data.vision import _files
from minilearn.files import write_whole

SETS = ("CIFAR10", "MNIST")  # all rows of Fashion-MNIST are in the book
LIMIT = 50_000_000  # bytes of a packed file: with the repository less than 64 MiB
IMAGES = 10_000  # of CIFAR-10 in a file
PLANES = 3 * 32 * 32  # bytes of such an image: the red ones first
STRIP = 100  # images in a picture
PIECE = re.compile(r"(.+)/(\d+)-of-(\d+)\.(webp|xz)")


def pack(folder: Path) -> list[Path]:
    """Pack the sets into `folder`; returns the packed files.

    Raises: MissingData if a set is not there
    """
    root = data_root()
    names = [(kind, name) for kind in SETS for name in _files(kind)]
    for kind, name in names:
        if not (root / name).is_file():
            raise missing(kind, f"the file {name} belongs", root, "put it there first")
    for old in folder.glob("*.zip"):
        old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    room = 0
    for _, name in tqdm(names, "packing", unit="file"):
        cut = list(pieces((root / name).read_bytes()))
        for i, (kind, packed) in enumerate(cut):
            if room < len(packed):
                written.append(folder / f"data-{len(written) + 1}.zip")
                room = LIMIT
            room -= len(packed) + 500  # and its name, twice
            with zipfile.ZipFile(written[-1], "a") as file:
                file.writestr(f"{name}/{i}-of-{len(cut)}.{kind}", packed)
    return written


def pieces(content: bytes) -> Iterator[tuple[str, bytes]]:
    """A file in pieces, each as (how it is packed, packed): a file without pixels is one piece."""
    import numpy
    from PIL import Image

    size = (IMAGES * PLANES).to_bytes(4, "little")
    found = re.search(b"[TB]" + re.escape(size), content)  # how a pickle begins a long string
    if found is None:
        yield "xz", lzma.compress(content)
        return
    begin = found.end()
    yield "xz", lzma.compress(content[:begin])
    pixels = numpy.frombuffer(content, numpy.uint8, IMAGES * PLANES, begin)
    for strip in pixels.reshape(-1, STRIP, 3, 32, 32):
        picture = io.BytesIO()
        tall = Image.fromarray(strip.transpose(0, 2, 3, 1).reshape(-1, 32, 3))
        tall.save(picture, "WEBP", lossless=True, quality=75, method=4)
        yield "webp", picture.getvalue()
    yield "xz", lzma.compress(content[begin + len(pixels) :])


def unpack(folder: Path) -> Path:
    """Put the files together again that are in `folder` with all their pieces; returns their root.

    Raises: ValueError if a packed file is damaged; OSError if the disk is full
    """
    root = folder / "unpacked"
    found: dict[tuple[str, int], dict[int, bytes]] = {}
    for path in sorted(folder.glob("*.zip")):
        try:
            with zipfile.ZipFile(path) as file:
                for piece in file.namelist():
                    name, i, count, kind = PIECE.fullmatch(piece).groups()
                    if not (root / name).exists():
                        found.setdefault((name, int(count)), {})[int(i)] = (kind, file.read(piece))
        except (zipfile.BadZipFile, AttributeError):
            raise ValueError(f"{path} is damaged: pack the data again, or send it again") from None
    for (name, count), parts in found.items():
        if len(parts) == count:
            content = b"".join(restored(*parts[i]) for i in range(count))
            write_whole(root / name, lambda part, content=content: part.write_bytes(content))
    return root


def restored(kind: str, packed: bytes) -> bytes:
    """A piece as it was in its file."""
    import numpy
    from PIL import Image

    if kind == "xz":
        return lzma.decompress(packed)
    tall = numpy.asarray(Image.open(io.BytesIO(packed)).convert("RGB"))
    return tall.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2).tobytes()


def main(arguments: Sequence[str]):
    """Pack into the folder that is named, and say what became of it; SystemExit with a sentence."""
    try:
        files = pack(Path(*arguments))
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    for path in files:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
