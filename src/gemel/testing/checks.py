"""``check_twin``: the whole contract, one promise after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gemel.core.errors import ContractError, GemelError
from gemel.engine.room import Room
from gemel.testing.abstention import check_abstention
from gemel.testing.arrivals import check_arrivals, check_duplicates
from gemel.testing.calibration import check_calibration
from gemel.testing.comparison import check_comparison
from gemel.testing.compilation import check_compilation
from gemel.testing.conservation import check_conservation
from gemel.testing.explanation import check_explanation
from gemel.testing.keys import check_keys
from gemel.testing.lookahead import check_lookahead
from gemel.testing.manifest import check_manifest
from gemel.testing.numerics import check_transforms
from gemel.testing.padding import check_padding
from gemel.testing.physiology import check_prior
from gemel.testing.report import Check, CheckReport
from gemel.testing.storage import check_storage
from gemel.testing.subject import Subject

__all__ = ["CHECKS", "check_twin", "run_check"]

CHECKS: dict[str, Callable[[Subject], str]] = {
    "manifest": check_manifest,
    "transforms": check_transforms,
    "keys": check_keys,
    "prior": check_prior,
    "conservation": check_conservation,
    "padding": check_padding,
    "look-ahead": check_lookahead,
    "duplicates": check_duplicates,
    "arrivals": check_arrivals,
    "comparison": check_comparison,
    "abstention": check_abstention,
    "storage": check_storage,
    "explanation": check_explanation,
    "compilation": check_compilation,
    "calibration": check_calibration,
}
"""Every promise by its name, cheap ones first. Each takes a :class:`Subject`, returns what it saw, and raises ``ContractError``."""


def run_check(name: str, subject: Subject) -> Check:
    """Run one check. Whatever it raises is a broken promise, and told as such."""
    began = time.perf_counter()
    try:
        passed, message = True, CHECKS[name](subject)
    except ContractError as error:
        passed, message = False, str(error)
    except GemelError as error:
        passed, message = False, f"{type(error).__name__}: {error}"
    except Exception as error:  # the code under examination is not ours: nothing it raises may hide the other checks
        passed, message = False, f"raised {type(error).__name__}: {error}"
    return Check(name, passed, message, time.perf_counter() - began)


def check_twin(
    twin: Room | str, *, quick: bool = False, only: Sequence[str] | None = None, seed: int = 0, replicas: int | None = None,
    told: Callable[[Check], None] | None = None,
) -> CheckReport:  # fmt: skip
    """Run the contract on a twin.

    Parameters
    ----------
    twin : a room, or the id of an installed twin.
    quick : 50 patients instead of 1,000, 30 replicas instead of 100, fewer prior draws.
    only : names of :data:`CHECKS`; left out, all.
    seed : of everything that is drawn.
    replicas : of the calibration check.
    told : called with each check as it ends.

    Returns
    -------
    CheckReport
        ``report.raise_on_failure()`` raises ``ContractError``.

    Raises
    ------
    TwinNotFoundError
        When no twin of that id is installed.
    ContractError
        When ``only`` names no check.
    """
    from gemel.verbs import room as find

    here = find(twin) if isinstance(twin, str) else twin
    chosen = list(CHECKS) if only is None else list(only)
    unknown = [name for name in chosen if name not in CHECKS]
    if unknown:
        raise ContractError("no such check", seen=unknown, expected=list(CHECKS))
    subject = Subject(here, quick=quick, seed=seed, replicas=replicas)
    found = []
    for name in chosen:
        found.append(run_check(name, subject))
        if told is not None:
            told(found[-1])
    return CheckReport(here.id, tuple(found))
