"""``gemel readiness``: point it at an export, and see which twins it can feed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import FilePath, as_json, common
from gemel.cli.output import echo, print_json, print_table
from gemel.cli.records import format_options, people

if TYPE_CHECKING:
    from gemel.core.record import PatientRecord
    from gemel.platform.readiness import Ask, TwinReadiness

__all__ = ["readiness"]


@click.command()
@click.argument("source", type=FilePath)
@click.option(
    "--twin", "twins", multiple=True, metavar="TWIN", help="This twin only; several times for several. Left out: every installed one."
)
@click.option("--by-patient", is_flag=True, help="A line for each patient and twin.")
@click.option(
    "--manifest-only", is_flag=True, help="Look at declared inputs only, and do not ask the twins themselves: no numeric stack is loaded."
)
@format_options
@as_json
@common
def readiness(
    source: Path, twins: tuple[str, ...], by_patient: bool, manifest_only: bool, format_: str | None, tz: str | None, person: str | None, json_: bool
) -> int:  # fmt: skip
    """Say which twins SOURCE can feed: a file, a folder of people, an export or a store. Nothing leaves this machine, and nothing is kept.

    A twin is asked itself whether it would answer about each patient at the end of the record. Exit code 1: no twin would answer about anybody.
    """
    from gemel.core.errors import GemelError
    from gemel.core.manifest import installed, manifest_of
    from gemel.platform.readiness import readiness as judge

    found = people(source, format=format_, tz=tz, person=person)
    names = twins or tuple(name for name, m in installed().items() if not isinstance(m, GemelError))
    told = judge([record for record, _ in found], [manifest_of(name) for name in names], None if manifest_only else _ask())
    if json_:
        print_json({"patients": len(found), "twins": [_plain(t) for t in told]})
    else:
        _print(told, len(found), by_patient)
    return 0 if any(t.ready for t in told) else 1


def _ask() -> Ask:
    from gemel.cli.options import use_engine

    use_engine()
    from gemel.verbs import room

    models: dict[str, Any] = {}

    def ask(twin: str, record: PatientRecord, now: int) -> str | None:
        if twin not in models:
            models[twin] = room(twin).model()
        domain = models[twin].domain(record.as_of(now), now)
        return None if domain.reason is None else f"{domain.reason}: {domain.sentence}"

    return ask


def _plain(t: TwinReadiness) -> dict[str, Any]:
    return {
        "twin": t.twin,
        "version": t.version,
        "title": t.title,
        "ready": t.ready,
        "refusals": dict(t.refusals),
        "with_input": dict(t.with_input),
        "faults": dict(t.faults),
        "patients": [
            {"patient": p.patient, "ready": p.is_ready, "refusal": p.refusal, "missing": p.missing, "absent": p.absent}
            | {"inputs": [asdict(i) | {"faults": i.faults} for i in p.inputs]}
            for p in t.patients
        ],
    }


def _print(told: tuple[TwinReadiness, ...], patients: int, by_patient: bool) -> None:
    rows = []
    for t in told:
        why = "; ".join(f"{reason} ({n})" for reason, n in sorted(t.refusals.items(), key=lambda kv: -kv[1])[:2])
        rows.append((t.twin, t.version, f"{t.ready} of {patients}", why or "-"))
    print_table("Which twins these patients can feed", ("twin", "version", "would answer", "why not"), rows, right=(2,))
    for t in told:
        if t.ready:
            have = [(name, f"{n} of {patients}", f"{t.faults.get(name, 0) or '-'}") for name, n in t.with_input.items()]
            print_table(f"{t.twin}: inputs", ("input", "patients with it", "with faults"), have, right=(1, 2))
    if by_patient:
        lines = [
            (p.patient, t.twin, "yes" if p.is_ready else "no", p.refusal or "; ".join(f"{i.name}: {', '.join(i.faults)}" for i in p.inputs if i.faults) or "-")
            for t in told
            for p in t.patients
        ]  # fmt: skip
        print_table("By patient", ("patient", "twin", "would answer", "why not, or what is poor"), lines)
    if not any(t.ready for t in told):
        echo("no twin would answer about anybody")
