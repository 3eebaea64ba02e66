"""Controls from outside the trial: weighted patients, indirect comparisons, and priors from history. Their type-I error is not controlled.

A synthetic control arm replaces or adds controls that were never randomised with the treated. Prognostic adjustment, which keeps the
concurrent controls and their protection, is :mod:`gemel.trials.prognosis`; the two are not the same and do not share a name.
"""

from gemel.trials.external.analysis import METHODS, Comparison, arm_means, borrow_patients
from gemel.trials.external.arms import Arm, arms_of
from gemel.trials.external.data import Aggregate, ExternalData, Patients, aggregate_of, external_data, treated_data
from gemel.trials.external.drift import LABEL, DriftMap, drift_figure
from gemel.trials.external.history import History, history_of
from gemel.trials.external.map_prior import MapPrior, map_prior
from gemel.trials.external.mixture import BetaMixture, NormalMixture
from gemel.trials.external.priors import PRIORS, Borrowed, borrow_history
from gemel.trials.external.view import borrowed_view, comparison_view

__all__ = [
    "LABEL",
    "METHODS",
    "PRIORS",
    "Aggregate",
    "Arm",
    "BetaMixture",
    "Borrowed",
    "Comparison",
    "DriftMap",
    "ExternalData",
    "History",
    "MapPrior",
    "NormalMixture",
    "Patients",
    "aggregate_of",
    "arm_means",
    "arms_of",
    "borrow_history",
    "borrow_patients",
    "borrowed_view",
    "comparison_view",
    "drift_figure",
    "external_data",
    "history_of",
    "map_prior",
    "treated_data",
]
