"""Tables as HTML: the numbers behind a figure, with units, rounded by a stated rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gemel.core.reduce import reduce_m4
from gemel.core.view import Array, Column, Table, number_text, unit_text
from gemel.core.view.words import stamp_text
from gemel.web.svg import escape

DIGITS = 6


def render_table(table: Table, *, max_rows: int = 600, is_whole: bool = False) -> str:
    """Write a table.

    Parameters
    ----------
    table : to be written.
    max_rows : a longer table is thinned to about this many rows, lowest and highest of each stretch among them, and says so.
    is_whole : do not let it scroll within the page.
    """
    shown = chosen_rows(table, max_rows)
    heads = "".join(f'<th scope="col"{_left(column)}>{escape(column.label)}{_unit(column)}</th>' for column in table.columns)
    columns = [_cells(column, shown) for column in table.columns]
    keys = _keys(table, shown)
    sides = [_left(column) for column in table.columns]
    rows = "".join(
        f"<tr{key}>" + "".join(f"<td{side}>{cell}</td>" for side, cell in zip(sides, cells, strict=True)) + "</tr>"
        for key, cells in zip(keys, zip(*columns, strict=True), strict=True)
    )
    notes = []
    if len(shown) < table.rows:
        notes.append(
            f"{len(shown):,} of {table.rows:,} rows: first, last, lowest and highest of each stretch; all are in the JSON of this view"
        )
    if any(isinstance(column.values, Array) and column.kind == "number" for column in table.columns):
        notes.append(f"rounded to {DIGITS} significant digits")
    notes += [table.note.rstrip(".")] if table.note else []
    said = f'<p class="small">{escape("; ".join(notes))}.</p>' if notes else ""
    name = escape(table.title or "table")
    head = f"<thead><tr>{heads}</tr></thead>"
    kind = "scroll whole" if is_whole else "scroll"
    return f'<div class="{kind}" tabindex="0" role="region" aria-label="{name}"><table>{head}<tbody>{rows}</tbody></table></div>{said}'


def chosen_rows(table: Table, max_rows: int) -> NDArray[np.int64]:
    """Return which rows are shown: all, or so many that no lowest or highest value of a stretch is lost."""
    if table.rows <= max_rows:
        return np.arange(table.rows)
    numbers = [column.values.numpy() for column in table.columns if isinstance(column.values, Array) and column.kind == "number"]
    if not numbers:
        return np.arange(max_rows)
    place = np.arange(table.rows)
    buckets = max(1, max_rows // (2 + 2 * len(numbers)))
    kept = [reduce_m4(place, values.astype(np.float64), buckets).index for values in numbers]
    return np.unique(np.concatenate([*kept, [0, table.rows - 1]]))


def _cells(column: Column, shown: NDArray[np.int64]) -> list[str]:
    if not isinstance(column.values, Array):
        return [escape(column.values[i] or "") for i in shown.tolist()]
    values = column.values.numpy()[shown].tolist()
    if column.kind == "time":
        return [stamp_text(value, column.zone) for value in values]
    if column.kind == "clock":
        return [f"{int(value) // 60:02d}:{int(value) % 60:02d}" for value in values]
    return [number_text(value, digits=DIGITS) if np.isfinite(value) else "" for value in values]


def _keys(table: Table, shown: NDArray[np.int64]) -> list[str]:
    first = table.columns[0].values
    if not table.is_keyed or not isinstance(first, Array):
        return [""] * len(shown)
    return [f' data-x="{value!r}"' for value in first.numpy()[shown].tolist()]


def _unit(column: Column) -> str:
    text = column.zone if column.kind == "time" else unit_text(column.written_unit)
    return f" <span>{escape(text)}</span>" if text and column.kind != "clock" else ""


def _left(column: Column) -> str:
    return ' class="t"' if column.kind in ("text", "time", "clock") else ""
