"""Label-agnostic forgetting: change the representation of what is forgotten, without any label."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat

import torch
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data.checks import check_count
from minilearn.losses import alignment_loss, cosine_distance
from minilearn.methods.contract import Unlearned, checked_config, checked_inputs, copy_of
from minilearn.methods.laf_config import LAF
from minilearn.methods.laf_features import autoencoder, both, known, refuse_overlap
from minilearn.models import extractor
from minilearn.training import fit

AUTOENCODERS = 20_000  # is added to the seed: each network here begins otherwise


def laf(
    model: nn.Module,
    forget: Tensor,
    retain: Tensor,
    *,
    config: LAF = LAF(),
    seed: int = 0,
    watch=None,
    checkpoint=None,
) -> Unlearned:
    """Unlearn by inputs alone: forgotten features leave what they looked like and where they lay.

    Two autoencoders learn what the original's features look like, h of all or of retained inputs,
    h_f of forgotten ones. Then every pair of batches makes two steps of the extractor e(x):

        L_UE = sum_r phi(|h(e) - e|^2) - sum_f phi(|h_f(e) - e|^2)           `extraction_loss`
        L_RA = sum_r d - |B_r| log sum_f exp(d / tau),  d = 1 - cos(e, e_o)   `alignment_loss`

    e_o are the original's features. What follows the extractor gets no gradient and stays; batch
    normalisation keeps its statistics. `history.loss` has L_UE and L_RA in turns. An autoencoder's
    own passes count in the seconds, not in the sample units, which are the network's.

    Paper: Shen et al. 2024.          Chapter: 7
    Shapes: forget (N_f, ...), retain (N_r, ...) inputs alone, or datasets of them; of tensors the
        original's features are computed once, of a dataset, which may augment, at every reading
    Differs: from the authors' code, as the settings say (`LAF.paper` has the released choices); a
        pass also goes on if fewer inputs are retained than forgotten; a last batch of one joins the
        one before; the logarithm in the KL has no 1e-8. All else leaves the weights as they were:
        features kept instead of recomputed, one forward pass for both batches
    Raises: ValueError if a set is empty, comes with labels or is smaller than a batch, most of the
        forgotten inputs, given as tensors, are retained ones (of some it warns), the representation
        is not there, not finite or the same for all; NonFiniteLoss that names the autoencoder;
        whatever `fit` raises
    """
    _check(model, forget, retain, config, seed)
    student, ready, cost = copy_of(model), Cost(), Cost()
    gone = known(forget, model, config, "forget", ready)
    stays = known(retain, model, config, "retain", ready)
    first = both(gone, stays) if config.first == "all" else stays
    h, h_cost = autoencoder(first, config, seed + AUTOENCODERS, checkpoint)
    h_f, f_cost = autoencoder(gone, config, seed + AUTOENCODERS + 1, checkpoint)
    extract = extractor(student, config.layer)

    def stream(order: torch.Generator) -> Iterator:
        student.eval()  # the statistics of batch normalisation stay, and nothing is dropped out
        size = config.batch_size
        again = chain.from_iterable(stays.read(size, order, cost) for _ in repeat(None))
        pairs = zip(gone.read(size, order, cost), again, strict=False)
        return ((*f, *r, loss) for f, r in pairs for loss in ("extraction", "alignment"))

    def objective(_, x_f, e_f, x_r, e_r, loss: str) -> Tensor:
        n = len(x_f)
        cost.touch("forget", forward=n, backward=n)
        cost.touch("retain", forward=len(x_r), backward=len(x_r))
        e = _trained(extract(torch.cat([x_f, x_r])))
        if loss == "extraction":
            return h.error(e[n:], config.error).sum() - h_f.error(e[:n], config.error).sum()
        far = cosine_distance(e[n:], e_r), cosine_distance(e[:n], e_f)
        return alignment_loss(*far, config.temperature)

    about = {"settings": config, "data": (forget, retain), "original": model}
    options = {"seed": seed, "watch": watch, "checkpoint": checkpoint, "identity": about}
    history = fit(student, stream, config.turns(), objective=objective, cost=cost, **options)
    return Unlearned(student, "laf", config, seed, history, ready + h_cost + f_cost + cost)


def _trained(e: Tensor) -> Tensor:
    """Features in single precision, as the losses want them."""
    if not e.requires_grad:
        raise ValueError(
            "no weight that can be trained comes before the representation: take a later layer, as "
            "in LAF(layer=...), or unfreeze the extractor"
        )
    return e.float()


def _check(model: nn.Module, forget, retain, config: LAF, seed: int):
    checked_config(config, LAF), check_count("seed", seed, 0)
    for name, data in (("forget", forget), ("retain", retain)):
        checked_inputs(name, data, model)
        if len(data) < config.batch_size:
            raise ValueError(
                f"{len(data)} inputs in the {name} set do not fill a batch: take "
                f"batch_size={len(data)} or less"
            )
    refuse_overlap(forget, retain)
