"""A batch from bytes on the device: gathered, cropped, flipped, normalised and cast in one pass.

    out[b, c, y, x] = (data[i_b, c, y + v_b - pad, x' + h_b - pad] / 255 - mean_c) / std_c

x' is x, or W - 1 - x where b is flipped; beyond the border a byte is 0, as torchvision pads. The
whole training set stays on the device as bytes, a quarter of its size in single precision, and an
epoch with random crops never meets the host.

Bytes: 5 a number (one read, four written); in torch, which writes every stage, about 40.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from minilearn.kernels.dispatch import HALVES, jit, op, register, tl

BLOCK = 1024


def reference(data, index, crop, flip, mean, std, pad, dtype):
    """The same in the order of the formula."""
    images = F.pad(data[index].float() / 255, [pad] * 4)
    height, width = data.shape[2:]
    y = torch.arange(height, device=data.device) + crop[:, :1]
    x = torch.arange(width, device=data.device).expand(len(index), width)
    x = torch.where(flip[:, None], width - 1 - x, x) + crop[:, 1:]
    b = torch.arange(len(index), device=data.device)[:, None, None]
    cut = images.movedim(1, 3)[b, y[:, :, None], x[:, None, :]].movedim(3, 1)
    return ((cut - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)).to(dtype).contiguous()


@jit
def _pixels(
    data, index, crop, flip, mean, std, out, channels, height, width,
    PAD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0)  # one image, BLOCK of its numbers
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = k < channels * height * width
    c, y, x = k // (height * width), k // width % height, k % width
    x = tl.where(tl.load(flip + b) != 0, width - 1 - x, x)
    y += tl.load(crop + 2 * b) - PAD
    x += tl.load(crop + 2 * b + 1) - PAD
    there = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    image = data + tl.load(index + b) * channels * height * width
    pixel = tl.load(image + c * height * width + y * width + x, mask=there, other=0)
    mean_c, std_c = (tl.load(mean + c, mask=inside), tl.load(std + c, mask=inside, other=1.0))
    value = (pixel.to(tl.float32) / 255.0 - mean_c) / std_c
    tl.store(out + b.to(tl.int64) * channels * height * width + k, value, mask=inside)


def _launch(data, index, crop, flip, mean, std, pad: int, dtype: torch.dtype):
    channels, height, width = data.shape[1:]
    out = torch.empty(len(index), *data.shape[1:], dtype=dtype, device=data.device)
    given = [t.contiguous() for t in (data, index, crop, flip, mean, std)]
    grid = (len(index), -(-out[0].numel() // BLOCK)) if len(index) else ()
    if grid:
        _pixels[grid](*given, out, channels, height, width, PAD=pad, BLOCK=BLOCK)
    return out


def _fake(data, index, crop, flip, mean, std, pad, dtype):
    return data.new_empty(len(index), *data.shape[1:], dtype=dtype)


fused = op(
    "make_batch(Tensor data, Tensor index, Tensor crop, Tensor flip, Tensor mean, Tensor std, "
    "int pad, ScalarType dtype) -> Tensor",
    _launch,
    _fake,
)


def example(device):
    """Six of nine images, each cropped and every other one flipped."""
    data = (torch.arange(9 * 3 * 8 * 10, device=device) * 37 % 256).to(torch.uint8)
    index = torch.arange(6, device=device)
    mean, std = (torch.tensor(v, device=device) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    crop = torch.stack([index % 5, 4 - index % 5], 1)
    return data.view(9, 3, 8, 10), index, crop, index % 2 == 0, mean, std, 2, torch.float32


KERNEL = register("make_batch", reference, fused, example, dtypes=(torch.uint8,))


def make_batch(
    data: Tensor,
    index: Tensor,
    *,
    crop: Tensor | None = None,
    flip: Tensor | None = None,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    pad: int = 0,
    dtype: torch.dtype = torch.float32,
    impl: str | None = None,
) -> Tensor:
    """The images at `index`, shifted, mirrored and normalised, as floating-point numbers.

    The image is padded by `pad` zeros on each side, and a window of its own size is cut out at
    `crop`, (rows, columns) from the padded corner; by default the middle. Mean and standard
    deviation are per channel, of pixels in [0, 1]; one number serves all channels.

    Chapter: 9
    Shapes: data (N, C, H, W) uint8; index (B,) int64; crop (B, 2) int64 in 0..2 pad; flip (B,)
        bool; returns (B, C, H, W) of `dtype`
    Differs: from torchvision, which transforms image by image on the host; the same numbers
    Raises: ValueError if a shape or type does not fit, or, on the CPU, an index or a crop is
        outside; on a GPU that would wait for the device, and an index outside is undefined
    Example:
        >>> bytes = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
        >>> make_batch(bytes, torch.tensor([0, 0]), flip=torch.tensor([False, True])).flatten(1)
        tensor([[0., 1.],
                [1., 0.]])
    """
    if not isinstance(pad, int) or pad < 0:
        raise ValueError(f"pad must be a whole number from 0, got {pad!r}")
    if not isinstance(data, Tensor) or data.dtype != torch.uint8 or data.ndim != 4:
        raise ValueError("data must be bytes: a uint8 tensor (N, C, H, W)")
    if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.ndim != 1:
        raise ValueError("index must be a tensor (B,) of int64")
    if dtype not in (torch.float32, *HALVES):
        raise ValueError(f"dtype is float32, float16 or bfloat16, got {dtype}")
    b, device = len(index), data.device
    crop = torch.full((b, 2), pad, device=device) if crop is None else crop
    flip = torch.zeros(b, dtype=torch.bool, device=device) if flip is None else flip
    if crop.shape != (b, 2) or crop.dtype != torch.int64:
        raise ValueError(f"crop must be (B, 2) int64, got {tuple(crop.shape)} {crop.dtype}")
    if flip.shape != (b,) or flip.dtype != torch.bool:
        raise ValueError(f"flip must be (B,) bool, got {tuple(flip.shape)} {flip.dtype}")
    numbers = []
    for name, given in (("mean", mean), ("std", std)):
        per_channel = torch.as_tensor(given, dtype=torch.float32, device=device).flatten()
        if len(per_channel) not in (1, data.shape[1]):
            raise ValueError(f"{name} must be one number, or one for each of {data.shape[1]}")
        numbers.append(per_channel.expand(data.shape[1]).contiguous())
    if device.type == "cpu" and b:
        _refuse_outside("index", index, len(data) - 1), _refuse_outside("crop", crop, 2 * pad)
    return KERNEL(data, index, crop, flip, *numbers, pad, dtype, impl=impl)


def _refuse_outside(name: str, value: Tensor, high: int):
    if int(value.min()) < 0 or int(value.max()) > high:
        ends = f"{int(value.min())}..{int(value.max())}"
        raise ValueError(f"{name} must lie in 0..{high}, got {ends}")
