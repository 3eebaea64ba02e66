"""A record of WFDB of an invented heart, with its truth: signals with known gaps, beats at known times."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Truth", "write_recording"]


@dataclass(frozen=True)
class Truth:
    """What was written: counts of each signal (-32768: no sample), gain and baseline, and samples at which there is a beat."""

    counts: np.ndarray
    gain: float
    baseline: int
    rate: int
    beats: np.ndarray


def _annotation(samples: np.ndarray) -> bytes:
    """Write normal beats in the MIT format: ten bits of distance, six of code; longer distances by a SKIP."""
    out, last = b"", 0
    for sample in samples:
        gap = int(sample) - last
        if gap > 1023:
            out += struct.pack("<H", 59 << 10) + struct.pack("<H", (gap >> 16) & 0xFFFF) + struct.pack("<H", gap & 0xFFFF)
            gap = 0
        out += struct.pack("<H", (1 << 10) | gap)
        last = int(sample)
    return out + b"\0\0"


def write_recording(
    folder: Path,
    name: str,
    *,
    seconds: int = 25,
    rate: int = 250,
    seed: int = 0,
    when: str = "10:20:30 05/11/2026",
    gap: tuple[int, int] = (300, 420),
) -> Truth:
    """Write header, signals (format 16) and beats (``.atr``) of two leads.

    Parameters
    ----------
    when : time and date of the header; empty: none, as most published records have it.
    gap : samples between which the second lead has none.
    """
    rng = np.random.default_rng(seed)
    count, gain, baseline = seconds * rate, 200.0, 1024
    time = np.arange(count) / rate
    beats = np.round(np.cumsum(rng.uniform(0.7, 1.0, int(seconds / 0.6))) * rate).astype(int)
    beats = beats[beats < count]
    wave = 0.05 * np.sin(2 * np.pi * 0.3 * time)
    for beat in beats:
        wave += np.exp(-((np.arange(count) - beat) ** 2) / (2 * (0.01 * rate) ** 2))
    counts = np.round(np.stack([wave, -0.5 * wave], axis=1) * gain + baseline).astype(np.int16)
    counts[gap[0] : gap[1], 1] = -32768
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.dat").write_bytes(counts.astype("<i2").tobytes())
    lines = [f"{name} 2 {rate} {count} {when}".rstrip()]
    lines += [f"{name}.dat 16 {gain:g}({baseline})/mV 16 0 {counts[0, k]} 0 0 {lead}" for k, lead in enumerate(("I", "V5"))]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n# <age>: 99\n", "ascii")
    (folder / f"{name}.atr").write_bytes(_annotation(beats))
    return Truth(counts, gain, baseline, rate, beats)
