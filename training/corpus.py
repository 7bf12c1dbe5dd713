"""`read_corpus`: tools with requests and conversations in the project's JSONL form, one file per domain."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from toolken.errors import DataFormatError, ToolSpecError
from toolken.training.example_check import call_fault
from toolken.training.examples import Call
from toolken.training.tool_spec import ToolSpec

#: Why a request needs no call.
KINDS = (
    *("missing", "invalid", "negated", "hypothetical", "quoted"),
    *("no_tool", "small_talk", "thanks", "knowledge"),
)
#: Faults that an error shows.
_SHOWN = 5
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class CorpusMessage(BaseModel):
    """A message of a conversation.

    Attributes
    ----------
    role
        Who speaks; a "tool" message is the result of the next call without one.
    content
        The text.
    calls
        The calls of an assistant's message.
    says
        Texts that any good wording of an assistant's message contains.
    asks
        Arguments for whose values an assistant's message asks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    calls: tuple[Call, ...] = ()
    says: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _only_assistants_act(self) -> "CorpusMessage":
        if self.role != "assistant" and (self.calls or self.says or self.asks):
            raise ValueError(f"a message of the {self.role} has calls, says or asks: only an assistant's may")
        return self


class CorpusRecord(BaseModel):
    """A request or conversation of a corpus.

    Attributes
    ----------
    messages
        The conversation; a single request is one message of the user. If its last message is not the user's, each
        message of the user is a request that the messages after it answer.
    calls
        The calls that answer the last message of the user.
    kind
        Why there is no call; see `KINDS`.
    tool
        The tool that the request without a call is about.
    missing
        Required arguments of `tool` without a value.
    argument, value
        The argument of `tool` whose value its schema forbids, and the value as the request has it.
    line
        Line of the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    messages: tuple[CorpusMessage, ...] = Field(min_length=1)
    calls: tuple[Call, ...] = ()
    kind: str | None = None
    tool: str | None = None
    missing: tuple[str, ...] = ()
    argument: str | None = None
    value: str | int | float | bool | None = None
    line: int = 0

    @model_validator(mode="after")
    def _fits_together(self) -> "CorpusRecord":
        roles = [message.role for message in self.messages]
        if "user" not in roles:
            raise ValueError("no message is the user's")
        if roles[-1] != "user" and (self.calls or self.kind):
            raise ValueError('"calls" and "kind" answer a last message of the user, and the last one is not')
        if self.calls and self.kind:
            raise ValueError(f"the kind {self.kind!r} says that no call is right, and there are calls")
        if self.missing and not self.tool:
            raise ValueError('"missing" needs "tool"')
        waiting = 0
        for message in self.messages:
            if message.role == "tool":
                waiting -= 1
                if waiting < 0:
                    raise ValueError("there is a tool message without a call")
            elif waiting:
                raise ValueError(f"{waiting} calls have no tool message")
            waiting += len(message.calls)
        return self

    def requests(self) -> Iterator["CorpusRequest"]:
        """Yield each message of the user that is answered, with the messages before it and the answer."""
        if self.messages[-1].role == "user":
            yield CorpusRequest(self.messages, self.calls)
            return
        asked = [place for place, message in enumerate(self.messages) if message.role == "user"]
        for place, following in zip(asked, [*asked[1:], len(self.messages)], strict=True):
            answer = self.messages[place + 1 : following]
            if answer:
                calls = tuple(call for message in answer for call in message.calls)
                yield CorpusRequest(self.messages[: place + 1], calls, answer)


@dataclass(frozen=True)
class CorpusRequest:
    """A message of the user with its history and answer.

    Attributes
    ----------
    messages
        The conversation up to the user's message.
    calls
        The right calls.
    answer
        The messages that answer it, if the corpus has them.
    """

    messages: tuple[CorpusMessage, ...]
    calls: tuple[Call, ...]
    answer: tuple[CorpusMessage, ...] = ()

    @property
    def says(self) -> tuple[str, ...]:
        """Texts that the final message of the answer contains."""
        return self.answer[-1].says if self.answer else ()

    @property
    def asks(self) -> tuple[str, ...]:
        """Arguments for which the answer asks."""
        return tuple(name for message in self.answer for name in message.asks)


@dataclass(frozen=True)
class Corpus:
    """The content of a corpus file.

    Attributes
    ----------
    path
        The file.
    domain
        Name of the domain.
    split
        "train", "dev" or "test"; empty if the file does not say.
    source, licence
        Where the requests come from, and under which licence; empty if the file does not say.
    tools
        The tools.
    records
        The requests and conversations.
    """

    path: Path
    domain: str
    split: str = ""
    source: str = ""
    licence: str = ""
    tools: tuple[ToolSpec, ...] = ()
    records: tuple[CorpusRecord, ...] = ()


def shipped_corpus() -> Path:
    """Return the folder of the corpus that comes with toolken: one file per domain."""
    return Path(str(files("toolken.training") / "data" / "corpus"))


def read_corpus(path: str | Path) -> Corpus:
    """Read a file of tools, requests and conversations, one JSON object per line.

    The first line is `{"domain": ..., "split": ...}`, perhaps with "source" and "licence"; a tool is `{"tool": {"name",
    "description", "parameters"}}`, a request `{"request": text, "calls": [{"tool", "args"}]}`, a conversation
    `{"messages": [{"role", "content", "calls"}], "calls": [...]}`. See `CorpusRecord` for the other keys, and
    `corpus_faults` for stricter checks.

    Raises
    ------
    DataFormatError
        If the file cannot be read, a line has another form, or a call is one that its tool cannot take; the message
        has file and line.
    """
    corpus, faults = _read(Path(path))
    if faults:
        more = f" ({len(faults) - _SHOWN} more faults)" if len(faults) > _SHOWN else ""
        raise DataFormatError("\n".join(fault.text(corpus.path) for fault in faults[:_SHOWN]) + more)
    return corpus


@dataclass(frozen=True)
class Fault:
    """What is wrong with a line of a corpus file.

    Attributes
    ----------
    line
        Number of the line.
    reason
        What is wrong and what to do.
    """

    line: int
    reason: str

    def text(self, path: Path) -> str:
        """Return the fault with file and line."""
        return f"{path}, line {self.line}: {self.reason}"


def form_faults(path: str | Path) -> tuple[Corpus, list[Fault]]:
    """Return what could be read of a corpus file, and all faults of its form.

    Raises
    ------
    DataFormatError
        If the file cannot be read.
    """
    return _read(Path(path))


@dataclass
class _Lines:
    """The lines of a file that have been read."""

    head: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, ToolSpec] = field(default_factory=dict)
    records: list[CorpusRecord] = field(default_factory=list)

    def add(self, line: int, content: Any) -> None:
        """Add a line.

        Raises
        ------
        ValueError
            If it has another form; the message says what to do.
        """
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object: correct or remove it")
        if "domain" in content:
            if self.head:
                raise ValueError('there is a second "domain": write one file per domain')
            self.head = _head(content)
        elif isinstance(content.get("tool"), dict):
            spec = _tool(content["tool"])
            if spec.name in self.tools:
                raise ValueError(f"the tool {spec.name!r} occurs twice: rename one")
            self.tools[spec.name] = spec
        elif ("request" in content) == ("messages" in content):
            raise ValueError('it has not exactly one of "domain", "tool", "request" and "messages": add or remove one')
        else:
            if "request" in content:
                content = content | {"messages": [{"role": "user", "content": content["request"]}]}
                del content["request"]
            self.records.append(CorpusRecord.model_validate(content | {"line": line}))


def _read(path: Path) -> tuple[Corpus, list[Fault]]:
    lines = _Lines()
    faults: list[Fault] = []
    for number, content in _objects(path, faults):
        try:
            lines.add(number, content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            reason = first["msg"].removeprefix("Value error, ")
            faults.append(Fault(number, f"{place + ': ' if place else ''}{reason}: correct or remove the line"))
        except ValueError as error:
            faults.append(Fault(number, str(error)))
    if not lines.head:
        faults.insert(0, Fault(1, 'no line is {"domain": ..., "split": ...}: write one before the tools'))
    for record in lines.records:
        faults += (Fault(record.line, reason) for reason in _call_faults(record, lines.tools))
    corpus = Corpus(
        path=path,
        domain=lines.head.get("domain", ""),
        split=lines.head.get("split", ""),
        source=lines.head.get("source", ""),
        licence=lines.head.get("licence", ""),
        tools=tuple(lines.tools.values()),
        records=tuple(lines.records),
    )
    return corpus, sorted(faults, key=lambda fault: fault.line)


def _objects(path: Path, faults: list[Fault]) -> Iterator[tuple[int, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataFormatError(f"{str(path)!r} cannot be read ({error.strerror}): give a corpus file.") from error
    except UnicodeDecodeError as error:
        raise DataFormatError(f"{str(path)!r} is not text in UTF-8 ({error}): give a corpus file.") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                faults.append(Fault(number, f"it is not JSON ({error}): correct or remove it"))


def _head(content: dict[str, Any]) -> dict[str, Any]:
    domain, split = content["domain"], content.get("split", "")
    if not isinstance(domain, str) or not domain or split not in ("", "train", "dev", "test"):
        raise ValueError(f'domain {domain!r} and split {split!r}: give a name, and "train", "dev" or "test"')
    said = {name: content.get(name, "") for name in ("source", "licence")}
    if not all(isinstance(text, str) for text in said.values()):
        raise ValueError('"source" and "licence" are not texts: correct or remove them')
    return {"domain": domain, "split": split, **said}


def _tool(content: dict[str, Any]) -> ToolSpec:
    from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]

    name = content.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"the tool's name {name!r} is not 1 to 64 letters, digits, '_' and '-': rename it")
    try:
        spec = ToolSpec(**content)
        Draft202012Validator.check_schema(spec.parameters)
    except (TypeError, ToolSpecError) as error:
        raise ValueError(f"{name!r} is no tool ({error}): give name, description and parameters") from error
    except (SchemaError, re.error) as error:
        reason = getattr(error, "message", str(error))
        raise ValueError(f"the parameters of {name!r} are no JSON schema ({reason}): correct them") from error
    for required in spec.parameters.get("required") or ():
        if required not in spec.arguments:
            raise ValueError(f"{name!r} requires {required!r}, which is not an argument: add it to the properties")
    return spec


def _call_faults(record: CorpusRecord, tools: dict[str, ToolSpec]) -> Iterator[str]:
    for call in (*record.calls, *(call for message in record.messages for call in message.calls)):
        fault = call_fault(call, tools) or _unfilled(call, tools[call.tool])
        if fault is not None:
            yield fault
    if record.tool is not None and record.tool not in tools:
        yield f"its tool {record.tool!r} is not among the {len(tools)} tools: correct the name"


def _unfilled(call: Call, spec: ToolSpec) -> str | None:
    """Return which required argument a call without any arguments lacks."""
    required = spec.parameters.get("required") or ()
    return (
        f"calls {call.tool!r} without the required argument {required[0]!r}: add it"
        if required and not call.args
        else None
    )
