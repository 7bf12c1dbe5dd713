"""`ServedModel`: an exported checkpoint on a server with OpenAI's protocol, in place of an LM in memory."""

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
from toolken.agents.decoding.answers import QUESTION_TOKENS
from toolken.agents.decoding.decoder import DecodingOptions
from toolken.errors import ServerError
from toolken.training.export.call_text import without_spaces
from toolken.training.export.manifest import MANIFEST, read_manifest
from toolken.training.export.tokens import TOOL
from toolken.training.tool_spec import unknown_tools

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI

#: Logit biases that exclude a token, or force it.
NEVER, ALWAYS = -100.0, 100.0


class ServedModel:
    """The server that answers for a chat model.

    Parameters
    ----------
    base_url
        The server's address, up to `/v1`.
    model
        The server's name of the checkpoint; None for its only model. If it is the export's folder and readable here,
        the tools' tokens are known, and tools that are not bound can be excluded.
    api_key, timeout, max_retries
        Passed to the client; None for no retry.
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
        #: Token ids of the tools by name, if they are known.
        self.tools: dict[str, int] | None = None
        if model is not None and (Path(model) / MANIFEST).is_file():
            self.tools = {str(name): int(token) for name, token in read_manifest(model)["tools"].items()}

    @property
    def name(self) -> str:
        """The server's name of the checkpoint; without one, it is requested once."""
        if self._model is None:
            self._model = self._only_model()
        return self._model

    def check(self, tools: BoundTools) -> None:
        """Make sure that the checkpoint has the tools, if its tools are known; nothing is requested.

        Raises
        ------
        ToolSpecError
            If it lacks one.
        """
        if self.tools is not None:
            unknown_tools(tools.names, list(self.tools))

    def profile(self) -> ModelProfile:
        """Return the model's abilities as LangChain's profile."""
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
            If the answer takes longer than the timeout.
        """
        request = self._request(tools, options)
        forced = self._forced(messages, options, request) if options.must_call else None
        if forced is not None:
            request["extra_body"] = {"chat_template_kwargs": {"forced_tool": forced}}
        stops = list(options.stop) or None
        with self._explained():
            written: str | None = None
            for chunk in self._openai()._stream(list(messages), stop=stops, **request):
                self._check_called(chunk, options)
                if forced is None:
                    yield chunk
                    continue
                before, written = written, (written or "") + str(chunk.message.content)
                yield _as_call(chunk, forced, before, written)

    def _request(self, tools: BoundTools, options: DecodingOptions) -> dict[str, Any]:
        request: dict[str, Any] = {
            "temperature": options.temperature,
            "top_p": options.top_p,
            "max_tokens": options.max_tokens or QUESTION_TOKENS,
        }
        if options.seed is not None:
            request["seed"] = options.seed
        if tools.specs and options.tools:
            request["tools"] = [
                {"type": "function", "function": spec.model_dump()}
                for spec in tools.specs
                if spec.name in options.tools
            ]
        excluded = [token for name, token in (self.tools or {}).items() if name not in options.tools]
        if excluded:
            request["logit_bias"] = {str(token): NEVER for token in excluded}
        return request

    def _forced(self, messages: Sequence[BaseMessage], options: DecodingOptions, request: dict[str, Any]) -> str:
        """Return the tool of a required call: the only one, or the most likely, which costs a request of one token."""
        if len(options.tools) == 1:
            return options.tools[0]
        if self.tools is None:
            raise ServerError(
                f"One of several tools can be forced only where the tokens of {self.name!r} are known: give the folder "
                "of the export as `model`, or force one tool by its name."
            )
        biases = {**request.get("logit_bias", {}), **{str(self.tools[name]): ALWAYS for name in options.tools}}
        with self._explained():
            result = self._openai()._generate(list(messages), **{**request, "logit_bias": biases, "max_tokens": 1})
        message: Any = result.generations[0].message
        for call in [*message.tool_calls, *message.invalid_tool_calls]:
            if call["name"] in options.tools:
                return str(call["name"])
        # Without the arguments after the call's token, the server may return the token as text.
        for name in options.tools:
            if TOOL.format(name=name) in message.text:
                return name
        raise ServerError(f"The server returned no required call: is {self.name!r} an exported checkpoint?")

    def _check_called(self, chunk: ChatGenerationChunk, options: DecodingOptions) -> None:
        message = chunk.message
        assert isinstance(message, AIMessageChunk)
        for call in message.tool_call_chunks:
            name = call.get("name")
            if name and name not in options.tools:
                raise ServerError(
                    f"The server called {name!r}, which is not bound: give the export's folder as `model`, so that "
                    "its other tools can be excluded."
                )

    def _openai(self) -> "ChatOpenAI":
        if self._client is None:
            try:
                from langchain_openai import ChatOpenAI
            except ImportError as error:
                raise ServerError("Servers need the package langchain-openai: install toolken[serve].") from error
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
            raise ServerError("Servers need the package langchain-openai: install toolken[serve].") from error
        _, _, api_key, timeout, _ = self.given
        key = api_key.get_secret_value() if api_key else "none"
        with self._explained(), OpenAI(base_url=self.base_url, api_key=key, timeout=timeout, max_retries=0) as client:
            found = [one.id for one in client.models.list().data]
        if len(found) != 1:
            raise ServerError(
                f"The server at {self.base_url} has {len(found)} models ({', '.join(found[:5])}): name one as `model`."
            )
        return found[0]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Translate errors of the client into errors that say what to do."""
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
                f"The server at {self.base_url} sent an incomplete answer: look at its log ({error})."
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
                f"The server at {self.base_url} failed ({error.status_code}): look at its log. An unknown model "
                "and a tool that the checkpoint lacks cause this."
            )
        return ServerError(f"The server at {self.base_url} refused the request ({error.status_code}): {said}")


def _as_call(chunk: ChatGenerationChunk, tool: str, before: str | None, written: str) -> ChatGenerationChunk:
    """Return a chunk of a forced call's arguments, which the server sends as content.

    Parameters
    ----------
    before, written
        The content before this chunk (None for the first one), and up to its end.
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
