"""Expressions, equations, calculus and units: results, and what the grammar rejects."""

import itertools
import math
from decimal import Decimal
from fractions import Fraction

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from toolken.tools.calculator import units
from toolken.tools.calculator.equations import solve
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.expression import parse_expression
from toolken.tools.calculator.notation import exact_text
from toolken.tools.calculator.symbolic import differentiate, evaluate, integrate, simplify
from toolken.tools.calculator.units import convert_units, parse_unit


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("2 + 3*4", "14"),
        ("(1,234 + 1)×2", "2470"),
        ("-2^2", "-4"),
        ("2^3^2", "512"),
        ("2**-3", "0.125"),
        ("3² + 4²", "25"),
        ("50% of 80", "40"),
        ("$12 * 3 = ?", "36"),
        ("17 mod 5", "2"),
        ("mod(17, 5)", "2"),
        ("2(3 + 4)", "14"),
        ("2pi", "6.283185307"),
        ("5!", "120"),
        ("sin(30°)", "0.5"),
        ("√16 + sqrt(9)", "7"),
        ("log(1000)", "3"),
        ("log(100,200)", "0.8691759794"),
        ("log(8, 2)", "3"),
        ("ln(e^2)", "2"),
        ("(-8)^(1/3)", "-2"),
        ("(1 + sqrt(2))*(1 - sqrt(2))", "-1"),
        ("sqrt(2)*sqrt(3) - sqrt(6)", "0"),
        ("max(1, 2.5, 2)", "2.5"),
        ("choose(5, 2) + gcd(12, 18) + lcm(4, 6)", "28"),
        ("1.0001^10000000", "1.873995858e434"),
        ("exp(1000)", "1.970071114e434"),
        ("1½*2 + ¼", "3.25"),
        ("pi mod (-2)", "1.141592654"),
        ("10⁻³", "0.001"),
        ("２＋２", "4"),
        ("|3 - 5| - |-1|", "1"),
        ("log_2(8) + pow(2, 3) + nCr(5, 2)", "21"),
        ("sec(0) + cot(pi/4) + gamma(5) + acosh(1)", "26"),
    ],
)
def test_an_expression_is_read_as_people_write_it(expression, text):
    assert evaluate(expression).text == text


leaves = st.integers(0, 99).map(str)
trees = st.recursive(
    leaves, lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: f"({' '.join(parts)})")
)


@given(trees)
@settings(max_examples=60, deadline=None)
def test_arithmetic_agrees_with_fractions(expression):
    try:
        expected = _with_fractions(expression)
    except ZeroDivisionError:
        with pytest.raises(CalculationError, match="zero"):
            evaluate(expression)
    else:
        assert Fraction(evaluate(expression).exact) == expected


def _with_fractions(expression: str) -> Fraction:
    if not expression.startswith("("):
        return Fraction(expression)
    depths = itertools.accumulate({"(": 1, ")": -1}.get(character, 0) for character in expression)
    position = next(
        place
        for place, (character, depth) in enumerate(zip(expression, depths, strict=True))
        if depth == 1 and character in "+-*/"
    )
    left, right = _with_fractions(expression[1 : position - 1]), _with_fractions(expression[position + 2 : -1])
    return {"+": left.__add__, "-": left.__sub__, "*": left.__mul__, "/": left.__truediv__}[expression[position]](right)


@pytest.mark.parametrize(
    "expression",
    [
        *("__import__('os').system('true')", "x.__class__", "lambda: 1", "exec('1')", "[1][0]", "open('/etc/passwd')"),
        *("x:=1", "1; 2", "f'{x}'", "'a'*9", "2 3", "2*(3", "()", "", "a,b", "#", "\\", "{1}", "x\x00", "x == 1"),
        *("unknown(3)", "2secant(x)", "1.5½", "||x| - 1|"),
        *("17 % 5", "ln 2x", "sin 30°", "1e99999", "9" * 1001, "(" * 1001, "sin(1, 2)", "sqrt()", "2 +", "🙂"),
    ],
)
def test_what_is_not_in_the_grammar_is_refused_in_one_sentence(expression):
    with pytest.raises(CalculationError) as error:
        parse_expression(expression)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


