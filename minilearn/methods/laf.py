"""Label-agnostic forgetting: change the representation of what is forgotten, without any label."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from minilearn.checks import NOT_NEGATIVE, POSITIVE, check_settings, whole
from minilearn.kernels.laf_losses import FORMS, reconstruction_error
from minilearn.losses import alignment_loss, cosine_distance
from minilearn.models import copy_of
from minilearn.models.vae import DECODERS
from minilearn.parts import recipes, vae
from minilearn.run import Cost, File, Run, Watch
from minilearn.training import Training
from minilearn.unlearn import Unlearned, method


@dataclass(frozen=True)
class LAF:
    """How to unlearn; the defaults are the released recipe for a small network.

    Args:
        epochs: passes over the forgotten inputs
        batch_size: inputs of either kind in a step
        lr_extraction, lr_alignment: learning rates (Adam) of the two losses; 0: it changes nothing.
            They suit hundreds of steps an epoch: with a small forget set take longer steps
        temperature: tau, as published for four of six recipes; see `LAF.paper`
        error: phi, "saturated", which is exp(m / (m + 1)), as released; or "squared", which is m
        decoder: of the autoencoders, "sigmoid", as released; or "linear"
        first: inputs of the first autoencoder: "all", as released; "retain", as the paper argues
        latent: numbers in an autoencoder's latent vector
        kl: weight of the autoencoders' KL term
        vae: training of both autoencoders, whose loss is their own
        layer: the representation; None: see `models.extractor`
    """

    epochs: int = 20
    batch_size: int = 32
    lr_extraction: float = 5e-5
    lr_alignment: float = 1e-4
    temperature: float = 20.0
    error: str = "saturated"
    decoder: str = "sigmoid"
    first: str = "all"
    latent: int = 8
    kl: float = 0.025
    vae: Training = Training(epochs=10, batch_size=32, lr=1e-3)
    layer: str | None = None

    def __post_init__(self):
        rates = {"lr_extraction": NOT_NEGATIVE, "lr_alignment": NOT_NEGATIVE, "kl": NOT_NEGATIVE}
        words = {"error": FORMS, "decoder": DECODERS, "first": ("all", "retain")}
        check_settings(self, **rates, **words, temperature=POSITIVE, latent=whole(1), vae=Training)
        check_settings(self.vae, loss=("auto",), schedule=("constant", "cosine"))

    @classmethod
    def paper(cls, dataset: str, task: str, source: str = "paper") -> LAF:
        """The recipe of a data set and a task: "random", "class", "noisy"; see `recipes.LAF`.

        For "random" on MNIST and Fashion-MNIST the paper prints a temperature of 2, which ruined
        the model where we tried it on MNIST; source="file" has the 5 of the authors' code.
        """
        return cls(**recipes.published(recipes.LAF, dataset, task, source=source))


@method
def laf(
    model: nn.Module,
    forget: Tensor,
    retain: Tensor,
    *,
    config: LAF = LAF(),
    seed: int = 0,
    watch: Watch | None = None,
    checkpoint: File | None = None,
) -> Unlearned:
    """Unlearn by inputs alone: forgotten features leave what they looked like and where they lay.

    Two autoencoders learn what the original's features look like, h of all or of retained inputs,
    h_f of forgotten ones. Then every pair of batches makes two steps of the extractor e(x):

        L_UE = sum_r phi(|h(e) - e|^2) - sum_f phi(|h_f(e) - e|^2)
        L_RA = sum_r d - |B_r| log sum_f exp(d / tau),  d = 1 - cos(e, e_o),  as released

    e_o are the original's features. What follows the extractor gets no gradient and stays; batch
    normalisation keeps its statistics. `history.loss` has L_UE and L_RA in turns. An autoencoder's
    own passes count in the seconds, not in the sample units, which are the network's.

    Args: forget, retain: (N, ...) inputs alone, or datasets of them, whose features are computed at
        every reading. seed, watch, checkpoint: as in `Run`
    Paper: Shen et al. 2024.          Chapter: 8
    Differs: from the authors' code, as the settings say (`LAF.paper` has the released choices); a
        pass also goes on if fewer inputs are retained than forgotten; a last batch of one joins the
        one before; the logarithm in the KL has no 1e-8. All else is equal up to rounding
    Raises: ValueError if a set is smaller than a batch, most forgotten inputs are retained ones (of
        some it warns), or the representation is not there or the same for all; NonFiniteLoss
    """
    vae.check_sets(forget, retain, config.batch_size)
    student, cost = copy_of(model), Cost()
    known_forget = vae.original_features(model, forget, config.layer, "forget", cost)
    known_retain = vae.original_features(model, retain, config.layer, "retain", cost)
    features = vae.student_features(student, config.layer, forget, cost)
    h, h_f = vae.autoencoders(known_forget, known_retain, config, seed, checkpoint, cost)

    def extraction(x_forget, x_retain):
        e_forget, e_retain = features(x_forget, x_retain)
        phi_retain = reconstruction_error(h.rebuild(e_retain), e_retain, config.error)
        phi_forget = reconstruction_error(h_f.rebuild(e_forget), e_forget, config.error)
        return phi_retain.sum() - phi_forget.sum()

    def alignment(x_forget, x_retain, original_forget, original_retain):
        e_forget, e_retain = features(x_forget, x_retain)
        d_retain = cosine_distance(e_retain, original_retain)
        d_forget = cosine_distance(e_forget, original_forget)
        return alignment_loss(d_retain, d_forget, config.temperature)

    about = {"data": (forget, retain), "original": model}
    with Run(student, config, seed, watch, checkpoint, cost=cost, train=False, **about) as run:
        extracting = run.adam(config.lr_extraction)  # what follows the extractor has no gradient
        aligning = run.adam(config.lr_alignment)
        for _ in run.epochs(config.epochs):
            pairs = vae.with_features(known_forget, known_retain, config.batch_size, run)
            for x_forget, x_retain, *original_features in pairs:
                run.step(extraction, x_forget, x_retain, optimizer=extracting)
                run.step(alignment, x_forget, x_retain, *original_features, optimizer=aligning)
                run.cost.trained(forget=2 * len(x_forget), retain=2 * len(x_retain))
    return run.unlearned("laf")
