"""Promise: compiled once per bucket of sizes, never per patient."""

from __future__ import annotations

from collections import Counter
from typing import Any

import equinox as eqx
import jax
import numpy as np

from gemel.core.time import MINUTE
from gemel.engine.compile import counting
from gemel.engine.infer.base import AbstractTarget
from gemel.engine.model import target_of
from gemel.testing.report import require
from gemel.testing.subject import Subject

__all__ = ["PATIENTS", "QUICK_PATIENTS", "check_compilation"]

PATIENTS, QUICK_PATIENTS = 1000, 50
MOST_BUCKETS = 16


def _shapes(target: AbstractTarget) -> tuple[Any, ...]:
    return tuple((np.shape(x), np.asarray(x).dtype.name) for x in jax.tree.leaves(target))


def _patients(subject: Subject, count: int) -> list[tuple[Any, int]]:
    """Return records of several people, each cut off at many moments: patients of different lengths."""
    people = 5 if subject.quick else 20
    out = []
    for i in range(people):
        record, now, _ = subject.room.simulate_record(jax.random.fold_in(subject.key("patients"), i))
        times = np.unique(np.concatenate([s.time for s in record.series]))
        moments = times[np.linspace(min(2, len(times) - 1), len(times) - 1, count // people).astype(int)] + MINUTE
        out += [(record, min(int(m), now)) for m in moments]
    return out


def check_compilation(subject: Subject) -> str:
    """Evaluate a thousand patients of different lengths, then calibrate and forecast two of one bucket: the second compiles nothing."""
    model, count = subject.model, QUICK_PATIENTS if subject.quick else PATIENTS
    patients = _patients(subject, count)
    targets = [target_of(model, model.observe(record.as_of(now), now)) for record, now in patients]
    structures = Counter(jax.tree.structure(t) for t in targets)
    require(
        len(structures) == 1, "something patient-specific is static: every patient would be compiled anew", seen=f"{len(structures)} programs for {count} patients",
        fix="make it an array of the context",
    )  # fmt: skip
    buckets = Counter(map(_shapes, targets))
    require(
        len(buckets) <= MOST_BUCKETS,
        "sizes are not put into buckets",
        seen=f"{len(buckets)} shapes among {count} patients",
        fix="pad with gemel.engine.compile.bucket",
    )
    z = np.asarray(model.prior.mean)

    @eqx.filter_jit
    def density(target, z):
        return target.log_likelihood(z)

    with counting() as counter:
        for target in targets:
            density(target, z)
    require(
        counter.count <= len(buckets),
        "the log likelihood is compiled more than once per bucket",
        seen=f"{counter.count} for {len(buckets)} buckets",
    )
    largest = buckets.most_common(1)[0][0]
    alike = [
        p for p, t in zip(patients, targets, strict=True) if _shapes(t) == largest and model.domain(p[0].as_of(p[1]), p[1]).reason is None
    ]
    if len(alike) < 2:
        return f"{count} patients, {len(buckets)} buckets; no two in one bucket inside the domain"
    with counting() as first:
        subject.forecast(subject.calibrate(*alike[-1], name="first"))
    most = subject.room.manifest.max_compilations
    require(first.count <= most, "more programs than the manifest allows", seen=first.count, expected=f"max_compilations = {most}")
    with counting() as second:
        subject.forecast(subject.calibrate(*alike[0], name="second"))
        subject.forecast(subject.calibrate(*alike[len(alike) // 2], name="third"))
    require(
        second.count == 0,
        "a second patient of the same bucket is compiled anew",
        seen=f"{second.count} programs",
        fix="let shapes depend on buckets only",
    )
    return f"{count} patients of different lengths, {len(buckets)} bucket(s), {counter.count} compilation(s); calibrate and forecast again: none"
