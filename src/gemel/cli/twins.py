"""``gemel twins``, ``check``, ``diagnose`` and ``warm``: what is installed, and whether it is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gemel.cli.options import FilePath, as_json, common, seed_option, use_engine
from gemel.cli.output import echo, print_json, print_table

__all__ = ["check", "diagnose", "twins", "warm"]


def _variables(title: str, entries: Any) -> None:
    rows = [
        (v.name, v.code, v.unit, f"{v.domain[0]:g} to {v.domain[1]:g}" if v.domain else "-", "yes" if v.required else "", v.description)
        for v in entries
    ]
    print_table(title, ("name", "code", "unit", "validated", "needed", ""), rows)


@click.command()
@click.argument("twin", required=False)
@as_json
@common
def twins(twin: str | None, json_: bool) -> int:
    """List the installed twins, or show what TWIN is for, what it takes and gives, and what it is not for."""
    if twin is None:
        return _list(json_)
    from gemel.core.manifest import manifest_of

    told = manifest_of(twin)
    if json_:
        print_json(told)
        return 0
    echo(f"{told.id} {told.version}: {told.title}")
    echo(f"question: {told.question}")
    echo(f"context of use: {told.context_of_use}")
    for line in told.not_for:
        echo(f"not for: {line}")
    _variables("takes", told.inputs)
    _variables("gives", told.outputs)
    for name, (low, high) in told.domain.items():
        echo(f"validated for {name}: {low:g} to {high:g}")
    for port in (*told.exports, *told.imports):
        echo(f"{'hands on' if port in told.exports else 'takes from other twins'}: {port.name} ({port.code}, {port.unit}, {port.role})")
    for source in told.sources:
        echo(f"source: {source}")
    if told.thin:
        echo(f"where the truth is thin: {told.thin}")
    echo(f"evidence: {_evidence(twin)}")
    return 0


def _evidence(twin: str) -> str:
    """Say in one line how far the twin is to be trusted, by what was measured on this machine."""
    import time

    from gemel.cli.evidence_files import data_hash, evidence_folder, stored_runs
    from gemel.core.manifest import manifest_of
    from gemel.evidence.dossier import dossier

    runs = stored_runs(evidence_folder(), twin)
    if not runs:
        return f"nothing was measured on this machine yet; gemel evidence {twin}"
    return dossier(manifest_of(twin), runs, time=time.time_ns(), data_hash=data_hash).sentence


def _list(json_: bool) -> int:
    from gemel.platform.registry import couplings
    from gemel.platform.registry import twins as registered

    found, fits = registered(), couplings()
    if json_:
        print_json(
            {
                "twins": [
                    {"id": t.id, "provider": t.provider, "error": str(t.error) if t.error else None}
                    | ({"version": t.manifest.version, "title": t.manifest.title, "question": t.manifest.question} if t.manifest else {})
                    for t in found
                ],
                "couplings": [
                    {"from": c.exporter, "to": c.importer, "export": c.export.name, "import": c.wanted.name, "factor": c.factor}
                    for c in fits
                ],
            }
        )
    else:
        rows = [
            (t.id, t.manifest.version if t.manifest else "-", t.manifest.title if t.manifest else f"cannot be read: {t.error}", t.provider)
            for t in found
        ]
        print_table("", ("twin", "version", "what it is", "from"), rows)
        for c in fits:
            echo(f"fits: {c.exporter} hands {c.export.name} to {c.importer} ({c.wanted.name}, times {c.factor:g})")
    return 1 if any(t.error for t in found) else 0


@click.command()
@click.argument("twin_file", type=FilePath)
@as_json
@common
def diagnose(twin_file: Path, json_: bool) -> int:
    """Show the gates and diagnostics of the twin in TWIN_FILE, and what the data said nothing about. Exit code 1: a gate failed."""
    from gemel.cli.files import read_twin
    from gemel.cli.summaries import print_twin, twin_summary

    twin, _ = read_twin(twin_file)
    told = twin_summary(twin)
    if twin.stream is not None:
        told["stream"] = {
            "slots": twin.stream.done - twin.stream.first, "members": len(twin.stream.rows), "checkpoints": len(twin.stream.checkpoints),
            "surprise": twin.stream.surprise.tolist(),
        }  # fmt: skip
    if json_:
        print_json(told)
    else:
        print_twin(told, diagnostics=True)
        if "stream" in told:
            echo("stream: {slots} slots, {members} members, {checkpoints} checkpoints".format(**told["stream"]))
        echo("usable: every gate passed" if told["usable"] else f"NOT usable: {told['sentence']}")
    return 0 if told["usable"] else 1


@click.command()
@click.argument("twin")
@click.option("--quick", is_flag=True, help="Fewer patients and replicas.")
@click.option("--only", metavar="NAMES", help="Some promises only, with commas in between.")
@seed_option
@as_json
@common
def check(twin: str, quick: bool, only: str | None, seed: int, json_: bool) -> int:
    """Hold TWIN to the contract that every twin keeps. Exit code 1: a promise is broken."""
    from gemel.core.manifest import entry_point

    entry_point(twin)
    use_engine()
    from gemel.cli.progress import Bar
    from gemel.testing import CHECKS, check_twin

    chosen = None if only is None else [name.strip() for name in only.split(",")]
    unknown = [name for name in chosen or () if name not in CHECKS]
    if unknown:
        raise click.UsageError(f"no such promise: {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    seen: list[str] = []
    with Bar() as bar:
        bar.start(f"checking {twin}", len(chosen or CHECKS))

        def tell(one: Any) -> None:
            seen.append(one.name)
            bar.update(len(seen), one.name)

        report = check_twin(twin, quick=quick, only=chosen, seed=seed, told=tell)
    if json_:
        checks = [{"name": c.name, "passed": c.passed, "message": c.message, "seconds": round(c.seconds, 3)} for c in report.checks]
        print_json({"twin": report.twin, "passed": report.passed, "checks": checks})
    else:
        rows = [(c.name, "kept" if c.passed else "BROKEN", round(c.seconds, 1), c.message) for c in report.checks]
        title = f"{twin}: {'all promises kept' if report.passed else f'{len(report.failures)} promise(s) broken'}"
        print_table(title, ("promise", "", "seconds", ""), rows, right=(2,))
    return 0 if report.passed else 1


@click.command()
@click.argument("names", nargs=-1, metavar="[TWIN]...")
@as_json
@common
def warm(names: tuple[str, ...], json_: bool) -> int:
    """Compile the installed twins (or those that are named) into the persistent cache, on a person drawn from each model."""
    from gemel.core.manifest import entry_point

    for name in names:
        entry_point(name)
    use_engine()
    import time

    import jax

    from gemel.cli.progress import Bar
    from gemel.engine.compile import counting
    from gemel.engine.forecast import compare as draw
    from gemel.engine.twin import assimilate, calibrate
    from gemel.platform.registry import twins as registered

    told: list[dict[str, Any]] = []
    chosen = [t for t in registered(rooms=True) if not names or t.id in names]
    key = jax.random.key(0)
    with Bar() as bar:
        bar.start("compiling", len(chosen))
        for number, one in enumerate(chosen, 1):
            begin = time.perf_counter()
            with counting() as counter:
                if one.room is not None:
                    record, now, _ = one.room.simulate_record(key)
                    made = calibrate(one.room.model(), record, now, method=one.room.method(), key=key)
                    made = assimilate(made, record, now)
                    if made.domain.reason is None:
                        draw(made, one.room.plans(made), one.room.times(made), n=256, key=key)
            error = str(one.error) if one.error else None
            told.append({"twin": one.id, "programs": counter.count, "seconds": round(time.perf_counter() - begin, 2), "error": error})
            bar.update(number, one.id)
    if json_:
        print_json({"twins": told})
    else:
        rows = [(t["twin"], t["programs"], t["seconds"], t["error"] or "ready") for t in told]
        print_table("", ("twin", "programs", "seconds", ""), rows, right=(1, 2))
    return 1 if any(t["error"] for t in told) else 0
