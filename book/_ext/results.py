"""Tables of measured numbers from a result file: the directive `{results} NAME`.

A row is a method with one setting: the mean over seeds and half of the 95 % interval. A figure that
others publish has a column of its own, and its source stands beneath; it enters no mean.
"""

from pathlib import Path

from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

FOLDER = Path(__file__).resolve().parent.parent / "results"
SECTION = ("dataset", "request", "device")  # with the size: what is never mixed in one table
NO_FILE = """\
These numbers have not been measured yet. The command that does it, and writes the file that this
page shows:

```bash
python -m book.experiments {name}
```
"""


def markdown(name: str, folder: Path = FOLDER) -> str:
    """What the page shows of one experiment."""
    from minilearn.sweep import read_rows

    sections = {}
    if name == "kernels":
        return timings(read_rows(folder / f"{name}.csv")) or NO_FILE.format(name=name)
    for row in read_rows(folder / f"{name}.csv"):
        key = (*(row[column] for column in SECTION), size(row))
        sections.setdefault(key, []).append(row)
    return "\n".join(map(section, sections.values())) or NO_FILE.format(name=name)


def swept(name: str, folder: Path = FOLDER) -> list[str]:
    """What the page shows of a sweep, part by part."""
    import sweep

    from minilearn.sweep import read_rows

    rows = read_rows(folder / f"{name}.csv")
    return sweep.markdown(rows, size, origin) if rows else [NO_FILE.format(name=name)]


def size(row: dict[str, str]) -> str:
    """The size that a row was run with, with which its config begins, and whether inside fast."""
    scale = row["config"].split(";")[0].removeprefix("size=")
    return scale + ", inside fast" * row["config"].endswith("; inside fast")


def section(rows: list[dict[str, str]]) -> str:
    """Tables, sources and origin of the rows of one data set, request, device and size."""
    first = rows[0]
    columns = list(dict.fromkeys((row["metric"], row["split"]) for row in rows))
    metrics = [metric for metric, _ in columns]
    # a metric of several splits has a table of its own; the others share one
    tables = {}
    for metric, split in columns:
        alone = metric if metrics.count(metric) > 1 else ""
        tables.setdefault(alone, []).append((metric, split))
    title = f"**{text(first['dataset'])}**, forgotten: {text(first['request'])}; size {size(first)}"
    parts = [title, *(table(rows, chosen) for chosen in tables.values()), *sources(rows)]
    return "\n\n".join([*parts, origin(rows), settings(rows)]) + "\n"


def timings(rows: list[dict[str, str]]) -> str:
    """One table for every device and size, and one more for kernels that were deleted."""
    from minilearn.kernels import NAMES

    parts, shown = {}, []
    for row in sorted(rows, key=lambda row: row["dataset"] not in NAMES):
        deleted = row["dataset"] not in NAMES
        parts.setdefault((row["device"], size(row), deleted), []).append(row)
    for (device, scale, deleted), those in parts.items():
        words = "how many times as fast as plain PyTorch"
        if deleted:
            words = f"kernels that are no longer in the package, {words}"
        title = f"**{text(device)}**, size {scale}: {words}"
        shown += [title, timed(those), origin(those)]
    return "\n\n".join(shown)


def timed(rows: list[dict[str, str]]) -> str:
    """One table: a line a kernel and case, a column a way."""
    ways = [way for way in dict.fromkeys(r["method"] for r in rows) if way != "reference"]
    lines = [["kernel and case", "PyTorch, ms", "launches", *(f"`{way}`" for way in ways)]]
    lines.append(["---"] + ["---:"] * (2 + len(ways)))
    for kernel, case in dict.fromkeys((r["dataset"], r["request"]) for r in rows):
        here = [r for r in rows if (r["dataset"], r["request"]) == (kernel, case)]
        plain = [1e3 * x for x in numbers(here, "reference", "seconds")]
        cells = [f"`{kernel}` {text(case)}", f"{sum(plain) / len(plain):.3g}"]
        cells.append(f"{numbers(here, 'reference', 'launches')[0]:.0f}")
        lines.append(cells + [ratio(here, way) for way in ways])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratio(rows: list[dict[str, str]], way: str) -> str:
    """The ratio of one way with its interval, and the share of a copy's bandwidth it reaches."""
    from minilearn.metrics.report import Row

    values = tuple(numbers(rows, way, "ratio"))
    if not values:
        return ""
    share = numbers(rows, way, "bandwidth")
    cell = str(Row("ratio", "", way, values, None)).replace(" ± ", "\u00a0±\u00a0")
    return f"{cell} ({sum(share) / len(share):.0%})"


