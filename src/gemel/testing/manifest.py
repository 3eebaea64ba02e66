"""Promise: the manifest says what the code does."""

from __future__ import annotations

import numpy as np

from gemel.core.code import Code
from gemel.core.units import is_convertible, parse_unit
from gemel.engine.model import AbstractStateModel
from gemel.testing.report import require
from gemel.testing.subject import Subject

__all__ = ["check_manifest"]


def check_manifest(subject: Subject) -> str:
    """Compare ids, version, outputs, inputs, ports, parameters and horizons of manifest and code."""
    room, model, manifest = subject.room, subject.model, subject.room.manifest
    require(room.id == model.id == manifest.id, "room, model and manifest differ in id", seen=(room.id, model.id), expected=manifest.id)
    require(model.version == manifest.version, "model and manifest differ in version", seen=model.version, expected=manifest.version)
    _outputs(subject)
    _inputs(subject)
    _ports(subject)
    assumed = []
    for p in model.prior.parameters:
        parse_unit(p.unit)
        require(p.source.strip(), f"parameter {p.name!r} has no source", expected="DOI and table, or ASSUMED", fix="state it in priors.py")
        require(p.meaning.strip(), f"parameter {p.name!r} has no meaning", expected="a few words", fix="state it in priors.py")
        if p.assumed:
            assumed.append(p.name)
    for channel in model.channels:
        parse_unit(channel.unit)
    require(model.minutes > 0, "the unit of time of the model is not positive", seen=model.minutes)
    if isinstance(model, AbstractStateModel):
        require(model.slot > 0, "the slot of the model is not positive", seen=model.slot)
    horizons = np.asarray(room.horizons, float)
    require(
        len(horizons) and (horizons > 0).all() and (np.diff(horizons) > 0).all(), "horizons must be positive and rise", seen=room.horizons
    )
    for part in ("evidence", "report"):
        room.load(part)
    return f"{len(model.prior.parameters)} parameters, of these ASSUMED: {', '.join(assumed) or 'none'}"


def _outputs(subject: Subject) -> None:
    told, made = {o.name: o for o in subject.room.manifest.outputs}, {o.name: o for o in subject.model.outputs}
    require(set(told) == set(made), "outputs of manifest and code differ", seen=sorted(made), expected=sorted(told))
    for name, output in made.items():
        require(
            output.unit == told[name].unit, f"output {name!r}: unit of code and manifest differ", seen=output.unit, expected=told[name].unit
        )
        require(
            output.code == told[name].code, f"output {name!r}: code of code and manifest differ", seen=output.code, expected=told[name].code
        )


def _inputs(subject: Subject) -> None:
    """Every fact of a simulated person is a declared input in a unit that converts, and every required input is there."""
    inputs = {Code.parse(i.code): i for i in subject.room.manifest.inputs}
    record = subject.record
    units = [(s.code, s.unit) for s in record.series] + [(e.code, e.quantity.unit) for e in record.exposures if e.quantity is not None]
    for code, unit in units:
        require(code in inputs, f"the code reads {code}, which is not an input of the manifest", expected=sorted(map(str, inputs)))
        spec = inputs[code]
        known = any(
            is_convertible(unit, wanted, analyte=a) for a in (None, "glucose", "insulin") for wanted in (spec.unit, f"{spec.unit}/h")
        )  # or as a rate
        require(known, f"input {spec.name!r} comes in a unit that does not convert", seen=unit, expected=spec.unit)
    seen = {code for code, _ in units} | {f.code for f in record.findings}
    missing = [i.name for code, i in inputs.items() if i.required and code not in seen]
    require(not missing, "a simulated person lacks required inputs", seen=missing)


def _ports(subject: Subject) -> None:
    manifest, model = subject.room.manifest, subject.model
    for port in (*manifest.exports, *manifest.imports):
        if port.role == "output-series" and port in manifest.exports:
            fits = [o for o in model.outputs if Code.parse(o.code) == Code.parse(port.code) and is_convertible(o.unit, port.unit)]
            require(fits, f"export {port.name!r} is no output of the code", seen=(port.code, port.unit))
        if port.role == "plan-channel":
            fits = [c for c in model.channels if c.name == port.name and is_convertible(c.unit, port.unit)]
            require(
                fits, f"port {port.name!r} is no channel of the code", seen=port.unit, expected=[(c.name, c.unit) for c in model.channels]
            )
