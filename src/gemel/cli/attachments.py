"""The bytes that facts of an import name: images and waveforms, kept beside them in the store."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gemel.core.record import PatientRecord
    from gemel.platform.store import Store

__all__ = ["keep_bytes"]


def keep_bytes(
    store: Store, source: Path, records: Iterable[PatientRecord], *, format: str | None, tz: str | None, person: str | None
) -> int:
    """Keep what a source's facts name by hash; return how many objects were new. Inside the transaction in which the facts were appended."""
    from gemel.interop import dicom, waveforms

    kept = 0
    if format == "dicom" or (format is None and dicom.is_dicom(source)):
        from gemel.platform.images import keep_image

        now = time.time_ns()
        files = [source] if source.is_file() else [file for file in sorted(source.rglob("*")) if file.is_file() and not file.is_symlink()]
        for file in files:
            if dicom.is_dicom(file):
                kept += keep_image(store, "import", file.read_bytes(), received=now, tz=tz or "UTC", patient=person or "").state == "new"
    elif source.is_file() and (format == "wfdb" or (format is None and waveforms.is_wfdb(source))):
        for record in records:
            start = record.documents[0].time
            _, body = waveforms.recording_facts(waveforms.read_recording(source, start=start, tz=tz or "UTC"))
            store.add_bytes(record.id, body)
            kept += 1
    return kept
