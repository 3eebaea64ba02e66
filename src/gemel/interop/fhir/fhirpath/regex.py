"""Regular expressions in linear time: a machine of threads that never goes back (Pike's), for patterns that others write.

Python's own engine may need time exponential in the text for patterns such as ``(a+)+b``; an expression that comes from outside could stop a
server with one line. Supported are literals, classes, groups, alternatives, greedy and lazy repetition, anchors and word boundaries; not
supported, by name, are back references and looking ahead or behind, which no such machine can do. ``.`` matches line ends too, as the
official tests of FHIRPath ask.

References
----------
Cox R, *Regular Expression Matching: the Virtual Machine Approach* (2009), https://swtch.com/~rsc/regexp/regexp2.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gemel.core.errors import FormatError

__all__ = ["INSTRUCTIONS", "Machine", "compiled"]

INSTRUCTIONS = 10_000
"""How large a pattern may become when its repetitions are written out."""
DEPTH = 40
"""How deep groups may nest."""

Test = Callable[[str], bool]
_SPACE = " \t\n\r\f\v"
_PLAIN = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}


def _word(sign: str) -> bool:
    return sign.isalnum() or sign == "_"


_CLASSES: dict[str, Test] = {
    "d": lambda c: "0" <= c <= "9", "w": _word, "s": lambda c: c in _SPACE, "D": lambda c: not "0" <= c <= "9", "W": lambda c: not _word(c),
    "S": lambda c: c not in _SPACE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Part:
    """A node of the tree: ``test``, ``cat``, ``alt``, ``repeat``, ``group`` or ``assert``."""

    kind: str
    inner: tuple[_Part, ...] = ()
    test: Test | None = None
    least: int = 0
    most: int | None = None
    greedy: bool = True
    name: str = ""
    number: int = 0


class _Reader:
    def __init__(self, pattern: str) -> None:
        self.pattern, self.i, self.groups, self.depth = pattern, 0, 0, 0

    def error(self, what: str, expected: str) -> FormatError:
        return FormatError(
            f"regular expression: {what}",
            seen=f"character {self.i + 1} of {self.pattern[:40]!r}",
            expected=expected,
            fix="correct the pattern",
        )

    def peek(self) -> str:
        return self.pattern[self.i : self.i + 1]

    def next(self) -> str:
        sign = self.peek()
        if not sign:
            raise self.error("ends too soon", "a complete pattern")
        self.i += 1
        return sign

    def alternatives(self) -> _Part:
        self.depth += 1
        if self.depth > DEPTH:
            raise self.error("nested too deep", f"at most {DEPTH} groups")
        branches = [self.sequence()]
        while self.peek() == "|":
            self.i += 1
            branches.append(self.sequence())
        self.depth -= 1
        return branches[0] if len(branches) == 1 else _Part("alt", tuple(branches))

    def sequence(self) -> _Part:
        parts = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self.repeated())
        return _Part("cat", tuple(parts))

    def repeated(self) -> _Part:
        part = self.atom()
        while (sign := self.peek()) and sign in "*+?{":
            start = self.i
            self.i += 1
            if sign == "{":
                bounds = self._bounds()
                if bounds is None:
                    self.i = start
                    break
                least, most = bounds
            else:
                least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
            greedy = self.peek() != "?"
            self.i += not greedy
            part = _Part("repeat", (part,), least=least, most=most, greedy=greedy)
        return part

    def _bounds(self) -> tuple[int, int | None] | None:
        end = self.pattern.find("}", self.i)
        low, comma, high = self.pattern[self.i : end].partition(",") if end > 0 else ("", "", "")
        if not low.isdigit() or len(low) > 5 or len(high) > 5 or (high and not high.isdigit()):
            return None
        self.i = end + 1
        least, most = int(low), (int(high) if high else None) if comma else int(low)
        if most is not None and most < least:
            raise self.error("a repetition backwards", "{least,most}")
        return least, most

    def atom(self) -> _Part:
        sign = self.next()
        if sign == "(":
            return self._group()
        if sign == "[":
            return _Part("test", test=self._set())
        if sign == ".":
            return _Part("test", test=lambda c: True)  # noqa: ARG005
        if sign in "^$":
            return _Part("assert", name=sign)
        if sign == "\\":
            return self._escape()
        if sign in "*+?":
            raise self.error("nothing to repeat", "something before it")
        return _Part("test", test=sign.__eq__)

    def _group(self) -> _Part:
        number = 0
        if self.peek() == "?":
            mark = self.pattern[self.i : self.i + 3]
            if mark.startswith("?:"):
                self.i += 2
            elif mark.startswith("?<") and mark[2:] not in ("=", "!"):
                self.groups += 1
                number = self.groups
                end = self.pattern.find(">", self.i)
                if end < 0:
                    raise self.error("a name is not closed", ">")
                self.i = end + 1
            else:
                raise self.error("looking ahead or behind is not supported", "groups ( ) and (?: )")
        else:
            self.groups += 1
            number = self.groups
        inner = self.alternatives()
        if self.peek() != ")":
            raise self.error("a group is not closed", ")")
        self.i += 1
        return _Part("group", (inner,), number=number) if number else inner

    def _escape(self) -> _Part:
        sign = self.next()
        if sign in "bB":
            return _Part("assert", name=sign)
        if sign.isdigit() and sign != "0":
            raise self.error("back references are not supported", "groups without them")
        return _Part("test", test=self._class_of(sign))

    def _class_of(self, sign: str) -> Test:
        if sign in _CLASSES:
            return _CLASSES[sign]
        if sign in "pP":
            return self._property(sign == "P")
        return self._literal(sign).__eq__

    def _property(self, negated: bool) -> Test:
        import unicodedata

        name = self.next()
        if name == "{":
            end = self.pattern.find("}", self.i)
            name, self.i = self.pattern[self.i : end], end + 1
        if not name[:1].isupper() or len(name) > 2:
            raise self.error("no such property", "a general category such as L, Lu or N")
        return lambda c: unicodedata.category(c).startswith(name) is not negated

    def _literal(self, sign: str) -> str:
        if sign in ("u", "x"):
            count = 4 if sign == "u" else 2
            digits = self.pattern[self.i : self.i + count]
            if len(digits) < count or not all(c in "0123456789abcdefABCDEF" for c in digits):
                raise self.error("not an escape", f"{count} hexadecimal digits")
            self.i += count
            return chr(int(digits, 16))
        if sign in _PLAIN:
            return _PLAIN[sign]
        if sign.isalpha():
            raise self.error("not an escape", "one of \\d \\w \\s \\b \\t \\n \\r \\uXXXX")
        return sign

    def _set(self) -> Test:
        negated = self.peek() == "^"
        self.i += negated
        tests: list[Test] = []
        first = True
        while True:
            sign = self.next()
            if sign == "]" and not first:
                break
            first = False
            if sign == "\\":
                sign = self.next()
                if sign in _CLASSES or sign in "pP":
                    tests.append(self._class_of(sign))
                    continue
                sign = "\b" if sign == "b" else self._literal(sign)
            if self.peek() == "-" and self.pattern[self.i + 1 : self.i + 2] not in ("]", ""):
                self.i += 1
                last = self.next()
                if last == "\\":
                    last = self._literal(self.next())
                if last < sign:
                    raise self.error("a range backwards", "a-z")
                tests.append(lambda c, a=sign, b=last: a <= c <= b)
            else:
                tests.append(sign.__eq__)
        return lambda c: any(test(c) for test in tests) is not negated


class _Program:
    """Instructions: ``("test", f)``, ``("split", a, b)``, ``("jump", a)``, ``("save", n)``, ``("assert", name)``, ``("match",)``."""

    def __init__(self) -> None:
        self.code: list[tuple[Any, ...]] = []

    def add(self, *instruction: Any) -> int:
        if len(self.code) >= INSTRUCTIONS:
            raise FormatError(
                "regular expression: too large",
                seen=f"more than {INSTRUCTIONS} steps",
                expected="fewer repetitions",
                fix="shorten the pattern",
            )
        self.code.append(instruction)
        return len(self.code) - 1

    def put(self, part: _Part) -> None:
        if part.kind == "test":
            self.add("test", part.test)
        elif part.kind == "assert":
            self.add("assert", part.name)
        elif part.kind == "cat":
            for one in part.inner:
                self.put(one)
        elif part.kind == "group":
            self.add("save", 2 * part.number)
            self.put(part.inner[0])
            self.add("save", 2 * part.number + 1)
        elif part.kind == "alt":
            self._alternatives(part.inner)
        else:
            self._repeat(part)

    def _alternatives(self, branches: tuple[_Part, ...]) -> None:
        ends = []
        for i, branch in enumerate(branches):
            if i == len(branches) - 1:
                self.put(branch)
                break
            split = self.add("split", 0, 0)
            self.put(branch)
            ends.append(self.add("jump", 0))
            self.code[split] = ("split", split + 1, len(self.code))
        for end in ends:
            self.code[end] = ("jump", len(self.code))

    def _fork(self, at: int, into: int, out: int, greedy: bool) -> None:
        self.code[at] = ("split", into, out) if greedy else ("split", out, into)

    def _repeat(self, part: _Part) -> None:
        inner = part.inner[0]
        for _ in range(part.least):
            self.put(inner)
        if part.most is None:
            split = self.add("split", 0, 0)
            self.put(inner)
            self.add("jump", split)
            self._fork(split, split + 1, len(self.code), part.greedy)
            return
        splits = []
        for _ in range(part.most - part.least):
            splits.append(self.add("split", 0, 0))
            self.put(inner)
        for split in splits:
            self._fork(split, split + 1, len(self.code), part.greedy)


class Machine:
    """A compiled pattern; ``size`` is how many steps one character may cost."""

    def __init__(self, pattern: str) -> None:
        reader = _Reader(pattern)
        tree = reader.alternatives()
        if reader.i < len(pattern):
            raise reader.error("a bracket too many", "the end")
        program = _Program()
        program.put(tree)
        program.add("match")
        self.code, self.groups, self.size = program.code, reader.groups, len(program.code)

    def find(self, text: str, at: int, whole: bool = False) -> tuple[int | None, ...] | None:
        """Return start and end of the first match from a place on, followed by those of its groups; None when there is none."""
        threads: list[tuple[int, tuple[int | None, ...]]] = []
        found: tuple[int | None, ...] | None = None
        empty: tuple[int | None, ...] = (None,) * (2 * self.groups + 2)
        for i in range(at, len(text) + 1):
            seen: set[int] = set()
            live: list[tuple[int, tuple[int | None, ...]]] = []
            for place, saved in threads:
                self._follow(place, saved, text, i, seen, live)
            if found is None and (not whole or i == at):
                self._follow(0, (i, *empty[1:]), text, i, seen, live)
            threads = []
            sign = text[i : i + 1]
            for place, saved in live:
                instruction = self.code[place]
                if instruction[0] == "match":
                    if not whole or i == len(text):
                        found = (saved[0], i, *saved[2:])
                        break  # threads of lesser priority end here
                elif sign and instruction[1](sign):
                    threads.append((place + 1, saved))
            if not threads and (found is not None or whole):
                break
        return found

    def full(self, text: str) -> tuple[int | None, ...] | None:
        """Return the match of the whole text, or None."""
        return self.find(text, 0, whole=True)

    def _follow(
        self, start: int, saved: tuple[int | None, ...], text: str, i: int, seen: set[int], live: list[tuple[int, tuple[int | None, ...]]]
    ) -> None:
        """Add what can be reached from an instruction without reading a character, in order of priority."""
        stack = [(start, saved)]
        while stack:
            place, held = stack.pop()
            if place in seen:
                continue
            seen.add(place)
            instruction = self.code[place]
            kind = instruction[0]
            if kind == "jump":
                stack.append((instruction[1], held))
            elif kind == "split":
                stack.append((instruction[2], held))
                stack.append((instruction[1], held))
            elif kind == "save":
                n = instruction[1]
                stack.append((place + 1, (*held[:n], i, *held[n + 1 :])))
            elif kind == "assert":
                if _stands(instruction[1], text, i):
                    stack.append((place + 1, held))
            else:
                live.append((place, held))


def _stands(name: str, text: str, i: int) -> bool:
    if name == "^":
        return i == 0
    if name == "$":
        return i == len(text)
    boundary = (i > 0 and _word(text[i - 1])) != (i < len(text) and _word(text[i]))
    return boundary if name == "b" else not boundary


@lru_cache(maxsize=512)
def compiled(pattern: str) -> Machine:
    """Read a pattern once.

    Raises
    ------
    FormatError
        When it cannot be read, asks for what is not supported, or becomes too large.

    Examples
    --------
    >>> compiled("a(b+)").find("xabbc", 0)
    (1, 4, 2, 4)
    """
    return Machine(pattern)
