"""One version of a model for change control: its manifest, the hash of its code and its named parameters; and what differs between two."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from gemel.core.errors import FormatError, ManifestError
from gemel.core.lineage import digest
from gemel.core.manifest import TwinManifest, installed, load_manifest, manifest_of

__all__ = ["Change", "Snapshot", "changes_between", "read_snapshot"]

_INTENDED = ("question", "context_of_use", "not_for")
_CODE = (".py", ".csv", ".json", ".npz", ".onnx", ".safetensors", ".bin", ".txt")


@dataclass(frozen=True)
class Snapshot:
    """One version of a model.

    Parameters
    ----------
    manifest : its ``twin.toml``.
    model_hash : of everything that computes; empty when only the manifest was given.
    parameters : named constants, from ``release.json`` beside the manifest.
    """

    manifest: TwinManifest
    model_hash: str = ""
    parameters: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Id and version."""
        return f"{self.manifest.id} {self.manifest.version}"


@dataclass(frozen=True)
class Change:
    """One difference: its type (those of a plan, or *intended use*), where, from what to what, and how large (relative), if it has a size."""

    type: str
    where: str
    old: str
    new: str
    size: float | None = None


def _hash_of(files: dict[str, bytes]) -> str:
    told = {name: hashlib.sha256(body).hexdigest() for name, body in files.items() if name.endswith(_CODE) and name != "release.json"}
    return digest(told)[:32] if told else ""


def _pick(tables: dict[str, TwinManifest], twin: str | None, where: str) -> TwinManifest:
    if twin is None and len(tables) == 1:
        return next(iter(tables.values()))
    if twin is None or twin not in tables:
        raise ManifestError(
            f"{where} registers more than one twin, or another", seen=sorted(tables), expected=twin or "one", fix="name it: --twin ID"
        )
    return tables[twin]


def _parameters(folder: Path) -> dict[str, float]:
    path = folder / "release.json"
    if not path.is_file():
        return {}
    try:
        return {str(k): float(v) for k, v in json.loads(path.read_text(encoding="utf-8")).get("parameters", {}).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise FormatError(
            "release.json holds no table of parameters", seen=type(error).__name__, expected='"parameters": {"name": number}'
        ) from error


def _from_folder(folder: Path, twin: str | None, *, deep: bool = True) -> Snapshot:
    places = sorted(folder.rglob("*") if deep else folder.iterdir())
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in places if p.is_file() and "__pycache__" not in p.parts}
    return Snapshot(_pick(load_manifest(folder / "twin.toml"), twin, "twin.toml"), _hash_of(files), _parameters(folder))


def _from_wheel(path: Path, twin: str | None) -> Snapshot:
    with zipfile.ZipFile(path) as archive, TemporaryDirectory() as room:
        names = [PurePosixPath(n) for n in archive.namelist() if PurePosixPath(n).name == "twin.toml"]
        found: list[Snapshot] = []
        for name in names:
            inside = Path(room) / str(len(found))
            for member in archive.namelist():
                place = PurePosixPath(member)
                if not member.endswith("/") and place.is_relative_to(name.parent) and ".." not in place.parts:
                    to = inside / place.relative_to(name.parent)
                    to.parent.mkdir(parents=True, exist_ok=True)
                    to.write_bytes(archive.read(member))
            tables = load_manifest(inside / "twin.toml")
            if twin is None or twin in tables:
                found.append(_from_folder(inside, twin))
    if len(found) != 1:
        raise ManifestError(f"{path.name} holds {len(found)} manifests that fit", expected="one", fix="name the twin: --twin ID")
    return found[0]


