"""Orphans of a trace, in both directions: what nothing shows, and what shows something that nobody asked for. Read from files; nothing is imported or run."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gemel.evidence.trace.data import SHARED, Trace

__all__ = [
    "Checked",
    "Orphan",
    "Tests",
    "contract_promises",
    "declared_studies",
    "project_of",
    "project_tests",
    "scan_tests",
    "trace_check",
]


@dataclass(frozen=True)
class Orphan:
    """Something without its counterpart: what kind, where, and what is missing."""

    kind: str
    where: str
    said: str


@dataclass(frozen=True)
class Checked:
    """What was found, and what could not be looked at here: that is neither a pass nor a failure."""

    orphans: tuple[Orphan, ...]
    unchecked: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything could be looked at, and nothing is an orphan."""
        return not self.orphans and not self.unchecked


@dataclass(frozen=True)
class Tests:
    """The tests of a project by node id, each with the requirements that it is marked with."""

    __test__ = False
    nodes: Mapping[str, tuple[str, ...]]

    def __contains__(self, node: str) -> bool:
        """Whether the test of a node id is there; which parameters it is run with is not looked at."""
        return node.partition("[")[0] in self.nodes

    def marked(self, requirement: str) -> tuple[str, ...]:
        """Return the tests that are marked with a requirement."""
        return tuple(node for node, ids in self.nodes.items() if requirement in ids)


def project_of(folder: Path) -> Path | None:
    """Return the project in which a package lies: the nearest folder above with ``pyproject.toml`` and ``tests``; None for an installed wheel."""
    for place in folder.resolve().parents:
        if place.name in ("site-packages", "dist-packages"):
            return None
        if (place / "pyproject.toml").is_file() and (place / "tests").is_dir():
            return place
    return None


