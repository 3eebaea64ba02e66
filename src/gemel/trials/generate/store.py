"""A calibrated generator as a file: numbers and words in one zip of arrays, without pickle, under a hash of all of them."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from gemel.core.errors import FormatError
from gemel.trials.generate.copula import Copula
from gemel.trials.generate.marginal import Marginal
from gemel.trials.generate.panel import NOT_ANONYMOUS, Kind, Panel, Variable

__all__ = ["FORMAT", "Generator", "from_bytes", "to_bytes"]

FORMAT = "gemel.generator/1"


class Generator(Protocol):
    """What draws control patients."""

    kind: str
    variables: tuple[Variable, ...]
    times: np.ndarray
    unit: str
    n: int
    history: str

    @property
    def hash(self) -> str:
        """Of all its numbers."""
        ...

    def draw(self, n: int, *, rng: np.random.Generator) -> Panel:
        """Return new patients, before the constraints of their instruments."""
        ...


def variables_from(told: list[dict[str, Any]]) -> tuple[Variable, ...]:
    """Return the variables that a head describes."""
    return tuple(Variable(**(v | {"kind": Kind(v["kind"]), "labels": tuple(v["labels"])})) for v in told)


def to_bytes(generator: Any) -> bytes:
    """Return the file of a generator.

    Raises
    ------
    FormatError
        When the generator has no file format.
    """
    if generator.kind == "copula":
        head, arrays = _from_copula(generator)
    elif generator.kind == "state-space":
        from gemel.trials.generate.state_space import to_parts

        head, arrays = to_parts(generator)
    else:
        raise FormatError("a generator of this kind has no file", seen=generator.kind, expected="copula or state-space")
    common = {k: getattr(generator, k) for k in ("kind", "unit", "n", "history", "hash")}
    told = {"format": FORMAT, "note": NOT_ANONYMOUS, **common, "variables": [asdict(v) for v in generator.variables], **head}
    arrays = {"times": generator.times, **arrays, "head": np.frombuffer(json.dumps(told).encode(), np.uint8)}
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as whole:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            whole.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), member.getvalue(), zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def from_bytes(body: bytes) -> Any:
    """Return the generator of a file, its hash checked.

    Raises
    ------
    FormatError
        When this is no such file, or it was changed.
    """
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as whole:
            arrays = {name: whole[name] for name in whole.files}
        head = json.loads(bytes(arrays.pop("head")))
        if head["format"] != FORMAT:
            raise ValueError(f"format {head['format']}")
        if head["kind"] == "copula":
            made: Any = _to_copula(head, arrays)
        else:
            from gemel.trials.generate.state_space import from_parts

            made = from_parts(head, arrays)
    except (ValueError, KeyError, TypeError, EOFError, OSError, IndexError, zipfile.BadZipFile) as error:
        raise FormatError(
            "no generator is in this file", seen=str(error)[:120], expected=f"{FORMAT}, made by gemel trial generate --save"
        ) from error
    if made.hash != head["hash"]:
        raise FormatError(
            "the generator was changed after it was calibrated", seen=made.hash[:16], expected=head["hash"][:16], fix="calibrate it again"
        )
    return made


def _from_copula(copula: Copula) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    scores = [m.scores for m in copula.marginals]
    head = {
        "places": copula.places,
        "shrinkage": copula.shrinkage,
        "last": copula.last,
        "event_name": copula.event_name,
        "marginals": [[len(m.scores), len(m.values), m.has_steps, m.zero] for m in copula.marginals],
    }
    return head, {
        "correlation": copula.correlation,
        "scores": np.concatenate(scores),
        "levels": np.concatenate([m.values for m in copula.marginals]),
    }


def marginals_from(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[Marginal, ...]:
    """Return the marginals of a file."""
    made, s, v = [], 0, 0
    for scores, values, has_steps, zero in head["marginals"]:
        made.append(Marginal(arrays["scores"][s : s + scores], arrays["levels"][v : v + values], has_steps, zero))
        s, v = s + scores, v + values
    return tuple(made)


def _to_copula(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> Copula:
    return Copula(
        variables_from(head["variables"]), arrays["times"], head["unit"], tuple((j, t) for j, t in head["places"]), marginals_from(head, arrays), arrays["correlation"],
        head["shrinkage"], head["n"], head["history"], head["last"], head["event_name"],
    )  # fmt: skip
