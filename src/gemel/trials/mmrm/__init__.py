"""Mixed models for repeated measures (MMRM): REML by patterns of missingness, Satterthwaite and Kenward-Roger, least-squares means.

NumPy and SciPy only: one analysis takes milliseconds and compiles nothing.
"""

from gemel.trials.mmrm.analysis import LADDER, mmrm
from gemel.trials.mmrm.contrasts import Contrast, JointTest
from gemel.trials.mmrm.covariance import STRUCTURES
from gemel.trials.mmrm.result import Attempt, MMRMResult

__all__ = ["LADDER", "STRUCTURES", "Attempt", "Contrast", "JointTest", "MMRMResult", "mmrm"]
