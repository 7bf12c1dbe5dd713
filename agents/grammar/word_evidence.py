"""`WordEvidence`: evidence for arguments by rules on the words of the request."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolken.agents.grammar.argument_evidence import EvidencedArguments, RefusedValue, ValueSource
from toolken.agents.grammar.function_words import FUNCTION_WORDS
from toolken.agents.grammar.schema_check import is_valid
from toolken.agents.grammar.text_values import Span, TextValues, stem, stems
from toolken.agents.grammar.value_cues import (
    APPENDED,
    BARE_HOUR,
    DATE_STEMS,
    DATED,
    FILLERS,
    FORMS,
    NEGATIONS,
    NUMBERS,
    PROSE,
    RELATIVE,
    TITLED,
    contains,
    cue_of,
    demand,
    is_numeric,
    is_unit_of,
    joined_moments,
    kind_of,
    limit_cue,
    limit_of,
    moment_forms,
    prepositions,
    role_of,
)
from toolken.tools.grounding import GROUNDED
from toolken.tools.moments import impossible_dates_in
from toolken.training.examples import FewShotExample
from toolken.training.tool_spec import ToolSpec

#: Characters of the conversation that are searched; of a longer one, the latest.
MAX_TEXT = 4000
#: Objects inside objects whose arguments are searched for.
MAX_DEPTH = 3

_DEMANDS = ("pattern", "format", "const")


@dataclass
class _Finding:
    """What one argument gets: its schema (None: it stays out), and what is wrong or missing inside it.

    A strong finding rests on a value in the text; of a certain one, the argument must be in the call.
    """

    schema: dict[str, Any] | None
    strong: bool = False
    certain: bool = False
    missing: list[tuple[str, ...]] = field(default_factory=list)
    refused: list[RefusedValue] = field(default_factory=list)


class WordEvidence:
    """Evidence by rules: values that stand in the request, and words of names, descriptions and enumerations.

    - A number speaks for a number, a date for a date, a word of the right form for a pattern.
    - A word that is neither a function word nor one of the tool's own names speaks for a string.
    - The words of a value speak for it in an enumeration, and the argument's own words for a choice among all values.

    Values for required arguments may come from the whole conversation, those for optional ones from the request.
    """

    def of(
        self,
        spec: ToolSpec,
        source: ValueSource,
        shown: Sequence[FewShotExample] = (),
        written: Mapping[str, Any] | None = None,
    ) -> EvidencedArguments:
        """Return what the conversation says about the arguments that are not written yet; see `ArgumentEvidence`."""
        return _Reader(spec, source, shown).read(written or {})


class _Reader:
    """Reads one conversation for one tool."""

    def __init__(self, spec: ToolSpec, source: ValueSource, shown: Sequence[FewShotExample]) -> None:
        self._spec = spec
        self._root = spec.parameters
        self._request = TextValues(source.request[-MAX_TEXT:])
        self._context = TextValues(source.context[-MAX_TEXT:])
        self._shown = [one for one in shown if one.tool == spec.name]
        self._own = frozenset(stems(spec.name)) | frozenset(
            stem(word) for word in re.findall(r"[a-z']+", spec.description.lower()) if len(word) > 3
        )
        self._claimed: dict[int, list[Span]] = {}
        self._silent = frozenset(
            one
            for name, schema in spec.arguments.items()
            for one in [*stems(name), *(s for value in schema.get("enum") or () for s in stems(str(value)))]
        )
        self._used: dict[int, list[Span]] = {id(self._request): [], id(self._context): []}

    def read(self, written: Mapping[str, Any]) -> EvidencedArguments:
        properties = self._spec.arguments
        required = [name for name in self._root.get("required") or [] if name in properties]
        order = sorted(properties, key=lambda name: name not in required)
        for value in written.values():
            self._use(value)
        kept: dict[str, Any] = {}
        certain: list[str] = []
        missing: list[tuple[str, ...]] = []
        refused: list[RefusedValue] = []
        for name in order:
            if name in written:
                kept[name] = {"enum": [written[name]]}
                continue
            if list(written) and order.index(name) < order.index(list(written)[-1]):
                continue  # omitted before
            found = self._argument((name,), properties[name], name in required)
            if found.schema is not None:
                kept[name] = found.schema
                certain += [name] if found.certain else []
            missing += found.missing
            refused += found.refused
        missing += [(name,) for name in self._short_of_numbers([one for one in required if one not in written], kept)]
        # If the LM writes them all the same, the schema alone restricts them.
        gone = {path[0] for path in missing} | {one.path[0] for one in refused}
        left = {name: properties[name] if name in gone and name in required else one for name, one in kept.items()}
        left |= {name: properties[name] for name in required if name in gone}
        parameters = self._root | {
            "properties": {name: left[name] for name in order if name in left},
            "required": [name for name in order if name in left and name in {*required, *certain}],
        }
        return EvidencedArguments(parameters, tuple(missing), tuple(refused))

    def _short_of_numbers(self, required: Sequence[str], kept: Mapping[str, Any]) -> list[str]:
        """Return the required arguments that share too few numbers, those without a word beside a number."""
        takers = [name for name in required if name in kept and kept[name].get(NUMBERS)]
        schemas = {name: self._resolved(self._spec.arguments[name]) for name in takers}
        available = [
            number
            for text in self._texts(True)[:1]
            for number in self._free(text, text.numbers)
            if any(self._is_valid(number.value, schemas[name], schemas[name]) for name in takers)
        ]
        if len(takers) <= len(available) or len(takers) < 2:
            return []
        named = [name for name in takers if any(self._beside(self._request, n, (name,), {}) for n in available)]
        return [name for name in takers if name not in named]

    # -- what the conversation has ---------------------------------------------------------------------------------

    def _use(self, value: Any) -> None:
        """Mark the first free span of a value as used."""
        for one in value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]:
            if isinstance(one, list | dict):
                self._use(one)
            elif not isinstance(one, bool) and one is not None:
                for text in (self._request, self._context):
                    span = next((span for span in self._spans_of(text, one) if self._is_free(text, span)), None)
                    if span is not None:
                        self._used[id(text)].append(span)

    @staticmethod
    def _spans_of(text: TextValues, value: Any) -> Iterator[Span]:
        if isinstance(value, int | float):
            yield from (one for one in text.numbers if one.value == value)
            return
        written = str(value)
        pattern = rf"(?<!\w){re.escape(written)}(?!\w)"
        for match in re.finditer(pattern, text.text, re.IGNORECASE) if written else ():
            yield Span(match.start(), match.end(), value)
        yield from (one for one in text.moments if str(one.value) in written)
        words = written.replace("_", " ").replace("-", " ")
        if words != written:
            for match in re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", text.text, re.IGNORECASE):
                yield Span(match.start(), match.end(), value)

    def _is_free(self, text: TextValues, span: Span) -> bool:
        return not any(span.overlaps(one) for one in self._used[id(text)])

    def _free(self, text: TextValues, spans: Sequence[Span]) -> list[Span]:
        return [one for one in spans if self._is_free(text, one)]

    def _texts(self, required: bool) -> list[TextValues]:
        if not required or self._context.text == self._request.text:
            return [self._request]
        return [self._request, self._context]

    # -- one argument ----------------------------------------------------------------------------------------------

    def _argument(self, path: tuple[str, ...], given: Any, required: bool) -> _Finding:
        schema = self._resolved(given)
        if (found := self._habit(path, given, schema, required)) is not None:
            return found
        kind = kind_of(schema)
        if "const" in schema:
            return _Finding(given) if required else _Finding(given if self._named(path, schema) else None)
        if "enum" in schema:
            return self._enumeration(path, given, schema, required)
        match kind:
            case "string":
                coded = any(key in schema for key in _DEMANDS)
                return (self._code if coded else self._string)(path, given, schema, required)
            case "integer" | "number":
                return self._number(path, given, schema, required)
            case "boolean":
                return self._boolean(path, given, schema, required)
            case "array":
                return self._array(path, given, schema, required)
            case "object" if schema.get("properties") and len(path) <= MAX_DEPTH:
                return self._object(path, schema, required)
        if required:
            return _Finding(given)
        return _Finding(given if self._named(path, schema) else None)

    def _habit(self, path: tuple[str, ...], given: Any, schema: dict[str, Any], required: bool) -> _Finding | None:
        """Return the finding for an argument that is marked, or that few-shot examples show not to be copied."""
        marked = given.get(GROUNDED, schema.get(GROUNDED)) if isinstance(given, dict) else None
        items = self._resolved(schema.get("items")).get(GROUNDED) if kind_of(schema) == "array" else None
        if marked is False:
            return _Finding(given)
        if marked or items:
            numeric = kind_of(self._resolved(schema.get("items")) if kind_of(schema) == "array" else schema)
            if required and not self._has_any(numeric in ("integer", "number")):
                return _Finding(None, missing=[path])
            if required or self._has_any(numeric in ("integer", "number"), request=True):
                return _Finding(given)
            return _Finding(None)
        if len(path) > 1 or not self._shown:
            return None
        values = [
            (one.args[path[0]], "\n".join((one.question, *one.results))) for one in self._shown if path[0] in one.args
        ]
        if values and not all(self._is_copied(value, text) for value, text in values):
            return _Finding(given)
        return None

    def _has_any(self, numeric: bool, *, request: bool = False) -> bool:
        """Tell whether the text has any number, or any word that may be a value."""
        for text in [self._request] if request else self._texts(True):
            if any(character.isdigit() for character in text.text) or (numeric and text.numbers):
                return True
            if not numeric and any(word.value and word.value not in FUNCTION_WORDS for word in text.words):
                return True
        return False

    def _is_copied(self, value: Any, text: str) -> bool:
        if isinstance(value, list):
            return all(self._is_copied(one, text) for one in value)
        if isinstance(value, dict):
            return all(self._is_copied(one, text) for one in value.values())
        if isinstance(value, bool) or value is None:
            return False
        if isinstance(value, int | float):
            return any(one.value == value for one in TextValues(text).numbers)
        return str(value) in text

    def _number(self, path: tuple[str, ...], given: Any, schema: dict[str, Any], required: bool) -> _Finding:
        wrong: list[Span] = []
        for text in self._texts(required):
            free = [one for one in self._free(text, text.numbers) if not self._belongs_elsewhere(text, one, path)]
            if not required or len(free) > 1:  # "one" is a pronoun more often than a number
                free = [
                    one
                    for one in free
                    if text.text[one.start : one.end].lower() != "one" or self._beside(text, one, path, schema)
                ]
            near = [one for one in free if self._beside(text, one, path, schema)]
            bound = limit_of(path[-1])
            if bound and not near and not required:
                cues = [limit_cue(text.text, one) for one in free]
                free = [one for one, cue in zip(free, cues, strict=True) if cue in (bound, None)]
                near = [one for one in free if limit_cue(text.text, one) == bound]
            fitting = [one for one in near or free if self._is_valid(one.value, schema, given)]
            if fitting:
                values = list(dict.fromkeys(one.value for one in fitting))
                return _Finding(
                    {"enum": values, NUMBERS: True}, strong=True, certain=bool(near) or self._is_only_number(path)
                )
            others = [self._resolved(one) for name, one in self._spec.arguments.items() if name != path[0]]
            odd = [one for one in free if not any(is_numeric(o) and self._is_valid(one.value, o, o) for o in others)]
            wrong = wrong or near or (odd if required or self._named(path, schema) else [])
        if wrong and (required or self._named(path, schema)):
            return _Finding(None, refused=[RefusedValue(path, f"{wrong[-1].value:g}", demand(schema))])
        return _Finding(None, missing=[path] if required else [])

    def _is_only_number(self, path: tuple[str, ...]) -> bool:
        return self._numeric_names() == [path[0]] and len(path) == 1

    def _belongs_elsewhere(self, text: TextValues, number: Span, path: tuple[str, ...]) -> bool:
        """Tell whether the word after a number names another argument, or the number is part of a code."""
        after = self._after(text, number)
        mine = set(stems(path[-1]))
        if not after or after in mine:
            return False
        return any(
            after in stems(name) for name, one in self._spec.arguments.items() if name != path[0] and is_numeric(one)
        )

    def _after(self, text: TextValues, number: Span) -> str:
        following = re.match(r"[\s-]*([^\W\d_]+)", text.text[number.end : number.end + 40])
        return stem(following[1]) if following else ""

    def _beside(self, text: TextValues, number: Span, path: tuple[str, ...], schema: dict[str, Any]) -> bool:
        """Tell whether the words next to a number name the argument."""
        mine = set(stems(path[-1]))
        before = re.search(r"([^\W\d_]+)(?:\s+(?:is|of|to|at|for|=|:))?[\s:=#]*\Z", text.text[: number.start])
        return self._after(text, number) in mine or bool(before and stem(before[1]) in mine)

    def _string(self, path: tuple[str, ...], given: Any, schema: dict[str, Any], required: bool) -> _Finding:
        prose = PROSE.search(path[-1].lower()) is not None
        titled = TITLED.search(path[-1].lower()) is not None
        ignored = self._own | set(stems(path[-1])) | self._silent
        for text in self._texts(required):
            taken = [*self._taken(text, path), *([] if prose else text.moments)]
            spans = [
                one
                for one in self._free(text, text.strings(ignored, prose=prose, joints=titled))
                if self._is_valid(one.value, schema, given) and (prose or not any(one.overlaps(t) for t in taken))
            ]
            if DATED.search(path[-1].lower()):
                spans = self._dated(text, schema) or spans
            introduced = [one for one in spans if self._introduced(text, one, path)]
            spans = self._left_by_others(text, introduced or spans, spans, path)
            if spans and (required or introduced or self._speaks(text, spans, prose=prose)):
                values = list(dict.fromkeys(one.value for one in spans))
                return _Finding({"type": "string", "enum": values}, strong=bool(introduced))
        return _Finding(None, missing=[path] if required else [])

    def _left_by_others(
        self, text: TextValues, chosen: list[Span], spans: list[Span], path: tuple[str, ...]
    ) -> list[Span]:
        """Return the chosen spans without those that other text arguments introduce; all if none is left."""
        others = [
            name
            for name, given in self._spec.arguments.items()
            if name != path[-1] and len(path) == 1 and kind_of(self._resolved(given)) == "string"
        ]
        theirs = [
            one
            for one in spans
            if any(self._introduced(text, one, (name,)) for name in others) and not self._introduced(text, one, path)
        ]
        return [one for one in chosen if not any(one.overlaps(span) for span in theirs)] or chosen

    def _dated(self, text: TextValues, schema: Mapping[str, Any]) -> list[Span]:
        """Return the dates and times of a text as it writes them, or in ISO 8601 where the description demands that."""
        iso = "yyyy-mm-dd" in str(schema.get("description", "")).lower()
        found = [Span(one.start, one.end, one.value if iso else text.text[one.start : one.end]) for one in text.moments]
        if not found and not iso:
            found = [Span(match.start(), match.end(), match[0].strip()) for match in RELATIVE.finditer(text.text)]
        return [one for one in self._free(text, found) if self._is_valid(one.value, schema, schema)]

    def _taken(self, text: TextValues, path: tuple[str, ...]) -> list[Span]:
        """Return the spans that other arguments of the tool claim by their form: numbers, dates, codes."""
        key = id(text)
        if key not in self._claimed:
            found: list[Span] = []
            schemas = [self._resolved(one) for one in self._spec.arguments.values()]
            inner = [self._resolved(s) for one in schemas for s in (one.get("properties") or {}).values()]
            if any(kind_of(one) == "string" and any(key in one for key in _DEMANDS) for one in [*schemas, *inner]):
                found += text.moments
            for one in [*schemas, *inner]:
                if kind_of(one) == "string" and ("pattern" in one or one.get("format") == "email"):
                    found += text.codes(lambda run, schema=one: self._is_valid(run, schema, schema))  # type: ignore[misc]
            self._claimed[key] = found
        bare = [one for one in text.numbers if self._numeric_names() or path[-1].lower() not in text.text.lower()]
        return [*self._claimed[key], *bare] if self._numeric_names() else self._claimed[key]

    def _introduced(self, text: TextValues, span: Span, path: tuple[str, ...]) -> bool:
        """Tell whether the words before a span introduce the argument: its name, or a preposition of its kind."""
        names = list(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", path[-1]).lower()))
        if (unit := is_unit_of(names, text.text, span)) is not None:
            return unit
        before = re.findall(r"[^\W_]+|[:=]", text.text[max(span.start - 30, 0) : span.start].lower().replace("_", " "))
        while before and (
            before[-1] in ("the", "my", "our", "a", "an", "is", "called", "named", "titled", "saying", "that")
            or not before[-1].isalnum()
        ):
            before.pop()
        if not before:
            return False
        return stem(before[-1]) in {stem(one) for one in names} or before[-1] in prepositions(names)

    @staticmethod
    def _speaks(text: TextValues, spans: Sequence[Span], *, prose: bool) -> bool:
        """Tell whether some free words may belong to an optional string: a quotation, a name, or several words."""
        quoted = {(one.start, one.end) for one in text.quoted}
        for one in spans:
            inside = one.start > 0 and not re.search(r"[.!?:]\s*\Z", text.text[: one.start])
            if (one.start, one.end) in quoted or (inside and not prose and one.value[:1].isupper()):
                return True
            if prose and one.value.count(" ") > 1 and APPENDED.search(text.text[: one.start]):
                return True
        return False

    def _code(self, path: tuple[str, ...], given: Any, schema: dict[str, Any], required: bool) -> _Finding:
        """Return the finding for a string with a pattern or format."""
        for text in self._texts(required):
            found = self._moments(text, schema)
            is_moment = bool(found)
            found = self._in_role(text, found, path) or self._free(
                text, [] if found else text.codes(lambda run: self._is_valid(run, schema, given))
            )
            if found:
                values = list(dict.fromkeys(one.value for one in sorted(found, key=lambda one: one.start)))
                certain = not is_moment or len(found) >= self._takers(found[0].value) or self._cued(text, found, path)
                return _Finding({"type": "string", "enum": values}, strong=True, certain=certain)
        if schema.get("format") in ("date", "date-time") and (wrong := impossible_dates_in(self._request.text)):
            return _Finding(None, refused=[RefusedValue(path, wrong[0], "a date of the calendar")])
        if self._may_be_meant(schema, required):
            if not required:
                return _Finding(given if self._named(path, schema) else None)
            return _Finding(given)
        if required and (odd := self._odd_code(schema)) is not None:
            return _Finding(None, refused=[RefusedValue(path, odd, demand(schema))])
        return _Finding(None, missing=[path] if required else [])

    def _moments(self, text: TextValues, schema: dict[str, Any]) -> list[Span]:
        """Return the free dates or times that a schema admits, in the form that it demands."""
        found: dict[int, Span] = {}
        for one in joined_moments(text.moments):
            for value in moment_forms(str(one.value)):
                if self._is_valid(value, schema, schema) and self._is_free(text, one):
                    found.setdefault(one.start, Span(one.start, one.end, value))
        if not found:
            hours = [
                Span(match.start(), match.end(), f"{int(match[1] or match[3]):02d}:{match[4] or '00'}")
                for match in BARE_HOUR.finditer(text.text)
            ]
            for one in hours:
                hour = next((v for v in moment_forms(one.value) if self._is_valid(v, schema, schema)), None)
                dated = any(one.overlaps(moment) for moment in text.moments)
                if hour is not None and not dated and self._is_free(text, one):
                    found[one.start] = Span(one.start, one.end, hour)
        return list(found.values())

    def _takers(self, value: str) -> int:
        """Return how many arguments may take a value of this form."""
        schemas = [self._resolved(one) for one in self._spec.arguments.values()]
        return sum(
            kind_of(one) == "string" and any(key in one for key in _DEMANDS) and self._is_valid(value, one, one)
            for one in schemas
        )

    def _in_role(self, text: TextValues, found: list[Span], path: tuple[str, ...]) -> list[Span]:
        """Return the spans whose prepositions do not speak against the argument: "until" against a start."""
        role = role_of(path[-1])
        if role is None:
            return found
        roles = [cue_of(text.text, one) for one in found]
        mine = [one for one, cue in zip(found, roles, strict=True) if cue == role]
        if mine:
            return mine
        free = [one for one, cue in zip(found, roles, strict=True) if cue is None]
        if role == "start" or not found or self._takers(found[0].value) < 2:
            return free
        return free if len(found) > 1 or self._used[id(text)] else []

    def _cued(self, text: TextValues, found: list[Span], path: tuple[str, ...]) -> bool:
        role = role_of(path[-1])
        return role is not None and any(cue_of(text.text, one) == role for one in found)

    def _may_be_meant(self, schema: dict[str, Any], required: bool) -> bool:
        """Tell whether the LM may derive a date, a time or a code without digits from the request's words."""
        form, words = schema.get("format", ""), [stem(word.value) for word in self._request.words]
        if form in ("date", "time", "date-time", "duration") or "\\d{2}:\\d{2}" in schema.get("pattern", ""):
            slashed = re.search(r"\d/\d{1,2}/\d|\d\.\d{1,2}\.\d", self._request.text) is not None
            return slashed or any(word in DATE_STEMS for word in words)
        if form in ("email", "idn-email", "ipv4", "ipv6", "uuid", "uri", "iri"):
            return False
        pattern = schema.get("pattern", "")
        if re.search(r"\\d|\[0-9|0-9\]", pattern):
            return False
        return any(self._request.says_something(word, self._own) for word in self._request.words)

    def _odd_code(self, schema: dict[str, Any]) -> str | None:
        """Return a word that seems to be meant as a code, and is none."""
        marks = {"email": "@", "uri": "."}.get(schema.get("format", ""), "")
        texts = self._request.text
        if marks:
            return next((word for word in texts.split() if marks in word.strip(".?!,")), None)
        others = [self._resolved(one) for one in self._spec.arguments.values()]
        found = [
            str(one.value)
            for one in self._request.code_like()
            if self._is_free(self._request, one)
            and not any(
                kind_of(other) == "string"
                and any(key in other for key in _DEMANDS)
                and self._is_valid(one.value, other, other)
                for other in others
            )
        ]
        if ":" in schema.get("pattern", "") and "\\d{2}:" in schema["pattern"]:
            found = [one for one in found if ":" in one]
        elif schema.get("format") in ("date", "date-time"):
            return None
        elif re.search(r"[A-Z]", re.sub(r"\\[A-Z]", "", schema.get("pattern", ""))):
            lettered = [one for one in found if re.search(r"[^\W\d]", one)]
            found = lettered or [one for one in found if len(self._numeric_names()) == 0]
        return found[-1] if found else None

    def _numeric_names(self) -> list[str]:
        return [name for name, one in self._spec.arguments.items() if is_numeric(self._resolved(one))]

    def _enumeration(self, path: tuple[str, ...], given: Any, schema: dict[str, Any], required: bool) -> _Finding:
        values = [one for one in schema["enum"] if one is not None]
        for text in self._texts(required):
            named = [one for one in values if self._says(text, one)]
            longest = [one for one in named if not any(one != other and contains(other, one) for other in named)]
            if len(longest) > 1:
                longest = [one for one in longest if self._names_unit(text, one, path)] or longest
            if longest:
                return _Finding({"enum": longest}, strong=True, certain=True)
        if required:
            return _Finding(given)
        return _Finding(given if self._named(path, schema) else None)

    def _names_unit(self, text: TextValues, value: Any, path: tuple[str, ...]) -> bool:
        """Tell whether a value of an enumeration stands where the unit that an argument names stands."""
        return any(self._introduced(text, span, path) for span in self._spans_of(text, value))

    def _says(self, text: TextValues, value: Any) -> bool:
        """Tell whether a text has the words of a value of an enumeration, not used yet."""
        if isinstance(value, bool):
            return False
        if isinstance(value, int | float):
            return any(one.value == value for one in self._free(text, text.numbers))
        written = str(value)
        if len(written) < 3:
            return re.search(rf"(?<![\w'’]){re.escape(written)}(?!\w)", text.text) is not None
        wanted = stems(written)
        heard = [one for word in text.words for one in stems(text.text[word.start : word.end])]
        joined = " ".join(heard)
        return bool(wanted) and (f" {' '.join(wanted)} " in f" {joined} " or "".join(wanted) in heard)

    def _boolean(self, path: tuple[str, ...], given: Any, schema: dict[str, Any], required: bool) -> _Finding:
        names = set(stems(path[-1])) - FILLERS
        words = self._request.words
        for at, word in enumerate(words):
            if stem(word.value) in names:
                before = {one.value for one in words[max(at - 3, 0) : at]}
                return _Finding({"enum": [not before & NEGATIONS]}, strong=True, certain=True)
        if required:
            return _Finding(given)
        return _Finding(None)

    def _array(self, path: tuple[str, ...], given: Any, schema: dict[str, Any], required: bool) -> _Finding:
        item = self._resolved(schema.get("items"))
        least = max(int(schema.get("minItems") or 0), 1)
        if not item or ("enum" not in item and kind_of(item) in ("object", "array", "boolean", "")):
            return _Finding(given if required or self._named(path, schema) else None)
        for text in self._texts(required):
            if "enum" in item:
                found = [one for one in item["enum"] if self._says(text, one)]
                found.sort(key=lambda one: text.text.lower().find(str(one).lower()))
            elif kind_of(item) in ("integer", "number"):
                lists = self._number_lists(text, item, least, path)
                if len(lists) > 1:
                    return _Finding({"enum": lists}, strong=True, certain=True)
                found = lists[0] if lists else []
            elif any(key in item for key in _DEMANDS):
                spans = self._moments(text, item) or self._free(
                    text, text.codes(lambda run: self._is_valid(run, item, item))
                )
                found = [one.value for one in sorted(spans, key=lambda one: one.start)]
            else:
                return self._strings(path, given, schema, required)
            most = schema.get("maxItems")
            if found and isinstance(most, int) and len(found) > most:
                reason = f"at most {most} items" if most > 1 else "a single item"
                return _Finding(None, refused=[RefusedValue(path, f"{len(found)}", reason)])
            if len(found) >= least:
                return _Finding({"enum": [found]}, strong=True, certain=True)
        if required and "enum" in item:
            return _Finding(given)
        return _Finding(None, missing=[path] if required else [])

    def _number_lists(
        self, text: TextValues, item: dict[str, Any], least: int, path: tuple[str, ...]
    ) -> list[list[int | float]]:
        """Return the lists of free numbers that an array may have; one of all numbers where the text has none."""
        groups = [
            [one.value for one in group if self._is_valid(one.value, item, item)]
            for group in text.number_lists
            if all(self._is_free(text, one) for one in group)
        ]
        lists = [one for one in groups if len(one) >= max(least, 2)]
        if lists:
            return lists
        single = [value for group in groups for value in group]
        return [single] if len(single) >= least and single else []

    def _strings(self, path: tuple[str, ...], given: Any, schema: dict[str, Any], required: bool) -> _Finding:
        """Return the finding for a list of free strings."""
        item = self._string((*path, path[-1]), schema.get("items"), self._resolved(schema.get("items")), required)
        if item.schema is None:
            return _Finding(None, missing=[path] if required else [])
        if not required and not self._named(path, schema):
            return _Finding(None)
        # Every joint adds an item at most.
        joints = len(re.findall(r",|\band\b|\bor\b|&|\+|;", self._request.text))
        most = min(int(schema.get("maxItems") or 16), 1 + joints)
        least = int(schema.get("minItems") or 1)
        return _Finding(
            {"type": "array", "items": item.schema, "minItems": max(least, 1), "maxItems": max(most, least, 1)},
            strong=item.strong,
        )

    def _object(self, path: tuple[str, ...], schema: dict[str, Any], required: bool) -> _Finding:
        inner_required = [name for name in schema.get("required") or [] if name in schema["properties"]]
        kept: dict[str, Any] = {}
        certain: list[str] = []
        result = _Finding(None)
        for name in sorted(schema["properties"], key=lambda one: one not in inner_required):
            found = self._argument((*path, name), schema["properties"][name], name in inner_required)
            if found.schema is not None and (found.strong or name in inner_required):
                kept[name] = found.schema
                certain += [name] if found.certain else []
            result.missing += found.missing
            result.refused += found.refused
            result.strong = result.strong or found.strong
            result.certain = result.certain or found.certain
        if not required and not result.strong:
            return _Finding(None)
        if result.missing and not required and not result.strong:
            return _Finding(None)
        if not result.missing and not result.refused and (kept or required):
            result.schema = {
                "type": "object",
                "properties": kept,
                "required": [name for name in kept if name in inner_required or name in certain],
                "additionalProperties": False,
            }
        return result

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _named(self, path: tuple[str, ...], schema: Mapping[str, Any]) -> bool:
        """Tell whether the request has a word of the argument's name."""
        names = set(stems(path[-1])) - FILLERS - self._own
        return any(stem(word.value) in names for word in self._request.words)

    def _resolved(self, schema: Any) -> dict[str, Any]:
        """Return a schema with its reference followed, and of an optional type the one that is not null."""
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target: Any = self._root
            for step in reference.removeprefix("#/").split("/"):
                target = target.get(step, {}) if isinstance(target, dict) else {}
            return self._resolved({**target, **{key: one for key, one in schema.items() if key != "$ref"}})
        for key in ("anyOf", "oneOf", "allOf"):
            branches = [one for one in schema.get(key) or [] if isinstance(one, dict) and one.get("type") != "null"]
            if len(branches) == 1:
                outer = {name: one for name, one in schema.items() if name != key}
                return self._resolved({**branches[0], **outer})
        kinds = schema.get("type")
        if isinstance(kinds, list):
            real = [one for one in kinds if one != "null"]
            return {**schema, "type": real[0]} if len(real) == 1 else schema
        return schema

    def _is_valid(self, value: Any, schema: Mapping[str, Any], given: Any) -> bool:
        definitions = {key: self._root[key] for key in ("$defs", "definitions") if key in self._root}
        form = FORMS.get(schema.get("format", ""))
        if form is not None and not (isinstance(value, str) and form.fullmatch(value)):
            return False
        return is_valid(dict(schema) | definitions, value)
