"""The networks for sequences: pairs of sentences, and forecasts of hourly series."""

from __future__ import annotations

import math
import operator
import warnings
from collections import OrderedDict
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minilearn.checks import check_count, check_number, refuse_non_finite
from minilearn.models.images import Network, check_sizes


class _Words(nn.Module):
    """Word vectors by token id: learnt (a parameter), or given and never trained (a buffer)."""

    def __init__(self, vocabulary: int, width: int, vectors: Tensor | None):
        super().__init__()
        if vectors is None:
            self.vectors = nn.Parameter(torch.randn(vocabulary, width))
            self.vectors.data[0] = 0
        else:
            self.register_buffer("vectors", vectors.detach().clone().float())

    def forward(self, ids: Tensor) -> Tensor:
        if ids.ndim != 3 or ids.shape[1] != 2 or ids.is_floating_point():
            raise ValueError(
                "the network reads pairs of sentences as integer token ids (B, 2, T), got "
                f"{ids.dtype} of shape {tuple(ids.shape)}"
            )
        try:
            return F.embedding(ids, self.vectors, padding_idx=0)
        except IndexError:
            raise ValueError(
                f"token ids must lie between 0 and {len(self.vectors) - 1}, the vocabulary less "
                f"one, got {int(ids.min())} to {int(ids.max())}"
            ) from None


class _SharedLSTM(nn.Module):
    """One LSTM over both sentences in one call: (B, 2, T, D) to their outputs (B, T, 2 x 64)."""

    def __init__(self, inputs: int, width: int, dropout: float):
        super().__init__()
        self.cell = nn.LSTM(inputs, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.first = nn.Identity()  # where attention transfer looks, sentence by sentence
        self.second = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.cell(x.flatten(0, 1))
        first, second = self.dropout(out).unflatten(0, x.shape[:2]).unbind(1)
        return torch.cat([self.first(first), self.second(second)], 2)


class _Last(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1]


class _OneNumber(nn.Sequential):
    """Layers whose last gives (B, 1), answering with (B,)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze(1)


def siamese_lstm(
    vocabulary: int | None = None, *, vectors: Tensor | None = None, width: int = 64
) -> nn.Sequential:
    """How alike two sentences are: one LSTM reads both, four linear layers compare its last states.

    Token 0 is padding, its vector zero, and stands in front, so that the last state has read the
    last word. Give `vectors` of your own, one row per token: they stay as they are. Or give a size
    of the `vocabulary`: then vectors of `width` numbers are learnt. The layers are called
    `embedding`, `lstm`, `last`, `linear1` to `linear4`. For attention transfer take `lstm.first`
    and `lstm.second`, the two sentences' outputs (B, T, 64), as published; `lstm` gives them side
    by side as one activation (B, T, 128), whose term is about a quarter of theirs.

    Paper: Tarun et al. 2023, semantic similarity of sentences (STS-B): 104,577 parameters behind
        300-dimensional vectors.
    Shapes: input (B, 2, T) int64 token ids; output (B,); vectors (V, D) float, row 0 zero
    Differs: from the authors' code (models.py:573-623): the sentences are read in one call
    Raises: ValueError if not exactly one of `vocabulary` and `vectors` is given, a size is too
        small, or `vectors` are not finite numbers (V, D) with zeros in row 0; when run, if the
        input is no pair of sentences or a token is not in the vocabulary
    Example:
        >>> net = siamese_lstm(vectors=torch.zeros(5, 300))
        >>> sum(p.numel() for p in net.parameters()), net(torch.ones(2, 2, 10).long()).shape
        (104577, torch.Size([2]))
    """
    if (vocabulary is None) == (vectors is None):
        raise ValueError("give either the size of the vocabulary or vectors of your own, not both")
    if vectors is None:
        check_count("vocabulary", vocabulary, 2)
        width = check_count("width", width, 1)
    else:
        _check_vectors(vectors)
        vocabulary, width = vectors.shape
    layers = OrderedDict(embedding=_Words(vocabulary, width, vectors))
    layers |= {"lstm": _SharedLSTM(width, 64, dropout=0.3), "last": _Last()}
    for i, (inputs, outputs) in enumerate(pairwise((128, 64, 32, 16)), start=1):
        layers |= {f"linear{i}": nn.Linear(inputs, outputs), f"relu{i}": nn.ReLU()}
    return _OneNumber(layers | {"linear4": nn.Linear(16, 1)})


def _check_vectors(vectors):
    if not isinstance(vectors, Tensor) or vectors.ndim != 2 or not vectors.is_floating_point():
        raise ValueError("vectors must be a floating-point tensor (V, D), one row per token")
    if len(vectors) < 2 or not vectors.shape[1]:
        raise ValueError(
            f"vectors needs two rows or more and a column, got shape {tuple(vectors.shape)}"
        )
    refuse_non_finite("vectors", vectors)
    if bool(vectors[0].any()):
        raise ValueError("row 0 of vectors is the padding's and must be zero: words start at id 1")


class _Ascending(nn.Module):
    """Quantiles that cannot cross: the lowest, and positive steps up from it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., :1], F.softplus(x[..., 1:])], -1).cumsum(-1)


class _Series(nn.Module):
    """A series as a map of one channel: (B, T) to (B, 1, T)."""

    def __init__(self, context: int):
        super().__init__()
        self.context = context

    def forward(self, x: Tensor) -> Tensor:
        _check_series(x, self.context)
        return x[:, None]


