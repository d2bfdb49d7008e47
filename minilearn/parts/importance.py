"""How much each weight matters for what a model says about some items: memory-aware synapses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, suppress
from functools import partial
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from minilearn.checks import check_choice, check_count, refuse_non_finite
from minilearn.cost import Cost, ledger
from minilearn.data.batches import batches
from minilearn.data.examples import Examples, check_device
from minilearn.draws import seeded
from minilearn.evaluation import logits_of
from minilearn.identity import structure
from minilearn.models import copy_of, mode, thaw, uncompiled, with_gradients
from minilearn.parts.products import RULES

KINDS = ("per-item", "loop", "batch-mean")
LOOP = 'importance="loop" in L2UL, or importance(model, data, "loop"), takes any network'
CHECKED: WeakKeyDictionary = WeakKeyDictionary()  # what a network was when its products were right
BATCH_NORM = nn.modules.batchnorm._BatchNorm


def importance(
    model: nn.Module,
    data: Examples | Tensor,
    kind: str = "per-item",
    *,
    train: bool = False,
    batch_size: int = 32,
    seed: int = 0,
    cost: Cost | None = None,
) -> dict[str, Tensor]:
    """The importance of every weight for the model's answers on `data`; no label is used.

        Omega_i = sum_n | d |f(x_n)| / d theta_i |,   |f(x)| the Euclidean norm of the logits

    "per-item" computes it with one backward pass a batch: from what a layer is given and the
    gradient of what it outputs, its share of the sum is one product (for a linear layer without
    positions |G|^T |A|), so that no gradient of one item is ever kept. It knows linear,
    convolution and normalisation layers, self-attention, and weights added to every item such as
    a position embedding. At the first call for a network two items are checked against their own
    gradients, so that one that uses its weights in another way is refused. "loop" is the
    definition, item by item, for any network. "batch-mean" is the released variant: the mean over
    batches, weighted by their size, of |d mean_b |f(x_b)| / d theta|, where items of opposite sign
    cancel.

    Args:
        kind: how it is computed, see above
        train: of "batch-mean", whether the network is in training mode
        batch_size: items at once; for "batch-mean" it changes the result
        seed: of dropout in training mode
        cost: the ledger that the passes are added to
    Paper: Aljundi et al. 2018; Cha et al. 2024, with the norm not squared.          Chapter: 6
    Shapes: data (N, ...); returns a tensor of every parameter's shape, by its name; not of whole
        numbers, nor of floats of 8 bits
    Differs: from the released code (utils.py:241-265), where gradients also pile up from batch to
        batch, and the sum is divided by a number of whole batches, which `firmness` cancels;
        f(x) = 0 has gradient 0 here, not NaN
    Raises: ValueError if the data are empty, `kind` is unknown, or the network has what has no
        per-item gradient (batch statistics) or no product here (groups, shared weights)
    Example:
        >>> importance(nn.Linear(2, 1), torch.tensor([[3.0, 1.0], [-1.0, 2.0]]))["weight"]
        tensor([[4., 3.]])
    """
    x = _inputs(model, data)
    check_choice("kind", kind, KINDS)
    check_count("batch_size", batch_size, 1)
    if train and kind != "batch-mean":
        raise ValueError("in training mode a batch shares its statistics: an item has no gradient")
    given, built = model, _built(model, x)
    model = copy_of(model)
    prefix = ""
    while isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module  # torch calls no function of a parallel network's weights
        prefix += "module."
    cost = ledger(cost)
    parts = x.split(1) if kind == "loop" else [*batches(x, batch_size)]
    with mode(model, train=train), seeded(seed), uncompiled(model), with_gradients():
        thaw(model)  # after the mode, in which frozen parts keep their statistics
        if kind == "loop":
            omega = _absolute_gradients(model, parts, cost, torch.sum)
        elif kind == "batch-mean":
            omega = _absolute_gradients(model, parts, cost, torch.mean)
            number = len(x) / len(parts[0])  # of batches, the last one perhaps a part of one
            omega = {name: total / number for name, total in omega.items()}
        else:
            hooked = any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
            omega = _per_item(model, parts, cost, not hooked and CHECKED.get(given) == built)
            CHECKED[given] = built
    for name, total in omega.items():
        refuse_non_finite(f"importance of {name}", total.reshape(1, -1))
    return {prefix + name: total for name, total in omega.items()}


def _inputs(model: nn.Module, data) -> Tensor:
    x = data.inputs if isinstance(data, Examples) else data
    if not isinstance(x, Tensor) or x.ndim == 0 or len(x) == 0:
        raise ValueError("importance needs the items as Examples or a tensor with one at least")
    check_device(model, x)
    return x


def _norms(model: nn.Module, x: Tensor, cost: Cost) -> Tensor:
    cost.touch("forget", forward=len(x), backward=len(x))
    return torch.linalg.vector_norm(logits_of(model, x.clone()), dim=1)  # it may write into them


def _learnt(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _absolute_gradients(model, parts, cost: Cost, reduce: Callable) -> dict[str, Tensor]:
    named = _learnt(model)
    wide = {name: torch.promote_types(p.dtype, torch.float32) for name, p in named.items()}
    omega = {name: torch.zeros_like(p, dtype=wide[name]) for name, p in named.items()}
    for x in parts:
        norm = reduce(_norms(model, x, cost))
        gradients = torch.autograd.grad(norm, [*named.values()], allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                omega[name] += gradient.abs().to(wide[name]) * (len(x) / len(parts[0]))
    return {name: total.to(named[name].dtype) for name, total in omega.items()}


def _per_item(model: nn.Module, parts: tuple[Tensor, ...], cost: Cost, checked: bool):
    """The importance by products; unless `checked`, two items' are held against the definition."""
    names = {id(p): name for name, p in model.named_parameters()}
    for path, module in model.named_modules():
        _refuse(path, module)
    if not checked:
        wrong = _differing(copy_of(model), parts[0][:2], cost)
        if wrong:  # at a kink, single precision may fall to either side
            with suppress(RuntimeError, TypeError):  # not every network or device has double
                wrong = _differing(copy_of(model).double(), parts[0][:2].double(), cost)
        if wrong:
            raise ValueError(f"the network uses {wrong} in a way that has no product here; {LOOP}")
    return _products(model, parts, names, _opened(model), cost)


