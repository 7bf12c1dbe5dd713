"""`CopyingGrammar`: a grammar of arguments whose grounded values are copied from a text."""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from toolken.agents.grammar.copy_limits import CopyLimits
from toolken.agents.grammar.schema_check import is_valid
from toolken.tools.grounding import GROUNDED
from toolken.tools.numerals import Numeral, numerals_in

#: Characters of a copied string whose schema names no bound.
MAX_COPY = 200
#: Items of a copied array whose schema names no bound.
MAX_ITEMS = 16
#: Numbers of a text up to which the grammar counts the uses of each; its size grows as 2 to this power.
MAX_COUNTED = 7
#: Words of a copied string that has to satisfy more than a length, and how many such runs of words are tried.
MAX_RUN, MAX_RUNS = 12, 4000

_LINE_END = re.compile(r"\s*[\t-\r\x1c-\x1f\x85\u2028\u2029]\s*")
_WORD = re.compile(r"\w+(?:[-'.@/:]\w+)*|[^\w\s]")
#: Keywords of a string's schema that a run of words may fail, besides a length.
_DEMANDING = ("pattern", "format", "const")


def has_copied(parameters: dict[str, Any]) -> bool:
    """Tell whether a tool has an argument that is copied."""
    return any(_is_grounded(_schema(argument)) for argument in (parameters.get("properties") or {}).values())


