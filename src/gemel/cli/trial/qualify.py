"""``gemel trial qualify``: does this installation give published numbers again?"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from gemel.cli.options import FilePath, as_json, common
from gemel.cli.output import echo, note, plain, print_json, print_table
from gemel.cli.progress import Bar
from gemel.cli.trial._sealed import seal

__all__ = ["environment", "qualify"]

PACKAGES = ("numpy", "scipy", "pydantic", "jaxtyping", "cryptography", "typst")
GROUPS = ("mixed model", "g-computation", "CDISC pilot", "ACTG 175", "group-sequential", "sample size", "survival", "installation")


def environment() -> dict[str, str]:
    """Return versions, platform and a hash over the source files of the package that is running."""
    import gemel

    root = Path(gemel.__file__).parent
    sink = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        sink.update(path.relative_to(root).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    found = {
        "gemel": gemel.__version__,
        "hash of its source files": sink.hexdigest(),
        "Python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
    }
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@click.command("qualify")
@click.option("-o", "--output", type=FilePath, default=Path("gemel-qualification"), show_default=True, help="Folder for the report.")
@click.option("--only", multiple=True, type=click.Choice(GROUPS), help="One group of numbers; several times for several.")
@click.option("--download", is_flag=True, help="Fetch data sets that are not here; left out, their numbers are not run.")
@click.option("--who", metavar="NAME", default="", help="Who does this: stands in the trail.")
@click.option("--sign", "signer", metavar="NAME", help="Sign the report with this user's key, under this name.")
@as_json
@common
def qualify(output: Path, only: tuple[str, ...], download: bool, who: str, signer: str | None, json_: bool) -> int:
    """Run the installation and operation qualification on this machine: SAS, RobinCar2, CDISC and other printed numbers, each with its tolerance.

    Writes HTML, PDF and JSON with a manifest and a trail; gemel trial report --verify checks them. Exit code 1: a number fails.
    """
    from gemel.core.errors import ViewError
    from gemel.core.time import iso
    from gemel.platform import datasets
    from gemel.trials.qualify import qualification_view
    from gemel.trials.qualify import qualify as qualify_
    from gemel.web import render_html
    from gemel.web.pdf import render_pdf

    environ, done = dict(os.environ), 0
    with Bar() as bar:
        bar.start("qualification", len(only or GROUPS))

        def told(group: str, _count: int) -> None:
            nonlocal done
            done += 1
            bar.update(done, group)

        judged = qualify_(lambda name: datasets.resolve(name, environ=environ, download=download), groups=only, told=told)
    here = environment()
    view = qualification_view(judged, environment=here, created=iso(time.time_ns() // 10**9 * 10**9))
    rows = [
        {"group": j.known.group, "number": j.known.name, "expected": j.known.value, "found": j.found, "tolerance": j.known.tolerance, "status": j.status, "source": j.known.source, "reason": j.reason}
        for j in judged
    ]  # fmt: skip
    counts = {s: sum(j.status == s for j in judged) for s in ("pass", "FAIL", "not run")}
    told_ = {"environment": here, "counts": counts, "rows": rows}
    files = {
        "qualification.json": (json.dumps(plain(told_), indent=1, ensure_ascii=False) + "\n").encode(),
        "qualification.html": render_html(view).encode(),
    }
    try:
        files["qualification.pdf"] = render_pdf(view)
    except (ImportError, ViewError) as error:
        note(f"no PDF: {error}")
    made = seal(output, files, who=who, what="qualification", inputs={}, signer=signer, meaning="author of this qualification")
    if json_:
        print_json(told_ | {"files": {k: str(v) for k, v in made.items()}})
    else:
        _print(rows, counts)
        for name, path in made.items():
            echo(f"{name}: {path}")
    return 1 if counts["FAIL"] else 0


def _print(rows: list[dict[str, Any]], counts: dict[str, int]) -> None:
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in rows:
        groups.setdefault(r["group"], []).append(r)
    lines = []
    for name, members in groups.items():
        by = [sum(r["status"] == s for r in members) for s in ("pass", "FAIL", "not run")]
        reason = next((r["reason"] for r in members if r["reason"]), "")
        lines.append((name, *by, reason))
    print_table("", ("numbers", "pass", "fail", "not run", "why"), lines, right=(1, 2, 3))
    for r in rows:
        if r["status"] == "FAIL":
            echo(f"FAIL {r['group']}: {r['number']}: expected {r['expected']:.10g} within {r['tolerance']:.2g}, found {r['found']}")
    echo(f"{counts['pass']} pass, {counts['FAIL']} fail, {counts['not run']} not run")
