"""What every importer shares: the report, the layout, and the files it is given."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from pydantic import BaseModel, ConfigDict, Field

from gemel.core import PatientRecord
from gemel.core.errors import DataError, FormatError
from gemel.interop.archives import UNREADABLE

__all__ = ["ImportReport", "Layout", "Notes", "Options", "Repair", "Source", "collect", "count_facts"]

_MAX_BYTES = 1 << 30  # of one file after unpacking: a year of 1-min readings is 30 MB; more is not a person's file


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Repair(_Frozen):
    """One kind of thing that was put right, how often, and where it was first seen."""

    what: str
    count: int = Field(ge=1)
    example: int | None = Field(default=None, description="number of the first row concerned, the header being row 1")


class ImportReport(_Frozen):
    """What became of a file: nothing is dropped, changed or guessed without standing here.

    Parameters
    ----------
    source : name of the file, or of the layout where file names can hold a person's name.
    format : layout it was read as.
    rows : rows of data seen.
    facts : how many facts of each code the record holds.
    repairs : what was put right.
    ignored : what was left out because it is not used, with counts.
    unparsed : what could not be understood, with counts.
    warnings : what a person should look at.
    gaps, longest_gap_min : breaks in the glucose readings of more than three sampling intervals.
    """

    source: str
    format: str
    rows: int = 0
    facts: dict[str, int] = Field(default_factory=dict)
    repairs: tuple[Repair, ...] = ()
    ignored: tuple[str, ...] = ()
    unparsed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    gaps: int = 0
    longest_gap_min: float = 0.0

    def to_text(self) -> str:
        """Write the report for a person.

        Examples
        --------
        >>> print(ImportReport(source="a.csv", format="generic", rows=2, facts={"loinc:99504-3": 2}).to_text())
        a.csv: read as generic, 2 rows
          loinc:99504-3: 2
        """
        lines = [f"{self.source}: read as {self.format}, {self.rows} rows", *(f"  {code}: {count}" for code, count in self.facts.items())]
        if self.gaps:
            lines.append(f"  gaps in glucose: {self.gaps}, longest {self.longest_gap_min:.0f} min")
        for repair in self.repairs:
            where = f", first in row {repair.example}" if repair.example is not None else ""
            lines.append(f"  repaired: {repair.what} ({repair.count}{where})")
        for title, entries in (("ignored", self.ignored), ("not understood", self.unparsed), ("warning", self.warnings)):
            lines += [f"  {title}: {entry}" for entry in entries]
        return "\n".join(lines)


def count_facts(record: PatientRecord) -> dict[str, int]:
    """Count the facts of a record by code."""
    facts: dict[str, int] = {}
    for series in record.series:
        facts[str(series.code)] = facts.get(str(series.code), 0) + len(series)
    for fact in (*record.exposures, *record.findings):
        facts[str(fact.code)] = facts.get(str(fact.code), 0) + 1
    return facts


@dataclass
class Notes:
    """Gathers what happens while one person's file is read; becomes the report."""

    source: str
    format: str
    rows: int = 0
    repairs: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    unparsed: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    gaps: int = 0
    longest_gap_min: float = 0.0

    def repair(self, what: str, count: int, example: int | None = None) -> None:
        """Note that something was put right; no count, no note."""
        if count:
            before, first = self.repairs.get(what, (0, example))
            self.repairs[what] = (before + int(count), first)

    def ignore(self, what: str, count: int = 1) -> None:
        """Note that something was left out on purpose."""
        if count:
            self.ignored[what] = self.ignored.get(what, 0) + int(count)

    def unclear(self, what: str, count: int = 1) -> None:
        """Note that something was not understood."""
        if count:
            self.unparsed[what] = self.unparsed.get(what, 0) + int(count)

    def warn(self, text: str) -> None:
        """Note something to look at, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def report(self, record: PatientRecord) -> ImportReport:
        """Freeze into the report of this record."""
        return ImportReport(
            source=self.source,
            format=self.format,
            rows=self.rows,
            facts=count_facts(record),
            repairs=tuple(Repair(what=what, count=count, example=first) for what, (count, first) in self.repairs.items()),
            ignored=tuple(f"{what} ({count})" for what, count in self.ignored.items()),
            unparsed=tuple(f"{what} ({count})" for what, count in self.unparsed.items()),
            warnings=tuple(self.warnings),
            gaps=self.gaps,
            longest_gap_min=self.longest_gap_min,
        )


@dataclass(frozen=True)
class Options:
    """What the caller asked for."""

    tz: str | None = None
    id: str | None = None
    merge_boluses: bool = False


@dataclass(frozen=True)
class Source:
    """One file, on disk or inside a zip; bytes are read when asked for, or streamed where a file can be larger than memory."""

    name: str
    read: Callable[[], bytes]
    open: Callable[[], IO[bytes]] | None = None

    def stream(self) -> IO[bytes]:
        """Open the unpacked bytes for reading from their start, without a limit of their own."""
        return io.BytesIO(self.read()) if self.open is None else self.open()

    def head(self, count: int) -> bytes:
        """Return the first bytes, without reading the rest.

        Raises
        ------
        FormatError
            When they cannot be unpacked.
        """
        try:
            with self.stream() as stream:
                return stream.read(count)
        except UNREADABLE as error:
            raise FormatError(
                f"{self.base} cannot be unpacked", seen=type(error).__name__, fix="fetch the file again, or unpack it first"
            ) from error

    @property
    def stem(self) -> str:
        """File name without folders and endings."""
        name = self.name.rsplit("/", 1)[-1]
        for ending in (".gz", ".csv", ".tsv", ".txt", ".xls", ".xlsx", ".json", ".ndjson", ".xml"):
            if name.lower().endswith(ending):
                name = name[: -len(ending)]
        return name

    @property
    def base(self) -> str:
        """File name without folders."""
        return self.name.rsplit("/", 1)[-1]


Parsed = list[tuple[PatientRecord, ImportReport]]


@dataclass(frozen=True)
class Layout:
    """One file layout: how it is recognised and read.

    ``sniff`` gets the file's name and its first 64 KiB; ``parse`` all files of this layout that were found together.
    """

    name: str
    title: str
    sniff: Callable[[str, bytes], bool]
    parse: Callable[[Sequence[Source], Options], Parsed]


def _checked(name: str, data: bytes) -> bytes:
    if len(data) > _MAX_BYTES:
        raise FormatError(
            f"{name} is too large",
            seen=f"more than {_MAX_BYTES >> 20} MiB unpacked",
            expected="one person's or one study's table",
            fix="split the file",
        )
    return data


def _gunzip(name: str, raw: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
            return _checked(name, stream.read(_MAX_BYTES + 1))
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{name} cannot be unpacked", seen="a damaged gzip file", fix="fetch the file again") from error


def _skip(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _zip_sources(name: str, raw: bytes) -> list[Source]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(raw))
        members = [m for m in archive.infolist() if not m.is_dir() and not _skip(m.filename)]
    except zipfile.BadZipFile as error:
        raise FormatError(f"{name} cannot be unpacked", seen="a damaged zip file", fix="fetch the file again") from error

    def reader(member: zipfile.ZipInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            if member.file_size > _MAX_BYTES:
                raise FormatError(
                    f"{member.filename} in {name} is too large",
                    seen=f"{member.file_size} bytes",
                    expected=f"at most {_MAX_BYTES}",
                    fix="split the file",
                )
            try:
                raw_member = archive.read(member)
            except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:
                raise FormatError(
                    f"{member.filename} in {name} cannot be unpacked",
                    seen=type(error).__name__,
                    fix="fetch the file again, or unpack it first",
                ) from error
            return _gunzip(member.filename, raw_member) if member.filename.endswith(".gz") else raw_member

        return read

    def opener(member: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
        return lambda: cast(IO[bytes], gzip.open(archive.open(member))) if member.filename.endswith(".gz") else archive.open(member)

    return [Source(m.filename, reader(m), opener(m)) for m in sorted(members, key=lambda m: m.filename)]


def _file_sources(path: Path, name: str) -> list[Source]:
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
        if head.startswith(b"PK\x03\x04") and path.suffix.lower() != ".xlsx":
            return _zip_sources(name, path.read_bytes())
    except OSError as error:
        raise DataError(
            f"cannot open {name}", seen=type(error).__name__, expected="a readable file", fix="check path and permissions"
        ) from error
    if head.startswith(b"\x1f\x8b"):
        return [Source(name, lambda: _gunzip(name, path.read_bytes()), lambda: cast(IO[bytes], gzip.open(path)))]
    return [Source(name, lambda: _checked(name, path.read_bytes()), lambda: path.open("rb"))]


def collect(path: Path) -> list[Source]:
    """List the files at ``path``: a file, the members of a zip, or everything in a folder (zips in it opened).

    Raises
    ------
    DataError
        When nothing is there.
    FormatError
        When an archive is damaged.
    """
    if not path.exists():
        raise DataError("no such file or folder", seen=path.name, expected="an existing file, zip or folder", fix="check the path")
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*")) if p.is_file() and not _skip(p.relative_to(path).as_posix())]
        return [source for p in files for source in _file_sources(p, p.relative_to(path).as_posix())]
    return _file_sources(path, path.name)
