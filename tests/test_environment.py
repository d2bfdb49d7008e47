"""The first line of a notebook says what is here, or what is wrong in one sentence."""

from importlib import metadata

import pytest
import torch

from minilearn.environment import setup


@pytest.fixture
def pretend(monkeypatch):
    """Other versions than those that are installed; None: not installed. And what is asked for."""
    there, asked = metadata.version, metadata.requires

    def set_to(versions: dict, needs: dict | None = None):
        def version(name: str) -> str:
            if versions.get(name, "") is None:
                raise metadata.PackageNotFoundError(name)
            return versions.get(name) or there(name)

        monkeypatch.setattr(metadata, "version", version)
        monkeypatch.setattr(metadata, "requires", lambda n: (needs or {}).get(n) or asked(n))

    return set_to


def test_it_says_what_is_here(capsys):
    setup(minutes=1), setup(minutes=2)
    one, two = capsys.readouterr().out.splitlines()
    assert one.startswith("minilearn ") and f"torch {torch.__version__}, " in one
    assert one.endswith("about 1 minute") and two.endswith("about 2 minutes")


@pytest.mark.parametrize(
    "versions, sentence",
    [
        ({"torch": "2.7.1+cu126"}, "minilearn needs torch>=2.8, and 2.7.1.cu126 is here: run %pip"),
        ({"numpy": "1.26.4"}, "minilearn needs numpy>=2.0, and 1.26.4 is here"),
        ({"tqdm": None}, 'needs tqdm, which is missing: run %pip install "tqdm>=4.66", and start'),
        ({"torch": "2.12.0+cpu"}, "torchvision needs torch==2.11.0, and 2.12.0.cpu is here"),
    ],
)
def test_a_bad_environment_is_a_sentence(versions, sentence, pretend):
    pretend(versions, {"torchvision": ["torch (==2.11.0)", "numpy"]})
    with pytest.raises(RuntimeError, match=sentence):
        setup(minutes=1)


def test_versions_are_compared_as_numbers_and_builds_do_not_count(pretend):
    pretend(
        {"seaborn": "0.100.0", "torch": "2.11.0a0+git1"}, {"torchvision": ["torch>=2.11.0.dev0"]}
    )
    setup(minutes=1)


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
