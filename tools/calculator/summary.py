"""Statistics of a list of numbers, exact where the measure is rational."""

import math
import statistics as stdlib_statistics
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal, get_args

from sympy import Rational

from toolken.tools.calculator.answer import Answer, exact_answer
from toolken.tools.calculator.arithmetic import sqrt
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.rationals import bounded, rational
from toolken.tools.number_notation import MAX_DIGITS

Measure = Literal[
    "all",
    "mean",
    "median",
    "mode",
    "range",
    "sum",
    "minimum",
    "maximum",
    "variance",
    "standard deviation",
    "population variance",
    "population standard deviation",
]

_RATIONAL: dict[str, Callable[[list[Fraction]], Fraction]] = {
    "mean": stdlib_statistics.mean,
    "median": stdlib_statistics.median,
    "range": lambda values: max(values) - min(values),
    "sum": lambda values: sum(values, Fraction(0)),
    "minimum": min,
    "maximum": max,
    "variance": stdlib_statistics.variance,
    "population variance": stdlib_statistics.pvariance,
}


def statistics(numbers: Sequence[Any], measure: Measure = "all") -> Answer:
    """Describe a list of numbers.

    Parameters
    ----------
    numbers
        At least one, each as in `parse_number`.
    measure
        What to compute. "variance" and "standard deviation" are those of a sample (divided by n - 1), which need two
        numbers; "all" gives every measure the list allows.

    Returns
    -------
    Answer
        A number; several modes joined by and; for "all" `mean 4, median 3, …`.

    Raises
    ------
    CalculationError
        If the list is empty or too short for the measure.
    """
    if measure not in get_args(Measure):
        raise CalculationError(f'There is no measure "{measure}": choose one of {", ".join(get_args(Measure))}.')
    if not numbers:
        raise CalculationError("The list of numbers is empty: give at least one.")
    values = [Fraction(int(value.p), int(value.q)) for value in map(rational, numbers)]
    # With one common denominator of bounded length every sum below is one of bounded integers.
    common = 1
    for value in values:
        common = math.lcm(common, value.denominator)
        if common >= 10**MAX_DIGITS:
            raise CalculationError(
                f"The numbers have a common denominator of more than {MAX_DIGITS:,} digits: round them first."
            )
    if measure != "all":
        return _one(values, measure)
    measures = [name for name in get_args(Measure) if name != "all" and (len(values) > 1 or not _needs_two(name))]
    answers = {name: _one(values, name) for name in measures}
    return Answer(
        text=", ".join([f"count {len(values)}", *(f"{name} {answer.text}" for name, answer in answers.items())]),
        exact=", ".join([f"count {len(values)}", *(f"{name} {answer.exact}" for name, answer in answers.items())]),
        rounded=any(answer.rounded for answer in answers.values()),
    )


def _needs_two(measure: str) -> bool:
    return measure in ("variance", "standard deviation")


def _one(values: list[Fraction], measure: str) -> Answer:
    if _needs_two(measure) and len(values) < 2:
        raise CalculationError(
            f"The {measure} of one number is undefined: give two or more, or ask for the population's."
        )
    if measure == "mode":
        modes = [_answer(mode) for mode in stdlib_statistics.multimode(values)]
        return Answer(
            text=" and ".join(mode.text for mode in modes),
            exact=" and ".join(mode.exact for mode in modes),
            rounded=any(mode.rounded for mode in modes),
        )
    if measure.endswith("standard deviation"):
        return sqrt(_RATIONAL[measure.replace("standard deviation", "variance")](values))
    return _answer(_RATIONAL[measure](values))


def _answer(value: Fraction) -> Answer:
    return exact_answer(bounded(Rational(value.numerator, value.denominator)))
