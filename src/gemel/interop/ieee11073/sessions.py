"""A session of the Bluetooth CGM service as a series of the record, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gemel.core import Series
from gemel.core.errors import DataError
from gemel.core.series import ABOVE, BELOW, EXACT
from gemel.core.time import MINUTE
from gemel.interop.ieee11073.cgm import ANNUNCIATIONS, Measurement
from gemel.interop.ieee11073.nomenclature import code_of
from gemel.interop.ieee11073.sfloat import Special

__all__ = ["measurements_of", "session_series"]

_MDC_ISF = 160212  # MDC_CONC_GLU_ISF
_UNUSABLE = (2, 3, 5, 12, 13)  # wrong sensor type, malfunction, general fault, too hot, too cold: the value means nothing
_TOO_LOW, _TOO_HIGH = 22, 23


def session_series(
    start: int, measurements: Sequence[Measurement], *, source: str = "ble-cgm", recorded: Sequence[int] | None = None
) -> tuple[Series | None, tuple[str, ...]]:
    """Turn the measurements of one session into a series of sensor glucose.

    Parameters
    ----------
    start : ns UTC, when the session began (:meth:`SessionStart.to_ns`).
    measurements : in any order; what arrives late is known late.
    recorded : ns UTC, when each arrived; left out, when it was true.

    Returns
    -------
    The series, None when no measurement has a value; what was left out, with counts: nothing is dropped in silence.
    """
    if recorded is not None and len(recorded) != len(measurements):
        raise DataError("times of arrival for other measurements", seen=len(recorded), expected=len(measurements))
    rows: list[tuple[int, float, int, int]] = []
    left: dict[str, int] = {}
    for index, measurement in enumerate(measurements):
        time = start + measurement.offset * MINUTE
        why = next((ANNUNCIATIONS[bit] for bit in _UNUSABLE if measurement.annunciation >> bit & 1), "")
        if why or isinstance(measurement.glucose, Special):
            why = why or str(measurement.glucose.name).lower().replace("_", " ") if isinstance(measurement.glucose, Special) else why
            left[why] = left.get(why, 0) + 1
            continue
        low, high = measurement.annunciation >> _TOO_LOW & 1, measurement.annunciation >> _TOO_HIGH & 1
        censored = BELOW if low and not high else ABOVE if high and not low else EXACT
        rows.append((time, measurement.glucose, max(time, recorded[index]) if recorded is not None else time, censored))
    told = tuple(f"{what} ({count})" for what, count in left.items())
    if not rows:
        return None, told
    time, value, known, censored = (np.array(column) for column in zip(*rows, strict=True))
    order = np.lexsort((known, time))
    series = Series(
        code=code_of(_MDC_ISF, "mg/dL"),
        unit="mg/dL",
        time=time[order],
        value=value[order],
        recorded=known[order],
        censored=censored[order],
        source=source,
    )
    return series, told


def measurements_of(series: Series, start: int) -> tuple[Measurement, ...]:
    """Turn a series of sensor glucose into measurements of a session that began at ``start``; the current version of each reading.

    Raises
    ------
    DataError
        When a reading does not stand on a whole minute within 65,535 min after the start: the service holds no other.
    """
    known = series.current()
    offsets = (known.time - start) / MINUTE
    bad = np.flatnonzero((offsets != np.round(offsets)) | (offsets < 0) | (offsets > 0xFFFF))
    if len(bad):
        raise DataError(
            "a reading does not fit the session",
            seen=f"{offsets[bad[0]]:g} min after its start",
            expected="whole minutes, 0 to 65535",
            fix="choose a start on the readings' own minute",
        )
    values = known.values_in("mg/dL", analyte="glucose")
    bits = {EXACT: 0, BELOW: 1 << _TOO_LOW, ABOVE: 1 << _TOO_HIGH}
    return tuple(
        Measurement(float(value), int(offset), bits[int(censored)])
        for value, offset, censored in zip(values, offsets, known.censored, strict=True)
    )
