"""Forget the fifth of the days with the highest load: hourly forecasts a day ahead.

The error is the mean quantile loss, in standard deviations of a household's or a client's load.
Size "toy" runs on the artificial households of `data.loads` and needs no file; "small" and "paper"
on the UCI electricity set, or on the first hourly table that stands in its place; "paper" with the
transformer of the optional library and the paper's recipe. No figure is published.

Differs: the learning rate falls by the training loss, for want of windows for validation
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from book.experiments import Run
from book.experiments.comparison import Case, compare
from book.experiments.papers import brief, wanted
from minilearn.data.embedded import Split
from minilearn.data.examples import Examples
from minilearn.data.loads import ORIGINAL, daily_loads, electricity, level
from minilearn.data.places import data_root
from minilearn.losses import Quantile
from minilearn.methods.amnesiac import Amnesiac
from minilearn.methods.blindspot import Blindspot
from minilearn.models.sequences import quantile_net, tft
from minilearn.requests import Request
from minilearn.sweep import Unit
from minilearn.training import Plateau, Training

SEEDS = 5
SHARE = 0.2  # of the training days
LOSS = Quantile()
RECIPE = Training(epochs=15, loss=LOSS)
CONFIGS = {
    "finetune": Training(epochs=2, loss=LOSS),
    "amnesiac": Amnesiac(loss=LOSS),
    "blindspot": Blindspot(loss=LOSS, teacher=Training(epochs=3)),
}
TFT_LAYERS = ("network.lstm_decoder", "network.multihead_attn", "network.pos_wise_ff")
PAPER_RECIPE = replace(Training.paper("electricity", "blindspot"), schedule=Plateau(follows="loss"))
PAPER_CONFIGS = {
    "finetune": Training.paper("electricity", "finetune"),
    "amnesiac": Amnesiac.paper("electricity"),
    "blindspot": replace(Blindspot.paper("electricity"), layers=TFT_LAYERS),
}


def units(run: Run) -> Iterator[Unit]:
    """Everything to be measured, method by method for every seed."""
    dataset, file, parts = _loads(run)
    train, test = (part.to(run.device) for part in parts)
    limit = level(train).quantile(1 - SHARE)
    network, recipe, configs = "quantile_net()", RECIPE, CONFIGS
    width = 8 if run.made else 160
    if run.size == "paper" or run.made:
        network, recipe, configs = f"tft(width={width})", PAPER_RECIPE, PAPER_CONFIGS
    if run.made:
        recipe = brief(recipe)
        configs = {name: brief(config) for name, config in configs.items()}

    def high(part: Examples) -> Request:
        return Request(part, (level(part) > limit).cpu(), "the days of high load")

    def fresh():
        return (tft(width=width) if network.startswith("tft") else quantile_net()).to(run.device)

    return compare(
        run,
        Case(
            dataset=dataset,
            request=high(train),
            unseen=high(test),
            fresh=fresh,
            recipe=recipe,
            configs=configs,
            units=("standard deviations", "standard deviations"),
            settings=f"{file}{network}; high is the upper {SHARE} of the training days",
        ),
    )


def _loads(run: Run) -> tuple[str, str, Split]:
    """The data set's name, the file if there are several forms of it, and the windows."""
    if run.size == "toy" and not run.made:
        return "daily_loads", "", daily_loads()
    folder = data_root() / "electricity"
    tables = [] if (folder / ORIGINAL).exists() else sorted(folder.glob("*.csv"))
    file = tables[0].name if tables else ORIGINAL
    return "electricity", f"{file}; ", wanted("electricity", lambda: electricity(file=file))
