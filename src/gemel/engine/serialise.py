"""A twin as bytes: a zip of ``.npy`` arrays and a JSON manifest. Never pickle; load gives bit-identical forecasts."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gemel import __version__
from gemel.core.advice import AbstentionReason
from gemel.core.errors import FormatError
from gemel.core.lineage import Lineage
from gemel.engine.correction import Correction, DiscrepancySet
from gemel.engine.data import Dataset, Slots
from gemel.engine.infer.base import AbstractMethod, Inference
from gemel.engine.infer.ladder import Ladder
from gemel.engine.model import AbstractModel, Domain, Observed
from gemel.engine.plan import Plan
from gemel.engine.posterior import Ensemble, Laplace
from gemel.engine.status import Status
from gemel.engine.stream import EnsembleFilter, Stream
from gemel.engine.twin import Twin

__all__ = ["FORMAT", "dump", "load", "peek"]

FORMAT = "gemel-twin/1"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    return array.item() if array.ndim == 0 else array.tolist()


def _settings(module: eqx.Module) -> dict[str, Any]:
    """Return the settings of a method or filter; a setting that JSON cannot hold is refused, never dropped."""
    found = {}
    for f in dataclasses.fields(module):
        value = getattr(module, f.name)
        if isinstance(value, AbstractMethod):
            found[f.name] = _told(value)
            continue
        parts = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(part, (int, float, str, bool, type(None))) for part in parts):
            raise FormatError(
                f"setting {f.name!r} of {type(module).__name__} cannot be stored", seen=type(value).__name__, expected="numbers, text, or a tuple of them",
                fix="calibrate with a method of plain settings",
            )  # fmt: skip
        found[f.name] = list(value) if isinstance(value, tuple) else value
    return found


def _restored(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def _told(method: AbstractMethod) -> dict[str, Any]:
    """Return a method as plain values; a ladder as its rungs."""
    if isinstance(method, Ladder):
        return {"name": method.name, "rungs": [_told(rung) for rung in method.rungs]}
    return {"name": method.name, "settings": _settings(method)}


def _rebuilt(told: dict[str, Any], methods: dict[str, type[AbstractMethod]]) -> AbstractMethod:
    if "rungs" in told:
        return Ladder([_rebuilt(rung, methods) for rung in told["rungs"]])
    if told["name"] not in methods:
        raise FormatError("the twin was made by a method that is not known here", seen=told["name"], expected=sorted(methods))
    inner = {name: _rebuilt(value, methods) for name, value in told["settings"].items() if isinstance(value, dict)}
    return methods[told["name"]](**_restored(told["settings"]) | inner)


def dump(twin: Twin) -> bytes:
    """Return a twin as bytes: the same twin, the same bytes."""
    model_leaves, _ = jax.tree.flatten(eqx.filter(twin.model, eqx.is_array))
    posterior = twin.inference.posterior
    arrays: dict[str, np.ndarray] = {"key": np.asarray(jax.random.key_data(twin.key))}
    arrays |= {f"model/{i}": np.asarray(x) for i, x in enumerate(model_leaves)}
    if not isinstance(posterior, (Laplace, Ensemble)):
        raise FormatError("a posterior of this kind cannot be stored", seen=type(posterior).__name__, expected="Laplace or Ensemble")
    kind = "laplace" if isinstance(posterior, Laplace) else "ensemble"
    arrays |= {f"posterior/{f.name}": np.asarray(getattr(posterior, f.name)) for f in dataclasses.fields(posterior)}
    arrays |= {f"data/{f.name}": np.asarray(getattr(twin.observed.data, f.name)) for f in dataclasses.fields(twin.observed.data)}
    arrays |= {f"plan/{f.name}": np.asarray(getattr(twin.observed.plan, f.name)) for f in dataclasses.fields(twin.observed.plan)}
    arrays |= {f"context/{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(twin.observed.context))}
    if twin.learnt is not None:
        arrays |= {f"learnt/{k}": v for k, v in twin.learnt.to_arrays().items()}
    if twin.correction is not None:
        arrays |= {"correction/horizons": twin.correction.horizons, "correction/quantiles": twin.correction.quantiles}
    state: dict[str, Any] | None = None
    if twin.stream is not None:
        s = twin.stream
        state = {"first": s.first, "learn_from": s.learn_from, "done": s.done, "checkpoints": [k for k, _ in s.checkpoints]}
        arrays |= {"stream/rows": s.rows, "stream/surprise": s.surprise}
        arrays |= {f"stream/checkpoint/{k}": r for k, r in s.checkpoints}
        arrays |= {f"seen/{f.name}": np.asarray(getattr(s.seen, f.name)) for f in dataclasses.fields(s.seen)}
    manifest = {
        "format": FORMAT, "code_version": __version__, "twin": twin.model.id, "model_version": twin.model.version, "patient": twin.patient, "epoch": twin.epoch,
        "calibrated": twin.calibrated, "now": twin.now, "status": int(twin.status), "notes": list(twin.notes), "lineage": twin.lineage.model_dump(),
        "domain": {"reason": twin.domain.reason.name if twin.domain.reason else None, "sentence": twin.domain.sentence},
        "observed": {"epoch": twin.observed.epoch, "latest": twin.observed.latest, "notes": list(twin.observed.notes), "last": twin.observed.last, "counts": twin.observed.counts},
        "inference": {
            "posterior": kind, "status": int(twin.inference.status), "method": twin.inference.method, "validity": twin.inference.method_validity,
            "diagnostics": {k: _plain(v) for k, v in twin.inference.diagnostics.items() if np.asarray(v).dtype.kind in "biufU" and np.asarray(v).size <= 4096},
            "log_evidence": None if twin.inference.log_evidence is None else float(twin.inference.log_evidence),
        },
        "method": _told(twin.method), "filter": _settings(twin.filter), "stream": state, "extra": twin.extra,
    }  # fmt: skip
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr(zipfile.ZipInfo("manifest.json", _EPOCH), json.dumps(manifest, sort_keys=True, indent=1))
        for name in sorted(arrays):
            body = io.BytesIO()
            np.lib.format.write_array(
                body, np.ascontiguousarray(arrays[name]) if np.asarray(arrays[name]).ndim else np.asarray(arrays[name]), allow_pickle=False
            )
            info = zipfile.ZipInfo(f"arrays/{name}.npy", _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(info, body.getvalue())
    return sink.getvalue()


def _open(body: bytes) -> tuple[dict[str, Any], zipfile.ZipFile]:
    try:
        bundle = zipfile.ZipFile(io.BytesIO(body))
        manifest = json.loads(bundle.read("manifest.json"))
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(
            "not a twin, or a damaged one", seen=str(error), expected=FORMAT, fix="calibrate again, or restore it from the store"
        ) from error
    if manifest.get("format") != FORMAT:
        raise FormatError(
            "a twin of another format", seen=manifest.get("format"), expected=FORMAT, fix="read it with the version of gemel that wrote it"
        )
    return manifest, bundle


def peek(body: bytes) -> dict[str, Any]:
    """Return the manifest of a stored twin without loading its arrays."""
    return _open(body)[0]


def load(body: bytes, model: AbstractModel, methods: dict[str, type[AbstractMethod]]) -> Twin:
    """Return the twin that :func:`dump` wrote.

    Parameters
    ----------
    body : the bytes.
    model : the model of the twin's room, as built now; its arrays are replaced by the stored ones.
    methods : methods of inference by name, so that a recalibration uses the stored one.

    Raises
    ------
    FormatError
        When the bytes are damaged, or of another twin or model version.
    """
    manifest, bundle = _open(body)
    if (manifest["twin"], manifest["model_version"]) != (model.id, model.version):
        raise FormatError(
            "the twin belongs to another model",
            seen=f"{manifest['twin']} {manifest['model_version']}",
            expected=f"{model.id} {model.version}",
            fix="calibrate again",
        )

    def array(name: str) -> np.ndarray:
        try:
            return np.lib.format.read_array(io.BytesIO(bundle.read(f"arrays/{name}.npy")), allow_pickle=False)
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise FormatError("a stored twin lacks an array or has a damaged one", seen=name, fix="restore it from the store") from error

    arrays, static = eqx.partition(model, eqx.is_array)
    leaves, treedef = jax.tree.flatten(arrays)
    model = eqx.combine(jax.tree.unflatten(treedef, [jnp.asarray(array(f"model/{i}")) for i in range(len(leaves))]), static)
    told = manifest["inference"]
    kind = Laplace if told["posterior"] == "laplace" else Ensemble
    posterior = kind(*(jnp.asarray(array(f"posterior/{f.name}")) for f in dataclasses.fields(kind)))
    inference = Inference(posterior, told["diagnostics"], told["status"], told["method"], told["validity"], told["log_evidence"])
    data = Dataset(*(jnp.asarray(array(f"data/{f.name}")) for f in dataclasses.fields(Dataset)))
    plan = Plan(*(jnp.asarray(array(f"plan/{f.name}")) for f in dataclasses.fields(Plan)))
    count = sum(1 for n in bundle.namelist() if n.startswith("arrays/context/"))
    context = model.context([array(f"context/{i}") for i in range(count)])
    seen = manifest["observed"]
    observed = Observed(seen["epoch"], data, plan, context, seen["latest"], tuple(seen["notes"]), seen["counts"], seen["last"])
    method = _rebuilt(manifest["method"], methods)
    state = None
    if manifest["stream"] is not None:
        m = manifest["stream"]
        slots = Slots(*(array(f"seen/{f.name}") for f in dataclasses.fields(Slots)))
        points = tuple((k, array(f"stream/checkpoint/{k}")) for k in m["checkpoints"])
        state = Stream(m["first"], m["learn_from"], m["done"], array("stream/rows"), slots, points, array("stream/surprise"))
    stored = [n.removeprefix("arrays/").removesuffix(".npy") for n in bundle.namelist()]
    learnt = {n.removeprefix("learnt/"): array(n) for n in stored if n.startswith("learnt/")}
    correction = Correction(array("correction/horizons"), array("correction/quantiles")) if "correction/horizons" in stored else None
    reason = manifest["domain"]["reason"]
    return Twin(
        patient=manifest["patient"], model=model, inference=inference, epoch=manifest["epoch"], calibrated=manifest["calibrated"], now=manifest["now"],
        observed=observed, domain=Domain(AbstentionReason[reason] if reason else None, manifest["domain"]["sentence"]), lineage=Lineage(**manifest["lineage"]),
        key=jax.random.wrap_key_data(jnp.asarray(array("key"))), method=method, filter=EnsembleFilter(**_restored(manifest["filter"])),
        stream=state, learnt=DiscrepancySet.from_arrays(learnt) if learnt else None, correction=correction, status=Status(manifest["status"]), notes=tuple(manifest["notes"]), extra=manifest["extra"],
    )  # fmt: skip
