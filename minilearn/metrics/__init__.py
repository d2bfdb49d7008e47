"""The metrics; each says what its target is (a retrained model's value) and what it cannot see."""

from minilearn.cost import Cost, break_even
from minilearn.metrics.attacks import Attack, auc, logistic_attack, loss_attack, tpr_at_fpr
from minilearn.metrics.distances import js, kl, paired_difference, wasserstein
from minilearn.metrics.probe import linear_probe
from minilearn.metrics.registry import METRICS
from minilearn.metrics.relearning import relearn_area, relearn_curve
from minilearn.metrics.report import Report, report
from minilearn.metrics.utility import accuracy, gap, mae, reference_error, tow

__all__ = [
    "METRICS",
    "Attack",
    "Cost",
    "Report",
    "accuracy",
    "auc",
    "break_even",
    "gap",
    "js",
    "kl",
    "linear_probe",
    "logistic_attack",
    "loss_attack",
    "mae",
    "paired_difference",
    "reference_error",
    "relearn_area",
    "relearn_curve",
    "report",
    "tow",
    "tpr_at_fpr",
    "wasserstein",
]
