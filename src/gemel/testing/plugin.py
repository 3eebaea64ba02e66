"""A pytest plugin: ``pytest -p gemel.testing.plugin --pyargs gemel.testing --twin ID`` runs the contract on a twin.

Without the plugin the environment variable ``GEMEL_TWIN`` names the twins, by commas; left out, all that are installed.
"""

from __future__ import annotations

import os
from typing import Any

from gemel.core.manifest import installed

__all__ = ["chosen", "is_quick", "pytest_addoption"]


def pytest_addoption(parser: Any) -> None:
    """Add ``--twin`` (repeatable) and ``--full``."""
    group = parser.getgroup("gemel", "the contract of twins")
    group.addoption(
        "--twin", action="append", default=[], metavar="ID", help="twin to check; repeat for more; left out, all that are installed"
    )
    group.addoption("--full", action="store_true", default=False, help="1,000 patients and 100 replicas instead of the quick check")


def _option(config: Any, name: str, default: Any) -> Any:
    try:
        return config.getoption(name)
    except ValueError:  # the plugin was not loaded
        return default


def chosen(config: Any) -> list[str]:
    """Return the twins to check: by option, else by ``GEMEL_TWIN``, else all."""
    named = _option(config, "--twin", []) or [t.strip() for t in os.environ.get("GEMEL_TWIN", "").split(",") if t.strip()]
    return named or sorted(installed())


def is_quick(config: Any) -> bool:
    """Say whether the quick check was asked for: the default."""
    return not (_option(config, "--full", False) or os.environ.get("GEMEL_FULL"))
