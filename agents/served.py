"""`ServedModel`: an exported head behind a server that speaks OpenAI's protocol, in the place of an LM in memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import ModelProfile
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from pydantic import SecretStr

from toolken.agents.bound_tools import BoundTools
from toolken.agents.decoding.decoder import DecodingOptions
from toolken.errors import ServerError
from toolken.training.export.call_text import without_spaces
from toolken.training.export.manifest import MANIFEST, read_manifest
from toolken.training.export.tokens import TOOL
from toolken.training.tool_spec import unknown_tools

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI

#: Added to a logit that may not win, or has to.
NEVER, ALWAYS = -100.0, 100.0


class ServedModel:
    """What a chat model asks instead of an LM of its own.

    Parameters
    ----------
    base_url
        Where the server is, up to `/v1`.
    model
        What the server calls the checkpoint. Where this is a folder that can be read from here, or `export` is one, the
        tools' tokens are known, and tools that are not bound can be held back.
    api_key, timeout, max_retries
        Of the requests.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None,
        api_key: SecretStr | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
    ) -> None:
        self.given = (base_url, model, api_key, timeout, max_retries)
        self._client: ChatOpenAI | None = None
        self.base_url = base_url
        self._model = model
        #: Token ids of the tools, where they are known.
        self.tools: dict[str, int] | None = None
        if model is not None and (Path(model) / MANIFEST).is_file():
            self.tools = {str(name): int(token) for name, token in read_manifest(model)["tools"].items()}

    @property
    def name(self) -> str:
        """What the server calls the checkpoint; asked of the server where it was not given."""
        if self._model is None:
            self._model = self._only_model()
        return self._model

    def check(self, tools: BoundTools) -> None:
        """Make sure that the checkpoint has some tools, as far as this is known without asking the server.

        Raises
        ------
        ToolSpecError
            If it has not.
        """
        if self.tools is not None:
            unknown_tools(tools.names, list(self.tools))

    def profile(self) -> ModelProfile:
        """Return what the model can do, as LangChain asks for it."""
        return ModelProfile(
            text_inputs=True,
            text_outputs=True,
            image_inputs=False,
            pdf_inputs=False,
            audio_inputs=False,
            video_inputs=False,
            tool_calling=True,
            tool_choice=self.tools is not None,
            tool_call_streaming=True,
        )

    def chunks(
        self, messages: Sequence[BaseMessage], tools: BoundTools, options: DecodingOptions
    ) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks of an answer.

        Raises
        ------
        ServerError
            If the server cannot be reached, has no such model, or calls a tool that is not bound.
        TimeoutError
            If it takes longer than allowed.
        """
        asked = self._request(tools, options)
        forced = self._forced(messages, options, asked) if options.must_call else None
        if forced is not None:
            asked["extra_body"] = {"chat_template_kwargs": {"forced_tool": forced}}
        stops = list(options.stop) or None
        with self._explained():
            written: str | None = None
            for chunk in self._openai()._stream(list(messages), stop=stops, **asked):
                self._check_called(chunk, options)
                if forced is None:
                    yield chunk
                    continue
                before, written = written, (written or "") + str(chunk.message.content)
                yield _as_call(chunk, forced, before, written)

    def _request(self, tools: BoundTools, options: DecodingOptions) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_tokens": options.max_tokens,
        }
        if options.seed is not None:
            asked["seed"] = options.seed
        if tools.specs and options.tools:
            asked["tools"] = [
                {"type": "function", "function": spec.model_dump()}
                for spec in tools.specs
                if spec.name in options.tools
            ]
        held_back = [token for name, token in (self.tools or {}).items() if name not in options.tools]
        if held_back:
            asked["logit_bias"] = {str(token): NEVER for token in held_back}
        return asked

    def _forced(self, messages: Sequence[BaseMessage], options: DecodingOptions, asked: dict[str, Any]) -> str:
        """Return the tool that has to be called: the only one, or the likeliest of several, for which the server is
        asked for one token."""
        if len(options.tools) == 1:
            return options.tools[0]
        if self.tools is None:
            raise ServerError(
                f"One of several tools can be forced only where the tokens of {self.name!r} are known: give the folder "
                "of the export as `lm`, or force one tool by its name."
            )
        biases = {**asked.get("logit_bias", {}), **{str(self.tools[name]): ALWAYS for name in options.tools}}
        with self._explained():
            result = self._openai()._generate(list(messages), **{**asked, "logit_bias": biases, "max_tokens": 1})
        message: Any = result.generations[0].message
        for call in [*message.tool_calls, *message.invalid_tool_calls]:
            if call["name"] in options.tools:
                return str(call["name"])
        # What stands behind a call's token is not written here, so the server may take the token for text.
        for name in options.tools:
            if TOOL.format(name=name) in message.text:
                return name
        raise ServerError(f"The server named no tool, though it had to: is {self.name!r} an exported checkpoint?")

    def _check_called(self, chunk: ChatGenerationChunk, options: DecodingOptions) -> None:
        message = chunk.message
        assert isinstance(message, AIMessageChunk)
        for call in message.tool_call_chunks:
            name = call.get("name")
            if name and name not in options.tools:
                raise ServerError(
                    f"The server called {name!r}, which is not bound: give the folder of the export as `lm`, so that "
                    "its other tools can be held back."
                )

    def _openai(self) -> "ChatOpenAI":
        if self._client is None:
            try:
                from langchain_openai import ChatOpenAI
            except ImportError as error:
                raise ServerError("A server is asked through langchain-openai: install toolken[serve].") from error
            _, _, api_key, timeout, retries = self.given
            self._client = ChatOpenAI(
                model=self.name,
                base_url=self.base_url,
                api_key=api_key or SecretStr("none"),
                timeout=timeout,
                max_retries=retries if retries is not None else 0,
                stream_usage=True,
            )
        return self._client

    def _only_model(self) -> str:
        try:
            from openai import OpenAI
        except ImportError as error:
            raise ServerError("A server is asked through langchain-openai: install toolken[serve].") from error
        _, _, api_key, timeout, _ = self.given
        key = api_key.get_secret_value() if api_key else "none"
        with self._explained(), OpenAI(base_url=self.base_url, api_key=key, timeout=timeout, max_retries=0) as client:
            found = [one.id for one in client.models.list().data]
        if len(found) != 1:
            raise ServerError(
                f"The server at {self.base_url} has {len(found)} models ({', '.join(found[:5])}): name one as `lm`."
            )
        return found[0]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what an error of the client means, and what to do about it."""
        import openai

        try:
            yield
        except openai.APITimeoutError as error:
            raise TimeoutError(f"The server at {self.base_url} did not answer in time.") from error
        except openai.APIConnectionError as error:
            raise ServerError(
                f"No server answers at {self.base_url}: start one (`transformers serve FOLDER`, `vllm serve FOLDER`), "
                "or give the address of one as `base_url`."
            ) from error
        except openai.APIStatusError as error:
            raise self._refusal(error) from error
        except ValueError as error:
            raise ServerError(
                f"The server at {self.base_url} broke off its answer: look at its log ({error})."
            ) from error

    def _refusal(self, error: Any) -> ServerError:
        body = error.body if isinstance(error.body, dict) else {}
        said = str(body.get("message") or body.get("detail") or error.message).strip()
        if error.status_code == 404 or "does not exist" in said or "is pinned to" in said:
            return ServerError(f"The server at {self.base_url} has no model {self._model!r}: name one it has ({said}).")
        if "not part of this checkpoint" in said:
            return ServerError(f"The server refused a tool: {said}")
        if error.status_code >= 500:
            return ServerError(
                f"The server at {self.base_url} failed ({error.status_code}): look at its log; that happens with a "
                "model it does not have, and with a tool that is no part of the checkpoint."
            )
        return ServerError(f"The server at {self.base_url} refused the request ({error.status_code}): {said}")


def _as_call(chunk: ChatGenerationChunk, tool: str, before: str | None, written: str) -> ChatGenerationChunk:
    """Return a chunk of the arguments of a call that was forced, which the server sends as content.

    Parameters
    ----------
    before, written
        The content before this chunk, None at the first one, and with it.
    """
    message, first = chunk.message, before is None
    assert isinstance(message, AIMessageChunk)
    text = without_spaces(written)[len(without_spaces(before or "")) :]
    call = tool_call_chunk(
        name=tool if first else None, args=text, id=f"call_{message.id or tool}" if first else None, index=0
    )
    calls = [call] if first or text else []
    changed = message.model_copy(update={"content": "", "tool_call_chunks": calls})
    return ChatGenerationChunk(message=AIMessageChunk(**_fields(changed)), generation_info=chunk.generation_info)


def _fields(message: AIMessageChunk) -> dict[str, Any]:
    names = ("content", "tool_call_chunks", "id", "usage_metadata", "response_metadata", "chunk_position")
    metadata = dict(message.response_metadata)
    if metadata.get("finish_reason") == "stop":
        metadata["finish_reason"] = "tool_calls"
    return {name: getattr(message, name) for name in names} | {"response_metadata": metadata}