def test_a_name_is_a_variable_and_nothing_else():
    assert {str(symbol) for symbol in parse_expression("import * os + exit").free_symbols} == {"import", "os", "exit"}


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("1/(2 - 2)", "Division by zero"),
        ("sqrt(-4)", "even root"),
        ("(-2)^pi", "irrational power"),
        ("ln(0)", "logarithm of zero"),
        ("log(-1)", "logarithm"),
        ("asin(2)", "beyond -1 to 1"),
        ("acosh(0.5)", "below 1"),
        ("2 mod (e - e)", "division by zero"),
        ("pi mod (e - e)", "division by zero"),
        ("atanh(1)", "between -1 and 1"),
        ("gamma(0)", "factorial of -1"),
        ("tan(pi/2)", "divides by zero"),
        ("0^-1", "Zero to a negative power"),
        ("(-1)!", "factorial of -1"),
        ("x + 1", "x has no value"),
        ("9^9^9", "1,000 digits"),
        ("9**9**9", "1,000 digits"),
        ("factorial(10**8)", "1,000 digits"),
        ("((5!)!)!", "1,000 digits"),
        ("exp(10^9)", "1,000 digits"),
    ],
)
def test_what_is_undefined_or_too_large_is_said(expression, says):
    with pytest.raises(CalculationError, match=says):
        evaluate(expression)


@pytest.mark.parametrize(
    "expression",
    [
        *("x^2 - 3x/7 + 1", "exp(-x)*ln(x)^2", "sqrt(2)*abs(x)", "sin(x)/cos(2x)", "x^(1/3)", "max(x, 2) + floor(y)"),
        *("e^(x*y)", "atan(x)^-2", "ceil(x) + min(x, y)", "mod(x, 3)", "n!", "sign(x) + erf(x)"),
    ],
)
def test_what_is_written_can_be_read_back(expression):
    value = parse_expression(expression)
    assert sympy.simplify(parse_expression(exact_text(value)) - value) == 0


@pytest.mark.parametrize(
    ("equations", "text"),
    [
        (["2x + 3 = 11"], "x = 4"),
        (["3x = 1"], "x = 1/3 ≈ 0.3333333333"),
        (["x^2 = 5x - 6"], "x = 2 or x = 3"),
        (["x^2 = 2"], "x = -sqrt(2) ≈ -1.414213562 or x = sqrt(2) ≈ 1.414213562"),
        (["x^2 = -1"], "no real solution"),
        (["x^3 - 3x + 1"], "x ≈ -1.879385242 or x ≈ 0.3472963553 or x ≈ 1.532088886"),
        (["x^2/(x - 1) = 1/(x - 1)"], "x = -1"),
        (["sqrt(x) = x - 2"], "x = 4"),
        (["2^x = 8"], "x = 3"),
        (["x + 1 = x"], "never true"),
        (["2x = x + x"], "always true"),
        (["x + y = 3", "x - y = 1"], "x = 2, y = 1"),
        (["x^2 + y^2 = 25", "x + y = 7"], "x = 3, y = 4 or x = 4, y = 3"),
        (["x + y = 2", "x + y = 3"], "no real solution"),
        (["x + y = 2", "2x + 2y = 4"], "x = 2 - y"),
        (["sin(x) = 0"], "x = 2*pi*n or x = 2*pi*n + pi for every whole number n"),
        (["e^x = 0"], "no real solution"),
        (["cbrt(x^2) = 4"], "x ≈ -8 or x ≈ 8 (found numerically; there may be more)"),
        (["cos(x) = x"], "x ≈ 0.7390851332 (found numerically; there may be more)"),
        (["x^2 = 2^x"], "x ≈ -0.766664696 or x ≈ 2 or x ≈ 4 (found numerically; there may be more)"),
    ],
)
def test_equations_are_solved_over_the_real_numbers(equations, text):
    assert solve(equations).text == text


def test_an_equation_is_solved_for_the_unknown_that_is_named():
    assert solve(["V = pi r^2 h"], ["h"]).text == "h = V/(pi*r^2)"
    with pytest.raises(CalculationError, match="does not determine"):
        solve(["V = pi r^2 h"])
    with pytest.raises(CalculationError, match="none of the equations"):
        solve(["x = 1"], ["z"])
    with pytest.raises(CalculationError, match="not an equation"):
        solve(["x > 1"])


