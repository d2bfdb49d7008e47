"""What chapters write out is what the experiments have: no notebook can import experiments."""

import ast
import json
import statistics
from operator import itemgetter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from book.experiments import laf_digits, released_l2ul, released_laf
from minilearn import methods
from minilearn.data import Examples
from minilearn.methods import PGD
from minilearn.results import read_rows
from minilearn.training import Training

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"


def source_of(notebook: str, name: str) -> str:
    """The one statement of a notebook's code that defines a name."""
    cells = json.loads((NOTEBOOKS / notebook).read_text(encoding="utf-8"))["cells"]
    found = []
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] != "code" or "%pip" in text:
            continue
        for node in ast.parse(text).body:
            names = [node.name] if hasattr(node, "name") else []
            names += [ast.unparse(target) for target in getattr(node, "targets", [])]
            if name in names:
                found.append(ast.unparse(node))
    assert len(found) == 1, f"{notebook} defines {name} {len(found)} times"
    return found[0]


def defined(notebook: str, *names: str, **known) -> dict:
    """What these statements of a notebook make, one after another, of what is known."""
    for name in names:
        exec(source_of(notebook, name), known)
    return known


@pytest.mark.parametrize(
    "notebook",
    [
        "08_forgetting_without_labels.ipynb",
        "09_a_class_and_wrong_labels.ipynb",
        "assignments/a3_forget_without_labels.ipynb",
    ],
)
def test_the_recipe_of_the_digits_is_the_experiment_s(notebook):
    assert defined(notebook, "RECIPE", Training=Training)["RECIPE"] == laf_digits.RECIPE


def test_chapter_9_has_the_experiment_s_settings():
    known = {"Training": Training, "methods": methods, "LAF": methods.LAF}
    made = defined("09_a_class_and_wrong_labels.ipynb", "RECIPE", "OTHERS", "config", **known)
    assert made["OTHERS"] == laf_digits.OTHERS
    assert list(made["OTHERS"]) == list(laf_digits.OTHERS)
    recipe = laf_digits.recipe("class")
    for rate in ("lr_extraction", "lr_alignment", "temperature"):
        assert getattr(made["config"], rate) == pytest.approx(getattr(recipe, rate))


@pytest.fixture
def pictured() -> tuple[nn.Module, Examples]:
    """A network, and images of whole grey values."""
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))
    return net, Examples(torch.randint(0, 256, (5, 1, 6, 6)) / 255, torch.arange(5))


def test_chapter_11_attacks_as_the_released_code_does(pictured):
    net, items = pictured
    attack = PGD(0.7, steps=4, repeats=3)
    known = {"torch": torch, "F": F, "attack": attack, "items": items, "victim": net}
    made = defined("11_where_the_time_goes.ipynb", "norm", "ball", "as_released", **known)
    found = []
    for call in (made["as_released"], lambda: released_l2ul.attack(net, items, attack, 16)):
        torch.manual_seed(1)
        found.append(call())
    for (mine, my_aim), (theirs, their_aim) in zip(*found, strict=True):
        assert my_aim == their_aim
        torch.testing.assert_close(torch.from_numpy(mine), torch.from_numpy(theirs))


def test_chapter_11_reads_images_as_the_released_code_does(pictured):
    from torchvision.transforms import functional

    _, items = pictured
    known = {"Dataset": Dataset, "pil": functional}
    mine = defined("11_where_the_time_goes.ipynb", "Images", **known)["Images"](items)
    theirs = released_laf.Images(items, list(range(5)))
    assert len(mine) == len(theirs) == 5
    for (image, label), (their_image, their_label) in zip(mine, theirs, strict=False):
        assert torch.equal(image, their_image) and label == their_label


def test_what_chapter_6_says_of_the_results_page_stands_there():
    """A smaller weight, a smaller rate, a stronger anchor: more accuracy, and more items left."""
    rows = read_rows(ROOT / "book/results/l2ul_digits.csv")

    def mean(label: str, split: str) -> float:
        asked = ("4 random items", "l2ul", split, "accuracy")
        fields = itemgetter("request", "method", "split", "metric")
        kept = [row for row in rows if fields(row) == asked]
        found = [row for row in kept if row["config"].split("; ")[1] == label]
        assert len(found) == 5, f"{label}: {len(found)} seeds"
        return statistics.mean(float(row["value"]) for row in found)

    for label in ("forget_weight 0.2", "lr 0.0003", "anchor 10.0"):
        for split in ("test", "forget"):
            assert mean(label, split) > mean("base", split), (label, split)
