"""`FollowUp`: a request that changes some values of an earlier call and keeps the others."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolken.agents.grammar.argument_evidence import EvidencedArguments
from toolken.agents.grammar.function_words import FUNCTION_WORDS, words
from toolken.agents.grammar.schema_check import is_valid
from toolken.agents.grammar.text_values import Span, TextValues, stem
from toolken.agents.grammar.value_cues import DATE_STEMS
from toolken.training.tool_spec import ToolSpec

#: Words that refer to an earlier call.
_REFERENCES = words("it that this there same instead again too also rather change move make and what how no sorry")
#: Words that repeat a call, so that a request without any value keeps all values.
_REPEATS = words("same again repeat instead")
#: Words of follow-ups that are no value, besides function words.
_SILENT = words(
    """
    same instead rather again repeat change move sorry oops actually well better people persons guests lot bit cool
    great
    """
)
_GAP = re.compile(r"[\s\-']*")


@dataclass(frozen=True)
class FollowUp:
    """The values of an earlier call, and those that the request has for them.

    A value replaces one of its kind: a number a number, a clock time a clock time, a date a date, other words other
    words. Where several arguments take a value, the LM chooses; a value that one argument has used is not offered
    again.

    Attributes
    ----------
    spec
        The tool.
    earlier
        Arguments of the earlier call.
    values
        Values of the request: kind and value.
    """

    spec: ToolSpec
    earlier: Mapping[str, Any]
    values: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, spec: ToolSpec, question: str, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> "FollowUp | None":
        """Return the follow-up that a question is; None where it is a new request.

        A follow-up refers to what was said, or has no word of the tool's name and description, and has fewer values
        than the tool requires.

        Parameters
        ----------
        calls
            Name and arguments of the earlier calls.
        """
        earlier = _earlier(spec, calls)
        required = [name for name in spec.parameters.get("required") or [] if name in spec.arguments]
        if not earlier or not set(required) & set(earlier):
            return None
        said = {word.value for word in TextValues(question).words}
        own = {
            stem(word) for word in re.findall(r"[a-z']+", f"{spec.name} {spec.description}".lower().replace("_", " "))
        }
        refers = bool(said & _REFERENCES) or not any(stem(word) in own for word in said - FUNCTION_WORDS)
        values = tuple(_values(question, own))
        if not refers or len(values) >= len(required) > 0:
            return None
        if not values and not said & _REPEATS:
            return None
        return cls(spec, earlier, values)

    def restricted(self, found: EvidencedArguments, written: Mapping[str, Any]) -> EvidencedArguments:
        """Return the evidence with the schemas of the earlier call's arguments enumerating old and new values.

        Parameters
        ----------
        found
            What the conversation says about the arguments.
        written
            The values that the call has already.
        """
        properties = dict(found.parameters.get("properties") or {})
        required = list(found.parameters.get("required") or [])
        for name, schema in self.spec.arguments.items():
            if name in self.earlier and name not in written:
                properties[name] = {"enum": self._choices(name, schema, written)}
                required += [name] if name not in required else []
        ordered = {name: properties[name] for name in self.spec.arguments if name in properties}
        parameters = found.parameters | {"properties": ordered, "required": [one for one in ordered if one in required]}
        missing = tuple(path for path in found.missing if path[0] not in self.earlier)
        refused = tuple(one for one in found.refused if one.path[0] not in self.earlier)
        return EvidencedArguments(parameters, missing, refused)

    def _choices(self, name: str, schema: dict[str, Any], written: Mapping[str, Any]) -> list[Any]:
        old = self.earlier[name]
        kind = _kind(old)
        left = [value for one, value in self.values if one == kind and value not in written.values()]
        fitting = [one for one in (_like(old, value) for value in left) if is_valid(self._alone(schema), one)]
        takers = [one for one, value in self.earlier.items() if _kind(value) == kind and one not in written]
        # The only argument of its kind gets the value; so does the last one.
        return fitting if fitting and len(takers) <= len(fitting) else [old, *(one for one in fitting if one != old)]

    def _alone(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of an argument with the definitions to which it may refer."""
        return schema | ({"$defs": self.spec.parameters["$defs"]} if "$defs" in self.spec.parameters else {})


def _earlier(spec: ToolSpec, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the latest arguments of the tool or, where it was not called, those of the last call that it shares."""
    own = [arguments for name, arguments in calls if name == spec.name]
    source = own[-1] if own else calls[-1][1] if calls else {}
    kept = {name: value for name, value in source.items() if name in spec.arguments}
    return {name: value for name, value in kept.items() if isinstance(value, str | int | float)}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    read = TextValues(str(value))
    if read.moments:
        return "time" if any(":" in str(one.value) for one in read.moments) else "date"
    if any(stem(word.value) in DATE_STEMS for word in read.words):
        return "date"
    return "number" if read.numbers and not re.search(r"[^\W\d]", str(value)) else "text"


def _like(old: Any, value: Any) -> Any:
    """Return a value as the earlier one is written: as a number or as text."""
    return str(value) if isinstance(old, str) and not isinstance(value, str) else value


def _values(question: str, own: set[str]) -> list[tuple[str, Any]]:
    """Return kind and value of what a follow-up says, in order; clock times as they are written."""
    read = TextValues(question)
    found: list[tuple[int, str, Any]] = []
    taken: list[Span] = []
    for one in read.moments:
        written = question[one.start : one.end]
        found.append((one.start, _kind(written), written))
        taken.append(one)
    for one in read.numbers:
        found.append((one.start, "number", one.value))
        taken.append(one)
    runs: list[tuple[str, Span]] = []
    for word in read.words:
        silent = word.value in FUNCTION_WORDS or word.value in _SILENT or stem(word.value) in own
        if silent or any(word.overlaps(one) for one in taken):
            continue
        kind = "date" if stem(word.value) in DATE_STEMS else "text"
        joined = runs and runs[-1][0] == kind and _GAP.fullmatch(question[runs[-1][1].end : word.start])
        begin = runs.pop()[1].start if joined else word.start
        runs.append((kind, Span(begin, word.end, question[begin : word.end])))
    found += [(span.start, kind, span.value) for kind, span in runs]
    return [(kind, value) for _, kind, value in sorted(found, key=lambda one: one[0])]
