"""A Gaussian bound: its oracles, its planted faults, and how it is translated."""

import torch
from kernel_checks import DEVICE, NAN, Translation, doubled, gradients, near, random


def test_the_bound_is_the_formula(m):
    for n, d, k in ((1, 1, 1), (5, 256, 8), (2, 1025, 1030)):
        h, e, mean, log = (random(n, s, seed=i) for i, s in enumerate((d, d, k, k)))
        args = h, mean, log, e, 0.5
        ours = gradients(m.fused, args, 3)
        near(ours, gradients(m.reference, doubled(args), 3))
        posterior = torch.distributions.Normal(mean.double(), (log.double() / 2).exp())
        kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
        near(ours[0], (h - e).double().square().sum(1) + 0.5 * kl.sum(1))


def test_a_row_does_not_see_another(m):
    h, e, mean, log = (random(3, s, seed=s + i) for i, s in enumerate((70, 70, 5, 5)))
    mean[1, 2] = NAN
    value = m.fused(h, mean, log, e, 0.5)
    assert value.isnan().nonzero().flatten().tolist() == [1]
    assert m.fused(h[:0], mean[:0], log[:0], e[:0], 0.5).shape == (0,)


FAULTS = {
    "half the divergence": ("- log - 1, 0) / 2", "- log - 1, 0) / 4"),
    "the slope of the variance": ("w * (variance - 1) / 2", "w * variance / 2"),
}

SLOPES = {"gaussian_elbo": ((0, 1, 2), (2,))}

OPERATIONS = {"gaussian_elbo": lambda m: [m.example(DEVICE)]}

TRANSLATIONS = {
    "rows": Translation("_row", {"BLOCK": 1024}, ints="width latent", floats="weight"),
}