def _marks(nodes: Iterable[ast.expr]) -> tuple[str, ...]:
    """Return the requirements named by ``pytest.mark.requirement("R-1", ...)`` among decorators, or in a ``pytestmark``."""
    found: list[str] = []
    for node in nodes:
        if isinstance(node, (ast.List, ast.Tuple)):
            found += _marks(node.elts)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "requirement":
            found += [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return tuple(found)


def _nodes(body: Iterable[ast.stmt], prefix: str, outer: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    body = list(body)
    for statement in body:
        if isinstance(statement, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in statement.targets):
            outer = (*outer, *_marks([statement.value]))
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) and statement.name.startswith("test"):
            yield f"{prefix}::{statement.name}", (*outer, *_marks(statement.decorator_list))
        elif isinstance(statement, ast.ClassDef) and statement.name.startswith("Test"):
            yield from _nodes(statement.body, f"{prefix}::{statement.name}", (*outer, *_marks(statement.decorator_list)))


@lru_cache(maxsize=4096)
def _tests_in(path: Path, name: str, changed: int) -> dict[str, tuple[str, ...]]:  # noqa: ARG001  part of the key
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return {}
    return dict(_nodes(tree.body, name, ()))


def scan_tests(root: Path) -> Tests:
    """Return the tests below ``tests`` of a project, read from their syntax: no collection, no import. A file that is no Python has none."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        found |= _tests_in(path, path.relative_to(root).as_posix(), path.stat().st_mtime_ns)
    return Tests(found)


def project_tests(trace: Trace) -> dict[str, Tests | None]:
    """Return, for each origin of a trace, the tests of its project; None where the package was installed without them."""
    roots = {origin: project_of(folder) for origin, folder in trace.folders.items()}
    scanned = {root: scan_tests(root) for root in set(roots.values()) if root is not None}
    return {origin: None if root is None else scanned[root] for origin, root in roots.items()}


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None  # noqa: PT018  one of our own
    return Path(spec.origin).parent


def contract_promises() -> frozenset[str]:
    """Return the names of the checks of the contract, without importing them: they need the numeric stack."""
    tree = ast.parse((_package("gemel") / "testing" / "checks.py").read_bytes())
    for node in tree.body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.target.id == "CHECKS"
            and isinstance(node.value, ast.Dict)
        ):
            return frozenset(k.value for k in node.value.keys if isinstance(k, ast.Constant) and isinstance(k.value, str))
    return frozenset()


@lru_cache(maxsize=64)
def _declared(folder: Path, deep: bool = False) -> frozenset[str]:
    found = set()
    for path in sorted(folder.rglob("*.py") if deep else folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and "Study" in (getattr(node.func, "id", ""), getattr(node.func, "attr", "")):
                given = [*node.args[:1], *(k.value for k in node.keywords if k.arg == "id")]
                found |= {g.value for g in given if isinstance(g, ast.Constant) and isinstance(g.value, str)}
    return frozenset(found)


def _binds(path: Path, *names: str) -> bool:
    if not path.is_file():
        return False
    bound = set()
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign):
            bound |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            bound.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            bound |= {a.asname or a.name for a in node.names}
    return set(names) <= bound


def declared_studies(folder: Path) -> frozenset[str]:
    """Return the ids of the studies that a twin in this folder goes through: those of every twin, and those written in its own files.

    *validation* is one of them only where the room's ``evidence.py`` binds ``PROTOCOL`` and ``VALIDATION``.
    """
    home = _package("gemel")
    found = _declared(home / "evidence", deep=True) | _declared(home / "testing") | _declared(folder)
    return found if _binds(folder / "evidence.py", "PROTOCOL", "VALIDATION") else found - {"validation"}


def trace_check(
    trace: Trace, tests: Mapping[str, Tests | None], studies: Set[str], *, promises: Set[str] | None = None, known: Set[str] = frozenset()
) -> Checked:
    """Find the orphans of a trace, in both directions.

    Parameters
    ----------
    trace : of one twin.
    tests : origin -> tests of its project (:func:`project_tests`); None where they are not beside the package: then their names cannot be checked, and that is said.
    studies : ids of the studies that the twin goes through (:func:`declared_studies`).
    promises : names of the contract's checks; left out, those of this version.
    known : ids of requirements of other traces of the same projects, so that a test marked with one of them is none of this trace's orphans.

    Returns
    -------
    Checked
        An orphan for a requirement without item or without anything that shows it, a test, study or promise that does not exist, a hazard without a control, a
        control that nothing shows, a residual risk above the one before, an item without class or without requirement or of a module that does not exist, and
        a test marked with a requirement that does not exist.
    """
    checks = contract_promises() if promises is None else promises
    found: list[Orphan] = []
    waiting: dict[str, int] = {}

    def missing(nodes: Iterable[str], origin: str, where: str) -> int:
        """Add the tests that do not exist; return how many may count."""
        here, usable = tests.get(origin), 0
        for node in nodes:
            if here is None:
                waiting[origin] = waiting.get(origin, 0) + 1
            elif node not in here:
                found.append(Orphan("test that does not exist", where, node))
                continue
            usable += 1
        return usable

    contract = missing([trace.contract], trace.twin, f"contract of {trace.twin}") if trace.contract else 0
    promised = [r.id for r in trace.requirements if r.promises]
    if promised and not trace.contract:
        found.append(
            Orphan(
                "promise without contract",
                trace.twin,
                f"its trace.toml names no test that runs the contract on it; {len(promised)} requirements rest on one",
            )
        )
    shown: set[str] = set()
    ids = {r.id for r in trace.requirements}
    for r in trace.requirements:
        here = tests.get(r.origin)
        good = missing(r.tests, r.origin, r.id) + len(here.marked(r.id) if here is not None else ())
        for promise in r.promises:
            if promise not in checks:
                found.append(Orphan("promise that does not exist", r.id, f"{promise}: the contract has {', '.join(sorted(checks))}"))
            elif contract:
                good += 1
        for study in r.studies:
            if study in studies:
                good += 1
            else:
                found.append(Orphan("study that does not exist", r.id, study))
        if here is None and not (r.tests or r.promises or r.studies):  # a mark may name it, in tests that are not here
            waiting[r.origin] = waiting.get(r.origin, 0) + 1
            good = 1
        if good:
            shown.add(r.id)
        else:
            why = "nothing of what it names is there" if r.tests or r.promises or r.studies else "it names no test, promise or study"
            found.append(Orphan("requirement that nothing shows", r.id, why))
        if not r.items:
            found.append(Orphan("requirement without software item", r.id, r.text))
    found += [*_of_hazards(trace, ids, shown, missing), *_of_items(trace)]
    everywhere = ids | set(known)
    for here in {id(t): t for t in tests.values() if t is not None}.values():
        for node, marks in here.nodes.items():
            found += [Orphan("test of a requirement that does not exist", node, m) for m in marks if m not in everywhere]
    unchecked = tuple(
        f"{count} tests named by the trace of {'every twin' if origin == SHARED else origin}: the package was installed without its tests, so their names cannot be checked"
        for origin, count in waiting.items()
    )
    return Checked(tuple(found), unchecked)


def _of_hazards(trace: Trace, ids: Set[str], shown: Set[str], missing: Callable[[Iterable[str], str, str], int]) -> Iterator[Orphan]:
    for h in trace.hazards:
        if not h.controls:
            yield Orphan("hazard without control", h.id, h.situation)
        for control in h.controls:
            unknown = [r for r in control.requirements if r not in ids]
            yield from (Orphan("control of a requirement that does not exist", h.id, r) for r in unknown)
            usable = missing(control.tests, h.origin, h.id)
            if not usable and not shown & set(control.requirements):
                yield Orphan("control that nothing shows", h.id, control.what)
        if h.residual.risk > h.before.risk:
            yield Orphan("risk that its controls make larger", h.id, f"{h.before.words}; then {h.residual.words}")


def _exists(module: str) -> bool:
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    places = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]
    if not rest:
        return spec is not None
    return any(p.joinpath(*rest).is_dir() or p.joinpath(*rest).with_suffix(".py").is_file() for p in places)


def _of_items(trace: Trace) -> Iterator[Orphan]:
    names = {i.id for i in trace.items}
    used = {i for r in trace.requirements for i in r.items}
    for r in trace.requirements:
        yield from (Orphan("requirement of a software item that does not exist", r.id, i) for i in r.items if i not in names)
    for item in trace.items:
        if item.safety_class is None:
            yield Orphan("software item without safety class", item.id, item.what)
        if item.id not in used:
            yield Orphan("software item without requirement", item.id, item.what)
        yield from (Orphan("software item of a module that does not exist", item.id, m) for m in item.modules if not _exists(m))
