"""Take the picture of the README and the first page from chapter 1 as it was last built.

`make book` first; then `python book/picture.py` writes book/figures/mistakes.png.
"""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "_build/html/notebooks/01_can_a_model_forget.html"
PICTURE = ROOT / "book/figures/mistakes.png"


def main():
    """Find the picture by its alternative text and copy it."""
    if not PAGE.exists():
        raise SystemExit(f"{PAGE} is not there: make book first")
    for tag in re.findall(r"<img[^>]*>", PAGE.read_text(encoding="utf-8")):
        if 'alt="A grid of marks' in tag:
            PICTURE.parent.mkdir(exist_ok=True)
            shutil.copyfile(PAGE.parent / re.search(r'src="([^"]*)"', tag)[1], PICTURE)
            return
    raise SystemExit(f"{PAGE} has no picture of the mistakes")


if __name__ == "__main__":
    main()
