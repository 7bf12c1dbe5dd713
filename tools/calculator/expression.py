"""Expressions and equations as people write them, read by a restricted grammar into sympy expressions."""

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

import sympy
from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken
from sympy import Expr, Float, Integer, Rational, Symbol

from toolken.tools.calculator import arithmetic
from toolken.tools.calculator.answer import Answer, decimal_text
from toolken.tools.calculator.arithmetic import decimal_power, exact_log, exact_power
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.rationals import bounded, rational
from toolken.tools.numerals import FRACTION, MAX_DIGITS, fraction_parts
from toolken.tools.quotation import quoted

MAX_LENGTH = 1000
"""Characters of an expression. With `MAX_DIGITS` it bounds what is built before anything is computed."""

# An implied product, 2x or 3(x + 1), never continues with a digit: 2 3 is a slip of the pen, not a product.
# A function without brackets takes one number or name with nothing attached, since ln 2x can be read in two ways.
_GRAMMAR = r"""
expression: sum
equation: sum "=" sum

?sum: product
    | sum "+" product                 -> add
    | sum "-" product                 -> subtract
?product: signed
    | product ("*" | "of") signed     -> multiply
    | product "/" signed              -> divide
    | product "mod" signed            -> mod
    | product unsigned_power          -> multiply
?signed: power
    | "-" signed                      -> negate
    | "+" signed
?power: unsigned_power
    | numeral
    | numeral "^" signed              -> power
?unsigned_power: unsigned
    | unsigned "^" signed             -> power
?numeral: NUMBER                      -> number
    | numeral MARK                    -> mark
?unsigned: NAME                       -> name
    | FUNCTION "(" sum ("," sum)* ")" -> call
    | "mod" "(" sum "," sum ")"       -> mod
    | BARE_CALL                       -> bare_call
    | "(" sum ")"
    | unsigned MARK                   -> mark

MARK: "!" | "%%" | "°"
NUMBER: /([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?/
BARE_CALL.3: /(sqrt|cbrt|ln|log)\s+([0-9]+(\.[0-9]+)?|[^\W\d_]\w*)(?!\s*[\w.(!%%°^])/i
FUNCTION.2: /(%s)(?!\w)/i
NAME: /[^\W\d_]\w*/
%%ignore /\s+/
"""

_SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_SPELLINGS = str.maketrans({"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "π": "pi", "√": "sqrt "})
_CONSTANTS: dict[str, Expr] = {
    "pi": sympy.pi,
    "e": sympy.E,
    "deg": sympy.pi / 180,
    "degree": sympy.pi / 180,
    "degrees": sympy.pi / 180,
}


def parse_expression(text: str) -> Expr:
    """Read one expression.

    Numbers as in `parse_number`; `+ - * / ^ ! % ° of mod` and brackets; an implied product, `2x`; the functions of
    `FUNCTIONS`; the constants pi and e; any other name is a variable for a real number. Products and quotients are
    taken from left to right, so `1/2x` is half of x.

    Parameters
    ----------
    text
        At most `MAX_LENGTH` characters.

    Returns
    -------
    sympy.Expr
        With no number of more than `MAX_DIGITS` digits.

    Raises
    ------
    CalculationError
        If the text is no expression, is undefined over the reals, or has a number too large.
    """
    result: Expr = _parse(text, "expression")
    return result


def parse_equation(text: str) -> tuple[Expr, Expr]:
    """Read an equation into its two sides; an expression without an equals sign is set equal to zero.

    Raises
    ------
    CalculationError
        As for `parse_expression`.
    """
    if re.search("[<>≤≥≠]|!=", text):
        raise CalculationError(
            f"{quoted(text)} is not an equation: give two sides with = between them, and a space after a factorial."
        )
    if "=" not in text:
        return parse_expression(text), Integer(0)
    sides: tuple[Expr, Expr] = _parse(text, "equation")
    return sides


def parse_variable(text: str) -> Symbol:
    """Read the name of a variable.

    Raises
    ------
    CalculationError
        If the text is no name, or the name of a constant or a function.
    """
    name = text.strip()
    if not re.fullmatch(r"[^\W\d_]\w{0,30}", name) or name in _CONSTANTS or name.lower() in FUNCTIONS:
        raise CalculationError(f"{quoted(text)} is not a variable: give a name such as x.")
    return variable(name)


def variable(name: str) -> Symbol:
    """Return the real variable of that name."""
    return Symbol(name, real=True)


def _parse(text: str, start: str) -> Any:
    if len(text) > MAX_LENGTH:
        raise CalculationError(f"{quoted(text)} is too long: give an expression of at most {MAX_LENGTH:,} characters.")
    plain = _plain(text)
    # x(x + 1) is a product; were unknown(x) one too, nobody would see it.
    for name in re.findall(r"(?<![^\W\d_])([^\W\d_]{2}\w*)\s*\(", plain):
        if not _is_known(name):
            raise CalculationError(
                f"There is no function {quoted(name)}: use one such as sin, sqrt, ln or abs, or write a product with *."
            )
    if re.search(r"%\s*(?!(?:of|mod)\b)[\w.(]", plain):
        raise CalculationError(f"The % in {quoted(text)} can be read in two ways: write 17 mod 5, or 17% * 5.")
    try:
        return _parser().parse(plain, start=start)
    except UnexpectedInput as error:
        stops = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        where = "because it stops too early" if stops else f"at {quoted(plain[error.pos_in_stream or 0 :][:20])}"
        raise CalculationError(
            f"{quoted(text)} cannot be read {where}: write it like 3*(x + 1)^2 - sqrt(2)/5, with every bracket closed."
        ) from error


def _is_known(name: str) -> bool:
    return any(name.lower() in names for names in (FUNCTIONS, _CONSTANTS, ("of", "mod")))


def _plain(text: str) -> str:
    """Return the text in the characters of the grammar."""
    text = re.sub("⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda match: f"^{match[0].translate(_SUPERSCRIPTS)} ", text)
    text = FRACTION.sub(lambda match: f"({' + '.join(filter(None, fraction_parts(match)))})", text)
    text = unicodedata.normalize("NFKC", text).translate(_SPELLINGS).replace("**", "^").replace("==", "=")
    text = re.sub(r"\|([^|]+)\|", r"abs(\1)", text)
    text = re.sub(r"[$€£¥₹](?=\s*[0-9.])", "", text)
    return _without_grouping(text)


def _without_grouping(text: str) -> str:
    """Drop the commas of 1,234 except among a function's arguments, where log(100,200) has two of them."""
    in_call: list[bool] = []
    pieces: list[str] = []
    for piece in re.split(r"([0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[()])", text):
        if piece == "(":
            in_call.append(bool(re.search(r"[^\W\d_]\w*\s*$", "".join(pieces))))
        elif piece == ")" and in_call:
            in_call.pop()
        elif piece[:1].isdigit() and "," in piece and not any(in_call):
            piece = piece.replace(",", "")
        pieces.append(piece)
    return "".join(pieces)


@cache
def _parser() -> Lark:
    names = "|".join(sorted(FUNCTIONS, key=len, reverse=True))
    return Lark(_GRAMMAR % names, parser="lalr", start=["expression", "equation"], transformer=_Builder())


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    """Builds sympy expressions bottom up, and checks every number where it arises."""

    def expression(self, value: Expr) -> Expr:
        return value

    def equation(self, left: Expr, right: Expr) -> tuple[Expr, Expr]:
        return left, right

    def number(self, token: str) -> Expr:
        return rational(str(token))

    def name(self, token: str) -> Expr:
        name = str(token)
        return _CONSTANTS.get(name.lower() if len(name) > 1 else name) or variable(name)

    def add(self, left: Expr, right: Expr) -> Expr:
        return _checked(left + right)

    def subtract(self, left: Expr, right: Expr) -> Expr:
        return _checked(left - right)

    def multiply(self, left: Expr, right: Expr) -> Expr:
        return _checked(left * right)

    def divide(self, left: Expr, right: Expr) -> Expr:
        if right.is_zero:
            raise CalculationError("Division by zero is undefined: give a divisor other than zero.")
        return _checked(left / right)

    def mod(self, left: Expr, right: Expr) -> Expr:
        return _mod(left, right)

    def negate(self, value: Expr) -> Expr:
        return -value

    def power(self, base: Expr, exponent: Expr) -> Expr:
        return _power(base, exponent)

    def mark(self, value: Expr, mark: Token) -> Expr:
        if mark == "!":
            return _factorial(value)
        return value / 100 if mark == "%" else value * sympy.pi / 180

    def call(self, function: str, *arguments: Expr) -> Expr:
        name = str(function).lower()
        build, fewest, most = FUNCTIONS[name]
        if not fewest <= len(arguments) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise CalculationError(
                f"{name} takes {wanted} value(s) and got {len(arguments)}: write them as in {name}(…)."
            )
        return _checked(build(*arguments))

    def bare_call(self, token: Token) -> Expr:
        function, argument = token.split()
        value = self.number(argument) if argument[0].isdigit() else self.name(argument)
        return self.call(function, value)


def _checked(value: Expr) -> Expr:
    if isinstance(value, Rational):
        return bounded(value)
    if value.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo):
        raise CalculationError("The expression divides by zero, which is undefined: give other numbers.")
    return value


def _power(base: Expr, exponent: Expr) -> Expr:
    if not isinstance(exponent, Rational):
        if base.is_negative:
            raise CalculationError(
                "A negative number to an irrational power is undefined: give a base of zero or more."
            )
        return _checked(base**exponent)
    if not isinstance(base, Rational):
        if base.is_zero and exponent < 0:
            raise CalculationError("Zero to a negative power divides by zero, which is undefined: give another base.")
        if base.is_negative and exponent.q > 1:
            if exponent.q % 2 == 0:
                raise CalculationError("An even root of a negative number is undefined: give a number of zero or more.")
            return (-1) ** (exponent.p % 2) * (-base) ** exponent
        return _checked(base**exponent)
    exact = exact_power(base, exponent)
    if exact is not None:
        return exact
    size = decimal_power(abs(base), exponent)
    sign = -1 if base < 0 and exponent.p % 2 else 1
    # sympy would write out the whole part of the power, millions of digits for 1.0001^(10^7).
    if abs(exponent) * max(abs(base.p).bit_length(), base.q.bit_length()) > 4 * MAX_DIGITS:
        return sign * Float(str(size), 30)
    return sign * abs(base) ** exponent


def _factorial(value: Expr) -> Expr:
    if not isinstance(value, Rational):
        return sympy.factorial(value)
    if value.q != 1 or value < 0:
        raise CalculationError(
            f"The factorial of {decimal_text(value)} is undefined: give a whole number of zero or more."
        )
    return _whole(arithmetic.permutate(value, value))


def _mod(left: Expr, right: Expr) -> Expr:
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


def _inverse(function: Callable[[Expr], Expr], name: str) -> Callable[[Expr], Expr]:
    def build(value: Expr) -> Expr:
        if (value - 1).is_positive or (value + 1).is_negative:
            raise CalculationError(f"{name} is undefined beyond -1 to 1: give a value between them.")
        return function(value)

    return build


def _acosh(value: Expr) -> Expr:
    if (value - 1).is_negative:
        raise CalculationError("acosh is undefined below 1: give a value of 1 or more.")
    return sympy.acosh(value)


def _atanh(value: Expr) -> Expr:
    if (value - 1).is_nonnegative or (value + 1).is_nonpositive:
        raise CalculationError("atanh is undefined but between -1 and 1: give a value between them.")
    return sympy.atanh(value)


def _gamma(value: Expr) -> Expr:
    return _factorial(value - 1) if isinstance(value, Rational) and value.q == 1 else sympy.gamma(value)


FUNCTIONS: dict[str, tuple[Callable[..., Expr], int, int]] = {
    "sqrt": (lambda value: _power(value, Rational(1, 2)), 1, 1),
    "cbrt": (lambda value: _power(value, Rational(1, 3)), 1, 1),
    "pow": (_power, 2, 2),
    "root": (lambda value, order: _power(value, _checked(1 / order)), 2, 2),
    "exp": (lambda value: _power(sympy.E, value), 1, 1),
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
    "factorial": (_factorial, 1, 1),
    "gcd": (_of_numbers(arithmetic.gcd, listed=True), 1, 50),
    "lcm": (_of_numbers(arithmetic.lcm, listed=True), 1, 50),
    "ncr": (_of_numbers(arithmetic.choose), 2, 2),
    "npr": (_of_numbers(arithmetic.permutate), 2, 2),
    "choose": (_of_numbers(arithmetic.choose), 2, 2),
    "permutate": (_of_numbers(arithmetic.permutate), 2, 2),
}
"""The functions of an expression: what builds it, the fewest and the most values it takes."""
