"""Resources as rows: the ViewDefinitions of SQL on FHIR v2, read, checked and run.

References
----------
SQL on FHIR v2, https://sql-on-fhir.org, *View runner* and *ViewDefinition*
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from gemel.core.errors import DataError, FormatError
from gemel.interop.fhir import schema
from gemel.interop.fhir.fhirpath.evaluate import composed, evaluate
from gemel.interop.fhir.fhirpath.nodes import Node, as_element, root

__all__ = ["Column", "View", "read_view"]

_FORMS = ("forEach", "forEachOrNull", "repeat")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its FHIR type where the view says one, and whether a cell holds a list."""

    name: str
    type: str | None
    collection: bool
    path: str


@dataclass(frozen=True, slots=True)
class _Select:
    """A group of columns, what they are taken from, and the groups that are joined to them."""

    columns: tuple[Column, ...]
    each: tuple[str, ...]
    form: str | None
    selects: tuple[_Select, ...]
    unions: tuple[_Select, ...]

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns of a row, in their order."""
        inner = tuple(column for one in self.selects for column in one.all_columns)
        return (*self.columns, *inner, *(self.unions[0].all_columns if self.unions else ()))


def _wrong(what: str, seen: object, expected: str) -> FormatError:
    return FormatError(f"ViewDefinition: {what}", seen=str(seen)[:80], expected=expected, fix="correct the view")


def _path(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(f"{where} is not a path", value, "a FHIRPath expression")
    composed(value)
    return value


def _list(holder: Mapping[str, Any], name: str) -> Iterable[Mapping[str, Any]]:
    found = holder.get(name, ())
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, dict) for one in found):
        raise _wrong(f"{name} is not a list of objects", type(found).__name__, "a list")
    return found


def _column(one: Mapping[str, Any]) -> Column:
    name = one.get("name")
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise _wrong("not a name of a column", name, "letters, digits and underscores")
    return Column(name, one.get("type"), one.get("collection") is True, _path(one.get("path"), f"column {name}"))


def _select(one: Mapping[str, Any]) -> _Select:
    forms = [name for name in _FORMS if name in one]
    if len(forms) > 1:
        raise _wrong("more than one of forEach, forEachOrNull and repeat", ", ".join(forms), "at most one")
    form = forms[0] if forms else None
    each: tuple[str, ...] = ()
    if form == "repeat":
        each = tuple(_path(path, "repeat") for path in (one["repeat"] if isinstance(one["repeat"], (list, tuple)) else (None,)))
    elif form is not None:
        each = (_path(one[form], form),)
    unions = tuple(_select(inner) for inner in _list(one, "unionAll"))
    found = _Select(tuple(_column(c) for c in _list(one, "column")), each, form, tuple(_select(s) for s in _list(one, "select")), unions)
    names = [[(column.name, column.collection) for column in union.all_columns] for union in unions]
    if any(one != names[0] for one in names):
        raise _wrong("the parts of unionAll have other columns", names[1:], f"{names[0]}, in this order")
    if not (found.columns or found.selects or found.unions):
        raise _wrong("a select without columns", sorted(one), "column, select or unionAll")
    return found


def _null(select: _Select) -> dict[str, Any]:
    return {column.name: [] if column.collection else None for column in select.all_columns}


@dataclass(frozen=True, slots=True)
class View:
    """A view that has been read: which resources it takes, its columns, and how rows are made."""

    resource: str
    selects: tuple[_Select, ...]
    criteria: tuple[str, ...]
    constants: Mapping[str, Any]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns in their order."""
        return tuple(column for one in self.selects for column in one.all_columns)

    def _evaluate(self, path: str, node: Node, index: int) -> list[Any]:
        return evaluate(path, node, variables={**self.constants, "rowIndex": index})

    def _cell(self, column: Column, node: Node, index: int) -> Any:
        found = [as_element(item) for item in self._evaluate(column.path, node, index)]
        if column.collection:
            return found
        if len(found) > 1:
            raise DataError(
                f"column {column.name} has more than one value", seen=len(found), expected="one value",
                fix="set collection to true, or take first()",
            )  # fmt: skip
        return found[0] if found else None

    def _foci(self, select: _Select, node: Node, index: int) -> list[Node]:
        if select.form is None:
            return [node]
        out: list[Node] = []
        level = [node]
        while level:
            items = [item for one in level for path in select.each for item in self._evaluate(path, one, index)]
            level = [item if isinstance(item, Node) else Node(item, "") for item in items]
            out += level
            if select.form != "repeat":
                break
        return out

    def _rows_of(self, select: _Select, node: Node, index: int = 0) -> list[dict[str, Any]]:
        foci = self._foci(select, node, index)
        if not foci and select.form == "forEachOrNull":
            return [_null(select)]
        rows: list[dict[str, Any]] = []
        for i, focus in enumerate(foci):
            at = i if select.form is not None else index
            parts = [[{column.name: self._cell(column, focus, at) for column in select.columns}]]
            parts += [self._rows_of(one, focus, at) for one in select.selects]
            if select.unions:
                parts.append([row for one in select.unions for row in self._rows_of(one, focus, at)])
            rows += [{name: value for part in chosen for name, value in part.items()} for chosen in product(*parts)]
        return rows

    def _takes(self, node: Node) -> bool:
        for path in self.criteria:
            found = self._evaluate(path, node, 0)
            values = [item.value if isinstance(item, Node) else item for item in found]
            if len(values) > 1 or not all(isinstance(value, bool) for value in values):
                raise DataError(
                    "where is not a truth value", seen=path[:80], expected="true, false or nothing", fix="compare, or ask exists()"
                )
            if values != [True]:
                return False
        return True

    def rows(self, resources: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Make the rows of resources, one after the other; those of other types are passed over.

        Parameters
        ----------
        resources : trees, as :func:`gemel.interop.fhir.codec.decode` reads them.

        Returns
        -------
        Rows: column -> text, truth value, integer, decimal, element, list or None.

        Raises
        ------
        DataError
            When a cell would hold more than one value, or a criterion is no truth value.
        """
        for tree in resources:
            node = root(tree)
            if node.type == self.resource and self._takes(node):
                for chosen in product(*(self._rows_of(one, node) for one in self.selects)):
                    yield {name: value for part in chosen for name, value in part.items()}


def _constants(view: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in _list(view, "constant"):
        name = one.get("name")
        typed = [(key, schema.find("Extension", key)) for key in one if key.startswith("value")]
        if not isinstance(name, str) or len(typed) != 1 or typed[0][1] is None:
            raise _wrong("not a constant", name, "a name and one value, such as valueString")
        found[name] = Node(one[typed[0][0]], typed[0][1][1])
    return found


def read_view(view: Mapping[str, Any]) -> View:
    """Read a ViewDefinition and check what can be checked without data.

    Raises
    ------
    FormatError
        When a part is missing or wrong, or an expression cannot be read.

    Examples
    --------
    >>> view = read_view({"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}]})
    >>> list(view.rows([{"resourceType": "Patient", "id": "a"}]))
    [{'id': 'a'}]
    """
    if not isinstance(view, Mapping):
        raise _wrong("not an object", type(view).__name__, "a ViewDefinition")
    resource = view.get("resource")
    kind = schema.kind(resource) if isinstance(resource, str) else None
    if kind is None or not kind.is_resource or not isinstance(resource, str):
        raise _wrong("resource is missing or no type of FHIR R4", resource, "a resource type such as Patient")
    try:
        criteria = tuple(_path(one.get("path"), "where") for one in _list(view, "where"))
        found = View(resource, tuple(_select(one) for one in _list(view, "select")), criteria, _constants(view))
    except FormatError:
        raise
    except DataError as error:
        raise FormatError(f"ViewDefinition: {error.what}", seen=error.seen, expected=error.expected, fix=error.fix) from None
    if not found.selects:
        raise _wrong("select is missing", sorted(view), "at least one select")
    names = [column.name for column in found.columns]
    if len(set(names)) != len(names):
        raise _wrong("a column stands twice", next(name for name in names if names.count(name) > 1), "each name once")
    return found
