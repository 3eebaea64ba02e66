"""What the contract found: one line per promise."""

from __future__ import annotations

from dataclasses import dataclass

from gemel.core.errors import ContractError

__all__ = ["Check", "CheckReport", "require"]


@dataclass(frozen=True)
class Check:
    """One promise of the contract: kept or broken, what was seen, and how long it took to see it."""

    name: str
    passed: bool
    message: str
    seconds: float


@dataclass(frozen=True)
class CheckReport:
    """All promises of one twin that were looked at."""

    twin: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return all(c.passed for c in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The broken promises."""
        return tuple(c for c in self.checks if not c.passed)

    @property
    def seconds(self) -> float:
        """How long all took."""
        return sum(c.seconds for c in self.checks)

    def __getitem__(self, name: str) -> Check:
        """Return the check of this name."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def lines(self) -> list[str]:
        """Return one line per check, for a terminal."""
        width = max((len(c.name) for c in self.checks), default=0)
        return [f"{'kept  ' if c.passed else 'BROKEN'}  {c.name:<{width}}  {c.seconds:6.1f} s  {c.message}" for c in self.checks]

    def raise_on_failure(self) -> CheckReport:
        """Return the report itself when every promise was kept.

        Raises
        ------
        ContractError
            With every broken promise.
        """
        if self.failures:
            broken = "; ".join(f"{c.name}: {c.message}" for c in self.failures)
            raise ContractError(f"{self.twin} breaks {len(self.failures)} of {len(self.checks)} promises", seen=broken)
        return self


def require(kept: object, message: str, *, seen: object = None, expected: object = None, fix: str | None = None) -> None:
    """Raise ``ContractError`` unless a promise was kept."""
    if not kept:
        raise ContractError(message, seen=seen, expected=expected, fix=fix)
