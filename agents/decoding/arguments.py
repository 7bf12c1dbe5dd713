"""`ArgumentWriter`: generates a call's arguments under a grammar."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from llguidance import LLMatcher

from toolken.agents.decoding.events import ArgumentsPiece, CallFinished
from toolken.agents.decoding.growing_text import GrowingText
from toolken.agents.decoding.sampling import Sampler, masked
from toolken.agents.decoding.toolset import Toolset
from toolken.agents.grammar.argument_evidence import EvidencedArguments
from toolken.agents.grammar.copy_limits import CopyLimits
from toolken.agents.grammar.copying import has_copied
from toolken.agents.grammar.schema_grammar import argument_matcher
from toolken.errors import PromptTooLongError
from toolken.training.lm import FrozenLM, Session
from toolken.training.lm.marked_text import MarkedText
from toolken.training.lm.prefix_cache import PrefixCache

#: Appends tokens to a text and returns hidden state and next-token logits after the last one.
Feed = Callable[[Session, Sequence[int]], tuple[torch.Tensor, torch.Tensor]]

#: Last tokens of the budget, in which strings, objects and arrays are closed as soon as the grammar allows.
RESERVE = 8


@lru_cache(maxsize=8)
def _closers(lm: FrozenLM) -> tuple[int, ...]:
    """Return the tokens that close JSON values, those that close most first."""
    encoded = [lm.encode(text).ids for text in ('"}', '"]', '"', "}", "]")]
    return tuple(ids[0] for ids in encoded if len(ids) == 1)


def feed_alone(session: Session, ids: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Append tokens to a text outside a batch."""
    return session.feed(ids)


