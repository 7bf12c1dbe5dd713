"""The calculator as LangChain tools."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from toolken.tools.calculator import arithmetic, schemas
from toolken.tools.calculator.answer import Answer
from toolken.tools.calculator.errors import CalculationError
from toolken.tools.calculator.isolation import run_isolated, warm_up
from toolken.tools.calculator.summary import statistics
from toolken.tools.quotation import quoted

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

# name -> what computes it in this process, its arguments, what someone wants who needs it
_IN_PROCESS: dict[str, tuple[Callable[..., Answer], type[schemas.Arguments], str]] = {
    "add": (
        arithmetic.add,
        schemas.Add,
        "Find how many or how much there is altogether: add numbers up to get their sum or total.",
    ),
    "subtract": (
        arithmetic.subtract,
        schemas.Subtract,
        "Find how much is left, or how much more one amount is than another: subtract numbers from the first number.",
    ),
    "multiply": (
        arithmetic.multiply,
        schemas.Multiply,
        "Find the total of equal groups, of a price times a quantity, or of a rate times a time: multiply numbers "
        "to get their product.",
    ),
    "divide": (
        arithmetic.divide,
        schemas.Divide,
        "Share an amount equally, or find how much there is for each one: divide the first number by the others to "
        "get the quotient.",
    ),
    "power": (
        arithmetic.power,
        schemas.Power,
        "Find what repeated multiplication by the same number gives, as when something doubles or grows by the same "
        "factor again and again: raise a base to an exponent.",
    ),
    "sqrt": (
        arithmetic.sqrt,
        schemas.Sqrt,
        "Find the side of a square from its area, or which number times itself gives a number: take the square root.",
    ),
    "log": (
        arithmetic.log,
        schemas.Log,
        "Find to what power 10, or another base, must be raised to give a number: take the logarithm, log base 10 "
        "unless told.",
    ),
    "ln": (
        arithmetic.ln,
        schemas.Ln,
        "Find to what power e must be raised to give a number, as in continuous growth or decay: take the natural "
        "logarithm ln.",
    ),
    "lcm": (
        arithmetic.lcm,
        schemas.Lcm,
        "Find when things that repeat at different intervals happen together again, or the smallest number that "
        "several numbers divide: the least common multiple.",
    ),
    "gcd": (
        arithmetic.gcd,
        schemas.Gcd,
        "Find the largest equal groups or pieces that several amounts can be split into with nothing left over: the "
        "greatest common divisor, the highest common factor.",
    ),
    "remainder": (
        arithmetic.remainder,
        schemas.Remainder,
        "Find how many are left over after making as many full groups as possible: the remainder of a division, a "
        "modulo b.",
    ),
    "choose": (
        arithmetic.choose,
        schemas.Choose,
        "Count in how many ways a group, team or committee can be chosen when the order does not matter: combinations.",
    ),
    "permutate": (
        arithmetic.permutate,
        schemas.Permutate,
        "Count in how many orders things or people can be arranged, lined up or ranked when the order matters: "
        "permutations.",
    ),
    "statistics": (
        statistics,
        schemas.Statistics,
        "Describe a list of numbers: find its average or mean, median, mode, range, variance or standard deviation.",
    ),
}
OPERATIONS = tuple(name for name in _IN_PROCESS if name != "statistics")
"""The thirteen arithmetic operations, in the order of `calculator_tools`."""

# name -> its arguments, what someone wants who needs it
_ISOLATED: dict[str, tuple[type[schemas.Arguments], str]] = {
    "evaluate": (
        schemas.Evaluate,
        "Work out the value of a written arithmetic expression with several operations, brackets or functions.",
    ),
    "solve": (
        schemas.Solve,
        "Find the value of an unknown such as x: solve an equation, or a system of equations.",
    ),
    "differentiate": (
        schemas.Differentiate,
        "Find the derivative, slope or rate of change of a function: differentiate an expression.",
    ),
    "integrate": (
        schemas.Integrate,
        "Find the integral or antiderivative of a function, or the area under its curve between two limits.",
    ),
    "simplify": (
        schemas.Simplify,
        "Rewrite an algebraic expression: simplify, expand or factor it.",
    ),
    "convert_units": (
        schemas.ConvertUnits,
        "Convert an amount from one unit of measurement to another, such as miles to kilometres or Fahrenheit to "
        "Celsius.",
    ),
}


def calculator_tools(selection: Literal["all", "operations"] = "all") -> "list[BaseTool]":
    """Return the calculator's tools.

    A tool answers with text and a plain `Answer` as the artifact. What it cannot compute it reports in one sentence,
    as a tool message with status "error" (`handle_tool_error` is set; set it to False on a tool to have a
    `ToolError` raised instead). Those beyond the thirteen and statistics calculate in a worker process, of which one
    starts in the background here.

    Parameters
    ----------
    selection
        "operations" for the thirteen of `OPERATIONS` alone; "all" for those and statistics, evaluate, solve,
        differentiate, integrate, simplify and convert_units.

    Raises
    ------
    ValueError
        If there is no such selection.
    """
    if selection not in ("all", "operations"):
        raise ValueError(f'There is no selection "{selection}" of calculator tools: say "all" or "operations".')
    # Imported here, since the worker process imports this package too and starts in half the time without LangChain.
    from toolken.tools.calculator.structured import structured_tool

    tools = [structured_tool(name, *_IN_PROCESS[name]) for name in OPERATIONS]
    if selection == "operations":
        return tools
    warm_up()
    isolated = [
        structured_tool(name, partial(run_isolated, name), arguments, description, blocks=True)
        for name, (arguments, description) in _ISOLATED.items()
    ]
    return [*tools, structured_tool("statistics", *_IN_PROCESS["statistics"]), *isolated]


def keyword_arguments(operation: str, operands: Sequence[Any]) -> dict[str, Any]:
    """Name the operands of one of the thirteen operations, as a call written with positions needs it.

    Parameters
    ----------
    operation
        One of `OPERATIONS`.
    operands
        The operands in the order in which the operation is spoken: base before exponent, total before part.

    Returns
    -------
    dict
        Arguments of the tool: `{"base": 3, "exponent": 4}`, `{"numbers": [1, 2, 3]}`.

    Raises
    ------
    CalculationError
        If there is no such operation, or it takes fewer operands.

    Examples
    --------
    >>> keyword_arguments("power", ["3", "4"]), keyword_arguments("add", ["1", "2"])
    ({'base': '3', 'exponent': '4'}, {'numbers': ['1', '2']})
    """
    if operation not in OPERATIONS:
        raise CalculationError(f"There is no operation {quoted(operation)}: use one of {', '.join(OPERATIONS)}.")
    names = list(_IN_PROCESS[operation][1].model_fields)
    if names == ["numbers"]:
        return {"numbers": list(operands)}
    if len(operands) > len(names):
        raise CalculationError(
            f"{operation} takes at most {len(names)} operand(s) and got {len(operands)}: split the call."
        )
    return dict(zip(names, operands, strict=False))
