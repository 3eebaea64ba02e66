"""Device class and software category *proposed* from a ``twin.toml``, for a person to judge; identifiers as plain fields.

A row says what would follow if the answers in the manifest's table ``[device]`` (or ``[device.ID]``) are right. Where an answer is not there, the row says
which one it lacks. Software does not classify: every row reads *proposed, human judgement needed*. The wording of the rules is ours and short: whoever
submits reads the rules themselves.

::

    [device]
    state = "serious"             # critical, serious or non-serious: the situation of the patient
    significance = "inform"       # treat-or-diagnose, drive or inform: what the output does
    harm = "serious"              # none, serious or death: what could follow from a wrong output, before any measure
    monitors = "physiological"    # none, physiological or vital
    independent_review = true     # can the professional see the basis of the output and decide without it?
    intended_for = "professional" # professional or lay
    analyses = ["record"]         # record, image, signal or sequence: what it takes in
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gemel.core.errors import ManifestError
from gemel.core.manifest import TwinManifest, entry_point, package_dir

__all__ = ["ClassRow", "DeviceAnswers", "EctdFields", "UdiFields", "propose_classes", "read_answers"]

PROPOSED = "proposed, human judgement needed"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DeviceAnswers(_Frozen):
    """What a person has answered about the use of the device; None where nobody did."""

    state: Literal["critical", "serious", "non-serious"] | None = None
    significance: Literal["treat-or-diagnose", "drive", "inform"] | None = None
    harm: Literal["none", "serious", "death"] | None = None
    monitors: Literal["none", "physiological", "vital"] | None = None
    independent_review: bool | None = None
    intended_for: Literal["professional", "lay"] | None = None
    analyses: tuple[Literal["record", "image", "signal", "sequence"], ...] | None = None


class ClassRow(_Frozen):
    """One proposal: whose rule, what would follow, from which answers, what is lacking; ``standing`` is always the same."""

    authority: str
    scheme: str
    proposed: str
    because: str
    lacks: tuple[str, ...] = ()
    source: str
    standing: Literal["proposed, human judgement needed"] = PROPOSED


class UdiFields(_Frozen):
    """Unique device identification, as fields: the fixed device identifier (UDI-DI) and the production identifier (UDI-PI)."""

    issuer: Literal["GS1", "HIBCC", "ICCBA", "IFA"]
    device_identifier: str = Field(min_length=1)
    lot: str = ""
    serial: str = ""
    software_version: str = ""
    manufactured: str = ""
    expires: str = ""

    @field_validator("device_identifier")
    @classmethod
    def _characters(cls, given: str) -> str:
        if not given.isascii() or any(c.isspace() for c in given):
            raise ValueError("a device identifier has no spaces and ASCII characters only")
        return given

    @property
    def has_valid_check_digit(self) -> bool | None:
        """Whether the last digit of a GS1 number of 14 digits is right; None where that is not what it is.

        Examples
        --------
        >>> UdiFields(issuer="GS1", device_identifier="00614141999996").has_valid_check_digit
        True
        """
        digits = self.device_identifier
        if self.issuer != "GS1" or len(digits) != 14 or not digits.isdigit():
            return None
        total = sum(int(d) * (3 if i % 2 == 0 else 1) for i, d in enumerate(digits[:-1]))
        return (10 - total % 10) % 10 == int(digits[-1])

    @property
    def production_identifier(self) -> str:
        """The UDI-PI as words; empty where nothing was told."""
        parts = {
            "lot": self.lot,
            "serial": self.serial,
            "version": self.software_version,
            "manufactured": self.manufactured,
            "expires": self.expires,
        }
        return ", ".join(f"{name} {value}" for name, value in parts.items() if value)


class EctdFields(_Frozen):
    """A context of use of eCTD v4 (ICH M8, HL7 RPS release 2), as fields: names only, no message."""

    context_of_use: str
    keywords: tuple[str, ...] = ()
    document_id: str
    document_title: str = ""
    version: int = Field(ge=1)
    priority: int = Field(ge=1)
    status: Literal["active", "suspended", "replaced"] = "active"
    replaces: str = ""


def read_answers(twin: str | Path) -> DeviceAnswers:
    """Read the table ``[device.ID]``, or ``[device]``, of an installed twin's manifest or of a file.

    Raises
    ------
    ManifestError
        For an answer that is none of those that are known.
    """
    path = Path(twin) if isinstance(twin, Path) else package_dir(entry_point(twin)) / "twin.toml"
    table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8")).get("device", {})
    name = twin if isinstance(twin, str) else ""
    shared = {k: v for k, v in table.items() if not isinstance(v, dict)}
    own = table.get(name, {}) if name else next((v for v in table.values() if isinstance(v, dict)), {})
    try:
        return DeviceAnswers(**(shared | own))
    except ValidationError as error:
        first = error.errors()[0]
        raise ManifestError(
            "the table [device] holds an answer that is not known", seen=f"{'.'.join(map(str, first['loc']))}: {first['msg']}", fix="see gemel.evidence.change.device"
        ) from error  # fmt: skip


_IMDRF = {
    ("critical", "treat-or-diagnose"): "IV", ("critical", "drive"): "III", ("critical", "inform"): "II",
    ("serious", "treat-or-diagnose"): "III", ("serious", "drive"): "II", ("serious", "inform"): "I",
    ("non-serious", "treat-or-diagnose"): "II", ("non-serious", "drive"): "I", ("non-serious", "inform"): "I",
}  # fmt: skip


def _missing(answers: DeviceAnswers, *names: str) -> tuple[str, ...]:
    return tuple(f"device.{n}" for n in names if getattr(answers, n) is None)


def _imdrf(a: DeviceAnswers) -> ClassRow:
    source = "IMDRF/SaMD WG/N12 (2014), section 7.2, table; our words"
    lacks = _missing(a, "state", "significance")
    if a.state is not None and a.significance is not None:
        return ClassRow(authority="IMDRF", scheme="software category I-IV", proposed=_IMDRF[a.state, a.significance], because=f"state {a.state}, significance {a.significance}", source=source)  # fmt: skip
    open_ = sorted({c for (s, g), c in _IMDRF.items() if a.state in (None, s) and a.significance in (None, g)})
    return ClassRow(authority="IMDRF", scheme="software category I-IV", proposed=f"open: {', '.join(open_)}", because="the manifest does not tell enough", lacks=lacks, source=source)  # fmt: skip


def _fda(a: DeviceAnswers) -> list[ClassRow]:
    source = "FD&C Act 520(o)(1)(E), section 3060; FDA guidance Clinical Decision Support Software (2022); from memory: check"
    lacks = _missing(a, "analyses", "intended_for", "independent_review", "significance")
    if a.analyses is not None and set(a.analyses) & {"image", "signal", "sequence"}:
        first = ClassRow(authority="FDA", scheme="device or not", proposed="device: it analyses an image, a signal or a pattern", because=f"analyses {', '.join(a.analyses)}", source=source)  # fmt: skip
    elif lacks:
        first = ClassRow(authority="FDA", scheme="device or not", proposed="open: take it as a device", because="the manifest does not tell enough", lacks=lacks, source=source)  # fmt: skip
    elif a.intended_for == "professional" and a.independent_review and a.significance == "inform":
        first = ClassRow(authority="FDA", scheme="device or not", proposed="may be non-device decision support", because="records only, for a professional who can review the basis, informs", source=source)  # fmt: skip
    else:
        first = ClassRow(authority="FDA", scheme="device or not", proposed="device", because="one of the four criteria of non-device decision support is not met", source=source)  # fmt: skip
    class_ = ClassRow(
        authority="FDA", scheme="class I-III", proposed="open: the class follows from a classification regulation or a predicate, not from a manifest",
        because="21 CFR 862-892; De Novo where there is none", lacks=("a classification regulation or product code",), source="21 CFR 860; from memory: check",
    )  # fmt: skip
    level = {"none": "Basic", "serious": "Enhanced", "death": "Enhanced"}.get(a.harm or "", "open: Basic or Enhanced")
    return [first, class_, ClassRow(
        authority="FDA", scheme="documentation level", proposed=level, because=f"harm before any measure: {a.harm or 'not told'}", lacks=_missing(a, "harm"),
        source="FDA guidance Content of Premarket Submissions for Device Software Functions (2023); from memory: check",
    )]  # fmt: skip


def _rule_11(a: DeviceAnswers) -> tuple[str, str, tuple[str, ...]]:
    if a.monitors == "vital":
        return "IIb", "monitors vital parameters whose variation could put the patient in immediate danger", ()
    told = {"death": ("III", "informs decisions that may cause death or irreversible harm"), "serious": ("IIb", "informs decisions that may cause serious harm or surgery")}  # fmt: skip
    if a.significance is not None and a.harm is not None:
        return (*told.get(a.harm, ("IIa", "informs decisions on diagnosis or treatment")), ())
    if a.monitors == "physiological" and a.significance is None and a.harm is None:
        return "IIa or higher", "monitors physiological processes", _missing(a, "significance", "harm")
    return "open: IIa, IIb or III", "the manifest does not tell enough", _missing(a, "significance", "harm", "monitors")


def propose_classes(manifest: TwinManifest, answers: DeviceAnswers) -> tuple[ClassRow, ...]:
    """Propose device classes and software categories for a person to judge.

    Parameters
    ----------
    manifest : its context of use and what it is not for stand in the first row, because every rule is about the intended purpose.
    answers : from :func:`read_answers`.

    Returns
    -------
    One row per scheme: IMDRF, FDA (three), EU (MDR rule 11), MHRA, IEC 62304.
    """
    eu, because, lacks = _rule_11(answers)
    harm = {"none": "A", "serious": "B or C", "death": "C"}.get(answers.harm or "", "open: C until argued otherwise")
    return (
        ClassRow(
            authority="all", scheme="intended purpose", proposed=manifest.context_of_use, because=f"not for: {'; '.join(manifest.not_for)}",
            source=f"twin.toml of {manifest.id} {manifest.version}",
        ),
        _imdrf(answers),
        *_fda(answers),
        ClassRow(authority="EU", scheme="MDR class, rule 11", proposed=eu, because=because, lacks=lacks, source="Regulation (EU) 2017/745, annex VIII, rule 11; MDCG 2019-11; our words"),
        ClassRow(
            authority="MHRA", scheme="UK MDR 2002 class", proposed="open: I or IIa today; the announced reform would follow IMDRF", lacks=_missing(answers, "state", "significance", "monitors"),
            because="active devices for diagnosis or monitoring are IIa when they concern vital processes; other software is I", source="UK MDR 2002 (annex IX of 93/42/EEC), rules 9-12; from memory: check",
        ),
        ClassRow(authority="IEC", scheme="62304 software safety class", proposed=harm, because=f"harm before any measure: {answers.harm or 'not told'}", lacks=_missing(answers, "harm"), source="IEC 62304:2006+A1:2015, 4.3; from memory: check"),
    )  # fmt: skip
