"""Heads in the decoder: the project's own, the published trainers' rows, and a retriever's choices."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.tools import BaseTool

from toolken.agents.agent import Answer, ToolkenAgent
from toolken.agents.bound_tools import BoundTools
from toolken.agents.conversation import to_prompt
from toolken.agents.decoding.decoder import DecodingOptions
from toolken.agents.decoding.events import CallFinished
from toolken.agents.decoding.lazy_model import LazyModel
from toolken.agents.tool_runner import ToolRunner
from toolken.benchmarks.end_to_end.traces import Attempt, TracePiece
from toolken.benchmarks.end_to_end.trials import Answerer, Question
from toolken.benchmarks.methods.published_priors import published_prior
from toolken.benchmarks.methods.published_trainers import PRESETS, SCHEDULES, train_reference
from toolken.training.estimation.gate import Gate
from toolken.training.estimation.logistic import Boundary
from toolken.training.examples import Example
from toolken.training.features.decision_states import DecisionStates, decisions
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prior.teacher import Encoder

#: Names of the published trainers.
PUBLISHED = tuple(PRESETS)

T = TypeVar("T")


@dataclass(frozen=True)
class _WordsGate(Gate):
    """P(call | h) in the one softmax over words, whose matrix is `(V, d)`, and tools."""

    words: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0))
    rows: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0))

    def log_odds(self, hidden: torch.Tensor, *, results: int | torch.Tensor) -> torch.Tensor:
        """Return the log odds of a call, `(n,)`, for states `(n, d)`, wherever it is decided."""
        state = hidden.float()
        words = torch.logsumexp((state.to(self.words.dtype) @ self.words.T).float(), dim=-1)
        return torch.logsumexp(state @ self.rows.T, dim=-1) - words


def published_head(
    lm: FrozenLM, head: ToolkenHead, preset: str, benchmark: str, examples: Sequence[Example], *, seed: int = 0
) -> ToolkenHead:
    """Train rows as published on the decisions of some examples, and put them in a head's place.

    Demonstrations of arguments, prompt format and tools stay those of `head`, so that only the rows differ.
    """
    parts = decisions(lm, head.prompt, examples, head.names, cache=FeatureCache(lm), skipped=lambda *_: None)
    points = DecisionStates.join([DecisionStates.none(lm.hidden_size), *parts])
    schedule, prior = SCHEDULES.get(benchmark), PRESETS[preset].prior
    start = None
    if prior is not None:
        start = published_prior(lm, head.specs, source=prior.source, text=prior.text, scale=prior.scale)
    rows = train_reference(
        points if schedule is None or schedule.words else points.calls(),
        len(head.specs),
        PRESETS[preset],
        start,
        seed=seed,
        epochs=schedule.epochs if schedule else None,
        lr=schedule.lr if schedule else None,
    )
    words = lm.model.get_output_embeddings().weight.detach().cpu()
    nothing = Boundary(torch.zeros(lm.hidden_size, dtype=torch.float64), 0.0)
    return replace(
        head,
        estimate=head.estimate.known_as(rows, torch.zeros(len(rows))),
        gate=_WordsGate(nothing, nothing, words=words, rows=rows),
    )


def training_tokens(method: str, benchmark: str, examples: int) -> int:
    """Return how many tokens could be read in about the time that a published trainer takes; 0 for other methods.

    A step, which is one example, takes some 0.35 ms on a processor that reads 600 tokens a second.
    """
    if method not in PUBLISHED:
        return 0
    schedule = SCHEDULES.get(benchmark)
    return examples * (schedule.epochs if schedule else PRESETS[method].epochs) // 5


class Latest:
    """The last thing that was made, by what it was made for: heads and their answers take memory."""

    def __init__(self) -> None:
        self._made: tuple[Any, Any] | None = None

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what was made for a key, or make it."""
        if self._made is None or self._made[0] != key:
            self._made = None
            self._made = key, make()
        found: T = self._made[1]
        return found


@dataclass
class Answered:
    """Answers of a head at one threshold, which another threshold may leave as they are; see `Answer.thresholds`."""

    _known: dict[str, list[Answer]] = field(default_factory=dict)

    def add(self, question: str, answer: Answer) -> None:
        """Keep an answer."""
        self._known.setdefault(question, []).append(answer)

    def find(self, question: str, threshold: float) -> Answer | None:
        """Return the answer at a threshold, where it is known."""
        known = self._known.get(question, [])
        return next((one for one in known if one.thresholds[0] < threshold <= one.thresholds[1]), None)

    def at(self, question: str, threshold: float) -> Answer:
        """Return the answer at a threshold.

        Raises
        ------
        KeyError
            If it is not known.
        """
        answer = self.find(question, threshold)
        if answer is None:
            raise KeyError(question)
        return answer


