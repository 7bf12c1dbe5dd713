"""The thirteen arithmetic operations on exact rationals, bounded in time and memory by the length of numbers."""

import math
from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from sympy import Integer, Rational, integer_nthroot

from toolken.tools.calculator.answer import Answer, decimal_text, exact_answer, irrational_answer
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.rationals import bounded, rational
from toolken.tools.number_notation import MAX_DIGITS

_TOO_LARGE = f"The result has more than {MAX_DIGITS:,} digits: ask for a smaller calculation."
_MAX_BITS = math.ceil(MAX_DIGITS * math.log2(10))
_GUARD_DIGITS = 40  # digits beyond those of the operands in which an irrational value is computed


def add(numbers: Sequence[Any]) -> Answer:
    """Return the sum of one or more numbers."""
    first, *others = _operands("add", numbers, 1)
    for number in others:
        first = bounded(first + number)
    return exact_answer(first)


def subtract(numbers: Sequence[Any]) -> Answer:
    """Return the first number minus all the others."""
    first, *others = _operands("subtract", numbers, 2)
    for number in others:
        first = bounded(first - number)
    return exact_answer(first)


def multiply(numbers: Sequence[Any]) -> Answer:
    """Return the product of one or more numbers."""
    first, *others = _operands("multiply", numbers, 1)
    for number in others:
        first = bounded(first * number)
    return exact_answer(first)


def divide(numbers: Sequence[Any]) -> Answer:
    """Return the first number divided by each of the others in turn.

    Raises
    ------
    CalculationError
        If a divisor is zero.
    """
    first, *others = _operands("divide", numbers, 2)
    for number in others:
        if number == 0:
            raise CalculationError("Division by zero is undefined: give divisors other than zero.")
        first = bounded(first / number)
    return exact_answer(first)


def power(base: Any, exponent: Any) -> Answer:
    """Return a real power, exactly where the result is rational and keeps to `MAX_DIGITS`.

    A negative base has a real power for a whole exponent and for a fraction whose reduced denominator is odd:
    (-8)^(1/3) is -2. 0^0 is 1.

    Raises
    ------
    CalculationError
        For zero to a negative power, an even root of a negative number, or a result beyond `MAX_DIGITS`.
    """
    b, e = rational(base), rational(exponent)
    value = exact_power(b, e)
    if value is not None:
        return exact_answer(value)
    sign = -1 if b < 0 and e.p % 2 else 1  # in lowest terms, so an odd root with an even power is positive
    return irrational_answer(f"{_in_brackets(b)}^{_in_brackets(e)}", sign * decimal_power(abs(b), e))


def exact_power(base: Rational, exponent: Rational) -> Rational | None:
    """Return base^exponent, or None where it is irrational or its exact form is longer than `MAX_DIGITS`.

    Raises
    ------
    CalculationError
        For zero to a negative power, or an even root of a negative number.
    """
    if base == 0 and exponent < 0:
        raise CalculationError(
            "Zero to a negative power divides by zero, which is undefined: give another base or exponent."
        )
    if base < 0 and exponent.q % 2 == 0:
        raise CalculationError(
            f"{decimal_text(base)} to the power {exponent} is an even root of a negative number, which is undefined: "
            "give a base of zero or more."
        )
    if base in (0, 1) or exponent == 0:
        return base if exponent != 0 else Integer(1)
    if base == -1:
        return Integer(-1 if exponent.p % 2 else 1)
    # |p| ** (1/s) is below 2 once s passes the bits of p, so no root of such an order is rational.
    if exponent.q > max(abs(base.p).bit_length(), base.q.bit_length()):
        return None
    numerator, whole = integer_nthroot(abs(base.p), exponent.q)
    denominator, whole_too = integer_nthroot(base.q, exponent.q)
    if not (whole and whole_too):
        return None
    root = Rational(-numerator if base < 0 else numerator, denominator)
    bits = max(int(numerator).bit_length(), int(denominator).bit_length()) - 1
    if bits * abs(exponent.p) > _MAX_BITS:  # 2**bits <= the larger part, so its power has at least that many bits
        return None
    result = root**exponent.p
    return result if max(abs(result.p), result.q) < 10**MAX_DIGITS else None


