"""``gemel evidence`` and ``gemel conformance``: studies are run, or found as they were; the dossier is written, signed and checked."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gemel.cli.options import FilePath, as_json, common, existing, seed_option, use_engine
from gemel.cli.output import atomic_write, echo, note, plain, print_json, print_table

if TYPE_CHECKING:
    from gemel.core.manifest import TwinManifest
    from gemel.evidence.dossier import Dossier

__all__ = ["conformance", "evidence"]

PARTS = ("vv40", "nasem", "runs", "card", "checklists")


def _measure(
    twin: str, folder: Path, *, only: Sequence[str], quick: bool, seed: int, force: bool, external: Sequence[tuple[str, Path]], say: Any
) -> dict[str, str]:  # fmt: skip
    """Run what is missing or stale of an installed twin, and keep it; return why some studies have no run."""
    from gemel.cli.evidence_files import machine, people_of, stored_runs
    from gemel.cli.progress import Bar
    from gemel.evidence.fingerprint import model_hash
    from gemel.evidence.run import append
    from gemel.evidence.standard import studies_of
    from gemel.evidence.study import run_studies
    from gemel.evidence.trace.report import trace_study
    from gemel.testing.study import contract_study
    from gemel.verbs import room

    here = room(twin)
    studies = (*studies_of(here), contract_study(), trace_study())
    unknown = [name for name in only if name not in {s.id for s in studies}]
    if unknown:
        raise click.UsageError(f"no such study: {', '.join(unknown)}; there are {', '.join(s.id for s in studies)}")
    chosen = [s for s in studies if not only or s.id in only]
    path, plan = folder / f"{twin}.jsonl", _criteria(twin)

    def save(run: Any) -> None:
        judged = plan.get(run.study)
        append(path, run if judged is None else run.model_copy(update={"settings": run.settings | {"criteria": judged}}))

    _outside(twin, here.manifest, model_hash(twin), path, external)
    with Bar() as bar:
        bar.start(f"evidence of {twin}", len(chosen))
        count = 0

        def told(done: Any) -> None:
            nonlocal count
            count += 1
            bar.update(count, done.study.id)
            if done.run is None:
                say(f"{done.study.id}: NOT RUN, {done.reason}")
            else:
                state = "still true" if done.was_fresh else f"{done.run.seconds:.0f} CPU-s"
                say(f"{done.study.id}: {'limits met' if done.run.met else 'a limit is MISSED'} ({state})")

        done = run_studies(
            here, chosen, runs=stored_runs(folder, twin), save=save, now=time.time_ns, people=people_of, quick=quick,
            seed=seed, force=force, machine=machine(), command=f"gemel evidence {twin} --seed {seed}" + (" --quick" if quick else ""), told=told,
        )  # fmt: skip
    return {d.study.id: d.reason for d in done if d.run is None}


def _criteria(twin: str) -> dict[str, str]:
    """Return study -> hash of the criteria of the twin's change-control plan, read before anything is measured."""
    from gemel.core.manifest import entry_point, package_dir
    from gemel.evidence.change.plan import read_plan

    path = package_dir(entry_point(twin)) / "pccp.toml"
    if not path.is_file():
        return {}
    plan = read_plan(path)
    return {plan.protocol.study: plan.criteria_hash} if plan.twin == twin else {}


def _outside(twin: str, manifest: TwinManifest, model: str, path: Path, external: Sequence[tuple[str, Path]]) -> None:
    """Read studies of an outside solver or bench into the stored runs."""
    from gemel.cli.evidence_files import machine
    from gemel.evidence.run import append
    from gemel.evidence.verification.external import read_external

    for kind, source in external:
        run = read_external(
            existing(source), kind, twin, model_version=manifest.version, model_hash=model, time=time.time_ns(), machine=machine(),
            command=f"gemel evidence {twin} --external {kind}={source.name}",
        )  # fmt: skip
        append(path, run)


class _External(click.ParamType):
    """``KIND=FILE``."""

    name = "KIND=FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        if isinstance(value, tuple):
            return value
        kind, _, file = str(value).partition("=")
        if not file:
            self.fail(f"{value!r} is not KIND=FILE, such as mesh=refinement.csv", param, ctx)
        return kind, Path(file)


