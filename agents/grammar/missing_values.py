"""`question_for`: what the user is asked, or told, where a call lacks a value or has one that its schema forbids."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from toolken.agents.grammar.argument_evidence import RefusedValue
from toolken.training.tool_spec import ToolSpec, name_words

#: What happens where a required value is missing or a value is forbidden.
Missing = Literal["ask", "write", "refuse"]
#: Values of an enumeration that a question lists, and characters of a description that it quotes.
MAX_LISTED, MAX_QUOTED = 6, 60

#: Names that say little without their description.
_BARE = frozenset(
    [
        "to",
        "from",
        "at",
        "in",
        "on",
        "of",
        "for",
        "by",
        "q",
        "id",
        "value",
        "data",
        "input",
        "arg",
        "x",
        "y",
        "a",
        "b",
        "n",
        "name",
        "text",
    ]
)


def question_for(spec: ToolSpec, missing: Sequence[tuple[str, ...]], refused: Sequence[RefusedValue] = ()) -> str:
    """Return one message about all missing and refused values of a call.

    Examples
    --------
    >>> spec = ToolSpec(name="weather", parameters={"properties": {"city": {"type": "string"}}})
    >>> question_for(spec, [("city",)])
    'Which city?'
    >>> question_for(spec, [], [RefusedValue(("people",), "40", "at most 20")])
    'people must be at most 20, not 40.'
    """
    said = [f"{name_words(one.path[-1])} must be {one.reason}, not {one.value}." for one in refused]
    known = {one.path for one in refused}
    asked = [_asked(path, _schema(spec, path)) for path in dict.fromkeys(missing) if path not in known]
    if asked:
        question = asked[0] if len(asked) == 1 else f"{', '.join(asked[:-1])} and {asked[-1]}"
        said.append(f"{question[:1].upper()}{question[1:]}?")
    return " ".join(said)


def may_be_question(answer: str) -> bool:
    """Return whether an answer can be one of `question_for`, without the evidence of each tool.

    >>> may_be_question("Which city?"), may_be_question("The answer is 4 degrees.")
    (True, False)
    """
    return answer.endswith("?") or " must be " in answer


def refusal_of(spec: ToolSpec, missing: Sequence[tuple[str, ...]], refused: Sequence[RefusedValue]) -> str:
    """Return the error of a call that lacks values or has forbidden ones, with the arguments by name."""
    parts = [f"{'.'.join(one.path)!r} must be {one.reason}, not {one.value}" for one in refused]
    parts += [f"nothing in the conversation says {'.'.join(path)!r}" for path in dict.fromkeys(missing)]
    return f"The arguments of {spec.name!r} are invalid ({'; '.join(parts)})."


def _asked(path: tuple[str, ...], schema: Mapping[str, Any]) -> str:
    """Return the question for one argument, without a question mark."""
    words = name_words(path[-1])
    if len(path) > 1 and (path[-1].lower() in _BARE or len(words) < 3):
        words = f"{name_words(path[-2])} {words}"
    about = ""
    description = schema.get("description")
    if isinstance(description, str) and (words in _BARE or len(words) < 3):
        clause = re.split(r"[.;(\n]", description.strip())[0].strip()[:MAX_QUOTED]
        about = f" ({clause})" if clause else ""
    values = [one for one in schema.get("enum") or () if one is not None]
    if 1 < len(values) <= MAX_LISTED:
        listed = [str(one).replace("_", " ") for one in values]
        about += f" ({', '.join(listed[:-1])} or {listed[-1]})"
    if schema.get("type") == "integer" and re.search(r"[^s]s\Z", words):
        return f"how many {words.removeprefix('number of ').removeprefix('num ')}{about}"
    return f"which {words}{about}"


def _schema(spec: ToolSpec, path: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the schema of an argument; {} where a reference hides it."""
    found: Any = spec.parameters
    for name in path:
        properties = found.get("properties") if isinstance(found, dict) else None
        found = properties.get(name, {}) if isinstance(properties, dict) else {}
    return found if isinstance(found, dict) else {}
