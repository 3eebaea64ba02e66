"""FHIRPath as a list of tokens: one pass, no pattern that can go back on itself.

References
----------
FHIRPath 2.0.0, https://hl7.org/fhirpath, section 13 (grammar).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gemel.core.errors import FormatError

__all__ = ["LENGTH", "Token", "tokens"]

LENGTH = 20_000
"""How many characters an expression may have."""

_SKIP = re.compile(r"[ \t\r\n]+|//[^\r\n]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2})?)?")
_TIME = re.compile(r"[0-9]{2}(?::[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)?")
_ZONE = re.compile(r"Z|[+-][0-9]{2}:[0-9]{2}")
_SYMBOLS = ("<=", ">=", "!=", "!~", "$this", "$index", "$total", *"+-*/&|=~<>()[]{}.,%")
_ESCAPES = {"`": "`", "'": "'", '"': '"', "\\": "\\", "/": "/", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token: ``name``, ``quoted`` name, ``text``, ``number``, ``date``, ``dateTime``, ``time``, a symbol, or ``end``; and where it stands."""

    kind: str
    text: str
    place: int


def broken(what: str, expression: str, place: int, expected: str) -> FormatError:
    """Return the error of an expression that cannot be read."""
    seen = f"{expression[place : place + 20]!r} at character {place + 1}" if place < len(expression) else "the end of the expression"
    return FormatError(f"FHIRPath: {what}", seen=seen, expected=expected, fix="correct the expression")


def _quoted(expression: str, start: int) -> tuple[str, int]:
    mark, out, i = expression[start], [], start + 1
    while i < len(expression) and expression[i] != mark:
        if expression[i] != "\\":
            out.append(expression[i])
            i += 1
            continue
        sign = expression[i + 1 : i + 2]
        if sign == "u":
            digits = expression[i + 2 : i + 6]
            if not re.fullmatch("[0-9a-fA-F]{4}", digits):
                raise broken("not an escape", expression, i, "four hexadecimal digits after \\u")
            out.append(chr(int(digits, 16)))
            i += 6
            continue
        if sign not in _ESCAPES or not sign:
            raise broken("not an escape", expression, i, "one of \\' \\\" \\` \\\\ \\/ \\f \\n \\r \\t \\uXXXX")
        out.append(_ESCAPES[sign])
        i += 2
    if i >= len(expression):
        raise broken("a quote is not closed", expression, start, mark)
    return "".join(out), i + 1


def _moment(expression: str, start: int) -> tuple[Token, int]:
    if expression[start + 1 : start + 2] == "T":
        found = _TIME.match(expression, start + 2)
        if found is None:
            raise broken("not a time", expression, start, "@T10:30")
        return Token("time", found[0], start), found.end()
    date = _DATE.match(expression, start + 1)
    if date is None:
        raise broken("not a date", expression, start, "@2014-01-25")
    if expression[date.end() : date.end() + 1] != "T":
        return Token("date", date[0], start), date.end()
    text, end = date[0] + "T", date.end() + 1
    time = _TIME.match(expression, end)
    if time is not None:
        text, end = text + time[0], time.end()
        zone = _ZONE.match(expression, end)
        if zone is not None:
            text, end = text + zone[0], zone.end()
    return Token("dateTime", text, start), end


def tokens(expression: str) -> list[Token]:
    """Cut an expression into tokens, the last of kind ``end``.

    Raises
    ------
    FormatError
        With the character at which it cannot be read.
    """
    if len(expression) > LENGTH:
        raise FormatError("the expression is too long", seen=len(expression), expected=f"at most {LENGTH} characters", fix="shorten it")
    found: list[Token] = []
    i = 0
    while i < len(expression):
        skipped = _SKIP.match(expression, i)
        if skipped is not None:
            i = skipped.end()
        elif expression.startswith("/*", i):
            end = expression.find("*/", i + 2)
            if end < 0:
                raise broken("a comment is not closed", expression, i, "*/")
            i = end + 2
        elif expression[i] in "'\"":
            text, end = _quoted(expression, i)
            found.append(Token("text", text, i))
            i = end
        elif expression[i] == "`":
            text, end = _quoted(expression, i)
            found.append(Token("quoted", text, i))
            i = end
        elif expression[i] == "@":
            token, i = _moment(expression, i)
            found.append(token)
        elif (number := _NUMBER.match(expression, i)) is not None:
            found.append(Token("number", number[0], i))
            i = number.end()
        elif (name := _NAME.match(expression, i)) is not None:
            found.append(Token("name", name[0], i))
            i = name.end()
        else:
            symbol = next((one for one in _SYMBOLS if expression.startswith(one, i)), None)
            if symbol is None:
                raise broken("a sign that FHIRPath does not know", expression, i, "a name, a literal or an operator")
            found.append(Token(symbol, symbol, i))
            i += len(symbol)
    found.append(Token("end", "", len(expression)))
    return found