@click.command()
@click.argument("twin")
@click.option("-o", "--output", type=FilePath, help="Folder for the dossier; left out, the one of the stored runs.")
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(PARTS), help="Print this part; several times for several. Left out: vv40."
)
@click.option("--only", metavar="STUDIES", help="Run some studies only, with commas in between.")
@click.option("--show", is_flag=True, help="Run nothing: make the dossier from what was measured. Loads no numeric stack.")
@click.option("--quick", is_flag=True, help="Fewer people and replicas; a quick run does not stand for a whole one.")
@click.option("--force", is_flag=True, help="Measure again what is still true.")
@click.option("--external", multiple=True, type=_External(), help="A study made elsewhere: mesh=, bench= or validation= a CSV file.")
@click.option("--judgement", type=FilePath, help="TOML with people's judgements of credibility factors.")
@click.option("--sign", "signer", metavar="NAME", help="Sign the dossier with this user's key, under this name.")
@click.option(
    "--verify", "checked", type=FilePath, help="Check the signature of a dossier.json, and whether it is stale, and do nothing else."
)
@seed_option
@as_json
@common
def evidence(
    twin: str, output: Path | None, parts: tuple[str, ...], only: str | None, show: bool, quick: bool, force: bool, external: tuple[tuple[str, Path], ...],
    judgement: Path | None, signer: str | None, checked: Path | None, seed: int, json_: bool,
) -> int:  # fmt: skip
    """Measure what is known of TWIN and write its dossier: HTML, PDF, JSON and a hash, signed if asked.

    TWIN is an installed twin, or a twin.toml that describes a project of yours whose studies come by --external. What was measured before and is still
    true is not measured again; an interrupted run goes on where it was. Exit code 1: a limit is missed, or the dossier is stale.
    """
    from gemel.cli.evidence_files import data_hash, data_rows, evidence_folder, judgements_of, project_of, stored_runs
    from gemel.core.manifest import manifest_of
    from gemel.evidence.dossier import dossier

    if checked is not None:
        return _verify(twin, checked, json_)
    folder = evidence_folder()
    project = project_of(Path(twin)) if twin.endswith(".toml") else None
    manifest = manifest_of(twin) if project is None else project
    missing: dict[str, str] = {}
    model = None
    if project is not None:
        from gemel.core.lineage import digest

        model = digest(project.model_dump(mode="json"))[:32]
        _outside(project.id, project, model, folder / f"{project.id}.jsonl", external)
    elif not show:
        use_engine()
        chosen = [name.strip() for name in only.split(",")] if only else []
        missing = _measure(twin, folder, only=chosen, quick=quick, seed=seed, force=force, external=external, say=note if json_ else echo)
    runs = stored_runs(folder, manifest.id)
    judgements = judgements_of(existing(judgement)) if judgement is not None else ()
    made = dossier(manifest, runs, time=time.time_ns(), missing=missing, judgements=judgements, data_hash=data_hash, model=model)
    used = sorted({name for r in made.runs for name in r.settings.get("data", ())})
    place = output if output is not None else folder / manifest.id
    made = _unchanged(made, place / "dossier.json")
    files = _write(made, place, data_rows(used), signer, judgement)
    told = made.to_dict() | {"files": {k: str(v) for k, v in files.items()}}
    if json_:
        print_json(plain(told))
    else:
        for part in parts or ("vv40",):
            _print(made, part)
        echo(f"{manifest.id} {manifest.version}: {made.sentence}")
        for name, path in files.items():
            echo(f"{name}: {path}")
    return 1 if made.is_stale or not all(r.met for r in made.runs) else 0


def _write(made: Dossier, place: Path, data: list[tuple[str, str, str]], signer: str | None, judgement: Path | None) -> dict[str, Path]:
    from gemel.core.errors import ViewError
    from gemel.evidence.card import card_of, card_view
    from gemel.evidence.checklist import checklists_view, read_row_judgements
    from gemel.evidence.dossier_view import dossier_view
    from gemel.web import render_html
    from gemel.web.pdf import render_pdf

    place.mkdir(parents=True, exist_ok=True)
    view = dossier_view(made, data=data)
    told = made.to_dict()
    files = {"dossier": place / "dossier.html", "pdf": place / "dossier.pdf", "json": place / "dossier.json", "card": place / "card.html", "checklists": place / "checklists.html"}  # fmt: skip
    atomic_write(files["json"], (json.dumps(plain(told), indent=1, sort_keys=True) + "\n").encode())
    atomic_write(files["dossier"], render_html(view).encode())
    atomic_write(files["card"], render_html(card_view(card_of(made))).encode())
    atomic_write(
        files["checklists"], render_html(checklists_view(made, read_row_judgements(judgement) if judgement is not None else ())).encode()
    )
    try:
        atomic_write(files["pdf"], render_pdf(view))
    except (ImportError, ViewError) as error:
        note(f"no PDF: {error}")
        del files["pdf"]
    if signer is not None:
        from gemel.platform.signing import sign, signing_key

        made_signature = sign(told["hash"], who=signer, meaning="author of this dossier", time=time.time_ns(), key=signing_key())
        files["signature"] = place / "dossier.sig.json"
        atomic_write(files["signature"], (made_signature.model_dump_json(indent=1) + "\n").encode())
    return files


def _unchanged(made: Dossier, path: Path) -> Dossier:
    """Return the dossier with the time of the stored one where nothing else differs: its hash and its signature go on to hold."""
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        then = replace(made, time=int(old["time"]))
        return then if then.to_dict()["hash"] == old["hash"] else made
    except (OSError, ValueError, KeyError, TypeError):
        return made


