"""Synthetic calls for tools with too few few-shot examples; their values occur in the question."""

import random
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from toolken.training.examples import FewShotExample
from toolken.training.features import background as shipped
from toolken.training.tool_spec import ToolSpec

_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])")
#: Capitalised words inside a sentence are mostly names; words after an article or a pronoun are mostly things.
_NAME = re.compile(r"(?<=[a-z,] )(?:[A-Z][\w'-]*)(?: (?:of |the )?[A-Z][\w'-]*)*")
_THING = re.compile(r"\b(?:the|a|an|my|our) ([a-z]+(?: [a-z]+)?)(?=[ ,.?!])")
_NO_THING = re.compile(
    r"the|a|an|my|our|of|in|on|at|to|for|and|is|are|was|with|what|from|that|this|it|by|as|i|you|we|if|when"
)
#: Bounds on the length of a value, in characters.
_SHORTEST, _LONGEST = 3, 30


def synthetic_calls(spec: ToolSpec, requests: Sequence[str], count: int) -> list[FewShotExample]:
    """Return up to `count` calls of a tool without few-shot examples.

    Half of them are for its description followed by values, the others for requests with enough names, things and
    numbers for its arguments.
    """
    draw = random.Random(spec.name)
    found = []
    words = spec.words.strip().rstrip(".")
    names, things = _values()
    for _ in range(-(-count // 2)):
        pool = draw.choice((names, things))
        offered = _Values([draw.choice(pool) for _ in range(8)], [_some_number(draw, "10") for _ in range(8)], draw)
        args = {name: offered.value(schema) for name, schema in spec.arguments.items()}
        given = ", ".join(_spoken(value) for value in args.values())
        found.append(FewShotExample(tool=spec.name, question=f"{words}: {given}" if given else words, args=args))
    for question in requests:
        if len(found) >= count:
            break
        spans = _NAME.findall(question) or _things(question)
        offered = _Values(list(dict.fromkeys(reversed(spans))), _NUMBER.findall(question), draw)
        args = {name: offered.value(schema) for name, schema in spec.arguments.items()}
        if not offered.lacking:
            found.append(FewShotExample(tool=spec.name, question=question, args=args))
    return found


def with_other_values(shown: Sequence[FewShotExample], count: int) -> list[FewShotExample]:
    """Return `count` copies of few-shot examples, in turn, with other values in arguments and question."""
    draw = random.Random(0)
    names, things = _values()
    found = []
    for at in range(count):
        one = shown[at % len(shown)]
        question, args = one.question, dict(one.args)
        for name, value in one.args.items():
            if isinstance(value, str):
                pattern = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
                if value and pattern.search(question):
                    args[name] = draw.choice(things if value.islower() else names)
                    question = str(args[name]).join(pattern.split(question))
            elif isinstance(value, int | float) and not isinstance(value, bool):
                pattern = re.compile(rf"(?<![\w.]){re.escape(str(value))}(?![\w]|\.\d)")
                if pattern.search(question):
                    args[name] = _read(_some_number(draw, str(value)))
                    question = str(args[name]).join(pattern.split(question))
        found.append(FewShotExample(tool=one.tool, question=question, results=one.results, args=args))
    return found


def synthetic_results(count: int) -> list[str]:
    """Return `count` results as tools may return them: numbers, names and things, single and combined."""
    draw = random.Random(0)
    names, things = _values()
    found = []
    for at in range(count):
        name, thing, number = (
            draw.choice(names),
            draw.choice(things),
            _some_number(draw, draw.choice(("10", "1000", "1.5"))),
        )
        forms = (
            number,
            f"{number} {thing}",
            name,
            f"{name} and {draw.choice(names)}",
            f"{number} {thing} in {name}",
            thing,
        )
        found.append(forms[at % len(forms)])
    return found


class _Values:
    """The values in a question; each is used once."""

    def __init__(self, spans: list[str], numbers: list[str], draw: random.Random) -> None:
        self._spans, self._numbers, self._draw = spans, numbers, draw
        #: Whether a value was requested after all were used.
        self.lacking = False

    def value(self, schema: Any) -> Any:
        given: dict[str, Any] = schema if isinstance(schema, dict) else {}
        if given.get("enum"):
            return self._draw.choice(given["enum"])
        match given.get("type"):
            case "integer":
                return int(float(self._take(self._numbers, "1")))
            case "number":
                return _read(self._take(self._numbers, "1"))
            case "boolean":
                return self._draw.random() < 0.5
            case "array":
                item = given.get("items") or {}
                return [self.value(item) for _ in range(max(given.get("minItems", 1), 1))]
            case "object":
                return {name: self.value(inner) for name, inner in given.get("properties", {}).items()}
            case _:
                return self._take(self._spans, "")

    def _take(self, values: list[str], otherwise: str) -> str:
        self.lacking = self.lacking or not values
        return values.pop(0) if values else otherwise


@cache
def _values() -> tuple[list[str], list[str]]:
    """Return the names and things in the background requests."""
    requests = shipped.background_requests()
    names = {name for question in requests for name in _NAME.findall(question)}
    things = {thing for question in requests for thing in _things(question)}
    kept = [sorted(one for one in values if _SHORTEST <= len(one) <= _LONGEST) for values in (names, things)]
    return kept[0], kept[1]


def _things(question: str) -> list[str]:
    found = []
    for thing in _THING.findall(question):
        words = thing.split()
        if not _NO_THING.fullmatch(words[0]):
            found.append(words[0] if _NO_THING.fullmatch(words[-1]) else thing)
    return found


def _some_number(draw: random.Random, like: str) -> str:
    """Return a random number with about as many digits as another one."""
    whole, _, places = like.lstrip("-").partition(".")
    number = str(draw.randrange(1, 10 ** min(len(whole), 4)))
    return f"{number}.{draw.randrange(1, 10 ** min(len(places), 3))}" if places else number


def _read(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _spoken(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(map(_spoken, value))
    if isinstance(value, dict):
        return ", ".join(map(_spoken, value.values()))
    return str(value)
