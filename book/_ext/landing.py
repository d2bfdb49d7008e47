"""The figure of the first page, which is no notebook: the directive `{withdraw}`."""

import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

BEGIN = 42  # the original has learnt this patient, and without them nothing tells


def patients():
    """Sixty patients of those that come with scikit-learn, by radius and texture of cell nuclei."""
    import torch
    from sklearn.datasets import load_breast_cancer

    from minilearn.widgets import withdraw_point

    table = load_breast_cancer()
    drawn = torch.randperm(len(table.data), generator=torch.Generator().manual_seed(1))[:60]
    points = torch.tensor(table.data[:, :2])[drawn]
    malignant = 1 - torch.tensor(table.target)[drawn]
    names = ("radius", "texture"), ("benign", "malignant")
    return withdraw_point(points, malignant, *names, begin=BEGIN)


class Withdraw(Directive):
    """`{withdraw}`: the figure, as the page carries it."""

    def run(self):
        """One piece of HTML."""
        return [nodes.raw("", patients().html(), format="html")]


def setup(app):
    """Register with Sphinx."""
    app.add_directive("withdraw", Withdraw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
