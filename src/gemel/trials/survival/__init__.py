"""Times to an event: Kaplan-Meier, log-rank plain and adjusted, marginal hazard ratio, restricted means, and a prognosis for them.

NumPy and SciPy only: one analysis takes milliseconds and compiles nothing.
"""

from gemel.trials.survival.adjusted_logrank import AdjustedLogRank, adjusted_logrank
from gemel.trials.survival.analysis import METHODS, analyse_survival
from gemel.trials.survival.data import SurvivalData, survival_data
from gemel.trials.survival.kaplan_meier import Curve, curves_figure, kaplan_meier
from gemel.trials.survival.logrank import LogRank, logrank
from gemel.trials.survival.marginal_hazard import MarginalHazard, marginal_hazard
from gemel.trials.survival.prognosis import calibrate, martingale_residuals
from gemel.trials.survival.rmst import RestrictedMeans, restricted_mean, restricted_means
from gemel.trials.survival.sizing import Events, events_needed

__all__ = [
    "METHODS",
    "AdjustedLogRank",
    "Curve",
    "Events",
    "LogRank",
    "MarginalHazard",
    "RestrictedMeans",
    "SurvivalData",
    "adjusted_logrank",
    "analyse_survival",
    "calibrate",
    "curves_figure",
    "events_needed",
    "kaplan_meier",
    "logrank",
    "marginal_hazard",
    "martingale_residuals",
    "restricted_mean",
    "restricted_means",
    "survival_data",
]
