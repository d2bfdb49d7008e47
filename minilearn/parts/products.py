"""What an item adds to the gradient of a layer, as the sum of absolute values over the items.

`RULES[type](layer, a, g)` yields parameters with their sums over some of the items: `a` is what the
layer was given, `g` the gradient of what it output, both with one row per item.

    abs_bmm(G, A) = sum_n | G_n A_n |

On a CPU most of the time goes into memory: as many items are taken at once as its cache can hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from minilearn.kernels.abs_bmm import AT_ONCE, CACHED, abs_bmm, absolute_sum

MANY = 256  # positions from which a convolution is faster by groups, on a CPU


def _linear(layer: nn.Linear, a: Tensor, g: Tensor):
    if a.ndim == 2:
        g = g.abs()
        yield layer.weight, g.T @ a.abs()
        yield layer.bias, g.sum(0)
    else:
        a, g = a.flatten(1, -2), g.flatten(1, -2)
        yield layer.weight, abs_bmm(g.mT, a)
        yield layer.bias, g.sum(1).abs().sum(0)


def _convolution(layer: nn.Conv2d, a: Tensor, g: Tensor):
    positions = g[0, 0].numel()
    many = positions >= MANY and a.device.type == "cpu"
    for total in _by_groups(layer, a, g) if many else _by_windows(layer, a, g):
        yield layer.weight, total
    yield layer.bias, g.flatten(2).sum(2).abs().sum(0)


def _by_groups(layer: nn.Conv2d, a: Tensor, g: Tensor):
    """Every item as a group of one convolution, which has a gradient of the weights for each."""
    outputs, *rest = layer.weight.shape
    size = max(1, CACHED // layer.weight.numel())
    for some_a, some_g in zip(a.split(size), g.split(size), strict=True):
        groups = len(some_a)
        wide_a, wide_g = some_a.flatten(0, 1)[None], some_g.flatten(0, 1)[None]
        shape = (layer.stride, layer.padding, layer.dilation, groups)
        each = conv2d_weight(wide_a, (groups * outputs, *rest), wide_g, *shape)
        yield absolute_sum(each.unflatten(0, (groups, outputs)))


def _by_windows(layer: nn.Conv2d, a: Tensor, g: Tensor):
    """A product, as of a linear layer that is given the window that each position sees."""
    g = g.flatten(2)
    outputs, channels, *kernel = layer.weight.shape
    size = max(1, AT_ONCE // (layer.weight[0].numel() * g.shape[2]))
    for some_a, some_g in zip(a.split(size), g.split(size), strict=True):
        total = abs_bmm(some_g, _windows(layer, some_a))
        yield total.view(outputs, *kernel, channels).movedim(3, 1)


def _windows(layer: nn.Conv2d, a: Tensor) -> Tensor:
    """(N, positions, kernel and channels), the channels last, so that they are copied in a run."""
    rows, columns = layer.padding
    a = F.pad(a, (columns, columns, rows, rows)).contiguous(memory_format=torch.channels_last)
    for axis in (0, 1):
        dilation = layer.dilation[axis]
        reach = dilation * (layer.kernel_size[axis] - 1) + 1
        a = a.unfold(2 + axis, reach, layer.stride[axis])[..., ::dilation]
    return a.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)


def _per_channel(layer, normal: Callable, a: Tensor, g: Tensor):
    """What scales and shifts channel by channel: (N, C, ...)."""
    size = max(1, CACHED // a[0].numel())
    for some_a, some_g in zip(a.split(size), g.split(size), strict=True):
        for parameter, each in ((layer.weight, normal(some_a) * some_g), (layer.bias, some_g)):
            yield parameter, each.reshape(*each.shape[:2], -1).sum(2).abs().sum(0)


def _batch_norm(layer, a: Tensor, g: Tensor):
    statistics = {"running_mean": layer.running_mean, "running_var": layer.running_var}
    return _per_channel(layer, partial(F.batch_norm, **statistics, eps=layer.eps), a, g)


def _group_norm(layer: nn.GroupNorm, a: Tensor, g: Tensor):
    normal = partial(F.group_norm, num_groups=layer.num_groups, eps=layer.eps)
    return _per_channel(layer, normal, a, g)


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
