"""What runs in the sandbox: a submission, cell by cell, with the tests at their places.

A program of its own. It reads steps from standard input, and writes one line of JSON when it is
ready and one when a step has ended. A test runs in a copy of the student's names, in which the
source's imports and given names are what they were, with the functions of given modules, and
Python's own names are Python's.
"""

import builtins
import contextlib
import io
import json
import os
import resource
import signal
import sys
import traceback
from types import ModuleType

LENGTH = 2000  # characters of output that are kept of a cell


class _Late(BaseException):
    """A cell took too long."""


class _Short(io.StringIO):
    """Keeps the beginning of what is written."""

    def write(self, text):
        if self.tell() < LENGTH:
            super().write(text[: LENGTH - self.tell()])
        return len(text)


def words(error: BaseException, names: dict) -> str:
    """An error in a sentence for who wrote the code."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, NotImplementedError):
        return "not attempted"
    if isinstance(error, TypeError) and "not callable" in text:
        bound = [n for n in names if hasattr(builtins, n) and n[0] != "_"]
        hidden = sorted(n for n in bound if not callable(names[n]))
        if hidden:
            return f"your {', '.join(hidden)} hides Python's own ({text})"
    if not isinstance(error, AssertionError) and "NoneType" in text:
        return f"something is None: does a function lack its return? ({text})"
    of_torch = isinstance(error, RuntimeError) and ("size" in text or "shape" in text)
    if of_torch or (isinstance(error, ValueError) and "shapes" in text):
        return f"a shape is wrong: {text}"
    if isinstance(error, NameError):
        return f"{text}: is the cell that defines it missing, or did it fail?"
    return f"{type(error).__name__}{': ' if text else ''}{text}"


def _limit(memory: int):
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm") as pages:
        now = int(pages.read().split()[0]) * resource.getpagesize()
        limits = ("RLIMIT_AS", now + memory), ("RLIMIT_FSIZE", memory), ("RLIMIT_NPROC", 64)
        for name, bound in limits:
            resource.setrlimit(getattr(resource, name), (bound, bound))


def _cell(shell, step: dict, _):
    result = shell.run_cell(step["code"])
    shell.displayhook.flush()
    return result.error_before_exec or result.error_in_exec


def _test(shell, step: dict, given: dict):
    """Run a test part by part; the error of the first part that fails, and the points."""
    if step["name"] in PASSED:
        return None
    for module, functions in FUNCTIONS:
        vars(module).update(functions)
    own = {n: v for n, v in shell.user_ns.items() if n in given or not hasattr(builtins, n)}
    scope = own | given | {"__builtins__": vars(builtins) | ORIGINAL, "__name__": "__main__"}
    exec(step["imports"], scope)
    os.environ["MINILEARN_KEY"] = step["key"]
    points, first = 0, None
    try:
        for worth, code in step["parts"]:
            try:
                exec(compile(code, "<test>", "exec"), scope)
                points += worth
            except _Late:
                raise
            except BaseException as error:
                first = first or _told(error, code)
    finally:
        del os.environ["MINILEARN_KEY"]
        step["points"] = points
    if first is None:
        PASSED.add(step["name"])
    return first


def _told(error: BaseException, code: str) -> BaseException:
    """The error; an assertion without words with its own line."""
    if not isinstance(error, AssertionError) or error.args:
        return error
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == "<test>"]
    return AssertionError(code.splitlines()[lines[-1] - 1].strip()) if lines else error


def _functions(module: ModuleType) -> dict:
    return {name: value for name, value in vars(module).items() if callable(value)}


ORIGINAL = dict(vars(builtins))
FUNCTIONS = [(builtins, ORIGINAL)]  # by module: what a student may have replaced
PASSED = set()  # the names of tests that need no second attempt
RUN = {"cell": _cell, "given": _cell, "test": _test}


def main():
    """Run the steps that stand on standard input."""
    work = json.loads(sys.stdin.buffer.read())
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    if work["torch"]:
        import torch  # noqa: F401  its size does not count as the student's
    from IPython.core.interactiveshell import InteractiveShell

    class Shell(InteractiveShell):
        def enable_gui(self, gui=None):
            """There is no window here."""

    sys.path.insert(0, os.getcwd())
    shell = Shell.instance()
    shell.history_manager.enabled = False
    given = {}
    _limit(work["memory"])
    signal.signal(signal.SIGALRM, _late)
    print(json.dumps({"number": 0}), file=lines)
    for number, step in enumerate(work["steps"], 1):
        before = dict(shell.user_ns)
        output, problem = _run(shell, step, given, work["seconds"])
        if step["kind"] == "given":
            after = shell.user_ns.items()
            new = {n: v for n, v in after if n[0] != "_" and before.get(n, lines) is not v}
            FUNCTIONS.extend((v, _functions(v)) for v in new.values() if isinstance(v, ModuleType))
            given |= new
        said = {"number": number, "problem": problem, "points": step.get("points", 0)}
        print(json.dumps(said | {"output": output}), file=lines)


def _run(shell, step: dict, given: dict, seconds: float) -> tuple[str, str]:
    """What a step printed, and in words what was wrong with it."""
    out = _Short()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            signal.setitimer(signal.ITIMER_REAL, seconds)
            error = RUN[step["kind"]](shell, step, given)
            signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException as other:
        error = other
    signal.setitimer(signal.ITIMER_REAL, 0)
    if isinstance(error, _Late):
        return out.getvalue(), f"it took more than {seconds:g} seconds"
    return out.getvalue(), "" if error is None else words(error, shell.user_ns)


def _late(*_):
    raise _Late


if __name__ == "__main__":
    main()
