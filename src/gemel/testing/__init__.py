"""The contract that every twin keeps, first-party or third-party: ``check_twin``, record strategies, and writers of test files."""

from gemel.core.numerics import configure

configure()

from gemel.core.errors import ContractError  # noqa: E402  the flags come first
from gemel.testing.checks import CHECKS, check_twin  # noqa: E402
from gemel.testing.report import Check, CheckReport  # noqa: E402
from gemel.testing.subject import Subject  # noqa: E402

__all__ = ["CHECKS", "Check", "CheckReport", "ContractError", "Subject", "check_twin"]
