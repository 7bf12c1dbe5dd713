"""The functions and operators of an expression, over the real numbers and with checked sizes."""

import math
from collections.abc import Callable

import sympy
from sympy import Expr, Float, Integer, Rational

from toolken.tools.calculator import arithmetic
from toolken.tools.calculator.answer import Answer, decimal_text
from toolken.tools.calculator.arithmetic import decimal_power, exact_log, exact_power
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.rationals import bounded, rational
from toolken.tools.number_notation import MAX_DIGITS


def checked(value: Expr) -> Expr:
    """Return `value` itself if it is defined and its size is within bounds.

    Raises
    ------
    CalculationError
        If it divides by zero, or is a number of more than `MAX_DIGITS` digits.
    """
    if isinstance(value, Rational):
        return bounded(value)
    if value.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo):
        raise CalculationError("The expression divides by zero, which is undefined: give other numbers.")
    return value


def power(base: Expr, exponent: Expr) -> Expr:
    """Return a real power: (-8)^(1/3) is -2, and (-8)^(2/3) is 4.

    A base with variables gives sympy's power, which `real_roots` evaluates by the same rule.

    Raises
    ------
    CalculationError
        If the power is undefined over the reals or too large.
    """
    if not isinstance(exponent, Rational):
        if base.is_negative:
            raise CalculationError(
                "A negative number to an irrational power is undefined: give a base of zero or more."
            )
        return checked(base**exponent)
    if not isinstance(base, Rational):
        if base.is_zero and exponent < 0:
            raise CalculationError("Zero to a negative power divides by zero, which is undefined: give another base.")
        if base.is_negative and exponent.q > 1:
            if exponent.q % 2 == 0:
                raise CalculationError("An even root of a negative number is undefined: give a number of zero or more.")
            return (-1) ** (exponent.p % 2) * (-base) ** exponent
        return checked(base**exponent)
    exact = exact_power(base, exponent)
    if exact is not None:
        return exact
    size = decimal_power(abs(base), exponent)
    sign = -1 if base < 0 and exponent.p % 2 else 1
    # sympy would write out the whole part of the power, millions of digits for 1.0001^(10^7).
    if abs(exponent) * max(abs(base.p).bit_length(), base.q.bit_length()) > 4 * MAX_DIGITS:
        return sign * Float(str(size), 30)
    return sign * abs(base) ** exponent


def factorial(value: Expr) -> Expr:
    """Return the factorial.

    Raises
    ------
    CalculationError
        For a number that is negative, not whole or too large.
    """
    if not isinstance(value, Rational):
        return sympy.factorial(value)
    _check_whole(value, "factorial")
    return _whole(arithmetic.permutate(value, value))


def double_factorial(value: Expr) -> Expr:
    """Return n!! = n (n - 2) (n - 4) ..., down to 1 or 2; 0!! is 1.

    Raises
    ------
    CalculationError
        For a number that is negative, not whole or too large.
    """
    if not isinstance(value, Rational):
        return sympy.factorial2(value)
    _check_whole(value, "double factorial")
    # n!! >= sqrt(n!), which has more than MAX_DIGITS digits from n = 2 * MAX_DIGITS on.
    if value > 2 * MAX_DIGITS:
        raise CalculationError(f"The result has more than {MAX_DIGITS:,} digits: ask for a smaller calculation.")
    return bounded(Integer(math.prod(range(int(value), 0, -2))))


def _check_whole(value: Rational, name: str) -> None:
    if value.q != 1 or value < 0:
        raise CalculationError(
            f"The {name} of {decimal_text(value)} is undefined: give a whole number of zero or more."
        )


def mod(left: Expr, right: Expr) -> Expr:
    """Return the remainder of a division: at least zero and below the divisor's size.

    Raises
    ------
    CalculationError
        If the divisor is zero.
    """
    if isinstance(left, Rational) and isinstance(right, Rational):
        return _whole(arithmetic.remainder(left, right))
    if right.is_zero:
        raise CalculationError("The remainder of a division by zero is undefined: give a divisor other than zero.")
    return sympy.Mod(left, abs(right))


def _log(value: Expr, base: Expr | None = None) -> Expr:
    base = Integer(10) if base is None else base
    if isinstance(value, Rational) and isinstance(base, Rational):
        exact = exact_log(value, base)
        if exact is not None:
            return exact
    return _ln(value) / _ln(base)


def _ln(value: Expr) -> Expr:
    if value.is_nonpositive:
        raise CalculationError("The logarithm of zero or of a negative number is undefined: give a number above zero.")
    return sympy.log(value)


