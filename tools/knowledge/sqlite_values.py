"""Values of SQLite columns: what a declared type makes of a stored value, and what a key is compared with.

SQLite stores any value in a column of any declared type (https://www.sqlite.org/datatype3.html). SQLAlchemy converts
by the declared type alone and so changes a value that does not fit, or raises. Here the stored value is kept instead.
"""

import contextlib
import datetime
import json
import math
from decimal import Context, Decimal
from typing import Any

from sqlalchemy import JSON, Boolean, Date, DateTime, Float, Numeric, String, Time
from sqlalchemy.types import TypeEngine

_LARGEST_INTEGER = 2**63 - 1
_PADDED_DIGITS = 30
"""Decimals with more integer digits are not padded to the declared scale."""
_EXACT = Context(prec=500)


def decode_text(data: bytes) -> str:
    """Decode stored text; bytes that are not UTF-8 become U+FFFD."""
    return data.decode("utf-8", "replace")


def stored_value(value: Any, declared: TypeEngine[Any]) -> Any:
    """Convert a value as the driver returns it to the Python type of its column, if that is lossless.

    Parameters
    ----------
    value : None, int, float, str or bytes
        The stored value, one of SQLite's five storage classes.
    declared : TypeEngine
        The reflected type of the column.

    Returns
    -------
    Any
        A bool, Decimal, date, time, datetime or JSON value where the stored value has the declared type, and the
        stored value itself otherwise.

    Examples
    --------
    >>> from sqlalchemy import Boolean, Numeric
    >>> stored_value(0, Boolean()), stored_value("false", Boolean())
    (False, 'false')
    >>> stored_value(12.5, Numeric()), stored_value(12.5, Numeric(10, 2)), stored_value("twelve", Numeric())
    (Decimal('12.5'), Decimal('12.50'), 'twelve')
    """
    if isinstance(declared, Boolean) and isinstance(value, int) and value in (0, 1):
        return bool(value)
    if isinstance(declared, Numeric) and not isinstance(declared, Float) and isinstance(value, int | float):
        return _decimal(value, declared.scale)
    if isinstance(value, str):
        if isinstance(declared, DateTime | Date | Time):
            return _moment(value, declared)
        if isinstance(declared, JSON):
            return _json(value)
    return value


def key_candidates(text: str, declared: TypeEngine[Any]) -> list[str | int | float]:
    """List the values that a key column may store for the text of an argument, the text itself first.

    SQLite compares values of different storage classes by the column's affinity. The columns of a view may have
    none, so numbers are listed as numbers too. A date and time is listed in each of the forms in which it is stored.
    """
    candidates: list[str | int | float] = [text]
    if isinstance(declared, String):
        return candidates
    with contextlib.suppress(ValueError):
        if isinstance(declared, Boolean) and text.lower() in ("true", "false"):
            candidates.append(int(text.lower() == "true"))
        elif isinstance(declared, DateTime):
            candidates += _written(datetime.datetime.fromisoformat(text))
        elif isinstance(declared, Date):
            candidates.append(datetime.date.fromisoformat(text).isoformat())
        elif isinstance(declared, Time):
            candidates += _written(datetime.time.fromisoformat(text))
        elif (number := _number(text)) is not None:
            candidates.append(number)
    return list(dict.fromkeys(candidates))


def _number(text: str) -> int | float | None:
    """Read a number that SQLite can store; a large integer never becomes a float, which would be another number."""
    try:
        integer = int(text)
    except ValueError:
        return float(text)
    return integer if abs(integer) <= _LARGEST_INTEGER else None


def _decimal(value: float, scale: int | None) -> Decimal | float:
    if not math.isfinite(value):
        return value
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if isinstance(value, float) and value.is_integer():
        number = number.to_integral_value()  # without the ".0" of `repr`
    exponent = number.as_tuple().exponent
    if scale and isinstance(exponent, int) and -exponent <= scale and number.adjusted() < _PADDED_DIGITS:
        return number.quantize(Decimal(1).scaleb(-scale), context=_EXACT)
    return number


def _moment(value: str, declared: DateTime | Date | Time) -> Any:
    """Read a date, time or both, unless writing it again would give another text than the stored one."""
    try:
        if isinstance(declared, DateTime):
            moment = datetime.datetime.fromisoformat(value)
            return moment if value in _written(moment) else value
        if isinstance(declared, Date):
            date = datetime.date.fromisoformat(value)
            return date if value == date.isoformat() else value
        time = datetime.time.fromisoformat(value)
    except ValueError:
        return value
    return time if value in _written(time) else value


def _written(moment: datetime.datetime | datetime.time) -> list[str]:
    """Write a time as programs store it: SQLAlchemy with microseconds, SQLite without, either with " " or "T"."""
    forms = [moment.isoformat(timespec="microseconds"), moment.isoformat()]
    if isinstance(moment, datetime.datetime):
        forms += [form.replace("T", " ") for form in forms]
    return forms


def _json(value: str) -> Any:
    """Parse JSON; invalid JSON, and JSON with an escaped lone surrogate, which is not valid text, stays as stored."""
    try:
        parsed = json.loads(value)
        json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return value
    return parsed
