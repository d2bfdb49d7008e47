"""One interactive figure, twice: over pictures drawn beforehand, and live where a kernel runs."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from minilearn.checks import check_kind
from minilearn.functions import check_function

MAX_FRAMES = 64

CONTROL = """\
<label style="display:flex;flex-wrap:wrap;gap:.5em;align-items:center">{name}
<input type="range" min="0" max="{last}" value="0" aria-valuetext="{value}" style="flex:1 1 10em"
 data-lm-suppress-shortcuts="true">
</label>"""
# Frames stand in the order of itertools.product: the last axis runs fastest.
TEMPLATE = """\
<div class="minilearn-explorer" data-explorer="{key}" style="max-width:100%">
<img src="data:image/png;base64,{first}" alt="{alt}" style="max-width:100%;background:#fff">
{controls}
<p role="status" aria-live="polite">{point}</p>
<script>
for (const box of document.querySelectorAll('[data-explorer="{key}"]')) {{
  const [frames, labels, alt] = {data};
  const image = box.querySelector("img"), status = box.querySelector("[role=status]");
  const sliders = [...box.querySelectorAll("input")];
  const show = () => {{
    let index = 0;
    const point = sliders.map((slider, axis) => {{
      const [name, values] = labels[axis], i = Number(slider.value);
      index = index * values.length + i;
      slider.setAttribute("aria-valuetext", values[i]);
      return name + " = " + values[i];
    }}).join(", ");
    image.src = "data:image/png;base64," + frames[index];
    image.alt = alt + " (" + point + ")";
    status.textContent = point;
  }};
  sliders.forEach(slider => slider.addEventListener("input", show));
  show();
}}
</script>
</div>"""


@dataclass(frozen=True)
class Explorer:
    """Pictures of a figure at every point of a grid, shown with one slider per axis."""

    frames: tuple[bytes, ...]  # PNG files, the last axis running fastest
    labels: dict[str, tuple[str, ...]]  # axis -> its values as shown
    alt: str

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str | bytes]:
        return {"text/plain": repr(self), "text/html": self.html(), "image/png": self.frames[0]}

    def __repr__(self) -> str:
        grid = ", ".join(f"{name}: {len(values)}" for name, values in self.labels.items())
        return f"Explorer({len(self.frames)} pictures; {grid}): {self.alt}"

    def html(self) -> str:
        """The picture, its sliders and the script that joins them, as one piece of HTML."""
        frames = [base64.b64encode(frame).decode() for frame in self.frames]
        data = json.dumps([frames, list(self.labels.items()), self.alt]).replace("<", "\\u003c")
        point = ", ".join(f"{name} = {values[0]}" for name, values in self.labels.items())
        controls = (
            CONTROL.format(name=escape(name), last=len(values) - 1, value=escape(values[0]))
            for name, values in self.labels.items()
        )
        return TEMPLATE.format(
            key=hashlib.sha256(data.encode()).hexdigest()[:12],
            first=frames[0],
            alt=escape(f"{self.alt} ({point})"),
            controls="\n".join(controls),
            point=escape(point),
            data=data,
        )


def explorer(draw: Callable[..., Figure], *, alt: str, **axes: Sequence) -> Explorer:
    """Draw a figure at every point of a small grid and show it with sliders that need no kernel.

    Args:
        draw: gets one keyword argument per axis and returns a matplotlib figure, which is closed
        alt: in one sentence what the figure shows, for who does not see it
        axes: the values of each axis by its name
    Raises: ValueError if `alt` is empty, there is no axis, an axis is empty, the grid has more than
        64 points, or `draw` returns something else than a figure
    Example:
        >>> explorer(lambda k: plt.figure(figsize=(1, 1)), alt="An empty frame", k=[1, 2])
        Explorer(2 pictures; k: 2): An empty frame
    """
    check_function("draw", draw)
    if not check_kind("alt", alt, str).strip():
        raise ValueError("alt is empty: say in one sentence what the figure shows")
    points = _grid(axes)
    if len(points) > MAX_FRAMES:
        raise ValueError(
            f"the grid has {len(points)} points and the page would carry a picture of each, at "
            f"most {MAX_FRAMES}: give fewer values"
        )
    frames = tuple(_png(_drawn(draw, point)) for point in points)
    labels = {name: tuple(map(_label, values)) for name, values in axes.items()}
    return Explorer(frames, labels, alt.strip())


def live(draw: Callable[..., Figure], **axes: Sequence) -> None:
    """Draw the same figure anew whenever a slider is moved; this needs a running kernel.

    Args: as `explorer`
    Raises: ValueError if there is no axis, an axis is empty, or `draw` does not return a figure
    """
    from ipywidgets import SelectionSlider, interact

    _grid(axes)
    sliders = {
        name: SelectionSlider(options=[(_label(v), v) for v in values], description=name)
        for name, values in axes.items()
    }
    interact(lambda **point: _drawn(draw, point), **sliders)


def _grid(axes: dict[str, Sequence]) -> list[dict]:
    if not axes:
        raise ValueError("no axis was given: name at least one with its values, as in k=[1, 2]")
    for name, values in axes.items():
        check_kind(f"the axis {name}", values, Sequence | np.ndarray)
        if len(values) == 0:
            raise ValueError(f"the axis {name} is empty: give it at least one value")
    return [dict(zip(axes, point, strict=True)) for point in product(*axes.values())]


def _drawn(draw: Callable[..., Figure], point: dict) -> Figure:
    figure = draw(**point)
    if not isinstance(figure, Figure):
        raise ValueError(
            f"draw returned {type(figure).__name__} at {point}, not a matplotlib figure: end it "
            "with `return figure`"
        )
    plt.close(figure)  # else the kernel shows it once more
    return figure


def _png(figure: Figure) -> bytes:
    """One PNG file of 64 colours: the whole figure, and always the same bytes."""
    drawn, file = io.BytesIO(), io.BytesIO()
    layout = {"dpi": 100, "bbox_inches": figure.bbox_inches}  # so that frames have one size
    figure.savefig(drawn, format="png", **layout)
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return file.getvalue()


def _label(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
