"""Double programming: the programs in R and SAS that give the numbers of an analysis again, written from its plan."""

from gemel.trials.code.plan import Plan, plan_of
from gemel.trials.code.r import r_code
from gemel.trials.code.sas import sas_code

__all__ = ["Plan", "plan_of", "r_code", "sas_code"]
