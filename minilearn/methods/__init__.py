"""Unlearning methods: each is a function whose signature is what it may see."""

from minilearn.methods.access import access, unlearn
from minilearn.methods.adversarial import PGD, l2_pgd
from minilearn.methods.amnesiac import Amnesiac, amnesiac
from minilearn.methods.blindspot import Blindspot, blindspot
from minilearn.methods.contract import Unlearned
from minilearn.methods.finetune import finetune
from minilearn.methods.l2ul import l2ul
from minilearn.methods.l2ul_config import L2UL
from minilearn.methods.mas import importance
from minilearn.methods.neggrad import NegGrad, neggrad
from minilearn.methods.retrain import retrain
from minilearn.methods.stream import Served, continual

# Every method, by the name that results and reports use.
METHODS = {
    method.__name__: method for method in (retrain, finetune, neggrad, amnesiac, blindspot, l2ul)
}

__all__ = [
    "L2UL",
    "METHODS",
    "PGD",
    "Amnesiac",
    "Blindspot",
    "NegGrad",
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
    "neggrad",
    "retrain",
    "unlearn",
]
