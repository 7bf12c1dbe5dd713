"""Odd roots of expressions with variables over the real numbers, where sympy takes the principal complex root.

The calculator's cbrt(-8) is -2, so cbrt(x) at x = -8 is -2 too. Inside sympy cbrt(x) stays x^(1/3), whose algebra and
derivative are the same; only its values for a negative base differ, and so do solutions and definite integrals.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import mpmath  # type: ignore[import-untyped]
import sympy
from sympy import Dummy, Expr, Integer, Pow, Rational, Symbol


class RealPower(sympy.Function):  # type: ignore[misc]
    """The real power base^(p/q) for an odd q; a number as soon as its base is one."""

    nargs = 3
    is_real = True

    @classmethod
    def eval(cls, base: Expr, p: Expr, q: Expr) -> Expr | None:
        """Return the value for a real number, None for an expression with variables."""
        if not base.is_number or base.is_extended_real is False:
            return None
        if base.is_negative:
            return (-1) ** (p % 2) * (-base) ** Rational(p, q)
        return base ** Rational(p, q)

    def fdiff(self, argindex: int = 1) -> Expr:
        """Return the derivative by the base."""
        base, p, q = self.args
        return Rational(p, q) * RealPower(base, p - q, q)


def _real_power(base: Any, p: int, q: int) -> Any:
    """Return the value of a `RealPower` in mpmath; of a complex base the principal one."""
    if isinstance(base, mpmath.mpc) and base.imag:
        return mpmath.power(base, mpmath.mpf(p) / q)
    size = mpmath.power(abs(base), mpmath.mpf(p) / q)
    return -size if base.real < 0 and p % 2 else size


MODULES = [{"RealPower": _real_power}, "mpmath"]
"""What `sympy.lambdify` needs to compute expressions that contain `RealPower`."""


def _is_odd_root(power: Expr) -> bool:
    return bool(
        isinstance(power, Pow)
        and isinstance(power.exp, Rational)
        and power.exp.q > 1
        and power.exp.q % 2
        and power.base.free_symbols
        and not power.base.is_nonnegative
    )


def odd_roots(expression: Expr, *symbols: Symbol) -> list[Expr]:
    """Return the powers x^(p/q) with odd q > 1 whose base has one of `symbols` and may be negative."""
    return sorted((one for one in expression.atoms(Pow) if _is_odd_root(one) and one.base.has(*symbols)), key=str)


def with_real_roots(expression: Expr) -> Expr:
    """Return the expression with its odd roots as `RealPower`."""
    return expression.replace(_is_odd_root, lambda power: RealPower(power.base, power.exp.p, power.exp.q))


def at(expression: Expr, x: Symbol, value: Expr) -> Expr:
    """Return the value of an expression at a real point."""
    return with_real_roots(expression).subs(x, value)


def numerical(expression: Expr, x: Symbol) -> Callable[[Any], Any]:
    """Return the expression as a function of mpmath numbers."""
    function: Callable[[Any], Any] = sympy.lambdify(x, with_real_roots(expression), MODULES)
    return function


def antiderivative_between(antiderivative: Expr, x: Symbol, lower: Expr, upper: Expr) -> Expr | None:
    """Return the difference of an antiderivative's values at finite limits; None where it has none."""
    if not (lower.is_finite and upper.is_finite):
        return None
    value = at(antiderivative, x, upper) - at(antiderivative, x, lower)
    return None if value.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo) else value


def without_roots(
    differences: Sequence[Expr], symbols: Sequence[Symbol]
) -> tuple[list[Expr], dict[Symbol, tuple[Expr, int]]]:
    """Replace the odd roots in equations by real unknowns.

    Parameters
    ----------
    differences
        The expressions that are zero.
    symbols
        Roots whose base has none of these stay.

    Returns
    -------
    tuple[list[Expr], dict[Symbol, tuple[Expr, int]]]
        The expressions with unknowns u, and the base b and order n of each: u = b^(1/n), so u^n = b.
    """
    orders: dict[Expr, int] = {}
    for difference in differences:
        for root in odd_roots(difference, *symbols):
            orders[root.base] = math.lcm(orders.get(root.base, 1), int(root.exp.q))
    # From the inside out, so that the base of an outer root can contain the unknown of an inner one.
    unknowns: dict[Symbol, tuple[Expr, int]] = {}
    result = list(differences)
    for base, order in sorted(orders.items(), key=lambda item: item[0].count_ops()):
        u = Dummy("u", real=True)
        plain = base
        for known, (inner, degree) in unknowns.items():
            plain = _replaced(plain, inner, degree, known)
        result = [_replaced(one, base, order, u) for one in result]
        unknowns[u] = (plain, order)
    return result, unknowns


def _replaced(expression: Expr, base: Expr, order: int, u: Symbol) -> Expr:
    return expression.replace(
        lambda power: _is_odd_root(power) and power.base == base,
        lambda power: u ** (power.exp.p * Integer(order) / power.exp.q),
    )


def inverse_of_root(difference: Expr, x: Symbol) -> tuple[Expr, Symbol, Expr] | None:
    """Write an equation with odd roots of one linear expression of x as an equation for that root.

    Returns
    -------
    tuple[Expr, Symbol, Expr] | None
        The expression that is zero, its unknown u, and x as a function of u; None where the roots are others.
    """
    (plain,), unknowns = without_roots([difference], [x])
    if len(unknowns) != 1:
        return None
    ((u, (base, order)),) = unknowns.items()
    slope = base.diff(x)
    if slope.has(x) or slope.is_zero:
        return None
    inverse = (u**order - base.subs(x, 0)) / slope
    return plain.subs(x, inverse), u, inverse


def eliminated(difference: Expr, x: Symbol) -> sympy.Poly | None:
    """Return a polynomial of x alone that is zero wherever the equation holds; None where there is none.

    Its roots need not solve the equation.
    """
    (plain,), unknowns = without_roots([difference], [x])
    result = sympy.fraction(sympy.together(plain))[0]
    for u, (base, order) in reversed(unknowns.items()):
        above, below = sympy.fraction(sympy.together(base))
        relation = u**order * below - above
        if not (result.is_polynomial(x, *unknowns) and relation.is_polynomial(x, *unknowns)):
            return None
        result = sympy.resultant(result, relation, u)
    if result.is_zero or not result.is_polynomial(x):
        return None
    polynomial = sympy.Poly(result, x)
    return polynomial if polynomial.domain.is_ZZ or polynomial.domain.is_QQ else None
