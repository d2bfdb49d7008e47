"""What all tests share: tiny data, a tiny network, and where the real data are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Triton decides when it is imported whether its kernels run on the CPU, number by number.
os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings
from shared import random
from torch import nn

from minilearn.data import Examples, digits
from minilearn.files import locked
from minilearn.stopping import Stop
from minilearn.training import Training, fit

# On a busy machine an example may take long.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# Sums in one order on every machine; for networks this small one thread is the fastest, too.
torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parent.parent
ARCHIVES = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def realdata_root(tmp_path_factory) -> Path:
    """The folder of the real data: MINILEARN_DATA, or the neighbouring archives unpacked once."""
    named = os.environ.get("MINILEARN_DATA")
    if named:
        if not Path(named).is_dir():
            pytest.skip(f"MINILEARN_DATA names {named}, which is no folder")
        return Path(named)
    if not (ARCHIVES / "unpack.py").is_file():
        pytest.skip("no real data: MINILEARN_DATA is not set and ../shared/data is not there")
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "realdata"
    with locked(root):  # the processes of one run share it
        if not root.is_dir():
            command = [sys.executable, "-B", str(ARCHIVES / "unpack.py"), str(root)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                shutil.rmtree(root, ignore_errors=True)
                pytest.skip(f"the real data could not be unpacked: {done.stderr.strip()[-300:]}")
    return root


@pytest.fixture(autouse=True)
def _known_generators():
    """Every test starts from the same global random state and gives it back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="session")
def train() -> Examples:
    """The training set of the digits that come with scikit-learn."""
    return digits().train


@pytest.fixture
def classification() -> Examples:
    """24 examples of 6 numbers in 3 classes that a linear map separates almost."""
    inputs = random(24, 6, seed=1)
    return Examples(inputs, (inputs[:, :3] + 0.3 * random(24, 3, seed=2)).argmax(1))


@pytest.fixture
def regression() -> Examples:
    """24 examples of 6 numbers, the target linear in them plus noise."""
    inputs = random(24, 6, seed=3)
    return Examples(inputs, inputs @ random(6, seed=4) + 0.1 * random(24, seed=5))


class TinyNet(nn.Module):
    """What a method could disturb or draw: batch normalisation, dropout, a buffer of its own."""

    def __init__(self, outputs: int = 3, inputs: int = 6, dropout: float = 0.2):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout)
        )
        self.head = nn.Linear(8, outputs)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x):
        """Logits (B, outputs), or predictions (B,) when there is one output."""
        out = self.head(self.body(x)) * self.scale
        return out.squeeze(1) if out.shape[1] == 1 else out


@pytest.fixture
def tiny_net():
    """A function that makes a network, its weights decided by `seed`."""

    def make(outputs: int = 3, seed: int = 0, **options) -> TinyNet:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return TinyNet(outputs, **options)

    return make


@pytest.fixture
def late(monkeypatch):
    """A function that makes rules of stopping be read every so many steps, as on a GPU."""
    begin = Stop.__init__

    def read_every(steps: int):
        def start(self, *given):
            begin(self, *given)
            self.every = steps

        monkeypatch.setattr(Stop, "__init__", start)

    return read_every


@pytest.fixture
def trained(tiny_net, classification) -> nn.Module:
    """A tiny network that classifies most of `classification` right."""
    net = tiny_net(dropout=0.0)
    fit(net, classification, Training(epochs=40, lr=1e-2), progress=False)
    return net.eval()


@pytest.fixture
def everything_of():
    """A function that lists all a model holds, as plain values: two lists are equal bit for bit."""

    def content(tensor: torch.Tensor | None) -> bytes | None:
        return None if tensor is None else tensor.detach().cpu().contiguous().numpy().tobytes()

    def everything(model: nn.Module) -> list:
        parameters = [
            (name, content(p), content(p.grad), p.requires_grad)
            for name, p in model.named_parameters()
        ]
        buffers = [(name, content(b)) for name, b in model.named_buffers()]
        flags = [(name, part.training) for name, part in model.named_modules()]
        hooks = [
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
            for m in model.modules()
        ]
        return [parameters, buffers, flags, hooks]

    return everything
