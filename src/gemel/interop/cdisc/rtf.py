r"""Tables as RTF, which every word processor of a submission team opens: heads repeat on each page, nothing needs a template.

References
----------
Microsoft, Rich Text Format (RTF) Specification 1.9.1 (table definitions, ``\u`` for characters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gemel.core.errors import DataError

__all__ = ["RtfTable", "rtf_document"]

WIDTH = 13_000
"""Twips between the margins of a landscape page of A4 with 1 inch."""


@dataclass(frozen=True)
class RtfTable:
    """One table: a title, heads, rows of text, notes under it. ``right`` : columns aligned there."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    right: tuple[int, ...] = ()


def _escaped(text: str) -> str:
    out = []
    for c in text:
        if c in "\\{}":
            out.append("\\" + c)
        elif c == "\n":
            out.append("\\line ")
        elif ord(c) < 128:
            out.append(c)
        else:
            units = c.encode("utf-16-le")
            out += [f"\\u{int.from_bytes(units[i : i + 2], 'little', signed=True)}?" for i in range(0, len(units), 2)]
    return "".join(out)


def _ends(table: RtfTable) -> list[int]:
    """Return where each column ends, wider where texts are longer."""
    longest = [max([len(h), *(len(r[i]) for r in table.rows)], default=1) for i, h in enumerate(table.heads)]
    shares = [min(max(n, 6), 60) ** 0.7 for n in longest]
    total, at, out = sum(shares), 0.0, []
    for share in shares:
        at += share
        out.append(round(WIDTH * at / total))
    return out


def _row(cells: Sequence[str], ends: Sequence[int], right: Sequence[int], *, is_head: bool) -> str:
    border, bold, plain, repeat = (
        ("\\clbrdrt\\brdrs\\brdrw10\\clbrdrb\\brdrs\\brdrw10", "\\b", "\\b0", "\\trhdr") if is_head else ("", "", "", "")
    )
    places = "".join(f"{border}\\cellx{end}" for end in ends)
    sides = ["qr" if i in right else "ql" for i in range(len(cells))]
    texts = "".join(f"\\pard\\intbl\\{side}{bold} {_escaped(cell)}{plain}\\cell" for side, cell in zip(sides, cells, strict=True))
    return f"\\trowd\\trgaph80{repeat}\\trkeep{places}{texts}\\row\n"


def rtf_document(title: str, tables: Sequence[RtfTable], *, footer: str = "") -> str:
    """Write tables as one RTF document in landscape A4, each on a page of its own, in ASCII.

    Parameters
    ----------
    footer : stands under every page.

    Raises
    ------
    DataError
        When a row does not fit its heads.
    """
    parts = [
        "{\\rtf1\\ansi\\ansicpg1252\\deff0{\\fonttbl{\\f0\\fmodern Courier New;}}\\paperw16838\\paperh11906\\landscape\\margl1440\\margr1440\\margt1440\\margb1440\\fs18\n",
        f"{{\\info{{\\title {_escaped(title)}}}}}",
        f"{{\\footer\\pard\\fs14 {_escaped(footer)}\\par}}\n" if footer else "",
    ]
    for i, table in enumerate(tables):
        wrong = [len(r) for r in table.rows if len(r) != len(table.heads)]
        if wrong:
            raise DataError("a row does not fit the heads of its table", seen=f"{table.title}: {wrong[0]}", expected=len(table.heads))
        ends = _ends(table)
        parts.append(("\\page" if i else "") + f"\\pard\\ql\\b {_escaped(table.title)}\\b0\\par\\par\n")
        parts.append(_row(table.heads, ends, table.right, is_head=True))
        parts += [_row(r, ends, table.right, is_head=False) for r in table.rows]
        parts.append("\\pard\\par\n" + "".join(f"\\pard\\fs14 {_escaped(n)}\\fs18\\par\n" for n in table.notes))
    return "".join(parts) + "}\n"
