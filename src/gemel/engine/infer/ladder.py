"""A ladder of methods: the next is tried only when the one before says that its result may not be used, and the result names its rung."""

from __future__ import annotations

import jax
from jaxtyping import PRNGKeyArray

from gemel.core.errors import InferenceError
from gemel.core.protocols import Progress
from gemel.engine.infer.base import AbstractMethod, AbstractTarget, Inference
from gemel.engine.status import Status, sentence

__all__ = ["Ladder"]


class Ladder(AbstractMethod):
    """Try methods in order until one gives a usable result.

    Parameters
    ----------
    rungs : methods, the cheapest first.

    Examples
    --------
    >>> from gemel.engine.infer.laplace import Laplace
    >>> from gemel.engine.infer.smc import Smc
    >>> Ladder([Laplace(), Smc()]).name
    'ladder(laplace, smc)'
    """

    rungs: tuple[AbstractMethod, ...]

    def __init__(self, rungs):
        if not rungs:
            raise InferenceError("a ladder needs at least one method", seen=rungs)
        self.rungs = tuple(rungs)

    @property
    def name(self):
        """Return the names of the rungs."""
        return f"ladder({', '.join(r.name for r in self.rungs)})"

    @property
    def validity(self):
        """Say when it is exact."""
        return "that of the rung which was used"

    def run(self, target: AbstractTarget, *, key: PRNGKeyArray, progress: Progress | None = None) -> Inference:
        """Infer the posterior of one target.

        The result's ``method`` is ``ladder: <rung>``; ``diagnostics["rungs"]`` lists each rung tried and its status.
        """
        tried: list[tuple[str, str]] = []
        for number, rung in enumerate(self.rungs):
            result = rung.run(target, key=jax.random.fold_in(key, number), progress=progress)
            tried.append((rung.name, sentence(result.status)))
            if result.usable or result.status == Status.CANCELLED:
                break
        diagnostics = {**result.diagnostics, "rungs": tuple(tried)}
        method = f"ladder: {result.method}"
        return Inference(result.posterior, diagnostics, result.status, method, result.method_validity, result.log_evidence)
