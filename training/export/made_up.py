"""Made-up calls, for argument forms that hardly any few-shot example shows: with values that stand in the question."""

import random
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from toolken.training.examples import FewShotExample
from toolken.training.features import background as shipped
from toolken.training.tool_spec import ToolSpec

_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])")
#: Words with capitals that are no beginning of a sentence: names, mostly. Things, mostly, are what stands behind an
#: article or a pronoun.
_NAME = re.compile(r"(?<=[a-z,] )(?:[A-Z][\w'-]*)(?: (?:of |the )?[A-Z][\w'-]*)*")
_THING = re.compile(r"\b(?:the|a|an|my|our) ([a-z]+(?: [a-z]+)?)(?=[ ,.?!])")
_NO_THING = re.compile(
    r"the|a|an|my|our|of|in|on|at|to|for|and|is|are|was|with|what|from|that|this|it|by|as|i|you|we|if|when"
)
#: Lengths of a value in letters.
_SHORTEST, _LONGEST = 3, 30


def made_up(spec: ToolSpec, requests: Sequence[str], count: int) -> list[FewShotExample]:
    """Return up to so many calls of a tool that nothing shows.

    Half of them are for its description with values behind it, the others for requests in which there are as many
    names, things and numbers as it has arguments of these types.
    """
    draw = random.Random(spec.name)
    found = []
    words = spec.words.strip().rstrip(".")
    names, things = _values()
    for _ in range(-(-count // 2)):
        pool = draw.choice((names, things))
        offered = _Offered([draw.choice(pool) for _ in range(8)], [_some_number(draw, "10") for _ in range(8)], draw)
        args = {name: offered.value(schema) for name, schema in spec.arguments.items()}
        given = ", ".join(_said(value) for value in args.values())
        found.append(FewShotExample(tool=spec.name, question=f"{words}: {given}" if given else words, args=args))
    for question in requests:
        if len(found) >= count:
            break
        spans = _NAME.findall(question) or _things(question)
        offered = _Offered(list(dict.fromkeys(reversed(spans))), _NUMBER.findall(question), draw)
        args = {name: offered.value(schema) for name, schema in spec.arguments.items()}
        if not offered.lacking:
            found.append(FewShotExample(tool=spec.name, question=question, args=args))
    return found


def varied(shown: Sequence[FewShotExample], count: int) -> list[FewShotExample]:
    """Return `count` few-shot examples with other values, which replace the old ones in the question too."""
    draw = random.Random(0)
    names, things = _values()
    found = []
    for at in range(count):
        one = shown[at % len(shown)]
        question, args = one.question, dict(one.args)
        for name, value in one.args.items():
            if isinstance(value, str):
                stands = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
                if value and stands.search(question):
                    args[name] = draw.choice(things if value.islower() else names)
                    question = str(args[name]).join(stands.split(question))
            elif isinstance(value, int | float) and not isinstance(value, bool):
                stands = re.compile(rf"(?<![\w.]){re.escape(str(value))}(?![\w]|\.\d)")
                if stands.search(question):
                    args[name] = _read(_some_number(draw, str(value)))
                    question = str(args[name]).join(stands.split(question))
        found.append(FewShotExample(tool=one.tool, question=question, results=one.results, args=args))
    return found


def made_up_results(count: int) -> list[str]:
    """Return so many results as tools may give them: numbers, names and things, alone and together."""
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


class _Offered:
    """Values that a question offers; each is taken once."""

    def __init__(self, spans: list[str], numbers: list[str], draw: random.Random) -> None:
        self._spans, self._numbers, self._draw = spans, numbers, draw
        #: Whether one was wanted that is not there.
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
    """Return names and things of the background's requests."""
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
    """Return a number with about as many digits as another one."""
    whole, _, places = like.lstrip("-").partition(".")
    number = str(draw.randrange(1, 10 ** min(len(whole), 4)))
    return f"{number}.{draw.randrange(1, 10 ** min(len(places), 3))}" if places else number


def _read(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _said(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(map(_said, value))
    if isinstance(value, dict):
        return ", ".join(map(_said, value.values()))
    return str(value)
