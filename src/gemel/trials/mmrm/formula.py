"""A small formula, and the design matrix that it stands for: factors against their first level, products, covariates as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from gemel.core.errors import DataError, ModelError

__all__ = ["Design", "Formula", "design", "is_missing", "parse", "plain"]

Coding = Literal["reference", "sum"]
_NAME = re.compile(r"`([^`]+)`|([A-Za-z_.][\w.]*)")


@dataclass(frozen=True)
class Formula:
    """A response and the terms of its mean; a term is the tuple of the variables that it multiplies."""

    response: str
    terms: tuple[tuple[str, ...], ...]
    intercept: bool

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of the mean, in order of appearance."""
        return tuple(dict.fromkeys(name for term in self.terms for name in term))


def _names(text: str, whole: str, mark: str) -> list[str]:
    found = []
    for part in text.split(mark):
        match = _NAME.fullmatch(part.strip())
        if match is None:
            raise ModelError(
                "a term of the formula cannot be read",
                seen=f"{part.strip()!r} in {whole!r}",
                expected="names joined by +, * or :, such as 'change ~ base*visit + arm*visit'",
                fix="make a column of any transformation; put a name with spaces between backticks",
            )
        found.append(match[1] or match[2])
    return found


def parse(formula: str) -> Formula:
    """Read a formula: ``response ~ a + b*c + d:e``; ``0`` takes the intercept out.

    ``b*c`` stands for ``b + c + b:c``. Terms are ordered by the number of their variables.

    Raises
    ------
    ModelError : the formula cannot be read, or has no term.

    Examples
    --------
    >>> parse("change ~ base + arm*visit").terms
    (('base',), ('arm',), ('visit',), ('arm', 'visit'))
    """
    left, tilde, right = formula.partition("~")
    if not tilde:
        raise ModelError("a formula needs a tilde", seen=repr(formula), expected="'response ~ terms'")
    (response,) = _names(left, formula, "\0")
    terms: list[tuple[str, ...]] = []
    intercept = True
    for piece in re.split(r"\+(?=(?:[^`]*`[^`]*`)*[^`]*$)", right):
        text = piece.strip()
        if text in ("0", "1"):
            intercept = text == "1"
            continue
        if ":" in text and "*" in text:
            raise ModelError("a term has both * and :", seen=repr(text), fix="write its products one by one")
        if ":" in text:
            terms.append(tuple(_names(text, formula, ":")))
            continue
        names = _names(text, formula, "*")
        terms += [chosen for size in range(1, len(names) + 1) for chosen in combinations(names, size)]
    unique: dict[frozenset[str], tuple[str, ...]] = {}
    for term in terms:
        if len(set(term)) < len(term):
            raise ModelError("a term multiplies a variable with itself", seen=":".join(term))
        unique.setdefault(frozenset(term), term)
    if not unique and not intercept:
        raise ModelError("a formula without any term has no mean", seen=repr(formula))
    found = Formula(response, tuple(sorted(unique.values(), key=len)), intercept)
    if response in found.variables:
        raise ModelError("the response stands among its own terms", seen=repr(formula))
    return found


