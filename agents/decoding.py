"""`Decoder`: reasoning mode and argument mode over a frozen LM, as a stream of events."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from toolken.agents.conversation import Prompt
from toolken.agents.grammar import argument_matcher
from toolken.errors import ToolSpecError
from toolken.training.head import ToolkenHead
from toolken.training.lm import FrozenLM, Session
from toolken.training.tool_spec import ToolSpec

#: Texts whose KV cache is kept for the next turn that begins in the same way.
CACHED_TEXTS = 8
#: Tools named with their probability beside the one that won.
RUNNERS_UP = 4


@dataclass(frozen=True)
class TextPiece:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True)
class CallStarted:
    """A tool has won: its name, its probability in the race against words and tools, and the next best tools."""

    name: str
    probability: float
    runners_up: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ArgumentsPiece:
    """A piece of the call's arguments, JSON text."""

    text: str


@dataclass(frozen=True)
class CallFinished:
    """The arguments are complete; `error` says why they cannot be used, if so."""

    name: str
    arguments: dict[str, Any]
    text: str
    error: str | None = None


@dataclass(frozen=True)
class Finished:
    """The end of the turn: why it ended, and the tokens that went in and came out."""

    reason: Literal["stop", "length", "tool_calls"]
    input_tokens: int
    output_tokens: int


Event = TextPiece | CallStarted | ArgumentsPiece | CallFinished | Finished


