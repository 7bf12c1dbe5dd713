"""The feature pass: one run of the LM over the examples, hidden states kept only where something is decided."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice

import torch

from toolken.errors import ExampleError, FingerprintError, HeadError
from toolken.training.examples import Example
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.lm import Encoding, FrozenLM, States
from toolken.training.lm.states import on_cpu
from toolken.training.prompts.prompt_format import PromptFormat, Rendered

#: The label of a position at which the model writes a word and calls no tool.
NO_CALL = -1
#: Examples are tokenized and batched by length in groups of this many, so that memory does not grow with their number.
GROUP = 512


@dataclass(frozen=True)
class DecisionStates:
    """The decisions of some texts.

    Attributes
    ----------
    hidden
        Hidden states `(n, d) float32`.
    logsumexp
        Log of the summed exponentiated word logits, `(n,) float32`.
    labels
        `(n,) int64`: index of the tool that was called, or `NO_CALL`.
    examples
        `(n,) int64`: index of the example each decision belongs to.
    results
        `(n,) int64`: how many results stand before it, where it is decided behind a result if another call follows;
        else 0.
    """

    hidden: torch.Tensor
    logsumexp: torch.Tensor
    labels: torch.Tensor
    examples: torch.Tensor
    results: torch.Tensor

    @property
    def after_result(self) -> torch.Tensor:
        """`(n,) bool`: whether it is decided behind a result if another call follows."""
        return self.results > 0

    @classmethod
    def join(cls, parts: "Iterable[DecisionStates]") -> "DecisionStates":
        """Put one or more sets of decisions together."""
        found = list(parts)
        return cls(*(torch.cat([getattr(part, one.name) for part in found]) for one in fields(cls)))

    @classmethod
    def none(cls, hidden_size: int) -> "DecisionStates":
        """Return an empty set."""
        integers = torch.empty(0, dtype=torch.long)
        return cls(torch.empty(0, hidden_size), torch.empty(0), integers, integers, integers)

    def calls(self) -> "DecisionStates":
        """Return the positions at which a tool was called."""
        return self.where(self.labels != NO_CALL)

    def shifted(self, offset: int) -> "DecisionStates":
        """Return the same decisions of examples whose indices are larger by an offset."""
        return replace(self, examples=self.examples + offset)

    def where(self, mask: torch.Tensor) -> "DecisionStates":
        """Return the positions at which a mask `(n,) bool` holds."""
        return DecisionStates(*(getattr(self, one.name)[mask] for one in fields(self)))


@dataclass(frozen=True)
class DecisionPosition:
    """A token position at which something is decided: the state there, and what comes next."""

    position: int
    label: int
    results: int


def decision_positions(encoding: Encoding, rendered: Rendered, names: dict[str, int]) -> list[DecisionPosition]:
    """Return the token positions of an example at which something is decided, in order.

    A call, or a word whose place is known, is decided at the last token that ends before it. Where everything is
    decided, so is every token that the model itself writes; those that touch a result are not.
    """
    return _placed(encoding, rendered, names)[0]


def _placed(encoding: Encoding, rendered: Rendered, names: dict[str, int]) -> tuple[list[DecisionPosition], str | None]:
    """Return what `decision_positions` does, and the first tool whose call has no place of its own, if there is one."""
    labels: dict[int, int] = {}
    after_results = {offset: count for count, offset in enumerate(sorted(rendered.after_results), 1)}
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
    """Return where the states of an LM come from: a cache of them, or the LM itself.

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
            f"make one for {lm.name!r}."
        )
    return cache


def decisions(
    lm: FrozenLM,
    prompt: PromptFormat,
    examples: Iterable[Example],
    names: Sequence[str],
    *,
    no_calls: bool = True,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] | None = None,
    skipped: Callable[[int, str], None] | None = None,
) -> Iterator[DecisionStates]:
    """Run the LM once over examples and yield their decisions, a group of examples at a time.

    Parameters
    ----------
    names
        The tools; a label is an index into them.
    no_calls
        Whether to include positions at which no tool is called.
    cache
        Where states are kept and looked for; by default they are computed and not kept.
    advance
        Called with the number of examples done since the last call.
    skipped
        Called with the index of an example that is left out, and the reason; by default that is an error. Left out is
        what does not fit the LM's context, and what has a call without a place of its own: no token stands in front of
        it, or another call is decided behind the same one.

    Raises
    ------
    ExampleError
        If an example has to be left out and `skipped` is not given.
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
            reason = f"calls {unplaced_tools!r} where no text stands in front, or where another call is decided"
            if skipped is None:
                raise ExampleError(f"Example {number + 1} {reason}: mend or remove it.")
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
    prompt: PromptFormat,
    requests: Sequence[str],
    *,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] | None = None,
) -> States:
    """Return the states at the decision on each request, one row a request (design: the query form).

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
    """A text whose states are wanted: its example, its tokens, and the places."""

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
        # An example may be several texts; told are examples, in proportion.
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
    # In the order of the examples and their texts, whatever order they ran in.
    return DecisionStates.join(parts[index] for index in sorted(parts))