class CopyingGrammar:
    """A Lark grammar of an object with values copied from a text.

    A number may be used as often as the text contains it: without this limit small models copy the first number twice.
    So each rule of the grammar stands for the remaining arguments and the unused numbers. Where the text has nothing
    that the schema admits, the schema alone restricts the value. Numerals that `numerals_in` declines, and the two
    numbers of a fraction, are offered only where the other numbers do not suffice.

    Parameters
    ----------
    parameters
        The schema of the object.
    context
        The text.
    free
        Returns the grammar of a value that only its schema restricts.
    limits
        Limits on the copied numbers. Where the numbers of the text do not suffice for them, there is no grammar.
    """

    def __init__(
        self,
        parameters: dict[str, Any],
        context: str,
        free: Callable[[dict[str, Any]], str],
        limits: CopyLimits | None = None,
    ) -> None:
        required = set(parameters.get("required") or [])
        properties = {name: _schema(one) for name, one in (parameters.get("properties") or {}).items()}
        # Required arguments first, so that the optional ones are decided last.
        self._arguments = sorted(properties.items(), key=lambda item: item[0] not in required)
        self._required = required
        self._definitions: dict[str, Any] = {
            key: parameters[key] for key in ("$defs", "definitions") if key in parameters
        }
        self._free_grammar = free
        # Line ends count as spaces. A copy does not run across any other control character, which no JSON
        # string may hold as it is.
        parts = re.split(r"[\x00-\x1f\x7f]+", _LINE_END.sub(" ", context))
        self._parts = [part.strip() for part in parts if set(part) - {" ", "\\"}]
        numerals = numerals_in(context)
        written = [one.json for one in numerals if one.json is not None]
        found = Counter(written)
        if limits is not None:
            found = _left_over(found, limits.unavailable)
        self._numbers = tuple(found.elements()) if found.total() <= MAX_COUNTED else ()
        self._spare = _spare(numerals) if found.total() <= MAX_COUNTED and limits is None else ()
        self._distinct = tuple(found)
        self._keys = {number: at for at, number in enumerate(dict.fromkeys([*found, *self._spare]))}
        self._total = found.total()
        # Where the limits leave too few numbers, there is no grammar rather than one without them.
        self._strict = limits is not None and bool(written) and found.total() <= MAX_COUNTED
        one_of = limits.one_of if limits is not None else ()
        self._one_of_these = {number for number in self._numbers if _value(number) in one_of}
        self._rules: dict[str, str] = {}
        self._dead: set[str] = set()

    def text(self) -> str | None:
        """Return the grammar; None where the numbers do not suffice for the limits."""
        start = self._rest(0, self._numbers, first=True)
        if start is None:
            return None
        return "\n".join([f'start: "{{" {start}', *(f"{name}: {body}" for name, body in self._rules.items())]) + "\n"

    def _rest(self, index: int, left: tuple[str, ...], *, first: bool) -> str | None:
        """Return the name of the rule for the arguments from `index` on; None where nothing fits."""
        if index == len(self._arguments):
            return '"}"' if self._has_one_of_these(left) else None
        name, argument = self._arguments[index]
        rule = f"rest{index}{'f' if first else 'n'}{self._key(left)}"
        if rule in self._dead:
            return None
        if rule not in self._rules:
            self._rules[rule] = ""  # reserves the rule's position
            key = json.dumps(("" if first else ", ") + json.dumps(name, ensure_ascii=False) + ": ")
            choices = [f"{key} {value}" for value in self._values(index, str(index), argument, left)]
            if name not in self._required and (passed := self._rest(index + 1, left, first=first)) is not None:
                choices.append(passed)
            self._rules[rule] = " | ".join(choices)
        return self._known(rule)

    def _has_one_of_these(self, left: tuple[str, ...]) -> bool:
        """Tell whether one of the numbers that must occur has been written; True where none must occur."""
        these = self._one_of_these
        return not these or _count(left, these) < _count(self._numbers, these)

    def _known(self, rule: str) -> str | None:
        """Return a rule's name; None, and no such rule, where it has no choices."""
        if not self._rules[rule]:
            self._dead.add(rule)
            del self._rules[rule]
        return None if rule in self._dead else rule

    def _values(self, index: int, path: str, argument: dict[str, Any], left: tuple[str, ...]) -> list[str]:
        """Return the ways to write an argument's value and what comes after it.

        `path` names the value in rules: the argument's index, and the branches of its alternatives.
        """
        after = self._rest(index + 1, left, first=False)
        if not _is_grounded(argument):
            return [f"{self._free(path, argument)} {after}"] if after else []
        branches = [_schema(one) for one in argument.get("anyOf") or argument.get("oneOf") or []]
        if argument.get(GROUNDED) and any("array" in _kinds(one) for one in branches):
            # The keywords beside the branches apply to each branch; an array's items may be among them.
            beside = {key: value for key, value in argument.items() if key not in ("anyOf", "oneOf")}
            branches = [beside | one for one in branches]
            argument = {}
        if branches and not argument.get(GROUNDED):
            return [v for at, one in enumerate(branches) for v in self._values(index, f"{path}b{at}", one, left)]
        if "array" in _kinds(argument):
            item, least = _schema(argument.get("items")), max(int(argument.get("minItems", 1)), 1)
            most = max(int(argument.get("maxItems", MAX_ITEMS)), least)
            usable = [n for n in left if self._fits(n, item)] if _is_number(item) else []
            if _is_number(item) and len(usable) < least:
                spare = [n for n in self._spare if n not in left and self._fits(n, item)]
                if len(usable) + len(spare) >= least:
                    left = (*left, *spare)[: max(MAX_COUNTED, len(left))]
                    usable = [n for n in left if self._fits(n, item)]
            if len(usable) >= least:
                items = self._items(index, path, item, left, 0, least, most)
                return [f'"[" {items}'] if items else []
            if not after or (self._strict and _is_number(item)):
                return []
            copied = self._copied(path, item)
            if copied is None:
                return [f"{self._free(path, argument)} {after}"]
            if _is_number(item):  # no more items than the text has numbers: a small model repeats one to the limit
                most = min(most, max(least, self._total))
            return [f'"[" {copied} (", " {copied}){{{least - 1},{most - 1}}} "]" {after}']
        usable = [n for n in dict.fromkeys(left) if self._fits(n, argument)] if _is_number(argument) else []
        if _is_number(argument) and not usable:
            usable = [n for n in self._spare if self._fits(n, argument)]
            left = (*left, *(n for n in usable if n not in left))
        if usable:
            rests = [(n, self._rest(index + 1, _without(left, n), first=False)) for n in usable]
            return [f"{json.dumps(n)} {rest}" for n, rest in rests if rest]
        if not after or (self._strict and _is_number(argument)):
            return []
        return [f"{self._copied(path, argument) or self._free(path, argument)} {after}"]

    def _items(
        self, index: int, path: str, item: dict[str, Any], left: tuple[str, ...], count: int, least: int, most: int
    ) -> str | None:
        """Return the name of the rule for the rest of an array of copied numbers, of which `count` are written."""
        rule = f"items{path}c{count}{self._key(left)}"
        if rule in self._dead:
            return None
        if rule not in self._rules:
            self._rules[rule] = ""
            choices = []
            if count < most:
                for number in dict.fromkeys(left):
                    if self._fits(number, item):
                        rest = self._items(index, path, item, _without(left, number), count + 1, least, most)
                        choices += [f"{json.dumps((', ' if count else '') + number)} {rest}"] if rest else []
            if count >= least and (after := self._rest(index + 1, left, first=False)):
                choices.append(f'"]" {after}')
            self._rules[rule] = " | ".join(choices)
        return self._known(rule)

    def _copied(self, path: str, argument: dict[str, Any]) -> str | None:
        """Return the name of the rule for one value copied from the text, or None where the text has none."""
        if _is_number(argument):
            return self._one_of(f"COPY{path.upper()}", [n for n in self._distinct if self._fits(n, argument)])
        if "enum" in argument:
            text = " ".join(self._parts).casefold()
            named = [one for one in argument["enum"] if isinstance(one, str) and one.casefold() in text]
            return self._one_of(f"COPY{path.upper()}", [json.dumps(one, ensure_ascii=False) for one in named])
        if int(argument.get("minLength", 0)) > 1 or any(key in argument for key in _DEMANDING):
            runs = dict.fromkeys(run for run in self._runs() if self._is_valid(run, argument))
            return self._one_of(f"COPY{path.upper()}", [json.dumps(run, ensure_ascii=False) for run in runs])
        most = int(argument.get("maxLength", MAX_COPY))
        if not any(len(word) <= most and set(word) - {"\\"} for part in self._parts for word in part.split()):
            return None
        # The quotes and backslashes of a JSON string are escaped in the source, so that a substring stays valid JSON;
        # a copy neither begins nor ends in the middle of such an escape.
        first, rest = r'(\\"|[^\s"\\])', rf"(.{{0,{max(most - 2, 0)}}}[^\s\\])?" if most > 1 else ""
        copies = []
        for number, part in enumerate(self._parts):
            source = json.dumps(json.dumps(part, ensure_ascii=False)[1:-1], ensure_ascii=False)
            self._rules[f"WORDS{path.upper()}P{number}"] = f'%regex {{ "substring_words": {source} }} & /{first}{rest}/'
            copies.append(f"WORDS{path.upper()}P{number}")
        self._rules[f"copy{path}"] = f'"\\"" ({" | ".join(copies)}) "\\""'
        return f"copy{path}"

    def _one_of(self, rule: str, values: list[str]) -> str | None:
        """Return the name of the rule for one of some JSON values, or None where there is none."""
        if not values:
            return None
        self._rules[rule] = " | ".join(json.dumps(value, ensure_ascii=False) for value in values)
        return rule

    def _runs(self) -> Iterator[str]:
        """Yield runs of words of the text, the latest ones first."""
        tried = 0
        for part in reversed(self._parts):
            spans = [match.span() for match in _WORD.finditer(part)]
            for last in reversed(range(len(spans))):
                for first in range(last, max(last - MAX_RUN, -1), -1):
                    tried += 1
                    if tried > MAX_RUNS:
                        return
                    yield part[spans[first][0] : spans[last][1]]

    def _free(self, path: str, argument: dict[str, Any]) -> str:
        """Return the name of the rule for a value that only the schema restricts."""
        rule = f"free{path}"
        self._rules[rule] = self._free_grammar(argument)
        return rule

    def _fits(self, number: str, argument: dict[str, Any]) -> bool:
        """Tell whether a number, a JSON value, is one that the argument takes."""
        kinds = _kinds(argument)
        if number.startswith('"'):
            return "string" in kinds and self._is_valid(json.loads(number), argument)
        whole = "number" in kinds or re.fullmatch(r"-?\d+", number) is not None
        return whole and self._is_valid(json.loads(number), argument)

    def _is_valid(self, value: Any, argument: dict[str, Any]) -> bool:
        return is_valid({**argument, **self._definitions}, value)

    def _key(self, left: tuple[str, ...]) -> str:
        return "".join(f"x{self._keys[number]}" for number in left)


