"""What the kernels are timed on, and the other ways to the same numbers.

`CASES[name](size)` gives, for every case, words for its shapes, the inputs as a function of a seed
and a device, how many of the inputs have a gradient, and the bytes that must be moved.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

# a smaller version for "toy", where the sizes of "paper" are those of the papers or of one GPU
SHRINK = {"toy": 8, "small": 2, "paper": 1}
# Every kernel has a case at "paper" that moves so much: a copy takes ten launches and more there,
# each ten microseconds, on a GPU that moves 5 TB a second.
LARGE = 500_000_000


def _large(size: str, *numbers) -> tuple:
    return numbers if size == "paper" else ()


def _random(seed: int, device, *shapes, uniform: bool = False) -> list[torch.Tensor]:
    generator = torch.Generator(device).manual_seed(seed)
    draw = torch.rand if uniform else torch.randn
    return [draw(shape, generator=generator, device=device) for shape in shapes]


def _half(n: int, device) -> torch.Tensor:
    return torch.arange(n, device=device) % 2 == 0


def _mixed_l1(size: str):
    """Blindspot's batch, whose rows have a term, and many rows as Amnesiac has them."""
    many = [(b, 0) for b in (2**20 // SHRINK[size], *_large(size, 2**26))]
    for b, extra in ((256, 1), *many):

        def make(seed, device, b=b, extra=extra):
            return *_random(seed, device, (b,), (b,)), *_random(seed + 1, device, *[(b,)] * extra)

        yield f"{b} outputs and targets" + ", a term each" * extra, make, 1, (12 + 8 * extra) * b


def _l2_pgd(size: str):
    for b, side in ((32, 32), (320, 32), (320 // SHRINK[size], 224 // SHRINK[size])):

        def make(seed, device, shape=(b, 3, side, side)):
            x, x0 = _random(seed, device, shape, shape, uniform=True)
            (gradient,) = _random(seed + 1, device, shape)
            return x, gradient, x0, 0.1, 1.0, 0.0, 1.0, True

        yield f"{b} images of 3 x {side} x {side}", make, 0, 16 * b * 3 * side**2


def _attention_tap(size: str):
    batch = 256 // SHRINK[size]
    cases = [(batch, 96, 32), (batch, 192, 8), *_large(size, (1024, 96, 32))]
    for b, channels, side in cases:

        def make(seed, device, shape=(b, channels, side, side)):
            return *_random(seed, device, shape, shape), _half(shape[0], device)

        moved = int(4 * b * channels * side**2 * (2 * 0.5 + 0.5 + 1))  # nothing comes from above
        yield f"{b} maps of {channels} x {side} x {side}, half forgotten", make, 1, moved


def _abs_bmm(size: str):
    n = max(2, 32 // SHRINK[size])
    shapes = [(n, 64, 576, 64), (n, 128, 1152, 16), (n, 512, 4608, 4)]  # of ResNet-18 at 32 pixels
    for n, o, k, p in (*shapes, *_large(size, (4096, 64, 576, 64))):

        def make(seed, device, shapes=((n, o, p), (n, p, k))):
            return tuple(_random(seed, device, *shapes))

        yield f"{n} items, {o} x {k} weights, {p} positions", make, 0, 4 * (n * p * (o + k) + o * k)


def _rows(size: str, count: int):
    """Two rows of features for every input."""
    for b in (32, 16_384 // SHRINK[size], *_large(size, 2**18)):

        def make(seed, device, b=b):
            return tuple(0.1 * t for t in _random(seed, device, *[(b, 256)] * count))

        yield b, make


def _cosine(size: str):
    for b, make in _rows(size, 2):
        yield f"{b} rows of 256", make, 1, 16 * b * 256


def _alignment(size: str):
    for b in (32, 4096 // SHRINK[size], *_large(size, 2**25)):

        def make(seed, device, b=b):
            return *_random(seed, device, (b,), (b,), uniform=True), 20.0

        yield f"{b} and {b} distances", make, 2, 16 * b


def _rebuilding(size: str):
    for b, make in _rows(size, 2):
        yield f"{b} rows of 256", lambda *a, make=make: (*make(*a), True), 2, 20 * b * 256


def _gaussian_elbo(size: str):
    for b, make in _rows(size, 2):

        def whole(seed, device, b=b, make=make):
            h, e = make(seed, device)
            mean, log = _random(seed + 1, device, (b, 8), (b, 8))
            return h, mean, log, e, 0.025

        yield f"{b} rows of 256, codes of 8", whole, 3, b * (16 * 256 + 32 * 8)


CASES = {
    "mixed_l1": _mixed_l1,
    "l2_pgd": _l2_pgd,
    "attention_tap": _attention_tap,
    "abs_bmm": _abs_bmm,
    "cosine": _cosine,
    "alignment": _alignment,
    "rebuilding": _rebuilding,
    "gaussian_elbo": _gaussian_elbo,
}


def _two_means(out, target, extra=None):
    """As published: boolean indices, which wait for the device, and a weight for either mean."""
    forget = _half(len(out), out.device)
    share = forget.float().mean()
    means = [(out[rows] - target[rows]).abs().mean() for rows in (forget, ~forget)]
    loss = share * means[0] + (1 - share) * means[1]
    return loss if extra is None else loss + extra.mean()


def _masked_maps(student, teacher, forget):
    """As published: the rows are picked out by a boolean index before anything is computed."""

    def unit(x):
        return F.normalize(x[forget].pow(2).mean(1).flatten(1))

    each = (unit(student) - unit(teacher)).pow(2).mean(1)
    return student.new_zeros(len(student)).index_put((forget,), each)


def _all_pairs(d_retain, d_forget, temperature):
    """As published: every retained input against all forgotten ones."""
    pairs = d_retain.exp()[:, None] / (d_forget / temperature).exp().sum().expand(len(d_retain), 1)
    return pairs.log().sum()


# by kernel, then by name
OTHERS: dict[str, dict[str, Callable]] = {
    "mixed_l1": {"published": _two_means},
    "attention_tap": {"published": _masked_maps},
    "abs_bmm": {"stored": lambda g, a: torch.bmm(g, a).abs().sum(0)},
    "alignment": {"published": _all_pairs},
}
