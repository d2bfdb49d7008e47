"""Who decides which form runs, what is said about it, and that nothing needs Triton or a GPU."""

import os
import subprocess
import sys

import pytest
import torch

from minilearn import kernels
from minilearn.kernels import dispatch
from minilearn.kernels.attention_tap import attention_rows
from minilearn.kernels.laf_losses import cosine_distance
from minilearn.kernels.mixed_l1 import mixed_l1

CUDA = torch.device("cuda", 0)


@pytest.fixture
def ran(monkeypatch) -> list[str]:
    """Which form of `cosine` ran, call by call."""
    kernels.kernel("cosine")
    seen = []

    def form(name):
        def run(a, b):
            seen.append(name)
            return a.new_zeros(len(a))

        return run

    fake = dispatch.Kernel("cosine", form("reference"), form("triton"), lambda device: ())
    monkeypatch.setitem(dispatch._KERNELS, "cosine", fake)
    monkeypatch.setattr("minilearn.kernels.laf_losses.COSINE", fake)
    monkeypatch.setattr(dispatch, "interpreted", lambda: True)  # also where a GPU is tested
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    return seen


def test_argument_before_context_before_variable(ran, monkeypatch):
    x = torch.ones(2, 3)
    cosine_distance(x, x)
    cosine_distance(x, x, impl="triton")
    monkeypatch.setenv(dispatch.VARIABLE, "triton")
    cosine_distance(x, x)
    with kernels.use("reference"):
        cosine_distance(x, x)
        with kernels.use("triton"):
            cosine_distance(x, x)
            cosine_distance(x, x, impl="reference")
        cosine_distance(x, x)
        with kernels.use("auto"):
            cosine_distance(x, x)
    cosine_distance(x, x)
    r, t = "reference", "triton"
    assert ran == [r, t, t, r, t, r, r, r, t]


def test_a_block_that_breaks_off_gives_back(ran):
    with pytest.raises(KeyError), kernels.use("triton"):
        raise KeyError
    cosine_distance(torch.ones(1, 2), torch.ones(1, 2))
    assert ran == ["reference"]


def test_tensors_are_on_one_device():
    x = torch.ones(2, 3)
    with pytest.raises(
        ValueError, match="cosine needs its tensors on one device, got cpu and meta"
    ):
        kernels.kernel("cosine")(x, x.to("meta"))


def test_there_are_three_choices(monkeypatch):
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"impl is one of \('auto'.*got 'cuda'"):
        cosine_distance(x, x, impl="cuda")
    with pytest.raises(ValueError, match="impl is one of"), kernels.use("fast"):
        pass
    monkeypatch.setenv(dispatch.VARIABLE, "Triton")
    with pytest.raises(ValueError, match="the variable MINILEARN_KERNELS is one of"):
        cosine_distance(x, x)
    with pytest.raises(ValueError, match="no kernel 'cos'"):
        kernels.kernel("cos")
    with pytest.raises(ValueError, match="no such device"):
        kernels.status("gpu")


def test_what_is_asked_for_and_cannot_be_is_an_error():
    x = torch.ones(2, 3, dtype=torch.float16)
    with pytest.raises(ValueError, match="cosine cannot run: it has no float16 form"):
        cosine_distance(x, x, impl="triton")
    a = torch.rand(4, 2, 3)
    with pytest.raises(ValueError, match="vmap and its like"):
        torch.vmap(lambda v: cosine_distance(v, v, impl="triton"))(a)
    assert torch.vmap(lambda v: cosine_distance(v, v))(a).shape == (4, 2)