def decimal_power(base: Rational, exponent: Rational) -> Decimal:
    """Return base^exponent for a positive base to 30 digits and more, as exp(exponent ln base).

    Raises
    ------
    CalculationError
        If the result, or its reciprocal, has more than `MAX_DIGITS` digits.
    """
    context = Context(prec=_GUARD_DIGITS)
    log_of_power = context.multiply(_decimal(exponent, context), _logarithm(base))
    if abs(log_of_power) > MAX_DIGITS * math.log(10):
        raise CalculationError(_TOO_LARGE)
    return context.exp(log_of_power)


def sqrt(number: Any) -> Answer:
    """Return the square root.

    Raises
    ------
    CalculationError
        If the number is negative.
    """
    value = rational(number)
    if value < 0:
        raise CalculationError(
            f"The square root of the negative number {decimal_text(value)} is undefined: give a number of zero or more."
        )
    root = exact_power(value, Rational(1, 2))
    if root is not None:
        return exact_answer(root)
    return irrational_answer(f"sqrt({value})", decimal_power(value, Rational(1, 2)))


def log(number: Any, base: Any = None) -> Answer:
    """Return the logarithm to a base, 10 by default.

    Raises
    ------
    CalculationError
        If the number is not positive, or the base not positive or one.
    """
    value, b = rational(number), rational(10 if base is None else base)
    ratio = _logarithm_ratio(value, b)
    exact = _rational_logarithm(value, b, ratio)
    if exact is not None:
        return exact_answer(exact)
    return irrational_answer(f"log({value})" if b == 10 else f"log({value}, {b})", ratio)


def exact_log(value: Rational, base: Rational) -> Rational | None:
    """Return the logarithm of `value` to `base`, or None where it is irrational.

    Raises
    ------
    CalculationError
        As for `log`.
    """
    return _rational_logarithm(value, base, _logarithm_ratio(value, base))


def ln(number: Any) -> Answer:
    """Return the natural logarithm.

    Raises
    ------
    CalculationError
        If the number is not positive.
    """
    value = rational(number)
    if value == 1:
        return exact_answer(Integer(0))
    return irrational_answer(f"ln({value})", _logarithm(value))


def lcm(numbers: Sequence[Any]) -> Answer:
    """Return the least common multiple of whole numbers, zero if one of them is zero."""
    result = 1
    for number in _whole_numbers("lcm", numbers, 1):
        result = int(bounded(Integer(math.lcm(result, number))))
    return exact_answer(Integer(result))


def gcd(numbers: Sequence[Any]) -> Answer:
    """Return the greatest common divisor of whole numbers."""
    return exact_answer(Integer(math.gcd(*_whole_numbers("gcd", numbers, 1))))


def remainder(dividend: Any, divisor: Any) -> Answer:
    """Return the remainder of a division: at least zero and below the divisor's absolute value.

    Raises
    ------
    CalculationError
        If the divisor is zero.
    """
    a, b = rational(dividend), rational(divisor)
    if b == 0:
        raise CalculationError("The remainder of a division by zero is undefined: give a divisor other than zero.")
    left = Fraction(int(a.p), int(a.q)) % abs(Fraction(int(b.p), int(b.q)))
    return exact_answer(bounded(Rational(left.numerator, left.denominator)))


def choose(total: Any, chosen: Any) -> Answer:
    """Return the number of ways to choose `chosen` of `total` things, in any order."""
    n, k = _counts("choose", total, chosen)
    if k > n:
        return exact_answer(Integer(0))
    k = min(k, n - k)
    # C(n, k) >= (n/k)^k >= 2^k, and k factors are multiplied: beyond the limit the product is not computed.
    if k > 4 * MAX_DIGITS or (k and k * (math.log10(n) - math.log10(k)) > MAX_DIGITS):
        raise CalculationError(_TOO_LARGE)
    return exact_answer(bounded(Integer(math.comb(n, k))))


