"""Answerers that decode with a head: the project's own, a published trainer's, or a retriever's choice of tool."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.tool import tool_call
from langchain_core.tools import BaseTool

from toolken.agents.agent import Answer, ToolkenAgent
from toolken.agents.bound_tools import BoundTools
from toolken.agents.chat_conversation import conversation_prompt
from toolken.agents.decoding.decoder import DecodingOptions
from toolken.agents.decoding.events import CallFinished
from toolken.agents.decoding.lazy_model import LazyModel
from toolken.agents.grammar.copy_limits import CopyRule
from toolken.agents.retry import offered_name
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


@dataclass(frozen=True)
class _JointSoftmaxGate(Gate):
    """P(call | h) in the joint softmax over the vocabulary, with its output matrix `(V, d)`, and the tools `(T, d)`."""

    vocabulary: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0))
    tools: torch.Tensor = field(default_factory=lambda: torch.empty(0, 0))

    def log_odds(self, hidden: torch.Tensor, *, results: int | torch.Tensor) -> torch.Tensor:
        """Return the log odds of a call, `(n,)`, for states `(n, d)`; `results` has no effect."""
        state = hidden.float()
        vocabulary = torch.logsumexp((state.to(self.vocabulary.dtype) @ self.vocabulary.T).float(), dim=-1)
        return torch.logsumexp(state @ self.tools.T, dim=-1) - vocabulary


def published_head(
    lm: FrozenLM, head: ToolkenHead, preset: str, benchmark: str, examples: Sequence[Example], *, seed: int = 0
) -> ToolkenHead:
    """Return a copy of a head whose output embeddings a published trainer learns from the examples' decisions.

    Few-shot examples of arguments, prompt format and tools stay those of `head`, so that only W and the call decision
    differ.
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
    vocabulary = lm.model.get_output_embeddings().weight.detach().cpu()
    unused = Boundary(torch.zeros(lm.hidden_size, dtype=torch.float64), 0.0)
    return replace(
        head,
        estimate=head.estimate.known_as(rows, torch.zeros(len(rows))),
        gate=_JointSoftmaxGate(unused, unused, vocabulary=vocabulary, tools=rows),
    )


def training_tokens(method: str, benchmark: str, examples: int) -> int:
    """Return the number of prefill tokens that take about as long as a published trainer; 0 for other methods.

    A step, which is one example, takes about 0.35 ms on a processor that prefills 600 tokens per second.
    """
    if method not in PUBLISHED:
        return 0
    schedule = SCHEDULES.get(benchmark)
    return examples * (schedule.epochs if schedule else PRESETS[method].epochs) // 5


@dataclass
class AnswerCache:
    """A cache of a head's answers, each valid for a range of thresholds.

    An answer at temperature 0 is the same for every threshold at which each of its call decisions has the same outcome.
    """

    _known: dict[str, list[tuple[float, float, Answer]]] = field(default_factory=dict)

    def add(self, question: str, threshold: float, answer: Answer) -> None:
        """Add an answer that was made at a threshold."""
        low = max((one for one in answer.call_probabilities if one < threshold), default=0.0)
        high = min((one for one in answer.call_probabilities if one >= threshold), default=1.0)
        self._known.setdefault(question, []).append((low, high, answer))

    def find(self, question: str, threshold: float) -> Answer | None:
        """Return the answer at a threshold; None if it is not cached."""
        known = self._known.get(question, [])
        return next((answer for low, high, answer in known if low < threshold <= high), None)

    def at(self, question: str, threshold: float) -> Answer:
        """Return the answer at a threshold.

        Raises
        ------
        KeyError
            If it is not cached.
        """
        answer = self.find(question, threshold)
        if answer is None:
            raise KeyError(question)
        return answer


def with_threshold(head: ToolkenHead, threshold: float) -> ToolkenHead:
    """Return a copy of a head with another threshold of P(call)."""
    return replace(head, threshold=threshold)


def toolken_answerer(
    lm: FrozenLM,
    head: ToolkenHead,
    tools: Sequence[BaseTool],
    *,
    max_calls: int,
    max_tokens: int | None = DecodingOptions.max_tokens,
    cache: AnswerCache | None = None,
    copy_rule: CopyRule | None = None,
) -> Answerer:
    """Return an answerer that runs an agent with toolkens.

    Parameters
    ----------
    cache
        Answers of the same head at any threshold; new answers are added.
    copy_rule
        Limits the numbers that later calls copy; see `DecodingOptions`.
    """
    options = DecodingOptions(max_tokens=max_tokens, copy_rule=copy_rule, parallel=False, missing="write")
    agent = ToolkenAgent(lm, head, tools, max_calls=max_calls, options=options, retry=offered_name)
    answers = cache if cache is not None else AnswerCache()

    def answer(questions: Sequence[Question]) -> list[Attempt]:
        agent.decoder.texts.clear()
        texts = [question.text for question in questions]
        new = [text for text in dict.fromkeys(texts) if answers.find(text, head.threshold) is None]
        for text, one in zip(new, agent.batch(new), strict=True):
            answers.add(text, head.threshold, one)
        return [attempt(answers.at(text, head.threshold)) for text in texts]

    return answer


def attempt(answer: Answer) -> Attempt:
    """Return an agent's answer in the form of a trace: text and calls alternate."""
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


def retriever_answerer(
    lm: FrozenLM,
    head: ToolkenHead,
    tools: Sequence[BaseTool],
    encoder: Encoder,
) -> Answerer:
    """Return an answerer that calls, once, the tool whose description is most similar to the question.

    A sentence encoder measures the similarity. The LM decodes the arguments with the few-shot examples of `head`, and
    repeats the call if the tool suggests another name.
    """
    decoder = LazyModel(lm, head, by_name=True).decoder(BoundTools.of(tools))
    runner = ToolRunner({tool.name: tool for tool in tools}, timeout=None, retries=0)
    specs = {spec.name: spec for spec in head.specs}
    vectors = encoder.encode([specs[tool.name].words for tool in tools])

    def answer(questions: Sequence[Question]) -> list[Attempt]:
        best = (encoder.encode([question.text for question in questions]) @ vectors.T).argmax(1).tolist()
        return [_forced(question.text, tools[at].name) for question, at in zip(questions, best, strict=True)]

    def _forced(text: str, tool: str) -> Attempt:
        options = DecodingOptions(tools=(tool,), must_call=True, parallel=False, missing="write")
        pieces: list[TracePiece] = []
        events = decoder.decode(conversation_prompt([HumanMessage(text)], head.prompt), options)
        event = next((one for one in events if isinstance(one, CallFinished)), None)
        arguments = None if event is None else event.arguments
        error = None if event is None else event.error
        while arguments is not None:
            call = tool_call(name=tool, args=arguments, id=f"call_{len(pieces)}")
            message = runner.refused(call, error) if error else runner.run(call)
            failed = message.status == "error"
            pieces.append(TracePiece(tool=tool, arguments=arguments, result=str(message.text), failed=failed))
            again = failed and len(pieces) == 1
            better = offered_name(arguments, str(message.text), text) if again else None
            error = None if better is None else decoder.toolset.tools.problem(tool, better)
            arguments = better
        found = pieces and not pieces[-1].failed
        return Attempt(pieces=tuple(pieces), answer=f"The answer is {pieces[-1].result}." if found else "")

    return answer
