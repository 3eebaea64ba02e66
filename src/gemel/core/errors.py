"""The one tree of errors.

::

    GemelError
    ├── DataError (ValueError)          what came in cannot be used as it is
    │   ├── FormatError                 a file or message that cannot be read
    │   ├── UnitError                   a unit that is missing, unknown or cannot be converted
    │   ├── TimeError                   a time that is missing, ambiguous, backwards or in the future
    │   ├── ValueRangeError             a value outside what is possible
    │   └── GeometryError               a vessel tree, surface or volume that cannot be one
    ├── CodeError (ValueError)          a code that is not well formed or not known
    ├── ManifestError (ValueError)      a twin.toml that does not say what it must
    ├── ModelError (ValueError)         a model that breaks its contract
    ├── InferenceError (RuntimeError)   a method that cannot handle the model, or did not finish
    ├── DomainError (ValueError)        a question outside what the twin is validated for
    ├── EvidenceError (ValueError)      evidence that the rows given cannot carry
    ├── ViewError (ValueError)          a figure or scene that lacks what every figure must have
    ├── StoreError (RuntimeError)       the store is locked, damaged or of another version
    ├── DatasetError (RuntimeError)     a data set that cannot be had, or whose hash differs
    ├── TwinNotFoundError (LookupError) no twin of that id is installed
    ├── AuthenticationError (RuntimeError) who asks has not shown who they are
    ├── AccessDenied (RuntimeError)     who asks may not; or there is no such thing, which looks the same
    ├── ConflictError (RuntimeError)    what was to be changed has changed, or the same was asked differently
    ├── RemoteError (RuntimeError)      another system did not answer, or not as it must
    ├── LimitError (RuntimeError)       too large, too deep, or too often
    ├── ConfigurationError (ValueError) settings that are unknown, contradict each other or are not safe
    └── ContractError (AssertionError)  check_twin found a broken promise

Every message says what was wrong, what was seen, what was expected and what to do next.
"""

from __future__ import annotations

__all__ = [
    "AccessDenied",
    "AuthenticationError",
    "CodeError",
    "ConfigurationError",
    "ConflictError",
    "ContractError",
    "DataError",
    "DatasetError",
    "DomainError",
    "EvidenceError",
    "FormatError",
    "GemelError",
    "GeometryError",
    "InferenceError",
    "LimitError",
    "ManifestError",
    "ModelError",
    "RemoteError",
    "StoreError",
    "TimeError",
    "TwinNotFoundError",
    "UnitError",
    "ValueRangeError",
    "ViewError",
]


class GemelError(Exception):
    """Root of all errors that Gemel raises on purpose.

    Parameters
    ----------
    what : what was wrong, one sentence without a final full stop.
    seen : the value and unit that were seen.
    expected : what would have been accepted.
    fix : what to do next.
    """

    def __init__(self, what: str, *, seen: object = None, expected: object = None, fix: str | None = None) -> None:
        self.what, self.seen, self.expected, self.fix = what, seen, expected, fix
        parts = [what]
        if seen is not None:
            parts.append(f"seen: {seen}")
        if expected is not None:
            parts.append(f"expected: {expected}")
        if fix is not None:
            parts.append(f"next: {fix}")
        super().__init__("; ".join(parts))


class DataError(GemelError, ValueError):
    """What came in cannot be used as it is."""


class FormatError(DataError):
    """A file or message cannot be read."""


class UnitError(DataError):
    """A unit is missing, unknown, or cannot be converted to the one needed."""


class TimeError(DataError):
    """A time is missing, ambiguous, running backwards, or in the future."""


class ValueRangeError(DataError):
    """A value lies outside what is physically possible."""


class GeometryError(DataError):
    """A vessel tree, surface or volume cannot be one as it is.

    Parameters
    ----------
    reason : a short code, the same for the same cause, such as ``cycle`` or ``not-millimetres``.
    """

    def __init__(
        self, what: str, *, seen: object = None, expected: object = None, fix: str | None = None, reason: str = "geometry"
    ) -> None:
        self.reason = reason
        super().__init__(what, seen=seen, expected=expected, fix=fix)


class CodeError(GemelError, ValueError):
    """A code is not well formed, or its system is not known."""


class ManifestError(GemelError, ValueError):
    """A ``twin.toml`` does not say what it must."""


class ModelError(GemelError, ValueError):
    """A model breaks its contract."""


class InferenceError(GemelError, RuntimeError):
    """A method cannot handle this model, or did not finish."""


class DomainError(GemelError, ValueError):
    """A question lies outside what the twin is validated for."""


class EvidenceError(GemelError, ValueError):
    """The rows, runs or settings given cannot carry the evidence asked for."""


class ViewError(GemelError, ValueError):
    """A figure or scene lacks what every figure must have."""


class StoreError(GemelError, RuntimeError):
    """The store is locked, damaged, or of another version."""


class DatasetError(GemelError, RuntimeError):
    """A data set cannot be had, or its hash differs from the listed one."""


class TwinNotFoundError(GemelError, LookupError):
    """No twin of that id is installed."""


class AuthenticationError(GemelError, RuntimeError):
    """Who asks has not shown who they are."""


class AccessDenied(GemelError, RuntimeError):
    """Who asks may not have it, or there is no such thing.

    Parameters
    ----------
    is_open : whether the refusal follows from who asks and what for alone, so that saying so tells nothing of what there is.
    """

    def __init__(
        self,
        what: str = "not here, or not for you",
        *,
        seen: object = None,
        expected: object = None,
        fix: str | None = None,
        is_open: bool = False,
    ) -> None:
        self.is_open = is_open
        super().__init__(what, seen=seen, expected=expected, fix=fix)


class ConflictError(GemelError, RuntimeError):
    """What was to be changed has changed since, or the same was asked before in another way.

    Parameters
    ----------
    is_stale : whether a condition of who asks (``If-Match``) did not hold.
    """

    def __init__(self, what: str, *, seen: object = None, expected: object = None, fix: str | None = None, is_stale: bool = False) -> None:
        self.is_stale = is_stale
        super().__init__(what, seen=seen, expected=expected, fix=fix)


class RemoteError(GemelError, RuntimeError):
    """Another system did not answer, refused, or answered what cannot be.

    Parameters
    ----------
    status : of its answer, where there was one.
    """

    def __init__(
        self, what: str, *, seen: object = None, expected: object = None, fix: str | None = None, status: int | None = None
    ) -> None:
        self.status = status
        super().__init__(what, seen=seen, expected=expected, fix=fix)

    @property
    def is_final(self) -> bool:
        """Whether asking again would be answered the same: what was sent is refused as it is."""
        return self.status in (400, 404, 405, 410, 413, 415, 422)


class LimitError(GemelError, RuntimeError):
    """Something is too large or too deep; or too much is asked at once.

    Parameters
    ----------
    wait : seconds after which it may be tried again; ``None`` when that does not help.
    is_busy : whether it is the server that has too much to do, not the one who asks that asks too often.
    """

    def __init__(
        self,
        what: str,
        *,
        seen: object = None,
        expected: object = None,
        fix: str | None = None,
        wait: float | None = None,
        is_busy: bool = False,
    ) -> None:
        self.wait, self.is_busy = wait, is_busy
        super().__init__(what, seen=seen, expected=expected, fix=fix)


class ConfigurationError(GemelError, ValueError):
    """Settings are unknown, contradict each other, or are not safe together."""


class ContractError(GemelError, AssertionError):
    """``check_twin`` found a broken promise."""
