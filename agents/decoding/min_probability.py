"""`MinProbability`: how sure a call must be, for all tools or by tool."""

from collections.abc import Mapping

from toolken.agents.errors import OptionError

#: P(tool) below which no tool is called, or such numbers by the tools' names.
MinProbability = float | Mapping[str, float]


def least_probability(given: MinProbability | None, tool: str) -> float:
    """Return P(tool) below which a tool is not called; 0 where nothing is given."""
    if given is None:
        return 0.0
    return float(given) if isinstance(given, float | int) else given.get(tool, 0.0)


def check_min_probability(given: MinProbability | None, tools: tuple[str, ...] | None = None) -> None:
    """Make sure that numbers are probabilities and that names are those of tools.

    Raises
    ------
    OptionError
        If one is not.
    """
    numbers = {} if given is None else {"": given} if isinstance(given, float | int) else dict(given)
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, float | int) or not 0 <= number <= 1:
            where = f" of {name!r}" if name else ""
            raise OptionError(f"`min_probability`{where} is {number!r}: give a number from 0 to 1.")
        if name and tools is not None and name not in tools:
            raise OptionError(f"`min_probability` names {name!r}, which is none of the tools: {', '.join(tools[:20])}.")
