"""How the book reads, in figures: a line a chapter and page.

`make prose` prints, per 1,000 words, the semicolons, the colons and the words *we* and *you*, then
the median length of a sentence, the share of long sentences, and how many old-fashioned words there
are. The figures say where to look. They are no verdict.
"""

import ast
import json
import re
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONG = 30  # words of a sentence
WORD = r"[A-Za-z][A-Za-z'’-]*"
SPOKEN = r"\b(?:we|us|our|you|your|let['’]s)\b"
OLD = r"\b(?:nought|anew|shall|who(?:so)?ever|dearer|hangs on|whatever|(?:is|are) no [a-z]+)\b"
NOT_PROSE = {
    r"^```\{results\}[^\n]*$(.*?)^```$": r"\1",  # what the directive holds is prose
    r"```.*?(?:```|\Z)": " ",
    r"\$\$.*?\$\$|\$[^$]*\$": " x ",
    r"^\s*\|.*$": " ",  # tables
    r"`[^`]*`": "code",
    r"!?\[([^\]]*)\]\([^)]*\)": r"\1",
    r"<[^>]+>|^#+ .*$|[*_]": " ",
}


@dataclass(frozen=True)
class Figures:
    """Counts of one text; the first three of marks and words are per 1,000 words."""

    words: int
    semicolons: float
    colons: float
    spoken: float
    median: float
    long: float
    old: int


def quoted(source: str) -> str:
    """What a cell's `Markdown(...)` displays, with x for every number that it quotes."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    texts = [call.args[0] for call in calls if ast.unparse(call.func) == "Markdown"]
    parts = [part for text in texts for part in getattr(text, "values", [text])]
    return "".join(part.value if isinstance(part, ast.Constant) else "x" for part in parts)


def text_of(path: Path) -> str:
    """The prose of a page, or of a notebook with its quoting cells."""
    if path.suffix != ".ipynb":
        return path.read_text("utf-8")
    texts = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            texts.append(source)
        elif "remove-input" in cell["metadata"].get("tags", []):
            texts.append(quoted(source))
    return "\n\n".join(texts)


def figures(text: str) -> Figures:
    """The figures of a text in Markdown."""
    for pattern, instead in NOT_PROSE.items():
        text = re.sub(pattern, instead, text, flags=re.DOTALL * (".*?" in pattern) | re.MULTILINE)
    parts = re.split(r"(?<=[.!?])\s+|\n\s*\n|^\s*(?:-|\d+\.)\s", text, flags=re.MULTILINE)
    lengths = [len(re.findall(WORD, part)) for part in parts]
    lengths = [length for length in lengths if length > 2] or [0]
    words = len(re.findall(WORD, text))

    def per_thousand(pattern: str) -> float:
        return 1000 * len(re.findall(pattern, text, re.IGNORECASE)) / max(1, words)

    return Figures(
        words=words,
        semicolons=per_thousand(";"),
        colons=per_thousand(r"(?<=\S):(?=\s)"),
        spoken=per_thousand(SPOKEN),
        median=statistics.median(lengths),
        long=sum(length > LONG for length in lengths) / len(lengths),
        old=len(re.findall(OLD, text, re.IGNORECASE)),
    )


def main(names: list[str]) -> None:
    """Print the figures of some files, or of all chapters, assignments and pages."""
    paths = [Path(name) for name in names]
    if not names:
        assignments = (ROOT / "notebooks" / "assignments").glob("*.ipynb")
        paths = [*(ROOT / "notebooks").glob("*.ipynb"), *assignments]
        paths = [*sorted(paths), *sorted((ROOT / "book").glob("*.md")), *sorted(ROOT.glob("*.md"))]
    print(f"{'':34} words  ;/1000  :/1000  we, you  median  long  old")
    for path in paths:
        own = figures(text_of(path))
        print(
            f"{path.name[:34]:34} {own.words:5}  {own.semicolons:6.1f}  {own.colons:6.1f}  "
            f"{own.spoken:7.1f}  {own.median:6g}  {own.long:4.0%}  {own.old:3}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