def _whole(answer: Answer) -> Expr:
    return rational(answer.exact)


def _of_numbers(operation: Callable[..., Answer], *, listed: bool = False) -> Callable[..., Expr]:
    def build(*values: Expr) -> Expr:
        if not all(isinstance(value, Rational) for value in values):
            raise CalculationError(f"{operation.__name__} works on numbers only: give numbers in place of variables.")
        return _whole(operation(values) if listed else operation(*values))

    return build


def _restricted(
    function: Callable[[Expr], Expr], is_outside: Callable[[Expr], bool | None], error: str
) -> Callable[[Expr], Expr]:
    """Return a function that raises an error outside its domain."""

    def build(value: Expr) -> Expr:
        if is_outside(value):
            raise CalculationError(error)
        return function(value)

    return build


def _inverse(function: Callable[[Expr], Expr], name: str) -> Callable[[Expr], Expr]:
    return _restricted(
        function,
        lambda value: (value - 1).is_positive or (value + 1).is_negative,
        f"{name} is undefined beyond -1 to 1: give a value between them.",
    )


_acosh = _restricted(
    sympy.acosh, lambda value: (value - 1).is_negative, "acosh is undefined below 1: give a value of 1 or more."
)
_atanh = _restricted(
    sympy.atanh,
    lambda value: (value - 1).is_nonnegative or (value + 1).is_nonpositive,
    "atanh is defined only between -1 and 1: give a value between them.",
)


def _gamma(value: Expr) -> Expr:
    return factorial(value - 1) if isinstance(value, Rational) and value.q == 1 else sympy.gamma(value)


FUNCTIONS: dict[str, tuple[Callable[..., Expr], int, int]] = {
    "sqrt": (lambda value: power(value, Rational(1, 2)), 1, 1),
    "cbrt": (lambda value: power(value, Rational(1, 3)), 1, 1),
    "pow": (power, 2, 2),
    "root": (lambda value, order: power(value, checked(1 / order)), 2, 2),
    "exp": (lambda value: power(sympy.E, value), 1, 1),
    "ln": (_ln, 1, 1),
    "log": (_log, 1, 2),
    "log_2": (lambda value: _log(value, Integer(2)), 1, 1),
    "log_10": (_log, 1, 1),
    "log2": (lambda value: _log(value, Integer(2)), 1, 1),
    "log10": (_log, 1, 1),
    "sin": (sympy.sin, 1, 1),
    "cos": (sympy.cos, 1, 1),
    "tan": (sympy.tan, 1, 1),
    "asin": (_inverse(sympy.asin, "asin"), 1, 1),
    "acos": (_inverse(sympy.acos, "acos"), 1, 1),
    "atan": (sympy.atan, 1, 1),
    "arcsin": (_inverse(sympy.asin, "arcsin"), 1, 1),
    "arccos": (_inverse(sympy.acos, "arccos"), 1, 1),
    "arctan": (sympy.atan, 1, 1),
    "sec": (sympy.sec, 1, 1),
    "csc": (sympy.csc, 1, 1),
    "cot": (sympy.cot, 1, 1),
    "sinh": (sympy.sinh, 1, 1),
    "cosh": (sympy.cosh, 1, 1),
    "tanh": (sympy.tanh, 1, 1),
    "asinh": (sympy.asinh, 1, 1),
    "acosh": (_acosh, 1, 1),
    "atanh": (_atanh, 1, 1),
    "erf": (sympy.erf, 1, 1),
    "gamma": (_gamma, 1, 1),
    "abs": (sympy.Abs, 1, 1),
    "sign": (sympy.sign, 1, 1),
    "floor": (sympy.floor, 1, 1),
    "ceil": (sympy.ceiling, 1, 1),
    "ceiling": (sympy.ceiling, 1, 1),
    "min": (sympy.Min, 1, 50),
    "max": (sympy.Max, 1, 50),
    "factorial": (factorial, 1, 1),
    "gcd": (_of_numbers(arithmetic.gcd, listed=True), 1, 50),
    "lcm": (_of_numbers(arithmetic.lcm, listed=True), 1, 50),
    "ncr": (_of_numbers(arithmetic.choose), 2, 2),
    "npr": (_of_numbers(arithmetic.permutate), 2, 2),
    "choose": (_of_numbers(arithmetic.choose), 2, 2),
    "permutate": (_of_numbers(arithmetic.permutate), 2, 2),
}
"""The functions of an expression: builder, least and greatest number of arguments."""
