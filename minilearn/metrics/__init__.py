"""The metrics; each says what its target is (a retrained model's value) and what it cannot see."""

from minilearn.cost import Cost
from minilearn.metrics.anamnesis import Anamnesis, anamnesis_index
from minilearn.metrics.asr import PublishedASR, asr, asr_published
from minilearn.metrics.attacks import Attack, auc, logistic_attack, loss_attack, tpr_at_fpr
from minilearn.metrics.band import null_band
from minilearn.metrics.distances import js, kl, paired_difference, wasserstein
from minilearn.metrics.of_candidates import divergence_of_fits, klom, memory_left, signal
from minilearn.metrics.per_example import Verdict, rmia, ulira
from minilearn.metrics.probe import linear_probe
from minilearn.metrics.registry import METRICS
from minilearn.metrics.relearning import relearn_area, relearn_curve, relearn_time
from minilearn.metrics.report import Report, report
from minilearn.metrics.svc_attack import SVCAttack, svc_attack, svc_attack_published
from minilearn.metrics.utility import accuracy, gap, mae, mean_loss, mse, tow
