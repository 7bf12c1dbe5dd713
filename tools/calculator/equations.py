"""Real solutions of an equation or a system; runs in the worker, since sympy has no time limit."""

from collections.abc import Iterable, Sequence
from functools import partial
from random import Random

import sympy
from sympy import Expr, Rational, Symbol

from toolken.tools.calculator.answer import Answer, decimal_text, exact_answer
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.expression import check_products, parse_equation, parse_variable, variables
from toolken.tools.calculator.notation import exact_text
from toolken.tools.calculator.real_roots import (
    MODULES,
    at,
    eliminated,
    inverse_of_root,
    odd_roots,
    with_real_roots,
    without_roots,
)
from toolken.tools.calculator.symbolic import approximation
from toolken.tools.quotation import quoted

_NONE = "no real solution"
_SAMPLES = 12  # values of the variables, to test whether a formula is ever real
_STARTS = (0.5, -0.5, 2, -2, 5, -5, 20, -20, 100, -100)  # starting points of the numerical search


def solve(equations: Sequence[str], unknowns: Sequence[str] | None = None) -> Answer:
    """Find the real solutions.

    Parameters
    ----------
    equations
        One equation, or a system. An expression without = is set equal to zero.
    unknowns
        The variables to solve for; by default all of them.

    Returns
    -------
    Answer
        `x = 3`, `x = -2 or x = 2`, `x = 1, y = 2`, `no real solution`, `every real number`. A value that is no short
        decimal is followed by one: `x = sqrt(2) ≈ 1.414213562`. The text ends in "(there may be more)" where the
        solutions found need not be all.

    Raises
    ------
    CalculationError
        If an equation cannot be read, the unknown is ambiguous, or no method finds a solution.
    """
    if not equations:
        raise CalculationError("There is no equation: give at least one, such as 2x + 3 = 11.")
    differences = [left - right for left, right in map(parse_equation, equations)]
    free = sorted(set().union(*(difference.free_symbols for difference in differences)), key=str)
    check_products(set(free).union(*map(variables, equations)))
    symbols = [parse_variable(name) for name in unknowns] if unknowns else free
    strangers = [str(symbol) for symbol in symbols if symbol not in free]
    if strangers:
        raise CalculationError(
            f"{', '.join(strangers)} is in none of the equations: name one of {', '.join(map(str, free))}."
        )
    if not symbols:
        holds = all(difference.equals(0) for difference in differences)
        text = "always true" if holds else "never true"
        return _answer(text)
    if len(differences) == 1 and len(symbols) == 1:
        return _solve_one(differences[0], symbols[0], equations[0])
    if len(differences) == 1:
        names = ", ".join(map(str, symbols))
        raise CalculationError(
            f"One equation does not determine {names}: give one unknown to solve for, or more equations."
        )
    return _solve_system(differences, symbols)


def _solve_one(difference: Expr, x: Symbol, equation: str) -> Answer:
    if difference.free_symbols - {x}:
        return _solve_for(difference, x, equation)
    numerator, denominator = sympy.fraction(sympy.together(difference))
    if numerator.is_polynomial(x):
        polynomial = sympy.Poly(numerator, x)
        if polynomial.is_zero:
            return _answer("every real number")
        if polynomial.domain.is_ZZ or polynomial.domain.is_QQ:
            # Isolates every real root exactly, of any degree, where a formula may need complex numbers on the way.
            roots = sympy.real_roots(polynomial, multiple=False)
            defined = [root for root, _ in roots if not _vanishes(denominator, x, root)]
            return _solutions([{x: root} for root in defined])
    if odd_roots(difference, x) and (values := _values_with_roots(difference, x)) is not None:
        return _solutions([{x: value} for value in sorted(values, key=lambda value: value.evalf(30))])
    return _from_set(sympy.solveset(difference, x, sympy.S.Reals), difference, x, equation)


def _values_with_roots(difference: Expr, x: Symbol) -> list[Expr] | None:
    """Solve an equation with odd roots of x; None where no method finds all solutions."""
    candidates: Iterable[Expr] | None = None
    inverse = inverse_of_root(difference, x)
    if inverse is not None:
        plain, u, value_of = inverse
        numerator = sympy.fraction(sympy.together(plain))[0]
        if numerator.is_polynomial(u) and sympy.Poly(numerator, u).domain in (sympy.ZZ, sympy.QQ):
            roots: Iterable[Expr] = sympy.real_roots(sympy.Poly(numerator, u), multiple=False)
            candidates = [value_of.subs(u, root) for root, _ in roots]
        else:
            found = sympy.solveset(plain, u, sympy.S.Reals)
            candidates = [value_of.subs(u, root) for root in found] if isinstance(found, sympy.FiniteSet) else None
    elif (polynomial := eliminated(difference, x)) is not None:
        candidates = [root for root, _ in sympy.real_roots(polynomial, multiple=False)]
    if candidates is None:
        return None
    return [value for value in map(sympy.expand, candidates) if _vanishes(difference, x, value)]


