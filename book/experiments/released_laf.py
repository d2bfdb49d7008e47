"""The released way of LAF, written anew from its description, to be timed.

The indices of forgotten and retained images are found by a list that is made anew for every image.
Images are PIL images behind a `DataLoader`. The autoencoders are trained through the frozen
network, which is run and back-propagated through at every step. In unlearning the forgotten and the
retained batch go through the student one after the other, its classifier included; the original
model answers both again in every step; every step waits for the device. None of this changes what
is learnt.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from minilearn.data.examples import Examples
from minilearn.methods import LAF
from minilearn.models import VAE, Network


class Images(Dataset):
    """The image and the label of chosen examples, from PIL images."""

    def __init__(self, data: Examples, chosen: list[int]):
        from torchvision.transforms import functional as t

        self.transform = t.to_tensor
        self.images = [t.to_pil_image(x) for x in data.inputs[chosen].cpu()]
        self.labels = data.targets[chosen].tolist()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(self.images[i]), self.labels[i]


def divided(data: Examples, forget: int) -> tuple[list[int], list[int]]:
    """The positions of a class and those of all others."""
    import numpy as np

    targets = data.targets.cpu().numpy()
    chosen = [i for i in range(len(targets)) if np.array(targets).tolist()[i] == forget]
    return chosen, [i for i in range(len(targets)) if i not in chosen]


def loader(data: Examples, chosen: list[int], size: int, workers: int) -> DataLoader:
    """Shuffled batches; the worker processes start anew with every pass."""
    order = torch.Generator().manual_seed(0)
    images = Images(data, chosen)
    return DataLoader(images, size, shuffle=True, num_workers=workers, generator=order)


def train_vae(vae: VAE, network: Network, batches: Iterable, config: LAF) -> list[float]:
    """Train an autoencoder over the network's features; returns the loss of every step."""
    network.eval()
    vae.train()
    optimizer = torch.optim.Adam(vae.parameters(), config.vae.lr)
    losses = []
    for _ in range(config.vae.epochs):
        for x, _ in batches:
            loss = vae.loss(_features(network, x), config.kl).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    vae.eval()
    return losses


def unlearn(
    student: Network,
    original: Network,
    vaes: tuple[VAE, VAE],
    forget: Iterable,
    retain: Iterable,
    config: LAF,
) -> list[float]:
    """Train the student; returns L_UE and L_RA of every step, in turns."""
    student.eval()
    original.eval()
    h, h_f = vaes
    rates = config.lr_extraction, config.lr_alignment
    first, second = (torch.optim.Adam(student.parameters(), lr) for lr in rates)
    losses = []
    for _ in range(config.epochs):
        for (x_f, _), (x_r, _) in zip(forget, retain, strict=False):
            e_r, e_f = _features(student, x_r), _features(student, x_f)
            kept, gone = _phi(h, e_r), _phi(h_f, e_f)
            losses.append(_step(kept.sum() - gone.sum(), first))
            e_r, e_f = _features(student, x_r), _features(student, x_f)
            kept = _apart(e_r, _features(original, x_r))
            gone = _apart(e_f, _features(original, x_f))
            pairs = kept.exp() / (gone / config.temperature).exp().sum()
            losses.append(_step(pairs.log().sum(), second))
    return losses


def _features(network: Network, x: Tensor) -> Tensor:
    e = network.features(x.to(next(network.parameters()).device))
    network.head(e)  # the answer is computed, and not used
    return e


def _phi(vae: VAE, e: Tensor) -> Tensor:
    m = (vae(e)[0] - e).square().sum(1)
    return (m / (m + 1)).exp()


def _apart(a: Tensor, b: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(a, b)


def _step(loss: Tensor, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def vaes(network: nn.Module, width: int, config: LAF) -> tuple[VAE, VAE]:
    """Two new autoencoders on the network's device."""
    device = next(network.parameters()).device
    return tuple(VAE(width, config.latent, config.decoder).to(device) for _ in range(2))
