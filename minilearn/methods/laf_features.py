"""What the original model makes of the inputs that LAF is given, and the autoencoders over it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset

from minilearn.cost import Cost
from minilearn.data.examples import Examples, batches
from minilearn.evaluation import in_words
from minilearn.methods.contract import build
from minilearn.methods.laf_config import LAF
from minilearn.models import VAE, device_of, extractor, mode
from minilearn.training import NonFiniteLoss, fit


@dataclass(frozen=True, eq=False)
class Known:
    """Inputs beside the original model's features of them.

    Features of a tensor are computed once and kept, which is exact. A dataset may give other images
    at every reading, so that its features are computed as it is read, and booked then.
    """

    inputs: Tensor | Dataset
    original: nn.Module
    layer: str | None
    source: str
    features: Tensor | None = None

    def read(self, size: int, order: torch.Generator | None, cost: Cost) -> Iterator:
        """Batches of (inputs, features), shuffled if `order` is given."""
        if self.features is not None:
            return batches(Examples(self.inputs, self.features), size, order=order)
        read = batches(self.inputs, size, order=order, device=device_of(self.original))
        return ((x, self.extract(x, cost)) for x in read)

    def extract(self, x: Tensor, cost: Cost) -> Tensor:
        """The original's features, in evaluation mode and without a gradient.

        Raises: ValueError if one is NaN or infinite
        """
        cost.touch(self.source, forward=len(x))
        with mode(self.original, train=False), torch.no_grad():
            features = extractor(self.original, self.layer)(x).float()
        if not bool(features.isfinite().all()):
            raise ValueError(f"the original's features of the {self.source} set are not finite")
        return features


def known(inputs, original: nn.Module, config: LAF, source: str, cost: Cost) -> Known:
    """The inputs with their features, computed now if they are a tensor.

    Raises: ValueError if the representation is not there, is not finite, or is the same for all
    """
    found, keep = Known(inputs, original, config.layer, source), isinstance(inputs, Tensor)
    device = device_of(original)
    with cost.clock(device), in_words(inputs):
        parts = batches(inputs, 512, device=device)
        parts = [found.extract(x, cost) for x in (parts if keep else [next(parts)])]
        features = torch.cat(parts)
    if len(features) > 1 and bool((features == features[0]).all()):
        raise ValueError(
            f"the representation is the same for all inputs of the {source} set, so there is "
            "nothing in it to change: take another layer, as in LAF(layer=...)"
        )
    return Known(inputs, original, config.layer, source, features if keep else None)


def both(gone: Known, stays: Known) -> Known:
    """Forgotten and retained inputs as one set; what is known of them is kept."""
    if gone.features is None or stays.features is None:
        inputs, features = ConcatDataset([gone.inputs, stays.inputs]), None
    else:
        inputs = torch.cat([gone.inputs, stays.inputs])
        features = torch.cat([gone.features, stays.features])
    return Known(inputs, stays.original, stays.layer, "other", features)


def autoencoder(data: Known, config: LAF, seed: int, checkpoint=None) -> tuple[VAE, Cost]:
    """A frozen autoencoder that has learnt the features of `data`, and what that took.

    Raises: NonFiniteLoss that says which autoencoder it was
    """
    cost, of = Cost(), {"other": "all"}.get(data.source, data.source)
    e = next(data.read(1, None, cost))[1]
    vae = build(lambda: VAE(e.shape[1], config.latent, config.decoder), seed).to(e.device)

    def features(order: torch.Generator) -> Iterator:
        return (e for _, e in data.read(config.vae.batch_size, order, cost))

    def objective(vae: VAE, e: Tensor) -> Tensor:
        return vae.loss(e, config.kl).mean()

    about = {"settings": config, "data": data.inputs, "original": data.original}
    options = {"checkpoint": checkpoint and f"{checkpoint}.{of}", "identity": about, "seed": seed}
    options |= {"objective": objective, "cost": cost}
    try:
        fit(vae, features if data.features is None else data.features, config.vae, **options)
    except NonFiniteLoss as error:
        raise NonFiniteLoss(f"the autoencoder over the features of {of} inputs: {error}") from None
    return vae.eval().requires_grad_(False), cost


def refuse_overlap(forget, retain):
    """Refuse, by ValueError, retained inputs among which most of the forgotten ones are.

    Of some it warns, for a set may hold the same image twice. Datasets are not looked into.
    """
    if not (isinstance(forget, Tensor) and isinstance(retain, Tensor)):
        return
    if forget.shape[1:] != retain.shape[1:]:
        raise ValueError(
            f"forgotten inputs have shape {tuple(forget.shape[1:])} and retained ones "
            f"{tuple(retain.shape[1:])}: both must be of one kind"
        )
    gone, stays = _distinct(forget), _distinct(retain)
    common = len(gone & stays)
    words = f"{common} of the {len(gone)} forgotten inputs are in the retain set too"
    if 2 * common > len(gone):
        raise ValueError(f"{words}: give the training set without them, as request.retain does")
    if common:
        warnings.warn(f"{words}, where they are kept: right only for true duplicates", stacklevel=4)


def _distinct(inputs: Tensor) -> set[bytes]:
    flat = inputs.detach().reshape(len(inputs), -1).cpu().contiguous()
    return {row.tobytes() for row in flat.view(torch.uint8).numpy()}
