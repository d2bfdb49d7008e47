"""Methods as bare loops of torch: their passes, losses and batches, and nothing around them.

Each function takes (model, request, config, order, options), with `order` the generator that
shuffles and `options` what the method is called with, and returns the new model. On a CPU that is
the method's own, bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.cost import Cost
from minilearn.data import Examples, random_part
from minilearn.kernels.laf_losses import reconstruction_error
from minilearn.losses import alignment_loss, copying_loss, cosine_distance, divergence
from minilearn.methods import (
    L2UL,
    LAF,
    SCRUB,
    Amnesiac,
    BadTeacher,
    Blindspot,
    Boundary,
    NegGrad,
    Repair,
    gaussian_targets,
    neighbours,
)
from minilearn.models import activations, build, chain, extractor
from minilearn.parts.anchor import anchor_of
from minilearn.parts.attack import adversarial_images
from minilearn.parts.attention import attention_gap
from minilearn.parts.vae import autoencoders, original_features
from minilearn.requests import Request
from minilearn.training import Training


def shuffled(count: int, size: int, order: torch.Generator) -> list[Tensor]:
    """The positions of every batch of an epoch; a last batch of one joins the one before."""
    parts = list(torch.randperm(count, generator=order).split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def placed(parts: list[Tensor], data: Examples) -> list[Tensor]:
    """Positions where the data are, moved at once: with a copy a batch every step would wait."""
    return list(torch.cat(parts).to(data.device).split([len(part) for part in parts]))


def passing(data: Examples, size: int, order: torch.Generator) -> list[Tensor]:
    """The positions of every batch of an epoch, where the data are."""
    return placed(shuffled(len(data), size, order), data)


def adam(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """The optimiser of nearly all methods."""
    return torch.optim.Adam(model.parameters(), lr, foreach=True)


def step(optimizer: torch.optim.Optimizer, loss: Tensor):
    """One step down a loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The mean over a batch."""
    return F.cross_entropy(model(x), y, reduction="none").mean()


def supervised(model: nn.Module, examples: Examples, config: Training, order) -> nn.Module:
    """An ordinary training of a copy."""
    student = copy.deepcopy(model).train()
    optimizer = adam(student, config.lr)
    for _ in range(config.epochs):
        for part in passing(examples, config.batch_size, order):
            loss = cross_entropy(student, examples.inputs[part], examples.targets[part])
            step(optimizer, loss)
    return student


def bare_training(model, request: Request, config: Training, order, options) -> nn.Module:
    """Of `finetune`."""
    return supervised(model, request.retain, config, order)


def bare_retrain(model, request: Request, config: Training, order, options) -> nn.Module:
    """Of `retrain`."""
    return supervised(build(options["fresh"], options["seed"]), request.retain, config, order)


def bare_repair(model, request: Request, config: Repair, order, options) -> nn.Module:
    """Of `repair`: the classifier alone, in evaluation mode."""
    student, retain = copy.deepcopy(model).eval(), request.retain
    student.features.requires_grad_(False)
    optimizer = torch.optim.Adam(student.head.parameters(), config.lr, foreach=True)
    for _ in range(config.epochs):
        for part in passing(retain, config.batch_size, order):
            step(optimizer, cross_entropy(student, retain.inputs[part], retain.targets[part]))
    return student.requires_grad_(True)


def pairs(first, second, size: int, order) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over the first set, each batch beside the next one of the second."""
    waiting = []
    for part in passing(first, size, order):
        waiting = waiting or passing(second, size, order)
        yield part, waiting.pop(0)


def bare_neggrad(model, request: Request, config: NegGrad, order, options) -> nn.Module:
    """Of `neggrad`, with retained data."""
    student = copy.deepcopy(model).train()
    optimizer, forget, retain = adam(student, config.lr), request.forget, request.retain
    for _ in range(config.epochs):
        for f, r in pairs(forget, retain, config.batch_size, order):
            up = cross_entropy(student, forget.inputs[f], forget.targets[f])
            down = cross_entropy(student, retain.inputs[r], retain.targets[r])
            step(optimizer, config.alpha * down - (1 - config.alpha) * up)
    return student


def bare_scrub(model, request: Request, config: SCRUB, order, options) -> nn.Module:
    """Of `scrub`."""
    student, original = copy.deepcopy(model).train(), copy.deepcopy(model).eval()
    optimizer, forget, retain = adam(student, config.lr), request.forget, request.retain

    def apart(x: Tensor) -> tuple[Tensor, Tensor]:
        logits = student(x)
        with torch.no_grad():
            target = original(x)
        return logits, divergence(target, logits, config.temperature).mean()

    for epoch in range(config.epochs):
        if epoch < config.ascents:
            for part in passing(forget, config.forget_batch, order):
                step(optimizer, -apart(forget.inputs[part])[1])
        for part in passing(retain, config.batch_size, order):
            logits, kl = apart(retain.inputs[part])
            loss = F.cross_entropy(logits, retain.targets[part], reduction="none").mean()
            step(optimizer, config.gamma * loss + config.alpha * kl)
    return student


def mixed(forget, retain, size: int, order) -> Iterator[tuple[Tensor, Tensor]]:
    """Both sets shuffled together: positions in either, batch by batch."""
    n = len(forget)
    parts = shuffled(n + len(retain), size, order)
    forgotten = placed([part[part < n] for part in parts], forget)
    return zip(forgotten, placed([part[part >= n] - n for part in parts], retain), strict=True)


