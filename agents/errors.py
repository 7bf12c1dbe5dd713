"""Errors of the chat model and the agent: inputs and options that they cannot use."""

import difflib
from collections.abc import Iterable, Mapping

from toolken.errors import ToolkenError

#: Names that other chat models give to options of this one.
SYNONYMS: Mapping[str, str] = {
    "api_base": "base_url",
    "attn_implementation": "model_kwargs={'attn_implementation': ...}",
    "device_map": "model_kwargs={'device_map': ...}",
    "max_completion_tokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "model_id": "model",
    "model_path": "model",
    "num_predict": "max_tokens",
    "openai_api_base": "base_url",
    "openai_api_key": "api_key",
    "quantization_config": "model_kwargs={'quantization_config': ...}",
    "repo_id": "model",
    "request_timeout": "timeout",
    "revision": "model_kwargs={'revision': ...}",
    "stop_sequences": "stop",
    "torch_dtype": "dtype",
}


class OptionError(ToolkenError, ValueError):
    """An option of the chat model or the agent is unknown, or its value cannot be used.

    Correct the option that the message names.
    """


class InputError(ToolkenError, ValueError):
    """An input is not a question or a conversation, or has content that is not text.

    Give a text, messages, `{"messages": [...]}` or `{"input": ...}`, with text only.
    """


def unknown_option(name: str, known: Iterable[str]) -> str:
    """Return the sentence that refuses an unknown option and suggests the closest known one.

    Examples
    --------
    >>> unknown_option("temprature", ["temperature", "top_p"])
    "There is no option 'temprature': did you mean 'temperature'?"
    """
    names = sorted(known)
    close = [SYNONYMS[name]] if name in SYNONYMS else difflib.get_close_matches(name, names, n=1)
    cure = f"did you mean {close[0]!r}?" if close else f"the options are {', '.join(names)}."
    return f"There is no option {name!r}: {cure}"
