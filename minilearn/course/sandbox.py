"""Run code that nobody has read: in processes of its own, without files or network, with limits.

bubblewrap where it is, else Linux namespaces: the program sees the interpreter and the package,
read-only, and a home in memory that is thrown away; no network, no other process, no other file.
Linux does not count root's processes: a submission that root grades runs as another user.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

READY = 120  # seconds that the start may take
GRACE = 5  # seconds between an interrupt and the end
PAUSE = 0.02  # seconds between two looks at what it says
TALK = 10 * 2**20  # bytes that all answers may have
PACKAGE = Path(__file__).parents[1]
PROGRAM = Path(__file__).with_name("inside.py")
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PIP_NO_INDEX": "1", "MPLBACKEND": "agg"}
ENVIRONMENT |= {"LANG": "C.UTF-8", "USER": "student"}
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
ROOT = r"""
set -e
mount -t tmpfs -o size=1g,mode=755 tmpfs /mnt; cd /mnt; mkdir proc dev tmp old
mount -t tmpfs -o size=1g tmpfs tmp
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir -p "/mnt$1"; else mkdir -p "/mnt${1%/*}"; : > "/mnt$1"; fi
    mount --bind "$1" "/mnt$1"; mount -o remount,bind,ro "/mnt$1"; shift
done
shift
for d in null zero random urandom; do : > dev/$d; mount --bind /dev/$d dev/$d; done
mkdir dev/shm; mount -t tmpfs -o size=1g tmpfs dev/shm
mkdir dev/pts; mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts; ln -s pts/ptmx dev/ptmx
mount -t proc proc proc
cd /mnt; pivot_root . old; cd /; umount -l old; mount -o remount,ro /; cd /tmp
who=$((1000000000 + $(od -An -N3 -tu4 /dev/urandom)))
exec setpriv USER --pdeathsig KILL --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""


def _places() -> list[str]:
    """What a program may read."""
    places = {*SYSTEM, sys.prefix, sys.base_prefix, str(PACKAGE)}
    return sorted(place for place in places if os.path.exists(place))


def _bubblewrap() -> list[str]:
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--proc", "/proc", "--dev", "/dev"]
    for place in ("/dev/shm", "/tmp"):
        command += ["--size", str(2**30), "--tmpfs", place]
    for place in _places():
        command += ["--ro-bind", place, place]
    return [*command, "--chdir", "/tmp", "--"]


def _namespaces(is_root: bool) -> list[str]:
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--kill-child"]
    command += ["-n", "-p", "-f", "-i", "-u", "-m"]
    user = "--reuid=$who --regid=$who --clear-groups" if is_root else ""
    script = ROOT.replace("USER", user)
    return [*command, *([] if is_root else ["-r"]), "sh", "-c", script, "sh", *_places(), "--"]


def _candidates() -> Iterator[tuple[str, list[str]]]:
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root:
        yield "namespaces", _namespaces(is_root=True)
    user = NOBODY if is_root else []
    yield "bubblewrap", [*user, *_bubblewrap()]
    yield "namespaces", [*user, *_namespaces(is_root=False)]


@cache
def sandbox() -> tuple[str, tuple[str, ...]]:
    """The name of what there is here, and what a command begins with; two empty ones if nothing."""
    for name, command in _candidates():
        with suppress(OSError, subprocess.CalledProcessError):
            subprocess.run(
                [*command, sys.executable, "-c", f"open({str(PROGRAM)!r})"],
                capture_output=True,
                check=True,
                env=_environment("/tmp"),
            )
            return name, tuple(command)
    return "", ()


def check_sandbox(trusted: bool):
    """Raises: ValueError if there is no sandbox and the submissions are not trusted."""
    if not trusted and not sandbox()[0]:
        raise ValueError(
            "a submission is a program, and there is no sandbox here: install bubblewrap (Linux), "
            "grade as another user than root, grade in a container, or write --i-trust-them"
        )


def _environment(home: str) -> dict[str, str]:
    paths = {"HOME": home, "TMPDIR": home, "IPYTHONDIR": home, "USERPROFILE": home}
    kept = {n: os.environ[n] for n in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if n in os.environ}
    return ENVIRONMENT | kept | paths | {"PYTHONPATH": str(PACKAGE.parent)}


def run(work: dict, total: float, begin: float, trusted: bool = False) -> tuple[list[dict], str]:
    """Run the steps of `work`, for `total` seconds from the moment `begin` of the monotonic clock.

    Returns: what the steps said that came to an end; in words why the next one did not, if so
    """
    check_sandbox(trusted)
    prefix = sandbox()[1]
    with (
        tempfile.TemporaryDirectory(prefix="graded-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as steps,
        tempfile.TemporaryFile() as answers,
    ):
        steps.write(json.dumps(work).encode())
        steps.seek(0)
        process = subprocess.Popen(
            [*prefix, sys.executable, "-P", "-s", str(PROGRAM)],
            stdin=steps,
            stdout=answers,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=_environment("/tmp" if prefix else folder),
            start_new_session=True,
        )
        try:
            return _follow(process, answers.fileno(), work, total, begin)
        finally:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _follow(
    process, answers: int, work: dict, total: float, begin: float
) -> tuple[list[dict], str]:
    """Read what the program says until it has ended, or has taken too long."""
    text, said = b"", []
    end, late = begin + total, time.monotonic() + READY
    while True:
        ended = process.poll() is not None
        if new := os.pread(answers, TALK, len(text)):
            text += new
            late = time.monotonic() + work["seconds"] + GRACE
            heard = _answers(text)
            if heard is None or len(heard) > len(work["steps"]):
                return said, "it wrote where only the grader writes"
            said = heard
        if len(said) == len(work["steps"]):
            return said, ""
        if ended:
            return said, "it ended the program"
        if time.monotonic() > end:
            return said, f"all of it took more than {total:g} seconds"
        if time.monotonic() > late:
            return said, f"it did not stop after {work['seconds']:g} seconds"
        time.sleep(PAUSE)


def _answers(text: bytes) -> list[dict] | None:
    """What came of each step; None if another than the program wrote between its lines."""
    try:
        lines = [json.loads(line) for line in text.split(b"\n")[:-1]]
        numbers = [line["number"] for line in lines]  # the first line says that it is ready
        for line in lines[1:]:
            line["points"] = int(line["points"])
            line["problem"], line["output"] = str(line["problem"]), str(line["output"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    in_order = numbers == list(range(len(lines)))
    return lines[1:] if in_order and len(text) < TALK else None
