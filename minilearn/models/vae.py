"""A small variational autoencoder over a representation: what features of one kind look like."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minilearn.checks import check_choice, check_count
from minilearn.kernels.gaussian_elbo import gaussian_elbo
from minilearn.kernels.laf_losses import reconstruction_error

DECODERS = ("linear", "sigmoid")


class VAE(nn.Module):
    """A variational autoencoder of vectors: it rebuilds badly what is unlike its training data.

        z = mu(e) + sigma(e) eps,   eps a standard normal vector;      h(e) = decoder(z)

    Paper: Kingma and Welling 2014; Shen et al. 2024 train two over the representation.
    Args: inputs: numbers in a vector. latent: numbers in z. decoder: its end, "linear" or "sigmoid"
    Shapes: e (B, inputs); returns h(e) (B, inputs), mu and log sigma^2 (B, latent)
    Differs: from Shen et al.'s code (Model.py:70-161), whose decoder ends in a sigmoid and so
        cannot rebuild a feature outside (0, 1): here that is decoder="sigmoid"; 75,088 parameters
        with 256 inputs and 8 latent numbers, as there
    Raises: ValueError if a size is not a whole number from 1, or there is no such decoder
    Example:
        >>> [tuple(part.shape) for part in VAE(256, 8)(torch.zeros(5, 256))]
        [(5, 256), (5, 8), (5, 8)]
    """

    def __init__(self, inputs: int = 256, latent: int = 8, decoder: str = "linear"):
        super().__init__()
        check_count("inputs", inputs, 1)
        check_count("latent", latent, 1)
        check_choice("decoder", decoder, DECODERS)
        self.encoder = nn.Sequential(
            nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU()
        )
        self.mean = nn.Linear(32, latent)
        self.log_variance = nn.Linear(32, latent)
        layers = [nn.Linear(latent, 32), nn.ReLU(), nn.Linear(32, 128), nn.ReLU()]
        layers.append(nn.Linear(128, inputs))
        if decoder == "sigmoid":
            layers.append(nn.Sigmoid())
        self.decoder = nn.Sequential(*layers)

    def forward(self, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The vectors rebuilt, and mean and log variance of the latent vectors; z is drawn."""
        code = self.encoder(e)
        mean = self.mean(code)
        log_variance = self.log_variance(code)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return self.decoder(z), mean, log_variance

    def rebuild(self, e: Tensor) -> Tensor:
        """h(e): the vectors (B, inputs), rebuilt from latent vectors that are drawn afresh."""
        return self(e)[0].to(e.dtype)

    def error(self, e: Tensor) -> Tensor:
        """How badly each vector is rebuilt: the squared distance |h(e) - e|^2, (B,)."""
        return reconstruction_error(self.rebuild(e), e, "squared")

    def loss(self, e: Tensor, weight: float) -> Tensor:
        """Squared distance plus `weight` times KL(N(mu, sigma^2) || N(0, 1)), of each vector: (B,).

        With weight 2 it is minus twice the evidence lower bound of a Gaussian decoder of variance
        1, up to a constant.
        """
        rebuilt, mean, log_variance = (part.to(e.dtype) for part in self(e))
        return gaussian_elbo(rebuilt, e, mean, log_variance, weight)
