"""What was measured, from a result file: the directive `{results} NAME` and the role `{measured}`.

First stand a picture, a short table and a link to the rows (`headlines.py`), then what the
directive holds as text, and folded all tables. A line of these is a method with one setting: the
mean over seeds and half of the 95 % interval. A figure that others publish has a column of its own,
and its source stands beneath; it enters no mean.
"""

import os
import re
from pathlib import Path

import pandas
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from pictures import by_setting
from PIL import Image

FOLDER = Path(__file__).resolve().parent.parent / "results"
PLUS_MINUS = "\u00a0±\u00a0"
OPEN = "<details><summary>All tables and settings</summary>"
SECTION = ["dataset", "request", "device", "size"]  # what is never mixed in one table
NO_FILE = """\
These numbers have not been measured yet. The command that does it, and writes the file that this
page shows:

```bash
python -m book.experiments {name}
```
"""


def rows_of(name: str, folder: Path) -> pandas.DataFrame:
    """The rows of a result file, with a column for the size, and numbers as numbers."""
    from minilearn.sweep import COLUMNS, read_rows

    rows = pandas.DataFrame(read_rows(folder / f"{name}.csv"), columns=list(COLUMNS))
    return rows.assign(size=rows["config"].map(size), value=rows["value"].astype(float))


def markdown(name: str, folder: Path = FOLDER) -> str:
    """What the page shows of one experiment."""
    rows = rows_of(name, folder)
    if name == "kernels":
        parts = [timings(own) for _, own in rows.groupby(["device", "size"], sort=False)]
        return "\n\n".join(parts) or NO_FILE.format(name=name)
    form = covered if name == "coverage" else section
    parts = [form(own) for _, own in rows.groupby(SECTION, sort=False)]
    if name in ("audit_digits", "audit_mnist", "audit_rotated"):
        import audits

        parts.insert(0, audits.ranks(rows) + "\n")
    return "\n".join(parts) or NO_FILE.format(name=name)


def swept(name: str, folder: Path = FOLDER) -> list:
    """What the page shows of a sweep, part by part."""
    import sweep

    rows = rows_of(name, folder)
    return [NO_FILE.format(name=name)] if rows.empty else sweep.markdown(rows, origin)


def size(config: str) -> str:
    """The size of a run, with which its config begins, and whether it was inside fast."""
    scale = config.split(";")[0].removeprefix("size=")
    return scale + ", inside fast" * config.endswith("; inside fast")


def section(rows: pandas.DataFrame) -> str:
    """Tables, sources and origin of the rows of one data set, request, device and size."""
    first, rows = rows.iloc[0], by_setting(rows)
    columns = rows[["metric", "split"]].drop_duplicates()
    # a metric of several splits has a table of its own; the others share one
    alone = columns["metric"].where(columns["metric"].duplicated(keep=False), "")
    tables = [table(rows, chosen) for _, chosen in columns.groupby(alone, sort=False)]
    title = (
        f"**{text(first['dataset'])}**, forgotten: {text(first['request'])}; size {first['size']}"
    )
    return "\n\n".join([title, *tables, *sources(rows), origin(rows), settings(rows)]) + "\n"


def covered(rows: pandas.DataFrame) -> str:
    """How often a ruler held, in per cent: a line per metric and ruler, a column per count.

    Beneath stands what chance alone would make of the level over so many groups.
    """
    from minilearn.metrics.band import LEVEL

    first, rows = rows.iloc[0], counted(rows)
    numbers = sorted(rows["k"].unique())
    lines = []
    for (metric, split), own in rows.groupby(["metric", "split"], sort=False):
        for (ruler, more), here in own.groupby(["method", "more"], sort=False):
            shares = here.set_index("k")["value"]
            where = f" on `{split}`" if split else ""
            judged = "one more" if more == 1 else f"mean of {more} more"
            cells = [f"{shares[k]:.0%}" if k in shares else "" for k in numbers]
            lines.append([f"`{metric}`{where}", f"{ruler}, {judged}", *cells])
    count = rows["groups"].max()
    chance = 2 * (LEVEL * (1 - LEVEL) / count) ** 0.5
    title = f"**{text(first['dataset'])}**, forgotten: {text(first['request'])}; "
    title += f"size {first['size']}: the share that lies inside; level {100 * LEVEL:g} %"
    note = f"Of {count} groups, a share like the level is uncertain by {100 * chance:.0f} points."
    all_of = settings(rows.head(1).assign(method="all, but for k and more"))
    heads = ["metric", "ruler", *(f"{k} retrained" for k in numbers)]
    shown = drawn(ruled(heads, lines, 2))
    return "\n\n".join([title, shown, note, origin(rows), all_of]) + "\n"


