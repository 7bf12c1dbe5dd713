"""`MarkedText`: a text of a chat template, whose special tokens count, around content, whose special tokens do not."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class MarkedText:
    """A text with the spans of what users, tools and documents said in it.

    Outside these spans the text is a template's own: the names of special tokens in it are special tokens. Inside them
    they are ordinary text, whatever they look like.

    Attributes
    ----------
    text
        The whole text.
    content
        Character spans `[start, end)` of the content, in order.
    """

    text: str
    content: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.text)

    def continued(self, content: str) -> "MarkedText":
        """Return the text with further content at its end."""
        begin = len(self.text)
        return MarkedText(self.text + content, (*self.content, (begin, begin + len(content))))


def marker_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids of the tokens that content must not contain.

    These are the special tokens, and the other added tokens that the chat template names, such as the marks around a
    call. Added tokens of white space are ordinary text.
    """
    template = str(getattr(tokenizer, "chat_template", None) or "")
    return frozenset(
        number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special or (token.content.strip() and token.content in template)
    )


def encode_marked(
    tokenizer: Any, text: MarkedText, markers: Collection[int]
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return token ids and character spans of a marked text.

    Without markers in the content, the ids are those of the whole text. A marker in the content is cut after its first
    character, and the text before and after the cut is tokenized separately.
    """
    cuts: set[int] = set()
    while True:
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        edges = [0, *sorted(cuts), len(text.text)]
        for begin, end in pairwise(edges):
            encoded = tokenizer(
                text.text[begin:end],
                add_special_tokens=False,
                return_offsets_mapping=True,
                split_special_tokens=False,
                verbose=False,
            )
            ids += encoded["input_ids"]
            spans += [(begin + int(a), begin + int(b)) for a, b in encoded["offset_mapping"]]
        further = set()
        for number, span in zip(ids, spans, strict=True):
            if number in markers:
                further |= _cuts(text, span)
        if not further - cuts:
            return ids, spans
        cuts |= further


def _cuts(text: MarkedText, span: tuple[int, int]) -> set[int]:
    """Return where to cut a marker that overlaps content; white space beside a marker may belong to its token."""
    marker = text.text[slice(*span)]
    begin = span[0] + len(marker) - len(marker.lstrip())
    end = span[1] - len(marker) + len(marker.rstrip())
    if not any(start < end and begin < stop for start, stop in text.content):
        return set()
    return {begin + 1} if end - begin > 1 else {at for at in (begin, end) if 0 < at < len(text.text)}
