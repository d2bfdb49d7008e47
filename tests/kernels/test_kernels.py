"""What all kernels must do, in Triton's interpreter or on a GPU; their own oracles stand beside."""

import ast
import pkgutil
from importlib import import_module
from inspect import getsource, signature

import pytest
import torch
from kernel_checks import (
    AS_IN_2_11,
    DEVICE,
    TABLES,
    distance,
    doubled,
    entries,
    files,
    oracles,
    own_tests,
    with_ids,
)
from torch.library import opcheck

from minilearn import kernels
from minilearn.kernels import NAMES, kernel, use
from minilearn.kernels.dispatch import compare

MODULES = {
    name: import_module(f"minilearn.kernels.{name}")
    for _, name, _ in pkgutil.iter_modules(kernels.__path__)
}


def launched(module) -> set[str]:
    """The functions under `@jit` that are kernels: one that returns something is called by them."""
    found = set()
    for node in ast.parse(getsource(module)).body:
        if isinstance(node, ast.FunctionDef) and "jit" in map(ast.unparse, node.decorator_list):
            returned = [n for n in ast.walk(node) if isinstance(n, ast.Return) and n.value]
            found |= set() if returned else {node.name}
    return found


def operations(module) -> set[str]:
    found = [v for v in vars(module).values() if isinstance(v, torch._ops.OpOverload)]
    return {operation.name().removeprefix("minilearn::") for operation in found}


def lacking(file: str) -> str:
    """What a kernel file still needs, as a sentence; "" if it has everything."""
    here, module = f"tests/kernels/test_{file}.py", MODULES[file]
    if file not in files():
        return f"minilearn/kernels/{file}.py has kernels and registers none: call `register` there"
    if file not in own_tests():
        return f'{here} is not there: "Add a kernel" in CONTRIBUTING.md says what goes into it'
    if not oracles(file):
        return f"{here} has no oracle: write a function test_...(m), where m is the kernel's module"
    own = {table: getattr(own_tests()[file], table, {}) for table in TABLES}
    if not own["FAULTS"]:
        return f"{here} plants no fault: fill FAULTS"
    if {"sloped", "refuse_second"} & set(vars(module)) and not own["SLOPES"]:
        return f"{here} does not say which arguments have a gradient: fill SLOPES"
    if others := operations(module) - set(own["OPERATIONS"]):
        return f"{here} has no arguments for the operations {sorted(others)}: fill OPERATIONS"
    if others := launched(module) - {each.function for each in own["TRANSLATIONS"].values()}:
        return f"{here} does not translate {sorted(others)}: fill TRANSLATIONS"
    return ""


@pytest.mark.parametrize(
    "file", [name for name in MODULES if name in files() or launched(MODULES[name])]
)
def test_a_kernel_file_has_all_its_tests(file):
    assert not lacking(file), lacking(file)


@pytest.mark.parametrize("name", NAMES)
def test_the_two_forms_agree_and_change_nothing_they_should_not(name, poison):
    assert compare(kernel(name), torch.device(DEVICE)) < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_are_bitwise_equal(name):
    runs = [kernel(name).fused(*kernel(name).example(DEVICE)) for _ in range(2)]
    assert torch.equal(*runs)


def double(name, wanted, rows):
    """The example in double precision, cut to so many rows of each tensor, or to one number."""
    args, few = doubled(kernel(name).example(DEVICE)), list(rows)
    for i, arg in enumerate(args):
        if torch.is_tensor(arg):
            args[i] = arg[: few.pop(0) if len(few) > 1 else few[0]].clone()
    for i in wanted:
        args[i].requires_grad_()
    return args


@pytest.mark.parametrize("file, name, slopes", **with_ids(entries("SLOPES")))
def test_the_gradient_is_the_slope_of_the_value(file, name, slopes):
    """Along random directions, and of values of size one: of a small one any slope would do."""
    args = double(name, *slopes)
    size = kernel(name).reference(*args).detach().abs().max()

    def value(*args):
        return kernel(name).fused(*args) / size

    assert torch.autograd.gradcheck(value, args, fast_mode=True)


@pytest.mark.parametrize("file, name, slopes", **with_ids(entries("SLOPES")))
def test_a_second_derivative_is_refused(file, name, slopes):
    args = double(name, *slopes)
    value = kernel(name).fused(*args).sum()
    with pytest.raises(RuntimeError, match='differentiated again: take impl="reference"'):
        torch.autograd.grad(value, args[slopes[0][0]], create_graph=True)


def test_no_loss_has_as_many_arguments_as_its_forward_has_parameters():
    """What torch.compile of 2.11 takes for a forward without `ctx`: see `slopes.sloped`."""
    for file, name, _ in entries("SLOPES"):
        own = [v for v in vars(MODULES[file]).values() if isinstance(v, type)]
        functions = [v for v in own if issubclass(v, torch.autograd.Function)]
        functions = functions or [kernel(name).fused.__self__]
        for function in functions:
            parameters = len(signature(function.forward).parameters)
            assert len(kernel(name).example("cpu")) != parameters, name


@pytest.mark.parametrize("file, operation, arguments", **with_ids(entries("OPERATIONS")))
def test_torch_accepts_the_operation(file, operation, arguments):
    for args in arguments(MODULES[file]):
        opcheck(getattr(torch.ops.minilearn, operation).default, args)


@AS_IN_2_11
@pytest.mark.parametrize("name", NAMES)
def test_it_compiles_into_one_graph(name):
    torch._dynamo.reset()
    known, args = kernel(name), kernel(name).example(DEVICE)
    compiled = torch.compile(lambda *a: known(*a), fullgraph=True, backend="aot_eager")
    with use("triton"):
        ours = compiled(*args)
    expected = known.reference(*known.example(DEVICE))
    assert distance(ours, expected) < 1e-6
