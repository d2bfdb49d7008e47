"""Code that nobody has read runs here: own processes, files and network, and bounds on all.

bubblewrap where it is, else Linux namespaces: the program sees the interpreter and the package,
read-only, and a home in memory that is thrown away; no network, no other process, no other file.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

READY = 120  # seconds that the start may take
GRACE = 5  # seconds between an interrupt and the end
LINE = 100_000  # characters that one answer may have
PACKAGE = Path(__file__).parents[1]
PROGRAM = Path(__file__).with_name("inside.py")
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PIP_NO_INDEX": "1", "MPLBACKEND": "agg", "LANG": "C.UTF-8"}
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
mount -t proc proc proc
cd /mnt; pivot_root . old; cd /; umount -l old; mount -o remount,ro /; cd /tmp
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""


class Untrusted(ValueError):
    """There is no sandbox here, and nobody has said that there need be none."""


def _places() -> list[str]:
    """What a program may read."""
    places = {*SYSTEM, sys.prefix, sys.base_prefix, str(PACKAGE)}
    return sorted(place for place in places if os.path.exists(place))


def _bubblewrap() -> list[str]:
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--proc", "/proc", "--dev", "/dev", "--size", str(2**30), "--tmpfs", "/tmp"]
    for place in _places():
        command += ["--ro-bind", place, place]
    return [*command, "--chdir", "/tmp", "--"]


def _namespaces() -> list[str]:
    command = ["unshare", "-r", "-n", "-p", "-f", "-i", "-u", "-m", "--kill-child"]
    return [*command, "sh", "-c", ROOT, "sh", *_places(), "--"]


@cache
def sandbox() -> tuple[str, tuple[str, ...]]:
    """The name of what there is here, and what a command begins with; two empty ones if nothing."""
    for name, command in (("bubblewrap", _bubblewrap()), ("namespaces", _namespaces())):
        if shutil.which(command[0]):
            tried = subprocess.run(
                [*command, sys.executable, str(PROGRAM), "--try"],
                capture_output=True,
                env=_environment("/tmp"),
            )
            if tried.returncode == 0:
                return name, tuple(command)
    return "", ()


def check_sandbox(trusted: bool):
    """Raises: Untrusted if there is no sandbox and the submissions are not trusted."""
    if not trusted and not sandbox()[0]:
        raise Untrusted(
            "a submission is a program, and there is no sandbox here: install bubblewrap (Linux), "
            "grade in a container, or write --i-trust-them"
        )


def _environment(home: str) -> dict[str, str]:
    paths = {"HOME": home, "TMPDIR": home, "IPYTHONDIR": home, "USERPROFILE": home}
    kept = {n: os.environ[n] for n in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if n in os.environ}
    return ENVIRONMENT | kept | paths | {"PYTHONPATH": str(PACKAGE.parent)}


def run(work: dict, *, total: float, trusted: bool = False) -> tuple[list[dict], int | None, str]:
    """Run the steps of `work`.

    Returns: what the steps said that came to an end; the number of the step that broke off, if
        one did, and in words why
    """
    check_sandbox(trusted)
    prefix = sandbox()[1]
    said: list[dict] = []
    with tempfile.TemporaryDirectory(prefix="graded-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-P", "-s", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=_environment("/tmp" if prefix else folder),
            start_new_session=True,
        )
        lines: queue.Queue = queue.Queue(maxsize=100)
        given = process, work, lines
        talks = [threading.Thread(target=talk, args=given) for talk in (_tell, _listen)]
        for talk in talks:
            talk.start()
        try:
            return said, *_follow(lines, work, said, total)
        finally:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
            for talk in talks:
                talk.join()


def _follow(
    lines: queue.Queue, work: dict, said: list[dict], total: float
) -> tuple[int | None, str]:
    """Read what the program says until it has ended, or has taken too long."""
    end = time.monotonic() + total
    current, wait = None, READY
    while True:
        try:
            line = lines.get(timeout=max(0, min(wait, end - time.monotonic())))
        except queue.Empty:
            late = time.monotonic() >= end
            limit = f"all of it took more than {total:g}" if late else "it did not stop after"
            return current or 0, limit + (" seconds" if late else f" {work['seconds']:g} seconds")
        if not line:
            done = len(said) == len(work["steps"])
            return (None, "") if done else (current or 0, "it ended the program")
        try:
            answer = json.loads(line)
            if "begin" in answer:
                current, wait = int(answer["begin"]), work["seconds"] + GRACE
            elif answer["number"] == len(said) == current:
                said.append(answer)
        except (ValueError, KeyError, TypeError):
            return current or 0, "it wrote where only the grader writes"


def _tell(process, work: dict, _):
    with suppress(OSError), process.stdin as stream:
        stream.write(json.dumps(work).encode())


def _listen(process, _, lines: queue.Queue):
    with suppress(OSError, ValueError, queue.Full), process.stdout as stream:
        while line := stream.readline(LINE):
            lines.put(line, timeout=GRACE)
        lines.put(b"", timeout=GRACE)