@dataclass(frozen=True)
class Design:
    """How rows become a design matrix: the formula, the levels of its factors (the first is the reference), the means of its covariates."""

    formula: Formula
    levels: Mapping[str, tuple[Any, ...]]
    means: Mapping[str, float]

    def _blocks(self) -> list[tuple[tuple[str, ...], list[list[tuple[str, int | None]]], list[bool]]]:
        """Return per term: its variables, its columns as (variable, level) lists, and which of its factors are contrasted.

        A factor is contrasted where the term without it is in the model, and has a column for each level where it is not.
        """
        present = {frozenset(term) for term in self.formula.terms} | ({frozenset()} if self.formula.intercept else set())
        blocks = []
        if self.formula.intercept:
            blocks.append(((), [[]], []))
        for term in self.formula.terms:
            contrasted = [name in self.levels and frozenset(term) - {name} in present for name in term]
            choices = [
                [(name, level) for level in range(int(short), len(self.levels[name]))] if name in self.levels else [(name, None)]
                for name, short in zip(term, contrasted, strict=True)
            ]
            # the last variable runs slowest: columns of arm x visit come visit by visit
            blocks.append((term, [list(reversed(chosen)) for chosen in product(*reversed(choices))], contrasted))
        return blocks

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns: ``arm[treated]:visit[week 8]``."""
        found = []
        for _, columns, _ in self._blocks():
            for column in columns:
                parts = [name if level is None else f"{name}[{self.levels[name][level]}]" for name, level in column]
                found.append(":".join(parts) or "(intercept)")
        return tuple(found)

    @property
    def term_columns(self) -> dict[str, tuple[int, ...]]:
        """The columns of each term, by the term's name; the intercept is not one."""
        found, at = {}, 0
        for term, columns, _ in self._blocks():
            if term:
                found[":".join(term)] = tuple(range(at, at + len(columns)))
            at += len(columns)
        return found

    def differences(self, term: str) -> Float[np.ndarray, "column column"]:
        """Return what turns a term's coefficients under ``sum`` coding into differences of levels to the first one."""
        for found, _, contrasted in self._blocks():
            if ":".join(found) == term and found:
                turn = np.ones((1, 1))
                for name, short in zip(found, contrasted, strict=True):
                    n = len(self.levels[name]) if name in self.levels else 1
                    effects = np.concatenate([np.eye(n - 1), -np.ones((1, n - 1))])
                    turn = np.kron(effects[1:] - effects[0] if short else np.eye(n), turn)
                return turn
        raise ModelError("no such term in the formula", seen=repr(term), expected=f"one of {list(self.term_columns)}")

    def encode(self, columns: Mapping[str, Any], rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the variables of chosen rows: factors as the number of their level, covariates as they are.

        Raises
        ------
        DataError : a level that is not known, or a missing value.
        """
        found = {}
        for name in self.formula.variables:
            values = plain(columns[name])[rows]
            if name not in self.levels:
                numbers = values.astype(float)
                _refuse_missing(name, ~np.isfinite(numbers), len(numbers))
                found[name] = numbers
                continue
            known = {level: number for number, level in enumerate(self.levels[name])}
            codes = np.array([known.get(value, -1) for value in values.tolist()], int)
            if (codes < 0).any():
                raise DataError(
                    f"column {name!r} has a value that is not among its levels",
                    seen=repr(values[int(np.argmin(codes))].item()),
                    expected=f"one of {list(self.levels[name])}",
                )
            found[name] = codes
        return found

    def matrix(self, coded: Mapping[str, np.ndarray], n: int, coding: Coding = "reference") -> Float[np.ndarray, "row column"]:
        """Return the design matrix of coded variables (:meth:`encode`); ``sum`` codes contrasted factors to sum to zero.

        A factor may also be given as (row, level) weights: as the matrix is linear in each factor, the row is then the mean over its levels.
        """
        found = []
        indicators = {
            name: np.eye(len(levels))[coded[name]] if np.ndim(coded[name]) == 1 else np.asarray(coded[name])
            for name, levels in self.levels.items()
        }
        for term, columns, contrasted in self._blocks():
            shortened = dict(zip(term, contrasted, strict=True))
            for column in columns:
                values = np.ones(n)
                for name, level in column:
                    if level is None:
                        values = values * coded[name]
                    elif coding == "sum" and shortened[name]:
                        values = values * (indicators[name][:, level - 1] - indicators[name][:, -1])
                    else:
                        values = values * indicators[name][:, level]
                found.append(values)
        return np.stack(found, axis=1)


def _refuse_missing(name: str, missing: np.ndarray, n: int) -> None:
    if missing.any():
        raise DataError(
            f"covariate {name!r} is missing where the response is not",
            seen=f"{int(missing.sum())} of {n} rows",
            expected="a value in each row that has a response",
            fix="state a rule beforehand (leave the rows out, impute by the baseline mean, add an indicator), apply it to the columns, and call again",
        )


def plain(values: Any) -> np.ndarray:
    """Return a column as an array; one of Python objects that are all numbers or None becomes numbers, None among them NaN."""
    found = np.asarray(values)
    if found.dtype.kind == "O" and all(
        v is None or (isinstance(v, (int, float, np.number)) and not isinstance(v, bool)) for v in found.tolist()
    ):
        return found.astype(float)
    return found


def is_missing(values: np.ndarray) -> np.ndarray:
    """Return where a column has NaN or None."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind == "O":
        return np.array([value is None or value != value for value in values.tolist()], bool)
    return np.zeros(len(values), bool)


def design(
    formula: Formula, columns: Mapping[str, Any], rows: np.ndarray, levels: Mapping[str, Sequence[Any]]
) -> tuple[Design, dict[str, np.ndarray]]:
    """Find levels and means of the variables in the rows used, and code them.

    Text and truth values are factors, numbers are covariates; ``levels`` makes a factor of a number, orders its levels, and names the reference
    first. Without it levels are sorted.

    Raises
    ------
    DataError : a column that is not there, a factor of one level, a missing covariate.
    """
    found: dict[str, tuple[Any, ...]] = {}
    means: dict[str, float] = {}
    for name in formula.variables:
        if name not in columns:
            raise DataError("a column named in the formula is not there", seen=repr(name), expected=f"one of {sorted(columns)}")
        values = plain(columns[name])[rows]
        _refuse_missing(name, is_missing(values), len(values))
        if name in levels:
            found[name] = tuple(levels[name])
        elif values.dtype.kind in "USObT":
            found[name] = tuple(sorted(set(values.tolist())))
        else:
            means[name] = float(values.astype(float).mean())
            continue
        if len(found[name]) < 2:
            raise DataError(f"factor {name!r} has fewer than two levels", seen=list(found[name]), fix="leave it out of the formula")
    built = Design(formula, found, means)
    return built, built.encode(columns, rows)
