"""``gemel calibrate``: the twin of one person, or of everybody in a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from gemel.cli.methods import NAMES, method
from gemel.cli.options import FilePath, Numbers, as_json, common, seed_option, use_engine
from gemel.cli.output import atomic_write, echo, note, print_json, print_table
from gemel.cli.records import format_options, instant, people

if TYPE_CHECKING:
    from gemel.cli.hierarchy import Cohort
    from gemel.core.record import PatientRecord
    from gemel.engine.forecast import Forecast
    from gemel.engine.room import Room

__all__ = ["calibrate"]


@click.command()
@click.argument("twin")
@click.argument("record", type=FilePath)
@click.option("--now", metavar="TIME", help="Only what was known by then is read. Left out: when each person's last fact became known.")
@click.option("--method", "method_", type=click.Choice(NAMES), help="How to infer; left out, the twin's own.")
@click.option("--prior", type=FilePath, help="A population's own prior (JSON or TOML), instead of the twin's.")
@click.option("--hierarchical", is_flag=True, help="Of several people: calibrate each under a prior fitted on the others.")
@click.option(
    "--save-prior", type=FilePath, metavar="FILE", help="With --hierarchical: keep the prior of all, for --prior of the next person."
)
@click.option("-o", "--output", type=FilePath, help="The twin's file; of several people, a folder. Left out: PERSON.twin here.")
@click.option("--forecast", "forecast_", type=FilePath, help="Also forecast, into one .csv, .parquet or .json for everybody.")
@click.option("--at", type=Numbers, help="Minutes at which to forecast; left out, the twin's own.")
@click.option("--draws", type=click.IntRange(2, 100_000), default=256, show_default=True, help="Draws of each forecast.")
@click.option("--force", is_flag=True, help="Calibrate also those who are finished.")
@seed_option
@format_options
@as_json
@common
def calibrate(
    twin: str, record: Path, now: str | None, method_: str | None, prior: Path | None, hierarchical: bool, save_prior: Path | None, output: Path | None,
    forecast_: Path | None, at: tuple[float, ...] | None, draws: int, force: bool, seed: int, format_: str | None, tz: str | None, person: str | None, json_: bool,
) -> int:  # fmt: skip
    """Infer the twin TWIN of the person in RECORD: a table, a zip, a folder of people or a store.

    Several people are calibrated (and with --forecast forecast) one by one into the folder -o. Run the same command again after an
    interruption: who is finished and unchanged is skipped.
    """
    from gemel.cli.files import check_ending

    if save_prior is not None and not hierarchical:
        raise click.UsageError("--save-prior keeps the prior that --hierarchical fits")
    check_ending(forecast_)
    from gemel.core.manifest import entry_point

    entry_point(twin)
    found = [one for one, _ in people(record, format=format_, tz=tz, person=person)]
    work = _Work.of(twin, now, tz, method_, prior, seed, at if forecast_ else None, draws, hierarchical)
    if len(found) == 1 and not hierarchical and not (output is not None and output.is_dir()) and not record.is_dir():
        return _one(work, found[0], output, forecast_, at, json_)
    if output is None:
        raise click.UsageError(f"{record} holds {len(found)} people: name a folder for their twins with -o")
    return _many(work, found, output, forecast_, force, json_, save_prior)


@dataclass(frozen=True)
class _Work:
    """What is to be done to every person, and the words that tell whether it was done."""

    room: Room
    settings: dict[str, Any]
    now: str | None
    tz: str | None
    method: Any
    prior: Any
    seed: int
    at: tuple[float, ...] | None
    draws: int
    hierarchical: bool = False

    @classmethod
    def of(
        cls,
        twin: str,
        now: str | None,
        tz: str | None,
        method_: str | None,
        prior: Path | None,
        seed: int,
        at: tuple[float, ...] | None,
        draws: int,
        hierarchical: bool = False,
    ) -> _Work:
        use_engine()
        import numpy as np

        from gemel import __version__
        from gemel.cli.priors import read_prior
        from gemel.core.lineage import digest
        from gemel.verbs import room

        here = room(twin)
        model = here.model()
        own = None if prior is None else read_prior(prior, model.prior)
        told = None if own is None else digest([np.asarray(own.mean), np.asarray(own.cholesky)])
        settings = {"twin": twin, "version": model.version, "code": __version__, "now": now, "method": method_, "prior": told, "seed": seed}
        settings |= {"hierarchical": True} if hierarchical else {}
        return cls(here, settings, now, tz, method(method_), own, seed, at, draws, hierarchical)

    def calibrated(self, record: PatientRecord, group: Cohort | None = None) -> Any:
        from dataclasses import replace

        import jax

        from gemel.engine.twin import calibrate as infer

        moment = instant(self.now, record, self.tz)
        chosen = self.method if self.method is not None else self.room.method()
        prior = self.prior if group is None else group.without(record)
        made = infer(self.room.model(), record, moment, method=chosen, prior=prior, key=jax.random.key(self.seed))
        words = group.words(record) if group is not None else None if self.prior is None else "a population's own, from a file"
        return made if words is None else replace(made, extra=made.extra | {"prior": words})

    def group(self, found: Sequence[PatientRecord], folder: Path, force: bool, bar: Any) -> Cohort:
        from gemel.cli.hierarchy import cohort
        from gemel.engine.twin import with_prior

        model = with_prior(self.room.model(), self.prior)
        return cohort(model, found, folder, settings=self.settings, now=self.now, tz=self.tz, seed=self.seed, force=force, progress=bar)

    def forecast(self, twin: Any, at: tuple[float, ...] | None) -> Forecast:
        import jax

        from gemel.engine.forecast import forecast as draw

        return draw(twin, None, twin.times(*(at or self.room.horizons)), n=self.draws, key=jax.random.key(self.seed))


def _one(work: _Work, record: PatientRecord, output: Path | None, forecast_: Path | None, at: tuple[float, ...] | None, json_: bool) -> int:
    from gemel.cli.files import write_forecasts, write_twin
    from gemel.cli.summaries import print_forecast, print_twin, twin_summary

    made = work.calibrated(record)
    place = Path(f"{quote(record.id, safe='')}.twin") if output is None else output
    write_twin(place, made)
    told = twin_summary(made) | {"file": str(place)}
    future = None
    if forecast_ is not None:
        future = work.forecast(made, at)
        write_forecasts(forecast_, [future])
        told["forecast"] = future.table().to_dict() | {"file": str(forecast_)}
    if json_:
        print_json(told)
    else:
        print_twin(told)
        if future is not None:
            print_forecast(future)
        echo(f"written: {place}" + (f", {forecast_}" if forecast_ else ""))
    return 0


def _claim_folder(folder: Path, settings: dict[str, Any], force: bool) -> None:
    """Make the folder, or see that what is in it was made with the same settings."""
    from gemel.core.errors import DataError

    told = folder / "run.json"
    if folder.exists() and not folder.is_dir():
        raise DataError("the twins of several people need a folder", seen=f"file {folder}", fix="name a folder with -o")
    folder.mkdir(parents=True, exist_ok=True)
    if told.exists() and not force:
        try:
            before = json.loads(told.read_text())
        except ValueError:
            before = {}
        if before != settings:
            different = ", ".join(sorted(k for k in {*before, *settings} if before.get(k) != settings.get(k)))
            raise DataError(
                "the folder holds twins made with other settings",
                seen=f"{folder}: {different} differ",
                fix="choose another folder, or --force",
            )
    atomic_write(told, (json.dumps(settings, sort_keys=True) + "\n").encode())


def _finished(work: _Work, record: PatientRecord, place: Path, group: Cohort | None = None) -> bool:
    """Say whether a person's twin lies there, made from the same record at the same moment, and under the prior of the same others."""
    from gemel.cli.files import read_twin
    from gemel.core.errors import FormatError
    from gemel.engine import serialise

    if not place.is_file():
        return False
    try:
        told = serialise.peek(place.read_bytes())
    except FormatError:
        return False
    moment = instant(work.now, record, work.tz)
    same = told["calibrated"] == moment and told["lineage"]["record"] == record.as_of(moment).hash
    if not same or group is None:
        return same
    there, wanted = read_twin(place)[0].model.prior, group.without(record)
    return bool((there.mean == wanted.mean).all() and (there.cholesky == wanted.cholesky).all())


