"""The papers' data sets, networks and tasks: the directives `{matrix}` and `{costs}`.

`{matrix}` says of every task what was measured, on what and how often, and by which command;
`{costs}` counts how long a row takes. Rows of made files count for nothing.
"""

import sys
from pathlib import Path

import pandas
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "book" / "results"
sys.path.insert(0, str(ROOT))
WORKS = {
    "LAF": "Label-agnostic forgetting (LAF)",
    "DRU": "Deep regression unlearning (Blindspot, Gaussian-Amnesiac)",
    "L2UL": "Learning to unlearn (L2UL)",
}


def measured(experiment: str, folder: Path = FOLDER) -> pandas.DataFrame:
    """The rows of an experiment without those of made files."""
    import results

    rows = results.rows_of(experiment, folder)
    return rows[~rows["dataset"].str.startswith("made ")]


def runs(rows: pandas.DataFrame) -> str:
    """What was measured, by device and size: seeds, and units."""
    import results

    said = []
    for (device, size), own in rows.groupby(["device", "size"], sort=False):
        seeds = own["seed"].nunique()
        units = len(own[["dataset", "request", "method", "seed", "config"]].drop_duplicates())
        scale = "" if size.split(",")[0] == "paper" else f"reduced (size {size}), "
        words = f"{seeds} seed{'s' * (seeds > 1)}, {units} run{'s' * (units > 1)}"
        said.append(f"{scale}{results.text(device)}: {words}")
    return "; ".join(said)


def state(row, prefix: str, folder: Path = FOLDER) -> str:
    """Of one task: measured, and how often; or not, and what is wanted."""
    rows = measured(row.experiment, folder)
    rows = rows[rows["request"].str.startswith(prefix)]
    if len(rows):
        return f"**measured**: {runs(rows)}"
    import results

    said = "not measured" if row.fetched else f"data wanted: {results.text(row.reads)}"
    if row.beside and len(beside := measured(row.beside, folder)):
        said += f"; a part of it in `{row.beside}`: {runs(beside)}"
    return said


def matrix(folder: Path = FOLDER) -> str:
    """A table a paper: a line a data set and network, and those of its tasks that are as far."""
    import results

    from book.experiments.papers import ROWS

    parts = []
    for work, title in WORKS.items():
        lines = []
        for row in ROWS:
            if row.work != work:
                continue
            alike = {}
            for task, prefix in row.tasks.items():
                alike.setdefault(state(row, prefix, folder), []).append(task)
            for said, tasks in alike.items():
                name = f"`{row.experiment}`"
                lines.append([f"`{row.dataset}`", name, row.network, ", ".join(tasks), said])
        heads = ["data set", "`NAME`", "network", "tasks", "state"]
        parts += [f"**{title}**", results.drawn(results.ruled(heads, lines, len(heads)))]
    return "\n\n".join(parts) + "\n"


def few(number: float) -> str:
    """A number to a digit behind the point, where it is below ten."""
    if number < 0.1:
        return "< 0.1"
    return f"{number:.1f}" if number < 10 else f"{number:,.0f}"


def costs() -> str:
    """A line per row: operations of a pass, units of a seed, hours on two devices."""
    import results

    from book.experiments import operations
    from book.experiments.papers import ROWS

    parts = ("originals", "retrained", "attacks", "unlearning", "evaluation")
    hours_of = [f"{device}, hours" for device in operations.PEAK]
    heads = ["experiment", *hours_of, "PFLOP", "GFLOP a pass", *parts]
    lines = []
    for row in ROWS:
        each, units = operations.operations(row.experiment), operations.units(row)
        cells = [f"`{row.experiment}`"]
        cells += [few(operations.hours(row, device)) for device in operations.PEAK]
        cells += [few(each * sum(units.values()) / 1e15), f"{each / 1e9:.3g}"]
        lines.append(cells + [f"{units.get(part, 0) / 1e6:,.1f}" for part in parts])
    return results.drawn(results.ruled(heads, lines)) + "\n\n" + assumptions() + "\n"


def assumptions() -> str:
    """What the hours are counted with."""
    from book.experiments import operations

    peaks = ", ".join(f"{d} {peak / 1e12:g}" for d, peak in operations.PEAK.items())
    return (
        "Columns from *originals* to *evaluation* are millions of sample units of one seed: an "
        "example's forward pass is one, its backward pass two. Hours = GFLOP a pass x units / "
        f"({operations.SHARE:.0%} of the peak in single precision: {peaks} TFLOP/s). Retained "
        "examples of Deep Regression Unlearning are counted as all, and every run of L2UL as "
        f"{operations.PASSES} passes over its adversarial images; it may stop sooner."
    )


class Generated(Directive):
    """A table that a function of this module makes."""

    make = staticmethod(matrix)

    def run(self):
        """The parsed table; a damaged file stops the build."""
        from docutils import nodes

        env = self.state.document.settings.env
        node = nodes.container(classes=["wide"])
        for path in sorted(FOLDER.glob("*.csv")):
            env.note_dependency(str(path))
        try:
            lines = self.make().splitlines()
        except ValueError as error:
            raise self.error(str(error)) from None
        self.state.nested_parse(StringList(lines, source="generated"), self.content_offset, node)
        return [node]


class Costs(Generated):
    """`{costs}`."""

    make = staticmethod(costs)


def setup(app):
    """Register with Sphinx."""
    app.add_directive("matrix", Generated)
    app.add_directive("costs", Costs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
