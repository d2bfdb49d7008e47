"""The papers' claims and what the rows say of them: the directive `{claims}`.

A short table first, a line a claim; then, folded, a line for every set on which it was looked at.
"""

import re
from collections import Counter

from matrix import FOLDER, ROOT, Generated, measured
from matrix import WORKS as TITLES

VERDICTS = ("held", "not held", "cannot be told", "not measured")


def page(folder=FOLDER) -> str:
    """Both tables of every paper."""
    from verdicts import judged

    every = judged(lambda name: measured(name, folder))
    parts = []
    for work, title in TITLES.items():
        own = [(claim, verdict) for claim, verdict in every if claim.work == work]
        parts += [f"**{title}**", short(own), *folded(own)]
    return "\n\n".join(parts) + "\n"


def short(judged: list) -> str:
    """A line a claim: on how many sets or settings each verdict was given."""
    import results

    lines = []
    for words, own in grouped(judged).items():
        counts = Counter(verdict.word for _, verdict in own)
        chapters = ", ".join(dict.fromkeys(chapter(claim.chapter) for claim, _ in own))
        sources = ", ".join(dict.fromkeys(claim.source for claim, _ in own))
        numbers = [str(counts[word] or "") for word in VERDICTS]
        lines.append([results.text(words), results.text(sources), chapters, *numbers])
    heads = ["claim", "stands in", "chapter", *VERDICTS]
    return results.drawn(results.ruled(heads, lines, 3))


def folded(judged: list) -> list[str]:
    """A line a claim and set, with the number and its interval."""
    import results

    from book.claims import in_words

    lines = []
    for words, own in grouped(judged).items():
        for claim, verdict in own:
            where = results.text(where_of(claim, verdict))
            cells = [results.text(words), where, f"**{verdict.word}**", number(verdict)]
            cells += [seeds(verdict), in_words(claim), row(claim)]
            lines.append(cells)
    heads = ["claim", "on", "verdict", "mean ± half of the interval", "seeds", "holds if", "row"]
    about = "<summary>Every line: on what, by how much</summary>"
    table = results.drawn(results.ruled(heads, lines, len(heads)))
    return ["<details>", about, table, "</details>"]


def grouped(judged: list) -> dict[str, list]:
    """Claims and verdicts by the claim's words, in the order of the table."""
    groups = {}
    for claim, verdict in judged:
        groups.setdefault(claim.words, []).append((claim, verdict))
    return groups


def where_of(claim, verdict) -> str:
    """The experiment, what was asked, which of several settings, and how large it was run."""
    size = f"size {verdict.size or claim.size}" if verdict.size or claim.size else ""
    asked = (claim.experiment, claim.request, claim.label)
    parts = (*asked, verdict.setting, size, verdict.device)
    return ", ".join(part for part in parts if part)


def number(verdict) -> str:
    """The mean with half of its interval, where there is one; "" without numbers."""
    if not verdict.seeds:
        return ""
    half = f"\u00a0±\u00a0{verdict.half:.3f}" if verdict.half == verdict.half else ""
    return f"{verdict.mean:.3f}{half}"


def seeds(verdict) -> str:
    """How many runs there are, and how many overflowed."""
    lost = f", {verdict.overflowed} overflowed" if verdict.overflowed else ""
    return f"{verdict.seeds or ''}{lost}".removeprefix(", ")


def row(claim) -> str:
    """A link to the table of the rows, or to the list of what is to be measured."""
    if not claim.experiment:
        return ""
    label = labels().get(claim.experiment)
    return f"{{ref}}`results <{label}>`" if label else "[to be measured](matrix.md)"


def labels() -> dict[str, str]:
    """The label on a page of results of the heading under which an experiment's table stands."""
    found, label = {}, ""
    pages = sorted((ROOT / "book").glob("results_*.md"))
    for line in "\n".join(page.read_text("utf-8") for page in pages).splitlines():
        if target := re.fullmatch(r"\((.+)\)=", line):
            label = target[1]
        if directive := re.match(r"```\{results\} (\w+)", line):
            found[directive[1]] = label
    return found


def chapter(of: int) -> str:
    """A link to a chapter by its number."""
    (path,) = (ROOT / "notebooks").glob(f"{of:02}_*.ipynb")
    return f"[{of}](../notebooks/{path.name})"


class Claims(Generated):
    """`{claims}`."""

    make = staticmethod(page)


def setup(app):
    """Register with Sphinx."""
    app.add_directive("claims", Claims)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
