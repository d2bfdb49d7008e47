"""Pages without what they do not need: the theme draws each icon by a font and by a script.

The font's style sheet has all icons. The script weighs more than everything else on a page.
"""

import re
from pathlib import Path

SCRIPT = re.compile(r'\s*<script src="[^"]*scripts/fontawesome\.js[^"]*"></script>')


def remove_script(app, exception) -> None:
    """Take the script and its tags out of the finished site."""
    if exception is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    for page in site.rglob("*.html"):
        page.write_text(SCRIPT.sub("", page.read_text("utf-8")), "utf-8")
    for file in (site / "_static" / "scripts").glob("fontawesome.js*"):
        file.unlink()


def setup(app):
    """Register with Sphinx."""
    app.connect("build-finished", remove_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
