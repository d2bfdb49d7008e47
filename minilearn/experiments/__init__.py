"""Named experiments, whose rows the book's tables and figures are made of.

`python -m minilearn.experiments NAME` runs one: the module of that name, which says in `units` what
is measured, writes `NAME.csv`. Run again, it goes on where it stopped.
"""

NAMES = ("rotated_digits", "stsb", "electricity", "l2ul_digits", "l2ul_cifar10")
NAMES += ("laf_digits", "laf_mnist", "laf_fashion", "laf_cifar10", "speed", "kernels")