@pytest.mark.parametrize(
    ("equations", "unknowns", "text"),
    [
        (["y = a*e^(k*t)"], ["t"], "t = ln(y/a)/k"),
        (["x^6 = a"], ["x"], "x = -a^(1/6) or x = a^(1/6)"),
        (["sin(x) = a"], ["x"], "x = pi - asin(a) or x = asin(a) (there may be more)"),
        (["x*e^x = a"], ["x"], "x = LambertW(a) (there may be more)"),
        (["x^a = 2"], ["x"], "x = 2^(1/a) (there may be more)"),
        (["(x^5 - x - a)*(x - 1) = 0"], ["x"], "x = 1 (there may be more)"),
        (["abs(x) = a"], ["x"], "x = -a if a > 0 or x = a if a >= 0 (there may be more)"),
        (["x^2 + a^2 = -1"], ["x"], "no real solution"),
        (["a/x = 0"], ["x"], "no real solution unless a = 0"),
        (["x + a = 1", "x + b = 2"], ["x"], "no real solution for a, b in general"),
        (["x^2 + y^2 = -1", "x = y"], None, "no real solution"),
        (["e^x = y", "x = 0"], None, "x = 0, y = 1 (there may be more)"),
        # atan is never this large, so the solution that its inverse gives is none.
        (["atan(x^2) = 368/27"], None, "no real solution"),
    ],
)
def test_what_is_known_of_the_solutions_is_said(equations, unknowns, text):
    assert solve(equations, unknowns).text == text


@pytest.mark.parametrize(
    "equations", [["x^5 - x = a"], ["sin(x)^2 + a^2 + 1 = 0"], ["x^5 + a*x^4 + 1 = 0", "x - y = 0"]]
)
def test_solutions_that_are_not_found_are_not_said_not_to_be(equations):
    with pytest.raises(CalculationError, match="was found, which does not mean that there is none"):
        solve(equations, ["x", "y"][: len(equations)])


def test_a_system_that_is_not_understood_is_not_said_to_have_no_solution():
    # There is one near x = 2.1, which sympy does not find.
    with pytest.raises(CalculationError, match="No solution of the equations was found"):
        solve(["x^y = z", "sin(x)*exp(y) = z", "z^x + y = 3"])


def test_calculus_and_rewriting():
    assert differentiate("x^2*sin(x)").text == "x^2*cos(x) + 2*x*sin(x)"
    assert differentiate("x^5", order=3).text == "60*x^2"
    assert differentiate("x*y^2", "y").text == "2*x*y"
    assert integrate("3x^2").text == "x^3 + C"
    assert integrate("x^2", lower=0, upper=3).text == "9"
    assert integrate("exp(-x^2)", lower="-inf", upper="inf").text == "1.772453851"
    assert integrate("x^x", lower="0", upper="1").text == "0.7834305107"
    assert simplify("(x^2 - 1)/(x - 1)").text == "x + 1"
    assert simplify("(x + 1)^2", "expanded").text == "x^2 + 2*x + 1"
    assert simplify("x^2 - 5x + 6", "factored").text == "(x - 3)*(x - 2)"
    with pytest.raises(CalculationError, match="no derivative"):
        differentiate("floor(x)")
    with pytest.raises(CalculationError, match="diverges"):
        integrate("1/x", lower="-1", upper="1")
    with pytest.raises(CalculationError, match="both limits"):
        integrate("x", lower="0")
    with pytest.raises(CalculationError, match="x, y"):
        differentiate("x*y")


@pytest.mark.parametrize(
    ("expression", "lower", "upper", "text"),
    [
        ("exp(sin(x))", 0, 3, "6.056669536"),
        ("abs(sin(x^2))", 0, 10, "6.137955875"),
        ("abs(x^2 - 2)", 0, 2, "2.437902833"),
        ("sin(x)/x", 0, "inf", "1.570796327"),
        ("sin(x^3)*exp(cos(x))", -1, 1, "0"),
        ("1e-30*exp(sin(x))", 0, 1, "1.631869608e-30"),
        ("exp(x - x^4)", "inf", 0, "-1.556024481"),
        ("exp(-(x - 50)^4)", 0, 100, "1.812804954"),
        ("x^2", "a", 3, "9 - a^3/3"),
    ],
)
def test_a_definite_integral_is_right_to_the_last_digit(expression, lower, upper, text):
    assert integrate(expression, "x", lower, upper).text == text


@pytest.mark.parametrize(
    ("expression", "lower", "upper", "says"),
    [
        ("tan(x^2)", 0, 2, "enough digits"),
        ("1/(cos(x) + x)", -2, 0, "enough digits"),
        ("1/ln(x)", 0, 2, "enough digits"),
        ("sin(1/x)", 0, 1, "enough digits"),
        ("sqrt(x)", -1, 1, "undefined over the real numbers"),
        ("1/x^2", -1, 1, "diverges"),
    ],
)
def test_an_integral_without_a_value_has_none(expression, lower, upper, says):
    with pytest.raises(CalculationError, match=says):
        integrate(expression, "x", lower, upper)


