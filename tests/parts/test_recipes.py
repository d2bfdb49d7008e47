"""Every published setting beside the recipe that claims it: one table, complete over all names."""

from dataclasses import fields, is_dataclass
from operator import attrgetter

import pytest

from minilearn import methods
from minilearn.losses import Quantile
from minilearn.methods import L2UL, LAF, PGD, Amnesiac, Blindspot, NegGrad, Repair
from minilearn.parts import recipes
from minilearn.training import Plateau, Training

TABLES = {
    Blindspot: recipes.BLINDSPOT,
    Amnesiac: recipes.AMNESIAC,
    NegGrad: recipes.NEGGRAD,
    L2UL: recipes.L2UL,
    LAF: recipes.LAF,
    Repair: recipes.REPAIR,
    Training: recipes.TRAINING,
}
NONE = object()  # the authors' file has no such recipe

PAPER = "Tarun et al. 2023, experiments"
AGEDB = "AgeDB_AllCNN_0to30_forgetting.ipynb"
STSB = "STSB_LSTM_Unlearn_0_to_2.ipynb"
DRU = [("agedb",), ("imdb_wiki",), ("stsb",), ("electricity",)]
NOTEBOOKS = [("agedb",), ("stsb",)]
OTHERS = [("imdb_wiki",), ("electricity",)]


def _with(names: list, last: str) -> list:
    return [(*name, last) for name in names]


def _both(config, names, other, field, value, where) -> list[tuple]:
    """A setting for names with a file of the authors, and for others, which have none."""
    rows = [(config, names, field, value, value, where)]
    return [*rows, (config, other, field, value, NONE, where)] if other else rows


SCRIPTS = "run_unlearn_cifar_imagenet.sh, run_unlearn_utkface.sh"
CIFAR10 = "main_unlearn_cifar10_mixed_label_resnet18.py"
L2UL_SETS = [("cifar10",), ("cifar100",), ("vit",), ("imagenet",), ("utkface",)]
NOT_FACES, FACES = L2UL_SETS[:-1], L2UL_SETS[-1:]

SHEN = "Shen et al. 2024, experiments; hyperparameter.md"
SMALL, LARGE = ("mnist", "fashion_mnist"), ("cifar10", "svhn")
TASKS = ("random", "class", "noisy")


def _laf(names: tuple, *tasks: str) -> list[tuple]:
    return [(name, task) for name in names for task in tasks or TASKS]


