"""`LearningSet`: the tools of several corpora, and their requests with the tool that each asks for, or none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolken.errors import DataFormatError
from toolken.training.corpus import Corpus, CorpusMessage, read_corpus
from toolken.training.prior.request_reader import Exchange
from toolken.training.tool_spec import ToolSpec

#: Kinds of requests without a call that still ask for a tool: a value is missing or not allowed.
ASKING = ("missing", "invalid")


@dataclass(frozen=True)
class LearningRequest:
    """A request of a corpus.

    Attributes
    ----------
    conversation
        The messages of the user with their answers, the request last.
    tool
        Index of the tool that is right, or -1.
    about
        Index of the tool that a request without a call is about, or -1.
    asks
        Whether it asks for a tool of its domain.
    domain
        Name of the corpus.
    kind
        "call", or why there is none.
    """

    conversation: tuple[Exchange, ...]
    tool: int
    about: int
    asks: bool
    domain: str
    kind: str


@dataclass(frozen=True)
class LearningSet:
    """Tools and requests of several domains.

    Attributes
    ----------
    tools
        The tools of all domains.
    domains
        The domain of each tool.
    requests
        The requests. Those with several calls are left out.
    splits
        "train" or "dev" per domain.
    sources
        Number of requests per source and licence, as the files name them.
    """

    tools: list[ToolSpec]
    domains: list[str]
    requests: list[LearningRequest]
    splits: dict[str, str]
    sources: dict[str, int] = field(default_factory=dict)

    def of_split(self, split: str) -> list[int]:
        """Return the indices of the requests of a split."""
        return [at for at, one in enumerate(self.requests) if self.splits[one.domain] == split]

    def tools_of(self, domain: str) -> list[int]:
        """Return the indices of the tools of a domain."""
        return [at for at, name in enumerate(self.domains) if name == domain]


def read_learning_set(folders: Iterable[str | Path]) -> LearningSet:
    """Read the corpora of some folders or files; those of the split "test" are left out.

    Raises
    ------
    DataFormatError
        If there is no file, one has a fault (with file and line), a domain occurs twice, or the train or dev domains
        are missing.
    """
    found = LearningSet([], [], [], {})
    for folder in map(Path, folders):
        files = sorted(folder.glob("*.jsonl")) if folder.is_dir() else [folder]
        if not files:
            raise DataFormatError(f"{str(folder)!r} has no corpus: give folders with *.jsonl files as --data.")
        for file in files:
            corpus = read_corpus(file)
            if corpus.split == "test":
                continue
            if corpus.domain in found.splits:
                raise DataFormatError(f"{str(file)!r} has the domain {corpus.domain!r} of another file: rename one.")
            found.splits[corpus.domain] = corpus.split or "train"
            _append(found, corpus)
    for split in ("train", "dev"):
        if split not in found.splits.values():
            raise DataFormatError(
                f'No corpus has the split "{split}": a prior is learned on train domains and its settings are chosen '
                "on dev domains."
            )
    return found


def _append(found: LearningSet, corpus: Corpus) -> None:
    index = {spec.name: len(found.tools) + at for at, spec in enumerate(corpus.tools)}
    found.tools.extend(corpus.tools)
    found.domains.extend(corpus.domain for _ in corpus.tools)
    source = ", ".join(text for text in (corpus.source, corpus.licence) if text) or corpus.path.parent.name
    before = len(found.requests)
    for record in corpus.records:
        for request in record.requests():
            if len(request.calls) > 1:
                continue
            kind = record.kind or ("call" if request.calls else "missing" if request.asks else "no_call")
            found.requests.append(
                LearningRequest(
                    conversation=exchanges(request.messages),
                    tool=index[request.calls[0].tool] if request.calls else -1,
                    about=index.get(record.tool or "", -1),
                    asks=bool(request.calls) or kind in ASKING,
                    domain=corpus.domain,
                    kind=kind,
                )
            )
    found.sources[source] = found.sources.get(source, 0) + len(found.requests) - before


def exchanges(messages: Sequence[CorpusMessage]) -> tuple[Exchange, ...]:
    """Return a conversation that ends with the user as messages of the user with their answers.

    An answer is the assistant's text; where it has none, the results of its calls.
    """
    found: list[tuple[str, str]] = []
    for message in messages:
        if message.role == "user":
            found.append((message.content, ""))
        elif message.role in ("assistant", "tool") and found and message.content:
            asked, answer = found[-1]
            # The assistant's words repeat what a result says.
            found[-1] = (asked, message.content if message.role == "assistant" else answer or message.content)
    return tuple(found)