def test_a_temperature_below_absolute_zero_is_undefined():
    with pytest.raises(CalculationError, match="below absolute zero"):
        convert_units(-300, "C", "K")


@pytest.mark.parametrize(
    ("number", "source", "target", "text"),
    [
        (5, "miles", "km", "8.04672"),
        (2, "US gallons", "L", "7.570823568"),
        (0, "degrees C", "K", "273.15"),
        ("98.6", "Fahrenheit", "Celsius", "37"),
        (-40, "°C", "°F", "-40"),
        (60, "mph", "m/s", "26.8224"),
        (5, "kilometres per hour", "mph", "3.106855961"),
        (1, "square feet", "sq m", "0.09290304"),
        (2, "cubic metres", "litres", "2000"),
        (10, "kg*m/s^2", "N", "10"),
        (1, "kWh", "joules", "3600000"),
        ("1,000", "MB", "GB", "1"),
        (1, "tonne", "kg", "1000"),
        (1, "year", "days", "365"),
        (180, "degrees", "radians", "3.141592654"),
        (1, "psi", "kPa", "6.894757293"),
        (1, "hp", "W", "745.6998716"),
        (1, "1/s", "Hz", "1"),
    ],
)
def test_units_are_converted_exactly(number, source, target, text):
    assert convert_units(number, source, target).text == text


@given(
    st.decimals(-273, 1000, places=2), st.sampled_from(["Celsius", "F", "kelvin"]), st.sampled_from(["C", "°F", "K"])
)
@settings(deadline=None)
def test_a_temperature_there_and_back_is_unchanged(reading, source, target):
    if source == "kelvin":
        reading = abs(reading)
    there = convert_units(reading, source, target).exact
    assert Fraction(convert_units(there, target, source).exact) == Fraction(Decimal(reading))


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("km", "kg", "different things"),
        ("Celsius", "km", "not known"),
        ("m/", "m", "not known"),
        ("foo", "m", "not known"),
        ("", "m", "not known"),
        ("m^99", "m", "not known"),
        ("m" * 100, "m", "too long"),
        ("__class__", "m", "not known"),
    ],
)
def test_units_that_do_not_fit_are_refused(source, target, says):
    with pytest.raises(CalculationError, match=says):
        convert_units(1, source, target)


@pytest.mark.parametrize(
    ("number", "source", "target", "text"),
    [
        (1, "KB", "bytes", "1000"),
        (10, "NM", "km", "18.52"),
        (1, "KM", "m", "1000"),
        (2, "LBS", "kg", "0.90718474"),
        (1, "Kilometres Per Hour", "KPH", "1"),
        (1, "knot", "km/h", "1.852"),
        (1, "MW", "mW", "1000000000"),
    ],
)
def test_units_in_other_spellings_are_the_same_unit(number, source, target, text):
    assert convert_units(number, source, target).text == text


@pytest.mark.parametrize("unit", ["MM", "Kb", "mb", "Mw", "NS", "mS", "gs", "Ws", "MHZ", "Cal", "dB"])
def test_a_spelling_that_may_mean_another_unit_is_refused(unit):
    with pytest.raises(CalculationError, match="not known"):
        parse_unit(unit)


def test_no_spelling_of_a_unit_gives_another_one():
    names = units._names()
    dimensions = {}
    for name, unit in names.items():
        dimensions.setdefault(name.lower(), set()).add(units.si.convert_to(unit, units._BASE))
    for name in names:
        variants = ["".join(letters) for letters in itertools.product(*({x.lower(), x.upper()} for x in name))]
        for variant in variants if len(name) <= 6 else (name.upper(), name.title(), name.swapcase()):
            found = units._lookup(variant)
            if variant not in names and found is not None:
                assert dimensions[name.lower()] == {units.si.convert_to(found, units._BASE)}, variant


@pytest.mark.parametrize("text", ["2,5 * 4", "1.000,50 + 1", "(2,5)", "3,5!", "sin(2,5)", "1,2345", "1.234,567"])
def test_a_decimal_comma_is_refused_rather_than_dropped(text):
    with pytest.raises(CalculationError):
        evaluate(text)
    with pytest.raises(CalculationError):
        solve([f"{text} = x"])


