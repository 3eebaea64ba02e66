"""Codes, units and profiles of the HL7 Continuous Glucose Monitoring guide 1.0.0, as its published sources state them.

References
----------
HL7 CGM implementation guide 1.0.0 (STU 1), https://hl7.org/fhir/uv/cgm; profiles read in its sources (``input/fsh/profiles.fsh``, version 1.0.0).
The guide gives 104642-4 to *very low* and 104641-6 to *low*; we follow the guide.
"""

from __future__ import annotations

from gemel.core.code import Code

__all__ = ["MEMBERS", "PANEL", "PROFILE", "RANGES", "REQUIRED_MEMBERS", "SENSORS", "TIMES_IN_RANGES"]

PROFILE = "http://hl7.org/fhir/uv/cgm/StructureDefinition/"
SENSORS = {
    Code.parse("loinc:99504-3"): ("mg/dL", "mg/dl", "cgm-sensor-reading-mass-per-volume"),
    Code.parse("loinc:105272-9"): ("mmol/L", "mmol/l", "cgm-sensor-reading-moles-per-volume"),
}
"""Code of a reading -> UCUM, unit as shown, profile."""

# key of the summary -> (LOINC, UCUM, unit as shown, profile). Codes: CGM guide 1.0.0, profiles and examples of the published version.
MEMBERS: dict[str, tuple[str, str, str, str]] = {
    "mean_mg_dl": ("97507-8", "mg/dL", "mg/dl", "cgm-summary-mean-glucose-mass-per-volume"),
    "mean_mmol_l": ("105273-7", "mmol/L", "mmol/l", "cgm-summary-mean-glucose-moles-per-volume"),
    "gmi_percent": ("97506-0", "%", "%", "cgm-summary-gmi"),
    "cv_percent": ("104638-2", "%", "%", "cgm-summary-coefficient-of-variation"),
    "days_of_wear": ("104636-6", "d", "days", "cgm-summary-days-of-wear"),
    "sensor_active_percent": ("104637-4", "%", "%", "cgm-summary-sensor-active-percentage"),
}
REQUIRED_MEMBERS = ("gmi_percent", "cv_percent", "days_of_wear", "sensor_active_percent")
"""Members that a full summary has exactly once, beside its times in ranges and at least one mean."""
RANGES = {
    "very_low_percent": "104642-4",
    "low_percent": "104641-6",
    "in_range_percent": "97510-2",
    "high_percent": "104640-8",
    "very_high_percent": "104639-0",
}
PANEL, TIMES_IN_RANGES = "107931-8", "106793-3"
