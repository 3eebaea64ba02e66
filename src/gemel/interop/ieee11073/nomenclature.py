"""Codes of devices (IEEE 11073-10101, used by -10417 glucose meters, -10425 CGM and bedside monitors) and what they are called here.

Vital signs are codes of a bedside monitor as well. Each number and reference identifier of them, and of their units, was found alike in several public implementations and in device
descriptions; the LOINC codes are those of the FHIR vital signs profile. Identifiers only. A code is partition x 65536 + term. Concentrations stand in partition 2 (several public implementations agree); context of a measurement
and the terms of -10425 in partition 128 (one public implementation, and for the device status the HL7 personal health device guide: 128:29452). What is
mapped to our codes is what several sources agree on; a code outside the table is kept as it is and not mapped: a wrong code is a danger, a missing one is
an inconvenience.
"""

from __future__ import annotations

from dataclasses import dataclass

from gemel.core import Code
from gemel.core.errors import CodeError, UnitError

__all__ = ["TERMS", "UNITS", "Term", "code_of", "find_term"]

_SCADA, _DIMENSIONS, _DISEASE = 2, 4, 128
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
    Term(_SCADA, 16770, "MDC_ECG_HEART_RATE", (("/min", "loinc:8867-4"),)),
    Term(_SCADA, 18949, "MDC_PRESS_BLD_NONINV_SYS", (("mm[Hg]", "loinc:8480-6"),)),
    Term(_SCADA, 18950, "MDC_PRESS_BLD_NONINV_DIA", (("mm[Hg]", "loinc:8462-4"),)),
    Term(_SCADA, 18951, "MDC_PRESS_BLD_NONINV_MEAN", (("mm[Hg]", "loinc:8478-0"),)),
    Term(_SCADA, 19272, "MDC_TEMP"),
    Term(_SCADA, 19292, "MDC_TEMP_BODY", (("Cel", "loinc:8310-5"),)),
    Term(_SCADA, 19384, "MDC_PULS_OXIM_SAT_O2", (("%", "loinc:59408-5"),)),
    Term(_SCADA, 20490, "MDC_RESP_RATE", (("/min", "loinc:9279-1"),)),
    Term(_SCADA, 57664, "MDC_MASS_BODY_ACTUAL", (("kg", "loinc:29463-7"),)),
    Term(_SCADA, 57668, "MDC_LEN_BODY_ACTUAL", (("cm", "loinc:8302-2"),)),
    Term(_SCADA, 29112, "MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD", (("mg/dL", "loinc:41653-7"), ("mmol/L", "loinc:14743-9"))),
    Term(_SCADA, 29116, "MDC_CONC_GLU_CAPILLARY_PLASMA"),
    Term(_SCADA, 29120, "MDC_CONC_GLU_VENOUS_WHOLEBLOOD"),
    Term(_SCADA, 29124, "MDC_CONC_GLU_VENOUS_PLASMA"),
    Term(_SCADA, 29128, "MDC_CONC_GLU_ARTERIAL_WHOLEBLOOD"),
    Term(_SCADA, 29132, "MDC_CONC_GLU_ARTERIAL_PLASMA"),
    Term(_SCADA, 29136, "MDC_CONC_GLU_CONTROL"),
    Term(_SCADA, 29140, "MDC_CONC_GLU_ISF", (("mg/dL", "loinc:99504-3"), ("mmol/L", "loinc:105272-9"))),
    Term(_SCADA, 29148, "MDC_CONC_HBA1C", (("%", "loinc:4548-4"),)),
    Term(_DISEASE, 29156, "MDC_CTXT_GLU_CARB"),
    Term(_DISEASE, 29256, "MDC_CTXT_GLU_MEAL"),
    Term(_DISEASE, 29260, "MDC_CTXT_GLU_MEAL_PREPRANDIAL"),
    Term(_DISEASE, 29261, "MDC_CTXT_GLU_MEAL_BEDTIME"),
    Term(_DISEASE, 29264, "MDC_CTXT_GLU_MEAL_POSTPRANDIAL"),
    Term(_DISEASE, 29268, "MDC_CTXT_GLU_MEAL_FASTING"),
    Term(_DISEASE, 29272, "MDC_CTXT_GLU_MEAL_CASUAL"),
    Term(_DISEASE, 29400, "MDC_CONC_GLU_TREND"),
    Term(_DISEASE, 29404, "MDC_CONC_GLU_PATIENT_THRESHOLDS_LOW_HIGH"),
    Term(_DISEASE, 29408, "MDC_CONC_GLU_THRESHOLDS_HYPO_HYPER"),
    Term(_DISEASE, 29412, "MDC_CONC_GLU_RATE_THRESHOLDS"),
    Term(_DISEASE, 29428, "MDC_CGM_SENSOR_CALIBRATION"),
    Term(_DISEASE, 29432, "MDC_CGM_SENSOR_RUN_TIME"),
    Term(_DISEASE, 29436, "MDC_CGM_SENSOR_SAMPLE_INTERVAL"),
    Term(_DISEASE, 29452, "MDC_CGM_DEV_STAT"),
)
TERMS: dict[int, Term] = {term.code: term for term in _TERMS}
"""By 32-bit code. Control solution is no measurement of a person and is never mapped; plasma is not the whole blood of a meter's LOINC code.
A temperature of no named site (MDC_TEMP) is not mapped either: monitors send it for a probe that lies on the bed."""

UNITS: dict[int, str] = {
    _DIMENSIONS * _PARTITION + 2130: "mg/dL",
    _DIMENSIONS * _PARTITION + 4722: "mmol/L",
    _DIMENSIONS * _PARTITION + 544: "%",
    _DIMENSIONS * _PARTITION + 512: "1",
    _DIMENSIONS * _PARTITION + 1297: "cm",
    _DIMENSIONS * _PARTITION + 1600: "L",
    _DIMENSIONS * _PARTITION + 1731: "kg",
    _DIMENSIONS * _PARTITION + 2368: "a",
    _DIMENSIONS * _PARTITION + 2720: "/min",
    _DIMENSIONS * _PARTITION + 2784: "/min",
    _DIMENSIONS * _PARTITION + 3072: "L/min",
    _DIMENSIONS * _PARTITION + 3843: "kPa",
    _DIMENSIONS * _PARTITION + 3872: "mm[Hg]",
    _DIMENSIONS * _PARTITION + 3954: "mbar",
    _DIMENSIONS * _PARTITION + 6048: "Cel",
}
"""MDC unit code -> UCUM. Beats and breaths are both counts for each minute here; what is counted stands in the code."""


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
