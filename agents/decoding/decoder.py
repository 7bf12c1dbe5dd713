"""`Decoder`: one assistant turn as a stream of events: text from the LM, and calls where tools win."""

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

import torch

from toolken.agents.conversation import Prompt, canonical
from toolken.agents.decoding.answers import AnswerKind, answer_kind, longest_answer, nothing_said, results_text
from toolken.agents.decoding.argument_prompts import argument_prompts
from toolken.agents.decoding.arguments import ArgumentWriter, Feed, feed_alone
from toolken.agents.decoding.events import (
    ArgumentsPiece,
    CallFinished,
    CallStarted,
    Event,
    Finished,
    Question,
    TextPiece,
)
from toolken.agents.decoding.follow_up import FollowUp
from toolken.agents.decoding.growing_text import GrowingText
from toolken.agents.decoding.min_probability import MinProbability, least_probability
from toolken.agents.decoding.repetition import is_repeating
from toolken.agents.decoding.request_parts import parts_of, shared_parts_of
from toolken.agents.decoding.sampling import Sampler
from toolken.agents.decoding.toolset import Toolset
from toolken.agents.decoding.written_answer import WrittenAnswer
from toolken.agents.grammar.argument_evidence import ArgumentEvidence, EvidencedArguments, ValueSource
from toolken.agents.grammar.copy_limits import CopyRule
from toolken.agents.grammar.missing_values import Missing, may_be_question, question_for, refusal_of
from toolken.agents.grammar.word_evidence import WordEvidence
from toolken.training.head.described import DescribedTools
from toolken.training.lm.marked_text import MarkedText
from toolken.training.lm.prefix_cache import Prefill, PrefixCache
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolSpec

#: Runner-up tools that are reported with their probabilities.
RUNNERS_UP = 4


@dataclass(frozen=True)
class DecodingOptions:
    """How a turn is decoded.

    Attributes
    ----------
    tools
        Names of the tools that may be called.
    must_call
        Call one of them instead of writing text.
    parallel
        Decide about each part of a request separately, so that one turn may have several calls. Parts that lack a
        required value are decided together. None: where the head has no examples, which teach whole messages.
    max_tokens
        Bound on the tokens of text and arguments together; by default 512 in a chat template, otherwise 256.
    temperature
        0 takes the most likely token, and calls a tool from the threshold of the head on; above 0 both are sampled.
    top_p
        Sample from the most likely tokens that together have this probability (nucleus sampling).
    seed
        Seed of the samples.
    stop
        Texts at which the answer ends, besides those of the prompt format.
    copy_rule
        Limits the numbers that a call copies, given the earlier calls of the question; for instance
        `toolken.agents.number_habits.NumberHabits`. None: a call may copy every number of the conversation.
    answer
        What answers after tool results: `"write"`, the LM in its own words, with the numbers of the conversation only;
        or `"results"`, the results alone. None: `"write"` where the chat template takes tools.
    missing
        What happens where nothing in the conversation says a required argument, or the schema forbids the value:
        "ask" ends the turn with a question instead of a call, "refuse" makes the call invalid and names the argument,
        "write" lets the LM write a value that the schema admits.
    evidence
        Finds the values that the conversation speaks for.
    min_probability
        P(tool) below which a tool is not called: one number, which replaces the threshold of a pretrained prior, or
        numbers by the tools' names, which hold besides the threshold.
    """

    tools: tuple[str, ...] = ()
    must_call: bool = False
    parallel: bool | None = None
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    copy_rule: CopyRule | None = None
    answer: AnswerKind | None = None
    missing: Missing = "ask"
    evidence: ArgumentEvidence = field(default_factory=WordEvidence)
    min_probability: MinProbability | None = None


