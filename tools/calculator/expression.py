"""Expressions and equations as people write them, read by a restricted grammar into sympy expressions."""

import re
import unicodedata
from functools import cache
from typing import Any

import sympy
from lark import Lark, Token, Transformer, Tree, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError
from sympy import Expr, Integer, Symbol

from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.functions import FUNCTIONS, checked, double_factorial, factorial, mod, power
from toolken.tools.calculator.rationals import rational
from toolken.tools.number_notation import FRACTION, fraction_parts
from toolken.tools.quotation import quoted

MAX_LENGTH = 1000
"""Characters of an expression. With `MAX_DIGITS` it bounds the expression's size before anything is computed."""

# An implied product, 2x or 3(x + 1), never continues with a digit: 2 3 is a mistake, not a product.
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

MARK: "!!" | "!" | "%%" | "°"
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


def _named(name: str) -> Expr:
    return _CONSTANTS.get(name.lower() if len(name) > 1 else name) or variable(name)


def variable(name: str) -> Symbol:
    """Return the real variable of that name."""
    return Symbol(name, real=True)


def variables(text: str) -> set[Symbol]:
    """Return the variables that an expression or an equation names, those included that cancel, as the x of 0*x.

    Raises
    ------
    CalculationError
        If the text cannot be read.
    """
    tree = _tree(text, "equation" if "=" in text else "expression")
    tokens = [token for token in tree.scan_values(lambda value: isinstance(value, Token)) if isinstance(token, Token)]
    names = [str(token) for token in tokens if token.type == "NAME"]
    names += [token.split()[1] for token in tokens if token.type == "BARE_CALL"]
    built = [_named(name) for name in names if not name[0].isdigit()]
    return {one for one in built if isinstance(one, Symbol)}


def check_products(names: set[Symbol], wanted: Symbol | None = None) -> None:
    """Refuse a name that is meant as a product: xy beside x, or where x is wanted.

    Raises
    ------
    CalculationError
        If the letters of a name are variables themselves.
    """
    single = {str(name) for name in (*names, *([wanted] if wanted is not None else [])) if len(str(name)) == 1}
    for name in sorted(map(str, names)):
        is_hidden = wanted is not None and wanted not in names and str(wanted) in name
        if len(name) > 1 and (is_hidden or set(name) <= single):
            raise CalculationError(
                f"{quoted(name)} is one name, not a product: write {'*'.join(name)} for a product, or f(x) with "
                "brackets for a function."
            )


def _parse(text: str, start: str) -> Any:
    try:
        return _Builder().transform(_tree(text, start))
    except VisitError as error:
        raise error.orig_exc from error


def _tree(text: str, start: str) -> Tree[Token]:
    if len(text) > MAX_LENGTH:
        raise CalculationError(f"{quoted(text)} is too long: give an expression of at most {MAX_LENGTH:,} characters.")
    plain = _plain(text)
    # x(x + 1) is a product, but unknown(x) as a product would hide a misspelt function.
    for name in re.findall(r"(?<![^\W\d_])([^\W\d_]{2}\w*)\s*\(", plain):
        if not _is_known(name):
            raise CalculationError(
                f"There is no function {quoted(name)}: use one such as sin, sqrt, ln or abs, or write a product with *."
            )
    for name in re.findall(rf"(?<![^\W\d_])(?:(?:{'|'.join(FUNCTIONS)})?[xyz]|[xyz]{{2,}})(?![\w(])", plain):
        if len(name) > 1:
            raise CalculationError(
                f"{quoted(name)} is one name: write a product as x*y, and the value of a function as sin(x)."
            )
    if literal := re.search(r"(?<![\w.])0(?:[xX][0-9a-fA-F]+|[bB][01]+|[oO][0-7]+)(?!\w)", plain):
        raise CalculationError(f"{quoted(literal[0])} is not a decimal number: write {int(literal[0], 0)} instead.")
    if re.search(r"!\s+!|!!!", plain):
        raise CalculationError(
            f"The factorials in {quoted(text)} can be read in two ways: write (5!)! or the double factorial 5!!."
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
    """Drop the separators of 1,234 and 1'234 but for the commas between a function's arguments, as in log(100,200).

    Raises
    ------
    CalculationError
        If a comma outside a function's brackets does not group thousands: 2,5 is 2.5 or two numbers.
    """
    in_call: list[bool] = []
    pieces: list[str] = []
    for piece in re.split(r"((?<![\w.])[0-9]*(?:[.,'][0-9]+)+|[()])", text):
        if piece == "(":
            in_call.append(bool(re.search(r"[^\W\d_]\w*\s*$", "".join(pieces))))
        elif piece == ")" and in_call:
            in_call.pop()
        elif re.match("[0-9]", piece) and re.search("[,']", piece) and not any(in_call):
            rational(piece)  # raises where the separators do not group thousands
            piece = re.sub("[,']", "", piece)
        pieces.append(piece)
    return "".join(pieces)


@cache
def _parser() -> Lark:
    names = "|".join(sorted(FUNCTIONS, key=len, reverse=True))
    return Lark(_GRAMMAR % names, parser="lalr", start=["expression", "equation"])


@v_args(inline=True)
class _Builder(Transformer[Token, Any]):
    """Builds sympy expressions bottom up, and checks the size of every intermediate number."""

    def expression(self, value: Expr) -> Expr:
        return value

    def equation(self, left: Expr, right: Expr) -> tuple[Expr, Expr]:
        return left, right

    def number(self, token: str) -> Expr:
        return rational(str(token))

    def name(self, token: str) -> Expr:
        return _named(str(token))

    def add(self, left: Expr, right: Expr) -> Expr:
        return checked(left + right)

    def subtract(self, left: Expr, right: Expr) -> Expr:
        return checked(left - right)

    def multiply(self, left: Expr, right: Expr) -> Expr:
        return checked(left * right)

    def divide(self, left: Expr, right: Expr) -> Expr:
        if right.is_zero:
            raise CalculationError("Division by zero is undefined: give a divisor other than zero.")
        return checked(left / right)

    def mod(self, left: Expr, right: Expr) -> Expr:
        return mod(left, right)

    def negate(self, value: Expr) -> Expr:
        return -value

    def power(self, base: Expr, exponent: Expr) -> Expr:
        return power(base, exponent)

    def mark(self, value: Expr, mark: Token) -> Expr:
        if mark == "!!":
            return double_factorial(value)
        if mark == "!":
            return factorial(value)
        return value / 100 if mark == "%" else value * sympy.pi / 180

    def call(self, function: str, *arguments: Expr) -> Expr:
        name = str(function).lower()
        build, fewest, most = FUNCTIONS[name]
        if not fewest <= len(arguments) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise CalculationError(
                f"{name} takes {wanted} value(s) and got {len(arguments)}: write them as in {name}(…)."
            )
        return checked(build(*arguments))

    def bare_call(self, token: Token) -> Expr:
        function, argument = token.split()
        value = self.number(argument) if argument[0].isdigit() else self.name(argument)
        return self.call(function, value)