def _spare(numerals: Sequence[Numeral]) -> tuple[str, ...]:
    """Return JSON values for arguments to which the numbers of a text do not suffice.

    These are the texts of declined numerals, which a tool refuses in a sentence, where a number written freely or
    copied twice would be a wrong result; and the two numbers of a fraction: 3/4 may be meant as a division.
    """
    spare: dict[str, None] = {}
    for numeral in numerals:
        if numeral.json is None:
            spare[json.dumps(numeral.text, ensure_ascii=False)] = None
        elif re.fullmatch("[1-9][0-9]*/[1-9][0-9]*", numeral.text):
            spare.update(dict.fromkeys(numeral.text.split("/")))
    return tuple(spare)[:MAX_COUNTED]


def _value(number: str) -> float | None:
    """Return a JSON number as a float; None for a JSON string."""
    return None if number.startswith('"') else float(number)


def _count(numbers: Sequence[str], which: Collection[str]) -> int:
    return sum(number in which for number in numbers)


def _left_over(found: Counter[str], unavailable: Sequence[float]) -> Counter[str]:
    """Return how often each number may still be copied when some are unavailable."""
    left = found.copy()
    for value in unavailable:
        same = next((number for number in left if _value(number) == value and left[number]), None)
        if same is not None:
            left[same] -= 1
    return +left


def _schema(schema: Any) -> dict[str, Any]:
    """Return a JSON schema as a dict; `true` and a missing one allow everything."""
    return schema if isinstance(schema, dict) else {}


def _without(left: tuple[str, ...], number: str) -> tuple[str, ...]:
    at = left.index(number)
    return left[:at] + left[at + 1 :]


def _is_grounded(argument: dict[str, Any]) -> bool:
    if not _kinds(argument) & {"string", "number", "integer", "array"}:
        return False
    branches = argument.get("anyOf", []) + argument.get("oneOf", [])
    return bool(
        argument.get(GROUNDED)
        or _schema(argument.get("items")).get(GROUNDED)
        or any(_is_grounded(_schema(one)) for one in branches)
    )


def _kinds(argument: dict[str, Any]) -> set[str]:
    kinds = argument.get("type", [])
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    for part in argument.get("anyOf", []) + argument.get("oneOf", []):
        found |= _kinds(_schema(part))
    return found


def _is_number(argument: dict[str, Any]) -> bool:
    return bool(_kinds(argument) & {"integer", "number"})
