"""Images in one folder per class, as ImageNet comes: read from the disk item by item."""

from __future__ import annotations

from minilearn.checks import check_count
from minilearn.data.embedded import Split
from minilearn.data.places import data_root, missing

PARTS = ("train", "val")


def imagenet(*, root=None, folder: str = "imagenet", size: int = 224) -> Split:
    """ImageNet, or any set in its form: train/CLASS/*.jpeg and val/CLASS/*.jpeg, as datasets.

    The shorter side is drawn at 8/7 of `size` and the middle cut out, as is usual for evaluation.
    Classes are numbered by the names of their folders, which must be the same in both parts. A
    dataset is not read before it is used, so that it may be larger than the memory; a request and
    every method take it as it is, and `l2ul` reads only the items to forget.

    Args: root: see `data_root`. folder: its name in there. size: pixels of a side
    Source: Russakovsky et al. 2015, on request from its authors
    Shapes: an item is (3, size, size) float32 in [0, 1] and its class, an int
    Raises: MissingData if a part is not there; ValueError if it holds no images, or other classes
    Differs: pixels are not normalised: let the model do it, as
        nn.Sequential(models.Normalize(mean, std), model)
    """
    from torchvision import transforms as t
    from torchvision.datasets import ImageFolder

    check_count("size", size, 1)
    cut = [t.Resize(round(size * 8 / 7)), t.CenterCrop(size), t.ToTensor()]
    parts = []
    for part in PARTS:
        place = data_root(root) / folder / part
        if not place.is_dir():
            what = "one folder of images for each class belongs"
            raise missing(folder, what, place, "put them there")
        try:
            parts.append(ImageFolder(str(place), t.Compose(cut)))
        except FileNotFoundError as error:  # a class without images, too
            raise ValueError(f"{place} is no set of images: {error}") from None
    if parts[0].classes != parts[1].classes:
        only = sorted(set(parts[0].classes) ^ set(parts[1].classes))
        raise ValueError(f"class folders must be in train and in val; {only[0]} is in one alone")
    return Split(*parts)