def _differing(model: nn.Module, two: Tensor, cost: Cost) -> str:
    """The first parameter whose product is not its two items' gradients; "" if there is none."""
    thaw(model)
    names = {id(p): name for name, p in model.named_parameters()}
    expected = _absolute_gradients(model, two.split(1), cost, torch.sum)
    try:
        tried = _products(model, (two,), names, _opened(model), cost)
    except (AttributeError, TypeError, ValueError) as error:
        if not isinstance(error.__cause__ or error, AttributeError | TypeError):
            raise
        # the network looks inside an attention that was opened
        raise ValueError(f"the network cannot be opened ({error}); {LOOP}") from None
    largest = max(float(omega.norm()) for omega in expected.values())
    near = 1e-3 if two.device.type == "cpu" else 3e-2  # convolutions in TF32
    for name, omega in expected.items():
        if not (tried[name] - omega).norm() <= near * (omega.norm() + 1e-2 * largest):
            return name
    return ""


def _built(model: nn.Module, x: Tensor) -> list:
    """What a network is built of and given, as far as its products depend on it."""
    types = [type(module) for module in model.modules()]
    return [x.shape[1:], x.dtype, x.device, types, structure(model)]


def _opened(model: nn.Module) -> list[str]:
    """Put layers where attention hides them; returns the parameters that belong to no layer.

    Raises: ValueError if a parameter has no product
    """
    for name, module in [*model.named_modules()]:
        if type(module) is nn.MultiheadAttention:
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, _SelfAttention(module))
    owners = Counter()
    bare = []
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(path, recurse=False):
            if not parameter.requires_grad:  # whole numbers, as of a quantised layer
                continue
            owners[parameter] += 1
            if owners[parameter] > 1:
                raise ValueError(f"{name} is shared by two layers, so its parts add up; {LOOP}")
            if type(module) not in RULES:
                if parameter.ndim < 2 or parameter.shape[0] != 1:
                    raise ValueError(f"there is no product for {name}; {LOOP}")
                bare.append(name)
    return bare