@given(st.integers(0, 10**9), st.integers(0, 10**6), st.sampled_from("+-*"))
@settings(max_examples=50, deadline=None)
def test_a_comma_between_digits_groups_thousands_or_is_refused(left, right, sign):
    grouped = evaluate(f"{left:,} {sign} {right:,}").exact
    assert Fraction(grouped) == {"+": left + right, "-": left - right, "*": left * right}[sign]
    if len(str(right)) != 3:
        with pytest.raises(CalculationError):
            evaluate(f"{left},{right} {sign} 1")


@given(st.integers(0, 60))
def test_a_double_factorial_is_the_product_of_every_second_number(n):
    assert Fraction(evaluate(f"{n}!!").exact) == math.prod(range(n, 0, -2))


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("5!!!", "two ways"),
        ("5! !", "two ways"),
        ("9999!!", "1,000 digits"),
        ("2.5!!", "double factorial of 2.5"),
        ("0xFF + 1", "write 255"),
        ("0b101", "write 5"),
        ("0o17 * 2", "write 15"),
        *((text, "has no value") for text in ("0*x + 1", "x - x", "x^0", "x/x", "0 * foo + 3", "0x", "mod(0*y, 2)")),
    ],
)
def test_what_would_vanish_or_be_misread_is_refused(expression, says):
    with pytest.raises(CalculationError, match=says):
        evaluate(expression)


@pytest.mark.parametrize(
    "call",
    [
        lambda: differentiate("xy", "x"),
        lambda: differentiate("xy"),
        lambda: differentiate("2abx", "x"),
        lambda: integrate("xy", "x"),
        lambda: differentiate("sinx"),
        lambda: differentiate("cost", "t"),
        lambda: solve(["xy = 6", "x + y = 5"]),
        lambda: solve(["ab = 6", "a + b = 5"]),
    ],
)
def test_a_name_that_is_meant_as_a_product_is_refused(call):
    with pytest.raises(CalculationError, match="is one name"):
        call()


def test_a_name_of_several_letters_is_one_variable():
    assert differentiate("speed^2", "speed").text == "2*speed"
    assert differentiate("x*rate", "x").text == "rate"
    assert solve(["cost = 3*4"]).text == "cost = 12"


@pytest.mark.parametrize(
    ("equations", "unknowns", "text"),
    [
        (["cbrt(x) = -2"], None, "x = -8"),
        (["x^(2/3) = 4"], None, "x = -8 or x = 8"),
        (["x^(3/5) = -8"], None, "x = -32"),
        (["root(x, 5) = -2"], None, "x = -32"),
        (["x^0.2 = -2"], None, "x = -32"),
        (["x^(-1/3) = -2"], None, "x = -0.125"),
        (["x^(4/3) = -1"], None, "no real solution"),
        (["x^(1/3) + x^(2/3) = 2"], None, "x = -8 or x = 1"),
        (["x^(1/3) = x"], None, "x = -1 or x = 0 or x = 1"),
        (["cbrt(x - 1) + cbrt(x + 1) = 0"], None, "x = 0"),
        (["cbrt(x) + sqrt(x) = 2"], None, "x = 1"),
        (["cbrt(x) = a"], ["x"], "x = a^3"),
        (["cbrt(x) = y", "y = -2"], None, "x = -8, y = -2"),
    ],
)
def test_an_odd_root_of_a_variable_is_the_real_one(equations, unknowns, text):
    assert solve(equations, unknowns).text == text


@given(
    st.integers(-6, 6),
    st.sampled_from([3, 5, 7]),
    st.integers(1, 4),
    st.fractions(-3, 3, max_denominator=3).filter(bool),
    st.integers(-3, 3),
)
@settings(max_examples=25, deadline=None)
def test_the_number_whose_odd_root_was_taken_is_found_again(root, order, power, slope, shift):
    value = (Fraction(root) ** order - shift) / slope
    equation = f"(({slope})*x + ({shift}))^({power}/{order}) = {root**power}"
    answer = solve([equation]).exact
    assert str(value) in [one.removeprefix("x = ") for one in answer.split(" or ")]


@pytest.mark.parametrize(
    ("expression", "lower", "upper", "text"),
    [
        ("cbrt(x)", -8, 0, "-12"),
        ("cbrt(x)", -8, 8, "0"),
        ("x^(2/3)", -8, 0, "19.2"),
        ("x^(-1/3)", -8, 8, "0"),
        ("(x - 1)^(1/3)", 0, 1, "-0.75"),
        ("cbrt(x)*sin(x)", -1, 1, "0.7828042694"),
    ],
)
def test_an_integral_takes_the_real_odd_root(expression, lower, upper, text):
    assert integrate(expression, "x", lower, upper).text == text