def read_snapshot(source: str, *, twin: str | None = None) -> Snapshot:
    """Read one version from a ``twin.toml``, the folder of a package, a wheel, or the id of an installed twin.

    The hash of a folder or wheel covers its Python and data files byte by byte, that of a ``twin.toml`` those beside it; that of an installed twin is :func:`gemel.evidence.fingerprint.model_hash`: compare
    two of one kind. A ``twin.toml`` that lies alone has none.

    Parameters
    ----------
    twin : id, where a manifest registers several.

    Raises
    ------
    ManifestError, FormatError
        When nothing of that name is there, or it cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        return _from_folder(path, twin)
    if path.suffix == ".whl" and path.is_file():
        try:
            return _from_wheel(path, twin)
        except zipfile.BadZipFile as error:
            raise FormatError(f"{path.name} is no wheel", seen="not a zip file") from error
    if path.is_file():
        manifest = _pick(load_manifest(path), twin, path.name)
        return _from_folder(path.parent, manifest.id, deep=False) if path.name == "twin.toml" else Snapshot(manifest)
    if source in installed():
        from gemel.evidence.fingerprint import model_hash

        return Snapshot(manifest_of(source), model_hash(source))
    raise ManifestError(
        f"no version of a model at {source!r}", expected="a twin.toml, a folder with one, a wheel, or the id of an installed twin", fix="gemel twins lists the installed ones"
    )  # fmt: skip


def _text(value: Any) -> str:
    return str(value)[:120]


def _by_name(items: Any) -> dict[str, Any]:
    return {item.name: item for item in items}


def _widening(old: tuple[float, float] | None, new: tuple[float, float] | None) -> float:
    """Return by how much of its width a range grew on either side; 0 when it shrank, infinite when it was opened."""
    if old is None or new is None:
        return 0.0 if old == new or old is None else float("inf")
    width = old[1] - old[0]
    grown = max(old[0] - new[0], 0.0) + max(new[1] - old[1], 0.0)
    return grown / width if width > 0 else (float("inf") if grown else 0.0)


def _of_variables(kind: str, old: Any, new: Any) -> list[Change]:
    a, b, found = _by_name(old), _by_name(new), []
    for name in sorted(set(a) | set(b)):
        if name not in a or name not in b:
            found.append(Change(kind, name, "there" if name in a else "not there", "there" if name in b else "not there"))
            continue
        left, right = (x.model_dump(exclude={"domain", "description"}) for x in (a[name], b[name]))
        if left != right:
            found.append(Change(kind, name, _text(left), _text(right)))
        if a[name].domain != b[name].domain:
            found.append(Change("domain", name, _text(a[name].domain), _text(b[name].domain), _widening(a[name].domain, b[name].domain)))
        if getattr(a[name], "description", "") != getattr(b[name], "description", ""):
            found.append(Change("documentation", name, _text(a[name].description), _text(b[name].description)))
    return found


def changes_between(old: Snapshot, new: Snapshot) -> tuple[Change, ...]:
    """Return everything that differs between two versions, but their numbers.

    Question, context of use and what it is not for are the *intended use*. Where neither hash is known and the version differs, the model is taken as changed.
    """
    a, b = old.manifest, new.manifest
    found = [
        Change("intended use", name, _text(getattr(a, name)), _text(getattr(b, name)))
        for name in _INTENDED
        if getattr(a, name) != getattr(b, name)
    ]
    if a.id != b.id:
        found.append(Change("intended use", "id", a.id, b.id))
    found += _of_variables("inputs", a.inputs, b.inputs) + _of_variables("outputs", a.outputs, b.outputs)
    found += _of_variables("ports", a.exports, b.exports) + _of_variables("ports", a.imports, b.imports)
    for name in sorted(set(a.domain) | set(b.domain)):
        if a.domain.get(name) != b.domain.get(name):
            found.append(
                Change(
                    "domain", name, _text(a.domain.get(name)), _text(b.domain.get(name)), _widening(a.domain.get(name), b.domain.get(name))
                )
            )
    found += [
        Change("documentation", n, _text(getattr(a, n)), _text(getattr(b, n)))
        for n in ("title", "sources", "thin")
        if getattr(a, n) != getattr(b, n)
    ]
    for name in sorted(set(old.parameters) | set(new.parameters)):
        was, now = old.parameters.get(name), new.parameters.get(name)
        if was != now:
            size = abs(now - was) / abs(was) if was is not None and now is not None and was != 0 else float("inf")
            found.append(Change("parameters", name, _text(was), _text(now), size))
    unknown = not (old.model_hash and new.model_hash)
    if old.model_hash != new.model_hash or (unknown and a.version != b.version and not old.parameters):
        found.append(
            Change(
                "model",
                "code or data" if not unknown else "taken as changed: no code was given",
                old.model_hash or "unknown",
                new.model_hash or "unknown",
            )
        )
    return tuple(found)