class Decoder:
    """Writes turns: text from the LM, call decisions from the head, arguments under a grammar.

    Parameters
    ----------
    toolset
        The tools that may be called, with their toolkens.
    texts
        The KV caches of earlier texts, which a conversation extends.
    """

    def __init__(self, toolset: Toolset, texts: PrefixCache) -> None:
        self.toolset = toolset
        self.texts = texts

    def decode(self, prompt: Prompt, options: DecodingOptions, feed: Feed = feed_alone) -> Iterator[Event]:
        """Continue a conversation up to the next call or the end of the answer.

        A call that was answered in this turn is not repeated: its result would be the same. If a call is required,
        another tool is called; if there is none, the answer is finished as text.

        Parameters
        ----------
        feed
            Appends tokens to a text and returns hidden state and next-token logits; batched turns pass another one.

        Raises
        ------
        PromptTooLongError
            If the conversation does not fit the LM's context.
        ToolSpecError
            If a tool has no toolken.
        """
        turn = _Turn(self, prompt, options, feed)
        yield from turn.events()

    def race(self, prompt: Prompt, options: DecodingOptions) -> list[tuple[str, float]]:
        """Return P(tool) of each tool for the first call that would continue a conversation, the most likely first."""
        if not options.tools or self.toolset.head is None:
            return []
        hidden = _Turn(self, prompt, options, feed_alone).decision_state(None)
        results = len(prompt.results) if prompt.ends_with_result else 0
        found = self.toolset.decide(hidden, options.tools, results=results).probabilities.tolist()
        return sorted(zip(options.tools, found, strict=True), key=lambda pair: -pair[1])


