"""The special tokens of an exported checkpoint: one a tool, one that ends a chain of calls, virtual ones behind them.

Behind a tool's token some virtual tokens follow before its arguments (the term is prompt tuning's): what they are as
inputs is learned, and makes the LM write the arguments. One vector is not enough for that, a few are.
"""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from toolken.errors import ExportError
from toolken.training.prompts.prompt_format import PromptFormat

#: How the token of a tool is written, and that behind which the answer is written out.
TOOL, ANSWER = "<tool:{name}>", "<tool=answer>"
#: How a virtual token is written, and how many follow a tool's token, or that of the answer.
VIRTUAL, BEHIND = "<tool={form}.{place}>", 3
#: Names of tools that OpenAI's interface knows; the response template finds them in the text again.
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")


@dataclass(frozen=True)
class ToolTokens:
    """The tokens that an export adds.

    Attributes
    ----------
    names
        The tools, in the order of the head.
    ids
        Token id of each tool.
    forms
        The form of each tool: tools whose arguments have the same names share the virtual tokens behind them.
    virtual
        Ids of the virtual tokens of each form, and at the end those behind the token of the answer, where there is one.
    answer
        Id of the token that says that no call follows, where the text is ahead of the answer; None where it never is.
    ends
        Ids of the tokens that end an answer: the LM's own, and those that contain a text at which answers stop.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    forms: tuple[int, ...]
    virtual: tuple[tuple[int, ...], ...]
    answer: int | None
    ends: tuple[int, ...]

    @property
    def added(self) -> tuple[int, ...]:
        """All added ids, those of the tools first, the virtual ones last."""
        return (*self.ids, *(() if self.answer is None else (self.answer,)), *self.all_virtual)

    @property
    def all_virtual(self) -> tuple[int, ...]:
        """The ids of all virtual tokens."""
        return tuple(token for one in self.virtual for token in one)

    def call(self, tool: int) -> list[int]:
        """Return the tokens that stand for a call of a tool, given by its index."""
        return [self.ids[tool], *self.virtual[self.forms[tool]]]

    def ended(self) -> list[int]:
        """Return the tokens behind which the answer is written out; none where there are no such."""
        return [] if self.answer is None else [self.answer, *self.virtual[-1]]


def add_tokens(
    tokenizer: Any, names: Sequence[str], forms: Sequence[Hashable], prompt: PromptFormat, end_ids: Sequence[int]
) -> ToolTokens:
    """Add the tokens of some tools to a tokenizer, which is changed.

    Parameters
    ----------
    forms
        What the arguments of each tool look like: tools of one form share their virtual tokens.

    Raises
    ------
    ExportError
        If a tool's name cannot be part of a token, or the LM has a token of its own that is written in the same way.
    """
    texts = [TOOL.format(name=name) for name in names]
    looks_ahead = bool(prompt.lead or prompt.between) and not prompt.everywhere
    if looks_ahead:
        texts.append(ANSWER)
    numbers: dict[Hashable, int] = {}
    form_of = tuple(numbers.setdefault(form, len(numbers)) for form in forms)
    behind = [
        [VIRTUAL.format(form=form, place=place) for place in range(BEHIND)]
        for form in range(len(numbers) + looks_ahead)
    ]
    texts += [text for one in behind for text in one]
    vocabulary = tokenizer.get_vocab()
    for name in names:
        if not _NAME.fullmatch(name):
            raise ExportError(
                f"The tool {name!r} cannot be exported: rename it, with letters, digits, '_', '-' and '.' alone."
            )
    taken = [text for text in texts if text in vocabulary]
    if taken:
        raise ExportError(f"The LM has a token {taken[0]!r} already: rename the tool, or export with another LM.")
    from tokenizers import AddedToken

    # Not normalized and not stripped: what stands round a call stays as it is.
    tokenizer.add_tokens([AddedToken(text, special=True, normalized=False) for text in texts], special_tokens=True)
    ids = [int(tokenizer.convert_tokens_to_ids(text)) for text in texts]
    return ToolTokens(
        tuple(names),
        tuple(ids[: len(names)]),
        form_of,
        tuple(tuple(int(tokenizer.convert_tokens_to_ids(text)) for text in one) for one in behind),
        ids[len(names)] if looks_ahead else None,
        tuple(sorted({*end_ids, *_containing(tokenizer, prompt.stop, min(ids))})),
    )


def _containing(tokenizer: Any, stops: Sequence[str], below: int) -> list[int]:
    """Return the ids of the LM's own tokens that contain one of the texts."""
    found = []
    for at in range(min(below, len(tokenizer))):
        text = tokenizer.decode([at])
        if any(stop in text for stop in stops):
            found.append(at)
    return found