class ArgumentWriter:
    """Generates the arguments of one call.

    Parameters
    ----------
    toolset
        The tools.
    texts
        Cache of prefixes that the LM has read.
    feed
        Appends tokens to a text.
    """

    def __init__(self, toolset: Toolset, texts: PrefixCache, feed: Feed) -> None:
        self._toolset = toolset
        self._texts = texts
        self._feed = feed
        #: Number of sampled tokens.
        self.drawn = 0

    def write(
        self,
        tool: str,
        prompts: Sequence[str | MarkedText],
        context: str,
        sampler: Sampler,
        budget: int,
        limits: CopyLimits | None = None,
        evidence: Callable[[dict[str, Any]], EvidencedArguments] | None = None,
    ) -> Iterator[ArgumentsPiece | CallFinished]:
        """Yield pieces of the arguments, then the finished call.

        Parameters
        ----------
        tool
            Name of the tool.
        prompts
            Prompts for the arguments, the best one first; one that leaves no room in the LM's context is skipped.
        context
            Text that extractive arguments are copied from.
        budget
            Bound on the sampled tokens.
        limits
            Limits on the numbers copied from the context; ignored where no arguments satisfy them.
        evidence
            Returns the schema of the arguments, restricted to what the conversation speaks for, when some are written;
            None for the tool's schema.

        Raises
        ------
        PromptTooLongError
            If even the last prompt leaves no room.
        ToolSpecError
            If the tool's schema cannot be compiled to a grammar.
        """
        lm = self._texts.lm
        spec = self._toolset.spec(tool)
        parameters = spec.parameters if evidence is None else evidence({}).parameters

        def matcher_of(parameters: dict[str, Any]) -> LLMatcher:
            narrowed = spec if parameters is spec.parameters else spec.model_copy(update={"parameters": parameters})
            # Strings without a bound share the tokens that are left.
            return argument_matcher(lm, narrowed, context, budget - self.drawn, limits)

        matcher = matcher_of(parameters)
        # The grammar of copied numbers counts their uses itself.
        renews = evidence is not None and not has_copied(parameters) and len(parameters.get("properties") or {}) > 1
        taken: list[int] = []
        closers = _closers(lm)
        known, given = 0, 0
        closed: str | None = None
        text = GrowingText(lm, ())
        session: Session | None = None
        fresh: list[int] = []
        while not matcher.is_stopped():
            forced = list(matcher.compute_ff_tokens())
            if forced:
                # The grammar alone determines keys, quotes and brackets: the LM is not run for them.
                matcher.consume_tokens(forced)
                tokens = forced
                fresh = [*fresh, *forced]
            else:
                if self.drawn >= budget:
                    break
                if session is None:
                    reading = self._texts.prefill(prompt_ids(lm, prompts, text.text, fresh, budget))
                    session, logits = reading.session, reading.logits
                elif len(session.ids) + len(fresh) > lm.max_length:
                    break
                else:
                    _, logits = self._feed(session, fresh)
                mask = matcher.compute_bitmask()
                ending = budget >= 4 * RESERVE and self.drawn >= budget - RESERVE
                closing = next((one for one in closers if mask[one // 8] >> one % 8 & 1), None) if ending else None
                token = closing if closing is not None else sampler.token(masked(logits, mask))
                self.drawn += 1
                if token in lm.stop_ids or not matcher.consume_token(token):
                    break
                tokens, fresh = [token], [token]
            taken += tokens
            for one in tokens:
                piece, _ = text.add(one)
                if piece and not renews:
                    yield ArgumentsPiece(piece)
            if renews and evidence is not None:
                finished, end = _finished_members(text.text)
                if len(finished) == known:
                    continue
                yield ArgumentsPiece(text.text[given:end])
                known, given = len(finished), end
                # What is written is used up; it stands in the new grammar as it is.
                parameters = evidence(finished).parameters
                renewed = matcher_of(parameters)
                if renewed.try_consume_tokens(taken) == len(taken):
                    matcher = renewed
                elif not parameters["properties"].keys() - finished.keys():
                    closed = text.text[:end] + "}"  # nothing is left that the comma could introduce
                    break
        tail = text.finish()
        whole = text.text if closed is None else closed
        if tail := whole[given:] if renews else tail:
            yield ArgumentsPiece(tail)
        yield self._finished(tool, whole)

    def _finished(self, tool: str, text: str) -> CallFinished:
        try:
            arguments = json.loads(text)
        except json.JSONDecodeError as error:
            return CallFinished(tool, {}, text, f"The arguments are not complete JSON ({error}): allow more tokens.")
        if not isinstance(arguments, dict):
            return CallFinished(tool, {}, text, "The arguments are not a JSON object.")
        return CallFinished(tool, arguments, text, self._toolset.tools.problem(tool, arguments))


def _finished_members(text: str) -> tuple[dict[str, Any], int]:
    """Return the members of an unfinished JSON object before its last comma, and where the comma is.

    >>> _finished_members('{"a": [1, 2], "b": "x, y", "c": 3')
    ({'a': [1, 2], 'b': 'x, y'}, 25)
    """
    depth, at, quoted, escaped = 0, -1, False, False
    for place, character in enumerate(text):
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth == 1:
            at = place
    try:
        found = json.loads(text[:at] + "}") if at > 0 else {}
    except json.JSONDecodeError:
        return {}, 0
    return (found, at) if isinstance(found, dict) else ({}, 0)


def prompt_ids(
    lm: FrozenLM, prompts: Sequence[str | MarkedText], begun: str, begun_ids: Sequence[int], room: int
) -> list[int]:
    """Return the tokens of the first prompt that leaves `room` tokens, or of the last one, and of the begun arguments.

    In a chat template both are one text, so that the tokens at their border are the LM's own: a prompt that ends in a
    space is followed by tokens that it has rarely seen.
    """
    ids: list[int] = []
    for prompt in prompts:
        if isinstance(prompt, MarkedText):
            ids = lm.encode(prompt.continued(begun) if begun else prompt).ids
        else:
            ids = [*lm.encode(prompt).ids, *begun_ids]
        if len(ids) + room <= lm.max_length:
            break
    if len(ids) >= lm.max_length:
        raise PromptTooLongError(
            f"The text would have {len(ids)} tokens, and {lm.name} takes {lm.max_length}: shorten the conversation."
        )
    return ids
