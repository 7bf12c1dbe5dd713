"""`LazyChatModel`: the chat model's LM, head or server, loaded at the first call and shared by copies."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from langchain_core.language_models import BaseChatModel, LangSmithParams, ModelProfile
from langchain_core.messages import BaseMessage
from pydantic import ConfigDict, Field, InstanceOf, PrivateAttr, SecretStr, model_validator

from toolken.agents.chat_conversation import conversation_prompt
from toolken.agents.decoding.lazy_model import LazyModel
from toolken.agents.errors import OptionError, unknown_option
from toolken.agents.served import ServedModel
from toolken.errors import ServerError
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import Backend, FrozenLM
from toolken.training.prior.pretrained import PretrainedPrior
from toolken.training.prompts.chat_format import ChatTemplateFormat
from toolken.training.prompts.conversation_format import FormatName
from toolken.training.prompts.prompt_format import PromptFormat


class LazyChatModel(BaseChatModel):
    """The part of `ToolkenChatModel` that names what answers, and loads it at the first call.

    `ToolkenChatModel` documents the fields.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    model: str | None = None
    lm: InstanceOf[FrozenLM] | str | Path | None = Field(default=None, exclude=True)
    base_url: str | None = None
    backend: Backend = "transformers"
    device: str | None = None
    dtype: str | torch.dtype | None = None
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    head: InstanceOf[ToolkenHead] | str | Path | None = Field(default=None, exclude=True)
    prior: InstanceOf[PretrainedPrior] | str | Path | Literal[False] | None = Field(default=None, exclude=True)
    format: InstanceOf[PromptFormat] | InstanceOf[ChatTemplateFormat] | FormatName | None = None
    timeout: float | None = Field(default=None, gt=0)
    max_retries: int | None = Field(default=None, ge=0)
    api_key: SecretStr | None = Field(default=None, exclude=True)

    _used: LazyModel | None = PrivateAttr(default=None)
    _server: ServedModel | None = PrivateAttr(default=None)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @model_validator(mode="before")
    @classmethod
    def _read_names(cls, values: Any) -> Any:
        """Take `model_name` for `model`, and refuse unknown options with a suggestion."""
        if not isinstance(values, Mapping):
            return values
        read = dict(values)
        given = read.pop("model_name", None)
        if given is not None and read.get("model") not in (None, given):
            raise ValueError(f"`model` is {read['model']!r} and `model_name` is {given!r}: give one of them.")
        named = read.get("model") if given is None else given
        if isinstance(named, FrozenLM):
            raise ValueError("`model` names an LM: give a FrozenLM as `lm`.")
        read["model"] = str(named) if isinstance(named, Path) else named
        for name in read:
            if name not in cls.model_fields and name not in _aliases(cls):
                raise ValueError(unknown_option(name, {*cls.model_fields, "model_name"}))
        return read

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.model is not None and self.lm is not None and self.model != _name_of(self.lm):
            raise ValueError(f"`model` is {self.model!r} and `lm` is {_name_of(self.lm)!r}: give one of them.")
        _dtype(self.dtype)
        named = [name for name in ("device", "dtype", "model_kwargs") if getattr(self, name)]
        if named and isinstance(self.lm, FrozenLM):
            raise ValueError(f"`{named[0]}` is of no use for an LM in memory: give it to `FrozenLM.from_pretrained`.")
        if named and self.base_url is not None:
            raise ValueError(f"`{named[0]}` and `base_url` exclude each other: the server has loaded its model.")
        return self

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # What is loaded, and what has locks or connections, is shared by all copies.
        shared = (self.lm, self.head, self.model_kwargs, self.cache, self.callbacks, self.rate_limiter, self.api_key)
        private = (self._used, self._server, self._lock)
        memo = {} if memo is None else memo
        memo.update({id(one): one for one in (*shared, *private) if one is not None})
        return super().__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        if isinstance(self.lm, FrozenLM):
            raise OptionError(
                f"This model cannot be pickled, since its LM {self.lm.name!r} is in memory: give the LM's folder or "
                "name as `model`."
            )
        state = dict(super().__getstate__())
        state["__pydantic_private__"] = None
        return state

    def __setstate__(self, state: dict[Any, Any]) -> None:
        private = {"_used": None, "_server": None, "_lock": threading.Lock()}
        super().__setstate__({**state, "__pydantic_private__": private})

    @property
    def model_name(self) -> str:
        """The name of the LM."""
        return self._lazy.lm_name if self._served is None else self._served.name

    @property
    def _served(self) -> ServedModel | None:
        """The server that answers in place of an LM in memory, if there is one."""
        if self.base_url is None:
            return None
        if self.head is not None or isinstance(self.lm, FrozenLM):
            name = "head" if self.head is not None else "lm"
            raise ServerError(f"`{name}` and `base_url` exclude each other: drop `{name}`, the server has its own.")
        given = self._source
        settings = (self.base_url, None if given is None else str(given), self.api_key, self.timeout, self.max_retries)
        with self._lock:
            if self._server is None or self._server.given != settings:
                self._server = ServedModel(*settings)
            return self._server

    @property
    def _source(self) -> FrozenLM | str | Path | None:
        """The LM, or where it is loaded from."""
        return self.model if self.lm is None else self.lm

    @property
    def _lazy(self) -> LazyModel:
        """LM, head and caches; copies of the model share them."""
        options = dict(self.model_kwargs)
        if self.device is not None:
            options["device"] = self.device
        if self.dtype is not None:
            options["dtype"] = _dtype(self.dtype)
        with self._lock:
            used = self._used
            source = (self._source, self.head)
            if used is None or not used.is_of(*source, self.backend, options, self.format, self.prior):
                used = LazyModel(
                    *source, backend=self.backend, load_options=options, form=self.format, prior=self.prior
                )
                self._used = used
            return used

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "toolken"
        params["ls_model_name"] = kwargs.get("model") or self.model_name
        return params

    def _resolve_model_profile(self) -> ModelProfile:
        return self._lazy.profile() if self._served is None else self._served.profile()

    def get_token_ids(self, text: str) -> list[int]:
        """Return the token ids of a text by the LM's tokenizer.

        Raises
        ------
        ServerError
            If a server answers, whose tokenizer is not known here.
        """
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        self._refuse_counting()
        return self._lazy.lm.encode(text).ids

    def get_num_tokens_from_messages(
        self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None, **kwargs: Any
    ) -> int:
        """Return the number of tokens of a conversation as the LM reads it; tools have none.

        Raises
        ------
        InputError
            If a message has content other than text.
        ServerError
            If a server answers, whose tokenizer is not known here.
        """
        self._refuse_counting()
        if not messages:
            return 0
        return len(self._lazy.lm.encode(conversation_prompt(list(messages), self._lazy.prompt).text).ids)

    def _refuse_counting(self) -> None:
        if self.base_url is not None:
            raise ServerError(
                f"The tokenizer of the server at {self.base_url} is not known here: count with "
                "`trim_messages(token_counter='approximate')`, or with a model in memory."
            )


def _aliases(cls: type[BaseChatModel]) -> set[str]:
    return {field.alias for field in cls.model_fields.values() if field.alias}


def _name_of(lm: FrozenLM | str | Path) -> str:
    return lm.name if isinstance(lm, FrozenLM) else str(lm)


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Return a number format by its name in torch.

    Raises
    ------
    ValueError
        If there is no such format.
    """
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if dtype is not None and not isinstance(found, torch.dtype):
        raise ValueError(f"`dtype` is {dtype!r}: give a number format of torch, such as 'bfloat16'.")
    return found
