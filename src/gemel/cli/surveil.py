"""``gemel surveil``: watch a deployed model, ours or any other, by the log of its predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import FilePath, as_json, common, existing, seed_option
from gemel.cli.output import atomic_write, echo, plain, print_json, print_table

if TYPE_CHECKING:
    from gemel.core.advice import ShownOn
    from gemel.evidence.surveillance.incidents import Entry, Incident
    from gemel.evidence.surveillance.prediction_log import PredictionLog
    from gemel.evidence.surveillance.release import Release
    from gemel.evidence.surveillance.watch import Watch

__all__ = ["surveil"]

LONGEST = 12


@click.command()
@click.option("--log", "log_", type=FilePath, help="A CSV: time, recorded, patient, prediction, outcome, and what else there is.")
@click.option("--release", type=FilePath, help="The frozen baseline that thresholds come from; see --freeze.")
@click.option(
    "--baseline", type=FilePath, help="A CSV of the period at release: the baseline itself, or its rows for the joint test of inputs."
)
@click.option("--freeze", type=FilePath, help="Write the baseline of --log to this file, and watch nothing.")
@click.option("--model", default="model", show_default=True, help="Name of the model, for --freeze and --baseline.")
@click.option("--model-version", default="0", show_default=True, help="Its version, for --freeze and --baseline.")
@click.option(
    "--arl",
    type=click.FloatRange(min=1, min_open=True),
    default=2000,
    show_default=True,
    help="Outcomes between false alarms of the whole watch.",
)
@click.option(
    "--ratio", type=click.FloatRange(min=1, min_open=True), default=2.0, show_default=True, help="Odds ratio that the charts look for."
)
@click.option(
    "--level",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Of the interval in the log; left out, that of the release, or 0.9.",
)
@click.option("--as-of", "as_of", metavar="TIME", help="What was known then; left out, now.")
@click.option(
    "--due", type=click.FloatRange(min=0), metavar="DAYS", help="An outcome that is absent after this long is missing; left out, at once."
)
@click.option("--kind", type=click.Choice(["event", "value"]), help="Of the predictions; left out, by what stands in the log.")
@click.option("--tz", help="IANA zone of times that carry none.")
@click.option("--no-reset", is_flag=True, help="After an alarm a chart goes on, instead of starting again at 0.")
@click.option("--twin", help="An installed twin: propose its device class and software category in the report.")
@click.option("--runs", type=FilePath, help="With --twin: append this watch to the twin's evidence (JSON lines).")
@click.option(
    "--change", "changes", type=FilePath, multiple=True, help="A change.json of gemel change -o, for the report; as often as needed."
)
@click.option("--plan", "plan_file", type=FilePath, help="A pccp.toml: what to do about each alarm, and the version to go back to.")
@click.option("--owner", default="", help="Who answers for the incidents that are opened.")
@click.option(
    "--shown-on",
    type=click.Choice(["real", "replayed", "simulated"]),
    default="replayed",
    show_default=True,
    help="Who the people of the log are.",
)
@click.option("--close", "closing", metavar="ID", help="Close an incident of -o, with --who and --reason.")
@click.option("--who", default="", help="Who closes it.")
@click.option("--reason", default="", help="Why it is closed.")
@click.option("-o", "--output", type=FilePath, help="A folder: incidents.jsonl (only ever appended to), surveillance.json, report.html.")
@seed_option
@as_json
@common
def surveil(
    log_: Path | None, release: Path | None, baseline: Path | None, freeze: Path | None, model: str, model_version: str, arl: float, ratio: float,
    level: float | None, as_of: str | None, due: float | None, kind: Any, tz: str | None, no_reset: bool, twin: str | None, runs: Path | None, changes: tuple[Path, ...], plan_file: Path | None, owner: str,
    shown_on: Any, closing: str | None, who: str, reason: str, output: Path | None, seed: int, json_: bool,
) -> int:  # fmt: skip
    """Watch a deployed model by the log of its predictions and their outcomes: drift, calibration, coverage, people; alarms open incidents.

    Thresholds follow from --arl, the run length of the whole watch while all is well. The exit code is 1 while an incident is open.
    """
    from gemel.core.time import to_ns

    if runs is not None and twin is None:
        raise click.UsageError("--runs needs --twin, whose evidence it is.")
    now = to_ns(as_of, tz=tz) if as_of else _clock()
    if closing is not None:
        return _close(output, closing, who, reason, now)
    if log_ is None:
        raise click.UsageError("Missing option '--log'.")
    from gemel.evidence.surveillance.prediction_log import read_log
    from gemel.evidence.surveillance.release import freeze as freeze_log
    from gemel.evidence.surveillance.release import read_release

    log = read_log(existing(log_), kind=kind, tz=tz)
    if freeze is not None:
        told = freeze_log(log.as_of(now), model=model, version=model_version, now=now, level=level or 0.9)
        atomic_write(freeze, (told.model_dump_json(indent=1) + "\n").encode())
        if json_:
            print_json({"release": told.id, "rows": told.n, "file": str(freeze)})
        else:
            echo(f"release {told.id} of {told.model} {told.version}, from {told.n} rows: {freeze}")
        return 0
    reference = read_log(existing(baseline), kind=kind, tz=tz) if baseline else None
    known: Release | None = read_release(existing(release)) if release else None
    if known is None and reference is not None:
        known = freeze_log(reference, model=model, version=model_version, now=now, level=level or 0.9)
    from gemel.evidence.surveillance.watch import Settings
    from gemel.evidence.surveillance.watch import surveil as watch_log

    settings = Settings(run_length=arl, ratio=ratio, level=level, due_days=due, reset=not no_reset, seed=seed)
    watch = watch_log(log, now=now, release=known, reference=reference, settings=settings)
    entries, fresh = _incidents(watch, output, plan_file, owner)
    from gemel.evidence.surveillance.incidents import fold

    incidents = fold((*entries, *fresh), as_of=now)
    open_ = [i for i in incidents if i.is_open]
    _write(output, watch, log, entries, fresh, incidents, twin, shown_on, changes)
    if runs is not None and twin is not None:
        _append_run(runs, watch, twin, len(open_), shown_on)
    if json_:
        from gemel.evidence.surveillance.view import watch_to_dict

        print_json(watch_to_dict(watch) | {"incidents": [i.model_dump() for i in incidents], "open": len(open_)})
    else:
        _print(watch, incidents)
        if output is not None:
            echo(f"written: {output / 'report.html'}, {output / 'surveillance.json'}, {output / 'incidents.jsonl'}")
    return 1 if open_ else 0


def _clock() -> int:
    import time

    return time.time_ns()


def _incidents(watch: Watch, output: Path | None, plan_file: Path | None, owner: str) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Return what stands in the file of incidents, and what the alarms add to it."""
    from gemel.evidence.change.plan import read_plan
    from gemel.evidence.surveillance.incidents import answer_alarms, read_entries

    path = None if output is None else output / "incidents.jsonl"
    entries = read_entries(path) if path is not None and path.exists() else ()
    plan = read_plan(existing(plan_file)) if plan_file else None
    fresh = answer_alarms(
        watch.alarms, entries, now=watch.as_of, owner=owner, rollback=plan.rollback if plan else "", branches=plan.alarms if plan else None,
        version=f"{watch.release.model} {watch.release.version}" if watch.release else "",
    )  # fmt: skip
    return entries, fresh


