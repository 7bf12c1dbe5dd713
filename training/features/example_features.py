"""`ExampleFeatures`: what a fit needs of a feature pass over examples; features of splits can be joined."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch

from toolken.errors import FingerprintError
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.examples import Example
from toolken.training.features.decision_states import GROUP, NO_CALL, DecisionStates, decisions
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.head.provenance import Provenance
from toolken.training.lm import FrozenLM
from toolken.training.prompts.conversation_format import ConversationFormat
from toolken.training.prompts.few_shot import FewShotExamples

#: Largest numbers of decisions with and without a call that are kept, which bounds memory. Running text has tens of
#: decisions without a call per call, and the call gate improves with the size of the sample.
CALLS_KEPT, NO_CALL_POINTS = 16_000, 64_000
#: Largest number of calls for choosing settings, for the refinement, and for a gate outside running text.
CALL_POINTS = 4000


@dataclass
class ExampleFeatures:
    """Everything that a fit needs of some examples.

    All fields are sums, or samples of bounded size that do not depend on how the examples are split: each group of
    `GROUP` examples draws its own random keys, and the decisions with the smallest keys stay. Features that several
    processes extract, joined in the order of the groups, equal those of one process.

    Attributes
    ----------
    statistics
        Of the calls.
    few_shot
        Of the calls' arguments.
    provenance
        Number and hash of the examples.
    sample
        Uniform samples of the decisions with (True) and without (False) a call, each with its random keys.
    no_calls
        Number of all decisions without a call.
    too_long
        Indices of the examples that do not fit the LM's context.
    unplaced
        Indices of the examples with a call that has no distinct decision position; see `decisions`.
    omitted_tools
        Tools that the omitted examples call.
    examples
        Number of examples, including the omitted ones.
    tokens, seconds
        Cost on a cluster: tokens of the texts, and processor seconds.
    lm_fingerprint, prompt_fingerprint
        Fingerprints of the LM and the prompt format; None if unknown.
    """

    statistics: ToolStatistics
    few_shot: FewShotExamples = field(default_factory=FewShotExamples)
    provenance: Provenance = field(default_factory=Provenance)
    sample: dict[bool, tuple[DecisionStates, torch.Tensor]] = field(default_factory=dict)
    no_calls: int = 0
    too_long: list[int] = field(default_factory=list)
    omitted_tools: list[str] = field(default_factory=list)
    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    lm_fingerprint: str | None = None
    prompt_fingerprint: str | None = None
    unplaced: list[int] = field(default_factory=list)

    @classmethod
    def nothing(cls, names: Sequence[str], hidden_size: int) -> "ExampleFeatures":
        """Return the features of no examples."""
        return cls(ToolStatistics.empty(names, hidden_size))

    @classmethod
    def of_group(
        cls,
        lm: FrozenLM,
        prompt: ConversationFormat,
        examples: Sequence[Example],
        names: Sequence[str],
        *,
        number: int,
        seed: int,
        cache: FeatureCache | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> "ExampleFeatures":
        """Run the LM over one group of at most `GROUP` examples, given its number, and return its features."""
        reading = cls.nothing(names, lm.hidden_size)
        reading.lm_fingerprint, reading.prompt_fingerprint = lm.fingerprint, prompt.fingerprint
        random = torch.Generator().manual_seed(seed * 1_000_003 + number)
        left_out: dict[int, None] = {}
        skipped = lambda at, _: left_out.setdefault(at)  # noqa: E731
        for part in decisions(lm, prompt, examples, names, cache=cache, advance=advance, skipped=skipped):
            calls = part.calls()
            reading.statistics.add(calls.hidden, calls.labels)
            reading.few_shot.add(examples, part, running_text=prompt.everywhere)
            called = part.labels != NO_CALL
            reading.no_calls += int((~called).sum())
            for kind in (True, False):
                chosen = part.where(called if kind else ~called)
                # Indices are unique among all examples, so that folds never split an example.
                chosen = chosen.shifted(number * GROUP)
                reading._keep(kind, chosen, torch.rand(len(chosen.labels), generator=random))
        for at in left_out:
            fits = all(len(lm.encode(one.text).ids) <= lm.max_length for one in prompt.renderings(examples[at]))
            (reading.unplaced if fits else reading.too_long).append(number * GROUP + at)
        reading.omitted_tools = list(dict.fromkeys(call.tool for at in left_out for call in examples[at].calls))
        reading.provenance = Provenance.of(one for at, one in enumerate(examples) if at not in left_out)
        reading.examples = len(examples)
        return reading

    def join(self, other: "ExampleFeatures") -> None:
        """Add the features of the next examples.

        Raises
        ------
        FingerprintError
            If they are of another LM or prompt format.
        """
        self.check(other.lm_fingerprint, other.prompt_fingerprint)
        self.lm_fingerprint = self.lm_fingerprint or other.lm_fingerprint
        self.prompt_fingerprint = self.prompt_fingerprint or other.prompt_fingerprint
        self.statistics.include(other.statistics)
        self.few_shot.include(other.few_shot)
        self.provenance = self.provenance.merge(other.provenance)
        for kind, (chosen, keys) in other.sample.items():
            self._keep(kind, chosen, keys)
        self.no_calls += other.no_calls
        self.too_long += other.too_long
        self.unplaced += other.unplaced
        self.omitted_tools = list(dict.fromkeys([*self.omitted_tools, *other.omitted_tools]))
        self.examples += other.examples
        self.tokens += other.tokens
        self.seconds += other.seconds

    def check(self, lm_fingerprint: str | None, prompt_fingerprint: str | None) -> None:
        """Check that the features are of an LM and a prompt format, if these are known.

        Raises
        ------
        FingerprintError
            If they are of others.
        """
        if None not in (self.lm_fingerprint, lm_fingerprint) and self.lm_fingerprint != lm_fingerprint:
            raise FingerprintError("The features were extracted by another LM: extract them again with this one.")
        if None not in (self.prompt_fingerprint, prompt_fingerprint) and self.prompt_fingerprint != prompt_fingerprint:
            raise FingerprintError("The features were extracted in another prompt format: extract them again.")

    def calls(self, most: int | None = None) -> DecisionStates:
        """Return at most `most` calls of the sample (default: `CALL_POINTS`)."""
        nothing = DecisionStates.none(self.statistics.hidden_size)
        if True not in self.sample:
            return nothing
        chosen, _ = _smallest(*self.sample[True], CALL_POINTS if most is None else most)
        return chosen if len(chosen.labels) else nothing

    def points(self, calls: int | None = None) -> tuple[DecisionStates, float]:
        """Return the sample with at most `calls` calls (default: `CALL_POINTS`), and the weight of its other decisions.

        A weight of w means that each sampled decision without a call stands for w of them per call.
        """
        called = self.calls(calls)
        points = DecisionStates.join([called, *([self.sample[False][0]] if False in self.sample else [])])
        no_calls = len(points.labels) - len(called.labels)
        total = int(self.statistics.counts.sum())
        return points, no_call_weight(self.no_calls, no_calls, total, len(called.labels))

    def _keep(self, kind: bool, chosen: DecisionStates, keys: torch.Tensor) -> None:
        if kind in self.sample:
            before, old_keys = self.sample[kind]
            chosen, keys = DecisionStates.join([before, chosen]), torch.cat([old_keys, keys])
        self.sample[kind] = _smallest(chosen, keys, CALLS_KEPT if kind else NO_CALL_POINTS)


def _smallest(chosen: DecisionStates, keys: torch.Tensor, most: int) -> tuple[DecisionStates, torch.Tensor]:
    """Return the decisions with the `most` smallest random keys, in their order.

    The smallest of independent random keys are a uniform sample, independent of order and grouping.
    """
    if len(keys) <= most:
        return chosen, keys
    mask = torch.zeros(len(keys), dtype=torch.bool)
    mask[torch.topk(keys, most, largest=False).indices] = True
    return chosen.where(mask), keys[mask]


def no_call_weight(no_calls: int, kept_no_calls: int, calls: int, kept_calls: int) -> float:
    """Return the weight of a sampled decision without a call, relative to a sampled call."""
    return (no_calls / max(kept_no_calls, 1) or 1.0) * (kept_calls / calls if calls else 1.0)


def groups(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Yield the examples in groups of `GROUP`, the last one smaller."""
    remaining = iter(examples)
    while group := list(islice(remaining, GROUP)):
        yield group


def extract_features(
    lm: FrozenLM,
    prompt: ConversationFormat,
    examples: Iterable[Example],
    names: Sequence[str],
    *,
    seed: int = 0,
    cache: FeatureCache | None = None,
    advance: Callable[[int], None] | None = None,
) -> ExampleFeatures:
    """Run the LM once over examples in this process and return their features."""
    whole = ExampleFeatures.nothing(names, lm.hidden_size)
    for number, group in enumerate(groups(examples)):
        whole.join(
            ExampleFeatures.of_group(lm, prompt, group, names, number=number, seed=seed, cache=cache, advance=advance)
        )
    return whole
