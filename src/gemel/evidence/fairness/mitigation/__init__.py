"""Remedies for unequal predictions, each shown before and after in every group: what it did, and what it cost the others.

Tried in this order: change the label, recalibrate per group, multicalibration, reweighing or an adversary; for intervals, one widening per group.
"""

from .adversarial import Predictor, train_adversarial
from .base import Change, Remedy, design, halves, remedy
from .conformal import GroupConformal, conformal_groups
from .multicalibration import Multicalibration, multicalibrate
from .recalibration import GroupRecalibration, recalibrate_groups
from .relabel import change_label, ridge_score
from .remedies import REMEDIES, mitigate
from .reweighing import logistic, reweighing

__all__ = [
    "REMEDIES",
    "Change",
    "GroupConformal",
    "GroupRecalibration",
    "Multicalibration",
    "Predictor",
    "Remedy",
    "change_label",
    "conformal_groups",
    "design",
    "halves",
    "logistic",
    "mitigate",
    "multicalibrate",
    "recalibrate_groups",
    "remedy",
    "reweighing",
    "ridge_score",
    "train_adversarial",
]
