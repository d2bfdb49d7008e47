"""The figure of the first page: the directive, and that a withdrawal shows there."""

import importlib
import re
import sys
from pathlib import Path

from docutils.core import publish_parts
from docutils.parsers.rst import directives

sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "_ext"))  # as Sphinx does
landing = importlib.import_module("landing")


def test_the_directive_gives_the_figure():
    directives.register_directive("withdraw", landing.Withdraw)
    body = publish_parts(".. withdraw::\n", writer_name="html5")["body"]
    assert landing.patients().html() in body


def test_ascent_breaks_more_than_retraining_there(opened):
    """The first point that is offered: retraining does not know it, fine-tuning still does."""
    page = opened(landing.patients())
    page.locator("button").click()
    said = page.locator("[role=status]").inner_text()
    original, retrained, tuned, ascended = map(int, re.findall(r"(\d+) %", said))
    assert original > 80 > 20 > retrained and tuned > 80 > ascended > retrained
    page.locator("input").nth(1).fill("200")
    end = page.locator("[role=status]").inner_text()
    mistakes = {name: int(n) for name, n in re.findall(r"([\w-]+) (\d+)[,.]", end)}
    assert mistakes["ascended"] > mistakes["retrained"] + 3, end
