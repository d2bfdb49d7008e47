"""The first line of a notebook says what is here, or what is wrong in one sentence."""

from importlib import metadata

import pytest
import torch

from minilearn.environment import setup


def pretend(**versions):
    """The versions that are installed, but for those named."""

    def version(name: str) -> str:
        if versions.get(name, "") is None:
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or metadata.version(name)

    return version


def test_it_says_what_is_here(capsys):
    setup(minutes=1), setup(minutes=2)
    one, two = capsys.readouterr().out.splitlines()
    assert one.startswith("minilearn ") and f"torch {torch.__version__}, " in one
    assert one.endswith("about 1 minute") and two.endswith("about 2 minutes")


@pytest.mark.parametrize(
    "versions, sentence",
    [
        ({"torch": "2.7.1+cu126"}, "torch 2.7.1.cu126 is too old: run %pip install -U torch, and"),
        ({"numpy": "1.26.4"}, "numpy 1.26.4 is too old"),
        ({"tqdm": None}, 'tqdm is missing: run %pip install "tqdm>=4.66"'),
        (
            {"torch": "2.9.0"},
            "torchvision .* is made for torch .*, and 2.9.0 is here: install both",
        ),
    ],
)
def test_a_bad_environment_is_a_sentence(versions, sentence, monkeypatch):
    if len(versions.get("torch") or "") == 5:  # what torchvision asks for is a matter of its build
        asked = metadata.requires
        pin = ["torch (==2.11.0)"]
        monkeypatch.setattr(metadata, "requires", lambda n: pin if n == "torchvision" else asked(n))
    with pytest.raises(RuntimeError, match=sentence):
        setup(minutes=1, version=pretend(**versions))


def test_versions_are_compared_as_numbers():
    setup(minutes=1, version=pretend(seaborn="0.100.0", tqdm="10.0"))


def test_a_gpu_that_does_not_answer_is_a_sentence(monkeypatch):
    def fails(*args, **options):
        raise RuntimeError("CUDA error: no kernel image is available\nmore lines")

    monkeypatch.setattr(torch, "ones", fails)
    with pytest.raises(RuntimeError, match=r"does not answer \(CUDA error: no kernel image is av"):
        setup(minutes=1)


def test_it_works_from_a_folder_that_was_never_installed(monkeypatch):
    asked = metadata.requires

    def requires(name: str):
        if name == "minilearn":
            raise metadata.PackageNotFoundError(name)
        return asked(name)

    monkeypatch.setattr(metadata, "requires", requires)
    setup(minutes=1)


@pytest.mark.parametrize("minutes", [0, -1, 1.5, "two", None])
def test_minutes_are_a_number(minutes):
    with pytest.raises(ValueError, match="minutes"):
        setup(minutes=minutes)
