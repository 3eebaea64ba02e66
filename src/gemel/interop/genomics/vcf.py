"""Variant call files: the header's contract, and each alternative allele of each sample on its own.

References
----------
hts-specs, The Variant Call Format (VCF) 4.1 to 4.4; SAM/BAM specification section 4.1.2 (the end of a bgzip file). Lengths of chromosomes: GenBank assembly
reports GCA_000001405.14 (GRCh37), GCA_000001405.15 (GRCh38), GCA_009914755.4 (T2T-CHM13v2.0).
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from gemel.core.errors import DataError, FormatError

__all__ = ["BUILDS", "Call", "VcfHeader", "is_vcf", "read_calls"]

_MAGIC = re.compile(rb"^(?:\xef\xbb\xbf)?##fileformat=VCF")
_VERSION = re.compile(r"^##fileformat=VCFv(4\.[1-4])$")
_COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")  # the empty block that ends a bgzip file
_LONGEST_LINE = 1 << 26
_BASES = re.compile(r"^[ACGTNacgtn]+$")
_GENOTYPE = re.compile(r"^[/|]?(?:\.|\d{1,4})(?:[/|](?:\.|\d{1,4})){0,7}$")
_LENGTHS = {
    "GRCh37": {"1": 249250621, "2": 243199373, "7": 159138663, "17": 81195210, "X": 155270560},
    "GRCh38": {"1": 248956422, "2": 242193529, "7": 159345973, "17": 83257441, "X": 156040895},
    "T2T-CHM13v2.0": {"1": 248387328, "2": 242696752, "7": 160567428, "17": 84276897, "X": 154259566},
}
_NAMES = {"GRCh37": r"GRCh37|hg19|b37|hs37d5", "GRCh38": r"GRCh38|hg38", "T2T-CHM13v2.0": r"CHM13v2|hs1\b"}
BUILDS = tuple(_LENGTHS)
"""Reference builds that are told apart."""


@dataclass(frozen=True)
class VcfHeader:
    """What a file says of itself.

    Parameters
    ----------
    version : 4.1 to 4.4.
    build : one of :data:`BUILDS`.
    date : ``fileDate`` as it stands, or empty.
    samples : in the order of the columns.
    filters : declared names.
    """

    version: str
    build: str
    date: str
    samples: tuple[str, ...]
    filters: frozenset[str]


@dataclass(frozen=True)
class Call:
    """One alternative allele of one sample.

    Parameters
    ----------
    line : of the file, the first being 1.
    chromosome : without ``chr``.
    position : 1-based, of the first base of ``reference`` as trimmed.
    reference, alternate : trimmed of what they share; symbolic alleles and breakends as they stand.
    genotype : of each chromosome, 1 this allele, 0 the reference, 2 another alternative, None not called; empty without GT.
    is_phased : all of them.
    depth, reference_depth, alternate_depth : reads, None where not given.
    filters : empty when passed or not applied.
    problem : why it cannot be used, or empty.
    """

    line: int
    sample: str
    chromosome: str
    position: int
    reference: str
    alternate: str
    genotype: tuple[int | None, ...] = ()
    is_phased: bool = False
    depth: int | None = None
    reference_depth: int | None = None
    alternate_depth: int | None = None
    filters: tuple[str, ...] = ()
    end: int | None = None
    problem: str = ""


def is_vcf(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a variant call file does, packed or not."""
    try:
        with _open(Path(path)) as stream:
            return bool(_MAGIC.match(stream.read(64)))
    except (OSError, EOFError, zlib.error):
        return False


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if packed else path.open("rb")