# config; names; field; the paper's value; the authors' file's; where it stands
ROWS = [
    # -- deep regression unlearning
    (Blindspot, [("agedb",)], "epochs", 1, 1, f"{PAPER}; {AGEDB}"),
    (Blindspot, [("stsb",)], "epochs", 1, 5, f"{PAPER}; {STSB}"),
    (Blindspot, OTHERS, "epochs", 1, NONE, PAPER),
    *_both(Blindspot, NOTEBOOKS, OTHERS, "lr", 1e-3, PAPER),
    *_both(Blindspot, NOTEBOOKS, OTHERS, "batch_size", 256, f"{AGEDB}; {STSB}"),
    *_both(Blindspot, NOTEBOOKS, OTHERS, "beta", 50, "unlearn.py:56"),
    *_both(Blindspot, NOTEBOOKS, OTHERS, "axis", 1, "unlearn.py:48-53"),
    *_both(
        Blindspot, [("agedb",)], [("imdb_wiki",)], "loss", "absolute", f"{PAPER}; unlearn.py:68"
    ),
    *_both(Blindspot, [("stsb",)], [], "loss", "squared", STSB),
    (Blindspot, [("electricity",)], "loss", Quantile((0.1, 0.5, 0.9)), NONE, "utils.py:12-31"),
    *_both(
        Blindspot, [("stsb",)], [], "layers", ("lstm.first", "lstm.second"), "models.py:595-623"
    ),
    (Blindspot, [("agedb",)], "teacher.epochs", 2, 2, f"{PAPER}; {AGEDB}"),
    (Blindspot, [("stsb",)], "teacher.epochs", 2, 10, f"{PAPER}; {STSB}"),
    (Blindspot, OTHERS, "teacher.epochs", 2, NONE, PAPER),
    *_both(Blindspot, NOTEBOOKS, OTHERS, "teacher.lr", 1e-2, PAPER),
    *_both(Blindspot, NOTEBOOKS, OTHERS, "teacher.optimizer", "adam", PAPER),
    *_both(Blindspot, NOTEBOOKS, OTHERS, "teacher.batch_size", 256, f"{AGEDB}; {STSB}"),
    (Amnesiac, [("agedb",)], "epochs", 1, 1, f"{PAPER}; {AGEDB}"),
    (Amnesiac, [("stsb",)], "epochs", 1, 5, f"{PAPER}; {STSB}"),
    (Amnesiac, OTHERS, "epochs", 1, NONE, PAPER),
    *_both(Amnesiac, NOTEBOOKS, OTHERS, "lr", 1e-3, PAPER),
    *_both(Amnesiac, NOTEBOOKS, OTHERS, "batch_size", 256, f"{AGEDB}; {STSB}"),
    *_both(Amnesiac, NOTEBOOKS, OTHERS, "gaussian", "train", f"{AGEDB}, cells 26-28"),
    *_both(Amnesiac, NOTEBOOKS, OTHERS, "clip", False, f"{AGEDB}, cells 26-28"),
    *_both(
        Amnesiac, [("agedb",)], [("imdb_wiki",)], "loss", "absolute", f"{PAPER}; utils.py:33-37"
    ),
    *_both(Amnesiac, [("stsb",)], [], "loss", "squared", STSB),
    (Amnesiac, [("electricity",)], "loss", Quantile((0.1, 0.5, 0.9)), NONE, "utils.py:12-31"),
    (NegGrad, DRU, "epochs", 1, NONE, PAPER),
    (NegGrad, DRU, "lr", 1e-3, NONE, PAPER),
    (NegGrad, DRU, "batch_size", 256, NONE, f"{AGEDB}, of the other methods"),
    (NegGrad, [("agedb",), ("imdb_wiki",)], "loss", "absolute", NONE, f"{PAPER}; utils.py:33-37"),
    (NegGrad, [("stsb",)], "loss", "squared", NONE, STSB),
    (NegGrad, [("electricity",)], "loss", Quantile((0.1, 0.5, 0.9)), NONE, "utils.py:12-31"),
    *(
        row
        for kind, epochs, rate in (("blindspot", 100, 1e-2), ("finetune", 5, 1e-3))
        for field, value, where in (
            ("epochs", epochs, PAPER),
            ("lr", rate, PAPER),
            ("optimizer", "adam", PAPER),
            ("weight_decay", 0, "utils.py:70-105"),
            ("batch_size", 256, f"{AGEDB}; {STSB}"),
        )
        for row in _both(Training, _with(NOTEBOOKS, kind), _with(OTHERS, kind), field, value, where)
    ),
    *_both(
        Training,
        _with(NOTEBOOKS, "blindspot"),
        _with(OTHERS, "blindspot"),
        "schedule",
        Plateau(0.1, 10, "validation"),
        f"{PAPER}; the patience: utils.py:76",
    ),
    *(
        row
        for kind in ("blindspot", "finetune")
        for row in (
            *_both(
                Training,
                [("agedb", kind)],
                [("imdb_wiki", kind)],
                "loss",
                "absolute",
                f"{PAPER}; utils.py:33-37",
            ),
            *_both(Training, [("stsb", kind)], [], "loss", "squared", STSB),
            (Training, [("electricity", kind)], "loss", Quantile(), NONE, "utils.py:12-31"),
        )
    ),
    # -- L2UL, whose settings are known from the scripts alone
    *(
        (L2UL, names, field, value, value, where)
        for names, field, value, where in (
            (NOT_FACES, "attack.eps", 4.0, SCRIPTS),
            (FACES, "attack.eps", 2.0, SCRIPTS),
            (L2UL_SETS, "attack.step", 0.1, f"{CIFAR10}:53"),
            (L2UL_SETS, "attack.steps", 100, f"{CIFAR10}:55"),
            (L2UL_SETS, "attack.floor", 1e-6, "AdverTorch e063e34, utils.py, normalize_by_pnorm"),
            (L2UL_SETS, "attack.order", "clamp_project", "AdverTorch e063e34, iterative_projected"),
            (L2UL_SETS, "attack.box", (0.0, 1.0), "AdverTorch e063e34, clip_min and clip_max"),
            ([("cifar10",)], "attack.repeats", 20, SCRIPTS),
            ([("cifar100",), ("vit",), ("imagenet",)], "attack.repeats", 200, SCRIPTS),
            (FACES, "attack.repeats", 300, SCRIPTS),
            (L2UL_SETS, "anchor", 1.0, SCRIPTS),
            (L2UL_SETS, "lr", 1e-3, SCRIPTS),
            (L2UL_SETS, "momentum", 0.9, f"{CIFAR10}:175"),
            (L2UL_SETS, "weight_decay", 1e-4, f"{CIFAR10}:175"),
            ([("cifar10",), ("vit",), ("utkface",)], "epochs", 1001, f"{CIFAR10}: max_iter < j"),
            (
                [("cifar100",), ("imagenet",)],
                "epochs",
                101,
                "main_unlearn_cifar100...: max_iter < j",
            ),
            ([("cifar10",), ("cifar100",), ("vit",)], "batch_size", 32, "naiive_unlearn_kwargs"),
            ([("imagenet",)], "batch_size", 16, "naiive_unlearn_kwargs"),
            (FACES, "batch_size", 128, "naiive_unlearn_kwargs"),
            ([("cifar10",), ("cifar100",)], "adversarial_batch", 256, "train_kwargs"),
            ([("vit",)], "adversarial_batch", 512, "train_kwargs"),
            ([("imagenet",), ("utkface",)], "adversarial_batch", 128, "train_kwargs"),
            (L2UL_SETS, "importance", "batch-mean", "utils.py:241-265"),
            (L2UL_SETS, "forget_weight", None, f"{CIFAR10}: loss_unlearn"),
            (L2UL_SETS, "forget_loss_on", "all", f"{CIFAR10}: loss_unlearn"),
            (L2UL_SETS, "batch_norm", "released", f"{CIFAR10}: output_adv before output"),
            (L2UL_SETS, "shuffle", False, f"{CIFAR10}: 'shuffle': False"),
        )
    ),
    *(
        (Training, [("cifar10", "l2ul"), ("cifar100", "l2ul")], field, value, value, where)
        for where in ("main_pretrain_cifar10_resnet18.py, main_pretrain_cifar100_resnet50.py",)
        for field, value in (
            ("epochs", 200),
            ("batch_size", 128),
            ("lr", 0.01),
            ("optimizer", "sgd"),
            ("momentum", 0.9),
            ("weight_decay", 5e-4),
            ("schedule", "cosine"),
            ("loss", "auto"),
        )
    ),
    # -- LAF
    (LAF, _laf(SMALL, "random"), "temperature", 2, 5, SHEN),
    (LAF, _laf(SMALL, "class", "noisy"), "temperature", 20, 20, SHEN),
    (LAF, _laf(LARGE, "random", "class"), "temperature", 20, 20, SHEN),
    (LAF, _laf(LARGE, "noisy"), "temperature", 5, 5, SHEN),
    *(
        (LAF, names, field, value, value, where)
        for names, field, value, where in (
            (_laf(SMALL), "latent", 8, SHEN),
            (_laf(LARGE), "latent", 16, SHEN),
            (_laf(SMALL), "epochs", 20, "hyperparameter.md"),
            (_laf(LARGE), "epochs", 40, "hyperparameter.md"),
            (_laf(SMALL), "lr_extraction", 5e-5, "hyperparameter.md"),
            (_laf(LARGE), "lr_extraction", 1e-5, "hyperparameter.md"),
            (_laf(SMALL), "lr_alignment", 1e-4, "hyperparameter.md"),
            (_laf(LARGE, "random", "noisy"), "lr_alignment", 4e-5, "hyperparameter.md"),
            (_laf(LARGE, "class"), "lr_alignment", 5e-5, "hyperparameter.md"),
            (_laf(SMALL + LARGE), "batch_size", 32, SHEN),
            (_laf(SMALL + LARGE), "vae.epochs", 10, SHEN),
            (_laf(SMALL + LARGE), "vae.batch_size", 32, SHEN),
            (_laf(SMALL + LARGE), "vae.lr", 1e-3, SHEN),
            (_laf(SMALL + LARGE), "kl", 0.025, "Train.py:113-119"),
            (_laf(SMALL + LARGE), "error", "saturated", "VUnlearning.py:35-42"),
            (_laf(SMALL + LARGE), "decoder", "sigmoid", "Model.py:102, 122"),
            (_laf(SMALL + LARGE), "first", "all", "LAF.ipynb, cell 11"),
        )
    ),
    *(
        (Training, _with([(name,) for name in SMALL + LARGE], "laf"), field, value, value, where)
        for where in ("Train.py:29-55",)
        for field, value in (
            ("epochs", 20),
            ("batch_size", 32),
            ("lr", 1e-4),
            ("optimizer", "adam"),
            ("weight_decay", 1e-4),
            ("schedule", "constant"),
        )
    ),
    (Repair, [(name,) for name in SMALL], "lr", 1e-3, NONE, "Shen et al. 2024, experiments"),
    (Repair, [(name,) for name in LARGE], "lr", 5e-5, NONE, "Shen et al. 2024, experiments"),
    (Repair, [(name,) for name in SMALL + LARGE], "epochs", 1, NONE, "Shen et al. 2024"),
]
EACH = [(config, name, field, *values) for config, names, field, *values in ROWS for name in names]


