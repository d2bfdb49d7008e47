"""Try a function on random inputs, and say what is wrong with it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from minilearn.check.assignments import ASSIGNMENTS
from minilearn.check.audits import AUDITS
from minilearn.check.chapters import CHAPTERS
from minilearn.check.exercise import Exercise, Fault
from minilearn.check.programs import PROGRAMS
from minilearn.check.puzzles import PUZZLES
from minilearn.checks import check_count

EXERCISES = ASSIGNMENTS | AUDITS | CHAPTERS | PROGRAMS | PUZZLES
CASES = 4  # random inputs, of other shapes each
CLOSE = 1e-6  # relative, in double precision


def check(name: str, attempt: Callable, *, seed: int = 0):
    """Try a function on random inputs in double precision, and say in a sentence how it did.

    It gets copies, so that nothing is lost if it changes them, and no error comes out of it: an
    exception in `attempt` is part of the answer. Of a loss the gradient is compared as well.

    Raises: ValueError if there is no exercise of that name, or the seed is not a whole number
    Example:
        >>> check("extraction", lambda kept, gone: (kept / (kept + 1)).exp().sum())
        extraction: not right. It looks as if the forgotten ones were left out.
    """
    if not isinstance(name, str) or name not in EXERCISES:
        raise ValueError(f"there is no exercise {name!r}, only {', '.join(EXERCISES)}")
    print(f"{name}: {verdict(EXERCISES[name], attempt, check_count('seed', seed, 0))[1]}")


def verdict(exercise: Exercise, attempt: Callable, seed: int = 0) -> tuple[bool, str]:
    """Whether it is right, and what there is to say."""
    order = torch.Generator().manual_seed(seed)
    cases = [exercise.make(order) for _ in range(CASES)]
    expected = [_tried(exercise, exercise.oracle, case) for case in cases]
    found = []
    for case in cases:
        try:
            answer, beside, kept = _tried(exercise, attempt, case)
        except Fault as fault:
            return False, f"not right. {fault}"
        except (Exception, SystemExit) as error:
            if isinstance(error, NotImplementedError) and not error.args:  # torch's have words
                return False, "not attempted"
            words = " ".join(str(error).split())[:200]
            return False, f"not right. It raised {type(error).__name__}{': ' * bool(words)}{words}"
        if not isinstance(answer, Tensor):
            got = type(answer).__name__
            return False, f"not right. It must return {exercise.returns}, got {got}."
        if not kept:
            return False, "not right. It changes what it is given: work on a copy."
        found.append((answer, beside))
    alike = [(a, e[0]) for (a, _), e in zip(found, expected, strict=True)]
    if _agree(found, expected):
        if all(_same(*pair) for pair in alike):
            return True, "right, to the last digit."
        return True, f"right; the largest difference is {_gap(alike)}: rounding."
    value_is_right = all(_close(*pair) for pair in alike)
    for mistake, wrong in exercise.mistakes.items():
        if _agree(found, [_tried(exercise, wrong, case) for case in cases], value_is_right):
            return False, f"not right. It looks as if {mistake}."
    for a, b in alike:
        if a.shape != b.shape:
            shapes = f"{tuple(a.shape)} where {tuple(b.shape)} is asked for"
            return False, f"not right. It returns the shape {shapes}."
    if value_is_right and any(b.isnan().any() for _, b in found):
        return False, "not right. The value is, but its gradient holds NaN."
    if value_is_right:
        return False, f"not right. Look at {exercise.beside}."
    if lost := sum(int((a.isnan() & ~b.isnan()).sum()) for a, b in alike):
        return False, f"not right. {lost} of {sum(a.numel() for a, _ in alike)} numbers are NaN."
    return False, f"not right. The largest difference is {_gap(alike)}."


def _tried(exercise: Exercise, function: Callable, case: tuple) -> tuple:
    """What a function returns, what is seen beside it, and whether it left its arguments alone."""
    given = list(copy.deepcopy(case))
    learnt = [given[i].requires_grad_() for i in exercise.gradients]
    for i, leaf in zip(exercise.gradients, learnt, strict=True):
        given[i] = leaf.clone()  # a leaf may not be changed, and we want to see who does
    answer, beside = exercise.call(lambda *args: _dense(function(*args)), *given)
    kept = all(_same(a, b) for a, b in zip(given, case, strict=True) if isinstance(a, Tensor))
    is_loss = kept and isinstance(answer, Tensor) and answer.numel() == 1
    if learnt and is_loss and answer.requires_grad:
        found = torch.autograd.grad(answer.sum(), learnt, materialize_grads=True)
        beside = torch.cat([gradient.flatten() for gradient in found])
    elif learnt:
        beside = torch.zeros(sum(leaf.numel() for leaf in learnt), dtype=torch.float64)
    return answer.detach() if isinstance(answer, Tensor) else answer, beside, kept


def _dense(answer):
    """An answer where it can be compared; what is not a tensor is left as it is."""
    if not isinstance(answer, Tensor):
        return answer
    if answer.is_complex():
        raise TypeError("complex numbers")
    return answer.cpu().to_dense()


def _agree(found: list[tuple], expected: list[tuple], beside: bool = True) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(_close(a, e[0]) and not (beside and not _close(b, e[1])) for (a, b), e in pairs)


def _gap(pairs: list[tuple[Tensor, Tensor]]) -> str:
    gaps = [(a.double() - b.double()).abs().nan_to_num().max() for a, b in pairs]
    return f"{float(max(gaps)):.2g}"


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | (a != a) & (b != b)).all())


def _close(a: Tensor, b: Tensor) -> bool:
    a, b = a.double(), b.double()
    return a.shape == b.shape and torch.allclose(a, b, rtol=CLOSE, atol=1e-9, equal_nan=True)
