"""`ToolkenChatModel`: a LangChain chat model whose tool calls are toolkens."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import ConfigDict, Field, InstanceOf, PrivateAttr, SecretStr

from toolken.agents.bound_tools import BoundTools, chosen
from toolken.agents.chat_options import CallOptions
from toolken.agents.chunks import ChunkWriter
from toolken.agents.conversation import to_prompt
from toolken.agents.decoding.batching import at_once, claimed, in_a_thread, in_lockstep, taking_part
from toolken.agents.decoding.decoder import DecodingOptions
from toolken.agents.decoding.lazy_model import LazyModel
from toolken.agents.decoding.stepping import Stepping
from toolken.agents.served import ServedModel
from toolken.agents.structured_output import structured_output
from toolken.errors import ServerError
from toolken.training.examples import FewShotExample
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import Backend, FrozenLM
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.tool_spec import ToolLike


class ToolkenChatModel(BaseChatModel):
    """A chat model over a frozen LM and a toolken head.

    Tools are bound with `bind_tools` as with any LangChain chat model. Those the head was fitted with use their
    toolkens; any other tool gets one from its description, once. No tool costs a prompt token, and no tool can be
    called by a name that was not bound.

    Making one is cheap: the LM is loaded when it is first asked, or when tools are first bound.

    Attributes
    ----------
    lm
        The LM, or where to load it from: a folder, a GGUF file, a hub id. By default the head's, or the embedded one.
    base_url
        Address of a server, up to `/v1`, that has an exported head (`toolken export`): it is asked, and no LM is loaded
        here. `lm` is then what the server calls the checkpoint, best the export's folder; by default the server's only
        model. Grounding, few-shot examples and parallel calls are for an LM in memory.
    backend
        What runs an LM that is not loaded yet: `"transformers"`, or `"llama.cpp"` for GGUF files and the embedded LM.
    head
        A head that was fitted with the LM, or the folder of one. Without one, all toolkens come from descriptions.
    temperature, top_p, seed
        How tokens are drawn; temperature 0 takes the likeliest.
    max_tokens
        Bound on the tokens of one message.
    stop
        Texts at which every answer ends, if the LM writes them; the opening of an answer is not the LM's.
    timeout
        Seconds after which an answer that is not finished is given up with a `TimeoutError`.
    max_calls
        Calls of one turn after which it is finished in words, so that a loop round the model ends; None for no bound.
    parallel_tool_calls
        Whether each part of a request is decided by itself, so that one message may have several calls. Off by
        default: a call often needs the result of the one before.
    max_retries, api_key, streaming
        LangChain's standard parameters, taken so that code written for other chat models runs. A model in memory has
        nothing to retry and nobody to identify itself to; a server is told the key.

    Examples
    --------
    >>> model = ToolkenChatModel.from_pretrained("heads/calculator")  # doctest: +SKIP
    >>> model.bind_tools(tools).invoke("What is 12 times 34?").tool_calls  # doctest: +SKIP
    """

    # A misspelt option is an error rather than silently without effect.
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    lm: InstanceOf[FrozenLM] | str | Path | None = Field(default=None, exclude=True)
    base_url: str | None = None
    backend: Backend = "transformers"
    head: InstanceOf[ToolkenHead] | str | Path | None = Field(default=None, exclude=True)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = None
    max_tokens: int = Field(256, gt=0)
    stop: list[str] | None = None
    timeout: float | None = Field(default=None, gt=0)
    max_calls: int | None = Field(default=16, ge=0)
    parallel_tool_calls: bool = False
    max_retries: int | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True)
    streaming: bool = False

    _used: LazyModel | None = PrivateAttr(default=None)
    _server: ServedModel | None = PrivateAttr(default=None)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, lm: FrozenLM | str | Path | None = None, **options: Any
    ) -> "ToolkenChatModel":
        """Read a head; its LM is loaded when it is first needed.

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
            If `lm` is not the head's; where it is not loaded yet, this is found when it is.
        """
        head = ToolkenHead.from_pretrained(folder, lm if isinstance(lm, FrozenLM) else None)
        return cls(lm=lm, head=head, **options)

    @property
    def model_name(self) -> str:
        """The name of the LM."""
        return self._lazy.lm_name if self._served is None else self._served.name

    @property
    def _served(self) -> ServedModel | None:
        """The server that is asked instead of an LM in memory, if one is."""
        if self.base_url is None:
            return None
        if self.head is not None or isinstance(self.lm, FrozenLM):
            raise ServerError("With base_url the server has LM and head: leave `head` away, and let `lm` be its name.")
        name = None if self.lm is None else str(self.lm)
        given = (self.base_url, name, self.api_key, self.timeout, self.max_retries)
        with self._lock:
            if self._server is None or self._server.given != given:
                self._server = ServedModel(*given)
            return self._server

    @property
    def _lazy(self) -> LazyModel:
        """The backend of this LM and head; copies of the model share it."""
        with self._lock:
            given = (self.lm, self.head, self.backend)
            if self._used is None or any(a is not b for a, b in zip(self._used.given, given, strict=True)):
                self._used = LazyModel(self.lm, self.head, backend=self.backend)
            return self._used

    @property
    def _llm_type(self) -> str:
        return "toolken-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        own = ("temperature", "top_p", "seed", "max_tokens", "max_calls", "parallel_tool_calls")
        identity = self._lazy.identity() if self._served is None else {"served": self.model_name, "at": self.base_url}
        # LangChain puts the stop texts of the call in the place of the model's own.
        return identity | {name: getattr(self, name) for name in own} | {"own_stop": self.stop}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "toolken"
        params["ls_model_name"] = kwargs.get("model") or self.model_name
        return params

    def _resolve_model_profile(self) -> ModelProfile:
        return self._lazy.profile() if self._served is None else self._served.profile()

    def bind_tools(
        self,
        tools: Sequence[ToolLike],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        grounded: bool | Sequence[str] = (),
        few_shot: Sequence[FewShotExample | dict[str, Any]] = (),
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind the tools that may be called.

        Parameters
        ----------
        tools
            LangChain tools, functions, pydantic classes, TypedDicts, OpenAI-style dicts, tools of MCP servers.
        tool_choice
            None or "auto": the model decides; "none": no call; "any", "required" or True: one of the tools is called;
            a tool's name, or `{"type": "function", "function": {"name": ...}}`: that tool is called.
        grounded
            Arguments that are copied from the conversation, besides those whose schemas say so: names such as "city"
            or "weather.city", or True for every string and number.
        few_shot
            Examples of arguments, `{"tool": ..., "question": ..., "args": {...}}`; the LM sees them only while it
            writes arguments.

        Raises
        ------
        ToolSpecError
            If a tool cannot be read, two share a name, its schema cannot be compiled to a grammar, or `tool_choice`
            names none of them.
        """
        bound = BoundTools.of(tools, grounded=grounded)
        if few_shot:
            # They go with the call, where caches of answers see them.
            kwargs["few_shot"] = BoundTools.of(bound, few_shot=few_shot).few_shot
        chosen(tool_choice, bound.names)  # a wrong choice is reported here, not in mid-stream
        CallOptions.model_validate({name: value for name, value in kwargs.items() if name != "stop"})
        if self._served is None:
            self._lazy.decoder(bound)
        else:
            self._served.check(bound)
        return self.bind(tools=bound, tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self, schema: Any, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable that answers with an object of a schema.

        As `BaseChatModel.with_structured_output`, but where the object cannot be completed that is an error rather
        than None.
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
        """Answer several inputs; each run of the LM extends all the answers."""
        if self._served is not None:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        configs = at_once(config, len(inputs))
        with in_lockstep(self._lazy.lm, configs):
            return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer several inputs; each run of the LM extends all the answers."""
        if self._served is not None:
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        configs = at_once(config, len(inputs))
        lm = await in_a_thread(lambda: self._lazy.lm)
        with in_lockstep(lm, configs):
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
            cancelled.set()  # the thread stops before its next run of the LM
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
        with claimed() as lockstep, taking_part(lockstep):
            stepping = Stepping(lockstep, self._timeout(kwargs), cancelled)
            result = generate_from_stream(self._chunks(messages, stop, run_manager, writer, stepping, kwargs))
        message = result.generations[0].message
        assert isinstance(message, AIMessage)
        writer.tell_reasons(message)
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
        given = CallOptions.model_validate(kwargs)
        bound = BoundTools.of(given.tools, grounded=given.grounded, few_shot=given.few_shot)
        names, must_call = chosen(given.tool_choice, bound.names)
        served = self._served
        decoder = self._lazy.decoder(bound) if served is None else None
        prompt = to_prompt(messages, decoder.toolset.prompt if decoder is not None else PromptFormat())
        if self.max_calls is not None and prompt.calls >= self.max_calls:
            names = ()
        options = DecodingOptions(
            tools=names,
            must_call=must_call,
            parallel=_first(given.parallel_tool_calls, self.parallel_tool_calls),
            max_tokens=_first(given.max_tokens, self.max_tokens),
            temperature=_first(given.temperature, self.temperature),
            top_p=_first(given.top_p, self.top_p),
            seed=_first(given.seed, self.seed),
            stop=(*(stop or []), *(self.stop or [])),
        )
        if served is not None:
            chunks = served.chunks(messages, bound, options)
        else:
            assert decoder is not None
            chunks = writer.chunks(decoder.decode(prompt, options, stepping.feed), prompt)
        for chunk in chunks:
            if run_manager is not None:
                run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
            yield chunk

    def _timeout(self, kwargs: dict[str, Any]) -> float | None:
        given = kwargs.get("timeout")
        return self.timeout if given is None else given


def _first(given: Any, own: Any) -> Any:
    """Return an option of the call, or the model's own where the call has none."""
    return own if given is None else given
