"""Checkers are checked: the right answer passes, every known mistake gets its own sentence."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from minilearn.check import EXERCISES, check, verdict
from minilearn.check.puzzles import between_canaries

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
MISTAKES = [(name, words) for name, e in EXERCISES.items() for words in e.mistakes]
FORMULAS = [name for name, e in EXERCISES.items() if e.returns == "a tensor"]
LOSSES = [name for name, e in EXERCISES.items() if e.gradients]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", EXERCISES)
def test_the_oracle_is_right(name, seed):
    exercise = EXERCISES[name]
    assert verdict(exercise, exercise.oracle, seed) == (True, "right, to the last digit.")


@pytest.mark.parametrize("name", FORMULAS)
def test_rounding_is_forgiven_and_called_so(name):
    exercise = EXERCISES[name]
    right, sentence = verdict(exercise, lambda *args: exercise.oracle(*args) * (1 + 1e-9))
    assert right and ("rounding" in sentence or name == "borrowed")  # there the draw is free


@pytest.mark.parametrize("name, words", MISTAKES)
def test_a_known_mistake_is_named(name, words):
    """On the four random inputs that a student's attempt meets."""
    said = verdict(EXERCISES[name], EXERCISES[name].mistakes[words])
    assert said == (False, f"not right. It looks as if {words}.")


def test_every_exercise_knows_three_mistakes():
    assert all(len(e.mistakes) >= 3 for e in EXERCISES.values())


def test_the_names_that_the_field_knows_are_there():
    for words in ("sign of the forget term were flipped", "teacher were not detached"):
        assert any(words in mistake for _, mistake in MISTAKES)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_teaches_nothing_is_noticed(name, capsys):
    oracle = EXERCISES[name].oracle
    check(name, lambda *args: oracle(*args).detach())
    assert (
        capsys.readouterr().out == f"{name}: not right. Look at its gradient: the value is right.\n"
    )


@pytest.mark.parametrize("name", EXERCISES)
def test_nothing_comes_out_but_a_sentence(name, capsys):
    exercise = EXERCISES[name]
    oracle = exercise.oracle

    def raises(*args):
        raise KeyError("k")

    def stub(*args):
        raise NotImplementedError

    def greedy(*args):
        value = oracle(*args)
        for tensor in args:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                tensor.add_(1)
        return value

    def lost(*args):
        value = oracle(*args).detach().clone()
        value.view(-1)[0] = torch.nan
        return value

    attempts = {
        "It raised KeyError: 'k'": raises,
        "not attempted": stub,
        f"must return {exercise.returns}, got NoneType": lambda *args: None,
        "It raised TypeError": lambda: None,
        "not callable": 3,
        "It raised SystemExit": lambda *args: sys.exit(),
    }
    if name in FORMULAS:
        attempts["returns the shape"] = lambda *args: torch.zeros(1, 2, 3, 4, 5)
        attempts["returns the shape (9, 9, 1)"] = lambda *args: torch.zeros(9, 9, 1).to_sparse()
        attempts["complex numbers"] = lambda *args: oracle(*args) + 1j
    if name in FORMULAS and name != "borrowed":
        attempts |= {
            "NaN": lost,
            "The largest difference is": lambda *args: oracle(*args).nan_to_num() + 1000.0,
        }
    if exercise.call.__name__ == "plain":
        attempts["changes what it is given"] = greedy
    for sentence, attempt in attempts.items():
        check(name, attempt)
        said = capsys.readouterr().out
        assert said.startswith(f"{name}: not ") and sentence in said, sentence


def test_silly_questions_get_a_sentence():
    with pytest.raises(ValueError, match="no exercise 'align', only draw, "):
        check("align", len)
    for odd in (["draw"], None, 3):
        with pytest.raises(ValueError, match="no exercise"):
            check(odd, len)
    with pytest.raises(ValueError, match="seed"):
        check("draw", len, seed="one")


def test_nan_in_a_gradient_is_called_by_its_name(capsys):
    def chosen_too_late(student, teacher, forget):
        looks = [F.normalize(a.square().mean(1).flatten(1)) for a in (student, teacher.detach())]
        gap = (looks[0] - looks[1]).square().mean(1)
        return torch.where(forget, gap, 0.0).mean()

    check("attention_loss", chosen_too_late)
    assert "The value is, but its gradient holds NaN." in capsys.readouterr().out


def test_a_loop_that_asks_for_ever_is_ended(capsys):
    def for_ever(weight, step, done, every):
        while bool(done(weight)) or True:
            pass

    check("lazy", for_ever)
    assert "has asked 1000 times" in capsys.readouterr().out


@pytest.mark.parametrize("look", [bool, int, float, Tensor.item, Tensor.tolist, Tensor.numpy])
def test_whatever_waits_for_the_flag_is_counted(capsys, look):
    def eager(weight, step, done, every):
        while not look(done(weight)):
            weight = step(weight)
        return weight

    check("lazy", eager)
    assert "It looks as if it asked after every step" in capsys.readouterr().out


