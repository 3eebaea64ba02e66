"""Write generated pages below ``docs/_generated``, touching only what changed so that Sphinx reads only that again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

FOLDER = "_generated"
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)[^)\s]+\)")


def write(source: Path, folder: str, pages: Mapping[str, str]) -> None:
    """Make ``source/_generated/folder`` hold exactly these files."""
    home = source / FOLDER / folder
    home.mkdir(parents=True, exist_ok=True)
    for stale in home.iterdir():
        if stale.is_file() and stale.name not in pages:
            stale.unlink()
    for name, text in pages.items():
        path = home / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table, or nothing where there is no row."""
    if not rows:
        return []
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(cell.replace('|', chr(92) + '|') or ' ' for cell in row)} |" for row in rows), ""]


def embedded(markdown: str, deeper: int) -> str:
    """Return a Markdown file without its first heading, for inclusion: headings go deeper, links to files beside it become words."""
    lines, fenced = [], False
    for line in markdown.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if not fenced and re.match(r"#+ ", line):
            line = "#" * deeper + line
        lines.append(line if fenced else _LINK.sub(r"\1", line))
    text = "\n".join(lines).strip()
    return re.sub(r"\A#+ [^\n]*\n+", "", text) + "\n"
