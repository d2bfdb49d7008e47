"""The book's figures in one style: colour and mark say the role, the title says the finding."""

from minilearn.plots.attacks import memory, roc
from minilearn.plots.figures import curves, items, picture
from minilearn.plots.style import METHODS, OTHERS, ROLES, SIZES, TITLE, WIDTH, canvas, role

__all__ = [
    *("METHODS", "OTHERS", "ROLES", "SIZES", "TITLE", "WIDTH"),
    *("canvas", "curves", "items", "memory", "picture", "role", "roc"),
]