def _check_end(path: Path) -> None:
    """A bgzip file that was cut between blocks unpacks without a fault: only its last block tells."""
    with path.open("rb") as stream:
        head = stream.read(18)
        if head[:4] != b"\x1f\x8b\x08\x04" or head[12:14] != b"BC":
            return
        stream.seek(max(stream.seek(0, os.SEEK_END) - len(_END), 0))
        if stream.read() != _END:
            raise FormatError(
                f"{path.name} is cut off",
                seen="no end-of-file block",
                expected="a whole bgzip file",
                fix="fetch it again, or pack it again",
            )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    _check_end(path)
    number = 0
    try:
        with _open(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n") as text:
            while line := text.readline(_LONGEST_LINE):
                number += 1
                if not line.endswith("\n") and len(line) >= _LONGEST_LINE:
                    raise FormatError(
                        f"line {number} of {path.name} is too long", seen=f"over {_LONGEST_LINE >> 20} MiB", expected="a line"
                    )
                if line.strip("\r\n"):
                    yield number, line.rstrip("\r\n")
    except UnicodeError as error:
        raise FormatError(f"{path.name} is not UTF-8 after line {number}", expected="a variant call file", fix="write it again") from error
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{path.name} cannot be unpacked after line {number}", seen=type(error).__name__, fix="fetch it again") from error


def _build(meta: list[str], name: str) -> str:
    said: set[str] = set()
    for line in meta:
        if line.startswith("##contig="):
            contig = re.search(r"[<,]ID=(?:chr)?([^,>]+)", line)
            length = re.search(r"[<,]length=(\d{1,12})\b", line)
            for build, lengths in _LENGTHS.items():
                if contig and length and lengths.get(contig.group(1)) == int(length.group(1)):
                    said.add(build)
        if line.startswith(("##contig=", "##reference=", "##assembly=")):
            said |= {build for build, words in _NAMES.items() if re.search(words, line.partition("=")[2])}
    if len(said) != 1:
        raise FormatError(
            f"GRCh37 or GRCh38? {name} {'says both' if said else 'does not say'}",
            seen=", ".join(sorted(said)) or "no contig of a known length, no reference",
            expected=f"one of {', '.join(BUILDS)} by its contigs or reference",
            fix="name it with build= in Python, or add ##reference=GRCh38 (or GRCh37) to the header",
        )
    return said.pop()


def _header(lines: Iterator[tuple[int, str]], name: str, build: str | None) -> VcfHeader:
    meta: list[str] = []
    for _, line in lines:
        if not meta and not _VERSION.match(line):
            raise FormatError(
                f"{name} is not a VCF that is read", seen=line[:40], expected="##fileformat=VCFv4.1 to VCFv4.4", fix="convert it"
            )
        if line.startswith("##"):
            meta.append(line)
            continue
        columns = line.split("\t")
        samples = tuple(columns[9:])
        wrong = tuple(columns[:8]) != _COLUMNS or (len(columns) > 8 and columns[8] != "FORMAT") or len(set(samples)) < len(samples)
        if wrong or not samples or not all(samples):
            raise FormatError(
                f"the column line of {name} is not a VCF's", seen=f"{len(columns)} columns", expected="#CHROM to FORMAT, then each sample once, separated by tabs",
                fix="sites without a sample say nothing of a person",
            )  # fmt: skip
        date = next((m.partition("=")[2].strip() for m in meta if m.startswith("##fileDate=")), "")
        filters = {found.group(1) for m in meta if (found := re.match(r"##FILTER=<ID=([^,>]+)", m))}
        return VcfHeader(meta[0].removeprefix("##fileformat=VCFv"), build or _build(meta, name), date, samples, frozenset(filters))
    raise FormatError(f"{name} ends in its header", expected="a line that begins with #CHROM", fix="fetch it again")


def _trimmed(position: int, reference: str, alternate: str) -> tuple[int, str, str]:
    while len(reference) > 1 and len(alternate) > 1 and reference[-1] == alternate[-1]:
        reference, alternate = reference[:-1], alternate[:-1]
    while len(reference) > 1 and len(alternate) > 1 and reference[0] == alternate[0]:
        position, reference, alternate = position + 1, reference[1:], alternate[1:]
    return position, reference, alternate


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _calls(number: int, line: str, header: VcfHeader) -> Iterator[Call]:
    cells = line.split("\t")
    if len(cells) != 9 + len(header.samples):
        raise DataError(
            f"line {number} does not fit the columns",
            seen=f"{len(cells)} cells",
            expected=9 + len(header.samples),
            fix="the file may be cut off",
        )
    chromosome, position, reference = cells[0].removeprefix("chr"), _whole(cells[1]), cells[3].upper()
    alternates = cells[4].split(",")
    keys = cells[8].split(":")
    filters = () if cells[6] in ("PASS", ".", "0") else tuple(cells[6].split(";"))
    found = re.search(r"(?:^|;)END=(\d{1,10})(?:;|$)", cells[7])
    fault = "" if position is not None and _BASES.match(reference) else "malformed: position or reference"
    for sample, text in zip(header.samples, cells[9:], strict=True):
        values = dict(zip(keys, text.split(":"), strict=False))
        written = values.get("GT", "")
        problem = fault or ("" if not written or _GENOTYPE.match(written) else "malformed: genotype")
        alleles = [] if problem or not written else [None if a == "." else int(a) for a in re.split(r"[/|]", written.lstrip("/|"))]
        if any(a is not None and a > len(alternates) for a in alleles):
            problem, alleles = "malformed: a genotype beyond the alleles", []
        depths = [_whole(d) for d in values.get("AD", "").split(",")]
        depths = depths if len(depths) == len(alternates) + 1 else [None] * (len(alternates) + 1)
        for index, alternate in enumerate(alternates, 1):
            plain = bool(_BASES.match(alternate)) and not problem
            place = _trimmed(position or 0, reference, alternate.upper()) if plain else (position or 0, reference, alternate)
            yield Call(
                number, sample, chromosome, *place,
                genotype=tuple(None if a is None else 1 if a == index else 0 if a == 0 else 2 for a in alleles),
                is_phased="|" in written and "/" not in written.lstrip("/"), depth=_whole(values.get("DP", "")), reference_depth=depths[0],
                alternate_depth=depths[index], filters=filters, end=None if found is None else int(found.group(1)), problem=problem,
            )  # fmt: skip


def read_calls(path: str | os.PathLike[str], *, build: str | None = None) -> tuple[VcfHeader, Iterator[Call]]:
    """Read the header, and then each alternative allele of each sample as it comes.

    Parameters
    ----------
    path : plain, gzip or bgzip.
    build : one of :data:`BUILDS`, for a file that does not say; left out, its contigs and reference decide.

    Raises
    ------
    FormatError
        When it is no VCF 4.1 to 4.4, is cut off, has no sample, or the build is not known. While iterating: when a line does not fit.
    """
    place = Path(path)
    if build is not None and build not in BUILDS:
        raise FormatError("unknown reference build", seen=build, expected=f"one of {', '.join(BUILDS)}")
    lines = _lines(place)
    header = _header(lines, place.name, build)
    return header, (call for number, line in lines for call in _calls(number, line, header))
