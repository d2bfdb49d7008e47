"""Pages without what they do not need.

The theme draws each icon by a font and by a script; the font's style sheet has all icons, and the
script weighs more than everything else on a page. Sphinx puts each word of code into a `span` of
its own, which keeps it from breaking on a phone and makes up a third of the API page.
"""

import re
from pathlib import Path

SCRIPT = re.compile(r'\s*<script src="[^"]*scripts/fontawesome\.js[^"]*"></script>')
WORD = re.compile(r'<span class="pre">([^<]*)</span>')


def lighten(app, exception) -> None:
    """Take the script, its tags and the words' tags out of the finished site."""
    if exception is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    for page in site.rglob("*.html"):
        text = SCRIPT.sub("", page.read_text("utf-8"))
        page.write_text(WORD.sub(r"\1", text), "utf-8")
    for file in (site / "_static" / "scripts").glob("fontawesome.js*"):
        file.unlink()


def setup(app):
    """Register with Sphinx."""
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