@dataclass(frozen=True)
class DecodingOptions:
    """How a turn is decoded.

    Attributes
    ----------
    tools
        Names of the tools that may be called.
    must_call
        Call one of them at once instead of writing words.
    max_tokens
        Bound on words and arguments together.
    temperature
        0 takes the likeliest token, and a tool from the head's threshold on; above 0 tokens and tools are drawn.
    top_p
        Draw from the likeliest tokens that together have this probability.
    seed
        Of the draw.
    stop
        Texts at which the answer ends, besides those of the prompt format.
    """

    tools: tuple[str, ...] = ()
    must_call: bool = False
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Decoder:
    """Writes a turn: words from the LM, tool calls from the head, arguments under a grammar.

    Parameters
    ----------
    lm, head
        The LM and the head that was fitted with it.

    Raises
    ------
    FingerprintError
        If the head was fitted with another LM.
    """

    def __init__(self, lm: FrozenLM, head: ToolkenHead) -> None:
        head.check(lm)
        self.lm = lm
        self.head = head
        self._texts: OrderedDict[int, Session] = OrderedDict()
        self._texts_lock = threading.Lock()

    def decode(self, prompt: Prompt, options: DecodingOptions) -> Iterator[Event]:
        """Continue a conversation up to the next call or the end of the answer.

        Raises
        ------
        PromptTooLongError
            If the conversation does not fit the LM's context.
        ToolSpecError
            If a tool is not in the head, or its argument schema cannot be compiled to a grammar.
        """
        draw = torch.Generator()
        if options.seed is None:
            draw.seed()
        else:
            draw.manual_seed(options.seed)
        form = self.head.prompt
        read = len(self.lm.encode(prompt.text).ids)
        decided: _Decided | None = None
        if options.tools and not form.everywhere:
            # Behind a result, another call is decided after the words that would introduce its result.
            place = prompt.text + (form.between if prompt.ends_with_result else "")
            session, fresh = self._resume(self.lm.encode(place).ids)
            hidden, _ = session.feed(fresh)
            self._keep(session)
            decided = self._race(hidden, options, draw, after_result=prompt.ends_with_result)
        ended = _Ended("stop", 0)
        if decided is None and prompt.ends_with_result and not form.everywhere:
            # The results are the answer; a small model would only spoil their digits.
            yield TextPiece(form.closing)
        elif decided is None:
            before = "" if form.everywhere else form.words_preamble
            if len(self.lm.encode(before + prompt.text).ids) + options.max_tokens > self.lm.max_length:
                before = ""  # where there is little room, the conversation comes first
            for piece in self._write_words(before + prompt.text, options, draw):
                match piece:
                    case _Decided():
                        decided = piece
                    case _Ended():
                        ended = piece
                    case TextPiece():
                        yield piece
        if decided is None:
            yield Finished(ended.reason, read, ended.tokens)
            return
        yield decided.call
        written = ended.tokens
        for event in self._write_arguments(decided, prompt, options, draw, options.max_tokens - written):
            if isinstance(event, int):
                written += event
            else:
                yield event
        yield Finished("tool_calls", read, written)

    def _write_words(
        self, text: str, options: DecodingOptions, draw: torch.Generator
    ) -> "Iterator[TextPiece | _Decided | _Ended]":
        """Yield words up to the end of the answer or, where tools race everywhere, to the call that wins."""
        session, fresh = self._resume(self.lm.encode(text).ids)
        growing = _GrowingText(self.lm, (*self.head.prompt.stop, *options.stop))
        written = 0
        reason: Literal["stop", "length"] = "stop"
        decided: _Decided | None = None
        while True:
            if written and len(session.ids) + len(fresh) > self.lm.max_length:
                reason = "length"
                break
            hidden, logits = session.feed(fresh)
            if self.head.prompt.everywhere:
                decided = self._race(hidden, options, draw, after_result=False)
            if decided is not None:
                break
            if written >= options.max_tokens:
                reason = "length"
                break
            token = _draw(logits, options, draw)
            written += 1
            if token in self.lm.stop_ids:
                break
            piece, stopped = growing.add(token)
            if piece:
                yield TextPiece(piece)
            if stopped:
                break
            fresh = [token]
        self._keep(session)
        if not growing.stopped and (tail := growing.finish()):
            yield TextPiece(tail)
        yield _Ended(reason, written)
        if decided is not None:
            yield decided

    def _race(
        self, hidden: torch.Tensor, options: DecodingOptions, draw: torch.Generator, *, after_result: bool
    ) -> "_Decided | None":
        """Let the tools race against the words; return the call if a tool wins."""
        if not options.tools:
            return None
        odds = self.head.gate.log_odds(hidden[None].double(), after_result=after_result)
        call_probability = float(torch.sigmoid(odds[0]))
        drawn = options.temperature > 0
        if not options.must_call:
            bar = float(torch.rand(1, generator=draw)) if drawn else self.head.threshold
            if call_probability < bar:
                return None
        shares = self.head.selection(hidden[None], options.tools)[0].exp()
        order = torch.argsort(shares, descending=True).tolist()
        best = int(torch.multinomial(shares, 1, generator=draw)) if drawn else order[0]
        scale = 1.0 if options.must_call else call_probability
        others = [i for i in order if i != best and float(shares[i]) > 0][:RUNNERS_UP]
        names = self.head.names
        call = CallStarted(
            names[best], scale * float(shares[best]), tuple((names[i], scale * float(shares[i])) for i in others)
        )
        return _Decided(call, hidden)

    def _write_arguments(
        self, decided: "_Decided", prompt: Prompt, options: DecodingOptions, draw: torch.Generator, budget: int
    ) -> Iterator[ArgumentsPiece | CallFinished | int]:
        """Yield the arguments as they are written, the finished call, and the number of tokens drawn."""
        spec = self.head.specs[self.head.names.index(decided.call.name)]
        matcher = argument_matcher(self.lm, spec, prompt.context)
        shown = self.head.demonstrations_for(spec.name, decided.hidden)
        before = self.head.prompt.argument_prompt(spec, shown, prompt.question, prompt.results)
        session, fresh = self._resume(self.lm.encode(before).ids)
        text = _GrowingText(self.lm, ())
        drawn = 0
        while not matcher.is_stopped():
            forced = matcher.compute_ff_tokens()
            if forced:
                # Keys, quotes and brackets that the grammar leaves no choice about are not asked of the LM.
                matcher.consume_tokens(forced)
                tokens = list(forced)
                fresh = [*fresh, *tokens]
            else:
                if drawn >= budget or len(session.ids) + len(fresh) > self.lm.max_length:
                    break
                _, logits = session.feed(fresh)
                token = _draw(_masked(logits, matcher.compute_bitmask()), options, draw)
                drawn += 1
                if token in self.lm.stop_ids or not matcher.consume_token(token):
                    break
                tokens, fresh = [token], [token]
            for one in tokens:
                piece, _ = text.add(one)
                if piece:
                    yield ArgumentsPiece(piece)
        if tail := text.finish():
            yield ArgumentsPiece(tail)
        self._keep(session)
        yield _finished_call(spec, text.text)
        yield drawn

    def _resume(self, ids: Sequence[int]) -> tuple[Session, list[int]]:
        """Return a session that holds the longest prefix of a text that is cached, and the tokens still to feed."""
        with self._texts_lock:
            best = max(self._texts.values(), key=lambda kept: kept.common_prefix(ids), default=None)
            session = best.fork() if best is not None else self.lm.start()
            if best is not None:
                self._texts.move_to_end(id(best))
        shared = min(session.common_prefix(ids), len(ids) - 1)
        session.truncate(shared)
        return session, list(ids[shared:])

    def _keep(self, session: Session) -> None:
        with self._texts_lock:
            self._texts[id(session)] = session
            while len(self._texts) > CACHED_TEXTS:
                self._texts.popitem(last=False)