def _verify(twin: str, path: Path, json_: bool) -> int:
    """Check a stored dossier: its own hash, its signature, and whether the twin is still the one it speaks of."""
    from gemel.core.errors import FormatError
    from gemel.core.lineage import digest
    from gemel.core.time import iso
    from gemel.evidence.fingerprint import model_hash
    from gemel.platform.signing import read_signature, verify

    try:
        told = json.loads(existing(path).read_text(encoding="utf-8"))
        claimed = told.pop("hash")
    except (ValueError, KeyError, AttributeError) as error:
        raise FormatError("not a dossier", seen=path.name, expected="dossier.json as gemel evidence writes it") from error
    found: dict[str, Any] = {"hash": "holds" if digest(told) == claimed else "BROKEN: the file was edited", "twin": told.get("twin")}
    beside = path.with_name(path.name.replace(".json", ".sig.json"))
    if beside.exists():
        signature = read_signature(beside)
        why = verify(signature, claimed)
        found["signature"] = (
            f"BROKEN: {why}" if why else f"holds: {signature.who}, {iso(signature.time)}, key {signature.key[:16]}, {signature.meaning}"
        )
    else:
        found["signature"] = "none"
    is_current = twin.endswith(".toml") or (told.get("twin"), told.get("model_hash")) == (twin, model_hash(twin))
    found["state"] = "current" if is_current else "STALE: the twin is another now"
    if json_:
        print_json(found)
    else:
        for k, v in found.items():
            echo(f"{k}: {v}")
    return 1 if any(str(v).startswith(("BROKEN", "STALE")) for v in found.values()) else 0


def _print(made: Dossier, part: str) -> None:
    if part == "vv40":
        rows = [
            (g.factor.number, g.factor.name, g.to_dict()["gradation"], g.to_dict()["goal"], g.status, "yes" if g.is_adequate else "no", g.why) for g in made.factors
        ]  # fmt: skip
        print_table(
            "Credibility factors (gradations ours)", ("", "factor", "reached", "goal", "status", "adequate", "why"), rows, right=(0,)
        )
    elif part == "nasem":
        _print_rows(made.conformance)
    elif part == "runs":
        rows = [
            (r.study or r.kind, r.id, "stale" if made.stale.get(r.id) else "current", "met" if r.met else "MISSED", str(r.figures[0].shown_on), f"{r.seconds:.0f}")
            for r in made.runs
        ]  # fmt: skip
        print_table("Runs", ("study", "run", "state", "limits", "shown on", "CPU-s"), rows, right=(5,))
    elif part == "card":
        from gemel.evidence.card import card_of

        for entry in card_of(made).entries:
            echo(f"{entry.question}: {entry.label}: {entry.text}")
    else:
        from gemel.evidence.checklist import answer_all

        for answered in answer_all(made):
            echo(f"{answered.checklist.title}: {answered.sentence}")


def _print_rows(c: Any) -> None:
    rows = [(r.id, r.requirement.split(":")[0], r.status, str(r.shown_on or "-"), r.said, " ".join(r.runs)[:34]) for r in c.rows]
    print_table(f"{c.twin} {c.version}: {c.label}", ("", "requirement", "status", "shown on", "what was found", "runs"), rows)


@click.command()
@click.argument("twin", required=False)
@click.option("--run", "measure", is_flag=True, help="First measure what the rows need and is missing or stale.")
@click.option("--quick", is_flag=True, help="With --run: fewer people.")
@seed_option
@as_json
@common
def conformance(twin: str | None, measure: bool, quick: bool, seed: int, json_: bool) -> int:
    """Say of TWIN, or of every installed one, whether it is a twin by the definition of the National Academies: row by row, from stored runs.

    Nothing can be declared. Exit code 1: a twin does not earn the label.
    """
    from gemel.cli.evidence_files import evidence_folder, stored_runs
    from gemel.core.errors import GemelError
    from gemel.core.manifest import installed, manifest_of
    from gemel.evidence.fingerprint import model_hash
    from gemel.evidence.nasem import check_nasem
    from gemel.evidence.run import standing

    names = [twin] if twin else [name for name, m in installed().items() if not isinstance(m, GemelError)]
    folder = evidence_folder()
    if measure:
        use_engine()
        for name in names:
            needed = ["known-answers", "ranks", "loop", "surveillance"]
            _measure(name, folder, only=needed, quick=quick, seed=seed, force=False, external=(), say=note)
    found = []
    for name in names:
        manifest = manifest_of(name)
        runs = stored_runs(folder, name)
        model = model_hash(name)
        found.append((check_nasem(manifest, standing(runs, twin=name, model_hash=model), model), bool(runs)))
    if json_:
        print_json({"twins": [c.to_dict() for c, _ in found]})
    else:
        for c, measured in found:
            if measured:
                _print_rows(c)
            else:
                echo(f"{c.twin} {c.version}: nothing was measured yet; gemel evidence {c.twin}")
        if len(found) > 1:
            print_table("", ("twin", "version", "label"), [(c.twin, c.version, c.label if m else "not measured") for c, m in found])
    return 0 if all(c.is_twin for c, _ in found) else 1