def with_threshold(head: ToolkenHead, threshold: float) -> ToolkenHead:
    """Return a head that calls from another probability on."""
    return replace(head, threshold=threshold)


def decoded(
    lm: FrozenLM,
    head: ToolkenHead,
    tools: Sequence[BaseTool],
    *,
    max_calls: int,
    max_tokens: int = DecodingOptions.max_tokens,
    asked: Callable[[str], str] = str,
    answered: Answered | None = None,
) -> Answerer:
    """Return what answers questions with an agent whose tool calls are toolkens.

    Parameters
    ----------
    asked
        Words a question for the agent.
    answered
        Answers of the same head with other thresholds, and of this one from now on.
    """
    agent = ToolkenAgent(lm, head, tools, max_calls=max_calls, options=DecodingOptions(max_tokens=max_tokens))
    answered = answered if answered is not None else Answered()

    def answer(questions: Sequence[Question]) -> list[Attempt]:
        agent.decoder.texts.clear()
        texts = [asked(question.text) for question in questions]
        new = [text for text in dict.fromkeys(texts) if answered.find(text, head.threshold) is None]
        for text, one in zip(new, agent.batch(new), strict=True):
            answered.add(text, one)
        return [attempt(answered.at(text, head.threshold)) for text in texts]

    return answer


def attempt(answer: Answer) -> Attempt:
    """Return an agent's answer as it is kept in a trace: words and calls in turn."""
    pieces: list[TracePiece] = []
    steps = iter(answer.steps)
    before = ""
    for message in answer.messages:
        if isinstance(message, AIMessage):
            words = str(message.text).removeprefix(before)
            before = str(message.text)
            if words:
                pieces.append(TracePiece(text=words))
            for _, step in zip(message.tool_calls, steps, strict=False):
                pieces.append(
                    TracePiece(
                        tool=step.tool,
                        probability=step.probability,
                        runners_up=step.runners_up,
                        arguments=step.arguments,
                        result=step.result,
                        failed=step.failed,
                    )
                )
    return Attempt(pieces=tuple(pieces), answer=answer.text)


def retrieved(
    lm: FrozenLM,
    head: ToolkenHead,
    tools: Sequence[BaseTool],
    encoder: Encoder,
    *,
    asked: Callable[[str], str] = str,
) -> Answerer:
    """Return what calls, once, the tool whose description a sentence encoder finds nearest to the question.

    Its arguments are written as those of a toolken are, with the demonstrations of `head`, and the call is made again
    where the tool offers another name; `asked` words a question for the LM.
    """
    decoder = LazyModel(lm, head, by_name=True).decoder(BoundTools.of(tools))
    runner = ToolRunner({tool.name: tool for tool in tools}, timeout=None, retries=0)
    specs = {spec.name: spec for spec in head.specs}
    vectors = encoder.encode([specs[tool.name].words for tool in tools])

    def answer(questions: Sequence[Question]) -> list[Attempt]:
        best = (encoder.encode([question.text for question in questions]) @ vectors.T).argmax(1).tolist()
        return [_forced(question.text, tools[at].name) for question, at in zip(questions, best, strict=True)]

    def _forced(text: str, tool: str) -> Attempt:
        messages: list[BaseMessage] = [HumanMessage(asked(text))]
        options = DecodingOptions(tools=(tool,), must_call=True)
        pieces: list[TracePiece] = []
        while not pieces or to_prompt(messages, head.prompt).corrected:
            events = decoder.decode(to_prompt(messages, head.prompt), options)
            event = next((one for one in events if isinstance(one, CallFinished)), None)
            if event is None:
                break
            call = tool_call(name=tool, args=event.arguments, id=f"call_{len(pieces)}")
            message = runner.refused(call, event.error) if event.error else runner.run(call)
            pieces.append(_called(tool, event, message))
            messages += [AIMessage("", tool_calls=[call]), message]
        found = pieces and not pieces[-1].failed
        return Attempt(pieces=tuple(pieces), answer=f"The answer is {pieces[-1].result}." if found else "")

    return answer


def _called(tool: str, event: CallFinished, message: ToolMessage) -> TracePiece:
    failed = message.status == "error"
    return TracePiece(tool=tool, arguments=event.arguments, result=str(message.text), failed=failed)
