"""`RequestReader`: the texts that decisions by description are made from, and their states in the LM."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolSpec, name_words

#: Depths of the layers whose states are read, as shares of all layers.
DEPTHS = (0.27, 0.47)
#: Earlier turns of a conversation that a decision reads, and characters of each text in it.
EARLIER_TURNS, MAX_TEXT = 2, 1200
#: Characters of a description, and the arguments whose names follow it.
MAX_DESCRIPTION, MAX_ARGUMENTS = 400, 8

#: A user's message with the answer to it; the last one of a conversation has none.
Exchange = tuple[str, str]


@dataclass(frozen=True, eq=False)
class ReadTexts:
    """The states of the words of n texts, one after the other, on the CPU.

    Attributes
    ----------
    offsets
        Where the words of each text begin, and the end of the last, `(n + 1,) int64`.
    tokens
        Token ids of all words, `(t,) int64`.
    states
        States after l layers, `(t, l, d)`, float32 or float16.
    last
        State after each whole text, `(n, d)`.
    """

    offsets: torch.Tensor
    tokens: torch.Tensor
    states: torch.Tensor
    last: torch.Tensor

    def __len__(self) -> int:
        return len(self.last)

    @classmethod
    def join(cls, parts: Sequence["ReadTexts"]) -> "ReadTexts":
        """Return the texts of all parts in their order."""
        lengths = torch.cat([part.offsets.diff() for part in parts])
        return cls(
            torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]),
            torch.cat([part.tokens for part in parts]),
            torch.cat([part.states for part in parts]),
            torch.cat([part.last for part in parts]),
        )

    def half(self) -> "ReadTexts":
        """Return the states as float16, for files."""
        return ReadTexts(self.offsets, self.tokens, self.states.half(), self.last.half())


@dataclass(frozen=True)
class RequestReader:
    """Reads requests and descriptions; the text is the same for every format of conversations.

    Attributes
    ----------
    layers
        After which layers the states of the words are kept.
    """

    layers: tuple[int, ...]

    @classmethod
    def of_depth(cls, lm: FrozenLM) -> "RequestReader":
        """Return the reader of an LM: layers at about a quarter and a half of its depth."""
        depth = int(lm.config.get_text_config(decoder=True).num_hidden_layers)
        return cls(tuple(max(1, round(depth * share)) for share in DEPTHS))

    def read(
        self,
        lm: FrozenLM,
        conversations: Sequence[Sequence[Exchange]],
        *,
        advance: Callable[[int], None] | None = None,
    ) -> ReadTexts:
        """Return the states of the last message of each conversation, read after the turns before it.

        Raises
        ------
        BackendError
            If the LM's backend does not give the states between layers.
        """
        encoded = [self._encoded(lm, conversation) for conversation in conversations]
        found: list[tuple[torch.Tensor, torch.Tensor]] = [(torch.empty(0), torch.empty(0))] * len(encoded)
        texts, spans = [ids for ids, _ in encoded], [span for _, span in encoded]
        for at, states, last in lm.span_states(texts, spans, self.layers, advance=advance):
            found[at] = states.cpu(), last.cpu()
        lengths = torch.tensor([end - begin for begin, end in spans])
        return ReadTexts(
            offsets=torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]),
            tokens=torch.tensor([token for ids, (begin, end) in encoded for token in ids[begin:end]]),
            states=torch.cat([states for states, _ in found]),
            last=torch.stack([last for _, last in found]),
        )

    def _encoded(self, lm: FrozenLM, conversation: Sequence[Exchange]) -> tuple[list[int], tuple[int, int]]:
        """Return the tokens of a conversation, and the span of the last message."""
        earlier = [
            f"Question: {_beginning(asked)}\nAnswer: {_beginning(answer)}\n\n"
            for asked, answer in conversation[:-1][-EARLIER_TURNS:]
        ]
        request = _beginning(conversation[-1][0])
        while True:
            before = "".join(earlier) + "Question: "
            encoding = lm.encode(f"{before}{request}\nAnswer:")
            if len(encoding.ids) <= lm.max_length:
                break
            # The oldest turn goes first, then the end of the request.
            if earlier:
                earlier.pop(0)
            else:
                request = request[: len(request) // 2]
        inside = [
            at
            for at, (begin, end) in enumerate(encoding.spans)
            if end > begin and begin < len(before) + len(request) and end > len(before)
        ]
        return encoding.ids, (inside[0], inside[-1] + 1) if inside else (0, len(encoding.ids))


def described(spec: ToolSpec) -> str:
    """Return what is read of a tool: its name in words, its description, and the names of its arguments."""
    text = f"{name_words(spec.name)}: {spec.description.strip()}"[:MAX_DESCRIPTION]
    names = [name_words(name) for name in spec.arguments][:MAX_ARGUMENTS]
    return f"{text} ({', '.join(names)})" if names else text


def read_tools(
    reader: RequestReader, lm: FrozenLM, specs: Sequence[ToolSpec], *, advance: Callable[[int], None] | None = None
) -> ReadTexts:
    """Return the states of tools' descriptions."""
    return reader.read(lm, [[(described(spec), "")] for spec in specs], advance=advance)


def _beginning(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT].rsplit(maxsplit=1)[0]