def _solve_for(difference: Expr, x: Symbol, equation: str) -> Answer:
    """Express one variable by the others, and report whether the solutions are complete."""
    others = _listed(difference.free_symbols - {x})
    numerator = sympy.fraction(sympy.together(difference))[0]
    if not numerator.has(x):
        return _answer(f"no real solution unless {exact_text(numerator)} = 0")
    inverse = inverse_of_root(difference, x) if odd_roots(difference, x) else None
    plain, u, value_of = inverse or (difference, x, x)
    found = [{x: value_of.subs(u, value)} for value in sympy.solve(plain, u) if _may_be_real(value)]
    is_all = _finds_all(sympy.fraction(sympy.together(plain))[0], u)
    if not found and not is_all:
        raise CalculationError(
            f"No solution of {quoted(equation)} for {x} was found, which does not mean that there is none: give "
            f"numbers in place of {others}."
        )
    return _solutions(found, is_all)


def _finds_all(numerator: Expr, x: Symbol) -> bool:
    """Whether `sympy.solve` misses no solution: a formula for each root, or one inversion after the other."""
    if numerator.is_polynomial(x):
        return bool(sum(sympy.roots(sympy.Poly(numerator, x)).values()) == sympy.degree(numerator, x))
    functions = [function for function in numerator.atoms(sympy.Function) if function.has(x)]
    powers = [power for power in numerator.atoms(sympy.Pow) if power.base.has(x)]
    return bool(
        numerator.count(x) == 1
        and all(isinstance(function, (sympy.exp, sympy.log)) for function in functions)
        and all(isinstance(power.exp, Rational) for power in powers)
    )


def _vanishes(expression: Expr, x: Symbol, value: Expr) -> bool:
    try:
        return abs(complex(at(expression, x, value).evalf(30))) < 1e-10
    except (TypeError, ArithmeticError):  # undefined there
        return False


def _from_set(solutions: sympy.Set, difference: Expr, x: Symbol, equation: str) -> Answer:
    if isinstance(solutions, sympy.FiniteSet):
        # Inverting a function whose range is bounded, as atan, may give what solves nothing.
        values = filter(partial(_vanishes, difference, x), solutions)
        solutions = sympy.FiniteSet(*values)
    if solutions is sympy.S.EmptySet:
        # Where powers of absolute values hide the unknown, as in cbrt(x^2) = 4, sympy is mistaken.
        return _numerical(_search(difference, x), x) or _answer(_NONE)
    if isinstance(solutions, sympy.FiniteSet):
        return _solutions([{x: value} for value in sorted(solutions, key=lambda value: value.evalf(30))])
    families = solutions.args if isinstance(solutions, sympy.Union) else (solutions,)
    if all(isinstance(family, sympy.ImageSet) and family.base_sets == (sympy.S.Integers,) for family in families):
        n = Symbol("n", integer=True)
        texts = [f"{x} = {exact_text(family.lamda(n))}" for family in families]
        text = f"{' or '.join(texts)} for every whole number n"
        return _answer(text)
    if isinstance(solutions, sympy.Interval):
        text = f"every {x} from {exact_text(solutions.start)} to {exact_text(solutions.end)}"
        return Answer(text=text.replace("oo", "infinity"), exact=text, rounded=False)
    answer = _numerical(_search(difference, x), x)
    if answer is None:
        raise CalculationError(f"No solution of {quoted(equation)} was found: give a simpler equation.")
    return answer


def _search(difference: Expr, x: Symbol) -> list[Rational]:
    """Search for solutions numerically from a few starting points, for equations that no formula solves."""
    found: list[Rational] = []
    difference = with_real_roots(difference)
    slope = difference.diff(x)
    for start in _STARTS:
        try:
            root = sympy.nsolve(difference, x, start, prec=20, modules=MODULES)
        except (ValueError, ArithmeticError, TypeError, AttributeError, NotImplementedError):  # no convergence
            continue
        if not root.is_real:
            continue
        # Where the curve only touches the axis the search stops near the root; a short fraction nearby may be the root.
        short = sympy.nsimplify(root, rational=True, tolerance=1e-3)
        value = short if difference.subs(x, short).is_zero else Rational(str(root))
        # e^x is small far out, but Newton's step from there is not: no root is near.
        step = abs((difference / slope).subs(x, root).evalf(30))
        if value != short and step.is_comparable and step > Rational(1, 10**4):
            continue
        if all(abs(value - known) > 1e-3 for known in found):
            found.append(value)
    return sorted(found)