def exercises(chapter: Path) -> list[str]:
    """The text of every build exercise of a chapter, with its solution."""
    cells = json.loads(chapter.read_text("utf-8"))["cells"]
    text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    parts = re.split(r"(?m)^(?=\*\*(?:\d\. )?(?:Predict|Build|Explore|Explain)\b|## )", text)
    return [part for part in parts if re.match(r"\*\*(?:\d\. )?Build\b", part)]


CHAPTERS = sorted(NOTEBOOKS.glob("*.ipynb"))
BUILDS = [(path, part) for path in CHAPTERS for part in exercises(path)]


def test_nearly_every_chapter_has_a_build_exercise_and_the_other_one_puzzles():
    with_one = {path.stem[:2] for path, _ in BUILDS}
    assert {path.stem[:2] for path in CHAPTERS} - with_one == {"10"}


@pytest.mark.parametrize("path, part", BUILDS, ids=[path.stem for path, _ in BUILDS])
def test_the_solution_of_a_build_exercise_convinces_its_checker(path, part, capsys):
    (name,) = set(re.findall(r"check\(\"(\w+)\", \w+\)", part))
    assert f'`check("{name}", ' in part.split("<details>")[0], "the exercise does not name it"
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", part, re.S) if f'"{name}"' in b)
    program = block[: block.index(f'check("{name}"')]
    imports = [line for line in program.splitlines() if re.match(r"(from|import) ", line)]
    (call,) = re.findall(rf"^check\(\"{name}\", \w+\)$", block, re.M)
    (function,) = re.findall(r"(?m)^def .*(?:\n(?: .*)?)*", program)
    start = "import torch, torch.nn.functional as F\n" + "\n".join(imports)
    exec(f"{start}\n{function}\n{call}", {})
    assert re.match(f"{name}: right", capsys.readouterr().out)


def puzzles(folder: Path, change=lambda number, solution: [solution]):
    """Run the solutions of chapter 10, or what `change` makes of each, in the chapter's frame."""
    pytest.importorskip("triton")
    cells = json.loads((NOTEBOOKS / "10_kernels_you_can_read.ipynb").read_text("utf-8"))["cells"]
    texts = ["".join(c["source"]) for c in cells]
    (frame,) = (t for t in texts if "def puzzle(" in t)
    solutions = [b for t in texts for b in re.findall(r"```python\n(.*?)```", t, re.S)]
    solved = [b for b in solutions if re.search(r"(?m)^puzzle\(\d, ", b)]
    changed = [part for i, b in enumerate(solved, start=1) for part in change(i, b)]
    module = folder / "solved_puzzles.py"  # a kernel is read from its file
    start = "import triton\nimport triton.language as tl\n"
    module.write_text("\n\n".join([start, frame, *changed]))
    spec = importlib.util.spec_from_file_location("solved_puzzles", module)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_solutions_of_the_puzzles_convince_their_checkers(tmp_path, capsys):
    puzzles(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"puzzle_{i}" for i in range(1, 9)]
    assert all(": right" in line for line in lines), lines


def without(number: int, solution: str, call: str) -> list[str]:
    """The solution with one mask left out, once for every masked `call`."""
    lines = solution.splitlines()
    here = [i for i, line in enumerate(lines) if f"tl.{call}(" in line and "mask=" in line]
    bare = {i: lines[i].partition(", mask=")[0] + ")" for i in here}
    return ["\n".join([*lines[:i], bare[i], *lines[i + 1 :]]) for i in here]


ELSEWHERE = {
    "store": "It writes beyond the ends of `out`: give every store a mask that ends with the row.",
    "load": "It reads beyond the ends of a matrix: give every load a mask that ends with the row.",
}


@pytest.mark.parametrize("call", ELSEWHERE)
def test_a_missing_mask_of_a_puzzle_is_a_sentence(call, tmp_path, capsys):
    puzzles(tmp_path, lambda number, solution: without(number, solution, call))
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(":")[0] for line in lines} >= {f"puzzle_{i}" for i in (1, 2, 3, 6, 7, 8)}
    assert {line.split(": ", 1)[1] for line in lines} == {f"not right. {ELSEWHERE[call]}"}


def test_a_mask_that_is_one_too_wide_is_a_sentence(tmp_path, capsys):
    puzzles(tmp_path, lambda number, b: [b.replace("c < C", "c <= C")] if number < 4 else [])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"puzzle_{i}: not right. {ELSEWHERE['store']}" for i in (1, 2, 3)]


def test_a_puzzle_has_a_number():
    with pytest.raises(ValueError, match="there is no puzzle 9, only 1 to 8"):
        between_canaries(None, 9)


def test_every_checker_is_used_somewhere():
    notebooks = "".join(p.read_text("utf-8") for p in NOTEBOOKS.rglob("*.ipynb"))
    named = set(re.findall(r'check\(\\"(\w+)\\"', notebooks))
    assert {n for n in EXERCISES if not n.startswith("puzzle_")} <= named
