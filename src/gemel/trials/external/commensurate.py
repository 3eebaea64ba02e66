"""The commensurate prior: the trial's controls lie around the pooled history, at a distance with a prior of its own.

    theta | theta_0, tau ~ N(theta_0, tau^2),   theta_0 | D0 from the pooled history,   tau ~ half-normal

The history counts as one study, so that heterogeneity among its studies does not widen it; the meta-analytic prior is the one that asks them.

References
----------
Hobbs et al. 2011, doi:10.1111/j.1541-0420.2011.01564.x (there 1 / tau² is the parameter).
"""

from __future__ import annotations

import numpy as np

from gemel.core.errors import DataError
from gemel.trials.external.history import History
from gemel.trials.external.map_prior import map_prior, tau_nodes
from gemel.trials.external.mixture import Mixture, NormalMixture

__all__ = ["commensurate_prior"]


def commensurate_prior(history: History, *, tau_scale: float | None = None, components: int = 3) -> Mixture:
    """Return the commensurate prior: exact over tau for a mean, approximated by beta parts for a rate.

    Parameters
    ----------
    tau_scale : of the half-normal prior of the distance; sigma / 4 for a mean, 0.5 on the logit scale for a rate (ASSUMED: half of what a
        meta-analytic prior takes for heterogeneity).
    components : of the approximation for a rate.

    Raises
    ------
    DataError
        When the scale is not positive.
    """
    scale = tau_scale if tau_scale is not None else 0.5 if history.is_rate else history.sigma / 4
    if not scale > 0:
        raise DataError("a scale is not positive", seen=scale, expected="above 0")
    if history.events is not None:
        pooled = History(("pooled",), history.n.sum(keepdims=True), history.events.sum(keepdims=True), None, history.sigma)
        return map_prior(pooled, tau_scale=scale, components=components).mixture
    tau, logs, _ = tau_nodes(scale)
    return NormalMixture(np.exp(logs), np.full(len(tau), history.pooled), np.sqrt(history.sigma**2 / history.n.sum() + tau**2))
