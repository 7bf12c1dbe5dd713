"""`CallOptions`: the options of a single call of the chat model."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolken.agents.context_overflow import Overflow
from toolken.agents.decoding.answers import AnswerKind
from toolken.agents.errors import OptionError, unknown_option
from toolken.agents.grammar.missing_values import Missing
from toolken.training.examples import FewShotExample


class CallOptions(BaseModel):
    """The options that one call may have besides `stop`.

    Attributes
    ----------
    tools, tool_choice, grounded, few_shot
        As `bind_tools` takes them.
    temperature, top_p, seed, max_tokens, timeout, parallel_tool_calls, answer, overflow, missing, min_probability
        Override the model's own.
    model
        Accepted if it is the model's own name: one object holds one LM.
    strict, stream, ls_structured_output_format
        Accepted because LangChain passes them; they have no effect, since arguments always follow their schema.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    tools: Any = None
    tool_choice: Any = None
    grounded: bool | list[str] | tuple[str, ...] = ()
    few_shot: list[FewShotExample] = Field(default_factory=list)
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    max_tokens: int | None = Field(default=None, gt=0)
    timeout: float | None = Field(default=None, gt=0)
    parallel_tool_calls: bool | None = None
    answer: AnswerKind | None = None
    overflow: Overflow | None = None
    missing: Missing | None = None
    min_probability: float | dict[str, float] | None = None
    model: Any = None
    strict: Any = None
    stream: Any = None
    ls_structured_output_format: Any = None

    @classmethod
    def of(cls, options: Mapping[str, Any], model_names: tuple[str | None, ...] = ()) -> "CallOptions":
        """Read the options of a call.

        Parameters
        ----------
        options
            Names and values.
        model_names
            Names of the model itself, which `model` may repeat; none: `model` is not checked.

        Raises
        ------
        OptionError
            If one is unknown or its value cannot be used.
        """
        if options.get("response_format") is not None:
            raise OptionError(
                "`response_format` (ProviderStrategy) needs a provider's own structured output, which this model does "
                "not have: give `create_agent(response_format=ToolStrategy(schema))`, or the schema itself."
            )
        known = {name: value for name, value in options.items() if name != "response_format"}
        for name in known:
            if name not in cls.model_fields:
                raise OptionError(unknown_option(name, cls.model_fields))
        try:
            read = cls.model_validate(known)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise OptionError(f"The option {'.'.join(map(str, first['loc']))} is wrong: {first['msg']}.") from error
        if read.model is not None and model_names and str(read.model) not in model_names:
            raise OptionError(
                f"This model is {model_names[0]!r} and cannot be switched to {str(read.model)!r} for one call: build "
                f"`ToolkenChatModel(model={str(read.model)!r})`."
            )
        return read


def stop_texts(stop: Any) -> list[str]:
    """Return stop texts, given as one text or several, as a list.

    Raises
    ------
    OptionError
        If one is not a text, or is empty.
    """
    texts = [stop] if isinstance(stop, str) else list(stop or ())
    for text in texts:
        if not isinstance(text, str) or not text:
            raise OptionError(f"`stop` has {text!r}: give texts of at least one character.")
    return texts
