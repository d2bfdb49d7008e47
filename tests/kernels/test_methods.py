"""Whole methods, once by the references and once by the kernels: the same weights."""

import pytest
import torch
from kernel_checks import DEVICE
from torch import nn

from minilearn.data import Examples
from minilearn.kernels import dispatch, use
from minilearn.methods import (
    L2UL,
    LAF,
    PGD,
    Blindspot,
    blindspot,
    importance,
    l2_pgd,
    l2ul,
    laf,
)
from minilearn.models import Network, build
from minilearn.training import Training

# 8 pixels, so that a whole method takes hundreds of programs in the interpreter, and not thousands
SIZE = 8


def network(outputs: int) -> Network:
    layers = nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten()
    body = nn.Sequential(*layers)
    return Network(body, nn.Linear(16, outputs), squeeze=outputs == 1).to(DEVICE)


@pytest.fixture
def images() -> torch.Tensor:
    """Beside them, libraries that compute the same twice and do not round to TF32."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield torch.rand(20, 1, SIZE, SIZE).to(DEVICE)


@pytest.fixture
def both(monkeypatch):
    """A function that runs something in both forms and says which kernels have run."""
    calls = set()

    def run(do):
        results = []
        for impl in ("reference", "triton"):
            decide = dispatch._decide

            def noted(name, *args, decide=decide):
                chosen = decide(name, *args)
                calls.update({name} if chosen else ())
                return chosen

            with monkeypatch.context() as patch, use(impl):
                patch.setattr(dispatch, "_decide", noted)
                results.append(do())
        return *results, calls

    return run


def close(one: dict, other: dict, rtol: float = 1e-4):
    for name, a in one.items():
        torch.testing.assert_close(other[name], a, rtol=rtol, atol=1e-6, msg=name)


def test_blindspot(images, both):
    model, target = build(lambda: network(1), 0), torch.rand(20).to(DEVICE)
    config = Blindspot(batch_size=8, epochs=2, layers=("features.0", "features.2"))

    def do():
        data = Examples(images[6:], target[6:])
        teacher = build(lambda: network(1), 1)
        options = {"fresh": lambda: network(1), "teacher": teacher, "config": config}
        return blindspot(model, images[:6], data, **options).model.state_dict()

    one, other, calls = both(do)
    close(one, other)
    assert calls == {"attention_tap", "mixed_l1"}


@pytest.mark.filterwarnings("ignore:only .* adversarial images reach")
def test_l2ul_and_its_parts(images, both):
    model = build(lambda: network(4), 0).eval()
    with torch.no_grad():
        items = Examples(images[:3], model(images[:3]).argmax(1))
    for order in ("clamp_project", "project_clamp"):
        attack = PGD(eps=0.5, steps=3, repeats=2, order=order)
        config = L2UL(attack=attack, epochs=3, lr=1e-3)

        def do(config=config):
            found = {"images": l2_pgd(model, items, config.attack).images}
            found |= {f"w {k}": v for k, v in importance(model, items).items()}
            return found | l2ul(model, items, config=config).model.state_dict()

        one, other, calls = both(do)
        close(one, other)
    assert calls == {"l2_pgd", "abs_bmm"}


@pytest.mark.parametrize("error", ["saturated", "squared"])
def test_laf(images, both, error):
    model = build(lambda: network(4), 0)
    vae = Training(epochs=2, batch_size=8)
    config = LAF(epochs=1, batch_size=6, latent=2, vae=vae, error=error)

    def do():
        return laf(model, images[:8], images[8:], config=config).model.state_dict()

    one, other, calls = both(do)
    close(one, other, 1e-3)
    assert calls == {"cosine", "alignment", "rebuilding", "gaussian_elbo"}
