"""What a piece of evidence was made with: hashes of code, told without running it.

The hash of a module covers the syntax tree (no comments, no docstrings, no layout) of every file of Gemel, or of the plug-in's own package, that it
imports, directly or not. So a changed constant, equation, method or solver makes evidence stale, and a changed sentence does not. No JAX is needed.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from gemel.core.errors import ManifestError
from gemel.core.lineage import digest
from gemel.core.manifest import entry_point, manifest_of, package_dir

__all__ = ["closure", "code_hash", "model_hash"]

_SHOWN = ("report", "_report", "evidence", "_evidence")
"""Files of a room that say or measure what its model does, but are not the model."""
_VIEWS = ("gemel.core.view", "gemel.core.errors", "gemel.verbs", "gemel.evidence.fingerprint", "gemel.evidence.run")
"""What shows, names and keeps figures, and changes none."""
_OWN_FILES = (".toml", ".csv", ".json", ".npz")


@lru_cache(maxsize=4096)
def _where(name: str) -> Path | None:
    """Return the file of a module without importing its parents."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for place in spec.submodule_search_locations or ():
        path = Path(place).joinpath(*rest)
        for found in (path / "__init__.py", path.with_suffix(".py")):
            if found.is_file():
                return found
    return None


def _bare(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body
            kept = [
                s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) and isinstance(s.value.value, str))
            ]
            node.body = kept or [ast.Pass()]
    return tree


@lru_cache(maxsize=4096)
def _parsed(path: Path, changed: int) -> tuple[str, tuple[tuple[int, str, tuple[str, ...]], ...]]:  # noqa: ARG001  part of the key
    """Return the hash of a file's syntax and what it imports: (level, module, names)."""
    tree = ast.parse(path.read_bytes())
    wanted: list[tuple[int, str, tuple[str, ...]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            wanted.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
    return hashlib.sha256(ast.dump(_bare(tree)).encode()).hexdigest(), tuple(wanted)


def _read(path: Path) -> tuple[str, tuple[tuple[int, str, tuple[str, ...]], ...]]:
    return _parsed(path, path.stat().st_mtime_ns)


def _imports(name: str, path: Path) -> Iterable[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for level, module, names in _read(path)[1]:
        base = (
            module if level == 0 else ".".join([*package.split(".")[: len(package.split(".")) - level + 1], *([module] if module else [])])
        )
        yield base
        for each in names:
            yield f"{base}.{each}"


def closure(modules: Iterable[str]) -> dict[str, str]:
    """Return the hash of the syntax of every module that these import, by name: of Gemel, and of the packages they themselves lie in.

    Left out: views, errors, the package's front door and the keeping of runs, which change no number.
    """
    waiting = list(modules)
    tops = {"gemel"} | {m.partition(".")[0] for m in waiting}
    found: dict[str, str] = {}
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        path = _where(name)
        if path is None or name == "gemel":
            continue
        found[name] = _read(path)[0]
        for other in _imports(name, path):
            if other in seen or other.partition(".")[0] not in tops or other.startswith(_VIEWS):
                continue
            seen.add(other)
            waiting.append(other)
    return dict(sorted(found.items()))


def code_hash(*modules: str) -> str:
    """Return one hash of these modules and everything of ours that they import.

    Examples
    --------
    >>> code_hash("gemel.core.units") == code_hash("gemel.core.units") != code_hash("gemel.core.time")
    True
    """
    return digest(closure(modules))[:32]


def model_hash(twin: str) -> str:
    """Return the hash of an installed twin: its table in ``twin.toml``, its data files, its code and all code below that it uses.

    The room's reports and evidence are left out: they show and measure the model, and do not change it.

    Raises
    ------
    TwinNotFoundError
        When no twin of that id is installed.
    ManifestError
        When its package cannot be found.
    """
    point = entry_point(twin)
    folder = package_dir(point)
    package = point.module if (_where(point.module) or Path()).name == "__init__.py" else point.module.rpartition(".")[0]
    names = [
        package if p.stem == "__init__" else f"{package}.{p.stem}" for p in sorted(folder.glob("*.py")) if not p.stem.startswith(_SHOWN)
    ]
    if not names:
        raise ManifestError(f"the package of twin {twin!r} has no Python files", seen=point.module)
    data = [
        [p.name, hashlib.sha256(p.read_bytes()).hexdigest()]
        for p in sorted(folder.iterdir())
        if p.suffix in _OWN_FILES and p.name not in ("twin.toml", "trace.toml", "pccp.toml")
    ]
    return digest([manifest_of(twin).model_dump(mode="json", exclude={"max_compilations", "risk", "thin"}), data, code_hash(*names)])[:32]
