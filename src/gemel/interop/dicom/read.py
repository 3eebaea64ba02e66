"""A folder of DICOM files into volumes of each patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gemel.core.errors import DataError, FormatError
from gemel.core.record import PatientRecord
from gemel.interop.dicom.assemble import Slice, assemble
from gemel.interop.dicom.decode import Decoder
from gemel.interop.dicom.header import read_slice
from gemel.interop.report import MessageReport, Tally

__all__ = ["is_dicom", "read_folder"]

_MOST_FILES = 20_000


def is_dicom(path: Path) -> bool:
    """Say whether a file is a DICOM file, or a folder holds one, by content."""
    if path.is_dir():
        return any(is_dicom(file) for file in sorted(path.rglob("*"))[:100] if file.is_file())
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    root = path.resolve()
    found = [file for file in sorted(path.rglob("*")) if file.is_file() and file.resolve().is_relative_to(root)]
    if len(found) > _MOST_FILES:
        raise FormatError("too many files in one folder", seen=len(found), expected=f"at most {_MOST_FILES}", fix="import study by study")
    return found


def read_folder(path: Path, *, tz: str = "UTC", recorded: int | None = None) -> list[tuple[PatientRecord, MessageReport]]:
    """Read every DICOM file at a path; each series becomes a volume, each file is mapped, refused or a duplicate.

    Parameters
    ----------
    path : a file, or a folder with folders. A link that leads out of it is not followed.
    tz : IANA zone of times for which the files name none.
    recorded : ns UTC, when the images became known; left out: when they were taken.

    Returns
    -------
    A record for each patient (``PatientID``), each with the report of the whole folder.

    Raises
    ------
    FormatError
        When nothing can be placed; with the first reason.
    """
    tally = Tally(path.name, "dicom")
    grids: dict[tuple[object, ...], list[tuple[Slice, str]]] = {}
    seen: dict[str, Slice] = {}
    decoder = Decoder()
    for number, file in enumerate(_files(path), start=1):
        tally.read += 1
        place = f"file {number}"  # a name of a file can hold a person's
        try:
            one = read_slice(file, tz=tz, note=tally.repair, decoder=decoder)
        except DataError as error:
            tally.refuse("not-read", place, error.what + (f" ({error.seen})" if error.seen else ""), error.fix or "")
            continue
        before = seen.get(one.instance) if one.instance else None
        if before is not None:
            if before.grid == one.grid and (before.values == one.values).all():
                tally.duplicates += 1
            else:
                tally.refuse("identifier-reused", place, "an instance identifier seen before with another image", "ask the sender")
            continue
        seen[one.instance or place] = one
        grids.setdefault(one.grid, []).append((one, place))
    decoder.close()
    records: dict[str, PatientRecord] = {}
    for found in grids.values():
        slices: Sequence[Slice] = [one for one, _ in found]
        try:
            volume = assemble(slices, recorded=min(s.time for s in slices) if recorded is None else recorded)
        except DataError as error:
            tally.refuse("no-grid", found[0][1], f"{error.what} ({error.seen})", error.fix or "", len(found))
            continue
        tally.mapped += len(found)
        patient = slices[0].patient
        record = records.get(patient) or PatientRecord(id=patient)
        records[patient] = record.with_facts(volume)
    report = tally.report()
    if not records:
        first = report.refused[0] if report.refused else None
        raise FormatError(
            f"{path.name} holds no image that can be placed", seen=f"{first.what} at {first.place}" if first else "no file",
            expected="images with a place in the patient", fix=(first.fix if first else "") or "check the folder",
        )  # fmt: skip
    return [(record, report) for record in records.values()]