@pytest.fixture
def a_gpu(monkeypatch):
    """As if there were one, as far as the decision goes."""
    monkeypatch.setattr(dispatch, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(dispatch, "_PASSED", {})
    monkeypatch.setattr(dispatch, "_WARNED", set())
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    kernels.kernel("cosine")
    kernels.kernel("abs_bmm")


def decide(name="cosine", impl=None, dtype=torch.float32):
    return dispatch._decide(name, impl, "cuda", 0, dtype, False)


def test_a_gpu_takes_the_kernel_once_it_has_passed(a_gpu, monkeypatch):
    tested = []
    monkeypatch.setattr(dispatch, "compare", lambda known, device: tested.append(device) or 1e-7)
    assert decide() and decide() and tested == [CUDA]
    assert not decide(impl="reference") and decide(impl="triton")
    table = kernels.status(CUDA)
    assert set(table["runs"]) == {"triton"} and set(table["why"]) == {"it can run here"}


@pytest.mark.parametrize(
    "fault, reason",
    [
        (lambda known, device: 0.1, r"its self-test is off by 0\.1"),
        (lambda known, device: float("nan"), "its self-test is off by nan"),
        (
            lambda known, device: 1 / 0,
            r"its self-test failed \(ZeroDivisionError: division by zero\)",
        ),
    ],
)
def test_a_gpu_that_fails_gets_the_reference_and_one_warning(a_gpu, monkeypatch, fault, reason):
    monkeypatch.setattr(dispatch, "compare", fault)
    with pytest.warns(UserWarning, match=f"cosine runs in torch, not in Triton: {reason}"):
        assert not decide()
    assert not decide()  # a second warning would be an error here
    assert decide(impl="triton")  # who insists sees the failure itself


def test_an_old_gpu_is_told(a_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(dispatch, "compare", lambda known, device: 0.0)
    assert decide()
    with pytest.warns(UserWarning, match="too old: it pays from sm_80 on"):
        assert not decide("abs_bmm")
    assert decide("abs_bmm", "triton")


def said_by(program: str) -> list[str]:
    """What a program prints that nothing has told to interpret."""
    told = ("TRITON_INTERPRET", dispatch.VARIABLE)
    there = {k: v for k, v in os.environ.items() if k not in told}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=there)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_nothing_needs_triton_and_every_file_is_found_in_one_order():
    said = said_by("""
import sys; sys.modules["triton"] = None
import minilearn.kernels.mixed_l1  # before those that come first
import torch, minilearn.methods
from minilearn import kernels
print(*kernels.NAMES)
print(*kernels.status().index)
print(set(kernels.status()["why"]))
from minilearn.kernels.laf_losses import cosine_distance as f
x = torch.rand(3, 4, requires_grad=True)
f(x, torch.rand(3, 4)).sum().backward()
try: f(x.detach(), x.detach(), impl="triton")
except ValueError as error: print(error)
""")
    names = " ".join(kernels.NAMES)
    assert said == [
        names,
        names,
        "{'Triton is not installed'}",
        "the Triton kernel cosine cannot run: Triton is not installed",
    ]


def test_importing_the_methods_imports_no_compiler_and_a_cpu_says_what_to_set():
    imported, said = said_by("""
import sys, torch, minilearn.methods
slow = {"torch._dynamo", "torch._inductor"}
slow |= set() if torch.cuda.device_count() else {"triton"}  # which only a GPU can use
print(sorted(slow & set(sys.modules)))
from minilearn.kernels.laf_losses import cosine_distance as f
try: f(torch.ones(1, 2), torch.ones(1, 2), impl="triton")
except ValueError as error: print(error)
""")
    assert imported == "[]"
    assert "set TRITON_INTERPRET=1 before" in said


def test_two_files_do_not_register_one_kernel():
    known = kernels.kernel("cosine")
    with pytest.raises(ValueError, match="there is a kernel 'cosine' already"):
        dispatch.register("cosine", known.reference, known.fused, known.example)
    assert kernels.kernel("cosine") is known


def test_the_choice_is_marked_as_torch_marks_a_constant():
    marked = torch.compiler.assume_constant_result(lambda: True)
    assert vars(marked).items() <= vars(dispatch._decide).items() and vars(marked)


def refused(match, call, *args, **options):
    with pytest.raises(ValueError, match=match):
        call(*args, **options)


def test_silly_inputs_get_a_sentence():
    x, y, f = torch.rand(3), torch.rand(3), torch.tensor([True, False, True])
    refused("out and target differ in shape", mixed_l1, x, y[:2])
    refused("out and extra differ in shape", mixed_l1, x, y, y[:1])
    refused("out and target differ in dtype", mixed_l1, x, y.double())
    refused("target must be a tensor of floating-point", mixed_l1, x, f)
    refused("extra must be a tensor of floating-point", mixed_l1, x, y, 1.0)
    refused("a row at least", mixed_l1, x[:0], y[:0])
    refused("one number per row", mixed_l1, x[:, None], y[:, None])
    a = torch.rand(3, 2, 4)
    refused("student and teacher differ in shape", attention_rows, a, a[:2])
    refused(r"needs activations \(B, C", attention_rows, a[0], a[0])
    refused("got list", attention_rows, a, [1])


def test_silly_steps_get_a_sentence():
    from minilearn.kernels.abs_bmm import abs_bmm
    from minilearn.kernels.gaussian_elbo import gaussian_elbo
    from minilearn.kernels.l2_pgd import l2_pgd_step
    from minilearn.kernels.laf_losses import reconstruction_error

    x = torch.rand(3, 4)
    refused("order is one of", l2_pgd_step, x, x, x, 0.1, 1.0, order="project")
    refused("eps must be a finite number above 0", l2_pgd_step, x, x, x, 0.1, 0.0)
    refused("low below high", l2_pgd_step, x, x, x, 0.1, 1.0, low=1.0)
    refused("x and gradient differ", l2_pgd_step, x, x[:2], x, 0.1, 1.0)
    refused("do not fit", abs_bmm, torch.rand(2, 3, 4), torch.rand(2, 3, 4))
    refused(r"needs tensors \(N", abs_bmm, x, x)
    refused("form is one of", reconstruction_error, x, x, "plain")
    refused("needs vectors", gaussian_elbo, x, x, x[:2], x[:2], 1.0)
