"""What a server answered that was not what was asked for."""

from __future__ import annotations

from typing import Any

from gemel.core.errors import GemelError

__all__ = ["ApiError", "JobFailed", "Unreachable"]


class ApiError(GemelError, RuntimeError):
    """The server refused, and said why (RFC 9457).

    Parameters
    ----------
    status : of HTTP.
    code : the kind of problem, such as ``conflict``.
    request : id under which the server's log and audit trail know the request.
    """

    def __init__(self, status: int, problem: dict[str, Any], *, request: str = "") -> None:
        self.status, self.code, self.request = status, str(problem.get("code", "")), request
        wrong = "; ".join(f"{one.get('where')}: {one.get('what')}" for one in problem.get("wrong") or ())
        super().__init__(
            str(problem.get("title") or f"the server answered {status}"), seen=problem.get("seen") or wrong or None, expected=problem.get("expected"),
            fix=problem.get("next"),
        )  # fmt: skip


class Unreachable(GemelError, RuntimeError):
    """The server did not answer, also when it was asked again."""


class JobFailed(GemelError, RuntimeError):
    """Work was given up or cancelled.

    Parameters
    ----------
    job : its id. state : dead or cancelled.
    """

    def __init__(self, job: str, state: str, reason: str | None) -> None:
        self.job, self.state = job, state
        seen = f"{state}: {reason}" if reason else state
        super().__init__("the work has no result", seen=seen, expected="done", fix=f"POST /api/v1/jobs/{job}/redrive puts it back")
