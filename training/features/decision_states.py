"""The feature pass: one forward pass over the examples, which keeps the hidden states at decision positions."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice

import torch

from toolken.errors import ExampleError, FingerprintError, HeadError
from toolken.training.examples import Example
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.lm import Encoding, FrozenLM, States
from toolken.training.lm.states import on_cpu
from toolken.training.prompts.conversation_format import ConversationFormat
from toolken.training.prompts.prompt_format import Rendered

#: The label of a decision position at which the model writes a vocabulary token and calls no tool.
NO_CALL = -1
#: Number of examples that are tokenized and batched by length together, which bounds memory.
GROUP = 512


@dataclass(frozen=True)
class DecisionStates:
    """Hidden states and labels at the decision positions of some texts, on the CPU.

    Attributes
    ----------
    hidden
        Hidden states `(n, d) float32`.
    logsumexp
        Log of the summed exponentiated next-token logits, `(n,) float32`.
    labels
        `(n,) int64`: index of the called tool, or `NO_CALL`.
    examples
        `(n,) int64`: index of the example each decision belongs to.
    results
        `(n,) int64`: number of earlier tool results at a position after a result, where another call may follow;
        0 elsewhere.
    """

    hidden: torch.Tensor
    logsumexp: torch.Tensor
    labels: torch.Tensor
    examples: torch.Tensor
    results: torch.Tensor

    @property
    def after_result(self) -> torch.Tensor:
        """`(n,) bool`: whether the position follows a tool result, after which another call may follow."""
        return self.results > 0

    @classmethod
    def join(cls, parts: "Iterable[DecisionStates]") -> "DecisionStates":
        """Concatenate one or more sets of decisions."""
        found = list(parts)
        return cls(*(torch.cat([getattr(part, one.name) for part in found]) for one in fields(cls)))

    @classmethod
    def none(cls, hidden_size: int) -> "DecisionStates":
        """Return an empty set."""
        integers = torch.empty(0, dtype=torch.long)
        return cls(torch.empty(0, hidden_size), torch.empty(0), integers, integers, integers)

    def calls(self) -> "DecisionStates":
        """Return the decisions with a call."""
        return self.where(self.labels != NO_CALL)

    def shifted(self, offset: int) -> "DecisionStates":
        """Return the decisions with an offset added to the indices of their examples."""
        return replace(self, examples=self.examples + offset)

    def where(self, mask: torch.Tensor) -> "DecisionStates":
        """Return the decisions at which a mask `(n,) bool` holds."""
        return DecisionStates(*(getattr(self, one.name)[mask] for one in fields(self)))


@dataclass(frozen=True)
class DecisionPosition:
    """A token position at which the model either calls a tool or writes on, with its label."""

    position: int
    label: int
    results: int


def decision_positions(encoding: Encoding, rendered: Rendered, names: dict[str, int]) -> list[DecisionPosition]:
    """Return the decision positions of an example, in order.

    The decision position of a call, or of a text without a call, is the last token that ends before it. In running
    text every token that the model writes has one too, except tokens that overlap a tool result.
    """
    return _placed(encoding, rendered, names)[0]


def _placed(encoding: Encoding, rendered: Rendered, names: dict[str, int]) -> tuple[list[DecisionPosition], str | None]:
    """Return the decision positions, and the first tool whose call has no distinct one, or None."""
    labels: dict[int, int] = {}
    first = rendered.earlier_results + 1
    after_results = {offset: count for count, offset in enumerate(sorted(rendered.after_results), first)}
    results: dict[int, int] = {}
    if rendered.everywhere:
        for position in range(max(encoding.last_token_before(rendered.begin), 0), len(encoding.ids)):
            after = encoding.spans[position + 1] if position + 1 < len(encoding.ids) else None
            if after is None or not any(after[0] < end and start < after[1] for start, end in rendered.given):
                labels[position] = NO_CALL
    called: set[int] = set()
    unplaced_tools: str | None = None
    decided: list[tuple[int, str | None]] = [*((offset, None) for offset in rendered.words), *rendered.calls]
    for offset, tool in decided:
        position = encoding.last_token_before(offset)
        if tool is not None:
            if unplaced_tools is None and (position < 0 or position in called):
                unplaced_tools = tool
            called.add(position)
        if position >= 0:
            labels[position] = NO_CALL if tool is None else names[tool]
            if offset in after_results:
                results[position] = after_results[offset]
    return [
        DecisionPosition(position, labels[position], results.get(position, 0)) for position in sorted(labels)
    ], unplaced_tools


def states_source(lm: FrozenLM, cache: FeatureCache | None) -> FrozenLM | FeatureCache:
    """Return the source of hidden states: the cache, or the LM without one.

    Raises
    ------
    FingerprintError
        If the cache holds the states of another LM.
    """
    if cache is None:
        return lm
    if cache.lm.fingerprint != lm.fingerprint:
        raise FingerprintError(
            f"The feature cache holds the states of the LM {cache.lm.name!r}, and {lm.name!r} is another one: "
            f"make a cache for {lm.name!r}."
        )
    return cache


def decisions(
    lm: FrozenLM,
    prompt: ConversationFormat,
    examples: Iterable[Example],
    names: Sequence[str],
    *,
    no_calls: bool = True,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] | None = None,
    skipped: Callable[[int, str], None] | None = None,
) -> Iterator[DecisionStates]:
    """Run the LM once over examples and yield their decisions per group of examples.

    Parameters
    ----------
    names
        The tools; a label is an index into them.
    no_calls
        Whether to include positions at which no tool is called.
    cache
        Cache of the states; by default they are computed and not kept.
    advance
        Called with the number of examples done since the last call.
    skipped
        Called with the index of an omitted example and the reason; by default that is an error. Examples are omitted
        that do not fit the LM's context, or that have a call without a distinct decision position: no token precedes
        it, or another call has the same one.

    Raises
    ------
    ExampleError
        If an example has to be omitted and `skipped` is not given.
    FingerprintError
        If the cache is of another LM.
    HeadError
        If a hidden state is not a finite number.
    KeyError
        If an example calls a tool that is not in `names`.
    """
    source = states_source(lm, cache)
    index_of = {name: i for i, name in enumerate(names)}
    group: list[_Wanted] = []
    for number, example in enumerate(examples):
        texts = prompt.renderings(example)
        encodings = [lm.encode(rendered.text) for rendered in texts]
        longest = max(len(encoding.ids) for encoding in encodings)
        if longest > lm.max_length:
            reason = f"has {longest} tokens, and {lm.name} takes {lm.max_length}"
            if skipped is None:
                raise ExampleError(f"Example {number + 1} {reason}: shorten or remove it.")
            skipped(number, reason)
            continue
        placed = [_placed(encoding, rendered, index_of) for rendered, encoding in zip(texts, encodings, strict=True)]
        unplaced_tools = next((tool for _, tool in placed if tool is not None), None)
        if unplaced_tools is not None:
            reason = f"calls {unplaced_tools!r} where no text precedes the call, or where another call is decided"
            if skipped is None:
                raise ExampleError(f"Example {number + 1} {reason}: fix or remove it.")
            skipped(number, reason)
            continue
        for (places, _), encoding in zip(placed, encodings, strict=True):
            if not no_calls:
                places = [place for place in places if place.label != NO_CALL]
            if places:
                # Causal attention: nothing after the last wanted position can change a wanted state.
                group.append(_Wanted(number, encoding.ids[: places[-1].position + 1], places))
        if len(group) >= GROUP:
            yield _run(lm, source, group, advance)
            group = []
    if group:
        yield _run(lm, source, group, advance)


def query_states(
    lm: FrozenLM,
    prompt: ConversationFormat,
    requests: Sequence[str],
    *,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] | None = None,
) -> States:
    """Return the states at the decision position of each request, one row per request, on the CPU.

    Raises
    ------
    FingerprintError
        If the cache is of another LM.
    HeadError
        If a hidden state is not a finite number.
    """
    source = states_source(lm, cache)
    encodings = [lm.encode(prompt.query(request)).ids for request in requests]
    hidden, logsumexp = torch.empty(len(requests), lm.hidden_size), torch.empty(len(requests))
    last = [[len(ids) - 1] for ids in encodings]
    for index, state in moved_to_cpu(source.hidden_states(encodings, last, advance=advance)):
        hidden[index], logsumexp[index] = state.hidden[0], state.logsumexp[0]
    _check_finite(lm, hidden)
    return States(hidden, logsumexp)


def moved_to_cpu(found: Iterable[tuple[int, States]]) -> Iterator[tuple[int, States]]:
    """Yield the states of texts on the CPU, where fitting computes, moved from the LM's device `GROUP` at a time."""
    remaining = iter(found)
    while group := list(islice(remaining, GROUP)):
        yield from zip([index for index, _ in group], on_cpu([states for _, states in group]), strict=True)


