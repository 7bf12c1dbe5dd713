"""The feature pass: one run of the LM over the examples, hidden states kept only where something is decided."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from toolken.errors import ExampleError
from toolken.training.examples import Example
from toolken.training.lm import Encoding, FrozenLM, States
from toolken.training.prompt import PromptFormat, Rendered

#: The label of a position at which the model writes a word and calls no tool.
WORDS = -1
#: Examples are tokenized and batched by length in groups of this many, so that memory does not grow with their number.
GROUP = 4096


@dataclass(frozen=True)
class Decisions:
    """The decisions of some texts.

    Attributes
    ----------
    hidden
        Hidden states `(n, d) float32`.
    logsumexp
        Log of the summed exponentiated word logits, `(n,) float32`.
    labels
        `(n,) int64`: index of the tool that was called, or `WORDS`.
    examples
        `(n,) int64`: index of the example each decision belongs to.
    """

    hidden: torch.Tensor
    logsumexp: torch.Tensor
    labels: torch.Tensor
    examples: torch.Tensor

    def calls(self) -> "Decisions":
        """Return the positions at which a tool was called."""
        return self.where(self.labels != WORDS)

    def where(self, mask: torch.Tensor) -> "Decisions":
        """Return the positions at which a mask `(n,) bool` holds."""
        return Decisions(self.hidden[mask], self.logsumexp[mask], self.labels[mask], self.examples[mask])


def decision_positions(encoding: Encoding, rendered: Rendered, names: dict[str, int]) -> tuple[list[int], list[int]]:
    """Return the token positions of an example at which something is decided, and their labels.

    The state at a position decides what comes next. A call is decided at the last token that ends before it; a word
    at every position whose next token the model itself writes. Tokens that touch a result decide nothing, except the
    last one, after which the model goes on.
    """
    labels: dict[int, int] = {}
    first = max(encoding.last_token_before(rendered.begin), 0)
    for position in range(first, len(encoding.ids)):
        following = encoding.spans[position + 1] if position + 1 < len(encoding.ids) else None
        if following is None or not any(following[0] < end and start < following[1] for start, end in rendered.given):
            labels[position] = WORDS
    for offset, tool in rendered.decisions:
        position = encoding.last_token_before(offset)
        if position >= 0:
            labels[position] = names[tool]
    positions = sorted(labels)
    return positions, [labels[p] for p in positions]


def decisions(
    lm: FrozenLM,
    prompt: PromptFormat,
    examples: Iterable[Example],
    names: Sequence[str],
    *,
    words: bool = True,
    advance: Callable[[int], None] | None = None,
    skipped: Callable[[int, str], None] | None = None,
) -> Iterator[Decisions]:
    """Run the LM once over examples and yield their decisions, a group of examples at a time.

    Parameters
    ----------
    names
        The tools; a label is an index into them.
    words
        Whether positions at which a word is written are wanted as well.
    advance
        Called with the number of examples done since the last call.
    skipped
        Called with the index of an example that is left out, and the reason; by default that is an error.

    Raises
    ------
    ExampleError
        If an example calls a tool that is not in `names`, or does not fit the LM's context and `skipped` is not given.
    """
    index_of = {name: i for i, name in enumerate(names)}
    group: list[tuple[int, list[int], list[int], list[int]]] = []
    for number, example in enumerate(examples):
        unknown = next((call.tool for call in example.calls if call.tool not in index_of), None)
        if unknown is not None:
            raise ExampleError(
                f"Example {number + 1} calls {unknown!r}, which is not among the {len(names)} tools: "
                "add the tool or remove the example."
            )
        rendered = prompt.render(example)
        encoding = lm.encode(rendered.text)
        if len(encoding.ids) > lm.max_length:
            reason = f"has {len(encoding.ids)} tokens, and {lm.name} takes {lm.max_length}"
            if skipped is None:
                raise ExampleError(f"Example {number + 1} {reason}: shorten or remove it.")
            skipped(number, reason)
            continue
        positions, labels = decision_positions(encoding, rendered, index_of)
        if not words:
            kept = [i for i, label in enumerate(labels) if label != WORDS]
            positions, labels = [positions[i] for i in kept], [labels[i] for i in kept]
        # Causal attention: nothing after the last wanted position can change a wanted state.
        ids = encoding.ids[: positions[-1] + 1] if positions else []
        if ids:
            group.append((number, ids, positions, labels))
        if len(group) == GROUP:
            yield _run(lm, group, advance)
            group = []
    if group:
        yield _run(lm, group, advance)


def join(parts: Iterable[Decisions], hidden_size: int) -> Decisions:
    """Put decisions together; of no parts, an empty one."""
    all_parts = list(parts)
    if not all_parts:
        none = torch.empty(0, dtype=torch.long)
        return Decisions(torch.empty(0, hidden_size), torch.empty(0), none, none)
    return Decisions(
        *(torch.cat([getattr(p, field) for p in all_parts]) for field in ("hidden", "logsumexp", "labels", "examples"))
    )


def query_states(
    lm: FrozenLM, prompt: PromptFormat, requests: Sequence[str], *, advance: Callable[[int], None] | None = None
) -> States:
    """Return the states at the decision on each request, one row a request (design: the query form)."""
    encodings = [lm.encode(prompt.query(request)).ids for request in requests]
    hidden, logsumexp = torch.empty(len(requests), lm.hidden_size), torch.empty(len(requests))
    for index, state in lm.hidden_states(encodings, [[len(ids) - 1] for ids in encodings], advance=advance):
        hidden[index], logsumexp[index] = state.hidden[0], state.logsumexp[0]
    return States(hidden, logsumexp)


def _run(
    lm: FrozenLM, group: list[tuple[int, list[int], list[int], list[int]]], advance: Callable[[int], None] | None
) -> Decisions:
    parts = []
    for index, states in lm.hidden_states([g[1] for g in group], [g[2] for g in group], advance=advance):
        number, _, _, labels = group[index]
        count = len(labels)
        parts.append(Decisions(states.hidden, states.logsumexp, torch.tensor(labels), torch.full((count,), number)))
    return join(parts, lm.hidden_size)
