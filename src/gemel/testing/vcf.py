"""A writer of variant call files of made-up people, with the truth."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["VcfTruth", "bgzip", "vcf_header", "write_vcf"]

_LENGTHS = {"GRCh37": (249250621, 155270560), "GRCh38": (248956422, 156040895), "": (1000, 2000)}


@dataclass(frozen=True)
class VcfTruth:
    """What a reader must find.

    Parameters
    ----------
    carried : sample -> site as build:chromosome:position:reference:alternative -> how many copies.
    calls : alleles of each sample.
    """

    carried: dict[str, dict[str, int]] = field(default_factory=dict)
    calls: int = 0


def bgzip(data: bytes, *, block: int = 4096) -> bytes:
    """Pack as bgzip does: blocks that unpack alone, and an empty one at the end."""
    packed = b""
    for at in [*range(0, len(data), block), len(data)]:
        piece = data[at : at + block] if at < len(data) else b""
        squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = squeeze.compress(piece) + squeeze.flush()
        head = b"\x1f\x8b\x08\x04" + b"\0" * 4 + b"\0\xff" + struct.pack("<H", 6) + b"BC" + struct.pack("<HH", 2, len(body) + 25)
        packed += head + body + struct.pack("<II", zlib.crc32(piece), len(piece))
    return packed


def vcf_header(samples: tuple[str, ...], *, version: str = "4.2", build: str = "GRCh38", date: str = "20260105") -> str:
    """Write a header; without a build its contigs have lengths of no known one."""
    one, x = _LENGTHS[build]
    lines = [f"##fileformat=VCFv{version}", *([f"##fileDate={date}"] if date else []), '##FILTER=<ID=LowQual,Description="Low quality">']
    lines += [
        f"##contig=<ID=chr1,length={one}>",
        f"##contig=<ID=chrX,length={x}>",
        '##INFO=<ID=END,Number=1,Type=Integer,Description="End">',
    ]
    for name, number, kind in (("GT", "1", "String"), ("DP", "1", "Integer"), ("AD", "." if version == "4.1" else "R", "Integer")):
        lines.append(f'##FORMAT=<ID={name},Number={number},Type={kind},Description="{name}">')
    return "\n".join([*lines, "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples])]) + "\n"


def write_vcf(path: Path, *, samples: tuple[str, ...] = ("s1", "s2"), sites: int = 50, seed: int = 0, version: str = "4.2") -> VcfTruth:
    """Write variants: single bases, two alternatives at one place, insertions and deletions with bases to trim, calls missing and filtered.

    Parameters
    ----------
    path : ``.vcf``; a name in ``.gz`` is packed as bgzip does, in ``.gzip`` as gzip does.
    seed : of alleles and genotypes.
    """
    draw = np.random.default_rng(seed)
    carried: dict[str, dict[str, int]] = {sample: {} for sample in samples}
    lines: list[str] = []
    calls = 0
    for index in range(sites):
        position = 1000 + 100 * index
        reference = "ACGT"[int(draw.integers(4))]
        others = [base for base in "ACGT" if base != reference]
        # as written; as trimmed: (position, reference, alternative)
        written, trimmed = [
            (f"{reference}\t{others[0]}", [(position, reference, others[0])]),
            (f"{reference}\t{others[0]},{others[1]}", [(position, reference, others[0]), (position, reference, others[1])]),
            (f"{reference}TT\t{reference}T", [(position, reference + "T", reference)]),
            (f"GA{reference}\tGA{others[0]}", [(position + 2, reference, others[0])]),
            (f"{reference}\t<DEL>", [(position, reference, "<DEL>")]),
        ][index % 5]
        verdict = "LowQual" if index % 11 == 10 else "PASS"
        cells = []
        for sample in samples:
            alleles = [int(a) for a in draw.integers(0, len(trimmed) + 1, 2)]
            missing = bool(draw.integers(10) == 0)
            depths = [int(d) for d in draw.integers(1, 60, len(trimmed) + 1)]
            text = "./." if missing else ("|" if index % 2 else "/").join(map(str, alleles))
            cells.append(f"{text}:{sum(depths)}:{','.join(map(str, depths))}")
            calls += len(trimmed)
            for number, (at, ref, alt) in enumerate(trimmed, 1):
                if verdict == "PASS" and not missing and number in alleles:
                    carried[sample][f"GRCh38:1:{at}:{ref}:{alt}"] = alleles.count(number)
        info = f"END={position + 50}" if "<DEL>" in written else "."
        lines.append("\t".join(["chr1", str(position), ".", written, "50", verdict, info, "GT:DP:AD", *cells]))
    body = (vcf_header(samples, version=version) + "\n".join(lines) + "\n").encode()
    path.write_bytes(bgzip(body) if path.suffix == ".gz" else gzip.compress(body) if path.suffix == ".gzip" else body)
    return VcfTruth(carried, calls)
