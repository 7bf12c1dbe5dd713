"""Exact values in the notation that `parse_expression` reads: ^ for powers, ln, e, abs."""

from typing import Any

from sympy import Basic, nan, true
from sympy.printing.str import StrPrinter

from toolken.tools.calculator.errors import CalculationError

MAX_RESULT_LENGTH = 2000
"""Characters of a result; longer ones are refused, since nobody can read them."""


# ruff: noqa: N802  # sympy finds a printer's methods by the names of its classes


class _Notation(StrPrinter):  # type: ignore[misc]
    """sympy's text form with the names that `parse_expression` uses."""

    def _print_log(self, expr: Any) -> str:
        return f"ln({self._print(expr.args[0])})"

    def _print_Exp1(self, expr: Any) -> str:
        return "e"

    def _print_Abs(self, expr: Any) -> str:
        return f"abs({self._print(expr.args[0])})"

    def _print_factorial2(self, expr: Any) -> str:
        return f"({self._print(expr.args[0])})!!"

    def _print_ceiling(self, expr: Any) -> str:
        return f"ceil({self._print(expr.args[0])})"

    def _print_Max(self, expr: Any) -> str:
        return f"max({self.stringify(expr.args, ', ')})"

    def _print_Min(self, expr: Any) -> str:
        return f"min({self.stringify(expr.args, ', ')})"

    def _print_Mod(self, expr: Any) -> str:
        return f"mod({self.stringify(expr.args, ', ')})"

    def _print_Piecewise(self, expr: Any) -> str:
        cases = []
        for value, condition in expr.args:
            if value is nan:  # where a solution is none
                continue
            when = "" if condition is true else f" if {self._print(condition)}"
            cases.append(f"{'otherwise ' if not when else ''}{self._print(value)}{when}")
        return ", ".join(cases)

    def _print_Relational(self, expr: Any) -> str:
        sign = "=" if expr.rel_op == "==" else expr.rel_op
        return f"{self._print(expr.lhs)} {sign} {self._print(expr.rhs)}"


def exact_text(value: Basic) -> str:
    """Write an expression.

    Raises
    ------
    CalculationError
        If the text is longer than `MAX_RESULT_LENGTH`.
    """
    # The two stars of a power are the only ones that stand together.
    text: str = _Notation({"full_prec": False}).doprint(value).replace("**", "^")
    if len(text) > MAX_RESULT_LENGTH:
        raise CalculationError(f"The result is {len(text):,} characters long: ask for a smaller calculation.")
    return text
