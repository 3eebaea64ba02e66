"""How good the twin's prognosis is: what it makes of what could be known of a patient.

None of these can move the type-I error of an adjusted analysis, for the prognosis is known before the arm is drawn; they cost power.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from gemel.core.errors import ModelError

__all__ = ["QUALITIES", "prognosis", "refuse_quality"]

QUALITIES = ("true", "noise", "biased", "shifted", "anti-correlated", "miscalibrated")
"""What a twin may be: true; pure noise; one SD too high for everybody; learnt elsewhere, so that it bends; of the wrong sign; twice too sure."""


def refuse_quality(quality: str) -> None:
    """Raise for a quality that is not known.

    Raises
    ------
    ModelError
        With the known ones.
    """
    if quality not in QUALITIES:
        raise ModelError("no such quality of a twin", seen=quality, expected=QUALITIES)


def prognosis(quality: str, signal: Float[np.ndarray, "..."], rng: np.random.Generator) -> Float[np.ndarray, "..."]:
    """Return what the twin says of patients.

    Parameters
    ----------
    quality : one of :data:`QUALITIES`.
    signal : what the best prognosis would say, mean 0 and variance 1 over the population that the twin was learnt in.
    """
    if quality == "true":
        return signal
    if quality == "noise":
        return rng.standard_normal(signal.shape, dtype=signal.dtype.type)
    if quality == "biased":
        return signal + signal.dtype.type(1)
    if quality == "shifted":
        return np.exp(signal.dtype.type(0.5) * (signal + signal.dtype.type(1)))
    return -signal if quality == "anti-correlated" else signal * signal.dtype.type(2)
