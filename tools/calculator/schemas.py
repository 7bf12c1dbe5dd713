"""The argument schemas of the calculator's tools."""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from toolken.tools.calculator.summary import Measure
from toolken.tools.calculator.symbolic import Form
from toolken.tools.grounding import GROUNDED

# Any value passes and is read by `parse_number`, whose one sentence says more than a validator's list of failures.
# Grounded: the digits are to be copied from the conversation, a question or an earlier result, not made up.
Number = Annotated[
    Any,
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "maxLength": 40}], GROUNDED: True}),
]
# The bounds on texts are for grammars that generate them; the parsers accept longer ones.
Expression = Annotated[str, WithJsonSchema({"type": "string", "maxLength": 200})]
Unit = Annotated[str, WithJsonSchema({"type": "string", "maxLength": 60, GROUNDED: True})]
Variable = Annotated[str, WithJsonSchema({"type": "string", "maxLength": 20})]


class Arguments(BaseModel):
    """Base of the argument models: an argument that does not exist is an error, not ignored."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class Add(Arguments):
    numbers: list[Number] = Field(min_length=2, max_length=50, description="The numbers to add up.")


class Subtract(Arguments):
    numbers: list[Number] = Field(
        min_length=2, max_length=50, description="The number to start from, then each number to take away from it."
    )


class Multiply(Arguments):
    numbers: list[Number] = Field(min_length=2, max_length=50, description="The numbers to multiply together.")


class Divide(Arguments):
    numbers: list[Number] = Field(
        min_length=2, max_length=50, description="The number to divide, then each number to divide it by."
    )


class Power(Arguments):
    base: Number = Field(description="The number that is multiplied by itself.")
    exponent: Number = Field(description="How many times it is used as a factor: the power it is raised to.")


class Sqrt(Arguments):
    number: Number = Field(description="The number to take the square root of.")


class Log(Arguments):
    number: Number = Field(description="The number to take the logarithm of.")
    base: Number = Field(default=10, description="The base of the logarithm, 10 unless the question names another.")


class Ln(Arguments):
    number: Number = Field(description="The number to take the natural logarithm of.")


class Lcm(Arguments):
    numbers: list[Number] = Field(
        min_length=2, max_length=50, description="The whole numbers to find the common multiple of."
    )


class Gcd(Arguments):
    numbers: list[Number] = Field(
        min_length=1, max_length=50, description="The whole numbers to find the common divisor of."
    )


class Remainder(Arguments):
    dividend: Number = Field(description="The amount that is divided up.")
    divisor: Number = Field(description="The size of each full group.")


class Choose(Arguments):
    total: Number = Field(description="How many things there are to choose from.")
    chosen: Number = Field(description="How many of them are chosen.")


class Permutate(Arguments):
    total: Number = Field(description="How many things there are in all.")
    arranged: Number = Field(description="How many of them are put in order.")


class Evaluate(Arguments):
    expression: Expression = Field(description="The expression to compute, such as (3 + 4)*5 - sqrt(2)/3.")


class Solve(Arguments):
    equations: list[Expression] = Field(
        min_length=1, max_length=8, description="The equation, such as 2x + 3 = 11, or several that hold together."
    )
    unknowns: list[Variable] | None = Field(
        default=None, max_length=8, description="The variables to find; all of them unless told."
    )


class Differentiate(Arguments):
    expression: Expression = Field(description="The expression to differentiate, such as x^2*sin(x).")
    variable: Variable | None = Field(default=None, description="The variable; not needed if there is only one.")
    order: int = Field(default=1, ge=1, le=10, description="How many times to differentiate.")


class Integrate(Arguments):
    expression: Expression = Field(description="The expression to integrate, such as 3x^2 + 1.")
    variable: Variable | None = Field(default=None, description="The variable; not needed if there is only one.")
    lower: Number = Field(default=None, description="Where the integral starts; leave out for an antiderivative.")
    upper: Number = Field(default=None, description="Where the integral ends; leave out for an antiderivative.")


class Simplify(Arguments):
    expression: Expression = Field(description="The expression to rewrite, such as (x^2 - 1)/(x - 1).")
    form: Form = Field(default="simplest", description="The form wanted.")


class ConvertUnits(Arguments):
    number: Number = Field(description="The amount to convert.")
    from_unit: Unit = Field(description="The unit the amount is in, such as miles, km/h or Celsius.")
    to_unit: Unit = Field(description="The unit it is wanted in.")


class Statistics(Arguments):
    numbers: list[Number] = Field(min_length=1, max_length=500, description="The numbers of the list.")
    measure: Measure = Field(default="all", description="What to find out about the list.")