def _shown(kind: Any, log: PredictionLog) -> ShownOn:
    from gemel.core.advice import ShownOn

    return ShownOn(kind=kind, n=len(set(log.patient.tolist())), what="people in the log")


def _write(
    output: Path | None, watch: Watch, log: PredictionLog, entries: tuple[Entry, ...], fresh: tuple[Entry, ...], incidents: tuple[Incident, ...],
    twin: str | None, shown_on: Any, changes: tuple[Path, ...],
) -> None:  # fmt: skip
    """Append incidents and write the report and the numbers."""
    from gemel.evidence.change.device import propose_classes, read_answers
    from gemel.evidence.change.gate import read_gate

    classes, gates = (), tuple(read_gate(existing(path)) for path in changes)
    if twin is not None:
        from gemel.core.manifest import manifest_of

        classes = propose_classes(manifest_of(twin), read_answers(twin))
    if output is None:
        return
    from gemel.evidence.surveillance.incidents import append_entries, read_entries
    from gemel.evidence.surveillance.report_periodic import periodic_report
    from gemel.evidence.surveillance.view import watch_to_dict
    from gemel.web import render_html

    output.mkdir(parents=True, exist_ok=True)
    place = output / "incidents.jsonl"
    if fresh:
        append_entries(place, fresh)
        entries = read_entries(place)
    name = f"{watch.release.model} {watch.release.version}" if watch.release else "a model without a release"
    view = periodic_report(
        watch,
        incidents,
        title=f"Surveillance of {name}",
        shown_on=_shown(shown_on, log),
        classes=classes,
        changes=gates,
        chain=entries[-1].hash if entries else "",
    )
    atomic_write(output / "report.html", render_html(view).encode())
    told = watch_to_dict(watch) | {"incidents": [i.model_dump() for i in incidents]}
    atomic_write(output / "surveillance.json", (json.dumps(plain(told), indent=1, sort_keys=True) + "\n").encode())


