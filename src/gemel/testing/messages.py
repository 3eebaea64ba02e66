"""Writers of HL7 v2 messages, each with its truth, and a breaker of messages: what a listener must survive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gemel.core.errors import ValueRangeError
from gemel.core.time import MINUTE, SECOND, iso

__all__ = ["Result", "break_message", "result_message", "result_messages", "stay_message"]

_RESULTS = (
    ("8867-4", "Heart rate", "/min", 40.0, 160.0),
    ("8480-6", "Systolic blood pressure", "mm[Hg]", 80.0, 200.0),
    ("8462-4", "Diastolic blood pressure", "mm[Hg]", 40.0, 110.0),
    ("9279-1", "Respiratory rate", "/min", 8.0, 30.0),
    ("2345-7", "Glucose", "mg/dL", 50.0, 300.0),
    ("2160-0", "Creatinine", "mg/dL", 0.5, 3.0),
)
_SINS = (
    b"",
    b"\r",
    b"\n",
    b"\0",
    b"\x0b",
    b"\x1c",
    b"|",
    b"^",
    b"~",
    b"\\",
    b"\\X",
    b"&",
    b"\xff",
    b"\xfc",
    b"MSH",
    b"\rMSH|",
    b"OBX|",
    b'""',
    b"<",
    b",",
)


@dataclass(frozen=True)
class Result:
    """One result: LOINC code, name, UCUM unit, value and when it was true (ns UTC)."""

    code: str
    name: str
    unit: str
    value: float
    time: int


def _stamp(ns: int) -> str:
    return iso(ns - ns % SECOND).translate({ord(c): None for c in "-:TZ"}) + "+0000"


def result_message(
    results: Sequence[Result], *, patient: str, control: str, sent: int, sender: str = "LAB", facility: str = "HOSP"
) -> bytes:
    """Write an ORU^R01 as it should be.

    Raises
    ------
    ValueRangeError
        When there is no result.
    """
    if not results:
        raise ValueRangeError("a result message without a result", seen=0, expected="at least one")
    lines = [
        f"MSH|^~\\&|{sender}|{facility}|GEMEL|SITE|{_stamp(sent)}||ORU^R01^ORU_R01|{control}|P|2.5.1||||||UNICODE UTF-8",
        f"PID|1||{patient}^^^{facility}^MR||SIMULATED^PERSON||19600101|F",
        "PV1|1|I|WARD^1^A",
        f"OBR|1||{control}|PANEL^Panel^L|||{_stamp(results[0].time)}",
    ]
    lines += [
        f"OBX|{i}|NM|{r.code}^{r.name}^LN||{r.value:.10g}|{r.unit}^^UCUM|||||F|||{_stamp(r.time)}" for i, r in enumerate(results, start=1)
    ]
    return "".join(line + "\r" for line in lines).encode()


def result_messages(
    count: int, *, seed: int, patients: int = 20, start: int = 1_767_225_600 * SECOND
) -> Iterator[tuple[bytes, tuple[Result, ...]]]:
    """Draw result messages of invented people, one a minute, three to six results each; yield each with what it says.

    Parameters
    ----------
    start : ns UTC of the first.

    Examples
    --------
    >>> body, truth = next(result_messages(1, seed=0))
    >>> body[:4], len(truth) > 2
    (b'MSH|', True)
    """
    rng = np.random.default_rng(seed)
    for n in range(count):
        chosen = rng.permutation(len(_RESULTS))[: rng.integers(3, len(_RESULTS) + 1)]
        now = start + n * MINUTE
        drawn = [(_RESULTS[i], round(rng.uniform(*_RESULTS[i][3:]), 1), now - int(rng.integers(0, 600)) * SECOND) for i in chosen]
        results = tuple(Result(kind[0], kind[1], kind[2], float(value), time) for kind, value, time in drawn)
        yield result_message(results, patient=f"sim{rng.integers(patients)}", control=f"m{seed}-{n}", sent=now), results


def stay_message(event: str, *, patient: str, control: str, sent: int, visit: str, prior: str = "", facility: str = "HOSP") -> bytes:
    """Write an ADT message of an event such as ``A01``; for ``A40`` name the ``prior`` identifier."""
    lines = [
        f"MSH|^~\\&|ADT|{facility}|GEMEL|SITE|{_stamp(sent)}||ADT^{event}|{control}|P|2.5.1||||||UNICODE UTF-8",
        f"EVN|{event}|{_stamp(sent)}",
        f"PID|1||{patient}^^^{facility}^MR||SIMULATED^PERSON||19600101|M",
    ]
    visits = [""] * 45
    visits[0], visits[1], visits[2], visits[18], visits[43] = "1", "I", "WARD^1^A", visit, _stamp(sent)
    if event in ("A03", "A13"):
        visits[44] = _stamp(sent)
    lines.append(f"MRG|{prior}^^^{facility}^MR" if event == "A40" else "PV1|" + "|".join(visits))
    return "".join(line + "\r" for line in lines).encode()


def break_message(body: bytes, *, seed: int) -> bytes:
    """Break a message as networks and interface engines do: bytes lost, changed, repeated, moved; segments out of order; separators in the wrong place.

    The same seed breaks it the same way.
    """
    rng = np.random.default_rng(seed)
    broken = body
    for _ in range(int(rng.integers(1, 6))):
        if not broken:
            break
        at, until = sorted(int(x) for x in rng.integers(0, len(broken) + 1, 2))
        match int(rng.integers(0, 8)):
            case 0:
                broken = broken[:at] + broken[at + 1 :]
            case 1:
                broken = broken[:at] + bytes(rng.integers(0, 256, 1).astype(np.uint8)) + broken[at + 1 :]
            case 2:
                broken = broken[:at] + _SINS[int(rng.integers(len(_SINS)))] + broken[at:]
            case 3:
                broken = broken[:at]
            case 4:
                broken = broken[:until] + broken[at:]
            case 5:
                lines = broken.split(b"\r")
                broken = b"\r".join(lines[i] for i in rng.permutation(len(lines)))
            case 6:
                broken = broken.replace(b"\r", (b"\n", b"\r\n", b"")[int(rng.integers(3))])
            case _:
                mark = b"|^~\\&"[int(rng.integers(5)) :][:1]
                broken = broken.replace(mark, _SINS[int(rng.integers(len(_SINS)))], int(rng.integers(1, 4)))
    return broken