def _refuse(path: str, module: nn.Module):
    if type(module) in RULES and any(isinstance(value, Tensor) for value in vars(module).values()):
        raise ValueError(f"{path} computes a weight from others, which has no product here; {LOOP}")
    if isinstance(module, BATCH_NORM) and module.running_mean is None:
        raise ValueError(f"{path} normalises by its batch: an item has no gradient of its own")
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        raise ValueError(f"{path} is a convolution in groups, which has no product here; {LOOP}")
    if isinstance(module, nn.Conv2d) and (
        module.padding_mode != "zeros" or isinstance(module.padding, str)
    ):
        raise ValueError(f"{path} pads in a way that has no product here; {LOOP}")


def _products(model, parts, names: dict[int, str], bare: list[str], cost: Cost):
    """The sum over all items, layer by layer, as the backward pass reaches them."""
    named = _learnt(model)
    model.requires_grad_(False)
    omega = {}
    for x in parts:
        # a weight that is added to every item gets one copy per item, and so a gradient per item
        each = {k: named[k].repeat(len(x), *[1] * (named[k].ndim - 1)) for k in bare}
        leaves = [v.requires_grad_() for v in each.values()]
        with _watched(model, names, omega, len(x), leaves):
            with_each = partial(functional_call, model, each) if each else model
            norm = _norms(with_each, x, cost).sum()
            gradients = torch.autograd.grad(norm, leaves, allow_unused=True)[: len(each)]
        for name, gradient in zip(each, gradients, strict=True):
            if gradient is not None:
                omega[name] = omega.get(name, 0) + gradient.abs().sum(0, keepdim=True)
    found = {names[id(p)]: omega.get(names[id(p)], torch.zeros_like(p)) for p in named.values()}
    return {name: total.contiguous() for name, total in found.items()}


@contextmanager
def _watched(model: nn.Module, names: dict[int, str], omega: dict[str, Tensor], n: int, leaves):
    """Add each layer's part to `omega` when the backward pass has its output's gradient.

    The backward pass ends at the first layers' outputs, which `leaves` grows by.
    """
    ran = set()

    def hook(layer: nn.Module, inputs: tuple, output: Tensor):
        if not torch.is_grad_enabled():
            return output  # what runs without gradients has no importance
        a = inputs[0].detach()
        if layer in ran or len(a) != n:
            why = "runs twice in one pass" if layer in ran else "does not get one row per item"
            raise ValueError(f"a layer {type(layer).__name__} {why}; {LOOP}")
        ran.add(layer)
        if not output.requires_grad:
            leaves.append(output.requires_grad_())
            output = output.clone()  # the network may write into it

        def add(g: Tensor):
            for parameter, part in RULES[type(layer)](layer, a, g):
                if parameter is not None:
                    name = names[id(parameter)]
                    omega[name] = omega.get(name, 0) + part

        output.register_hook(add)
        return output

    hooks = [m.register_forward_hook(hook) for m in model.modules() if type(m) in RULES]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


def _linear_of(weight: nn.Parameter, bias: nn.Parameter | None) -> nn.Linear:
    layer = nn.Linear(1, 1, device="meta")
    layer.weight = weight
    layer.bias = bias
    return layer


class _SelfAttention(nn.Module):
    """torch's attention over one sequence, its two projections as layers that can be watched."""

    def __init__(self, attention: nn.MultiheadAttention):
        super().__init__()
        no_product = attention.in_proj_weight is None or attention.bias_k is not None
        if no_product or not attention.batch_first:
            raise ValueError(f"this kind of attention has no product here; {LOOP}")
        self.inside = _linear_of(attention.in_proj_weight, attention.in_proj_bias)
        self.outside = _linear_of(attention.out_proj.weight, attention.out_proj.bias)
        self.heads = attention.num_heads
        self.size = attention.embed_dim // attention.num_heads

    def forward(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = True):
        """(N, L, D) attended to itself, and no weights."""
        if query is not key or key is not value or need_weights:
            raise ValueError(f"attention other than of a sequence to itself; {LOOP}")
        n, length, width = query.shape
        parts = self.inside(query).view(n, length, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(*parts.unbind(0))
        return self.outside(out.transpose(1, 2).reshape(n, length, width)), None
