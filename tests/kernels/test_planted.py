"""A wrong kernel does not pass: each fault is planted in the source, and an oracle must notice."""

import importlib.util
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from kernel_checks import changed, entries, oracles, own_tests, with_ids

import minilearn.kernels
from minilearn.kernels import dispatch

FOLDER = Path(minilearn.kernels.__file__).parent


@pytest.mark.parametrize("file, fault, change", **with_ids(entries("FAULTS")))
def test_a_planted_fault_is_noticed(file, fault, change, tmp_path, poison):
    there, planted = change
    text = (FOLDER / f"{file}.py").read_text("utf-8")
    assert there in text, "the fault no longer fits the source"
    module = loaded(file, text.replace(there, planted), fault, tmp_path)
    assert any(fails(check, module) for check in oracles(file)), f"nobody notices: {fault}"


@pytest.mark.parametrize("file", own_tests())
def test_nothing_planted_nothing_noticed(file, tmp_path, poison):
    module = loaded(file, (FOLDER / f"{file}.py").read_text("utf-8"), file, tmp_path)
    assert not any(fails(check, module) for check in oracles(file))


def loaded(file: str, text: str, title: str, folder: Path):
    """The source as a module whose operations and table do not meet those of the right kernel."""
    import_module(f"minilearn.kernels.{file}")  # who decides looks the right one up
    tag = "planted_" + re.sub(r"\W", "_", f"{file}_{title}")
    path = folder / f"{tag}.py"
    path.write_text(text, "utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    right = dispatch.op

    def op(schema, launch, fake):
        return right(f"{tag}_{schema}", launch, fake)

    with changed(dispatch, "op", op), changed(dispatch, "register", dispatch.Kernel):
        spec.loader.exec_module(module)
    return module


def fails(check, module) -> bool:
    try:
        with np.errstate(all="ignore"):
            check(module)
    except AssertionError:
        return True
    return False
