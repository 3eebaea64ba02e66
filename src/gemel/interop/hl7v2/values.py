"""Numbers as laboratories send them: exact, censored, with a decimal comma; what is ambiguous is refused."""

from __future__ import annotations

import re

from gemel.core.errors import FormatError
from gemel.core.series import ABOVE, BELOW, EXACT

__all__ = ["read_number", "read_structured"]

_NUMBER = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)")
_SCIENTIFIC = re.compile(r"[+-]?[0-9]++(?:\.[0-9]*+)?[eE][+-]?[0-9]{1,2}")
_SIGNS = {"<": BELOW, "<=": BELOW, ">": ABOVE, ">=": ABOVE, "": EXACT, "=": EXACT}
_LONGEST = 40


def read_number(text: str) -> tuple[float, int, str]:
    """Read an NM value.

    Returns
    -------
    The number, ``EXACT``, ``BELOW`` or ``ABOVE`` (then it is the limit), and what was put right.

    Raises
    ------
    FormatError
        When it is no number, or could be two (``1,234``).

    Examples
    --------
    >>> read_number("5.4"), read_number("<5"), read_number("5,4")
    ((5.4, 0, ''), (5.0, -1, 'limit sent as a number: kept as censored'), (5.4, 0, 'decimal comma'))
    """
    text = text.strip()
    if len(text) <= _LONGEST and _NUMBER.fullmatch(text):
        return float(text), EXACT, ""
    if len(text) > _LONGEST:
        raise FormatError("no number", seen=f"{len(text)} characters", expected=f"at most {_LONGEST}")
    repaired, censored = "", EXACT
    for sign in (">=", "<=", "<", ">"):
        if text.startswith(sign):
            text, censored, repaired = text[len(sign) :].strip(), _SIGNS[sign], "limit sent as a number: kept as censored"
            break
    if _NUMBER.fullmatch(text):
        return float(text), censored, repaired
    if _SCIENTIFIC.fullmatch(text):
        return float(text), censored, repaired or "number with an exponent"
    whole, comma, fraction = text.partition(",")
    if comma and fraction.isascii() and fraction.isdigit() and _NUMBER.fullmatch(whole) and "." not in whole:
        if len(fraction) == 3 and whole.lstrip("+-") != "0":
            raise FormatError(
                "a comma that may part thousands or decimals",
                seen="a comma before three digits",
                expected="a decimal point",
                fix="correct it at the sender",
            )
        return float(f"{whole}.{fraction}"), censored, "decimal comma" if not repaired else f"{repaired}; decimal comma"
    raise FormatError("no number where one was promised", seen="text", expected="digits, such as 5.4", fix="send text as ST, or correct it")


def read_structured(parts: list[str]) -> tuple[float, int] | str:
    """Read an SN value: a number with its comparator, or as text what is no single number (range, ratio, titre).

    Parameters
    ----------
    parts : comparator, first number, separator or suffix, second number.

    Raises
    ------
    FormatError
        When the comparator is unknown or the numbers are none.

    Examples
    --------
    >>> read_structured(["<", "5"]), read_structured(["", "1", ":", "128"])
    ((5.0, -1), '1:128')
    """
    comparator, first, separator, second = (*(p.strip() for p in parts[:4]), "", "", "", "")[:4]
    if separator or second or comparator == "<>":
        for number in (first, second):
            if number:
                read_number(number)
        return f"{comparator}{first}{separator}{second}"
    if comparator not in _SIGNS:
        raise FormatError("unknown comparator of a structured number", seen=comparator[:4], expected="<, <=, >, >=, = or nothing")
    value, censored, _ = read_number(first)
    if censored != EXACT:
        raise FormatError("a structured number holds a comparator in its number", seen="two comparators", expected="<^5")
    return value, _SIGNS[comparator]
