"""Take the picture of the README and the first page from chapter 1, as it was last executed.

`make book` first; then `python book/picture.py` writes book/figures/mistakes.png.
"""

import base64
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHAPTER = ROOT / "_build/jupyter_execute/notebooks/01_can_a_model_forget.ipynb"
PICTURE = ROOT / "book/figures/mistakes.png"


def main():
    """Find the cell by its alternative text and write its picture."""
    for cell in json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]:
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        if alt.startswith("A grid of marks"):
            png = next(o["data"]["image/png"] for o in cell["outputs"] if "data" in o)
            PICTURE.parent.mkdir(exist_ok=True)
            PICTURE.write_bytes(base64.b64decode(png))
            return
    raise SystemExit(f"{CHAPTER} has no picture of the mistakes")


if __name__ == "__main__":
    main()
