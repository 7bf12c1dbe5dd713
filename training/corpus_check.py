"""`corpus_faults`: what is wrong with a corpus that people wrote, beyond its form."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolken.training.corpus import KINDS, Corpus, CorpusRecord, Fault, form_faults
from toolken.training.examples import Call
from toolken.training.tool_spec import ToolSpec

#: Kinds that are about one tool.
ABOUT_A_TOOL = ("missing", "invalid", "negated", "hypothetical", "quoted")

_NUMBER_WORDS = re.compile(
    r"\b(zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twent|thirt|fort|fift|sixt|sevent"
    r"|eight|ninet|hundred|thousand|million|half|quarter|third|dozen|couple|pair|single|double|triple|once|twice|first"
    r"|second|noon|midnight)",
    re.IGNORECASE,
)
_AFTERNOON = re.compile(r"\d ?p\.?m\b|afternoon|evening|night", re.IGNORECASE)
_GROUPED = re.compile(r"(?<=\d)[,_ \u202f](?=\d{3}(?!\d))")


def corpus_faults(path: str | Path) -> list[str]:
    """Return the faults of a corpus file, each with file and line.

    Beside the form (see `read_corpus`), the checks are: no two requests are alike; a string argument without enum,
    format or pattern occurs in the conversation, and so does a number, as digits or as a word; values have the format
    of their schema; a kind is known and has what it needs.

    Raises
    ------
    DataFormatError
        If the file cannot be read.
    """
    corpus, faults = form_faults(path)
    faults = [*faults, *_duplicates(corpus)]
    tools = {spec.name: spec for spec in corpus.tools}
    for record in corpus.records:
        faults += (Fault(record.line, reason) for reason in _kind_faults(record, tools))
        for request in record.requests():
            # Arguments of later calls may come from the results of earlier ones.
            text = "\n".join(message.content for message in (*request.messages, *request.answer[:-1]))
            for call in request.calls:
                if call.tool in tools:
                    faults += (Fault(record.line, reason) for reason in _value_faults(call, tools[call.tool], text))
    return [fault.text(corpus.path) for fault in sorted(faults, key=lambda fault: fault.line)]


def _duplicates(corpus: Corpus) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for record in corpus.records:
        key = _spaced("\n".join(f"{message.role}: {message.content}" for message in record.messages))
        if key in seen:
            yield Fault(record.line, f"it has the text of line {seen[key]}: write another one")
        seen.setdefault(key, record.line)


def _kind_faults(record: CorpusRecord, tools: dict[str, ToolSpec]) -> Iterator[str]:
    if record.messages[-1].role == "user" and not record.calls and record.kind not in KINDS:
        yield f"it has no calls and the kind {record.kind!r}: give one of {', '.join(KINDS)}"
    if record.kind not in ABOUT_A_TOOL:
        return
    spec = tools.get(record.tool or "")
    if spec is None:
        if record.tool is None:
            yield f'the kind {record.kind!r} is about a tool: name it as "tool"'
        return
    if record.kind == "missing":
        required = spec.parameters.get("required") or ()
        if not record.missing:
            yield '"missing" is empty: name the arguments without a value'
        for name in record.missing:
            if name not in required:
                yield f"{record.tool!r} does not require {name!r}: name a required argument"
    if record.kind == "invalid":
        said = _spaced("\n".join(message.content for message in record.messages))
        if record.argument not in spec.arguments:
            yield f"{record.tool!r} has no argument {record.argument!r}: correct the name"
        elif _spaced(str(record.value)) not in said:
            yield f"the value {record.value!r} does not occur in the conversation: copy it from there"


def _value_faults(call: Call, spec: ToolSpec, text: str) -> Iterator[str]:
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

    for name, value in call.args.items():
        schema = spec.arguments.get(name, {})
        for leaf, own in _leaves(value, schema):
            if "format" in own:
                checker = Draft202012Validator.FORMAT_CHECKER
                if not checker.conforms(leaf, own["format"]):
                    yield f"{name!r} of {call.tool!r}: {leaf!r} has not the format {own['format']!r}: correct it"
            elif not _occurs(leaf, own, text):
                yield f"{name!r} of {call.tool!r}: {leaf!r} does not occur in the conversation: copy it from there"


def _leaves(value: Any, schema: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the strings and numbers of a value, each with its schema."""
    schema = schema if isinstance(schema, dict) else {}
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, (schema.get("properties") or {}).get(key))
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one, schema.get("items"))
    elif value is not None and not isinstance(value, bool):
        yield value, schema


def _occurs(value: str | float, schema: dict[str, Any], text: str) -> bool:
    # Other values may be worded freely: "half past four" for 16:30.
    if schema.keys() & {"enum", "const", "pattern", "anyOf", "oneOf", "allOf", "$ref"}:
        return True
    if isinstance(value, str):
        return _spaced(value) in _spaced(text)
    digits = _GROUPED.sub("", text)
    written = {str(value), f"{value:g}", str(abs(value)), f"{abs(value):g}"}
    if 12 < value < 24 and _AFTERNOON.search(text):
        written.add(f"{value - 12:g}")
    if value == 1 and re.search(r"\ban?\b", text, re.IGNORECASE):
        return True
    return any(one in digits for one in written) or _NUMBER_WORDS.search(text) is not None


def _spaced(text: str) -> str:
    return " ".join(text.split()).casefold()
