"""A figure that computes in the page: one JavaScript module and its data, without a kernel.

The module stands beside the Python file of its name and has anywidget's form, an object with
`render({model, el})`. A page gets the module, the data and a stand-in for `model`, as HTML. A
notebook that wants to read what the reader did asks for `figure.widget()`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).parent
MOST = 150_000  # bytes of one figure: module, style and data
INK = 48  # steps from paper to ink: scikit-learn's sixteen fall on steps
FINE = 4095  # steps of other numbers
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

# Every box without content is filled, so that a cell that is shown twice works twice.
PAGE = """\
<div data-figure="{key}"></div>
<noscript>This figure needs JavaScript: {alt}</noscript>
<style>{style}</style>
<script type="module">
{module}
const given = {given};
for (const el of document.querySelectorAll('[data-figure="{key}"]:empty')) {{
  figure.render({{model: standIn({{...given}}), el}});
}}
</script>"""


@cache
def source(name: str) -> str:
    """The text of one file of this folder."""
    return (FOLDER / name).read_text("utf-8")


@dataclass(frozen=True)
class Interactive:
    """A figure that computes in the page, by the name of its module.

    Args: name: of the JavaScript module. data: what the module shows, as JSON has it. alt: in one
        sentence what the figure shows, for anyone who does not see it
    Raises: ValueError if the page would carry more than 150 kB
    """

    name: str
    data: dict
    alt: str

    def __post_init__(self):
        size = len(self.html().encode())
        if size > MOST:
            raise ValueError(
                f"the page would carry {size / 1000:.0f} kB for this figure, at most "
                f"{MOST / 1000:.0f}: give it fewer items"
            )

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self.html()}

    def __repr__(self) -> str:
        return f"Interactive({self.name}): {self.alt}"

    def module(self) -> str:
        """The whole ES module, as anywidget takes it."""
        return source("shared.js") + source(f"{self.name}.js")

    def html(self) -> str:
        """The figure as one piece of HTML, for any page: it needs no kernel and no network."""
        given = json.dumps({"data": self.data, "alt": self.alt}, separators=(",", ":"))
        given = given.replace("<", "\\u003c")  # no text can end the script
        return PAGE.format(
            key=hashlib.sha256((self.name + given).encode()).hexdigest()[:12],
            alt=escape(self.alt),
            style=source("figure.css"),
            module=self.module().replace("export default", "const figure =", 1),
            given=given,
        )

    def widget(self):
        """The same figure as an anywidget in a running notebook, which knows what the reader does.

        Its `state` is a dictionary that follows the reader, and may be set. It needs the package
        anywidget, and in Colab `google.colab.output.enable_custom_widget_manager()`.

        Raises: ModuleNotFoundError if anywidget is not installed
        """
        try:
            import anywidget
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "a live widget needs the package anywidget: pip install anywidget"
            ) from None
        from traitlets import Dict, Unicode

        class Live(anywidget.AnyWidget):
            _esm = self.module()
            _css = source("figure.css")
            data = Dict().tag(sync=True)
            alt = Unicode().tag(sync=True)
            state = Dict().tag(sync=True)

        return Live(data=self.data, alt=self.alt)


def packed(values: Tensor, low: float, high: float) -> dict:
    """Numbers between two ends in 4,096 steps, two characters each."""
    span = max(high - low, 1e-12)
    steps = ((values.detach().double().flatten() - low) / span * FINE).round().long()
    text = "".join(DIGITS[step >> 6] + DIGITS[step & 63] for step in steps.tolist())
    return {"text": text, "low": low, "step": span / FINE}


def inked(images: Tensor) -> list[str]:
    """Grey images (n, 1, H, W) as one text each, a character a pixel.

    Raises: ValueError if the images have another shape or values outside [0, 1]
    """
    if images.ndim != 4 or images.shape[1] != 1 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images must be (n, 1, size, size), got {tuple(images.shape)}")
    if not ((images >= 0) & (images <= 1)).all():
        raise ValueError("the pixels of an image lie between 0 (paper) and 1 (ink)")
    steps = (images.flatten(1) * INK).round().to(torch.long)
    return ["".join(DIGITS[step] for step in image) for image in steps.tolist()]
