"""The papers' rows: each runs from end to end on made files, and says what it wants without any."""

import pytest
import torch
from torch import nn

from book.experiments import KNOWN, Run, faces, l2ul_images, made, units_of
from book.experiments.__main__ import main
from book.experiments.papers import ROWS, TERMS, brief, row_of
from minilearn.data import Examples
from minilearn.methods import L2UL
from minilearn.methods.blindspot import Blindspot
from minilearn.models import build
from minilearn.sweep import COLUMNS, read_rows
from minilearn.training import Training

NAMES = [row.experiment for row in ROWS]
# the attacks of toys are too short to arrive
pytestmark = [
    pytest.mark.filterwarnings("ignore:only .* adversarial images reach"),
    pytest.mark.filterwarnings("ignore:.*forget.* retain"),
]
METHODS = {
    "LAF": {"original", "retrained", "laf", "laf_repair"},
    "DRU": {"original", "retrained", "finetune", "amnesiac", "blindspot_model", "blindspot"},
    "L2UL": {"original", "neggrad", "l2ul_adv", "l2ul", "correct_label"},
}


@pytest.mark.parametrize("name", NAMES)
def test_a_row_runs_from_end_to_end_on_made_files(name, tmp_path):
    written = main([name, "--made", "--seeds", "1", "--out", str(tmp_path)])
    rows, about = read_rows(tmp_path / f"{name}.csv"), row_of(name)
    assert written == len({tuple(row[c] for c in COLUMNS[1:5] + ("config",)) for row in rows})
    assert {row["dataset"] for row in rows} == {f"made {about.dataset}"}
    assert all(row["config"].startswith("size=toy, made files; ") for row in rows)
    assert all(row["command"].endswith(" --made") for row in rows)
    assert {row["metric"] for row in rows} <= KNOWN
    assert {row["method"] for row in rows} - {"neggrad"} == METHODS[about.work] - {"neggrad"}
    requests = {row["request"] for row in rows}
    if name in faces.ROWS:
        assert {"mae", "wasserstein", "svc", "svc_published"} < {row["metric"] for row in rows}
    if about.work == "LAF":
        assert {request.split(":")[0] for request in requests} == {"random", "class", "noisy"}
    if about.work == "L2UL":
        asked = {request.split(" ")[0] for request in requests}
        assert {"misclassify", "relabel", "a"} < asked
        groupings = {request.partition(", ages by ")[2] for request in requests}
        assert groupings == (set(l2ul_images.AGE_GROUPS) if "utkface" in name else {""})


@pytest.mark.parametrize("name", NAMES)
def test_without_the_files_one_sentence_says_which_where_and_by_what_terms(
    name, tmp_path, monkeypatch
):
    monkeypatch.setenv("MINILEARN_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as refused:
        main([name, "--size", "paper", "--out", str(tmp_path / "out")])
    sentence = str(refused.value.code)
    assert len(sentence.splitlines()) == 1 and str(tmp_path) in sentence
    assert TERMS[row_of(name).dataset] in sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [name for name, c in l2ul_images.ROWS.items() if c.weights])
def test_without_the_weights_one_sentence_says_so(name):
    with made.files(row_of(name)) as folder:
        (folder / l2ul_images.ROWS[name].weights).unlink()
        with pytest.raises(ValueError, match="pretrained/.* licence"):
            units_of(name, Run(range(1), made=True))


def test_weights_of_another_network_are_refused():
    name = "l2ul_imagenet_resnet50"
    with made.files(row_of(name)) as folder:
        torch.save(nn.Linear(2, 2).state_dict(), folder / l2ul_images.ROWS[name].weights)
        unit = units_of(name, Run(range(1), made=True))[0]
        with pytest.raises(ValueError, match="does not hold the weights of the network of"):
            unit.measure()


def test_no_made_row_goes_to_the_book():
    with pytest.raises(SystemExit, match="--made needs a folder of your own"):
        main(["stsb", "--made"])


def test_the_sums_of_real_files_hold_again_afterwards():
    from torchvision.datasets import CIFAR10, SVHN

    from minilearn.data import vision

    before = (CIFAR10.train_list, CIFAR10.meta, SVHN.split_list, dict(vision.IDX_FILES))
    for name in ("laf_cifar10", "laf_svhn", "laf_mnist"):
        with made.files(row_of(name)):
            pass
    assert before == (CIFAR10.train_list, CIFAR10.meta, SVHN.split_list, dict(vision.IDX_FILES))


# ---- recipes and networks


@pytest.mark.parametrize("name", l2ul_images.ROWS)
def test_a_row_of_l2ul_has_the_released_recipe(name):
    case = l2ul_images.ROWS[name]
    own = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet": "imagenet"}
    expected = own | {"utkface": "utkface"}
    assert case.released == ("vit" if "vit" in name else expected[row_of(name).dataset])
    L2UL.paper(case.released)
    if name.startswith("l2ul_cifar") and not case.weights:
        assert case.training == Training.paper(row_of(name).dataset, "l2ul")
    assert set(case.counts) >= {16, 64, 128, 256}


SIZES = {"l2ul_cifar10_resnet18": 11_173_962, "l2ul_cifar100_resnet50": 23_705_252}
SIZES |= {"l2ul_imagenet_resnet50": 25_557_032, "l2ul_cifar100_vit": 85_875_556}


@pytest.mark.parametrize("name, count", SIZES.items())
def test_a_network_of_l2ul_is_the_papers(name, count):
    net = l2ul_images.ROWS[name].network("paper", 0)
    assert sum(p.numel() for p in net.parameters()) == count


def test_the_networks_for_ages_answer_and_have_the_papers_maps():
    for name, maps in (("allcnn", 8), ("resnet18", 9), ("mobilenet_v3", 17)):
        make, layers = faces.NETWORKS[name]
        net = build(make, 0).eval()
        assert len(layers) == maps and net(torch.rand(2, 3, 64, 64)).shape == (2,)
    plain = sum(p.numel() for p in faces.resnet().parameters())
    assert plain == 11_689_512 - 1000 * 513 + 513  # torchvision's with one answer


def test_the_papers_recipes_are_those_of_the_faces():
    sets = [None, None, None]
    case = faces.case(Run(range(1), size="paper"), "agedb", "allcnn", (0, 31), sets)
    assert case.recipe == Training.paper("agedb", "blindspot")
    assert case.configs["finetune"] == Training.paper("agedb", "finetune")
    assert case.configs["blindspot"].teacher == Blindspot.paper("agedb").teacher
    assert case.published["blindspot", "test_forget"] == 21.632
    other = faces.case(Run(range(1), size="paper"), "agedb", "allcnn", (60, 102), sets)
    assert not other.published


def test_new_labels_are_other_ones_drawn_by_the_seed():
    items = Examples(torch.rand(200, 4), torch.arange(200) % 5)
    model = nn.Linear(4, 5)
    labels = [l2ul_images.new_labels(lambda: model, seed, items) for seed in (0, 0, 1)]
    assert torch.equal(labels[0], labels[1]) and not torch.equal(labels[0], labels[2])
    assert not (labels[0] == items.targets).any() and set(labels[0].tolist()) == set(range(5))


def test_a_brief_recipe_keeps_what_makes_it_the_papers():
    released = L2UL.paper("imagenet")
    short = brief(released)
    assert short.attack.eps == released.attack.eps and short.attack.steps == 2
    assert (short.batch_norm, short.importance) == (released.batch_norm, released.importance)
    assert brief(brief(released)) == short
