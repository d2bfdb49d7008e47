"""Unlearning methods: each is a function whose signature is what it may see."""

from minilearn.methods.access import access, unlearn
from minilearn.methods.adversarial import PGD, l2_pgd
from minilearn.methods.amnesiac import Amnesiac, amnesiac
from minilearn.methods.bad_teacher import BadTeacher, bad_teacher
from minilearn.methods.blindspot import Blindspot, blindspot
from minilearn.methods.boundary import Boundary, boundary
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
from minilearn.methods.scrub import SCRUB, scrub
from minilearn.methods.shards import SISA, Sharded
from minilearn.methods.sisa import sharded, sisa
from minilearn.methods.stream import Served, continual
from minilearn.methods.unrolling import Unrolling, unrolling

# Every method, by the name that results and reports use. Not here: `continual`, which is made of
# methods, and `sisa`, which must have been there when the model was trained.
_ALL = (retrain, finetune, neggrad, amnesiac, blindspot, l2ul, laf, repair)
_ALL += (bad_teacher, scrub, boundary, unrolling)
METHODS = {method.__name__: method for method in _ALL}

__all__ = [
    "L2UL",
    "LAF",
    "METHODS",
    "PGD",
    "SCRUB",
    "SISA",
    "Amnesiac",
    "BadTeacher",
    "Blindspot",
    "Boundary",
    "NegGrad",
    "Repair",
    "Served",
    "Sharded",
    "Unlearned",
    "Unrolling",
    "access",
    "amnesiac",
    "bad_teacher",
    "blindspot",
    "boundary",
    "continual",
    "finetune",
    "importance",
    "l2_pgd",
    "l2ul",
    "laf",
    "neggrad",
    "repair",
    "retrain",
    "scrub",
    "sharded",
    "sisa",
    "unlearn",
    "unrolling",
]
