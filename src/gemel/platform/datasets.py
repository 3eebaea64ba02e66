"""Public data sets by name: where they lie, where they come from, and whether a file is the listed one.

A data set is looked for in ``$GEMEL_DATA``, then in the user's cache, then at its publisher (or the origin repository at a
pinned commit). Whatever is found is checked by its hash; a file of another hash is an error, never used and never kept.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import shutil
import tempfile
import tomllib
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files as package_files
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from gemel.core.errors import DatasetError

__all__ = ["UNLISTED", "Dataset", "DatasetFile", "available", "listing", "resolve", "verify"]

ENVIRONMENT = "GEMEL_DATA"
UNLISTED = "here, without a listed hash"
"""State of a set that only its publisher gives."""
_TIMEOUT_S = 60.0
_MAX_BYTES = 1 << 30
Download = Callable[[str], bytes]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetFile(_Frozen):
    """One file: its place below the data folder, the hash of our copy, and where it can be had.

    ``origin_sha256`` is the hash at ``url`` where the origin holds the same content packed otherwise.
    """

    path: str
    sha256: str
    url: str = ""
    origin_sha256: str = ""


class Dataset(_Frozen):
    """One public data set.

    Parameters
    ----------
    name : how it is called here.
    title, version, licence, citation, doi, url : what it is and whose; ``licence`` is an SPDX identifier where there is one.
    validates : what it is used for.
    format : importer in :data:`gemel.interop.wearables.FORMATS`, or empty.
    main : the file or folder that :func:`resolve` returns, below the data folder.
    files : with hashes. Empty for a set that nobody may pass on and whose files we have not seen: its user puts it into the folder ``main`` below
        ``$GEMEL_DATA``, nothing is fetched and no hash is checked.
    """

    name: str
    title: str
    version: str
    licence: str
    citation: str
    url: str
    validates: str
    files: tuple[DatasetFile, ...]
    main: str
    doi: str = ""
    format: str = ""
    note: str = ""


@lru_cache(maxsize=1)
def _table() -> dict[str, Dataset]:
    raw = tomllib.loads(package_files("gemel.platform").joinpath("datasets.toml").read_text(encoding="utf-8"))
    return {entry["name"]: Dataset.model_validate(entry) for entry in raw["dataset"]}


def listing() -> tuple[Dataset, ...]:
    """List every data set, in the order of the table.

    Examples
    --------
    >>> [d.name for d in listing()][:3]
    ['uva-padova', 'shanghai', 'd1namo']
    """
    return tuple(_table().values())


def _dataset(name: str) -> Dataset:
    if name not in _table():
        raise DatasetError(f"no data set {name!r} is listed", expected=f"one of {', '.join(_table())}", fix="gemel data list")
    return _table()[name]


def _roots(environ: Mapping[str, str]) -> list[tuple[str, Path]]:
    roots = [(f"${ENVIRONMENT}", Path(environ[ENVIRONMENT]).expanduser())] if environ.get(ENVIRONMENT) else []
    return [*roots, ("the cache", _cache(environ))]


def _cache(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(environ.get("HOME") or Path.home()) / ".cache") / "gemel" / "data"


@lru_cache(maxsize=512)
def _hashes(path: str, _stamp: tuple[int, int]) -> tuple[str, str]:
    raw = Path(path).read_bytes()
    return hashlib.sha256(raw).hexdigest(), _unpacked_hash(path, raw)


def _unpacked_hash(name: str, raw: bytes) -> str:
    if not name.endswith(".gz"):
        return ""
    try:
        return hashlib.sha256(gzip.decompress(raw)).hexdigest()
    except (OSError, EOFError, zlib.error):
        return ""


def _fault(file: DatasetFile, root: Path) -> str:
    """Empty when the file is the listed one; else what is wrong with it."""
    path = root / file.path
    if not path.is_file():
        return "missing"
    try:
        stat = path.stat()
        found = _hashes(str(path.resolve()), (stat.st_mtime_ns, stat.st_size))
    except OSError as error:
        return f"unreadable ({type(error).__name__})"
    return (
        ""
        if {file.sha256, file.origin_sha256 or file.sha256}.intersection(found)
        else f"another hash ({found[0][:12]}..., listed {file.sha256[:12]}...)"
    )


def _faults(dataset: Dataset, root: Path) -> dict[str, str]:
    """What is wrong with the files of a data set below one root; empty when nothing is."""
    if dataset.files:
        return {file.path: fault for file in dataset.files if (fault := _fault(file, root))}
    place = root / dataset.main
    return {} if place.is_file() or (place.is_dir() and any(place.iterdir())) else {dataset.main: "missing"}


def verify(name: str, *, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Check every file of a data set where it was found first.

    Returns
    -------
    path below the data folder -> ``ok``, ``missing`` or what else is wrong. Nothing is downloaded. A set without listed files is never ``ok``: there
    is no hash to say so.

    Raises
    ------
    DatasetError
        When no data set of that name is listed.
    """
    dataset = _dataset(name)
    environ = os.environ if environ is None else environ
    roots = [root for _, root in _roots(environ)]
    if not dataset.files:
        here = any(not _faults(dataset, root) for root in roots)
        return {dataset.main: UNLISTED if here else "missing"}
    root = next((r for r in roots if any((r / file.path).exists() for file in dataset.files)), roots[-1])
    return {file.path: _fault(file, root) or "ok" for file in dataset.files}