def quantile_net(
    context: int = 168, horizon: int = 24, levels: int = 3, width: int = 32
) -> Network:
    """A small forecaster: two convolutions over the past, one hidden layer, quantiles that ascend.

        f_1(t) = a(t),   f_k(t) = f_{k-1}(t) + softplus(d_k(t)),   k = 2, ..., levels

    a and d are what the last linear layer gives. It is for series of about unit size: divide yours
    by their deviation first. Two layers have a map for attention transfer, (B, width, positions):
    `features.conv1` and `features.conv2`.

    Args: context, horizon: values that are seen and predicted. levels: of the quantiles. width: of
        the maps
    Paper: none; it stands in for the Temporal Fusion Transformer of Tarun et al. 2023, see `tft`.
        36,840 parameters.
    Shapes: input (B, context) float; output (B, horizon, levels), ascending in the last axis
    Differs: from the usual forecasters, whose quantiles can cross. It does not start from the last
        week's values either: what a copy of the past forecasts well needs no learning, so that
        there would be little to forget
    Raises: ValueError if a size is not a whole number from 1; when run, if the input is not
        (B, context)
    Example:
        >>> quantile_net()(torch.zeros(5, 168)).shape
        torch.Size([5, 24, 3])
    """
    sizes = check_sizes(context=context, horizon=horizon, levels=levels, width=width)
    context, horizon, levels, width = sizes
    positions = math.ceil(math.ceil(context / 4) / 4)
    features = OrderedDict(
        series=_Series(context),
        conv1=nn.Sequential(nn.Conv1d(1, width, 9, stride=4, padding=4), nn.ReLU()),
        conv2=nn.Sequential(nn.Conv1d(width, width, 9, stride=4, padding=4), nn.ReLU()),
        flatten=nn.Flatten(),
        hidden=nn.Sequential(nn.Linear(width * positions, 2 * width), nn.ReLU()),
    )
    last = nn.Linear(2 * width, horizon * levels)
    head = nn.Sequential(last, nn.Unflatten(1, (horizon, levels)), _Ascending())
    return Network(nn.Sequential(features), head)


class _Fusion(nn.Module):
    """The library's transformer under this package's contract: a tensor in, a tensor out."""

    def __init__(self, network: nn.Module, context: int, horizon: int):
        super().__init__()
        self.network = network
        self.context = context
        self.horizon = horizon
        hours = torch.arange(-context, horizon)
        day = 2 * math.pi * hours / 24
        known = torch.stack([hours / context, day.sin(), day.cos()], 1)
        self.register_buffer("known", known, persistent=False)

    def _apply(self, *args):  # what .to(), .double() and the like end in
        super()._apply(*args)
        # The library makes tensors where it thinks that it is, and only its own .to() tells it.
        self.network.to(self.known.device, self.known.dtype)
        return self

    def forward(self, x: Tensor) -> Tensor:
        _check_series(x, self.context)
        series = F.pad(x, (0, self.horizon))[..., None]
        inputs = torch.cat([series, self.known.expand(len(x), -1, -1)], 2)
        past, future = inputs.split([self.context, self.horizon], 1)
        batch = {"target_scale": None}
        for name, part in (("encoder", past), ("decoder", future)):
            batch[f"{name}_cont"] = part
            batch[f"{name}_cat"] = part[..., :0].long()
            batch[f"{name}_lengths"] = torch.full((len(x),), part.shape[1], device=x.device)
        return self.network(batch)["prediction"]


def tft(
    context: int = 168,
    horizon: int = 24,
    levels: int = 3,
    *,
    width: int = 16,
    heads: int = 4,
    dropout: float = 0.1,
) -> nn.Module:
    """The Temporal Fusion Transformer of the library pytorch-forecasting, as an ordinary module.

    It sees the series, the time relative to the forecast's start, and that time's place in the
    day. Its layers stand under `network`: for attention transfer take for example
    `network.lstm_decoder`, `network.multihead_attn` and `network.pos_wise_ff`, (B, horizon, width).

    Args: context, horizon: values that are seen and predicted. levels: of the quantiles. width: of
        its layers. heads: of its attention. dropout: a probability
    Paper: Lim et al. 2021; Tarun et al. 2023 forecast electricity with it, width=160.
    Shapes: input (B, context) float; output (B, horizon, levels)
    Differs: from Tarun et al.'s use: no inputs that are fixed for a customer, no calendar. The
        library itself differs from the paper in ways that its documentation lists
    Raises: ValueError if a size is not a whole number from 1, `heads` does not divide `width`, or
        dropout is no probability; when run, if the input is not (B, context). ImportError if the
        library is missing
    """
    check_sizes(context=context, horizon=horizon, levels=levels, width=width, heads=heads)
    if width % heads:
        raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
    check_number("dropout", dropout, 0, 1, ends="[)")
    try:
        from pytorch_forecasting import TemporalFusionTransformer
    except ImportError:
        raise ImportError(
            "tft() needs the library pytorch-forecasting: pip install minilearn[tft]"
        ) from None
    known = ["time", "sine", "cosine"]
    with warnings.catch_warnings():
        # The library's constructor stores two modules as settings, which Lightning warns about.
        warnings.filterwarnings("ignore", "Attribute '.*' is an instance of `nn.Module`")
        network = TemporalFusionTransformer(
            width,
            dropout=float(dropout),
            output_size=levels,
            attention_head_size=heads,
            max_encoder_length=context,
            hidden_continuous_size=max(1, width // 2),
            time_varying_reals_encoder=["series", *known],
            time_varying_reals_decoder=known,
            x_reals=["series", *known],
            logging_metrics=nn.ModuleList(),
            output_transformer=operator.itemgetter("prediction"),
        )
    return _Fusion(network, context, horizon)


def _check_series(x: Tensor, context: int):
    if x.ndim != 2 or x.shape[1] != context:
        raise ValueError(
            f"the forecaster reads the last {context} values, (B, {context}), got {tuple(x.shape)}"
        )
