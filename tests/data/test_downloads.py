"""Downloads are whole or gone: failures, a full disk, Ctrl-C, a server that stops halfway."""

import errno
import os
from pathlib import Path

import pytest

from minilearn.data import load, vision


def fetched(files):
    def fetch(kind, folder):
        for path, content in files.items():
            Path(folder, path).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, path).write_bytes(content)

    return fetch


def test_download_puts_whole_files_in_place(small, tmp_path, monkeypatch):
    name, files = small
    extra = {**files, "archive.tar.gz": b"left in the temporary folder"}
    monkeypatch.setattr(vision, "_fetch", fetched(extra))
    root = tmp_path / "new" / "folder"
    small.check(load(name, root=root, download=True))
    assert small.tree(root) == files


def test_download_mends_what_is_broken_and_leaves_the_rest(small, tmp_path, monkeypatch):
    name, files = small
    broken, lost, *_ = files
    small.write(tmp_path, {**files, broken: b"half", "other/set": b"mine"})
    (tmp_path / lost).unlink()
    monkeypatch.setattr(vision, "_fetch", fetched(files))
    small.check(load(name, root=tmp_path, download=True))
    assert small.tree(tmp_path) == {**files, "other/set": b"mine"}


FAILURES = [
    (OSError(errno.ENOSPC, "No space left on device"), "the disk is full; make room"),
    (ConnectionResetError("peer went away"), "peer went away"),
    (RuntimeError("Error downloading x.gz:\nTried a, got:\nno route\n"), "Tried a, got: no route"),
    (EOFError(), "EOFError"),
]


@pytest.mark.parametrize(("failure", "reason"), FAILURES, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("there", [True, False])
def test_a_failed_download_leaves_nothing(small, tmp_path, monkeypatch, failure, reason, there):
    name, files = small
    root = tmp_path / "root"
    before = {"mine": b"kept"} if there else {}
    small.write(root, before)

    def half(kind, folder):
        path, content = next(iter(files.items()))
        small.write(Path(folder), {path: content[:20]})
        raise failure

    monkeypatch.setattr(vision, "_fetch", half)
    with pytest.raises(ValueError, match="could not be downloaded to") as caught:
        load(name, root=root, download=True)
    sentence = str(caught.value)
    assert reason in sentence and "\n" not in sentence
    assert sentence.endswith("what was begun has been removed")
    assert root.exists() == there and small.tree(root) == before
    assert [p.name for p in tmp_path.rglob("*")] == (["root", "mine"] if there else [])


def test_ctrl_c_leaves_nothing(small, tmp_path, monkeypatch):
    name, files = small

    def interrupted(kind, folder):
        small.write(Path(folder), files)
        raise KeyboardInterrupt

    monkeypatch.setattr(vision, "_fetch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(name, root=tmp_path / "root", download=True)
    assert not list(tmp_path.iterdir())


def test_a_download_that_arrives_broken_is_not_kept(small, tmp_path, monkeypatch):
    name, files = small
    monkeypatch.setattr(vision, "_fetch", fetched({path: b"<html>" for path in files}))
    with pytest.raises(ValueError, match="could not be downloaded to .* is broken"):
        load(name, root=tmp_path, download=True)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_when_moving_into_place(small, tmp_path, monkeypatch):
    name, files = small
    monkeypatch.setattr(vision, "_fetch", fetched(files))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ValueError, match="the disk is full; make room or choose another folder"):
        load(name, root=tmp_path, download=True)
    assert small.tree(tmp_path) == {}


def test_a_folder_that_must_not_be_written(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ValueError, match="could not be downloaded .*: Permission denied; what was"):
        load("mnist", root=tmp_path / "root", download=True)


def test_torchvision_fetches_from_a_server(small, tmp_path, published):
    name, files = small
    small.check(load(name, root=tmp_path / "root", download=True))
    assert small.tree(tmp_path / "root") == files


def test_a_server_that_stops_halfway(small, tmp_path, published):
    name, _ = small
    last = max(published.iterdir())
    last.write_bytes(last.read_bytes()[:30])
    with pytest.raises(ValueError, match="could not be downloaded to .*has been removed$"):
        load(name, root=tmp_path / "root", download=True)
    assert not list(tmp_path.iterdir())
