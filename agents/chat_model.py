"""`ToolkenChatModel`: a LangChain chat model whose tool calls are toolkens."""

import hashlib
import json
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from toolken.agents.conversation import to_prompt
from toolken.agents.decoding import (
    ArgumentsPiece,
    CallFinished,
    CallStarted,
    Decoder,
    DecodingOptions,
    Finished,
    TextPiece,
)
from toolken.errors import ToolSpecError
from toolken.training.head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.tool_spec import ToolLike, ToolSpec, tool_specs, unknown_tools


class CallOptions(BaseModel):
    """Options that may be given with a single call, besides `stop`; a misspelt one is an error.

    Attributes
    ----------
    tools, tool_choice
        As `bind_tools` binds them.
    temperature, top_p, seed, max_tokens
        Instead of the model's own.
    model, strict, parallel_tool_calls, ls_structured_output_format
        Taken because LangChain passes them on; they change nothing here.
    """

    model_config = ConfigDict(extra="forbid")

    tools: list[ToolSpec] | None = None
    tool_choice: Any = None
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    max_tokens: int | None = Field(default=None, gt=0)
    model: Any = None
    strict: Any = None
    parallel_tool_calls: Any = None
    ls_structured_output_format: Any = None


class ToolkenChatModel(BaseChatModel):
    """A chat model over a frozen LM and a toolken head.

    Tools are bound with `bind_tools` as with any LangChain chat model. Those the head was fitted with use their
    toolkens; any other tool gets one from its description, once. No tool costs a prompt token, and no tool can be
    called by a name that was not bound.

    Attributes
    ----------
    lm, head
        The LM and the head that was fitted with it.
    temperature, top_p, seed
        How tokens are drawn; temperature 0 takes the likeliest.
    max_tokens
        Bound on the tokens of one message.
    stop
        Texts at which every answer ends.

    Examples
    --------
    >>> model = ToolkenChatModel.from_pretrained("heads/calculator")  # doctest: +SKIP
    >>> model.bind_tools(tools).invoke("What is 12 times 34?").tool_calls  # doctest: +SKIP
    """

    # A misspelt option is an error rather than silently without effect.
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    lm: FrozenLM = Field(exclude=True)
    head: ToolkenHead = Field(exclude=True)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int | None = None
    max_tokens: int = Field(256, gt=0)
    stop: list[str] | None = None

    _decoders: dict[str, Decoder] = PrivateAttr(default_factory=dict)
    _decoders_lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, lm: FrozenLM | str | None = None, **options: Any
    ) -> "ToolkenChatModel":
        """Load a head and its LM.

        Parameters
        ----------
        folder
            A folder written by `ToolkenHead.save_pretrained` or `toolken fit`.
        lm
            The LM, or where to load it from; by default the one named in the head.

        Raises
        ------
        HeadError, LMNotFoundError, FingerprintError
            If one of the two cannot be loaded, or they do not belong together.
        """
        head = ToolkenHead.from_pretrained(folder)
        loaded = lm if isinstance(lm, FrozenLM) else FrozenLM.from_pretrained(lm or head.lm_name)
        head.check(loaded)
        return cls(lm=loaded, head=head, **options)

    @property
    def _llm_type(self) -> str:
        return "toolken-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        rows = hashlib.sha256(self.head.rows.numpy().tobytes()).hexdigest()[:32]
        return {
            "model_name": self.lm.name,
            "lm": self.lm.fingerprint,
            "head": rows,
            "prompt": self.head.prompt.fingerprint,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "max_tokens": self.max_tokens,
            "stop": self.stop,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "toolken"
        params["ls_model_name"] = kwargs.get("model") or self.lm.name
        return params

    def bind_tools(
        self,
        tools: Sequence[ToolLike],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind the tools that may be called.

        Parameters
        ----------
        tools
            LangChain tools, functions, pydantic classes, TypedDicts, OpenAI-style dicts.
        tool_choice
            None or "auto": the model decides; "none": no call; "any", "required" or True: one of the tools is called;
            a tool's name, or `{"type": "function", "function": {"name": ...}}`: that tool is called.

        Raises
        ------
        ToolSpecError
            If a tool cannot be read, two share a name, or `tool_choice` names none of them.
        """
        specs = tool_specs(tools) if tools else []
        _chosen(tool_choice, [spec.name for spec in specs])  # a wrong choice is reported here, not in mid-stream
        self._decoder(specs)
        return self.bind(tools=[spec.model_dump() for spec in specs], tool_choice=tool_choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        given = CallOptions.model_validate(kwargs)
        specs = given.tools or []
        names, must_call = _chosen(given.tool_choice, [spec.name for spec in specs])
        decoder = self._decoder(specs)
        prompt = to_prompt(messages, decoder.head.prompt)
        options = DecodingOptions(
            tools=names,
            must_call=must_call,
            max_tokens=self.max_tokens if given.max_tokens is None else given.max_tokens,
            temperature=self.temperature if given.temperature is None else given.temperature,
            top_p=self.top_p if given.top_p is None else given.top_p,
            seed=self.seed if given.seed is None else given.seed,
            stop=(*(stop or []), *(self.stop or [])),
        )

        def chunk(content: str = "", **fields: Any) -> ChatGenerationChunk:
            made = ChatGenerationChunk(message=AIMessageChunk(content=content, **fields))
            if run_manager is not None:
                run_manager.on_llm_new_token(content, chunk=made)
            return made

        # A message carries the whole answer so far, so that the last one of a turn stands for itself.
        if prompt.answer:
            yield chunk(prompt.answer.lstrip())
        metadata: dict[str, Any] = {}
        for event in decoder.decode(prompt, options):
            match event:
                case TextPiece(text):
                    yield chunk(text)
                case CallStarted(name, probability, runners_up):
                    metadata["toolken"] = {"tool": name, "probability": probability, "runners_up": dict(runners_up)}
                    call_id = f"call_{uuid.uuid4().hex[:24]}"
                    yield chunk(tool_call_chunks=[tool_call_chunk(name=name, args="", id=call_id, index=0)])
                case ArgumentsPiece(text):
                    yield chunk(tool_call_chunks=[tool_call_chunk(name=None, args=text, id=None, index=0)])
                case CallFinished():
                    pass
                case Finished(reason, input_tokens, output_tokens):
                    usage = UsageMetadata(
                        input_tokens=input_tokens,
                        output_tokens=output_tokens,
                        total_tokens=input_tokens + output_tokens,
                    )
                    yield chunk(
                        chunk_position="last",
                        usage_metadata=usage,
                        response_metadata={"model_name": self.lm.name, "finish_reason": reason, **metadata},
                    )

    def _decoder(self, specs: Sequence[ToolSpec]) -> Decoder:
        """Return the decoder for a set of bound tools, adding to a copy of the head those it has not seen."""
        known = {spec.name: spec for spec in self.head.specs}
        new = [spec for spec in specs if spec.name not in known or not _same(spec, known[spec.name])]
        key = hashlib.sha256(json.dumps([spec.digest for spec in new]).encode()).hexdigest() if new else ""
        with self._decoders_lock:
            if key not in self._decoders:
                self._decoders[key] = Decoder(self.lm, self.head.with_tools(new, self.lm) if new else self.head)
            return self._decoders[key]


def _same(bound: ToolSpec, fitted: ToolSpec) -> bool:
    """Tell whether a bound tool is the one the head was fitted with; its schema may have been written differently."""
    return bound.description == fitted.description or not bound.description


def _chosen(choice: Any, names: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Return the tools that may be called under a `tool_choice`, and whether one must be."""
    if isinstance(choice, dict):
        named = choice.get("function", choice).get("name")
        if not named:
            raise ToolSpecError(f"The tool choice {choice!r} names no tool: give {{'function': {{'name': ...}}}}.")
        choice = named
    if choice in (None, False, "auto"):
        return tuple(names), False
    if choice == "none":
        return (), False
    if choice in (True, "any", "required"):
        if not names:
            raise ToolSpecError("A tool call is required, and no tool is bound: bind at least one.")
        return tuple(names), True
    unknown_tools([choice], names)
    return (choice,), True
