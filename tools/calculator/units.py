"""Units of measurement by the names people use, and conversion between them with exact factors."""

import re
from functools import cache
from typing import Any

from sympy import Expr, Integer, Rational
from sympy.physics import units as si
from sympy.physics.units.quantities import PhysicalConstant, Quantity

from toolken.tools.calculator.answer import Answer, decimal_text, exact_answer
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.rationals import bounded, rational
from toolken.tools.calculator.symbolic import number_answer
from toolken.tools.quotation import quoted

MAX_LENGTH = 60
_MAX_EXPONENT = 9
_BASE = [
    si.meter,
    si.kilogram,
    si.second,
    si.ampere,
    si.kelvin,
    si.mole,
    si.candela,
    si.bit,
    si.radian,
]
# Kelvin = (reading + offset) * scale.
_TEMPERATURES = {
    "celsius": (Rational("273.15"), Rational(1)),
    "fahrenheit": (Rational("459.67"), Rational(5, 9)),
    "kelvin": (Rational(0), Rational(1)),
}
_TEMPERATURE_NAMES = {
    **dict.fromkeys(("celsius", "c", "°c", "degc", "degrees celsius", "degrees c", "centigrade"), "celsius"),
    **dict.fromkeys(("fahrenheit", "f", "°f", "degf", "degrees fahrenheit", "degrees f"), "fahrenheit"),
    **dict.fromkeys(("kelvin", "kelvins", "k"), "kelvin"),
}
_PREFIXES = {
    ("giga", "G"): Integer(10) ** 9,
    ("mega", "M"): Integer(10) ** 6,
    ("kilo", "k"): Integer(10) ** 3,
    ("hecto", "h"): Integer(100),
    ("deci", "d"): Rational(1, 10),
    ("centi", "c"): Rational(1, 100),
    ("milli", "m"): Rational(1, 10**3),
    ("micro", "µ"): Rational(1, 10**6),
    ("nano", "n"): Rational(1, 10**9),
    ("tera", "T"): Integer(10) ** 12,
}
_PREFIXED_WORDS = (
    *("meter", "metre", "gram", "liter", "litre", "second", "watt", "joule", "newton", "pascal", "volt", "ampere"),
    *("hertz", "byte", "bit", "calorie", "ohm"),
)
_PREFIXED_SYMBOLS = ("m", "g", "l", "L", "s", "W", "J", "N", "Pa", "V", "A", "Hz", "cal", "Wh")
_WORD_LENGTH = 4
"""Letters from which on a unit's name is a word and no symbol."""
_EVERYDAY = {
    *("km", "kg", "cm", "lb", "lbs", "oz", "ft", "in", "yd", "mi", "mph", "kph", "kmh", "gal", "qt", "pt", "psi", "hp"),
    *("btu", "hr", "hrs", "min", "mins", "sec", "secs", "cup", "day", "tsp", "ton", "kwh"),
}
"""Symbols that people write in any case, with an s or without."""
_KILOGRAM_PER_POUND = Rational("0.45359237")
_CUBIC_METRE_PER_GALLON = Rational("0.003785411784")


def convert_units(number: Any, from_unit: str, to_unit: str) -> Answer:
    """Convert an amount from one unit to another of the same kind.

    Gallons, pints, cups and ounces are those of the United States, a ton is 2,000 pounds and a tonne 1,000 kg, a
    calorie is 4.184 J, a year 365 days, kB and MB count in thousands.

    Parameters
    ----------
    number
        The amount, as in `parse_number`.
    from_unit, to_unit
        Units such as `miles`, `km/h`, `square feet`, `kg*m/s^2`, `Celsius`.

    Returns
    -------
    Answer
        The amount in the unit `to_unit`.

    Raises
    ------
    CalculationError
        If a unit is not known or the two measure different things.
    """
    amount = rational(number)
    source, target = _temperature(from_unit), _temperature(to_unit)
    if source and target:
        (offset, scale), (target_offset, target_scale) = _TEMPERATURES[source], _TEMPERATURES[target]
        if amount + offset < 0:
            raise CalculationError(
                f"{decimal_text(amount)} degrees {source} is below absolute zero, which is undefined: give "
                f"{decimal_text(-offset)} or more."
            )
        return exact_answer(bounded((amount + offset) * scale / target_scale - target_offset))
    factor = si.convert_to(parse_unit(from_unit), _BASE) / si.convert_to(parse_unit(to_unit), _BASE)
    if factor.has(Quantity):
        raise CalculationError(
            f"{quoted(from_unit)} and {quoted(to_unit)} measure different things: give two units of the same kind."
        )
    return number_answer(amount * factor)


def parse_unit(text: str) -> Expr:
    """Read a unit or a product of units.

    Raises
    ------
    CalculationError
        If a part is not known.
    """
    if len(text) > MAX_LENGTH:
        raise CalculationError(f"{quoted(text)} is too long for a unit: give one such as miles or km/h.")
    plain = " ".join(text.replace("²", "^2").replace("³", "^3").replace("**", "^").replace("·", "*").split())
    plain = re.sub(r"\bUS ", "", re.sub(r"\bper\b", "/", plain, flags=re.IGNORECASE), flags=re.IGNORECASE)
    plain = re.sub(r"\b(?:square|sq\.?) ([^\W\d_]+)", r"\1^2", plain, flags=re.IGNORECASE)
    plain = re.sub(r"\b(?:cubic|cu\.?) ([^\W\d_]+)", r"\1^3", plain, flags=re.IGNORECASE)
    numerator, *denominators = (_product(part, text) for part in plain.split("/"))
    for denominator in denominators:
        numerator = numerator / denominator
    return numerator