@dataclass(frozen=True)
class _Decided:
    """A call that won, and the hidden state `(d,)` at which it did."""

    call: CallStarted
    hidden: torch.Tensor


@dataclass(frozen=True)
class _Ended:
    """Why words ended, and how many tokens they took."""

    reason: Literal["stop", "length"]
    tokens: int


class _GrowingText:
    """Text that grows token by token: gives out what is certain, holds back half characters and half stop texts."""

    def __init__(self, lm: FrozenLM, stop: Sequence[str]) -> None:
        self._lm = lm
        self._stop = [s for s in stop if s]
        self._ids: list[int] = []
        self._given = 0
        self.text = ""
        self.stopped = False

    def add(self, token: int) -> tuple[str, bool]:
        """Return the text that has become certain, and whether a stop text was reached."""
        self._ids.append(token)
        self.text = self._lm.decode(self._ids)
        ends = [at for stop in self._stop if (at := self.text.find(stop)) >= 0]
        if ends:
            self.text = self.text[: min(ends)]
            self.stopped = True
            return self._give(len(self.text)), True
        certain = len(self.text)
        if self.text.endswith("\ufffd"):
            certain -= 1
        for stop in self._stop:
            for length in range(min(len(stop) - 1, certain), 0, -1):
                if self.text.endswith(stop[:length]):
                    certain = min(certain, len(self.text) - length)
                    break
        return self._give(certain), False

    def finish(self) -> str:
        """Return what was held back."""
        return self._give(len(self.text))

    def _give(self, end: int) -> str:
        piece = self.text[self._given : end]
        self._given = max(self._given, end)
        return piece


def _finished_call(spec: ToolSpec, text: str) -> CallFinished:
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError as error:
        return CallFinished(spec.name, {}, text, f"The arguments are not complete JSON ({error}): allow more tokens.")
    if not isinstance(arguments, dict):
        return CallFinished(spec.name, {}, text, "The arguments are not a JSON object.")
    return CallFinished(spec.name, arguments, text)


def _masked(logits: torch.Tensor, mask: bytes) -> torch.Tensor:
    """Return logits `(V,)` with minus infinity where the mask, one bit a token, is off."""
    bits = np.unpackbits(np.frombuffer(mask, dtype=np.uint8), bitorder="little")[: len(logits)]
    if not bits.any():
        raise ToolSpecError("The grammar of the arguments allows no token: simplify the tool's schema.")
    allowed = torch.from_numpy(bits.astype(bool))
    padded = torch.zeros(len(logits), dtype=torch.bool)
    padded[: len(allowed)] = allowed
    return logits.cpu().masked_fill(~padded, -torch.inf)


def _draw(logits: torch.Tensor, options: DecodingOptions, draw: torch.Generator) -> int:
    """Return the likeliest token, or one drawn by temperature and top-p."""
    if options.temperature <= 0:
        return int(logits.argmax())
    probabilities = torch.softmax(logits.cpu() / options.temperature, dim=-1)
    if options.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        beyond = ordered.cumsum(0) - ordered >= options.top_p
        probabilities[order[beyond]] = 0
    return int(torch.multinomial(probabilities, 1, generator=draw))
