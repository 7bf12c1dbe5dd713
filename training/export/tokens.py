"""The special tokens of an exported checkpoint: one per tool, one that ends a chain of calls, and virtual tokens.

Virtual tokens follow the token of a tool. Their input embeddings are learned (prompt tuning) so that the LM writes the
arguments. One embedding is too few, four suffice.
"""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from toolken.errors import ExportError
from toolken.training.prompts.prompt_format import PromptFormat

#: Text of the token of a tool, and of the token after which the whole answer follows.
TOOL, ANSWER = "<tool:{name}>", "<tool=answer>"
#: Text of a virtual token, and how many follow the token of a tool or of the answer.
VIRTUAL, VIRTUAL_COUNT = "<tool={form}.{place}>", 3
#: Tool names that OpenAI's API accepts; the response template parses them from the text.
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
        Index of the virtual tokens of each tool: tools with the same argument names share them.
    virtual
        Ids of the virtual tokens of each form; the last ones follow the token of the answer, if there is one.
    answer
        Id of the token that says that no call follows; None if the prompt format has no text to remove before an
        answer.
    ends
        Ids of the tokens that end an answer: those of the LM, and those that contain a stop text.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    forms: tuple[int, ...]
    virtual: tuple[tuple[int, ...], ...]
    answer: int | None
    ends: tuple[int, ...]

    @property
    def added(self) -> tuple[int, ...]:
        """All added ids: tools first, virtual tokens last."""
        return (*self.ids, *(() if self.answer is None else (self.answer,)), *self.all_virtual)

    @property
    def all_virtual(self) -> tuple[int, ...]:
        """The ids of all virtual tokens."""
        return tuple(token for one in self.virtual for token in one)

    def call(self, tool: int) -> list[int]:
        """Return the tokens that start a call of the tool with this index."""
        return [self.ids[tool], *self.virtual[self.forms[tool]]]

    def ended(self) -> list[int]:
        """Return the tokens after which the whole answer follows; empty if there are none."""
        return [] if self.answer is None else [self.answer, *self.virtual[-1]]


def add_tokens(
    tokenizer: Any, names: Sequence[str], forms: Sequence[Hashable], prompt: PromptFormat, end_ids: Sequence[int]
) -> ToolTokens:
    """Add the tokens of tools to a tokenizer, which is modified.

    Parameters
    ----------
    forms
        A key per tool: tools with equal keys share their virtual tokens.

    Raises
    ------
    ExportError
        If a tool's name cannot be part of a token, or the LM already has a token with this text.
    """
    texts = [TOOL.format(name=name) for name in names]
    looks_ahead = bool(prompt.lead or prompt.between) and not prompt.everywhere
    if looks_ahead:
        texts.append(ANSWER)
    numbers: dict[Hashable, int] = {}
    argument_names = tuple(numbers.setdefault(form, len(numbers)) for form in forms)
    virtual = [
        [VIRTUAL.format(form=form, place=place) for place in range(VIRTUAL_COUNT)]
        for form in range(len(numbers) + looks_ahead)
    ]
    texts += [text for one in virtual for text in one]
    vocabulary = tokenizer.get_vocab()
    for name in names:
        if not _NAME.fullmatch(name):
            raise ExportError(
                f"The tool {name!r} cannot be exported: rename it with only letters, digits, '_', '-' and '.'."
            )
    taken = [text for text in texts if text in vocabulary]
    if taken:
        raise ExportError(f"The LM already has a token {taken[0]!r}: rename the tool, or export with another LM.")
    from tokenizers import AddedToken

    # Neither normalized nor stripped: the text around a call stays unchanged.
    tokenizer.add_tokens([AddedToken(text, special=True, normalized=False) for text in texts], special_tokens=True)
    ids = [int(tokenizer.convert_tokens_to_ids(text)) for text in texts]
    return ToolTokens(
        tuple(names),
        tuple(ids[: len(names)]),
        argument_names,
        tuple(tuple(int(tokenizer.convert_tokens_to_ids(text)) for text in one) for one in virtual),
        ids[len(names)] if looks_ahead else None,
        tuple(sorted({*end_ids, *_containing(tokenizer, prompt.stop, min(ids))})),
    )


def _containing(tokenizer: Any, stops: Sequence[str], below: int) -> list[int]:
    """Return the ids below a bound whose text contains one of the stop texts."""
    found = []
    for at in range(min(below, len(tokenizer))):
        text = tokenizer.decode([at])
        if any(stop in text for stop in stops):
            found.append(at)
    return found