def _product(part: str, text: str) -> Expr:
    product: Expr = Integer(1)
    for factor in part.split("*"):
        if factor.strip() == "1":  # as in 1/s
            continue
        match = re.fullmatch(r"\s*(?P<name>[^\d^]+?)\s*(?:\^?\s*(?P<exponent>-?[0-9]))?\s*", factor)
        unit = _lookup(match["name"]) if match else None
        if match is None or unit is None:
            raise CalculationError(
                f"The unit {quoted(text)} is not known: give one such as miles, km/h, square feet, kg or Celsius."
            )
        product = product * unit ** int(match["exponent"] or 1)
    return product


def _temperature(text: str) -> str | None:
    return _TEMPERATURE_NAMES.get(" ".join(text.split()).lower()) if len(text) <= MAX_LENGTH else None


def _lookup(name: str) -> Expr | None:
    """Return the unit of a name; None where it is not known or its spelling could mean another unit.

    Case tells mW from MW, kB from kb and NM (nautical miles) from nm. So it is ignored only in words and everyday
    symbols, and only if all units spelled with these letters are the same one.
    """
    singular = name.removesuffix("s")
    # Nor is the s of a symbol a plural: mS is no metre, Ws no watt.
    candidates = [name, singular] if len(singular) >= _WORD_LENGTH or singular.lower() in _EVERYDAY else [name]
    for candidate in candidates:
        if candidate in _names():
            return _names()[candidate]
    folded = name.lower()
    for candidate in (folded, folded.removesuffix("s")):
        if len(candidate) >= _WORD_LENGTH or candidate in _EVERYDAY:
            units = _units_ignoring_case().get(candidate, set())
            if len(units) == 1:
                return next(iter(units))
    return None


@cache
def _units_ignoring_case() -> dict[str, set[Expr]]:
    """Return the units of each spelling in lower case; those of one amount count once."""
    found: dict[str, dict[Expr, Expr]] = {}
    for name, unit in _names().items():
        found.setdefault(name.lower(), {}).setdefault(si.convert_to(unit, _BASE), unit)
    return {name: set(units.values()) for name, units in found.items()}


@cache
def _names() -> dict[str, Expr]:
    """Return every known name with its unit in sympy's quantities."""
    names: dict[str, Expr] = {
        name: unit
        for name, unit in vars(si).items()
        if isinstance(unit, Quantity) and not isinstance(unit, PhysicalConstant) and not name.startswith("planck")
    }
    # The years of astronomers, and names that mean something else to most people: C and F are temperatures.
    unwanted = re.compile(
        r"(?!light).*year.*|.*moon.*|(angular_)?mils?|mmus?|milli_mass.*|electron_rest.*|per.*|C|F|G|K|R|c|e0|me|u0"
    )
    names = {name: unit for name, unit in names.items() if not unwanted.fullmatch(name)}
    pound = _KILOGRAM_PER_POUND * si.kilogram
    pound_force = pound * Rational("9.80665") * si.meter / si.second**2
    gallon = _CUBIC_METRE_PER_GALLON * si.meter**3
    calorie = Rational("4.184") * si.joule
    nautical_mile = 1852 * si.meter  # sympy's is 6,076 feet, 0.3 m less
    further: dict[str, Expr] = {
        "year yr yrs": 365 * si.day,
        "week wk": 7 * si.day,
        "fortnight": 14 * si.day,
        "hr hrs": si.hour,
        "min mins": si.minute,
        "sec secs": si.second,
        "d": si.day,
        "lb lbs pound pounds": pound,
        "ounce oz": pound / 16,
        "stone": 14 * pound,
        "ton": 2000 * pound,
        "carat": si.gram / 5,
        "gallon gal": gallon,
        "quart qt": gallon / 4,
        "pint pt": gallon / 8,
        "cup": gallon / 16,
        "fluid ounce|fl oz": gallon / 128,
        "tablespoon tbsp": gallon / 256,
        "teaspoon tsp": gallon / 768,
        "litre liter": si.liter,
        "metre": si.meter,
        "in": si.inch,
        "feet ft": si.foot,
        "mi": si.mile,
        "nautical mile|nautical miles|nautical_mile|nautical_miles|nmi": nautical_mile,
        "acre": Integer(43560) * si.foot**2,
        "mph": si.mile / si.hour,
        "kph kmh": si.kilometer / si.hour,
        "knot kn": nautical_mile / si.hour,
        "horsepower hp": 550 * si.foot * pound_force / si.second,
        "calorie cal": calorie,
        "psi": pound_force / si.inch**2,
        "torr": Rational(101325, 760) * si.pascal,
        "mmHg": Rational("133.322387415") * si.pascal,
        "btu": Rational("1055.05585262") * si.joule,
        "watt hour|watt-hour|Wh": si.watt * si.hour,
        "light year|light-year": si.lightyear,
        "KiB": si.kibibyte,
        "MiB": si.mebibyte,
        "GiB": si.gibibyte,
        "TiB": si.tebibyte,
        "KB": 1000 * si.byte,
        "NM": nautical_mile,
        "B": si.byte,
        "b": si.bit,
        "µm": si.micrometer,
    }
    for group, unit in further.items():
        names.update(dict.fromkeys(group.split("|") if "|" in group else group.split(), unit))
    for (word, letter), scale in _PREFIXES.items():
        for name in _PREFIXED_WORDS:
            names.setdefault(word + name, scale * names[name])
        for name in _PREFIXED_SYMBOLS if scale < 1000 else (*_PREFIXED_SYMBOLS, "B", "b"):  # dB is no tenth of a byte
            names.setdefault(letter + name, scale * names[name])
    return names
