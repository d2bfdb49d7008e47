"""L2UL on the paper's images: a row a data set and network, as released.

Every row is asked to have random items misclassified, to have them called by new labels
(`relabel`), and to do the first for a stream of four requests. `l2ul_utkface_resnet18` does all of
it in each of the five groupings of ages. The CIFAR networks are trained here by the published
recipe, 200 epochs with crops and flips; the ResNet-50 for ImageNet and the ViT are read from files
that you supply. `l2ul_cifar10` is another experiment: it asks what decides. Size "toy" has small
images and networks.

Differs: no code is released for new labels and streams: labels are drawn among the other classes,
a stream is four requests of 16 items. The network for faces is trained in one cycle by a rate of
our own, without clipped gradients and validation. Accuracy on `retain` is of 10,000 retained images
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn

from book.experiments import Run, said
from book.experiments.instances import methods, random_items, reference, splits, streamed, unit
from book.experiments.l2ul_cifar10 import PAPER, one_cycle, pretrain
from book.experiments.papers import brief, row_of, wanted
from minilearn import data
from minilearn.data import AGE_GROUPS, Examples, age_groups, utkface
from minilearn.data.places import own_file
from minilearn.methods import L2UL
from minilearn.models import Normalize, build, resnet18, resnet20, resnet50
from minilearn.requests import Request, by_index
from minilearn.sweep import Unit
from minilearn.training import Training

SEEDS = 3
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
FACES = Training(100, 128, 1e-3)  # the rate is the peak of the cycle, and our own choice
PIXELS = {"utkface": 120, "imagenet": 224}
STREAM = (4, 16)  # requests, and items of each


@dataclass(frozen=True)
class Case:
    """A row's recipes; `network(size, classes)` makes the network, 0 for the set's own number.

    `weights` is the file of a pretrained network under the data folder, "" where it is trained
    here, and `how` says how to get it.
    """

    network: Callable[[str, int], nn.Module]
    released: str  # the recipe of `L2UL.paper`
    training: Training | None = None
    weights: str = ""
    how: str = ""
    counts: tuple[int, ...] = (16, 64, 128, 256)


def _small(make: Callable, pool: bool, size: str, classes: int) -> nn.Module:
    """A network for CIFAR behind its normalisation; a toy is a ResNet-20 at a quarter of a side."""
    if size == "toy":
        return nn.Sequential(nn.Upsample(size=8), resnet20(10 if pool else 100))
    net = make(10, pool=True) if pool else make(100)
    return nn.Sequential(Normalize(*PAPER), net)


def _faces(size: str, classes: int) -> nn.Module:
    return resnet20(classes) if size == "toy" else resnet18(classes)


def _imagenet(size: str, classes: int) -> nn.Module:
    from torchvision.models.resnet import Bottleneck, ResNet

    depths = [1, 1, 1, 1] if size == "toy" else [3, 4, 6, 3]
    return ResNet(Bottleneck, depths)


def _vit(size: str, classes: int) -> nn.Module:
    from torchvision.models import VisionTransformer

    if size == "toy":
        return VisionTransformer(32, 16, 2, 2, 32, 64, num_classes=100)
    return VisionTransformer(224, 16, 12, 12, 768, 3072, num_classes=100)


ROWS = {
    "l2ul_cifar10_resnet18": Case(
        network=partial(_small, resnet18, True),
        released="cifar10",
        training=Training.paper("cifar10", "l2ul"),
        counts=(16, 1, 64, 128, 256),
    ),
    "l2ul_cifar100_resnet50": Case(
        network=partial(_small, resnet50, False),
        released="cifar100",
        training=Training.paper("cifar100", "l2ul"),
    ),
    "l2ul_cifar100_vit": Case(
        network=_vit,
        released="vit",
        weights="pretrained/vit_b_16_cifar100.pth",
        how="save the weights of a torchvision vit_b_16 that was fine-tuned on CIFAR-100, "
        "its images enlarged to 224 pixels and normalised to means and deviations of 0.5, there; "
        "its licence is that of the weights it was fine-tuned from",
    ),
    "l2ul_imagenet_resnet50": Case(
        network=_imagenet,
        released="imagenet",
        weights="pretrained/resnet50-0676ba61.pth",
        how="take it from torchvision (ResNet50_Weights.IMAGENET1K_V1), whose licence is BSD-3",
    ),
    "l2ul_utkface_resnet18": Case(network=_faces, released="utkface", training=FACES),
}


def units(run: Run, name: str) -> Iterator[Unit]:
    """The original, and every goal, number of items and method; of faces in every grouping."""
    case, dataset = ROWS[name], row_of(name).dataset
    sets = {"": _sets(dataset, run)}
    if dataset == "utkface":
        groups = {key: [age_groups(part, key) for part in sets[""]] for key in AGE_GROUPS}
        sets = {f", ages by {key}": data.Split(*parts) for key, parts in groups.items()}
    if case.weights:
        own_file(f"the network of {name}", case.weights, case.how)
    for about, split in sets.items():
        label = about.removeprefix(", ages by ")
        classes = len(AGE_GROUPS[label]) - 1 if about else 0
        yield from _asked(run, name, split, about, classes)


def _sets(dataset: str, run: Run) -> data.Split:
    """Training and test part, where they fit on the device the examples themselves."""
    pixels = 8 if run.size == "toy" else PIXELS.get(dataset, 32)
    readers: Mapping[str, Callable[[], data.Split]] = {
        "utkface": partial(utkface, size=pixels),
        "imagenet": partial(data.imagenet, size=pixels),
    }
    parts = wanted(dataset, readers.get(dataset, partial(data.load, dataset)))
    if isinstance(parts.train, Examples):
        parts = data.Split(*(part.to(run.device) for part in parts))
    return parts


def _asked(run: Run, name: str, sets: data.Split, about: str, classes: int) -> Iterator[Unit]:
    """The units of one set of labels."""
    case, dataset, toy = ROWS[name], row_of(name).dataset, run.size == "toy"
    config = brief(L2UL.paper(case.released)) if toy else L2UL.paper(case.released)
    counts, seeds = (2,) if toy else case.counts, run.seeds
    recipe = case.weights or f"original={brief(case.training) if toy else case.training}"
    where = f"size={run.size}; as released; {dataset}{about}; {name}; {recipe}"

    @cache
    def model() -> nn.Module:
        return _original(run, name, sets, about, classes)

    def ask(count: int, seed: int, first: int = 0) -> Request:
        items = random_items(sets.train, first + count, seed)[first:]
        return by_index(sets.train, items)

    parts = partial(splits, lambda: sets)
    yield reference(dataset, f"nothing{about}", "original", 0, where, model, parts)
    for count in counts:
        for goal in ("misclassify", "relabel"):
            words = f"{goal} {count} random item{'s' * (count > 1)}{about}"
            for seed in seeds:
                for method, own in methods(config).items():
                    if goal == "relabel" and method == "neggrad":
                        method = "correct_label"
                    new = partial(new_labels, model, seed) if goal == "relabel" else None
                    request = partial(ask, count, seed)
                    given = dataset, request, words, method, seed, own, where, model, parts
                    yield unit(*given, relabel=new)
    several, count = (2, 2) if toy else STREAM
    words = f"a stream of {several} x {count} random items{about}"
    for seed in seeds:
        for method, own in methods(config).items():
            requests = partial(_stream, ask, several, count, seed)
            measure = partial(streamed, requests, seed, own, model, parts)
            yield Unit(dataset, words, method, seed, f"{where}; {said(own)}", measure)


def _stream(ask: Callable, several: int, count: int, seed: int) -> list[Request]:
    """Requests of so many items each, no item in two of them, over one training set."""
    return [ask(count, seed, i * count) for i in range(several)]


def _original(run: Run, name: str, sets: data.Split, about: str, classes: int) -> nn.Module:
    """A row's trained network: read from its file, or trained here."""
    case, toy = ROWS[name], run.size == "toy"
    fresh = partial(case.network, run.size, classes)
    if not case.weights:
        net = build(fresh, 0).to(run.device)
        recipe = brief(case.training) if toy else case.training
        rate = recipe.lr_at if case.released != "utkface" else partial(one_cycle, recipe)
        file = run.file(name, about.rpartition(" ")[2])
        return pretrain(net, sets.train, recipe, rate, file)
    path = own_file(f"the network of {name}", case.weights, case.how)
    net = fresh()
    try:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} does not hold the weights of the network of {name}") from None
    return _reading(case.released, run.size, net).to(run.device).eval()


def _reading(released: str, size: str, net: nn.Module) -> nn.Module:
    """A pretrained network behind what makes its input from pixels."""
    if released == "imagenet":
        return nn.Sequential(Normalize(MEAN, DEVIATION), net)
    pixels = 32 if size == "toy" else 224
    drawn = nn.Upsample(size=pixels, mode="bilinear")
    return nn.Sequential(drawn, Normalize((0.5,) * 3, (0.5,) * 3), net)


def new_labels(model: Callable[[], nn.Module], seed: int, items: Examples) -> Tensor:
    """A label for every item, drawn among the model's other classes."""
    order = torch.Generator().manual_seed(2000 + seed)
    with torch.no_grad():
        classes = model()(items.inputs[:1]).shape[1]
    shift = torch.randint(1, classes, (len(items),), generator=order)
    return (items.targets + shift.to(items.targets)) % classes
