"""The description of a device (MDIB) as a file or message: what it measures, in which unit, for whom. Read without a network and without a library.

References
----------
IEEE 11073-10207-2017, participant model (BICEPS): descriptors, states, contexts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NoReturn
from xml.parsers import expat

from gemel.core.errors import FormatError

__all__ = ["CODING_SYSTEM", "DEPTH", "Descriptor", "Mdib", "Patient", "State", "patient_of", "read_mdib"]

CODING_SYSTEM = "urn:oid:1.2.840.10004.1.1.1.0.0.1"
"""What a code without a system belongs to: IEEE 11073-10101."""

DEPTH = 64
"""Elements inside elements; deeper is refused."""

_LARGEST = 1 << 25
_SPACE = "http://standards.ieee.org/downloads/11073/11073-10207-2017/participant"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_PLAIN = {
    "Mds": "Mds", "Vmd": "Vmd", "Channel": "Channel", "AlertSystem": "AlertSystem", "AlertSignal": "AlertSignal", "SystemContext": "SystemContext",
    "PatientContext": "PatientContext", "LocationContext": "LocationContext", "EnsembleContext": "EnsembleContext", "OperatorContext": "OperatorContext",
    "WorkflowContext": "WorkflowContext", "MeansContext": "MeansContext", "Clock": "Clock", "Battery": "Battery", "Sco": "Sco",
}  # fmt: skip


@dataclass(frozen=True)
class Descriptor:
    """What a device says that it has.

    Parameters
    ----------
    kind : such as ``NumericMetric``, ``Vmd``, ``AlertCondition``.
    parent, mds : handles; of the whole device both are empty.
    code, system : of what it is, and of which nomenclature.
    unit : code of the unit; empty where it has none.
    category : of a metric: ``Msrmt``, ``Clc``, ``Set``, ``Preset``, ``Rcmm`` or ``Unspec``.
    """

    handle: str
    kind: str
    parent: str
    mds: str
    code: str = ""
    system: str = CODING_SYSTEM
    unit: str = ""
    category: str = ""


@dataclass(frozen=True, repr=False)
class State:
    """What a device says that is. Its value is a patient's: it is in no ``repr``."""

    kind: str
    descriptor: str
    attributes: dict[str, str]
    inner: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"State({self.kind} of {self.descriptor})"


@dataclass(frozen=True, repr=False)
class Patient:
    """Whom a device is associated with: root and extension of each identification."""

    mds: str
    identifications: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"Patient({len(self.identifications)} identifications)"


@dataclass(frozen=True)
class Mdib:
    """A device's description and states, as of one version."""

    sequence: str
    version: int
    descriptors: dict[str, Descriptor] = field(default_factory=dict)
    states: tuple[State, ...] = ()

    def of_kind(self, kind: str) -> list[Descriptor]:
        """Return the descriptors of a kind."""
        return [one for one in self.descriptors.values() if one.kind == kind]

    @property
    def kinds(self) -> dict[str, int]:
        """How many descriptors of each kind there are."""
        return dict(Counter(one.kind for one in self.descriptors.values()))

    @property
    def single_states(self) -> int:
        """How many states such a device has at least: one of each descriptor but contexts, of which there may be several or none."""
        return sum(not one.kind.endswith("Context") or one.kind == "SystemContext" for one in self.descriptors.values())

    @property
    def patients(self) -> tuple[Patient, ...]:
        """Patients who are associated now, by device; not those who were, or may be."""
        found = []
        for state in self.states:
            if state.kind == "PatientContext" and state.attributes.get("ContextAssociation") == "Assoc":
                ids = tuple(
                    (tag.attributes.get("Root", ""), tag.attributes.get("Extension", ""))
                    for tag in state.inner
                    if tag.name == "Identification"
                )
                found.append(Patient(self.descriptors[state.descriptor].mds if state.descriptor in self.descriptors else "", ids))
        return tuple(found)


class _Tag:
    __slots__ = ("attributes", "inner", "name")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes = name, attributes
        self.inner: list[_Tag] = []


def _refuse(*_: Any) -> NoReturn:
    raise FormatError(
        "a document type or an entity", seen="<!DOCTYPE or <!ENTITY", expected="none: a device needs none", fix="refuse the device"
    )


