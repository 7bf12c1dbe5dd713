"""`ToolkenChatModel`: a LangChain chat model whose tool calls are toolkens."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import Field, field_validator

from toolken.agents.bound_tools import BoundTools, chosen
from toolken.agents.chat_conversation import conversation_prompt
from toolken.agents.chat_options import CallOptions, stop_texts
from toolken.agents.chunks import ChunkWriter
from toolken.agents.context_overflow import Overflow, fitting_prompt
from toolken.agents.decoding.answers import AnswerKind
from toolken.agents.decoding.batching import batch_configs, batched_decoding, claimed_batch, in_a_thread, joined
from toolken.agents.decoding.decoder import DecodingOptions
from toolken.agents.decoding.min_probability import check_min_probability
from toolken.agents.decoding.stepping import Stepping
from toolken.agents.grammar.missing_values import Missing
from toolken.agents.lazy_chat_model import LazyChatModel
from toolken.agents.structured_output import structured_output
from toolken.training.examples import FewShotExample
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolLike


class ToolkenChatModel(LazyChatModel):
    """A chat model over a frozen LM and a toolken head.

    Tools are bound with `bind_tools` as with any LangChain chat model. Tools of the head use their toolkens; any other
    tool gets one from its description, at its first call. No tool costs a prompt token, and no tool can be called by a
    name that was not bound.

    The constructor and `bind_tools` load nothing: LM and head are loaded at the first call.

    Attributes
    ----------
    model
        What to load: a folder, a GGUF file or a hub id; by default the head's LM, or the embedded one. The constructor
        also takes it as `model_name`.
    lm
        A `FrozenLM` in memory, or the same as `model`.
    base_url
        Address, up to `/v1`, of a server with an exported head (`toolken export`), which then answers in place of an
        LM in memory. `model` is the server's name of the checkpoint, best the export's folder; by default the server's
        only model. Grounding, few-shot examples and parallel calls need an LM in memory.
    backend
        What runs the LM: `"transformers"`, or `"llama.cpp"` for GGUF files and the embedded LM.
    device, dtype
        Where and in which number format transformers runs the LM, such as `"cuda"` and `"bfloat16"`.
    model_kwargs
        Further arguments of `FrozenLM.from_pretrained`, such as `{"revision": ...}`.
    head
        A head fitted with the LM, or its folder. Without one, all toolkens come from descriptions.
    prior
        Where there is no head: a pretrained prior of the LM or its folder (`toolken pretrain`), by which tools known by
        their descriptions alone are chosen, and other requests declined. By default the one that comes with toolken for
        this LM, if there is one; False: none.
    format
        How conversations are written: `"chat"` in the LM's chat template, `"question"` as questions and answers in
        plain text, `"auto"` in the chat template where the LM has one; or a format, such as
        `ChatTemplateFormat.of(lm, enable_thinking=False)`. By default the head's format, and `"auto"` without one.
    answer
        What answers after tool results: `"write"`, the LM in its own words, with the numbers of the conversation only;
        or `"results"`, the results alone. By default `"write"` where the chat template takes tools.
    temperature, top_p, seed
        How tokens are drawn; temperature 0 takes the most likely one.
    max_tokens
        Bound on the tokens of one message; by default 512 in a chat template, otherwise 256.
    overflow
        What happens to a conversation longer than the LM's context: `"drop"` omits its oldest exchanges and reports the
        number of dropped messages as `response_metadata["dropped_messages"]`; `"error"` raises a `PromptTooLongError`,
        as a last question that is too long does in any case. A server decides on its own.
    stop
        One text or several at which every answer ends.
    timeout
        Seconds after which an unfinished answer raises a `TimeoutError`.
    max_calls
        Calls per question, after which the turn is finished in text, so that an agent loop ends; None for no bound.
    parallel_tool_calls
        Whether each part of a request is decided separately, so that one message may have several calls. Parts that
        lack a required value, as those that need the result of another call do, are decided together. By default where
        the head has no examples: these teach what a whole message calls.
    missing
        What happens where nothing in the conversation says a required argument, or the schema forbids the value: "ask"
        ends the turn with a question instead of a call, "refuse" makes the call invalid and names the argument, "write"
        lets the LM write some value that the schema admits. By default "ask", and "write" where `tool_choice` requires
        a call.
    min_probability
        P(tool) below which a tool is not called: one number, which replaces the threshold of a pretrained prior, or
        numbers by the tools' names, such as `{"cancel_order": 0.9}`, which hold besides the threshold.
    max_retries, api_key
        Sent to a server; a model in memory ignores them.
    streaming
        LangChain's standard parameter; it has no effect.

    Notes
    -----
    Copies, deep ones included, share the LM, the head and the KV caches. Pickling works where the LM is given by its
    name or path; the LM is then loaded again at the first call.

    Examples
    --------
    >>> model = ToolkenChatModel(head="heads/calculator")  # doctest: +SKIP
    >>> model.bind_tools(tools).invoke("What is 12 times 34?").tool_calls  # doctest: +SKIP
    """

    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = None
    max_tokens: int | None = Field(None, gt=0)
    answer: AnswerKind | None = None
    overflow: Overflow = "drop"
    stop: list[str] | None = None
    max_calls: int | None = Field(default=16, ge=0)
    parallel_tool_calls: bool | None = None
    missing: Missing | None = None
    min_probability: float | dict[str, float] | None = None
    streaming: bool = False

    @field_validator("stop", mode="before")
    @classmethod
    def _read_stop(cls, stop: Any) -> list[str] | None:
        return None if stop is None else stop_texts(stop)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, lm: FrozenLM | str | Path | None = None, **options: Any
    ) -> "ToolkenChatModel":
        """Read a head; its LM is loaded at the first call.

        Parameters
        ----------
        folder
            A folder written by `ToolkenHead.save_pretrained` or `toolken fit`.
        lm
            The LM, or where to load it from; by default the one named in the head.
        options
            The other attributes.

        Raises
        ------
        HeadError
            If the folder has no head.
        FingerprintError
            If `lm` is not the head's; for an LM that is not loaded yet, the first call raises it.
        """
        head = ToolkenHead.from_pretrained(folder, lm if isinstance(lm, FrozenLM) else None)
        return cls(lm=lm, head=head, **options)

    @property
    def _llm_type(self) -> str:
        return "toolken-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        sampled = ("temperature", "top_p", "seed", "max_tokens")
        own = (*sampled, "max_calls", "parallel_tool_calls", "answer", "overflow", "missing", "min_probability")
        identity = self._lazy.identity() if self._served is None else {"served": self.model_name, "at": self.base_url}
        # LangChain replaces the model's `stop` with that of the call.
        return identity | {name: getattr(self, name) for name in own} | {"own_stop": self.stop}

    def bind_tools(
        self,
        tools: Sequence[ToolLike],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        grounded: bool | Sequence[str] = (),
        few_shot: Sequence[FewShotExample | dict[str, Any]] = (),
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind the tools that may be called. Nothing is loaded, and the LM reads their descriptions at the first call.

        Parameters
        ----------
        tools
            LangChain tools, functions, pydantic classes, TypedDicts, OpenAI-style dicts, tools of MCP servers.
        tool_choice
            None or "auto": the model decides; "none": no call; "any", "required" or True: a call is required; a tool's
            name, or `{"type": "function", "function": {"name": ...}}`: a call of that tool is required.
        grounded
            Arguments whose value is any span or number of the conversation, besides those whose schemas say so: names
            such as "city" or "weather.city", or True for every string and number. False: the LM writes all other
            values.
        few_shot
            Examples of arguments, `{"tool": ..., "question": ..., "args": {...}}`; the LM sees them only while it
            writes arguments.
        kwargs
            Options of the calls, such as `temperature`, `missing` and `min_probability`.

        Raises
        ------
        OptionError
            If an option is unknown or its value cannot be used.
        ToolSpecError
            If a tool cannot be read, two share a name, its schema cannot be compiled to a grammar, or `tool_choice`
            names none of them.
        """
        if "ls_structured_output_format" in kwargs:  # LangChain's structured output: an object to write, not a call
            kwargs = {"missing": "write", "parallel_tool_calls": False} | kwargs
            grounded = False if grounded == () else grounded
        bound = BoundTools.of(tools, grounded=grounded)
        if few_shot:
            # As options of the call they are part of the keys of cached answers.
            kwargs["few_shot"] = BoundTools.of(bound, few_shot=few_shot).few_shot
        chosen(tool_choice, bound.names)  # a wrong choice is reported now, not while streaming
        CallOptions.of({name: value for name, value in kwargs.items() if name != "stop"})
        served = self._served
        if served is None:
            self._lazy.check(bound)
        else:
            served.check(bound)
        return self.bind(tools=bound, tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self, schema: Any, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable that answers with an object of a schema, as `BaseChatModel.with_structured_output` does.

        The LM writes the object: unlike a call's arguments, values that are not marked as copied are not, and none is
        asked for. An object that is invalid or incomplete raises an `OutputParserException`.
        """
        return structured_output(super().with_structured_output(schema, include_raw=include_raw, **kwargs))

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer several inputs by batched decoding."""
        if self._served is not None:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        configs = batch_configs(config, len(inputs))
        with batched_decoding(self._lazy.lm, configs):
            return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer several inputs by batched decoding."""
        if self._served is not None:
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        configs = batch_configs(config, len(inputs))
        lm = await in_a_thread(lambda: self._lazy.lm)
        with batched_decoding(lm, configs):
            return await super().abatch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._answer(messages, stop, run_manager, threading.Event(), kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        cancelled = threading.Event()
        callbacks = run_manager.get_sync() if run_manager else None
        try:
            return await in_a_thread(self._answer, messages, stop, callbacks, cancelled, kwargs)
        except asyncio.CancelledError:
            cancelled.set()  # the thread stops before its next decoding step
            raise

    def _answer(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: CallbackManagerForLLMRun | None,
        cancelled: threading.Event,
        kwargs: dict[str, Any],
    ) -> ChatResult:
        writer = ChunkWriter(self.model_name)
        with claimed_batch() as batch, joined(batch):
            stepping = Stepping(batch, self._timeout(kwargs), cancelled)
            result = generate_from_stream(self._chunks(messages, stop, run_manager, writer, stepping, kwargs))
        message = result.generations[0].message
        assert isinstance(message, AIMessage)
        writer.move_invalid_calls(message)
        return result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        stepping = Stepping(None, self._timeout(kwargs))
        yield from self._chunks(messages, stop, run_manager, ChunkWriter(self.model_name), stepping, kwargs)

    def _chunks(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: CallbackManagerForLLMRun | None,
        writer: ChunkWriter,
        stepping: Stepping,
        kwargs: dict[str, Any],
    ) -> Iterator[ChatGenerationChunk]:
        served = self._served
        given = CallOptions.of(kwargs, (self.model_name, self.model))
        bound = BoundTools.of(given.tools, grounded=given.grounded, few_shot=given.few_shot)
        names, must_call = chosen(given.tool_choice, bound.names)
        decoder = self._lazy.decoder(bound) if served is None else None
        longest = _first(given.max_tokens, self.max_tokens)
        if decoder is None:
            prompt, dropped = conversation_prompt(messages, PromptFormat()), 0
        else:
            overflow = _first(given.overflow, self.overflow)
            prompt, dropped = fitting_prompt(messages, decoder.toolset.prompt, decoder.texts.lm, overflow, longest)
        if self.max_calls is not None and prompt.calls >= self.max_calls:
            names = ()
        least = _first(given.min_probability, self.min_probability)
        check_min_probability(least)
        options = DecodingOptions(
            tools=names,
            must_call=must_call,
            parallel=_first(given.parallel_tool_calls, self.parallel_tool_calls),
            max_tokens=longest,
            temperature=_first(given.temperature, self.temperature),
            top_p=_first(given.top_p, self.top_p),
            seed=_first(given.seed, self.seed),
            answer=_first(given.answer, self.answer),
            stop=(*stop_texts(stop), *(self.stop or [])),
            missing=_first(given.missing, self.missing) or ("write" if must_call else "ask"),
            min_probability=least,
        )
        if served is not None:
            chunks = served.chunks(messages, bound, options)
        else:
            assert decoder is not None
            chunks = writer.chunks(decoder.decode(prompt, options, stepping.feed), prompt, dropped)
        for chunk in chunks:
            if run_manager is not None:
                run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
            yield chunk

    def _timeout(self, kwargs: dict[str, Any]) -> float | None:
        given = kwargs.get("timeout")
        return self.timeout if given is None else given


def _first(given: Any, own: Any) -> Any:
    """Return an option of the call, or the model's own if the call has none."""
    return own if given is None else given