def _append_run(path: Path, watch: Watch, twin: str, open_: int, shown_on: Any) -> None:
    """Append the watch to the evidence of a twin."""
    from gemel.core.manifest import manifest_of
    from gemel.evidence.fingerprint import model_hash
    from gemel.evidence.run import append
    from gemel.evidence.surveillance.as_run import watch_run

    append(path, watch_run(
        watch, twin=twin, model_version=manifest_of(twin).version, model_hash=model_hash(twin), open_incidents=open_, kind=shown_on, command=f"gemel surveil --twin {twin}"
    ))  # fmt: skip


def _close(output: Path | None, closing: str, who: str, reason: str, now: int) -> int:
    """Close one incident; the exit code is 1 while another is open."""
    from gemel.core.errors import EvidenceError
    from gemel.evidence.surveillance.incidents import append_entries, close, fold, read_entries

    if output is None:
        raise click.UsageError("--close needs -o, the folder with incidents.jsonl.")
    place = existing(output / "incidents.jsonl")
    found = {i.id: i for i in fold(read_entries(place))}
    if closing not in found:
        raise EvidenceError("no incident of this id", seen=closing, expected=", ".join(found) or "none was opened")
    append_entries(place, [close(found[closing], who=who, reason=reason, now=now)])
    left = [i for i in fold(read_entries(place)) if i.is_open]
    echo(f"closed: {closing}; open: {len(left)}")
    return 1 if left else 0


def _print(watch: Watch, incidents: tuple[Incident, ...]) -> None:
    from gemel.evidence.surveillance.view import watch_words
    from gemel.evidence.surveillance.watch import moment

    if watch.is_incomplete:
        echo("INCOMPLETE: more than 10 % of the outcomes that are due are missing")
    echo(watch_words(watch))
    rows = [
        (c.name, c.group or "everybody", len(c.rows), c.path.threshold, f"{c.run_length:,.0f}", c.delay, c.path.largest, len(c.path.alarms), len(c.by_time.alarms))
        for c in watch.charts
    ]  # fmt: skip
    if watch.scan is not None:
        seen, scan, length = watch.scan
        rows.append(("residuals, adaptive window", "everybody", len(seen), scan.limit, f"{length:,.0f}", float("nan"), float(scan.value.max(initial=0)), len(scan.alarms), "-"))  # fmt: skip
    heads = ("chart", "in", "outcomes", "threshold", "run length", "once it happened", "largest", "alarms", "by time of prediction")
    print_table("", heads, rows, right=(2, 3, 4, 5, 6, 7, 8))
    if watch.batches:
        worst = min(watch.batches, key=lambda b: b.p_value)
        echo(f"inputs: {len(watch.batches)} batches, {sum(b.rings for b in watch.batches)} ring; smallest: {worst.sentence}")
    for rate in watch.people:
        if rate.n:
            echo(f"{rate.name}: {rate.value:.3g} {rate.unit} ({rate.low:.3g} to {rate.high:.3g}, n = {rate.n})")
    open_ = [i for i in incidents if i.is_open]
    echo(f"incidents: {len(open_)} open, {len(incidents) - len(open_)} closed")
    for i in open_[:LONGEST]:
        since = f"; rang again {len(i.notes)} times" if i.notes else ""
        echo(f"  {i.id}  {i.severity}  due {moment(i.due)}  rang {moment(i.rang)}: {i.sentence}{since}")