def _parse(raw: bytes) -> _Tag:
    if len(raw) > _LARGEST:
        raise FormatError("the description is too large", seen=f"{len(raw)} bytes", expected=f"at most {_LARGEST}")
    stack = [_Tag("", {})]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) > DEPTH:
            raise FormatError("nested too deep", seen=f"more than {DEPTH} levels", expected=f"at most {DEPTH}", fix="refuse the device")
        tag = _Tag(name.rpartition(" ")[2], {key.rpartition(" ")[2]: value for key, value in attributes.items()})
        stack[-1].inner.append(tag)
        stack.append(tag)

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = _refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    try:
        parser.Parse(raw, True)
    except expat.ExpatError as error:
        raise FormatError("not XML", seen=f"line {error.lineno}, column {error.offset}", expected="an MDIB") from error
    return stack[0].inner[0]


def _find(tag: _Tag, name: str) -> _Tag | None:
    return next((one for one in tag.inner if one.name == name), None)


def _code(tag: _Tag, name: str) -> tuple[str, str]:
    found = _find(tag, name)
    return ("", CODING_SYSTEM) if found is None else (found.attributes.get("Code", ""), found.attributes.get("CodingSystem", CODING_SYSTEM))


def _kind(tag: _Tag) -> str:
    said = tag.attributes.get("type", "").rpartition(":")[2]
    return said.removesuffix("Descriptor").removesuffix("State") if said else _PLAIN.get(tag.name, tag.name)


def _describe(tag: _Tag, parent: str, mds: str, found: dict[str, Descriptor]) -> None:
    handle = tag.attributes.get("Handle", "")
    if handle and tag.name != "Extension":
        if handle in found:
            raise FormatError("two descriptors of one handle", seen="a handle twice", expected="one each", fix="refuse the device")
        kind = _kind(tag)
        mds = handle if kind == "Mds" else mds
        code, system = _code(tag, "Type")
        found[handle] = Descriptor(
            handle,
            kind,
            parent,
            "" if kind == "Mds" else mds,
            code,
            system,
            _code(tag, "Unit")[0],
            tag.attributes.get("MetricCategory", ""),
        )
        parent = handle
    if tag.name not in ("Extension", "Type", "Unit", "Relation"):
        for one in tag.inner:
            _describe(one, parent, mds, found)


def read_mdib(raw: bytes) -> Mdib:
    """Read an MDIB: the message that a device answers with, or a file of it.

    Raises
    ------
    FormatError
        When it is no XML, declares a document type or an entity, nests too deep, or holds no MDIB.
    """
    top = _parse(raw)
    mdib = top if top.name == "Mdib" else _find(top, "Mdib") or next((m for one in top.inner if (m := _find(one, "Mdib"))), None)
    if mdib is None and top.name in ("GetMdibResponse", "Envelope", "Body") and _find(top, "MdDescription"):
        mdib = top
    description = _find(mdib, "MdDescription") if mdib is not None else None
    if mdib is None or description is None:
        raise FormatError("no description of a device", seen=top.name[:40], expected="Mdib with MdDescription")
    descriptors: dict[str, Descriptor] = {}
    for one in description.inner:
        _describe(one, "", "", descriptors)
    state_part = _find(mdib, "MdState")
    states = tuple(
        State(_kind(tag), tag.attributes.get("DescriptorHandle", ""), tag.attributes, tuple(tag.inner))
        for tag in (state_part.inner if state_part is not None else ())
        if tag.name == "State"
    )
    version = mdib.attributes.get("MdibVersion", "0")
    return Mdib(mdib.attributes.get("SequenceId", ""), int(version) if version.isdigit() else 0, descriptors, states)


def patient_of(patients: tuple[Patient, ...], mds: str, root: str) -> str:
    """Return the pseudonym of whoever a device is associated with; empty when that is not sure: nobody, several, or known by another root.

    Examples
    --------
    >>> patient_of((Patient("mds0", (("urn:site", "p7"),)),), "mds0", "urn:site")
    'p7'
    """
    here = [one for one in patients if one.mds == mds]
    names = {extension for one in here for said, extension in one.identifications if said == root and extension}
    return names.pop() if root and len(here) == 1 and len(names) == 1 else ""