def _numerical(roots: Sequence[Rational], x: Symbol) -> Answer | None:
    if not roots:
        return None
    text = " or ".join(f"{x} ≈ {decimal_text(root)}" for root in roots)
    text += " (found numerically; there may be more)"
    return Answer(text=text, exact=text, rounded=True)


def _solve_system(differences: Sequence[Expr], symbols: Sequence[Symbol]) -> Answer:
    plain, roots = without_roots(differences, symbols)
    differences = [*plain, *(u**order - base for u, (base, order) in roots.items())]
    shown, symbols = symbols, [*symbols, *roots]
    solutions = sympy.solve(differences, symbols, dict=True)
    real = [solution for solution in solutions if all(_may_be_real(value) for value in solution.values())]
    numerators = [sympy.fraction(sympy.together(difference))[0] for difference in differences]
    are_polynomials = all(numerator.is_polynomial(*symbols) for numerator in numerators)
    if real:
        ordered = [{symbol: solution[symbol] for symbol in shown if symbol in solution} for solution in real]
        return _solutions(ordered, are_polynomials)
    parameters = set().union(*(numerator.free_symbols for numerator in numerators)) - set(symbols)
    if are_polynomials and sympy.groebner(numerators, *symbols).exprs == [1]:  # not even complex solutions
        general = f" for {_listed(parameters)} in general" if parameters else ""
        return _answer(f"no real solution{general}")
    # Variables that may be complex show whether solutions were found of which none is real.
    complex_symbols = {symbol: sympy.Dummy(symbol.name) for symbol in symbols}
    anywhere = [numerator.subs(complex_symbols) for numerator in numerators] if are_polynomials else []
    if not anywhere or not sympy.solve(anywhere, list(complex_symbols.values()), dict=True):
        raise CalculationError(
            "No solution of the equations was found, which does not mean that there is none: give simpler ones, or "
            "fewer unknowns."
        )
    return _answer(_NONE)


def _listed(symbols: Iterable[Symbol]) -> str:
    return ", ".join(sorted(map(str, symbols)))


def _may_be_real(value: Expr) -> bool:
    if value.is_real is not None:
        return bool(value.is_real)
    symbols = sorted(value.free_symbols, key=str)
    if not symbols:
        return _is_nearly_real(value)
    # A formula with i in it is kept where it is real for some values of its variables.
    draw = Random(0)
    return not value.has(sympy.I) or any(
        _is_nearly_real(value.subs({symbol: Rational(draw.randrange(-999, 999), 100) for symbol in symbols}))
        for _ in range(_SAMPLES)
    )


def _is_nearly_real(value: Expr) -> bool:
    return bool(abs(sympy.im(value.evalf(30))) < 1e-20)


def _solutions(solutions: Sequence[dict[Symbol, Expr]], is_all: bool = True) -> Answer:
    if not solutions:
        return _answer(_NONE)
    written = [
        [(symbol, exact_text(value), _shown_value(value)) for symbol, value in solution.items()]
        for solution in solutions
    ]
    note = "" if is_all else " (there may be more)"
    text = " or ".join(", ".join(f"{symbol} {value}" for symbol, _, value in solution) for solution in written)
    exact = " or ".join(", ".join(f"{symbol} = {value}" for symbol, value, _ in solution) for solution in written)
    return Answer(text=text + note, exact=exact + note, rounded="≈" in text)


def _answer(text: str) -> Answer:
    return Answer(text=text, exact=text, rounded=False)


def _shown_value(value: Expr) -> str:
    if value.free_symbols:
        return f"= {exact_text(value)}"
    if isinstance(value, Rational):
        answer = exact_answer(value)
        return f"= {answer.exact} ≈ {answer.text}" if answer.rounded else f"= {answer.text}"
    decimal = decimal_text(approximation(value))
    # A root that has no formula is written as the decimal alone.
    return f"≈ {decimal}" if value.has(sympy.CRootOf) else f"= {exact_text(value)} ≈ {decimal}"
