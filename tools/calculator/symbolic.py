"""Evaluate, differentiate, integrate and simplify expressions; runs in the worker, since sympy has no time limit."""

from collections.abc import Iterable
from typing import Literal

import sympy
from sympy import Expr, Float, Rational, Symbol

from toolken.tools.calculator.answer import Answer, decimal_text, exact_answer
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.expression import check_products, parse_expression, parse_variable, variables
from toolken.tools.calculator.integrals import definite_integral
from toolken.tools.calculator.notation import exact_text
from toolken.tools.calculator.rationals import bounded
from toolken.tools.number_notation import MAX_DIGITS
from toolken.tools.quotation import quoted

_DIGITS = 30  # of an irrational value
_ENOUGH_BITS = 50  # more than the shown digits have
_INFINITIES = {"inf": sympy.oo, "infinity": sympy.oo, "oo": sympy.oo, "∞": sympy.oo}

Form = Literal["simplest", "expanded", "factored"]


def evaluate(expression: str) -> Answer:
    """Compute the value of an expression without variables; a final equals sign is ignored.

    Raises
    ------
    CalculationError
        If the expression cannot be read, has a variable, or has no real value.
    """
    value = parse_expression(_without_question(expression))
    # Variables that cancel, as in 0*x, are refused too: the expression is likely a mistake.
    if names := variables(_without_question(expression)):
        raise CalculationError(
            f"{_listed(names)} has no value in {quoted(expression)}: give numbers only, or use solve or simplify."
        )
    return number_answer(value)


def differentiate(expression: str, variable: str | None = None, order: int = 1) -> Answer:
    """Return the derivative with respect to a variable, by default the only one.

    Raises
    ------
    CalculationError
        If the expression cannot be read, or has several variables and none is given.
    """
    value = parse_expression(expression)
    derivative = sympy.diff(value, _variable(expression, variable), order)
    if derivative.has(sympy.Derivative, sympy.Subs):
        raise CalculationError(
            f"{quoted(expression)} has no derivative in closed form: remove floor, ceil, mod and the like."
        )
    return _expression_answer(derivative)


def integrate(
    expression: str,
    variable: str | None = None,
    lower: str | float | None = None,
    upper: str | float | None = None,
) -> Answer:
    """Return the integral: between two limits a number, without limits an antiderivative with + C.

    Parameters
    ----------
    expression, variable
        The integrand, and the variable to integrate over; by default the only one.
    lower, upper
        Both or neither. Numbers, expressions, or inf and -inf.

    Raises
    ------
    CalculationError
        If there is no closed form, the integral diverges, or one limit is missing.
    """
    value = parse_expression(expression)
    over = _variable(expression, variable)
    if (lower is None) != (upper is None):
        raise CalculationError("An integral needs both limits or none: give lower and upper, or omit both.")
    if lower is None or upper is None:
        antiderivative = sympy.integrate(value, over)
        if antiderivative.has(sympy.Integral):
            raise CalculationError(
                f"{quoted(expression)} has no antiderivative in closed form: give limits to get a number."
            )
        text = f"{exact_text(antiderivative)} + C"
        return Answer(text=text, exact=text, rounded=False)
    limits = (over, _limit(str(lower)), _limit(str(upper)))
    integral = sympy.Integral(value, limits)
    if integral.free_symbols:
        return _expression_answer(sympy.integrate(value, limits))
    result = definite_integral(value, *limits)
    if isinstance(result, Float):
        return Answer(text=decimal_text(Rational(str(result))), exact=exact_text(integral), rounded=True)
    return number_answer(result)


def simplify(expression: str, form: Form = "simplest") -> Answer:
    """Return the expression in its simplest, its expanded or its factored form.

    Raises
    ------
    CalculationError
        If the expression cannot be read.
    """
    value = parse_expression(expression)
    rewrite = {"simplest": sympy.simplify, "expanded": sympy.expand, "factored": sympy.factor}[form]
    return _expression_answer(rewrite(value))


def number_answer(value: Expr) -> Answer:
    """Return the answer for an expression without variables.

    Raises
    ------
    CalculationError
        If the value is not a real number or has more than `MAX_DIGITS` digits.
    """
    if not isinstance(value, Rational):
        expanded = sympy.expand(value)  # (1 + sqrt(2))*(1 - sqrt(2)) is -1
        value = expanded if isinstance(expanded, Rational) else value
    if isinstance(value, Rational):
        return exact_answer(bounded(value))
    return Answer(text=decimal_text(approximation(value)), exact=exact_text(value), rounded=True)


def approximation(value: Expr) -> Rational:
    """Return a real value to about thirty digits.

    Raises
    ------
    CalculationError
        As for `number_answer`.
    """
    number = value.evalf(_DIGITS)
    if number.is_zero or (isinstance(number, Float) and number._prec == 1):  # evalf found no digit that is not zero
        return Rational(0)
    if isinstance(number, Rational):
        return bounded(number)
    if not isinstance(number, Float):
        raise CalculationError(f"{quoted(exact_text(value))} is undefined over the real numbers: give other numbers.")
    if number._prec < _ENOUGH_BITS:
        raise CalculationError(
            f"{quoted(exact_text(value))} could not be computed to enough digits: give other numbers."
        )
    # Judged by its exponent first: written out, exp(10^9) would have half a billion digits.
    if abs(sympy.log(abs(number), 10).evalf(10)) > MAX_DIGITS:
        raise CalculationError(f"The result has more than {MAX_DIGITS:,} digits: ask for a smaller calculation.")
    return Rational(str(number))


def _without_question(expression: str) -> str:
    return expression.rstrip(" ?=") if "=" in expression[-5:] else expression


def _expression_answer(value: Expr) -> Answer:
    if not value.free_symbols:
        return number_answer(value)
    text = exact_text(value)
    return Answer(text=text, exact=text, rounded=False)


def _limit(text: str) -> Expr:
    name = text.strip().lower()
    if name.lstrip("+-") in _INFINITIES:
        return -_INFINITIES[name[1:]] if name.startswith("-") else _INFINITIES[name.lstrip("+")]
    return parse_expression(text)


def _variable(expression: str, name: str | None) -> Symbol:
    names = variables(expression)
    wanted = None if name is None else parse_variable(name)
    check_products(names, wanted)
    if wanted is not None:
        return wanted
    if len(names) > 1:
        raise CalculationError(f"The expression has the variables {_listed(names)}: name one of them.")
    return next(iter(names), parse_variable("x"))


def _listed(names: Iterable[Symbol]) -> str:
    return ", ".join(sorted(map(str, names)))
