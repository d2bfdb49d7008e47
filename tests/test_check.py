"""Checkers are checked: the right answer passes, every known mistake gets its own sentence."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from minilearn.check import EXERCISES, check, verdict

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


def test_the_solutions_of_the_puzzles_convince_their_checkers(tmp_path, capsys):
    pytest.importorskip("triton")
    cells = json.loads((NOTEBOOKS / "10_kernels_you_can_read.ipynb").read_text("utf-8"))["cells"]
    texts = ["".join(c["source"]) for c in cells]
    (frame,) = (t for t in texts if "def puzzle(" in t)
    solutions = [b for t in texts for b in re.findall(r"```python\n(.*?)```", t, re.S)]
    solved = [b for b in solutions if re.search(r"(?m)^puzzle\(\d, ", b)]
    start = "import torch, triton\nimport triton.language as tl\nDEVICE = torch.device('cpu')\n"
    module = tmp_path / "solved_puzzles.py"  # a kernel is read from its file
    module.write_text("\n\n".join([start, frame, *solved]))
    spec = importlib.util.spec_from_file_location("solved_puzzles", module)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"puzzle_{i}" for i in range(1, 9)]
    assert all(": right" in line for line in lines), lines


def test_every_checker_is_used_somewhere():
    notebooks = "".join(p.read_text("utf-8") for p in NOTEBOOKS.rglob("*.ipynb"))
    named = set(re.findall(r'check\(\\"(\w+)\\"', notebooks))
    assert {n for n in EXERCISES if not n.startswith("puzzle_")} <= named
