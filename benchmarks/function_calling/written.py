"""`read_written`: sets in the project's own form, as records with right calls."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from toolken.benchmarks.function_calling.answered_files import text_message
from toolken.benchmarks.function_calling.call_set import CallSet
from toolken.benchmarks.function_calling.published_tools import accepted_arguments
from toolken.benchmarks.function_calling.record import CallRecord, ExpectedCall
from toolken.benchmarks.sets.data_files import DataFolder
from toolken.errors import DataFormatError
from toolken.training.corpus import Corpus, CorpusMessage, CorpusRecord, CorpusRequest, read_corpus
from toolken.training.tool_spec import ToolSpec


def read_written(path: str | Path, name: str | None = None) -> CallSet:
    """Read a corpus file, or all `*.jsonl` of a folder, each with the tools of its domain.

    The category of a record is its kind ("missing", "negated", ...), or else "conversation", "parallel" (several
    calls) or "call". If a conversation ends with the assistant, each answered message of the user is a record, whose
    right calls are those of the answer. Where the answer goes on with a text that says something, a second record of
    the category "answer" has these calls and their results in its history, and expects the text alone. See
    `read_corpus` for the form.

    Raises
    ------
    DataFormatError
        If a file has another form, or two files have the same domain; the message has file and line.
    """
    path = Path(path)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    data = DataFolder(name or path.stem, path)
    records: list[CallRecord] = []
    tools: list[ToolSpec] = []
    splits: dict[str, str] = {}
    for file in files:
        corpus = read_corpus(file)
        if corpus.domain in splits:
            raise DataFormatError(f"{str(file)!r} has the domain {corpus.domain!r} of another file: rename one.")
        splits[corpus.domain] = corpus.split
        found = list(corpus_records(corpus))
        data.count(file.name, len(found))
        records += found
        tools += corpus.tools
    return CallSet.of(
        data, records, more_tools=tools, splits={domain: split for domain, split in splits.items() if split}
    )


def corpus_records(corpus: Corpus) -> Iterator[CallRecord]:
    """Yield the records of a corpus."""
    tools = {spec.name: spec for spec in corpus.tools}
    for record in corpus.records:
        for number, request in enumerate(record.requests(), start=1):
            answered = bool(request.calls and request.says)
            identifier = f"{corpus.domain}-{record.line}" + (f"-{number}" if request.answer else "")
            yield CallRecord(
                id=identifier,
                category=record.kind or _category(record, request),
                messages=tuple(_messages(request.messages)),
                tools=corpus.tools,
                expected=tuple(
                    ExpectedCall(call.tool, accepted_arguments(call.args, tools[call.tool])) for call in request.calls
                ),
                missing=_missing(record, request, tools),
                wrong={record.argument: (str(record.value),)} if record.kind == "invalid" and record.argument else {},
                says=() if answered else request.says,
                domain=corpus.domain,
            )
            if answered:
                yield CallRecord(
                    id=f"{identifier}-answer",
                    category="answer",
                    messages=tuple(_messages([*request.messages, *request.answer[:-1]])),
                    tools=corpus.tools,
                    says=request.says,
                    domain=corpus.domain,
                )


def _category(record: CorpusRecord, request: CorpusRequest) -> str:
    if len(record.messages) > 1:
        return "conversation"
    return "parallel" if len(request.calls) > 1 else "call"


def _missing(record: CorpusRecord, request: CorpusRequest, tools: dict[str, ToolSpec]) -> dict[str, tuple[str, ...]]:
    if record.kind == "missing" and record.tool:
        return {record.tool: record.missing}
    if not request.asks or request.calls:
        return {}
    # A conversation does not say for which tool it asks: the one it calls next, or one that has the arguments.
    later = [call.tool for message in record.messages[len(request.messages) :] for call in message.calls]
    asking = [name for name in (*later, *tools) if set(request.asks) <= tools[name].arguments.keys()]
    return {(asking or later or list(tools))[0]: request.asks}


def _messages(messages: Sequence[CorpusMessage]) -> Iterator[BaseMessage]:
    waiting: list[str] = []
    number = 0
    for message in messages:
        if message.role == "tool":
            yield ToolMessage(message.content, tool_call_id=waiting.pop(0))
        elif message.calls:
            ids = [f"call_{number + index}" for index in range(1, len(message.calls) + 1)]
            number += len(ids)
            waiting += ids
            calls = zip(ids, message.calls, strict=True)
            yield AIMessage(message.content, tool_calls=[{"id": i, "name": c.tool, "args": c.args} for i, c in calls])
        else:
            yield text_message(message.role, message.content)
