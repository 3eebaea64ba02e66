"""Codes of personal health devices (IEEE 11073-10101, used by -10417 glucose meters and -10425 CGM) and what they are called here.

Identifiers only. A code is partition x 65536 + term. The table holds the terms whose partition and number were found in agreement in independent public
implementations; a code outside it is kept as it is and not mapped: a wrong code is a danger, a missing one is an inconvenience. Terms of -10425 for trends,
thresholds and calibration are listed by number alone (:data:`TERMS_10425`), since their partition could not be confirmed.
"""

from __future__ import annotations

from dataclasses import dataclass

from gemel.core import Code
from gemel.core.errors import CodeError, UnitError

__all__ = ["TERMS", "TERMS_10425", "UNITS", "Term", "code_of", "find_term"]

_SCADA, _DIMENSIONS = 2, 4
_PARTITION = 65536


@dataclass(frozen=True)
class Term:
    """One term: partition, number, reference identifier, and our code by UCUM unit (empty: known, but not mapped)."""

    partition: int
    term: int
    reference: str
    codes: tuple[tuple[str, str], ...] = ()

    @property
    def code(self) -> int:
        """The 32-bit code."""
        return self.partition * _PARTITION + self.term


_TERMS = (
    Term(_SCADA, 29112, "MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD", (("mg/dL", "loinc:41653-7"), ("mmol/L", "loinc:14743-9"))),
    Term(_SCADA, 29116, "MDC_CONC_GLU_CAPILLARY_PLASMA"),
    Term(_SCADA, 29120, "MDC_CONC_GLU_VENOUS_WHOLEBLOOD"),
    Term(_SCADA, 29124, "MDC_CONC_GLU_VENOUS_PLASMA"),
    Term(_SCADA, 29128, "MDC_CONC_GLU_ARTERIAL_WHOLEBLOOD"),
    Term(_SCADA, 29132, "MDC_CONC_GLU_ARTERIAL_PLASMA"),
    Term(_SCADA, 29136, "MDC_CONC_GLU_CONTROL"),
    Term(_SCADA, 29140, "MDC_CONC_GLU_ISF", (("mg/dL", "loinc:99504-3"), ("mmol/L", "loinc:105272-9"))),
    Term(_SCADA, 29148, "MDC_CONC_HBA1C", (("%", "loinc:4548-4"),)),
)
TERMS: dict[int, Term] = {term.code: term for term in _TERMS}
"""By 32-bit code. Control solution is no measurement of a person and is never mapped; plasma is not the whole blood of a meter's LOINC code."""

TERMS_10425: dict[int, str] = {
    29400: "MDC_CONC_GLU_TREND",
    29404: "MDC_CONC_GLU_PATIENT_THRESHOLDS_LOW_HIGH",
    29408: "MDC_CONC_GLU_THRESHOLDS_HYPO_HYPER",
    29412: "MDC_CONC_GLU_RATE_THRESHOLDS",
    29428: "MDC_CGM_SENSOR_CALIBRATION",
    29432: "MDC_CGM_SENSOR_RUN_TIME",
    29436: "MDC_CGM_SENSOR_SAMPLE_INTERVAL",
    29452: "MDC_CGM_DEV_STAT",
}
"""Terms by number within their partition, for reading a message by eye."""

UNITS: dict[int, str] = {
    _DIMENSIONS * _PARTITION + 2130: "mg/dL",
    _DIMENSIONS * _PARTITION + 4722: "mmol/L",
    _DIMENSIONS * _PARTITION + 544: "%",
}
"""MDC unit code -> UCUM."""


def find_term(code: int) -> Term | None:
    """Return the term of a 32-bit code, None when it is not in the table.

    Examples
    --------
    >>> find_term(160212).reference
    'MDC_CONC_GLU_ISF'
    """
    return TERMS.get(code)


def code_of(code: int, unit: str) -> Code:
    """Return our code of a measurement.

    Raises
    ------
    CodeError
        When the term is not in the table, or deliberately not mapped.
    UnitError
        When the unit is none that the term is mapped for.

    Examples
    --------
    >>> str(code_of(160184, "mmol/L"))
    'loinc:14743-9'
    """
    term = TERMS.get(code)
    if term is None or not term.codes:
        raise CodeError(
            f"MDC code {code} is not mapped",
            seen=term.reference if term else code,
            expected=", ".join(t.reference for t in TERMS.values() if t.codes),
            fix="keep the MDC code; it is not guessed",
        )
    found = dict(term.codes).get(unit)
    if found is None:
        raise UnitError(f"{term.reference} in an unexpected unit", seen=unit, expected=", ".join(u for u, _ in term.codes))
    return Code.parse(found)
