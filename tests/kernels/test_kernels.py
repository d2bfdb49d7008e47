"""Every kernel, in Triton's interpreter or on a GPU, against its checks; and what all share."""

from importlib import import_module
from inspect import signature

import kernel_checks as checks
import numpy as np
import pytest
import torch
from kernel_checks import CHECKS, DEVICE
from torch.library import opcheck
from torch.utils._python_dispatch import TorchDispatchMode

from minilearn.kernels import NAMES, kernel, use
from minilearn.kernels.dispatch import compare

CASES = [(name, check) for name, them in CHECKS.items() for check in them]


@pytest.mark.parametrize("name, check", CASES, ids=[f"{n}-{c.__name__}" for n, c in CASES])
def test_kernel(name, check, poison):
    with np.errstate(all="ignore"):  # an overflow is no error on a GPU
        check(import_module(f"minilearn.kernels.{name}"))


@pytest.mark.parametrize("name", NAMES)
def test_the_two_forms_agree_and_change_nothing_they_should_not(name, poison):
    assert compare(kernel(name), torch.device(DEVICE)) < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_are_bitwise_equal(name):
    runs = [kernel(name).fused(*kernel(name).example(DEVICE)) for _ in range(2)]
    assert torch.equal(*runs)


# the arguments that have a gradient
WITH_SLOPES = {
    "mixed_l1": (0, 2),
    "attention_tap": (0,),
    "cosine": (0,),
    "alignment": (0, 1),
    "rebuilding": (0, 1),
    "gaussian_elbo": (0, 1, 2),
}


def double(name):
    args = checks.doubled(kernel(name).example(DEVICE))
    few = 2 if name in ("attention_tap", "gaussian_elbo", "cosine", "rebuilding") else 30
    args = [a[:few].clone() if torch.is_tensor(a) else a for a in args]
    if name == "alignment":
        args[:2] = args[0][:6], args[1][:4]
    for i in WITH_SLOPES[name]:
        args[i].requires_grad_()
    return args


@pytest.mark.parametrize("name", WITH_SLOPES)
def test_the_gradient_is_the_slope_of_the_value(name):
    assert torch.autograd.gradcheck(kernel(name).fused, double(name))


@pytest.mark.parametrize("name", WITH_SLOPES)
def test_a_second_derivative_is_refused(name):
    args = double(name)
    value = kernel(name).fused(*args).sum()
    with pytest.raises(RuntimeError, match='differentiated again: take impl="reference"'):
        torch.autograd.grad(value, args[0], create_graph=True)


def test_no_loss_has_as_many_arguments_as_its_forward_has_parameters():
    """What torch.compile of 2.11 takes for a forward without `ctx`: see `slopes.sloped`."""
    parameters = len(signature(kernel("cosine").fused.__self__.forward).parameters)
    for name in WITH_SLOPES:
        assert name == "attention_tap" or len(kernel(name).example("cpu")) != parameters


OPERATIONS = {
    "mixed_l1": "mixed_l1",
    "l2_pgd": "l2_pgd",
    "attention_forward": "attention_tap",
    "abs_bmm": "abs_bmm",
    "cosine": "cosine",
    "alignment": "alignment",
    "rebuilding": "rebuilding",
    "gaussian_elbo": "gaussian_elbo",
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_torch_accepts_the_operation(operation):
    args = list(kernel(OPERATIONS[operation]).example(DEVICE))
    if operation == "attention_forward":
        args[2] = torch.ones_like(args[2])  # what belongs to other rows is never written
    opcheck(getattr(torch.ops.minilearn, operation).default, args)
    if operation == "mixed_l1":
        opcheck(torch.ops.minilearn.mixed_l1.default, (*args[:2], None))


def test_torch_accepts_the_way_back():
    x, t, forget = checks.maps((3, 4, 2, 3))
    loss, slope = torch.ops.minilearn.attention_forward(x, t, forget)
    for above in (None, x, x.to(memory_format=torch.channels_last)):
        args = x, slope.nan_to_num(), forget, loss, above
        opcheck(torch.ops.minilearn.attention_backward.default, args)


class Listening(TorchDispatchMode):
    """The operations of torch that compute something: no view, no memory that is only reserved."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not func.is_view and "empty" not in str(func):
            self.heard.append(str(func))
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("term", [False, True])
@pytest.mark.parametrize("rows, launches", [(1, 1), (1024, 1), (1025, 2), (2**20, 2)])
def test_a_mean_of_errors_takes_two_launches_at_most_and_one_back(
    rows, launches, term, monkeypatch
):
    module = import_module("minilearn.kernels.mixed_l1")
    started = []

    class Launched:  # in the place of a kernel
        def __getitem__(self, grid):
            return lambda *args, **options: started.append(grid)

    args = [torch.zeros(rows).requires_grad_(i != 1) for i in range(2 + term)]
    leaves = [arg for arg in args if arg.requires_grad]
    monkeypatch.setattr(module, "_rows", Launched())
    monkeypatch.setattr(module, "_mean", Launched())
    with Listening() as forward, torch.no_grad():
        module._launch(*args, *[None] * (not term))
    assert len(started) == launches and not forward.heard
    value, above = module.fused(*args), torch.ones(())
    with Listening() as back:
        torch.autograd.grad(value, leaves, above)
    assert back.heard == ["aten.mul.Tensor"]


# torch.compile of 2.11 makes an object of an autograd function, against which torch itself warns
AS_IN_2_11 = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


@AS_IN_2_11
@pytest.mark.parametrize("name", NAMES)
def test_it_compiles_into_one_graph(name):
    torch._dynamo.reset()
    known, args = kernel(name), kernel(name).example(DEVICE)
    compiled = torch.compile(lambda *a: known(*a), fullgraph=True, backend="aot_eager")
    with use("triton"):
        ours = compiled(*args)
    expected = known.reference(*known.example(DEVICE))
    assert checks.distance(ours, expected) < 1e-6


@AS_IN_2_11
def test_a_compiled_tap_has_both_gradients():
    torch._dynamo.reset()
    from minilearn.kernels.attention_tap import attention_tap

    def step(x, t):
        through, loss = attention_tap(2 * x, t, None, 0.3)
        return (through.sin() * t).sum() + loss

    x, t, _ = checks.maps((3, 4, 2, 3))
    slopes = []
    for run, impl in (
        (step, "reference"),
        (torch.compile(step, fullgraph=True, backend="aot_eager"), "triton"),
    ):
        leaf = x.clone().requires_grad_()
        with use(impl):
            slopes.append(torch.autograd.grad(run(leaf, t), leaf)[0])
    assert checks.distance(slopes[1], slopes[0]) < 1e-6
