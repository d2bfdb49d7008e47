"""Files on disk: whole or not at all, written through links, by several at once."""

import os
import sys
import time
from threading import Thread

import pytest

from minilearn.files import HOUR, locked, read_state, write_state, write_whole


def test_write_whole_keeps_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    write_whole(path, lambda part: part.write_text("old"))

    def half(part):
        part.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, half)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["table.csv"]
    write_whole(str(path), lambda part: part.write_text("new"))
    assert path.read_text() == "new"


def test_two_writers_at_once_have_a_neighbour_each(tmp_path):
    path = tmp_path / "table.csv"

    def first(part):
        part.write_text("first")
        write_whole(path, lambda other: other.write_text("second"))
        assert path.read_text() == "second"

    write_whole(path, first)
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["table.csv"]


def test_what_a_killed_writer_left_is_removed_an_hour_later(tmp_path):
    path, young = tmp_path / "run[1]", "run[1].89abcdef.part"
    others = ["run[1].0123.part", "run[1].part", "run1.01234567.part"]
    for name in ("run[1].01234567.part", young, *others):
        (tmp_path / name).write_text("half")
        if name != young:
            os.utime(tmp_path / name, (time.time() - HOUR - 9,) * 2)
    write_whole(path, lambda part: part.write_text("new"))
    assert sorted(os.listdir(tmp_path)) == sorted(["run[1]", young, *others])


def test_a_link_is_written_through(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "here").symlink_to("there/table")
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in ("new", "newer"):
        write_whole("~/here", lambda part, text=text: part.write_text(text))
        assert (tmp_path / "here").is_symlink() and os.listdir(tmp_path / "there") == ["table"]
        assert (tmp_path / "there" / "table").read_text() == text


@pytest.mark.parametrize("kind", ["the folder", "a neighbour"])
def test_a_lock_is_held_by_one(tmp_path, monkeypatch, kind):
    """Threads of one process, as processes elsewhere: each opens the lock for itself."""
    if kind == "a neighbour":  # as on Windows
        pytest.importorskip("filelock")
        monkeypatch.setitem(sys.modules, "fcntl", None)
    inside, most = [], []

    def work():
        for _ in range(5):
            with locked(tmp_path / "table"):
                inside.append(1)
                time.sleep(0.002)
                most.append(len(inside))
                inside.pop()

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20
    assert os.listdir(tmp_path) == ([] if kind == "the folder" else ["table.lock"])


def test_every_bit_is_under_the_digest(tmp_path):
    path = tmp_path / "state"
    write_state(path, {"a": 1})
    whole = path.read_bytes()
    assert read_state(path, {"a"}) == {"a": 1}
    for byte in [*range(0, len(whole), 7), *range(len(whole) - 40, len(whole))]:
        path.write_bytes(whole[:byte] + bytes([whole[byte] ^ 1]) + whole[byte + 1 :])
        with pytest.raises(ValueError, match="is no whole checkpoint"):
            read_state(path, {"a"})
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="is no whole checkpoint"):
        read_state(path, {"a", "b"})