class _Turn:
    """The state of one turn."""

    def __init__(self, decoder: Decoder, prompt: Prompt, options: DecodingOptions, feed: Feed) -> None:
        self._toolset, self._texts, self._lm = decoder.toolset, decoder.texts, decoder.texts.lm
        self._prompt, self._options, self._feed = prompt, options, feed
        self._sampler = Sampler(options.temperature, options.top_p, options.seed)
        self._must_call = options.must_call
        self._max_tokens = longest_answer(options.max_tokens, self._toolset.prompt)
        self._drawn = 0
        self._cached = 0
        self._call_probability: float | None = None
        self._decided: list[float] = []
        #: Calls of this turn that are answered or made.
        self._calls = set(prompt.answered)
        self._made = 0
        self._asked = False
        self._encoded: dict[str | MarkedText, list[int]] = {}

    def events(self) -> Iterator[Event]:
        """Yield the events of the turn."""
        prompt, form = self._prompt, self._toolset.prompt
        read = len(self._tokens(prompt.text))
        reason: _Reason = "stop"
        if self._options.tools and not form.everywhere:
            yield from self._calls_at_the_opening()
        if self._made:
            reason = "tool_calls"
        elif self._asked:
            pass
        elif prompt.ends_with_result and not form.everywhere and self._answers_with == "results":
            yield TextPiece(results_text(prompt, form))
        else:
            reason = yield from self._text(self._words_preamble())
        cached = min(self._cached, read)
        yield Finished(reason, read, self._drawn, cached, self._call_probability, tuple(self._decided))

    def _calls_at_the_opening(self) -> Iterator[Event]:
        """Yield the calls that win at the opening of the answer or after its last result."""
        prompt = self._prompt
        after_result = prompt.ends_with_result
        if not prompt.answered and (pending := self._pending()) is not None:
            tools, request = pending
            # The user answers a question for the values of a call, which is decided already.
            self._must_call = True
            yield from self._call(self.decision_state(request), request, results=0, tools=tools)
            return
        parallel = self._options.parallel
        splits = self._toolset.splits_requests if parallel is None else parallel
        decided = self._requests() if splits and not after_result else []
        if len(decided) < 2:
            decided = [(prompt.question, self.decision_state(None))]
        for question, hidden in decided:
            yield from self._call(hidden, question, results=len(prompt.results) if after_result else 0)

    def decision_state(self, request: str | None) -> torch.Tensor:
        """Return what is decided from for a request alone, or for the conversation if it is None.

        It is the hidden state `(d,)` at the decision position or, with a pretrained prior, the request in its metric.
        """
        head, prompt = self._toolset.head, self._prompt
        if isinstance(head, DescribedTools):
            alone = prompt.question if request is None else request
            return head.request(self._lm, [*(prompt.exchanges if request is None else ()), (alone, "")])
        return self._read(prompt.decision if request is None else self._toolset.prompt.query(request)).hidden

    @property
    def _answers_with(self) -> AnswerKind:
        return answer_kind(self._options.answer, self._toolset.prompt)

    def _written_answer(self) -> WrittenAnswer | None:
        """Return the restrictions of an answer in words; None where the LM may write anything."""
        prompt = self._prompt
        if self._toolset.prompt.everywhere or self._answers_with != "write":
            return None
        if prompt.results or prompt.errors:
            return WrittenAnswer(prompt.context)
        return WrittenAnswer(None) if any(turn.calls for turn in prompt.turns) else None

    def _words_preamble(self) -> str:
        """Return the text before the conversation while the LM writes an answer in words."""
        form, text = self._toolset.prompt, self._prompt.text
        if not isinstance(form, PromptFormat) or isinstance(text, MarkedText) or form.everywhere:
            return ""
        before = form.words_preamble
        # In a short context, the conversation comes first.
        fits = len(self._tokens(before + text)) + self._max_tokens <= self._lm.max_length
        return before if fits else ""

    def _requests(self) -> list[tuple[str, torch.Tensor]]:
        """Return the requests of a message with their hidden states, if it has several and each is complete.

        A part of a request that lacks what its tool requires is no request, such as "a high chair" in "a table for 4
        and a high chair".
        """
        question, tools = self._prompt.question, self._options.tools
        decided: list[tuple[str, torch.Tensor]] = []
        for part in parts_of(question):
            hidden = self.decision_state(part)
            # A required call need not be in every part of the request.
            started = self._winner(hidden, tools, results=0, must=False)
            if started is not None and self._question(started.name, part, part) is None:
                decided.append((part, hidden))
        if len(decided) > 1:
            return decided
        shares = shared_parts_of(question) or self._coded_parts()
        shared = [(part, self.decision_state(part)) for part in shares]
        winners = [self._winner(hidden, tools, results=0, must=self._must_call) for _, hidden in shared]
        names = {None if one is None else one.name for one in winners}
        name = names.pop() if len(names) == 1 else None
        if name is None or not self._toolset.spec(name).parameters.get("required"):
            return []
        if _takes_lists(self._toolset.spec(name)) or any(self._question(name, part, part) for part, _ in shared):
            return []
        return shared

    def _coded_parts(self) -> list[str]:
        """Return a request for each code of a message, such as "cancel A1 and A2", for a tool that takes only one."""
        question, tools = self._prompt.question, self._options.tools
        if not re.search(r"\band\b|,|&", question) or not any(character.isdigit() for character in question):
            return []
        started = self._winner(self.decision_state(question), tools, results=0, must=self._must_call)
        if started is None:
            return []
        spec = self._toolset.spec(started.name)
        coded = [name for name, schema in spec.arguments.items() if "pattern" in schema]
        if len(coded) != 1 or spec.parameters.get("required") != coded:
            return []
        found = self._options.evidence.of(spec, ValueSource(question, question), self._toolset.all_few_shot(spec.name))
        values = found.parameters["properties"].get(coded[0], {}).get("enum") or []
        if len(values) < 2 or not all(value in question for value in values):
            return []
        return [
            " ".join(re.sub("|".join(map(re.escape, set(values) - {value})), "", question).split()) for value in values
        ]

    def _pending(self) -> tuple[tuple[str, ...], str] | None:
        """Return the tools whose missing values the last message gives, and the whole request; None where it does not.

        The question is recognised by its text, so that a conversation needs no further state.
        """
        earlier, options, question = self._prompt.earlier, self._options, self._prompt.question
        before = self._prompt.context.removesuffix(question).rstrip("\n")
        if not earlier or options.missing != "ask" or not may_be_question(earlier[-1][1]):
            return None
        for first in range(len(earlier) - 1, -1, -1):
            request = "\n".join(question for question, _ in earlier[first:])
            tools = [name for name in options.tools if self._question(name, request, before) == earlier[-1][1]]
            if tools:
                whole = f"{request}\n{question}"
                context = self._prompt.context
                answered = tuple(name for name in tools if self._question(name, whole, context) != earlier[-1][1])
                return (answered, whole) if answered else None
        return None

    def _question(self, tool: str, request: str, context: str) -> str | None:
        """Return what a request for a tool is answered with where it lacks values."""
        spec = self._toolset.spec(tool)
        known = self._toolset.all_few_shot(tool)
        found = self._options.evidence.of(spec, ValueSource(request, context), known)
        return question_for(spec, found.missing, found.refused) or None

    def _text(self, before: str) -> Generator[Event, None, "_Reason"]:
        """Yield text up to the end of the answer or, in running text with calls, up to the call that wins.

        `before` precedes the conversation.
        """
        form, options, longest, prompt = self._toolset.prompt, self._options, self._lm.max_length, self._prompt
        text = before + prompt.text if isinstance(prompt.text, str) else prompt.text
        reading = self._read(text, len(self._tokens(before)) if before else 0)
        session, hidden, logits = reading.session, reading.hidden, reading.logits
        stop, ends = (form.stop, self._lm.stop_ids) if isinstance(form, PromptFormat) else ((), form.stop_ids(self._lm))
        growing = GrowingText(self._lm, (*stop, *options.stop))
        answer = self._written_answer()
        reason: _Reason = "stop"
        while True:
            if form.everywhere and options.tools:
                yield from self._call(hidden, self._prompt.question, results=0, text=growing)
                if self._made:
                    reason = "tool_calls"
                    break
            if self._drawn >= self._max_tokens:
                reason = "length"
                break
            if answer is None:
                token = self._sampler.token(logits)
            else:
                token = answer.token(self._lm, self._sampler, logits, growing, ends.__contains__)
            self._drawn += 1
            if token in ends:
                break
            piece, stopped = growing.add(token)
            if piece:
                yield TextPiece(piece)
            # Without tools the text is that of the LM's `generate`, repetitions included.
            if stopped or (piece and options.tools and is_repeating(growing.text)):
                break
            # Where no tool can follow it, the last token need not go through the LM.
            if len(session.ids) >= longest or (self._drawn >= self._max_tokens and not form.everywhere):
                reason = "length"
                break
            hidden, logits = self._feed(session, [token])
        self._texts.keep(session)
        if not growing.stopped and (tail := growing.finish()):
            yield TextPiece(tail)
        asked_to_stop = growing.stopped and options.stop
        if reason == "stop" and not growing.text.strip() and not asked_to_stop and not form.everywhere:
            yield TextPiece(nothing_said(prompt, form))
        return reason

    def _winner(self, hidden: torch.Tensor, tools: Sequence[str], *, results: int, must: bool) -> CallStarted | None:
        """Return the call if a tool wins the joint softmax over vocabulary and tools."""
        decision = None
        if self._toolset.head is not None:
            decision = self._toolset.decide(hidden, self._options.tools, results=results)
        probability = float(decision.call_probability) if decision is not None else 0.0
        if self._call_probability is None:
            self._call_probability = probability
        if not tools or decision is None:
            return None
        if not must and not self._calls_at(probability):
            return None
        if tools is not self._options.tools:
            decision = self._toolset.decide(hidden, tools, results=results)
        shares = decision.shares
        best = self._sampler.tool(shares)
        if not must and probability * float(shares[best]) < least_probability(
            self._options.min_probability, tools[best]
        ):
            return None
        scale = 1.0 if must else probability
        order = torch.topk(shares, min(RUNNERS_UP + 1, len(tools))).indices.tolist()
        others = [at for at in order if at != best and float(shares[at]) > 0][:RUNNERS_UP]
        return CallStarted(
            tools[best], scale * float(shares[best]), tuple((tools[at], scale * float(shares[at])) for at in others)
        )

    def _calls_at(self, probability: float) -> bool:
        """Return whether a tool is called at a P(call), which is recorded."""
        head, least = self._toolset.head, self._options.min_probability
        assert head is not None
        self._decided.append(probability)
        own = isinstance(head, DescribedTools) and isinstance(least, float | int)
        return self._sampler.calls(probability, 0.0 if own else head.threshold)

    def _call(
        self,
        hidden: torch.Tensor,
        question: str,
        *,
        results: int,
        text: GrowingText | None = None,
        tools: Sequence[str] | None = None,
    ) -> Iterator[Event]:
        """Yield the call that is decided at a hidden state `(d,)`, if any, after text that was held back."""
        left = self._options.tools if tools is None else tools
        while True:
            started = self._winner(hidden, left, results=results, must=self._must_call)
            if started is None:
                self._must_call = False
                return
            # A call that may repeat an earlier one is yielded only after its arguments are known.
            may_repeat = any(name == started.name for name, _ in self._calls)
            events = self._arguments(started.name, hidden, question, None if text is None else text.text)
            first = next(events)
            if isinstance(first, Question):
                yield from self._ask(first, results, text)
                return
            events = chain([first], events)
            written = list(events) if may_repeat else []
            if may_repeat and self._repeats(written[-1]):
                if not self._must_call:
                    return
                left = tuple(name for name in left if name != started.name)
                continue
            if text is not None and (held := text.finish()):
                yield TextPiece(held)
            yield started
            for event in written or events:
                yield event
                if isinstance(event, CallFinished):
                    self._calls.add((event.name, canonical(event.arguments)))
            self._made += 1
            return

    def _ask(self, question: Question, results: int, text: GrowingText | None) -> Iterator[Event]:
        """Yield a question for the values of a call; after a result, the call is dropped, as it hardly is one."""
        self._must_call = False
        if results:
            return
        self._asked = True
        if text is not None:
            yield TextPiece(f"{text.finish()} {question.text}")
        else:
            yield question

    def _repeats(self, event: Event) -> bool:
        """Return whether a finished call repeats one of this turn."""
        assert isinstance(event, CallFinished)
        return event.error is None and (event.name, canonical(event.arguments)) in self._calls

    def _arguments(
        self, tool: str, hidden: torch.Tensor, question: str, written: str | None
    ) -> Iterator[ArgumentsPiece | CallFinished | Question]:
        """Yield the pieces of the arguments and the finished call, or only a question for their values."""
        prompt, spec = self._prompt, self._toolset.spec(tool)
        shown = self._toolset.few_shot(tool, hidden)
        form, results, context = self._toolset.prompt, prompt.results, prompt.context
        rule = self._options.copy_rule
        limits = None if rule is None else rule(tool, results, prompt.before)
        if written is not None:
            # In running text the sentence says what is to be computed, earlier results included.
            question, results, limits = PromptFormat.recent(prompt.answer + written), (), None
            context = f"{context}\n{question}"
        prompts = argument_prompts(form, prompt, spec, shown, question, results)
        source = ValueSource("\n".join([question, *results]), context)
        known = self._toolset.all_few_shot(tool)
        follow_up = None if results or written is not None else FollowUp.of(spec, question, prompt.earlier_calls)

        def evidence(finished: dict[str, Any]) -> EvidencedArguments:
            found = self._options.evidence.of(spec, source, known, finished)
            return found if follow_up is None else follow_up.restricted(found, finished)

        found = evidence({})
        if self._options.missing != "write" and (found.missing or found.refused):
            yield self._lacking(spec, found)
            return
        writer = ArgumentWriter(self._toolset, self._texts, self._feed)
        budget = self._max_tokens - self._drawn
        yield from writer.write(tool, prompts, context, self._sampler, budget, limits, evidence)
        self._drawn += writer.drawn

    def _lacking(self, spec: ToolSpec, found: EvidencedArguments) -> Question | CallFinished:
        """Return what the turn says about a call that lacks values."""
        if self._options.missing == "ask":
            return Question(question_for(spec, found.missing, found.refused))
        return CallFinished(spec.name, {}, "{}", refusal_of(spec, found.missing, found.refused))

    def _tokens(self, text: str | MarkedText) -> list[int]:
        """Return the token ids of a text, tokenised once per turn."""
        if text not in self._encoded:
            self._encoded[text] = self._lm.encode(text).ids
        return self._encoded[text]

    def _read(self, text: str | MarkedText, before: int = 0) -> Prefill:
        """Read a text; the first `before` tokens are not the conversation's."""
        reading = self._texts.prefill(self._tokens(text))
        self._cached = max(self._cached, reading.reused - before)
        return reading


def _takes_lists(spec: ToolSpec) -> bool:
    """Tell whether one call of a tool may take several values."""
    return any("array" in str(schema.get("type") or schema.get("anyOf") or "") for schema in spec.arguments.values())


_Reason = Literal["stop", "length", "tool_calls"]
