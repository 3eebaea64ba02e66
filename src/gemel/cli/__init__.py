"""The command line: it parses, calls and prints. Nothing is computed here, and nothing heavy is imported before a command asks for it.

Exit codes
----------
0 done; 1 a check or validation failed, or some people of a folder did; 2 usage or bad input; 3 the twin abstained;
4 not found: a file, a twin, a data set; 70 a defect of gemel; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, in the resident worker when one is running, and leave with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    from gemel.cli import client

    code = client.offer(given)
    if code is None:
        from gemel.cli.app import run

        code = run(given)
    sys.exit(code)
