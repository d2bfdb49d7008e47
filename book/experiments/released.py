"""The released way of a Blindspot epoch, written anew from its description, to be timed.

Every image is a PIL image that a `DataLoader` sends through transforms, with a flag that says
whether it is to be forgotten; the teacher answers the whole batch, the two losses are cut out of it
by masks, and every step waits for the device. It is a procedure to be timed and not to be used: a
turned digit that is flipped is another digit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from minilearn.data.examples import Examples
from minilearn.models import Network

BATCH, BETA, LR = 256, 50.0, 1e-3  # as released


class Pictures(Dataset):
    """(image, target, flag) of every example; the image is cropped and flipped if `training`."""

    def __init__(self, data: Examples, flags: Tensor, training: bool):
        from torchvision import transforms as t

        size = data.inputs.shape[-1]
        # half the size as the released 16 of 32
        moved = [t.RandomCrop(size, padding=size // 2), t.RandomHorizontalFlip()]
        self.transform = t.Compose(
            (moved if training else []) + [t.ToTensor(), t.Normalize((0.5,), (0.5,))]
        )
        self.images = [t.functional.to_pil_image(x) for x in data.inputs.cpu()]
        self.targets, self.flags = data.targets.tolist(), flags.int().tolist()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, float, int]:
        return self.transform(self.images[i]), self.targets[i], self.flags[i]


def loader(pictures: Pictures, workers: int, shuffle: bool) -> DataLoader:
    """Batches of 256; the worker processes start anew with every pass."""
    order = torch.Generator().manual_seed(0)
    return DataLoader(pictures, BATCH, shuffle=shuffle, num_workers=workers, generator=order)


def read(batches: DataLoader, device: torch.device):
    """Read all batches once and move them to the device."""
    for batch in batches:
        _to(device, batch)


def blindspot_epoch(student: Network, teacher: Network, batches: DataLoader, device) -> list[float]:
    """Train the student for one epoch; returns the loss of every step."""
    student.train()
    teacher.eval()
    optimizer = torch.optim.Adam(student.parameters(), LR)
    losses = []
    for batch in batches:
        x, y, flags = _to(device, batch)
        with torch.no_grad():
            answer, theirs = _with_maps(teacher, x)
        out, mine = _with_maps(student, x)
        loss = _mixture(out, y, answer, mine, theirs, flags == 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def validate(network: Network, batches: DataLoader, device) -> float:
    """The mean of the batches' mean absolute errors."""
    network.eval()
    errors = []
    with torch.no_grad():
        for x, y, _ in (_to(device, batch) for batch in batches):
            errors.append((network(x) - y).abs().mean().item())
    return sum(errors) / len(errors)


def _mixture(out, y, answer, mine: list, theirs: list, forget: Tensor) -> Tensor:
    """c (L_f + beta L_att) + (1 - c) L_r, with c the share of forgotten examples in the batch."""
    share = forget.float().mean().item()
    loss = out.sum() * 0
    if share > 0:
        apart = (out[forget] - answer[forget]).abs().mean()
        for a, b in zip(mine, theirs, strict=True):
            apart = apart + BETA * (_attention(a[forget]) - _attention(b[forget])).square().mean()
        loss = loss + share * apart
    if share < 1:
        loss = loss + (1 - share) * (out[~forget] - y[~forget]).abs().mean()
    return loss


def _attention(activation: Tensor) -> Tensor:
    return F.normalize(activation.square().mean(1).flatten(1))


def _with_maps(network: Network, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The answer and all maps on the way, without hooks: the released networks return them."""
    maps = []
    for part in network.features:
        x = part(x)
        maps += [x] if isinstance(part, nn.Sequential) else []
    return network.head(x).squeeze(1), maps


def _to(device, batch) -> tuple[Tensor, Tensor, Tensor]:
    x, y, flags = batch
    return x.to(device), y.float().to(device), flags.to(device)
