"""Twins and forecasts in files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemel.cli.methods import classes_of
from gemel.cli.options import existing, use_engine
from gemel.cli.output import atomic_write, plain

if TYPE_CHECKING:
    from gemel.engine.forecast import Forecast
    from gemel.engine.room import Room
    from gemel.engine.twin import Twin

__all__ = ["FORMAT", "read_forecasts", "read_twin", "write_forecasts", "write_twin"]

FORMAT = "gemel-forecast/1"
LEVELS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)


def read_twin(path: Path) -> tuple[Twin, Room]:
    """Load a twin from its file, with the room it belongs to."""
    from gemel.core.errors import FormatError

    if existing(path).is_dir():
        raise FormatError("a twin is a file", seen=f"folder {path.name}", fix="name one of the .twin files in it")
    use_engine()
    from gemel.engine import serialise
    from gemel.verbs import room

    body = path.read_bytes()
    told = serialise.peek(body)
    here = room(told["twin"])
    return serialise.load(body, here.model(), classes_of(told["method"], here)), here


def write_twin(path: Path, twin: Twin) -> None:
    """Write a twin; the file is replaced as a whole."""
    from gemel.engine import serialise

    atomic_write(path, serialise.dump(twin))


def _entry(forecast: Forecast) -> dict[str, Any]:
    """Return everything of a forecast but its draws, as plain values."""
    return {
        "patient": forecast.patient, "plan": forecast.plan, "issued": forecast.issued, "times": [int(t) for t in forecast.times],
        "outputs": [[o.name, o.code, o.unit] for o in forecast.outputs], "status": forecast.status.name, "reason": forecast.reason,
        "validity": forecast.method_validity, "lineage": forecast.lineage.model_dump(),
    }  # fmt: skip


def _forecast(entry: Mapping[str, Any], draws: Any) -> Forecast:
    import numpy as np

    from gemel.core.lineage import Lineage
    from gemel.engine.forecast import Forecast
    from gemel.engine.model import Output
    from gemel.engine.status import Status

    outputs = tuple(Output(*o) for o in entry["outputs"])
    values = np.asarray(draws, float).reshape(-1, len(entry["times"]), len(outputs))
    return Forecast(
        draws=values, times=np.asarray(entry["times"], np.int64), outputs=outputs, issued=entry["issued"], status=Status[entry["status"]],
        reason=entry["reason"], plan=entry["plan"], patient=entry["patient"], lineage=Lineage(**entry["lineage"]), method_validity=entry["validity"],
    )  # fmt: skip


def _rows(forecasts: Sequence[Forecast], *, draws: bool) -> list[dict[str, Any]]:
    """Return one row per person, plan, time and output; an abstained forecast has rows without numbers."""
    from gemel.core.time import iso

    rows = []
    for forecast in forecasts:
        table = forecast.table(levels=LEVELS)
        about = json.dumps(plain(_entry(forecast)), sort_keys=True) if draws else ""
        for k, output in enumerate(forecast.outputs):
            for j, (time, horizon) in enumerate(zip(forecast.times, forecast.horizons, strict=True)):
                made = j < len(table.times)
                row: dict[str, Any] = {
                    "patient": forecast.patient, "plan": forecast.plan, "issued": iso(forecast.issued), "time": iso(int(time)), "horizon_min": float(horizon),
                    "output": output.name, "code": output.code, "unit": output.unit, "status": forecast.status.name, "reason": forecast.reason if not made else "",
                    "mean": float(table.mean[j, k]) if made else None,
                }  # fmt: skip
                row |= {f"q{level * 100:g}": float(table.quantiles[i, j, k]) if made else None for i, level in enumerate(LEVELS)}
                row["lineage"] = forecast.lineage.id
                if draws:
                    row["draws"] = " ".join(repr(float(x)) for x in forecast.draws[:, j, k]) if made else ""
                    row["about"] = about
                rows.append(row)
    return rows


def write_forecasts(path: Path, forecasts: Sequence[Forecast], *, keep_draws: bool = False) -> None:
    """Write forecasts as the ending says: ``.json`` and ``.parquet`` hold the draws, ``.csv`` when they are asked for.

    Raises
    ------
    FormatError
        When the ending is another, or Parquet is asked for without its extra.
    """
    from gemel.core.errors import FormatError

    kind = path.suffix.lower()
    if kind == ".json":
        body = {"format": FORMAT, "forecasts": [_entry(f) | {"table": f.table().to_dict(), "draws": f.draws.tolist()} for f in forecasts]}
        atomic_write(path, (json.dumps(plain(body), sort_keys=True) + "\n").encode())
    elif kind == ".csv":
        rows = _rows(forecasts, draws=keep_draws)
        sink = io.StringIO(newline="")
        writer = csv.DictWriter(sink, list(rows[0]) if rows else ["patient"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(path, sink.getvalue().encode())
    elif kind == ".parquet":
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise FormatError(
                "Parquet needs an extra", seen="pyarrow is not installed", fix="pip install 'gemel[parquet]', or write .csv or .json"
            ) from error
        buffer = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(_rows(forecasts, draws=True)), buffer, compression="zstd")
        atomic_write(path, buffer.getvalue().to_pybytes())
    else:
        raise FormatError(
            "a forecast cannot be written in this form", seen=path.name, expected="a name that ends in .csv, .json or .parquet"
        )


def check_ending(path: Path | None) -> None:
    """Refuse an ending that :func:`write_forecasts` would refuse, before any work is done."""
    from gemel.core.errors import FormatError

    if path is not None and path.suffix.lower() not in (".csv", ".json", ".parquet"):
        raise FormatError(
            "a forecast cannot be written in this form", seen=path.name, expected="a name that ends in .csv, .json or .parquet"
        )


def read_forecasts(path: Path) -> list[Forecast]:
    """Read forecasts with their draws.

    Raises
    ------
    FormatError
        When the file is none, is damaged, or is a table of quantiles without draws.
    """
    from gemel.core.errors import FormatError

    raw = path.read_bytes() if existing(path).is_file() else b""
    try:
        if raw[:4] == b"PAR1":
            import pyarrow.parquet

            return _from_rows(pyarrow.parquet.read_table(io.BytesIO(raw)).to_pylist(), path)
        text = raw.decode("utf-8")
        if text.lstrip().startswith("{"):
            found = json.loads(text)
            if found.get("format") != FORMAT:
                raise FormatError("a forecast of another format", seen=found.get("format"), expected=FORMAT)
            return [_forecast(entry, entry["draws"]) for entry in found["forecasts"]]
        csv.field_size_limit(1 << 26)
        return _from_rows(list(csv.DictReader(io.StringIO(text))), path)
    except FormatError:
        raise
    except ImportError as error:
        raise FormatError("Parquet needs an extra", seen="pyarrow is not installed", fix="pip install 'gemel[parquet]'") from error
    except (ValueError, KeyError, TypeError, OSError, csv.Error) as error:
        raise FormatError(
            f"{path.name} holds no forecast",
            seen=f"{type(error).__name__}: {error}"[:120],
            expected="a file written by gemel forecast -o",
        ) from error


def _from_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> list[Forecast]:
    import numpy as np

    from gemel.core.errors import FormatError

    if not rows or "draws" not in rows[0]:
        raise FormatError(
            f"{path.name} holds no draws to score", seen=", ".join(list(rows[0])[:6]) if rows else "an empty table", expected="a column 'draws'",
            fix="write the forecast as .json or .parquet, or as .csv with --keep-draws",
        )  # fmt: skip
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["about"], []).append(row)
    found = []
    for about, group in groups.items():
        entry = json.loads(about)
        columns = [np.array([float(x) for x in row["draws"].split()]) for row in group]
        shape = (len(entry["outputs"]), len(entry["times"]))
        draws = np.stack(columns).reshape(*shape, -1).transpose(2, 1, 0) if len(columns[0]) else np.zeros((0, shape[1], shape[0]))
        found.append(_forecast(entry, draws))
    return found
