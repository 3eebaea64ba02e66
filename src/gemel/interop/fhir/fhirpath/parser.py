"""FHIRPath tokens to a tree, by descent with one level per precedence; depth is limited.

References
----------
FHIRPath 2.0.0, https://hl7.org/fhirpath, section 13 (grammar) and section 6.8 (precedence).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gemel.interop.fhir.fhirpath.lexer import Token, broken, tokens
from gemel.interop.fhir.fhirpath.quantity import CALENDAR, Quantity
from gemel.interop.fhir.fhirpath.temporal import Temporal

__all__ = ["DEPTH", "Binary", "Call", "Dot", "Indexer", "Literal", "Member", "Special", "Tree", "TypeTest", "Unary", "Variable", "parse"]

DEPTH = 100
"""How deep an expression may nest; a chain of operators counts each."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A value, or nothing at all for ``{}``."""

    values: tuple[Any, ...]
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Special:
    """One of ``$this``, ``$index`` and ``$total``."""

    name: str
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Variable:
    """``%name``."""

    name: str
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Member:
    """A name: an element of the focus, or at the root its type."""

    name: str
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the focus."""

    name: str
    arguments: tuple[Tree, ...]
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Dot:
    """``left.right``."""

    left: Tree
    right: Member | Call | Special
    depth: int


@dataclass(frozen=True, slots=True)
class Indexer:
    """``left[index]``."""

    left: Tree
    index: Tree
    depth: int


@dataclass(frozen=True, slots=True)
class Unary:
    """``+x`` or ``-x``."""

    sign: str
    inner: Tree
    depth: int


@dataclass(frozen=True, slots=True)
class Binary:
    """``left operator right``."""

    operator: str
    left: Tree
    right: Tree
    depth: int


@dataclass(frozen=True, slots=True)
class TypeTest:
    """``left is type`` or ``left as type``."""

    operator: str
    left: Tree
    type: str
    depth: int


Tree = Literal | Special | Variable | Member | Call | Dot | Indexer | Unary | Binary | TypeTest

_LEVELS: tuple[tuple[str, ...], ...] = (
    ("implies",), ("or", "xor"), ("and",), ("in", "contains"), ("=", "~", "!=", "!~"), ("<=", "<", ">", ">="), ("|",), ("is", "as"),
    ("+", "-", "&"), ("*", "/", "div", "mod"),
)  # fmt: skip
_WORDS = ("implies", "or", "xor", "and", "in", "contains", "is", "as", "div", "mod")
_ALSO_NAMES = ("as", "contains", "in", "is")  # the grammar lets these be identifiers
_TYPED = ("is", "as", "ofType", "getReferenceKey")


class _Parser:
    """A reader of tokens with one token of foresight."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens = tokens(expression)
        self.i = 0
        self.open = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.i]

    def error(self, expected: str) -> Exception:
        return broken("cannot be read", self.expression, self.token.place, expected)

    def take(self, kind: str) -> Token:
        token = self.token
        if token.kind != kind:
            raise self.error(kind)
        self.i += 1
        return token

    def deep(self, *inner: Tree) -> int:
        depth = 1 + max(one.depth for one in inner)
        if depth > DEPTH:
            raise broken("nested too deep", self.expression, self.token.place, f"at most {DEPTH} levels")
        return depth

    def whole(self) -> Tree:
        tree = self.level(0)
        if self.token.kind != "end":
            raise self.error("an operator or the end")
        return tree

    def inner(self) -> Tree:
        self.open += 1
        if self.open > DEPTH // 2:
            raise broken("nested too deep", self.expression, self.token.place, f"at most {DEPTH // 2} brackets")
        tree = self.level(0)
        self.open -= 1
        return tree

    def _operator(self, level: int) -> str | None:
        token = self.token
        found = token.text if token.kind == token.text or (token.kind == "name" and token.text in _WORDS) else None
        return found if found in _LEVELS[level] else None

    def level(self, level: int) -> Tree:
        if level == len(_LEVELS):
            return self.signed()
        left = self.level(level + 1)
        while (operator := self._operator(level)) is not None:
            self.i += 1
            if operator in ("is", "as"):
                left = TypeTest(operator, left, self.type_name(), self.deep(left))
            else:
                right = self.level(level + 1)
                left = Binary(operator, left, right, self.deep(left, right))
        return left

    def signed(self) -> Tree:
        signs = []
        while self.token.kind in ("+", "-"):
            signs.append(self.take(self.token.kind).kind)
        tree = self.chain()
        for sign in reversed(signs):
            tree = Unary(sign, tree, self.deep(tree))
        return tree

    def chain(self) -> Tree:
        tree = self.term()
        while True:
            if self.token.kind == ".":
                self.i += 1
                right = self.invocation(after_dot=True)
                tree = Dot(tree, right, self.deep(tree, right))
            elif self.token.kind == "[":
                self.i += 1
                index = self.inner()
                self.take("]")
                tree = Indexer(tree, index, self.deep(tree, index))
            else:
                return tree

    def term(self) -> Tree:
        token = self.token
        kind = token.kind
        if kind == "(":
            self.i += 1
            tree = self.inner()
            self.take(")")
            return tree
        if kind == "{":
            self.i += 1
            self.take("}")
            return Literal(())
        if kind == "%":
            self.i += 1
            name = self.token
            if name.kind not in ("name", "quoted", "text"):
                raise self.error("a name after %")
            self.i += 1
            return Variable(name.text)
        if kind == "number":
            return Literal((self.number(),))
        if kind == "text":
            self.i += 1
            return Literal((token.text,))
        if kind in ("date", "dateTime", "time"):
            self.i += 1
            moment = Temporal.parse(token.text, kind)
            if moment is None:
                raise broken("no such day or time", self.expression, token.place, "a day of the calendar")
            return Literal((moment,))
        if kind == "name" and token.text in ("true", "false"):
            self.i += 1
            return Literal((token.text == "true",))
        return self.invocation()

    def number(self) -> Any:
        text = self.take("number").text
        value: Any = Decimal(text) if "." in text else int(text)
        token = self.token
        if token.kind == "text":
            self.i += 1
            return Quantity(Decimal(text), token.text)
        if token.kind == "name" and token.text in CALENDAR:
            self.i += 1
            return Quantity(Decimal(text), CALENDAR[token.text], calendar=True)
        return value

    def invocation(self, after_dot: bool = False) -> Member | Call | Special:
        token = self.token
        if token.kind in ("$this", "$index", "$total"):
            self.i += 1
            return Special(token.kind)
        if token.kind not in ("name", "quoted") or (
            token.kind == "name"
            and token.text in _WORDS
            and token.text not in _ALSO_NAMES
            and not after_dot  # text.div: no operator can stand there
        ):
            raise self.error("a name, a literal or a bracket")
        self.i += 1
        if self.token.kind != "(":
            return Member(token.text)
        self.i += 1
        arguments: list[Tree] = []
        if token.text in _TYPED and self.token.kind in ("name", "quoted"):
            arguments.append(Literal((self.type_name(),)))
        elif self.token.kind != ")":
            arguments.append(self.inner())
            while self.token.kind == ",":
                self.i += 1
                arguments.append(self.inner())
        self.take(")")
        return Call(token.text, tuple(arguments), self.deep(*arguments) if arguments else 1)

    def type_name(self) -> str:
        if self.token.kind == "(":  # (name) is tolerated
            self.i += 1
            name = self.type_name()
            self.take(")")
            return name
        parts = []
        while True:
            if self.token.kind not in ("name", "quoted"):
                raise self.error("the name of a type")
            parts.append(self.token.text)
            self.i += 1
            if self.token.kind != "." or len(parts) == 2 or self.tokens[self.i + 1].kind not in ("name", "quoted"):
                return ".".join(parts)
            if self.tokens[self.i + 2].kind == "(" or parts[0] not in ("System", "FHIR"):
                return ".".join(parts)  # x is Quantity.unit is not of the grammar; x as Quantity.exists() a function of the cast
            self.i += 1


def parse(expression: str) -> Tree:
    """Read an expression into its tree.

    Raises
    ------
    FormatError
        With the character at which it cannot be read, or when it is too long or nests too deep.

    Examples
    --------
    >>> parse("name.given").right.name
    'given'
    """
    return _Parser(expression).whole()
