"""Tables as columns, whatever file they come in: CSV, SAS transport, Parquet, Dataset-JSON. What a file is, its bytes say, not its name."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from gemel.core.errors import DataError, FormatError
from gemel.interop.cdisc.dataset import Dataset
from gemel.interop.cdisc.dataset_json import read_dataset_json
from gemel.interop.cdisc.xpt import read_xpt

__all__ = ["columns_of", "read_columns"]

Columns = dict[str, list[Any]]

_KINDS = {
    "SAS transport": (".xpt", ".xport", ".v5xpt", ".v8xpt"),
    "Parquet": (".parquet", ".pq"),
    "Dataset-JSON": (".json", ".ndjson", ".dsjson"),
    "text": (".csv", ".tsv", ".txt", ".dat", ".tab"),
}
_REFUSED = (
    (b"PK\x03\x04", "a workbook or zip archive", "save the sheet as CSV, or unpack it"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old workbook", "save the sheet as CSV"),
    (b"$FL2", "an SPSS file", "export it as CSV or SAS transport"),
    (
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xc2\xea\x81\x60",
        "a SAS data set (sas7bdat)",
        "export it as SAS transport (XPORT)",
    ),
    (b"<", "XML or HTML", "take the data themselves; a Define-XML only describes them"),
    (b"%PDF", "a PDF", "take the data themselves"),
    (b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
)


def read_columns(path: Path | str, where: Mapping[str, str] | None = None, *, dataset: str = "") -> Columns:
    """Read a table by what its bytes say it is, keeping the rows whose columns equal ``where``.

    Parameters
    ----------
    path : CSV (commas, semicolons, tabs or blanks), SAS transport 5 or 8, Parquet, Dataset-JSON 1.1.
    where : column -> value; a number equals the text that says it.
    dataset : which data set of a transport file that holds several.

    Returns
    -------
    dict
        Name -> (row,) values: text from CSV as it stands; else text, whole numbers as ``int``, other numbers as ``float``, dates as ISO 8601, None where missing.

    Raises
    ------
    FormatError
        When the file is empty, cut off, of a kind that is not read, or another than its extension says.
    DataError
        When a column of ``where`` is not there, or Parquet cannot be read here.
    """
    path = Path(path)
    if path.is_dir():
        raise FormatError("a folder is no table", seen=path.name, expected="a file")
    body = path.read_bytes()
    if not body.strip():
        raise FormatError("the file is empty", seen=f"{path.name}: {len(body)} bytes", expected="a head and one row per subject")
    kind, reader = _kind(body, path.name)
    promised = next((k for k, ends in _KINDS.items() if path.suffix.lower() in ends), kind)
    if promised != kind:
        raise FormatError(
            "the file is not what its name says", seen=f"{path.name}: {kind}", expected=promised, fix="check how it was made, and rename it"
        )
    if kind == "text":
        return columns_of(_decoded(body, path.name).splitlines(keepends=True), where=where)
    found = reader(body, dataset)
    return _kept(found, where or {})


def _kind(body: bytes, name: str) -> tuple[str, Callable[[bytes, str], Columns]]:
    start = body.lstrip(b"\xef\xbb\xbf").lstrip()[:1]
    if body.startswith(b"HEADER RECORD*******LIB"):
        return "SAS transport", _of_xpt
    if body.startswith(b"PAR1"):
        return "Parquet", _of_parquet
    if start in (b"{", b"["):
        return "Dataset-JSON", _of_json
    for magic, kind, fix in _REFUSED:
        if body.startswith(magic) or (magic == b"<" and start == b"<"):
            raise FormatError(f"this is {kind}", seen=name, expected="CSV, SAS transport, Parquet or Dataset-JSON", fix=fix)
    if b"\0" in body[:4096]:
        raise FormatError("a file of no known kind", seen=f"{name}: {body[:8]!r}", expected="CSV, SAS transport, Parquet or Dataset-JSON")
    return "text", _of_json


def _decoded(body: bytes, name: str) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError("the text is not UTF-8", seen=f"{name}: byte {error.start}", expected="UTF-8", fix="save it as UTF-8") from error


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _plain(data: Dataset) -> Columns:
    return {k: [_number(x) if isinstance(x, float) else x for x in values] for k, values in data.dated().items()}


def _of_xpt(body: bytes, dataset: str) -> Columns:
    found = read_xpt(body)
    names = [d.name for d in found]
    if len(found) > 1 and not dataset:
        raise FormatError(
            "the transport file holds several data sets", seen=names, expected="one", fix="one data set a file; or dataset= in Python"
        )
    if dataset and dataset not in names:
        raise FormatError("no such data set in the transport file", seen=dataset, expected=names)
    return _plain(found[names.index(dataset) if dataset else 0])


def _of_json(body: bytes, dataset: str) -> Columns:  # noqa: ARG001  one signature for all kinds
    return _plain(read_dataset_json(_decoded(body, "the JSON")))


def _cell(value: object, name: str) -> Any:
    if value is None or isinstance(value, (str, int)):
        return int(value) if isinstance(value, bool) else value
    if isinstance(value, float):
        return None if value != value else _number(value)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return _number(float(value))
    raise FormatError(
        "a column of the Parquet file is not plain", seen=f"{name}: {type(value).__name__}", expected="numbers, text or dates"
    )


def _of_parquet(body: bytes, dataset: str) -> Columns:  # noqa: ARG001  one signature for all kinds
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            "Parquet cannot be read here", seen="no pyarrow", expected="the extra [parquet]", fix="pip install 'gemel[parquet]'"
        ) from error
    try:
        table = parquet.read_table(io.BytesIO(body))
    except (arrow.ArrowException, OSError) as error:
        raise FormatError("the Parquet file is cut off or broken", seen=str(error)[:120], expected="a whole file") from error
    return {name: [_cell(v, name) for v in table.column(i).to_pylist()] for i, name in enumerate(table.column_names)}


def _same(value: object, wanted: str) -> bool:
    if isinstance(value, (int, float)):
        try:
            return float(wanted) == value
        except ValueError:
            return False
    return ("" if value is None else str(value).strip()) == wanted.strip()


def _nothing_left(found: Columns, where: Mapping[str, str], rows: int) -> FormatError:
    """Say which value never occurs, and which do: an unknown PARAMCD is seen at once."""
    for name, value in where.items():
        if rows and not any(_same(v, value) for v in found[name]):
            known = sorted({"" if v is None else str(v) for v in found[name]})
            more = f" and {len(known) - 12} more" if len(known) > 12 else ""
            return FormatError(
                "no row is left", seen=f"no {name} is {value!r}", expected=f"one of {', '.join(known[:12])}{more}", fix="correct --where"
            )
    return FormatError("no row is left", seen=f"{rows} rows, none with {dict(where)}", expected="at least one")


def _kept(found: Columns, where: Mapping[str, str]) -> Columns:
    for name in where:
        if name not in found:
            raise DataError("a column is missing", seen=name, expected=f"one of {', '.join(found)}", fix="check the spelling")
    rows = len(next(iter(found.values()), []))
    keep = [i for i in range(rows) if all(_same(found[name][i], value) for name, value in where.items())]
    if not keep:
        raise _nothing_left(found, where, rows)
    return {name: [values[i] for i in keep] for name, values in found.items()}


def _rows(text: Sequence[str]) -> list[list[str]]:
    if not text:
        return []
    mark = next((m for m in (",", "\t", ";") if m in text[0]), "")
    if not mark or (mark == "\t" and "\t" not in text[0].strip()):
        return [line.replace('"', "").split() for line in text]
    return list(csv.reader(text, delimiter=mark))


def columns_of(lines: Iterable[str], *, where: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """Read a table with a head, keeping the rows whose columns equal ``where``. Separated by commas, else by tabs, semicolons or blanks.

    Raises
    ------
    FormatError
        When there is no head, a name comes twice, a row is longer or shorter than the head, or no row is left.
    DataError
        When a column of ``where`` is not there.
    """
    rows = _rows([line for line in lines if line.strip()])
    if not rows:
        raise FormatError("the table is empty", expected="a head and one row per subject")
    head = [name.strip().lstrip("\ufeff") for name in rows[0]]
    if len(set(head)) < len(head):
        raise FormatError("a column comes twice", seen=sorted(k for k, n in Counter(head).items() if n > 1), expected="one name per column")
    for i, row in enumerate(rows[1:], start=2):
        if len(row) != len(head):
            raise FormatError(
                "a row does not fit the head",
                seen=f"row {i}: {len(row)} fields",
                expected=len(head),
                fix="correct the table; a file may be cut off",
            )
    return _kept({name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(head)}, where or {})
