"""Unlearning methods: each is a function whose signature is what it may see."""

from minilearn.methods.access import access, unlearn
from minilearn.methods.amnesiac import Amnesiac, amnesiac
from minilearn.methods.blindspot import Blindspot, blindspot
from minilearn.methods.contract import Unlearned
from minilearn.methods.finetune import finetune
from minilearn.methods.neggrad import NegGrad, neggrad
from minilearn.methods.retrain import retrain

# Every method, by the name that results and reports use.
METHODS = {method.__name__: method for method in (retrain, finetune, neggrad, amnesiac, blindspot)}

__all__ = [
    "METHODS",
    "Amnesiac",
    "Blindspot",
    "NegGrad",
    "Unlearned",
    "access",
    "amnesiac",
    "blindspot",
    "finetune",
    "neggrad",
    "retrain",
    "unlearn",
]
