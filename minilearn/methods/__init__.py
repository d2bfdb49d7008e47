"""Unlearning methods: each is a function whose signature is what it may see."""

from minilearn.methods.access import access, unlearn
from minilearn.methods.adversarial import PGD, l2_pgd
from minilearn.methods.amnesiac import Amnesiac, amnesiac
from minilearn.methods.blindspot import Blindspot, blindspot
from minilearn.methods.contract import Unlearned
from minilearn.methods.finetune import finetune
from minilearn.methods.l2ul import l2ul
from minilearn.methods.l2ul_config import L2UL
from minilearn.methods.laf import laf
from minilearn.methods.laf_config import LAF
from minilearn.methods.mas import importance
from minilearn.methods.neggrad import NegGrad, neggrad
from minilearn.methods.repair import Repair, repair
from minilearn.methods.retrain import retrain
from minilearn.methods.stream import Served, continual

# Every method, by the name that results and reports use.
METHODS = {
    method.__name__: method
    for method in (retrain, finetune, neggrad, amnesiac, blindspot, l2ul, laf, repair)
}

__all__ = [
    "L2UL",
    "LAF",
    "METHODS",
    "PGD",
    "Amnesiac",
    "Blindspot",
    "NegGrad",
    "Repair",
    "Served",
    "Unlearned",
    "access",
    "amnesiac",
    "blindspot",
    "continual",
    "finetune",
    "importance",
    "l2_pgd",
    "l2ul",
    "laf",
    "neggrad",
    "repair",
    "retrain",
    "unlearn",
]
