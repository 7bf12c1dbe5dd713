"""`Decoder`: one assistant turn as a stream of events: text from the LM, and calls where tools win."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from toolken.agents.conversation import Prompt, canonical
from toolken.agents.decoding.answers import AnswerKind, answer_kind, longest_answer, nothing_said, results_text
from toolken.agents.decoding.argument_prompts import argument_prompts
from toolken.agents.decoding.arguments import ArgumentWriter, Feed, feed_alone
from toolken.agents.decoding.events import ArgumentsPiece, CallFinished, CallStarted, Event, Finished, TextPiece
from toolken.agents.decoding.growing_text import GrowingText
from toolken.agents.decoding.request_parts import parts_of
from toolken.agents.decoding.sampling import Sampler
from toolken.agents.decoding.toolset import Toolset
from toolken.agents.decoding.written_answer import WrittenAnswer
from toolken.agents.grammar.copy_limits import CopyRule
from toolken.training.lm.marked_text import MarkedText
from toolken.training.lm.prefix_cache import Prefill, PrefixCache
from toolken.training.prompts.prompt_format import PromptFormat

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
        Decide about each part of a request separately, so that one turn may have several calls.
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
        or `"results"`, the results alone. None: `"write"` in a chat template, otherwise `"results"`.
    """

    tools: tuple[str, ...] = ()
    must_call: bool = False
    parallel: bool = False
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    copy_rule: CopyRule | None = None
    answer: AnswerKind | None = None


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
        elif prompt.ends_with_result and not form.everywhere and self._answers_with == "results":
            yield TextPiece(results_text(prompt, form))
        else:
            reason = yield from self._text(self._words_preamble())
        cached = min(self._cached, read)
        yield Finished(reason, read, self._drawn, cached, self._call_probability, tuple(self._decided))

    def _calls_at_the_opening(self) -> Iterator[Event]:
        """Yield the calls that win at the opening of the answer or after its last result."""
        prompt, form = self._prompt, self._toolset.prompt
        after_result = prompt.ends_with_result
        parts = parts_of(prompt.question) if self._options.parallel and not after_result else []
        decided = []
        for part in parts:
            hidden = self._decision_state(form.query(part))
            # A required call need not be in every part of the request.
            if self._winner(hidden, self._options.tools, results=0, must=False) is not None:
                decided.append((part, hidden))
        if len(decided) < 2:
            decided = [(prompt.question, self._decision_state(prompt.decision))]
        for question, hidden in decided:
            yield from self._call(hidden, question, results=len(prompt.results) if after_result else 0)

    def _decision_state(self, text: str | MarkedText) -> torch.Tensor:
        """Return the hidden state `(d,)` at the decision position, the end of a text."""
        return self._read(text).hidden

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
            if stopped:
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
        scale = 1.0 if must else probability
        order = torch.topk(shares, min(RUNNERS_UP + 1, len(tools))).indices.tolist()
        others = [at for at in order if at != best and float(shares[at]) > 0][:RUNNERS_UP]
        return CallStarted(
            tools[best], scale * float(shares[best]), tuple((tools[at], scale * float(shares[at])) for at in others)
        )

    def _calls_at(self, probability: float) -> bool:
        """Return whether a tool is called at a P(call), which is recorded."""
        assert self._toolset.head is not None
        self._decided.append(probability)
        return self._sampler.calls(probability, self._toolset.head.threshold)

    def _call(
        self, hidden: torch.Tensor, question: str, *, results: int, text: GrowingText | None = None
    ) -> Iterator[Event]:
        """Yield the call that is decided at a hidden state `(d,)`, if any, after text that was held back."""
        left = self._options.tools
        while True:
            started = self._winner(hidden, left, results=results, must=self._must_call)
            if started is None:
                self._must_call = False
                return
            # A call that may repeat an earlier one is yielded only after its arguments are known.
            may_repeat = any(name == started.name for name, _ in self._calls)
            events = self._arguments(started.name, hidden, question, None if text is None else text.text)
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

    def _repeats(self, event: Event) -> bool:
        """Return whether a finished call repeats one of this turn."""
        assert isinstance(event, CallFinished)
        return event.error is None and (event.name, canonical(event.arguments)) in self._calls

    def _arguments(
        self, tool: str, hidden: torch.Tensor, question: str, written: str | None
    ) -> Iterator[ArgumentsPiece | CallFinished]:
        head, prompt, spec = self._toolset.head, self._prompt, self._toolset.spec(tool)
        assert head is not None
        shown = self._toolset.few_shot(tool, hidden)
        form, results, context = head.prompt, prompt.results, prompt.context
        rule = self._options.copy_rule
        limits = None if rule is None else rule(tool, results, prompt.before)
        if written is not None:
            # In running text the sentence says what is to be computed, earlier results included.
            question, results, limits = PromptFormat.recent(prompt.answer + written), (), None
            context = f"{context}\n{question}"
        prompts = argument_prompts(form, prompt, spec, shown, question, results)
        writer = ArgumentWriter(self._toolset, self._texts, self._feed)
        budget = self._max_tokens - self._drawn
        yield from writer.write(tool, prompts, context, self._sampler, budget, limits)
        self._drawn += writer.drawn

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


_Reason = Literal["stop", "length", "tool_calls"]
