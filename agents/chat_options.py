"""`CallOptions`: what may be given with a single call of the chat model."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from toolken.training.examples import FewShotExample


class CallOptions(BaseModel):
    """Options that may be given with a single call, besides `stop`; a misspelt one is an error.

    Attributes
    ----------
    tools, tool_choice, grounded, few_shot
        As `bind_tools` takes them.
    temperature, top_p, seed, max_tokens, timeout, parallel_tool_calls
        Instead of the model's own.
    model, strict, stream, ls_structured_output_format
        Taken because LangChain passes them on; they change nothing here.
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
    model: Any = None
    strict: Any = None
    stream: Any = None
    ls_structured_output_format: Any = None