def keys(config) -> set[tuple]:
    return {key if isinstance(key, tuple) else (key,) for key in TABLES[config]}


def stated(config, name: tuple) -> set[str]:
    """The fields that a recipe states, those of settings inside it by "outer.inner"."""
    recipe = recipes.published(TABLES[config], *name)
    found = set()
    for field, value in recipe.items():
        inner = getattr(config.paper(*name), field)
        if field == "teacher":
            found |= {f"teacher.{one}" for one in value}
        elif isinstance(inner, PGD):
            found |= {f"attack.{one.name}" for one in fields(inner)} - {"attack.memory"}
        else:
            found.add(field)
    return found


def without_a_row() -> list[tuple]:
    """What a recipe states and the table does not."""
    there = {(config, name, field) for config, name, field, *_ in EACH}
    return [
        (config.__name__, name, field)
        for config in TABLES
        for name in keys(config)
        for field in stated(config, name)
        if (config, name, field) not in there
    ]


@pytest.mark.parametrize("config, name, field, paper, file, where", EACH)
def test_a_recipe_is_the_published_one(config, name, field, paper, file, where):
    read = attrgetter(field)
    assert read(config.paper(*name)) == read(config.paper(*name, source="paper")) == paper, where
    if file is NONE:
        with pytest.raises(ValueError, match="the authors' file has no recipe for .*: take source"):
            config.paper(*name, source="file")
    else:
        assert read(config.paper(*name, source="file")) == file, where