def counted(rows: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of a ruler with columns for what its config and unit count."""
    return rows.assign(
        k=rows["config"].str.extract(r"k=(\d+)", expand=False).astype(int),
        more=rows["config"].str.extract(r"more=(\d+)", expand=False).astype(int),
        groups=rows["unit"].str.extract(r"(\d+)$", expand=False).astype(int),
    )


def timings(rows: pandas.DataFrame) -> str:
    """The table of one device and size: a line a kernel and case, a column a way.

    Kernels that were deleted have a table of their own, after the others.
    """
    from minilearn.kernels import NAMES

    there = rows["dataset"].isin(NAMES)
    parts = [
        timed(rows[there], ""),
        timed(rows[~there], "kernels that are no longer in the package, "),
    ]
    return "\n\n".join(part for part in parts if part)


def timed(rows: pandas.DataFrame, which: str) -> str:
    """One table, with its title and the origin of its rows; "" without rows."""
    if rows.empty:
        return ""
    first = rows.iloc[0]
    ways = [way for way in rows["method"].unique() if way != "reference"]
    lines = []
    for (kernel, case), here in rows.groupby(["dataset", "request"], sort=False):
        plain = 1e3 * numbers(here, "reference", "seconds").mean()
        launches = numbers(here, "reference", "launches").iloc[0]
        cells = [f"`{kernel}` {text(case)}", f"{plain:.3g}", f"{launches:.0f}"]
        lines.append(cells + [ratio(here, way) for way in ways])
    title = f"**{text(first['device'])}**, size {first['size']}"
    title += f": {which}how many times as fast as plain PyTorch"
    heads = ["kernel and case", "PyTorch, ms", "launches", *(f"`{way}`" for way in ways)]
    return "\n\n".join([title, drawn(ruled(heads, lines)), origin(rows)])


def ratio(rows: pandas.DataFrame, way: str) -> str:
    """The ratio of one way with its interval, and the share of a copy's bandwidth it reaches."""
    cell = interval(numbers(rows, way, "ratio"), "ratio")
    return cell and f"{cell} ({numbers(rows, way, 'bandwidth').mean():.0%})"


def numbers(rows: pandas.DataFrame, method: str, metric: str) -> pandas.Series:
    """The values of a metric over seeds."""
    return rows["value"][(rows["method"] == method) & (rows["metric"] == metric)]


def interval(values: pandas.Series, metric: str) -> str:
    """Mean and half of the interval, as the report of the package shows them; "" of nothing."""
    from minilearn.metrics.report import Row

    cell = str(Row(metric, "", "", tuple(values), None)) if len(values) else ""
    return cell.replace(" ± ", PLUS_MINUS)


def drawn(lines: list[list[str]]) -> str:
    """A table from its cells."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(rows: pandas.DataFrame, columns: pandas.DataFrame) -> str:
    """One table: a row per method, a column per metric on a split, one for its published figure."""
    several, heads, unit = columns["metric"].nunique() > 1, ["method", "seeds"], ""
    named = dict(list(rows.groupby("method", sort=False)))
    lines = {name: [f"`{name}`", str(own["seed"].nunique())] for name, own in named.items()}
    for metric, split in columns.itertuples(index=False):
        chosen = rows[(rows["metric"] == metric) & (rows["split"] == split)]
        unit = f"({text(chosen['unit'].iloc[0])})"
        where = f" on `{split}`" if split else ""
        heads.append(f"`{metric}`{where} {unit}" if several else f"`{split or metric}`")
        published = chosen[chosen["published"] != ""]
        if len(published):
            heads.append(f"{heads[-1]}, published")
        for name, line in lines.items():
            line.append(interval(chosen["value"][chosen["method"] == name], metric))
            if len(published):
                known = sorted(set(published["published"][published["method"] == name]))
                line.append(" ".join(f"{float(figure):.4g}" for figure in known))
    title = "" if several else f"`{columns['metric'].iloc[0]}` {unit}\n\n"
    return title + drawn(ruled(heads, list(lines.values())))


def sources(rows: pandas.DataFrame) -> list[str]:
    """Who published the figures that are not measured here."""
    known = rows["source"][rows["source"] != ""].unique()
    return [f"Published, not measured here: {text(source)}." for source in known]


def origin(rows: pandas.DataFrame) -> str:
    """Where the numbers come from, in one paragraph."""

    def all_of(column: str) -> str:
        return ", ".join(text(words) for words in rows[column].unique() if words)

    triton = f", Triton {all_of('triton')}" if all_of("triton") else ""
    commit = f", commit {all_of('commit')}" if all_of("commit") else ""
    commands = ", ".join(f"`{command}`" for command in rows["command"].unique())
    several = rows["seed"].nunique() > 1
    return (
        ("Mean ± half of the 95 % interval over seeds. " if several else "One seed: no interval. ")
        + f"Measured on {all_of('device')}, with PyTorch {all_of('torch')}{triton}, minilearn "
        + f"{all_of('minilearn')}{commit}, from {rows['utc'].min()} to {rows['utc'].max()}, "
        + f"by {commands}."
    )


def settings(rows: pandas.DataFrame) -> str:
    """Every method's settings, folded."""
    each = rows.drop_duplicates("method")
    lines = [f"- `{n}`: {text(c)}" for n, c in zip(each["method"], each["config"], strict=True)]
    return "\n".join(["<details>", "<summary>Settings</summary>", "", *lines, "", "</details>"])


def ruled(heads: list[str], lines: list[list[str]], left: int = 1) -> list[list[str]]:
    """Heads, a rule that sets all but the first columns to the right, and the lines."""
    rule = ["---"] * left + ["---:"] * (len(heads) - left)
    return [heads, rule, *lines]


def text(words: str) -> str:
    """Plain text that no character of Markdown changes."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>()#+!|~$" else c for c in words)


class Results(Directive):
    """`{results} NAME`: what stands first of book/results/NAME.csv, the notes, the rest folded.

    `{results} NAME sweep` folds the tables of a sweep.
    """

    required_arguments, optional_arguments, has_content = 1, 1, True

    def run(self):
        """The parsed parts; a damaged file stops the build."""
        name = self.arguments[0]
        path = FOLDER / f"{name}.csv"
        self.env = self.state.document.settings.env
        self.env.note_dependency(str(path))
        try:
            first, rest = self.parts(name)
        except ValueError as error:
            raise self.error(str(error)) from None
        page, short = nodes.container(), nodes.container(classes=["results"])
        for part in first:
            short += self.parsed(part, path)
        page += short
        if rest:
            page += self.parsed("\n".join(self.content), path)
            page += nodes.raw("", OPEN, format="html")
            whole = nodes.container(classes=["wide"])
            for part in rest:
                whole += self.parsed(part, path)
            page += whole
            page += nodes.raw("", "</details>", format="html")
        return page.children

    def parts(self, name: str) -> tuple[list, list]:
        """What stands first, and what is folded: Markdown, and pictures."""
        from headlines import headline

        rows = rows_of(name, FOLDER)
        if rows.empty:
            return [NO_FILE.format(name=name)], []
        picture, lines = headline(name, rows)
        link = f"{{download}}`{len(rows):,} rows (CSV) <results/{name}.csv>`"
        whole = swept(name) if self.arguments[1:] == ["sweep"] else [markdown(name)]
        return [picture, f"{lines} {link}"], whole

    def parsed(self, part, path: Path) -> list[nodes.Node]:
        """The nodes of one part."""
        if not isinstance(part, str):
            return [drawing(self.env, part, self.arguments[0])]
        node = nodes.container()
        lines = StringList(part.splitlines(), source=str(path))
        self.state.nested_parse(lines, self.content_offset, node)
        return node.children


def drawing(env, picture, name: str) -> nodes.figure:
    """A picture as a file beside the page's, with its alternative text and caption."""
    folder = Path(env.app.doctreedir) / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}{picture.suffix}.png"
    picture.figure.savefig(file, dpi=160, metadata={"Software": None})
    with Image.open(file) as image:  # 64 colours are enough, and a third of the bytes
        few = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    few.save(file, optimize=True)
    here = Path(env.doc2path(env.docname)).parent
    image = nodes.image(uri=os.path.relpath(file, here), alt=picture.alt)
    parts = re.split(r"`([^`]+)`", picture.caption)
    caption = nodes.caption()
    for place, part in enumerate(parts):
        caption += nodes.literal(text=part) if place % 2 else nodes.Text(part)
    return nodes.figure("", image, caption)


def measured(role, rawtext, said, lineno, inliner, options=None, content=None):
    """{measured}`NAME; request; method; metric; split`: one number for a sentence."""
    from headlines import measured as number

    name, *asked = (part.strip() for part in said.split(";"))
    try:
        return [nodes.Text(number(rows_of(name, FOLDER), *asked))], []
    except (TypeError, ValueError) as error:
        message = inliner.reporter.error(f"{said}: {error}", line=lineno)
        return [inliner.problematic(rawtext, rawtext, message)], [message]


def setup(app):
    """Register with Sphinx."""
    app.add_directive("results", Results)
    app.add_role("measured", measured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