@dataclass(frozen=True)
class _Wanted:
    """A text whose states are computed: its example, its tokens, and its decision positions."""

    example: int
    ids: list[int]
    places: list[DecisionPosition]


def _check_finite(lm: FrozenLM, hidden: torch.Tensor) -> None:
    if not bool(torch.isfinite(hidden).all()):
        raise HeadError(f"A hidden state of {lm.name} is not a finite number: load it in float32 or check its weights.")


def _run(
    lm: FrozenLM, source: FrozenLM | FeatureCache, group: list[_Wanted], advance: Callable[[int], None] | None
) -> DecisionStates:
    parts: dict[int, DecisionStates] = {}
    sequences, positions = [one.ids for one in group], [[place.position for place in one.places] for one in group]
    examples, done = len({one.example for one in group}), [0]

    def advance_texts(count: int) -> None:
        # An example may be several texts; progress counts examples, in proportion.
        assert advance is not None
        before, done[0] = done[0], done[0] + count
        advance(done[0] * examples // len(group) - before * examples // len(group))

    for index, states in moved_to_cpu(source.hidden_states(sequences, positions, advance=advance and advance_texts)):
        one = group[index]
        _check_finite(lm, states.hidden)
        parts[index] = DecisionStates(
            states.hidden,
            states.logsumexp,
            torch.tensor([place.label for place in one.places]),
            torch.full((len(one.places),), one.example),
            torch.tensor([place.results for place in one.places]),
        )
    # In the order of the examples and their texts.
    return DecisionStates.join(parts[index] for index in sorted(parts))