def available(name: str, *, environ: Mapping[str, str] | None = None) -> bool:
    """Say whether a data set lies here, complete and unchanged. Nothing is downloaded."""
    dataset = _dataset(name)
    return any(not _faults(dataset, root) for _, root in _roots(os.environ if environ is None else environ))


def _fetch(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "gemel"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        raw = response.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise OSError("larger than any listed file")
    return raw


def _advice(dataset: Dataset, file: DatasetFile) -> str:
    note = f" {dataset.note}" if dataset.note else ""
    return f"put the files of {dataset.title} ({dataset.url}) below ${ENVIRONMENT} as {file.path}.{note}"


def _download(dataset: Dataset, cache: Path, tried: list[str], fetch: Download) -> None:
    for file in dataset.files:
        if not file.url and _fault(file, cache):
            tried.append("download: no public file has this content")
            raise DatasetError(
                f"data set {dataset.name!r} cannot be had", seen="; ".join(tried), expected=file.path, fix=_advice(dataset, file)
            )
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        staging = Path(tempfile.mkdtemp(prefix=".gemel-", dir=cache))
    except OSError as error:
        raise DatasetError(
            f"data set {dataset.name!r} cannot be kept",
            seen=f"{'; '.join(tried)}; cache: {type(error).__name__}",
            expected=f"a writable {cache}",
            fix=f"set XDG_CACHE_HOME to a writable folder, or {ENVIRONMENT} to a folder that holds the data",
        ) from error
    try:
        for file in dataset.files:
            if not _fault(file, cache):
                continue
            try:
                raw = fetch(file.url)
            except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError) as error:
                tried.append(f"download {file.url}: {error}")
                raise DatasetError(
                    f"data set {dataset.name!r} cannot be had", seen="; ".join(tried), expected=file.path, fix=_advice(dataset, file)
                ) from error
            found = hashlib.sha256(raw).hexdigest()
            if found not in {file.sha256, file.origin_sha256}:
                raise DatasetError(
                    f"the download of {file.path} is not the listed file; nothing was kept",
                    seen=f"sha256 {found} at {file.url}",
                    expected=f"sha256 {file.origin_sha256 or file.sha256}",
                    fix="the origin has changed: " + _advice(dataset, file),
                )
            place = staging / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            packed = raw if found == file.sha256 or not file.path.endswith(".gz") else gzip.compress(raw, mtime=0)
            place.write_bytes(packed)
        for file in dataset.files:
            if (staging / file.path).exists():
                (cache / file.path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staging / file.path, cache / file.path)
    except OSError as error:
        raise DatasetError(
            f"data set {dataset.name!r} cannot be kept",
            seen=f"{type(error).__name__} in {cache}",
            expected="space and permission",
            fix="free space",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def resolve(name: str, *, environ: Mapping[str, str] | None = None, download: bool = True, fetch: Download | None = None) -> Path:
    """Find a data set; fetch it when it is not here.

    Parameters
    ----------
    name : as in :func:`listing`.
    environ : where ``GEMEL_DATA``, ``XDG_CACHE_HOME`` and ``HOME`` are read; the process's own when left out.
    download : whether the network may be used.
    fetch : URL -> bytes; ``urllib`` with a timeout when left out.

    Returns
    -------
    The data set's main file, or its folder when it has several.

    Raises
    ------
    DatasetError
        With all that was tried and what to do; or when a file has another hash than the listed one.
    """
    dataset = _dataset(name)
    environ = os.environ if environ is None else environ
    tried = []
    for label, root in _roots(environ):
        faults = _faults(dataset, root)
        if not faults:
            return root / dataset.main
        changed = {path: fault for path, fault in faults.items() if fault != "missing"}
        if changed:
            path, fault = next(iter(changed.items()))
            raise DatasetError(
                f"a file of data set {name!r} is not the listed one",
                seen=f"{path} in {label} ({root}): {fault}",
                expected="the listed sha256",
                fix="replace it by the original, or give your own data a path of its own",
            )
        tried.append(f"{label} ({root}): {len(faults)} of {max(len(dataset.files), 1)} file(s) missing")
    if not environ.get(ENVIRONMENT):
        tried.insert(0, f"${ENVIRONMENT} is not set")
    if not dataset.files:
        raise DatasetError(
            f"data set {name!r} is not here, and only its publisher gives it",
            seen="; ".join(tried),
            expected=dataset.main,
            fix=f"get {dataset.title} from {dataset.url} and put it into {dataset.main} below ${ENVIRONMENT}. {dataset.note}".strip(),
        )
    if not download:
        raise DatasetError(
            f"data set {name!r} is not here",
            seen="; ".join(tried),
            expected=dataset.main,
            fix=f"gemel data fetch {name}, or {_advice(dataset, dataset.files[0])}",
        )
    cache = _cache(environ)
    _download(dataset, cache, tried, fetch or _fetch)
    return cache / dataset.main
