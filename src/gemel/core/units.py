"""UCUM units: a small exact table, conversion, and mass <-> amount by analyte.

Factors are rational numbers until the very last multiplication, so that converting
there and back changes nothing but the last bit. A unit that is not in the table is
refused, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TypeVar

import numpy as np

from gemel.core.errors import UnitError

__all__ = ["ANALYTES", "Analyte", "Unit", "conversion_factor", "convert", "is_convertible", "parse_unit"]

ValueT = TypeVar("ValueT", float, np.ndarray)

# Dimensions: length, mass, time, temperature, amount, current, and one per arbitrary unit (UCUM: not convertible).
_BASE = ("m", "g", "s", "K", "mol", "A")
_PREFIX = {
    "f": Fraction(1, 10**15),
    "p": Fraction(1, 10**12),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "c": Fraction(1, 100),
    "d": Fraction(1, 10),
    "h": Fraction(100),
    "k": Fraction(1000),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
}

# symbol -> (factor to base units, dimensions, may carry a metric prefix). Source: UCUM 2.1, tables 2-9 and 13.
_ATOMS: dict[str, tuple[Fraction, dict[str, int], bool]] = {
    "1": (Fraction(1), {}, False),
    "%": (Fraction(1, 100), {}, False),
    "10*": (Fraction(10), {}, False),
    "10^": (Fraction(10), {}, False),
    "m": (Fraction(1), {"m": 1}, True),
    "g": (Fraction(1), {"g": 1}, True),
    "s": (Fraction(1), {"s": 1}, True),
    "K": (Fraction(1), {"K": 1}, True),
    "mol": (Fraction(1), {"mol": 1}, True),
    "A": (Fraction(1), {"A": 1}, True),
    "rad": (Fraction(1), {}, True),
    "deg": (Fraction(31415926535897932384626433832795, 18 * 10**32), {}, False),
    "L": (Fraction(1, 1000), {"m": 3}, True),
    "l": (Fraction(1, 1000), {"m": 3}, True),
    "min": (Fraction(60), {"s": 1}, False),
    "h": (Fraction(3600), {"s": 1}, False),
    "d": (Fraction(86400), {"s": 1}, False),
    "wk": (Fraction(604800), {"s": 1}, False),
    "mo": (Fraction(2629800), {"s": 1}, False),
    "a": (Fraction(31557600), {"s": 1}, False),
    "Hz": (Fraction(1), {"s": -1}, True),
    "N": (Fraction(1000), {"m": 1, "g": 1, "s": -2}, True),
    "Pa": (Fraction(1000), {"m": -1, "g": 1, "s": -2}, True),
    "J": (Fraction(1000), {"m": 2, "g": 1, "s": -2}, True),
    "W": (Fraction(1000), {"m": 2, "g": 1, "s": -3}, True),
    "V": (Fraction(1000), {"m": 2, "g": 1, "s": -3, "A": -1}, True),
    "F": (Fraction(1, 1000), {"m": -2, "g": -1, "s": 4, "A": 2}, True),
    "Ohm": (Fraction(1000), {"m": 2, "g": 1, "s": -3, "A": -2}, True),
    "C": (Fraction(1), {"s": 1, "A": 1}, True),
    "cal": (Fraction(4184), {"m": 2, "g": 1, "s": -2}, True),
    "bar": (Fraction(10**8), {"m": -1, "g": 1, "s": -2}, True),
    "m[Hg]": (Fraction(133322387415, 1000), {"m": -1, "g": 1, "s": -2}, True),
    "m[H2O]": (Fraction(980665 * 10, 1), {"m": -1, "g": 1, "s": -2}, True),
    "eq": (Fraction(1), {"mol": 1}, True),
    "osm": (Fraction(1), {"mol": 1}, True),
    "kat": (Fraction(1), {"mol": 1, "s": -1}, True),
    "U": (Fraction(1, 60 * 10**6), {"mol": 1, "s": -1}, True),
    "[iU]": (Fraction(1), {"[iU]": 1}, True),
    "[IU]": (Fraction(1), {"[iU]": 1}, True),
    "[arb'U]": (Fraction(1), {"[arb'U]": 1}, False),
    "[pH]": (Fraction(1), {"[pH]": 1}, False),  # UCUM: special, by a logarithm; here convertible to itself alone
    "[diop]": (Fraction(1), {"m": -1}, False),
    "[in_i]": (Fraction(254, 10000), {"m": 1}, False),
    "[ft_i]": (Fraction(3048, 10000), {"m": 1}, False),
    "[lb_av]": (Fraction(45359237, 100000), {"g": 1}, False),
    "[oz_av]": (Fraction(45359237, 1600000), {"g": 1}, False),
    "Gy": (Fraction(1), {"m": 2, "s": -2}, True),
    "Bq": (Fraction(1), {"s": -1}, True),
    "P": (Fraction(100), {"m": -1, "g": 1, "s": -1}, True),
    "dyn": (Fraction(1, 100), {"m": 1, "g": 1, "s": -2}, True),
}
# Temperatures with another zero: kelvin = value * factor + offset. Only alone, never inside a product (UCUM 2.1, section 21).
_OFFSET = {"Cel": (Fraction(1), Fraction(27315, 100)), "[degF]": (Fraction(5, 9), Fraction(45967, 180))}
_ANNOTATION = re.compile(r"\{[^{}]*\}")
_TERM = re.compile(r"^(?P<atom>10\*|10\^|1|(?:[^\d\s./]*\[[^\]]+\])|[^\d\s./+\-]+)(?P<exponent>[+-]?\d+)?$")


@dataclass(frozen=True)
class Unit:
    """A parsed unit: factor to base units, dimensions, and an offset for temperatures."""

    symbol: str
    factor: Fraction
    dimensions: tuple[tuple[str, int], ...]
    offset: Fraction = Fraction(0)


@dataclass(frozen=True)
class Analyte:
    """A substance whose mass and amount concentrations can be turned into each other."""

    name: str
    molar_mass: Fraction  # g/mol
    source: str
    activity: Fraction | None = None  # mol per international unit, where a convention exists


ANALYTES: dict[str, Analyte] = {
    # 18.0156 mg/dL per mmol/L is the convention of the glucose field (C6H12O6: 180.156 g/mol).
    "glucose": Analyte("glucose", Fraction(180156, 1000), "C6H12O6, IUPAC 2021 atomic weights"),
    # 1 U = 6000 pmol: the convention of the glucose models (doi:10.1177/1932296813514502); USP potency gives 6.0 nmol/U.
    "insulin": Analyte("insulin", Fraction(580763, 100), "human insulin C257H383N65O77S6", Fraction(6, 10**9)),
    "cholesterol": Analyte("cholesterol", Fraction(38665, 100), "C27H46O"),
    "triglycerides": Analyte("triglycerides", Fraction(8857, 10), "triolein, laboratory convention"),
    "creatinine": Analyte("creatinine", Fraction(11312, 100), "C4H7N3O"),
    "urea": Analyte("urea", Fraction(6006, 100), "CH4N2O"),
    "beta-hydroxybutyrate": Analyte("beta-hydroxybutyrate", Fraction(10410, 100), "C4H8O3"),
    "lactate": Analyte("lactate", Fraction(9008, 100), "C3H6O3"),
}


def _atom(symbol: str, whole: str) -> tuple[Fraction, dict[str, int]]:
    if symbol in _ATOMS:
        factor, dimensions, _ = _ATOMS[symbol]
        return factor, dimensions
    prefix, rest = symbol[:1], symbol[1:]
    if prefix in _PREFIX and rest in _ATOMS and _ATOMS[rest][2]:
        factor, dimensions, _ = _ATOMS[rest]
        return _PREFIX[prefix] * factor, dimensions
    raise UnitError(
        f"unknown unit {whole!r}",
        seen=symbol,
        expected="a UCUM unit such as 'mg/dL', 'mmol/L', '[iU]', 'mm[Hg]'",
        fix="write the unit in UCUM",
    )


@lru_cache(maxsize=1024)
def parse_unit(symbol: str) -> Unit:
    """Parse a UCUM string.

    Raises
    ------
    UnitError
        When the string is empty or holds an unknown atom.

    References
    ----------
    The Unified Code for Units of Measure 2.1, https://ucum.org

    Examples
    --------
    >>> parse_unit("mg/dL").factor
    Fraction(10, 1)
    """
    text = _ANNOTATION.sub("", symbol).strip()
    if not symbol.strip():
        raise UnitError(
            "a quantity without a unit is refused", seen=repr(symbol), expected="a UCUM unit", fix="state the unit ('1' if it has none)"
        )
    if text in _OFFSET:
        factor, offset = _OFFSET[text]
        return Unit(symbol, factor, (("K", 1),), offset)
    if not text:
        return Unit(symbol, Fraction(1), ())
    factor, dimensions = Fraction(1), dict[str, int]()
    sign = 1
    for token in re.split(r"([./])", text):
        if token == ".":
            sign = 1
            continue
        if token == "/":
            sign = -1
            continue
        if not token:
            continue
        if token.isascii() and token.isdigit() and len(token) <= 12 and int(token) > 1:  # UCUM 2.1, section 9: an integer is a factor
            factor *= Fraction(int(token)) ** sign
            continue
        match = _TERM.match(token)
        if match is None:
            raise UnitError(
                f"cannot read unit {symbol!r}", seen=token, expected="UCUM, e.g. 'mg/dL' or '10*9/L'", fix="write the unit in UCUM"
            )
        base, powers = _atom(match["atom"], symbol)
        exponent = sign * int(match["exponent"] or 1)
        factor *= base**exponent
        for name, power in powers.items():
            dimensions[name] = dimensions.get(name, 0) + power * exponent
    return Unit(symbol, factor, tuple(sorted((k, v) for k, v in dimensions.items() if v)))


def _bridge(source: Unit, target: Unit, analyte: str | None) -> Fraction | None:
    """Factor that turns a mass (or activity) dimension into an amount dimension for this analyte."""
    if analyte is None:
        return None
    substance = ANALYTES.get(analyte)
    if substance is None:
        raise UnitError(
            f"no molar mass for analyte {analyte!r}",
            expected=f"one of {', '.join(sorted(ANALYTES))}",
            fix="add it to core.units.ANALYTES with its source",
        )
    per_mol = {"g": substance.molar_mass, "mol": Fraction(1)}
    if substance.activity is not None:
        per_mol["[iU]"] = 1 / substance.activity
    have, want = dict(source.dimensions), dict(target.dimensions)
    for a in per_mol:
        for b in per_mol:
            power = have.get(a, 0)
            if a == b or power == 0 or want.get(b, 0) - have.get(b, 0) != power or want.get(a, 0) != 0:
                continue
            trial = dict(have)
            trial.pop(a)
            trial[b] = trial.get(b, 0) + power
            if {k: v for k, v in trial.items() if v} == want:
                return (per_mol[b] / per_mol[a]) ** power
    return None


@lru_cache(maxsize=4096)
def _affine(source: str, target: str, analyte: str | None) -> tuple[Fraction, Fraction]:
    a, b = parse_unit(source), parse_unit(target)
    if a.dimensions == b.dimensions:
        return a.factor / b.factor, (a.offset - b.offset) / b.factor
    bridge = _bridge(a, b, analyte)
    if bridge is None or a.offset or b.offset:
        hint = "" if analyte else " (mass <-> amount needs the analyte)"
        raise UnitError(
            f"cannot convert {source!r} to {target!r}{hint}",
            seen=source,
            expected=target,
            fix="check the unit that was sent; a wrong unit is refused, not guessed",
        )
    return a.factor * bridge / b.factor, Fraction(0)


def conversion_factor(source: str, target: str, *, analyte: str | None = None) -> float:
    """Return the number that multiplies a value in ``source`` to give ``target``.

    Examples
    --------
    >>> conversion_factor("mmol/L", "mg/dL", analyte="glucose")
    18.0156
    """
    factor, offset = _affine(source, target, analyte)
    if offset:
        raise UnitError(f"{source!r} to {target!r} has an offset, not only a factor", fix="use convert()")
    return float(factor)


def convert(value: ValueT, source: str, target: str, *, analyte: str | None = None) -> ValueT:
    """Convert a value or an array from one UCUM unit to another.

    Parameters
    ----------
    value : number or array in ``source``.
    source, target : UCUM strings.
    analyte : name in :data:`ANALYTES`, needed between mass, amount and international units.

    Raises
    ------
    UnitError
        When a unit is unknown or the two do not measure the same thing.

    Examples
    --------
    >>> round(convert(5.5, "mmol/L", "mg/dL", analyte="glucose"), 4)
    99.0858
    >>> round(convert(98.6, "[degF]", "Cel"), 6)
    37.0
    """
    if source == target:
        return value
    factor, offset = _affine(source, target, analyte)
    return value * float(factor) + float(offset) if offset else value * float(factor)


def is_convertible(source: str, target: str, *, analyte: str | None = None) -> bool:
    """Say whether ``source`` can be turned into ``target``."""
    try:
        _affine(source, target, analyte)
    except UnitError:
        return False
    return True
