"""LAF's preparation: the original's features of both sets, and the autoencoders on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset

from minilearn.checks import device_of
from minilearn.cost import Cost
from minilearn.data.batches import batches, first_of, paired_batches
from minilearn.data.examples import Examples
from minilearn.data.reading import unique_rows
from minilearn.models import VAE, build, clear_errors, evaluation_copy, extractor, mode
from minilearn.run import File, Run
from minilearn.unlearned import NonFiniteLoss
from minilearn.warn import warn

AUTOENCODERS = 20_000  # added to the seed for h, and one more for h_f: not the student's own


@dataclass(frozen=True, eq=False)
class Features:
    """Inputs beside the original model's features of them.

    Features of a tensor are computed once and kept, which is exact. A dataset may give other images
    at every reading, so that its features are computed as it is read, and booked then.

    Args:
        inputs: (N, ...) tensor or a dataset of inputs
        original: the network
        represent: what gives the features, see `models.extractor`
        source: what the ledger calls these inputs: "forget", "retain" or "other"
        kept: (N, D) features of a tensor, None of a dataset
        width: D
    """

    inputs: Tensor | Dataset
    original: nn.Module
    represent: Callable[[Tensor], Tensor]
    source: str
    kept: Tensor | None = None
    width: int = 0

    def batches(self, size: int, order: torch.Generator | None, cost: Cost) -> Iterator:
        """Batches of (inputs, features), shuffled if `order` is given."""
        if self.kept is not None:
            return batches(Examples(self.inputs, self.kept), size, order=order)
        read = batches(self.inputs, size, order=order, device=device_of(self.original))
        return ((x, self.extract(x, cost)) for x in read)

    def extract(self, x: Tensor, cost: Cost) -> Tensor:
        """The original's features, in evaluation mode and without a gradient.

        Raises: ValueError if one is NaN or infinite
        """
        cost.touch(self.source, forward=len(x))
        with mode(self.original, train=False), torch.no_grad():
            features = self.represent(x.clone()).float()  # a network may write into its input
        if not bool(features.isfinite().all()):
            raise ValueError(f"the original's features of the {self.source} set are not finite")
        return features


def original_features(
    model: nn.Module, inputs: Tensor | Dataset, layer: str | None, source: str, cost: Cost
) -> Features:
    """The inputs with their features, computed now if they are a tensor.

    Raises: ValueError if the representation is not there, is not finite, or is the same for all
    """
    features = Features(inputs, model, extractor(model, layer), source)
    keep = isinstance(inputs, Tensor)
    device = device_of(model)
    with cost.clock(device), clear_errors(inputs):
        read = batches(inputs, 512, device=device)
        parts = [features.extract(x, cost) for x in (read if keep else [next(read)])]
    kept = torch.cat(parts)
    if len(kept) > 1 and bool((kept == kept[0]).all()):
        raise ValueError(
            f"the representation is the same for all inputs of the {source} set, so there is "
            "nothing in it to change: take another layer, as in LAF(layer=...)"
        )
    return replace(features, kept=kept if keep else None, width=kept.shape[1])


def joined(forget: Features, retain: Features) -> Features:
    """Forgotten and retained inputs as one set, with the features that are kept."""
    if forget.kept is None or retain.kept is None:
        inputs = ConcatDataset([forget.inputs, retain.inputs])
        return replace(retain, inputs=inputs, source="other", kept=None)
    inputs = torch.cat([forget.inputs, retain.inputs])
    kept = torch.cat([forget.kept, retain.kept])
    return replace(retain, inputs=inputs, source="other", kept=kept)


def with_features(
    forget: Features, retain: Features, batch_size: int, run: Run
) -> Iterator[tuple[Tensor, ...]]:
    """One pass over the forgotten inputs: x_forget, x_retain, and the original's features of both.

    Each batch stands beside the next one of retained inputs, begun again as often as it takes.
    """
    read = batch_size, run.order, run.cost
    pairs = paired_batches(forget.batches(*read), lambda: retain.batches(*read))
    for (x_forget, original_forget), (x_retain, original_retain) in pairs:
        yield x_forget, x_retain, original_forget, original_retain


def student_features(
    student: nn.Module, layer: str | None, forget: Tensor | Dataset, cost: Cost
) -> Callable:
    """A function from forgotten and retained inputs to the student's features of both, (B, D).

    Both are one batch of the network. Features are in single precision, as the losses want them.

    Raises: ValueError if the layer is not there, or no weight that is trained comes before it
    """
    cost.touch("forget", forward=1)
    with evaluation_copy(student) as twin, clear_errors(forget):
        moves = extractor(twin, layer)(first_of(forget, device_of(student))).requires_grad
    if not moves:
        raise ValueError(
            "no weight that can be trained comes before the representation: take a later layer, as "
            "in LAF(layer=...), or unfreeze the extractor"
        )
    extract = extractor(student, layer)

    def features(x_forget: Tensor, x_retain: Tensor) -> tuple[Tensor, Tensor]:
        e = extract(torch.cat([x_forget, x_retain])).float()
        return e[: len(x_forget)], e[len(x_forget) :]

    return features


def autoencoders(
    forget: Features, retain: Features, config, seed: int, checkpoint: File | None, cost: Cost
) -> tuple[VAE, VAE]:
    """Two trained autoencoders: h of all or of retained inputs, as `config.first` says, and h_f."""
    first = joined(forget, retain) if config.first == "all" else retain
    h = autoencoder(first, config, seed + AUTOENCODERS, checkpoint, cost)
    h_f = autoencoder(forget, config, seed + AUTOENCODERS + 1, checkpoint, cost)
    return h, h_f


def autoencoder(features: Features, config, seed: int, checkpoint: File | None, cost: Cost) -> VAE:
    """A frozen autoencoder that has learnt the features, by the settings of `LAF`.

    Raises: NonFiniteLoss that says which autoencoder it was
    """
    name = "all" if features.source == "other" else features.source
    vae = build(lambda: VAE(features.width, config.latent, config.decoder), seed)
    vae.to(device_of(features.original), torch.float32)

    def loss(e: Tensor) -> Tensor:
        return vae.loss(e, config.kl).mean()

    def read(run: Run) -> Iterator[Tensor]:
        if features.kept is not None:
            return batches(features.kept, config.vae.batch_size, order=run.order)
        return (e for _, e in features.batches(config.vae.batch_size, run.order, run.cost))

    about = {"data": features.inputs, "original": features.original}
    file = None if checkpoint is None else f"{checkpoint}.{name}"
    try:
        with Run(vae, config, seed, checkpoint=file, **about) as run:
            config.vae.make_optimizer(run)
            for epoch in run.epochs(config.vae.epochs):
                run.set_lr(config.vae.lr_at(epoch, run.history))
                for e in read(run):
                    run.step(loss, e)
    except NonFiniteLoss as error:
        which = f"the autoencoder over the features of {name} inputs"
        raise NonFiniteLoss(f"{which}: {error}") from None
    cost.include(run.cost)
    return vae.eval().requires_grad_(False)


def check_sets(forget, retain, batch_size: int):
    """Refuse sets that do not fill a batch, or of which most of one is in the other.

    Of some it warns, for a set may hold the same image twice. Datasets are not looked into.

    Raises: ValueError that says which set, or how many inputs are in both
    """
    for name, data in (("forget", forget), ("retain", retain)):
        if len(data) < batch_size:
            raise ValueError(
                f"{len(data)} inputs in the {name} set do not fill a batch: take "
                f"batch_size={len(data)} or less"
            )
    if not (isinstance(forget, Tensor) and isinstance(retain, Tensor)):
        return
    if forget.shape[1:] != retain.shape[1:]:
        raise ValueError(
            f"forgotten inputs have shape {tuple(forget.shape[1:])} and retained ones "
            f"{tuple(retain.shape[1:])}: both must be of one kind"
        )
    forgotten = unique_rows(forget)
    common = len(forgotten & unique_rows(retain))
    words = f"{common} of the {len(forgotten)} forgotten inputs are in the retain set too"
    of_few_values = 10 * len(forgotten) < 9 * len(forget)  # then many are alike by nature
    if 2 * common > len(forgotten) and not of_few_values:
        raise ValueError(f"{words}: give the training set without them, as request.retain does")
    if common:
        warn(f"{words}, where they are kept: right only for true duplicates")
