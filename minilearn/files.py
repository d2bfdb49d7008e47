"""Files that are whole at every moment, whoever else reads or writes them."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import io
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

DIGEST = hashlib.sha256().digest_size  # bytes at the end of a file, over all before
HOUR = 3600  # seconds after which nobody writes a neighbour of a file any more


def check_file(name: str, value) -> Path | None:
    """The path of a file, `~` written out, or None where there is none.

    Raises: ValueError if it names a folder or no file; OSError if nothing can be written there
    """
    if value is None:
        return None
    text = value if isinstance(value, str) else getattr(value, "__fspath__", lambda: "")()
    path = os.path.expanduser(text) if isinstance(text, str) else ""
    is_other = os.path.exists(path) and not os.path.isfile(path)
    if not path.strip() or "\0" in path or is_other or os.path.basename(path) in ("", ".", ".."):
        raise ValueError(f"{name} must name a file, got {value!r:.80}")
    return check_place(name, Path(path))


def check_place(name: str, path: Path) -> Path:
    """A path where a file can be written, its folder made before; OSError if nothing can be."""
    folder = Path(os.path.realpath(path)).parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not os.path.isdir(folder):
        raise OSError(f"{name}: {path} could not be written, because {folder} is a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"{name}: {path} could not be written, because {folder} may not be changed")
    return path


def write_state(path: Path, state: dict):
    """Write numbers, texts and tensors, and at the end a digest of every byte; see `write_whole`.

    `torch.load` reads the file, too.

    Raises: OSError as `write_whole`
    """
    body = io.BytesIO()  # torch.save to a full disk raises errors that do not say so
    torch.save(state, body)
    digest = hashlib.sha256(body.getbuffer()).digest()
    body.seek(0, io.SEEK_END)
    body.write(digest)
    write_whole(path, lambda part: part.write_bytes(body.getbuffer()))


def read_state(path: Path, names: set[str]) -> dict:
    """What `write_state` wrote, if it has these names and not a bit has changed since.

    Raises: ValueError if the file cannot be read or is no such file
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    body, digest = content[:-DIGEST], content[-DIGEST:]
    state = None
    if hashlib.sha256(body).digest() == digest:
        with contextlib.suppress(Exception):  # torch raises many kinds
            state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    if isinstance(state, dict) and names <= set(state):
        return state
    raise ValueError(
        f"{path} is no whole checkpoint: choose another name, or delete it if it is a broken one, "
        "or one of an earlier minilearn"
    )


def write_whole(path: str | os.PathLike, write: Callable[[Path], None]):
    """Write a file so that a reader finds the old one or the whole new one, never a half.

    `write(part)` writes a neighbour of `path`, which then takes its name. If that fails, the
    neighbour is removed and the old file stays. Every writer has a neighbour of its own; one that a
    killed process left is removed an hour later. Of a link, the file that it names is written.

    Raises: OSError with one sentence if the disk is full or the folder cannot be written
    """
    path = Path(os.path.realpath(Path(path).expanduser()))
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "there is no space left on the disk" if full else error.strerror or error
            raise OSError(
                f"{path} could not be written: {reason}; what was there before is unchanged"
            ) from error
        raise
    for left in path.parent.glob(f"{glob.escape(path.name)}.????????.part"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > HOUR:
                left.unlink()


@contextlib.contextmanager
def locked(path: str | os.PathLike) -> Iterator[None]:
    """One process at a time; a process that dies takes its lock along.

    The folder of the file is locked, and no file is left. Where that cannot be done, on Windows and
    on some network disks, it is a neighbour of the file that stays, `.lock`.
    """
    path = Path(os.path.realpath(Path(path).expanduser()))
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            import fcntl

            handle = os.open(path.parent, os.O_RDONLY)
            held.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except (ImportError, OSError):
            from filelock import FileLock

            held.enter_context(FileLock(f"{path}.lock"))
        yield
