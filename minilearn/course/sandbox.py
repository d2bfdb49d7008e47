"""A fresh kernel for code that nobody has read: limits on time and memory, no network, no home.

What the platform offers is used: on Linux a network namespace of its own and a bound on memory.
`protection` says what there is. It keeps accidents and curiosity in; whoever expects malice grades
in a container or a virtual machine.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

READY = 120  # seconds that a kernel may take to start
GRACE = 5  # seconds between an interrupt and the end
KEPT = ("PATH", "LANG", "LC_ALL", "OMP_NUM_THREADS", "LD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONPATH")
PRELUDE = """
def _limit(memory):
    def leave(*code):
        raise SystemExit("exit() was called")
    get_ipython().user_ns.update(exit=leave, quit=leave)
    try:
        import resource
        pages = int(open("/proc/self/statm").read().split()[0])
        bound = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
        resource.setrlimit(resource.RLIMIT_FSIZE, (memory, memory))
    except (ImportError, OSError, ValueError):
        pass
import torch
_limit({memory}); del _limit, torch
"""


class Died(Exception):
    """The kernel is no more."""


@cache
def _prefix() -> tuple[str, ...]:
    """What a command begins with so that it has no network; nothing where that cannot be."""
    command = (shutil.which("unshare") or "unshare", "-r", "-n", "--")
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run([*command, sys.executable, "-c", ""], check=True, capture_output=True)
        return command
    return ()


def protection() -> str:
    """In a sentence, what submissions are kept from on this machine."""
    network = "no network" if _prefix() else "the network within reach"
    memory = "a bound on memory" if sys.platform == "linux" else "no bound on memory"
    return f"Submissions run with {network}, {memory} and a home that is thrown away."


class Kernel:
    """A kernel in a folder of its own, to be used in a `with` block."""

    def __init__(self, memory: int, environment: dict[str, str] | None = None):
        from jupyter_client import KernelManager
        from jupyter_client.kernelspec import KernelSpec

        self.memory = memory
        self.folder = Path(tempfile.mkdtemp(prefix="graded-"))  # short: sockets have short names
        launcher = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        on_unix = os.name == "posix"
        transport = {"transport": "ipc"} if on_unix else {}  # a socket file needs no network
        self.manager = KernelManager(connection_file=str(self.folder / "k.json"), **transport)
        self.manager._kernel_spec = KernelSpec(argv=[*(_prefix() if on_unix else ()), *launcher])
        home = {name: str(self.folder) for name in ("HOME", "TMPDIR", "IPYTHONDIR", "USERPROFILE")}
        outside = {name: os.environ[name] for name in KEPT if name in os.environ}
        # one thread: as quick for small networks, and as fair on a busy machine
        self.environment = {"OMP_NUM_THREADS": "1"} | outside | home | (environment or {})

    def __enter__(self) -> Kernel:
        try:
            self.manager.start_kernel(env=self.environment, cwd=str(self.folder))
            self.client = self.manager.client()
            self.client.start_channels(iopub=False, stdin=False, hb=False, control=False)
            self._answer(self.client.kernel_info(), READY)  # outputs are never listened to
            self.run(PRELUDE.format(memory=self.memory), READY)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        with suppress(Exception):
            self.client.stop_channels()
        with suppress(Exception):
            self.manager.shutdown_kernel(now=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, code: str, seconds: float) -> str:
        """Run a cell; "" if it went well, else in words why not.

        Raises: Died if the kernel ended
        """
        message = self.client.execute(
            code, silent=True, store_history=False, allow_stdin=False, stop_on_error=False
        )
        answer = self._answer(message, seconds)
        if answer is None:
            self.manager.interrupt_kernel()
            if self._answer(message, GRACE) is None:
                self.manager.shutdown_kernel(now=True)
                raise Died(f"it took more than {seconds:g} seconds and could not be interrupted")
            return f"it took more than {seconds:g} seconds"
        if answer.get("status") == "ok":
            return ""
        words = " ".join(str(answer.get("evalue", "")).split())[:200]
        return f"{answer.get('ename', 'error')}{': ' if words else ''}{words}"

    def _answer(self, message: str, seconds: float) -> dict | None:
        """The kernel's answer to a message, None if it takes too long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(queue.Empty):
                reply = self.client.get_shell_msg(timeout=0.2)
                if reply["parent_header"].get("msg_id") == message:
                    return reply["content"]
            if not self.manager.is_alive():
                raise Died("it ended the kernel")
        return None
