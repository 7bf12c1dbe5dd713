"""Definite integrals: a confirmed closed form, or a number on which two quadratures agree."""

import itertools
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy
from sympy import Expr, Float, Integral, Symbol

from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.real_roots import antiderivative_between, numerical, odd_roots

_SECONDS = 0.6
"""Processor time for the search of a closed form; the quadrature has as much."""
_SYMPY = Path(sympy.__file__).parent
_DIGITS = 25
_PIECES = (4, 7)
"""Number of subintervals of each of the two quadratures."""
_AGREEING = 1e-10
"""Relative difference up to which two values agree; ten digits are shown."""
_ROUNDING = 1e-16
"""Tolerance relative to the integral of the absolute value: anything smaller counts as zero."""
_FAR = 2  # times the number of pieces is where a range to infinity is no longer cut
_SAMPLES = 400  # of the range, to find where an absolute value has its kinks


class _GivenUp(BaseException):
    """The time limit is reached; not an `Exception`, which sympy may catch."""


def definite_integral(integrand: Expr, x: Symbol, lower: Expr, upper: Expr) -> Expr:
    """Return an integral between two limits: its closed form, or a decimal number of at least ten digits.

    A closed form is returned only if the quadrature confirms it, since some of sympy's are wrong. Where the quadrature
    does not converge, the two must at least be close, except over infinite ranges, where many integrands oscillate.

    Raises
    ------
    CalculationError
        If the integral diverges, is not real, or cannot be computed.
    """
    exact = _closed_form(integrand, x, lower, upper)
    if exact is not None and exact.has(sympy.oo, -sympy.oo, sympy.nan, sympy.zoo):
        raise CalculationError("The integral diverges: give other limits.")
    with mpmath.workdps(_DIGITS):
        coarse, fine, scale = _quadratures(integrand, x, lower, upper)
        closed = None if exact is None else _decimal(exact)
        if abs(fine.imag) > _AGREEING * scale:
            raise CalculationError("The integrand is undefined over the real numbers somewhere: give other limits.")
        if abs(fine - coarse) <= max(_AGREEING * abs(fine), _ROUNDING * scale):
            if exact is not None and closed is not None and abs(closed - fine) <= 10 * _AGREEING * scale:
                return exact
            return Float(0 if abs(fine) <= _ROUNDING * scale else mpmath.nstr(fine.real, _DIGITS), _DIGITS)
        is_near = closed is not None and max(abs(closed - fine), abs(closed - coarse)) <= 0.01 * abs(closed)
        if exact is not None and closed is not None and (is_near or not (lower.is_finite and upper.is_finite)):
            return exact
    raise CalculationError(
        "The integral could not be computed to enough digits, or diverges: give limits without a pole or step between."
    )


def _closed_form(integrand: Expr, x: Symbol, lower: Expr, upper: Expr) -> Expr | None:
    result: Expr | None
    try:
        with _processor_time(_SECONDS):
            if odd_roots(integrand, x):
                result = antiderivative_between(sympy.integrate(integrand, x), x, lower, upper)
            else:
                result = Integral(integrand, (x, lower, upper)).doit()
    except _GivenUp:
        return None
    except Exception:  # whatever sympy raises where it has no method
        return None
    return None if result is None or result.has(Integral) or result.free_symbols else result


def _decimal(value: Expr) -> Any:
    """Return the value as a decimal number, or None where it is not a number."""
    number = value.evalf(_DIGITS)
    return mpmath.mpf(str(number)) if number.is_Float or number.is_Rational else None


def _quadratures(integrand: Expr, x: Symbol, lower: Expr, upper: Expr) -> tuple[Any, Any, Any]:
    """Return two values of an integral and one of that of the integrand's size; not a number where there is none.

    Tanh-sinh quadrature (Takahasi and Mori, 1974; mpmath's default) on two different cuts of the range: they disagree
    where it has a pole or a step inside, or the integrand swings too often.
    """
    function = numerical(integrand, x)
    values, scale = [], mpmath.mpf(0)
    for count in _PIECES:
        cuts = _cuts(integrand, x, lower, upper, count)
        try:
            pieces = [mpmath.mpc(mpmath.quad(function, piece)) for piece in itertools.pairwise(cuts)]
        except (ArithmeticError, ValueError, TypeError, AttributeError):
            pieces = [mpmath.mpc(mpmath.nan)]
        values.append(mpmath.fsum(pieces))
        scale = mpmath.fsum(map(abs, pieces))
    return values[0], values[1], scale


def _cuts(integrand: Expr, x: Symbol, lower: Expr, upper: Expr, count: int) -> list[Any]:
    """Cut a range into pieces, and where the integrand has kinks; what goes to infinity is a first or last piece."""
    start, end = (_limit(limit) for limit in (lower, upper))
    if start > end:
        return _cuts(integrand, x, upper, lower, count)[::-1]
    far = _FAR * count
    inner_start = start if mpmath.isfinite(start) else min(-far, end - far)
    inner_end = end if mpmath.isfinite(end) else max(far, inner_start + far)
    inner = {*mpmath.linspace(inner_start, inner_end, count + 1), *_kinks(integrand, x, inner_start, inner_end)}
    return sorted({start, *inner, end})


def _limit(limit: Expr) -> Any:
    if limit.is_infinite:
        return mpmath.inf if limit.is_extended_positive else -mpmath.inf
    return mpmath.mpf(str(limit.evalf(_DIGITS)))


def _kinks(integrand: Expr, x: Symbol, start: Any, end: Any) -> list[Any]:
    """Find where the arguments of absolute values, signs, maxima, minima and odd roots change sign."""
    arguments = [one.args[0] for one in integrand.atoms(sympy.Abs, sympy.sign)]
    arguments += [root.base for root in odd_roots(integrand, x)]
    for extreme in integrand.atoms(sympy.Max, sympy.Min):
        arguments += [left - right for left, right in itertools.combinations(extreme.args, 2)]
    kinks = []
    for argument in arguments:
        function = numerical(argument, x)
        for left, right in itertools.pairwise(mpmath.linspace(start, end, _SAMPLES)):
            try:
                if function(left) * function(right) < 0:
                    kinks.append(mpmath.findroot(function, (left, right), solver="anderson"))
            except (ArithmeticError, ValueError, TypeError):  # undefined here
                continue
    return kinks


@contextmanager
def _processor_time(seconds: float) -> Iterator[None]:
    """Raise `_GivenUp` in the block after some time, where the system can signal this thread."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(_: int, frame: FrameType | None) -> None:
        # Not in a destructor or a callback of the garbage collector, which would lose it: the next signal comes soon.
        if frame is not None and _SYMPY in Path(frame.f_code.co_filename).parents:
            signal.setitimer(signal.ITIMER_PROF, 0)
            raise _GivenUp

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.01)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
