"""The settings of LAF, and the released ones."""

from __future__ import annotations

from dataclasses import dataclass

from minilearn.data.checks import check_choice, check_count, check_number
from minilearn.losses import ERRORS
from minilearn.models.vae import DECODERS
from minilearn.training import Training

# Released: latent numbers, epochs, the two learning rates, temperature, by network and task.
RECIPES = {
    ("cnn", "random"): (8, 20, 5e-5, 1e-4, 5.0),
    ("cnn", "class"): (8, 20, 5e-5, 1e-4, 20.0),
    ("cnn", "noisy"): (8, 20, 5e-5, 1e-4, 20.0),
    ("resnet", "random"): (16, 40, 1e-5, 4e-5, 20.0),
    ("resnet", "class"): (16, 40, 1e-5, 5e-5, 20.0),
    ("resnet", "noisy"): (16, 40, 1e-5, 4e-5, 5.0),
}
FIRST = ("all", "retain")


@dataclass(frozen=True)
class LAF:
    """How to unlearn; the defaults are the released recipe for a small network.

    A learning rate of 0 leaves a loss out. Whose features the first autoencoder learns is `first`:
    those of the retained data are what the paper argues for, those of all data what is released,
    because nearly all of them are retained.

    Raises: ValueError if a value makes no sense
    """

    epochs: int = 20  # passes over the forgotten inputs, as released for a small network
    batch_size: int = 32  # forgotten inputs a step, and as many retained ones; as released
    lr_extraction: float = 5e-5  # learning rate (Adam) of the extraction loss, as released
    lr_alignment: float = 1e-4  # learning rate (Adam) of the alignment loss, as released
    temperature: float = 20.0  # tau, as released for four of the six `RECIPES`; the others 5
    error: str = "saturated"  # exp(m / (m + 1)), as released; "squared": the error itself
    decoder: str = "sigmoid"  # of the autoencoders, as released; or "linear"
    first: str = "all"  # inputs of the first autoencoder, as released; or "retain"
    latent: int = 8  # numbers in a latent vector, as released for a small network
    kl: float = 0.025  # weight of the KL term of the autoencoders, as released
    vae: Training = Training(epochs=10, batch_size=32, lr=1e-3)  # theirs, as released
    layer: str | None = None  # the representation; None: see `models.extractor`

    def __post_init__(self):
        for name, kinds in (("error", ERRORS), ("decoder", DECODERS), ("first", FIRST)):
            check_choice(name, getattr(self, name), kinds)
        check_number("temperature", self.temperature, 0), check_number("kl", self.kl, 0, ends="[)")
        check_count("latent", self.latent, 1)
        if not isinstance(self.vae, Training):
            raise ValueError(f"vae must be a Training, got {type(self.vae).__name__}")
        if not isinstance(self.layer, str | None):
            raise ValueError(f"layer is the name of a layer or None, got {self.layer!r}")
        self.turns()

    def turns(self) -> tuple[Training, Training]:
        """What `fit` needs: the settings of the extraction steps and of the alignment steps."""
        rates = self.lr_extraction, self.lr_alignment
        return tuple(Training(self.epochs, self.batch_size, lr) for lr in rates)

    @classmethod
    def paper(cls, network: str, task: str) -> LAF:
        """The released recipe: "cnn" or "resnet"; "random", "class" or "noisy"; else ValueError."""
        if (network, task) not in RECIPES:
            known = ", ".join(" ".join(key) for key in RECIPES)
            raise ValueError(f"recipes are published for {known}, not for {network!r}, {task!r}")
        latent, epochs, extraction, alignment, temperature = RECIPES[network, task]
        rates = {"lr_extraction": extraction, "lr_alignment": alignment}
        return cls(epochs, temperature=temperature, latent=latent, **rates)
