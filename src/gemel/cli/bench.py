"""``gemel bench``: the benchmarks of a checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from gemel.cli.options import Missing, as_json, common
from gemel.cli.output import echo, note, print_json

__all__ = ["bench"]


def _folder() -> Path:
    import gemel

    for place in (Path(gemel.__file__).parents[2], Path.cwd()):
        if (place / "benchmarks").is_dir() and (place / "pyproject.toml").is_file():
            return place / "benchmarks"
    raise Missing("benchmarks are part of a checkout, not of the installed package: run this in a clone of the repository")


@click.command()
@click.argument("name", required=False)
@click.argument("arguments", nargs=-1)
@as_json
@common
def bench(name: str | None, arguments: tuple[str, ...], json_: bool) -> int:
    """Run benchmarks/NAME.py, or where there is none NAME*.py, with ARGUMENTS (`-` is read as `_`); without NAME, list them."""
    folder = _folder()
    stem = (name or "").replace("-", "_")
    if "/" in stem or "\\" in stem or "*" in stem or stem.startswith((".", "_")):
        raise click.UsageError(f"{name!r} is not the name of a benchmark")
    exact = folder / f"{stem}.py"
    found = [exact] if stem and exact.is_file() else sorted(p for p in folder.glob(f"{stem}*.py") if not p.name.startswith("_"))
    if not found and name is not None:
        raise Missing(f"no benchmark is called {name!r}; gemel bench lists them")
    if name is None:
        if json_:
            print_json({"benchmarks": [p.stem for p in found]})
        else:
            echo("\n".join(p.stem for p in found))
        return 0
    codes = []
    for script in found:
        note(f"running {script.name}")
        codes.append(subprocess.run([sys.executable, str(script), *arguments], cwd=folder.parent, check=False).returncode)
    if json_:
        print_json({"benchmarks": [{"name": p.stem, "exit_code": code} for p, code in zip(found, codes, strict=True)]})
    return 1 if any(codes) else 0
