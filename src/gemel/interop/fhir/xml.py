"""FHIR's XML to the tree that its JSON has: entities and document types off, depth limited, numbers with their digits.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/xml.html
"""

from __future__ import annotations

from typing import Any, NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from gemel.core.errors import FormatError
from gemel.interop.fhir import schema
from gemel.interop.fhir.codec import BODY, DEPTH, Element, read_number

__all__ = ["decode_xml"]

_FHIR, _XHTML = "http://hl7.org/fhir", "http://www.w3.org/1999/xhtml"
_NUMBERS = ("decimal", "integer", "positiveInt", "unsignedInt")


class _Tag:
    """One element as it was read: its name, attributes, and the elements in it."""

    __slots__ = ("attributes", "inner", "name")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes = name, attributes
        self.inner: list[_Tag | str] = []


class _Reader:
    """What expat calls: a stack of elements, and of a narrative its text as well."""

    def __init__(self) -> None:
        self.stack: list[_Tag] = [_Tag("", {})]
        self.xhtml = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        if len(self.stack) > DEPTH:
            raise FormatError("nested too deep", seen=f"more than {DEPTH} levels", expected=f"at most {DEPTH}", fix="refuse the sender")
        if space not in (_FHIR, _XHTML):
            raise FormatError(
                "an element of another namespace", seen=f"{space or 'none'}: {local}", expected=_FHIR, fix="declare the namespace"
            )
        one = _Tag(local, attributes)
        self.xhtml += bool(self.xhtml) or space == _XHTML
        self.stack[-1].inner.append(one)
        self.stack.append(one)

    def end(self, _: str) -> None:
        self.stack.pop()
        self.xhtml -= bool(self.xhtml)

    def text(self, data: str) -> None:
        if self.xhtml:
            self.stack[-1].inner.append(data)
        elif data.strip():
            raise FormatError(
                "text between elements", seen=data.strip()[:40], expected="values in attributes", fix="correct it at its source"
            )

    def refuse(self, *_: Any) -> NoReturn:
        raise FormatError("a document type or an entity", seen="<!DOCTYPE or <!ENTITY", expected="none: FHIR needs none", fix="remove it")


def _parse(raw: bytes, limit: int) -> _Tag:
    if len(raw) > limit:
        raise FormatError(
            "the document is too large", seen=f"{len(raw)} bytes", expected=f"at most {limit}", fix="split it, or raise the limit"
        )
    reader, parser = _Reader(), expat.ParserCreate("utf-8", namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = reader.start, reader.end, reader.text
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.UnparsedEntityDeclHandler = reader.refuse
    try:
        parser.Parse(raw.removeprefix(b"\xef\xbb\xbf"), True)
    except expat.ExpatError as error:
        seen = f"line {error.lineno}, column {error.offset}: {expat.ErrorString(error.code)}"
        raise FormatError("not XML", seen=seen, expected="one XML document in UTF-8", fix="correct it at its source") from None
    return reader.stack[0].inner[0]  # type: ignore[return-value]  # well formed: there is one root


def _narrative(tag: _Tag, top: bool = True) -> str:
    marks = "".join(f" {name.rpartition(' ')[2]}={quoteattr(value)}" for name, value in tag.attributes.items())
    space = f' xmlns="{_XHTML}"' if top else ""
    inner = "".join(escape(one) if isinstance(one, str) else _narrative(one, False) for one in tag.inner)
    return f"<{tag.name}{space}{marks}>{inner}</{tag.name}>" if inner else f"<{tag.name}{space}{marks}/>"


def _value(text: str, kind: str) -> Any:
    if kind == "boolean":
        if text not in ("true", "false"):
            raise FormatError("not a truth value", seen=text[:40], expected="true or false", fix="correct it at its source")
        return text == "true"
    return read_number(text) if kind in _NUMBERS else text


def _resource(tag: _Tag) -> Element:
    kind = schema.kind(tag.name)
    if kind is None or not kind.is_resource:
        raise FormatError(
            "not a resource of FHIR R4", seen=tag.name, expected="a resource type", fix="check the version that the sender speaks"
        )
    return Element({"resourceType": tag.name, **_members(tag, tag.name)})


def _members(tag: _Tag, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {name: value for name, value in tag.attributes.items() if name in ("id", "url")}
    plain: dict[str, list[Any]] = {}
    beside: dict[str, list[Any]] = {}
    many: dict[str, bool] = {}
    for one in tag.inner:
        if isinstance(one, str):
            continue
        match = schema.find(kind, one.name)
        if match is None:
            raise FormatError(
                f"{kind} has no element of that name",
                seen=one.name,
                expected="an element of FHIR R4",
                fix="check the version that the sender speaks",
            )
        field, type_ = match
        many[one.name] = field.most != 1
        value, extra = _content(one, type_)
        plain.setdefault(one.name, []).append(value)
        beside.setdefault(one.name, []).append(extra)
    for name, values in plain.items():
        extras = beside[name]
        if many[name]:
            if any(value is not None for value in values):
                found[name] = tuple(values)
            if any(extras):
                found["_" + name] = tuple(extras)
            continue
        if len(values) > 1:
            raise FormatError(
                f"{kind}.{name} stands more than once", seen=len(values), expected="at most one", fix="correct it at its source"
            )
        if values[0] is not None:
            found[name] = values[0]
        if extras[0]:
            found["_" + name] = extras[0]
    return found


def _content(tag: _Tag, type_: str) -> tuple[Any, Element | None]:
    """Return the value of an element, and for a primitive what stands beside it."""
    if type_ == "xhtml":
        return _narrative(tag), None
    kind = schema.kind(type_)
    if type_ == "Resource":
        inner = [one for one in tag.inner if isinstance(one, _Tag)]
        if len(inner) != 1:
            raise FormatError(
                "a resource inside another is missing or double", seen=len(inner), expected="one", fix="correct it at its source"
            )
        return _resource(inner[0]), None
    if kind is not None and kind.is_primitive:
        text = tag.attributes.get("value")
        extra = _members(tag, "Element")
        return (None if text is None else _value(text, type_)), Element(extra) if extra else None
    return Element(_members(tag, type_)), None


def decode_xml(raw: bytes | str, *, limit: int = BODY) -> Element:
    """Read one resource in XML into the tree that :func:`gemel.interop.fhir.codec.decode` makes of its JSON.

    Parameters
    ----------
    raw : UTF-8.
    limit : bytes that the document may have.

    Raises
    ------
    FormatError
        For what is not XML, for document types and entities, elements that FHIR R4 does not define, and nesting beyond the limit.

    Examples
    --------
    >>> decode_xml('<Basic xmlns="http://hl7.org/fhir"><id value="a"/></Basic>')
    {'resourceType': 'Basic', 'id': 'a'}
    """
    return _resource(_parse(raw.encode("utf-8") if isinstance(raw, str) else raw, limit))