def test_every_name_and_every_stated_setting_has_a_row():
    assert without_a_row() == []
    for config in TABLES:
        assert {name for one, name, *_ in EACH if one is config} == keys(config)


def test_no_row_is_said_twice():
    said = [(config, name, field) for config, name, field, *_ in EACH]
    assert len(said) == len(set(said))


def test_a_new_name_without_rows_is_noticed(monkeypatch):
    monkeypatch.setitem(recipes.AMNESIAC, "made", recipes.AMNESIAC["agedb"])
    assert ("Amnesiac", ("made",), "epochs") in without_a_row()
    monkeypatch.setitem(recipes.REPAIR, "mnist", recipes.REPAIR["mnist"] | {"batch_size": 3})
    assert ("Repair", ("mnist",), "batch_size") in without_a_row()


def test_every_config_with_a_recipe_is_in_the_table():
    public = [getattr(methods, name) for name in methods.__all__]
    configs = {one for one in public if is_dataclass(one) and hasattr(one, "paper")}
    assert configs | {Training} == set(TABLES)


@pytest.mark.parametrize("config", TABLES)
@pytest.mark.parametrize("wrong", ["AgeDB", "digits", None, 3])
def test_another_name_is_one_sentence(config, wrong):
    rest = len(next(iter(keys(config)))) - 1
    with pytest.raises(ValueError, match="^recipes are published for .*, not for "):
        config.paper(wrong, *["class"] * rest)


def test_another_source_is_one_sentence():
    for source in ("code", None, 1):
        with pytest.raises(ValueError, match="source is one of"):
            Amnesiac.paper("agedb", source=source)
