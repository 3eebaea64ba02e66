"""What the staged benchmarks share: a word to whoever waits, and stages kept on disk with the settings that made them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Results:
    """What is known so far, on disk."""

    def __init__(self, path: Path, again: bool) -> None:
        self.path = path
        self.stages: dict[str, Any] = json.loads(path.read_text()) if path.is_file() and not again else {}

    def get(self, name: str, settings: dict[str, Any]) -> dict[str, Any] | None:
        kept = self.stages.get(name)
        return kept if kept is not None and kept["settings"] == settings else None

    def put(self, name: str, settings: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        self.stages[name] = {"settings": settings, **values}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(self.stages, indent=1))
        beside.replace(self.path)
        return self.stages[name]