def bare_bad_teacher(model, request: Request, config: BadTeacher, order, options) -> nn.Module:
    """Of `bad_teacher`."""
    student, good = copy.deepcopy(model).train(), copy.deepcopy(model).eval()
    bad = build(options["fresh"], options["seed"] + 30_000).eval()
    chosen = random_part(request.retain.inputs, config.fraction, options["seed"])
    optimizer, forget = adam(student, config.lr), request.forget.inputs
    for _ in range(config.epochs):
        for f, r in mixed(forget, chosen, config.batch_size, order):
            x_forget, x_retain = forget[f], chosen[r]
            with torch.no_grad():
                taught = torch.cat([bad(x_forget), good(x_retain)])
            logits = student(torch.cat([x_forget, x_retain]))
            step(optimizer, divergence(taught, logits).mean())
    return student


def bare_boundary(model, request: Request, config: Boundary, order, options) -> nn.Module:
    """Of `boundary`."""
    student, forget = copy.deepcopy(model).train(), request.forget
    goal = neighbours(model, forget, config, Cost())
    optimizer = adam(student, config.lr)
    for _ in range(config.epochs):
        for part in passing(forget, config.batch_size, order):
            step(optimizer, F.cross_entropy(student(forget.inputs[part]), goal[part]))
    return student


def bare_l2ul(model, request: Request, config: L2UL, order, options) -> nn.Module:
    """Of `l2ul`: the items are tested before each epoch and after each step."""
    student, forget = copy.deepcopy(model).train(), request.forget
    images = adversarial_images(model, forget, config.attack, options["seed"], Cost())
    anchor = anchor_of(student, forget, config, options["seed"], Cost())
    optimizer = torch.optim.SGD(
        student.parameters(), config.lr, config.momentum, 0, config.weight_decay, foreach=True
    )

    def done() -> bool:
        student.eval()
        with torch.no_grad():
            hits = student(forget.inputs).argmax(1) == forget.targets
        student.train()
        return not bool(hits.any())

    done()
    for _ in range(config.epochs):
        if done():
            break
        waiting = []
        for part in passing(images, config.adversarial_batch, order):
            waiting = waiting or passing(forget, config.batch_size, order)
            f = waiting.pop(0)
            logits, y = student(forget.inputs[f]), forget.targets[f]
            logits_adv = student(images.inputs[part])
            losses = F.cross_entropy(logits, y, reduction="none")
            losses = losses.where(logits.argmax(1) == y, 0.0)
            loss = (1 - config.forget_weight) * F.cross_entropy(logits_adv, images.targets[part])
            loss = loss - config.forget_weight * losses.mean()
            step(optimizer, loss + config.anchor * anchor.penalty())
            if done():
                break
    done()
    return student


def bare_laf(model, request: Request, config: LAF, order, options) -> nn.Module:
    """Of `laf`."""
    forget, retain = request.forget.inputs, request.retain.inputs
    known_forget = original_features(model, forget, None, "forget", Cost())
    known_retain = original_features(model, retain, None, "retain", Cost())
    h, h_f = autoencoders(known_forget, known_retain, config, options["seed"], None, Cost())
    torch.manual_seed(options["seed"])
    student = copy.deepcopy(model).eval()
    extract = extractor(student)
    first, second = adam(student, config.lr_extraction), adam(student, config.lr_alignment)
    for _ in range(config.epochs):
        for f, r in pairs(forget, retain, config.batch_size, order):
            x = torch.cat([forget[f], retain[r]])
            e = extract(x)
            e_forget, e_retain = e[: len(f)], e[len(f) :]
            kept = reconstruction_error(h(e_retain)[0], e_retain, config.error).sum()
            lost = reconstruction_error(h_f(e_forget)[0], e_forget, config.error).sum()
            step(first, kept - lost)
            e = extract(x)
            d_retain = cosine_distance(e[len(f) :], known_retain.kept[r])
            d_forget = cosine_distance(e[: len(f)], known_forget.kept[f])
            step(second, alignment_loss(d_retain, d_forget, config.temperature))
    return student


def bare_amnesiac(model, request: Request, config: Amnesiac, order, options) -> nn.Module:
    """Of `amnesiac`."""
    forget, retain = request.forget, request.retain
    drawn = gaussian_targets(forget, retain, config, options["seed"]).to(forget.device)
    student = copy.deepcopy(model).train()
    optimizer = adam(student, config.lr)
    for _ in range(config.epochs):
        for f, r in mixed(forget, retain, config.batch_size, order):
            out = student(torch.cat([forget.inputs[f], retain.inputs[r]]))
            step(optimizer, (out - torch.cat([drawn[f], retain.targets[r]])).abs().mean())
    return student


def bare_blindspot(model, request: Request, config: Blindspot, order, options) -> nn.Module:
    """Of `blindspot`, its teacher given."""
    forget, retain, teacher = request.forget, request.retain, options["teacher"].eval()
    student, layers = copy.deepcopy(model).train(), chain(model)
    optimizer = adam(student, config.lr)
    for _ in range(config.epochs):
        for f, r in mixed(forget, retain, config.batch_size, order):
            x_forget, n = forget.inputs[f], len(f)
            with activations(student, layers) as maps:
                out = student(torch.cat([x_forget, retain.inputs[r]]))
            with torch.no_grad(), activations(teacher, layers) as maps_teacher:
                answer = teacher(x_forget)
            gap = attention_gap(maps, maps_teacher, layers, n, config.axis, True) if n else 0.0
            loss = copying_loss(out, answer, retain.targets[r], config.beta * gap)
            step(optimizer, loss)
    return student


BARE = {
    "retrain": bare_retrain,
    "finetune": bare_training,
    "neggrad": bare_neggrad,
    "repair": bare_repair,
    "scrub": bare_scrub,
    "bad_teacher": bare_bad_teacher,
    "boundary": bare_boundary,
    "l2ul": bare_l2ul,
    "laf": bare_laf,
    "amnesiac": bare_amnesiac,
    "blindspot": bare_blindspot,
}
