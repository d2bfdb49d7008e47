"""Write everything that follows from the repository's address, which stands in pyproject.toml.

    python book/derive.py            write it
    python book/derive.py --check    only say what differs, and exit 1 if anything does

Files are changed as text, by the patterns below, so that nothing else in a notebook moves.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = (
    "notebooks/**/*.ipynb",
    "book/*.md",
    "*.md",
    "_config.yml",
    "CITATION.cff",
)
SLUG = r"[\w.-]+/[\w.-]+"


def address() -> str:
    """The repository's address, without a trailing slash."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["urls"]["Repository"].rstrip("/")


def derived(path: Path, url: str) -> str:
    """The text of one file with our address in every place that carries it."""
    text = path.read_text(encoding="utf-8")
    slug = url.removeprefix("https://github.com/")
    colab = "https://colab.research.google.com/github/"
    if path.suffix == ".ipynb":  # a notebook's Colab link opens that notebook
        place = f"{colab}{slug}/blob/main/{path.relative_to(ROOT).as_posix()}"
        if path.parent.name in ("assignments", "students"):  # or the students' version of it
            students = f"gh-pages/_sources/notebooks/students/{path.name}"
            place = f"{colab}{slug}/blob/{students}"
        text = re.sub(rf"{re.escape(colab)}[^\s)\"\\]+", lambda _: place, text)
    for pattern, new in {
        rf"{re.escape(colab)}{SLUG}(?=/blob)": colab + slug,
        rf"git\+https://github\.com/{SLUG}": f"git+{url}",
        rf"git clone https://github\.com/{SLUG}": f"git clone {url}",
        rf"(?m)^( *(?:url|repository-code): )\S*github\.com/{SLUG}\"?$": rf'\g<1>"{url}"',
    }.items():
        text = re.sub(pattern, new, text)
    return text


def main(check: bool) -> int:
    """Go over all files; say which one differs."""
    url, differ = address(), []
    for path in sorted({p for pattern in FILES for p in ROOT.glob(pattern)}):
        new = derived(path, url)
        if new != path.read_text(encoding="utf-8"):
            differ.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.write_text(new, encoding="utf-8")
    for name in differ:
        print(f"{name}: {'does not carry' if check else 'now carries'} {url}")
    return int(check and bool(differ))


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
