"""What an item adds to the gradient of a layer, as the sum of absolute values over the items.

`RULES[type](layer, a, g)` yields each parameter with its sum: `a` is what the layer was given, `g`
the gradient of what it gave out, both with one row an item. abs_bmm(G, A) = sum_n | G_n A_n |
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.kernels.abs_bmm import AT_ONCE, abs_bmm


def _linear(layer: nn.Linear, a: Tensor, g: Tensor):
    a = a.reshape(len(a), -1, a.shape[-1])
    g = g.reshape(len(g), -1, g.shape[-1])
    yield layer.weight, abs_bmm(g.mT, a)
    yield layer.bias, g.sum(1).abs().sum(0)


def _convolution(layer: nn.Conv2d, a: Tensor, g: Tensor):
    g = g.flatten(2)
    total = torch.zeros_like(layer.weight).flatten(1)
    shape = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    size = max(1, AT_ONCE // (total.shape[1] * g.shape[2]))
    for part_g, part_a in zip(g.split(size), a.split(size), strict=True):
        total += abs_bmm(part_g, F.unfold(part_a, *shape).mT)
    yield layer.weight, total
    yield layer.bias, g.sum(2).abs().sum(0)


def _per_channel(layer, normal: Tensor, g: Tensor):
    """What scales and shifts channel by channel: (N, C, ...)."""
    for parameter, each in ((layer.weight, normal * g), (layer.bias, g)):
        yield parameter, each.reshape(*g.shape[:2], -1).sum(2).abs().sum(0)


def _batch_norm(layer, a: Tensor, g: Tensor):
    normal = F.batch_norm(a, layer.running_mean, layer.running_var, eps=layer.eps)
    return _per_channel(layer, normal, g)


def _group_norm(layer: nn.GroupNorm, a: Tensor, g: Tensor):
    return _per_channel(layer, F.group_norm(a, layer.num_groups, eps=layer.eps), g)


def _layer_norm(layer: nn.LayerNorm, a: Tensor, g: Tensor):
    normal = F.layer_norm(a, layer.normalized_shape, eps=layer.eps)
    for parameter, each in ((layer.weight, normal * g), (layer.bias, g)):
        yield parameter, each.reshape(len(g), -1, *layer.normalized_shape).sum(1).abs().sum(0)


RULES = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
}
