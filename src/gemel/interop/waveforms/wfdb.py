"""Records of WFDB (PhysioNet): header, signals, annotations. Needs the extra ``gemel[devices]`` (wfdb).

Signals become blocks of ten seconds in one document. Beats become one series of their codes, anything else that was annotated (rhythm, noise, comments) a finding each. Free text of a header
is not taken: it may name anybody.

References
----------
WFDB Applications Guide, header(5), signal(5), annot(5), https://physionet.org/physiotools/wag/
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemel.core.code import Code
from gemel.core.errors import DataError, FormatError, GemelError, UnitError
from gemel.core.record import Document, Finding, PatientRecord
from gemel.core.series import Series
from gemel.core.time import SECOND, to_ns
from gemel.core.units import parse_unit
from gemel.interop.report import MessageReport, Tally
from gemel.interop.waveforms.blocks import MEDIA_TYPE, Channel, Waveform, pack

__all__ = ["Recording", "is_wfdb", "read_recording", "recording_facts"]

_NAME = re.compile(r"[A-Za-z0-9_\-]{1,64}")
_FILE = re.compile(r"[A-Za-z0-9_\-]{1,64}(\.[A-Za-z0-9]{1,8})?|~")
_LARGEST = 1 << 31
_BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")
_ANNOTATORS = ("atr", "qrs", "ecg", "ari")
_UNITS = {
    "mv": "mV",
    "uv": "uV",
    "mmhg": "mm[Hg]",
    "nu": "1",
    "": "1",
    "bpm": "/min",
    "pm": "/min",
    "percent": "%",
    "degc": "Cel",
    "l": "L",
    "adu": "1",
    "v": "V",
}


@dataclass(frozen=True, repr=False)
class Recording:
    """A record as it was read.

    Parameters
    ----------
    beats : (n,) ns UTC and (n,) WFDB codes of beats.
    marks : what else was annotated: ns UTC, symbol.
    """

    name: str
    waveform: Waveform
    beats: tuple[np.ndarray, np.ndarray]
    marks: tuple[tuple[int, str], ...]
    report: MessageReport

    def __repr__(self) -> str:
        return f"Recording({self.waveform!r}, {len(self.beats[0])} beats)"


def is_wfdb(path: Path) -> bool:
    """Say whether a file is a header of WFDB, by content.

    Examples
    --------
    >>> is_wfdb(Path("nothing.hea"))
    False
    """
    if path.suffix.lower() != ".hea" or not path.is_file():
        return False
    with path.open("rb") as stream:
        lines = [line for line in stream.read(4096).decode("ascii", "replace").splitlines() if line.strip() and not line.startswith("#")]
    return bool(lines) and re.match(r"[A-Za-z0-9_\-/]+\s+[0-9]+", lines[0]) is not None


def _library() -> Any:
    try:
        import wfdb
    except ImportError as error:
        raise DataError(
            "WFDB records cannot be read here", seen="no wfdb", expected="the extra [devices]", fix="pip install 'gemel[devices]'"
        ) from error
    return wfdb


def _check_header(path: Path, depth: int = 0) -> None:
    """Refuse a header that names files elsewhere, before the library opens any of them."""
    if depth > 1 or path.stat().st_size > 1 << 20:
        raise FormatError("a header that is too large, or nested", seen="segments within segments", expected="one level")
    lines = [line.split() for line in path.read_text("ascii", "replace").splitlines() if line.strip() and not line.startswith("#")]
    if not lines or len(lines[0]) < 2:
        raise FormatError("no header of WFDB", seen="no record line", expected="name and number of signals")
    name, _, segments = lines[0][0].partition("/")
    if name != path.stem or not _NAME.fullmatch(name):
        raise FormatError(
            "the header names another record", seen="another name than the file's", expected="the same", fix="rename the file"
        )
    folder = path.parent.resolve()
    for line in lines[1:]:
        if not _FILE.fullmatch(line[0]):
            raise FormatError(
                "a header that names a file elsewhere", seen="a path", expected="a file beside the header", fix="do not trust this record"
            )
        if segments:
            if line[0] != "~" and (path.parent / f"{line[0]}.hea").is_file():
                _check_header(path.parent / f"{line[0]}.hea", depth + 1)
        elif line[0] != "~":
            found = (path.parent / line[0]).resolve()
            if not found.is_relative_to(folder) or not found.is_file() or found.stat().st_size > _LARGEST:
                raise FormatError(
                    "a file of the record is not there", seen="missing, a link elsewhere, or too large", expected="a file beside the header"
                )


def _start(record: Any, start: int | None, tz: str, tally: Tally) -> int:
    date, clock = record.base_date, record.base_time
    if date is None:
        if start is None:
            raise FormatError(
                "the record does not say when it began",
                seen="no base date",
                expected="a date in the header, or one that is given",
                fix="name it with --start",
            )
        return start
    if clock is None:
        tally.repair("time of day missing: start of the day taken")
    moment = dt.datetime.combine(date, clock or dt.time())
    tally.repair(f"time without a zone: {tz} assumed")
    return to_ns(moment, tz=tz)


def _unit(text: str | None) -> str:
    unit = _UNITS.get((text or "").strip().lower(), (text or "").strip())
    parse_unit(unit)
    return unit


def read_recording(path: Path, *, start: int | None = None, tz: str = "UTC") -> Recording:
    """Read a record by its header; signals and annotations lie beside it.

    Parameters
    ----------
    start : ns UTC, when it began, where the header does not say: most published records were taken their dates.
    tz : IANA zone of the header's times, which never name one.

    Raises
    ------
    FormatError
        When it is no record, names files elsewhere, or does not say when it began.
    """
    wfdb = _library()
    _check_header(path)
    tally = Tally(path.name, "wfdb")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = wfdb.rdrecord(str(path.with_suffix("")), physical=False, m2s=True, return_res=32)
        digital, gains, baselines = record.d_signal, record.adc_gain, record.baseline
        if digital is None or record.fs is None:
            raise FormatError("a record without signals", seen="no samples", expected="at least one signal")
        invalid = [_invalid(form) for form in (record.fmt or ["16"] * digital.shape[1])]
    except GemelError:
        raise
    except Exception as error:  # a hostile record can break the library anywhere; its message may hold anything
        raise FormatError(
            "the record is cut off or broken", seen=type(error).__name__, expected="a whole record", fix="fetch it again"
        ) from error
    begin = _start(record, start, tz, tally)
    channels = []
    for k in range(digital.shape[1]):
        tally.read += 1
        gain, baseline, counts = float(gains[k] or 200.0), float(baselines[k] or 0), digital[:, k].astype(float)
        try:
            unit = _unit(record.units[k] if record.units else "")
        except UnitError as error:
            tally.refuse("unit-unknown", f"signal {k + 1}", error.what, "it is not guessed")
            continue
        counts[digital[:, k] == invalid[k]] = np.nan
        if not np.isfinite(gain) or gain == 0:
            tally.refuse("no-gain", f"signal {k + 1}", "a gain of nothing", "")
            continue
        if not gains[k]:
            tally.repair("gain missing: 200 counts a unit assumed, as the format says")
        tally.mapped += 1
        channels.append(
            Channel(
                str(record.sig_name[k])[:64] if record.sig_name else f"{k + 1}",
                unit,
                (counts - baseline) / gain,
                1 / gain,
                -baseline / gain,
            )
        )
    if not channels:
        raise FormatError("no signal can be placed", seen=f"{digital.shape[1]} signals", expected="a unit and a gain")
    beats, marks = _annotations(wfdb, path, begin, float(record.fs), tally)
    return Recording(path.stem, Waveform(begin, float(record.fs), tuple(channels)), beats, marks, tally.report())


def _invalid(form: str) -> int:
    """Return the count that means *no sample* in a format (signal(5))."""
    bits = {"8": 8, "80": 8, "212": 12, "310": 10, "311": 10, "24": 24, "32": 32, "508": 8, "524": 24}.get(str(form), 16)
    return -(1 << (bits - 1))


def _annotations(
    wfdb: Any, path: Path, begin: int, rate: float, tally: Tally
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[tuple[int, str], ...]]:
    times: list[int] = []
    kinds: list[int] = []
    marks: list[tuple[int, str]] = []
    known = {one.symbol: one.label_store for one in wfdb.io.annotation.ann_labels}
    for ending in _ANNOTATORS:
        if not path.with_suffix(f".{ending}").is_file():
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a table that the library makes by the way
                found = wfdb.rdann(str(path.with_suffix("")), ending)
        except Exception as error:
            raise FormatError("the annotations are cut off or broken", seen=type(error).__name__, expected="a whole file") from error
        for sample, symbol in zip(found.sample, found.symbol, strict=True):
            tally.read += 1
            tally.mapped += 1
            time = begin + round(int(sample) / rate * SECOND)
            if symbol in _BEATS:
                times.append(time)
                kinds.append(int(known.get(symbol, 0)))
            else:
                marks.append((time, str(symbol)))
        break  # of several annotators the first: two must not count a beat twice
    return (np.array(times, np.int64), np.array(kinds, float)), tuple(marks)


def recording_facts(recording: Recording, *, recorded: int | None = None) -> tuple[PatientRecord, bytes]:
    """Return a record, called as the recording is, and the bytes that its document names.

    Parameters
    ----------
    recorded : ns UTC, when it became known; left out, at its end.
    """
    body, waveform = pack(recording.waveform), recording.waveform
    known = max(waveform.end, recorded or 0)
    names = ", ".join(one.name for one in waveform.channels)[:120]
    source = f"wfdb:{recording.name}"
    facts: list[Any] = [
        Document(
            title=f"waveform: {names}",
            media_type=MEDIA_TYPE,
            sha256=hashlib.sha256(body).hexdigest(),
            time=waveform.start,
            recorded=known,
            source=source,
        )
    ]
    times, kinds = recording.beats
    if len(times):
        facts.append(
            Series(
                code=Code.parse("gemel:beat"),
                unit="1",
                time=times,
                value=kinds,
                recorded=np.full(len(times), max(known, int(times.max()))),
                source=source,
            )
        )
    facts += [
        Finding(
            code=Code.parse("gemel:waveform-annotation"),
            value=symbol,
            time=time,
            recorded=max(known, time),
            source=source,
            id=f"{source}/{k}",
        )
        for k, (time, symbol) in enumerate(recording.marks)
    ]
    return PatientRecord(id=recording.name).with_facts(*facts), body
