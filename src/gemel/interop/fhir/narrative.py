"""The whitelist of a narrative's XHTML: what may stand in ``text.div``, so that showing it does nothing.

References
----------
HL7 FHIR R4, https://hl7.org/fhir/R4/narrative.html, invariants txt-1 and txt-2.
"""

from __future__ import annotations

from xml.parsers import expat

__all__ = ["faults"]

_XHTML = "http://www.w3.org/1999/xhtml"
_ELEMENTS = frozenset(
    ["p", "br", "div", "h1", "h2", "h3", "h4", "h5", "h6", "a", "span", "b", "em", "i", "strong", "small", "big", "tt", "dfn", "q", "var", "abbr", "acronym", "cite", "blockquote", "hr", "address", "bdo", "kbd", "sub", "sup", "ul", "ol", "li", "dl", "dt", "dd", "pre", "table", "caption", "colgroup", "col", "thead", "tr", "tfoot", "tbody", "th", "td", "code", "samp", "img", "map", "area", "s", "u", "ins", "del", "label"]
)  # fmt: skip
_ATTRIBUTES = frozenset(
    ["title", "style", "class", "id", "lang", "xml:lang", "dir", "accesskey", "tabindex", "span", "width", "align", "valign", "char", "charoff", "abbr", "axis", "headers", "scope", "rowspan", "colspan", "href", "name", "charset", "type", "coords", "rel", "rev", "hreflang", "shape", "src", "alt", "longdesc", "height", "ismap", "usemap", "border", "cellpadding", "cellspacing", "frame", "rules", "summary", "cite", "datetime", "nohref", "value", "for", "start", "compact", "nowrap", "bgcolor"]
)  # fmt: skip
_ADDRESSES = ("href", "src", "cite", "longdesc")


class _Reader:
    def __init__(self) -> None:
        self.found: list[str] = []
        self.depth = 0
        self.content = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        space, _, local = name.rpartition(" ")
        if self.depth == 1 and (local != "div" or space != _XHTML):
            self.found.append("the narrative is not a div of XHTML")
        if local not in _ELEMENTS:
            self.found.append(f"element {local[:20]} is not allowed")
        self.content = self.content or local == "img"
        for key, value in attributes.items():
            plain = key.replace("http://www.w3.org/XML/1998/namespace ", "xml:")
            if plain not in _ATTRIBUTES:
                self.found.append(f"attribute {plain[:20]} is not allowed")
            address = value.strip().lower()
            if plain in _ADDRESSES and (
                address.startswith(("javascript:", "vbscript:")) or (address.startswith("data:") and local != "img")
            ):
                self.found.append(f"attribute {plain} holds a program")
            if plain == "src" and not address.startswith(("data:", "#", "cid:")) and "://" in address:
                self.found.append("an image from outside")
            if plain == "style" and ("expression(" in address or "url(" in address or "javascript" in address):
                self.found.append("a style that loads or runs something")

    def end(self, _: str) -> None:
        self.depth -= 1

    def text(self, data: str) -> None:
        self.content = self.content or bool(data.strip())


def faults(div: str) -> list[str]:
    """Return what is wrong with the XHTML of a narrative; empty when nothing is.

    Examples
    --------
    >>> faults('<div xmlns="http://www.w3.org/1999/xhtml">a <b>word</b></div>')
    []
    >>> faults('<div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div>')
    ['element script is not allowed']
    """
    if "<!" in div.replace("<!--", ""):
        return ["a document type or an entity of its own"]
    reader, parser = _Reader(), expat.ParserCreate("utf-8", namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = reader.start, reader.end, reader.text
    parser.UseForeignDTD(True)  # entities of XHTML such as &nbsp; are no fault, and are not fetched
    try:
        parser.Parse(div.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        return [f"not XHTML: {expat.ErrorString(error.code)}"]
    if not reader.content:
        reader.found.append("the narrative says nothing")
    return reader.found