def _future(work: _Work, place: Path, made: Any, want: dict[str, Any], force: bool) -> Forecast:
    """Return a person's forecast: the one that lies there if it was made from this twin with these settings, else a new one."""
    from gemel.cli.files import read_forecasts, read_twin, write_forecasts
    from gemel.core.errors import FormatError

    kept = place.with_suffix(".forecast.json")
    if made is None:
        made, _ = read_twin(place)
    if kept.is_file() and not force:
        try:
            (before,) = read_forecasts(kept)
        except (FormatError, ValueError):
            before = None
        same = before is not None and before.lineage.parents == (made.lineage.id,) and list(before.horizons) == want["at"]
        if before is not None and same and len(before.draws) in (0, want["draws"]):
            return before
    write_forecasts(kept, [work.forecast(made, tuple(want["at"]))])
    return read_forecasts(kept)[0]  # what the table of everybody holds is what lies in the files


def _many(
    work: _Work,
    found: Sequence[PatientRecord],
    folder: Path,
    forecast_: Path | None,
    force: bool,
    json_: bool,
    save_prior: Path | None = None,
) -> int:
    from gemel.cli.files import write_forecasts, write_twin
    from gemel.cli.progress import Bar
    from gemel.core.errors import GemelError

    if work.hierarchical:
        from gemel.engine.hierarchy import enough_people, person_of

        enough_people([person_of(record) for record in found])
    _claim_folder(folder, work.settings, force)
    want = {"at": sorted(work.at or work.room.horizons), "draws": work.draws}
    told: list[dict[str, Any]] = []
    futures = []
    with Bar() as bar:
        group = work.group(found, folder, force, bar) if work.hierarchical else None
        if group is not None and save_prior is not None:
            group.save(save_prior)
        bar.start(f"{work.room.id}: {len(found)} people", len(found))
        for number, record in enumerate(found, 1):
            place = folder / f"{quote(record.id, safe='')}.twin"
            row: dict[str, Any] = {"patient": record.id, "file": str(place), "skipped": False, "status": None, "error": None}
            try:
                made = None
                if not force and _finished(work, record, place, group):
                    row["skipped"] = True
                else:
                    made = work.calibrated(record, group)
                    write_twin(place, made)
                if forecast_ is not None:
                    future = _future(work, place, made, want, force)
                    futures.append(future)
                    row["status"] = future.status.name
                elif made is not None:
                    row["status"] = made.status.name
            except GemelError as error:
                row["error"] = str(error)
                note(f"{record.id}: {error}")
            told.append(row)
            bar.update(number, record.id)
    if forecast_ is not None and futures:
        write_forecasts(forecast_, futures)
    failed = [row for row in told if row["error"]]
    if json_:
        out = {"people": told, "failed": len(failed), "folder": str(folder), "forecast": str(forecast_) if forecast_ else None}
        print_json(out if group is None else out | {"hierarchy": group.told, "prior": str(save_prior) if save_prior else None})
    else:
        rows = [(r["patient"], "failed" if r["error"] else "was there" if r["skipped"] else "calibrated", r["status"] or "-") for r in told]
        print_table(f"{work.room.id}: {len(told) - len(failed)} of {len(told)} people", ("person", "twin", "status"), rows)
        if group is not None:
            moved = f"the last of {group.told['rounds']} rounds moved it by {group.told['change']:.2g} of the room's SD"
            echo(f"prior of {group.told['people']} people ({moved}); each person's own is of the others")
        files = (folder, forecast_ if futures else None, save_prior)
        echo("written: " + ", ".join(str(file) for file in files if file is not None))
    return 1 if failed else 0