def permutate(total: Any, arranged: Any) -> Answer:
    """Return the number of ordered arrangements of `arranged` of `total` things."""
    n, k = _counts("permutate", total, arranged)
    if k > n:
        return exact_answer(Integer(0))
    # n!/(n-k)! >= (n/e)^k, and >= k! > 2^k: beyond the limit the product is not computed.
    if k > 4 * MAX_DIGITS or k * (math.log10(n or 1) - math.log10(math.e)) > MAX_DIGITS:
        raise CalculationError(_TOO_LARGE)
    return exact_answer(bounded(Integer(math.perm(n, k))))


def _operands(operation: str, numbers: Sequence[Any], at_least: int) -> list[Rational]:
    if len(numbers) < at_least:
        some = "one number" if at_least == 1 else f"{at_least} numbers"
        raise CalculationError(f"{operation} needs at least {some} and got {len(numbers)}: give the numbers as a list.")
    return [rational(number) for number in numbers]


def _whole_numbers(operation: str, numbers: Sequence[Any], at_least: int) -> list[int]:
    values = _operands(operation, numbers, at_least)
    for value in values:
        if value.q != 1:
            raise CalculationError(
                f"{operation} is defined for whole numbers only and {decimal_text(value)} is not one: round it first."
            )
    return [int(value) for value in values]


def _counts(operation: str, total: Any, part: Any) -> tuple[int, int]:
    n, k = _whole_numbers(operation, [total, part], 2)
    if n < 0 or k < 0:
        negative = decimal_text(Integer(min(n, k)))
        raise CalculationError(
            f"{operation} counts things and {negative} is negative: give whole numbers of zero or more."
        )
    return n, k


def _decimal(value: Rational, context: Context) -> Decimal:
    return context.divide(Decimal(int(value.p)), Decimal(int(value.q)))


def _logarithm(value: Rational) -> Decimal:
    if value <= 0:
        kind = "zero" if value == 0 else f"the negative number {decimal_text(value)}"
        raise CalculationError(f"The logarithm of {kind} is undefined: give a number above zero.")
    # Digits enough to tell the value from 1: the logarithm of a value close to 1 would otherwise lose them all.
    digits = max(value.p.bit_length(), value.q.bit_length()) * math.log10(2)
    context = Context(prec=_GUARD_DIGITS + math.ceil(digits))
    return context.ln(_decimal(value, context))


def _logarithm_ratio(value: Rational, base: Rational) -> Decimal:
    if base <= 0 or base == 1:
        raise CalculationError(
            f"A logarithm to base {decimal_text(base)} is undefined: give a positive base other than 1."
        )
    return Context(prec=_GUARD_DIGITS).divide(_logarithm(value), _logarithm(base))


def _rational_logarithm(value: Rational, base: Rational, ratio: Decimal) -> Rational | None:
    # A rational logarithm r/s means value^s = base^r exactly; the candidate is a guess that is then proved.
    candidate = Fraction(ratio).limit_denominator(64)
    power_of_base = _small_power(base, candidate.numerator)
    if power_of_base is None or power_of_base != _small_power(value, candidate.denominator):
        return None
    return Rational(candidate.numerator, candidate.denominator)


def _small_power(base: Rational, exponent: int) -> Rational | None:
    # At most 64 times the bits of an operand: the candidate's numerator can be large where the logarithm is.
    bits = max(abs(base.p).bit_length(), base.q.bit_length())
    return base**exponent if abs(exponent) * bits <= 64 * _MAX_BITS else None


def _in_brackets(value: Rational) -> str:
    return str(value) if value.q == 1 and value >= 0 else f"({value})"