def numbers(rows: list[dict[str, str]], method: str, metric: str) -> list[float]:
    """The values of a metric over seeds."""
    return [float(r["value"]) for r in rows if (r["method"], r["metric"]) == (method, metric)]


def methods(rows: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """The rows of every method, those of another setting under a name of their own."""
    pairs = {}
    for row in rows:
        pairs.setdefault((row["method"], row["config"]), []).append(row)
    named = {}
    for (method, _), own in pairs.items():
        others = sum(key.split(" (")[0] == method for key in named)
        named[f"{method} (setting {others + 1})" if others else method] = own
    return named


def table(rows: list[dict[str, str]], columns: list[tuple[str, str]]) -> str:
    """One table: a row a method, a column a metric on a split, and one for its published figure."""
    from minilearn.metrics.report import Row

    named, several = methods(rows), len({metric for metric, _ in columns}) > 1
    heads, cells, unit = ["method", "seeds"], {name: [] for name in named}, ""
    for metric, split in columns:
        chosen = [row for row in rows if (row["metric"], row["split"]) == (metric, split)]
        unit = f"({text(chosen[0]['unit'])})"
        where = f" on `{split}`" if split else ""
        heads.append(f"`{metric}`{where} {unit}" if several else f"`{split or metric}`")
        figures = any(row["published"] for row in chosen)
        heads += [f"{heads[-1]}, published"] if figures else []
        for name, own in named.items():
            here = [row for row in own if row in chosen]
            values = tuple(float(row["value"]) for row in here)
            cell = str(Row(metric, split, name, values, None)) if values else ""
            cells[name].append(cell.replace(" ± ", "\u00a0±\u00a0"))
            if figures:
                known = sorted({row["published"] for row in here} - {""})
                cells[name].append(" ".join(f"{float(figure):.4g}" for figure in known))
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for name, own in named.items():
        lines.append([f"`{name}`", str(len({row["seed"] for row in own})), *cells[name]])
    title = "" if several else f"`{columns[0][0]}` {unit}\n\n"
    return title + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sources(rows: list[dict[str, str]]) -> list[str]:
    """Who published the figures that are not measured here."""
    found = dict.fromkeys(row["source"] for row in rows if row["source"])
    return [f"Published, not measured here: {text(source)}." for source in found]


def origin(rows: list[dict[str, str]]) -> str:
    """Where the numbers come from, in one paragraph."""

    def all_of(column: str) -> str:
        return ", ".join(dict.fromkeys(text(row[column]) for row in rows if row[column]))

    times = sorted(row["utc"] for row in rows)
    triton = f", Triton {all_of('triton')}" if all_of("triton") else ""
    commit = f", commit {all_of('commit')}" if all_of("commit") else ""
    commands = ", ".join(dict.fromkeys(f"`{row['command']}`" for row in rows))
    several = len({row["seed"] for row in rows}) > 1
    return (
        ("Mean ± half of the 95 % interval over seeds. " if several else "One seed: no interval. ")
        + f"Measured on {all_of('device')}, with PyTorch {all_of('torch')}{triton}, minilearn "
        + f"{all_of('minilearn')}{commit}, from {times[0]} to {times[-1]}, by {commands}."
    )


def settings(rows: list[dict[str, str]]) -> str:
    """Every method's settings, folded."""
    lines = [f"- `{name}`: {text(own[0]['config'])}" for name, own in methods(rows).items()]
    return "\n".join(["<details>", "<summary>Settings</summary>", "", *lines, "", "</details>"])


def text(words: str) -> str:
    """Plain text that no character of Markdown changes."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>()#+!|~$" else c for c in words)


class Results(Directive):
    """`{results} NAME`: the tables of book/results/NAME.csv; `{results} NAME sweep` as a sweep."""

    required_arguments, optional_arguments = 1, 1

    def run(self):
        """The parsed tables; a damaged file stops the build."""
        from docutils import nodes

        name, node = self.arguments[0], nodes.container()
        path = FOLDER / f"{name}.csv"
        self.state.document.settings.env.note_dependency(str(path))
        try:
            parts = swept(name) if self.arguments[1:] == ["sweep"] else [markdown(name)]
        except ValueError as error:
            raise self.error(str(error)) from None
        for part in parts:
            if part.startswith("<img"):
                node += nodes.raw("", part, format="html")
                continue
            lines = StringList(part.splitlines(), source=str(path))
            self.state.nested_parse(lines, self.content_offset, node)
        return node.children


def setup(app):
    """Register with Sphinx."""
    app.add_directive("results", Results)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
