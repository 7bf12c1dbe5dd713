"""`CallForm`: how an LM's prompt format writes calls, read from the chat template itself."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: A call and a text whose rendering shows the form.
_NAME, _ARGUMENTS, _TEXT = "probe_tool", {"probe_key": "probe value"}, "Probe text."
_THOUGHT = re.compile(r"<think>.*?</think>\s*", re.DOTALL)

#: Renders messages; the second argument says whether the generation prompt follows.
Render = Callable[[list[dict[str, Any]], bool], str]


@dataclass(frozen=True)
class CallForm:
    """How calls are written.

    Attributes
    ----------
    opening, closing
        The text before and after a call, such as "<tool_call>" and "</tool_call>"; both are empty where a call is bare
        JSON.
    name_key, arguments_key
        The keys of the call's JSON object.
    is_list
        Whether all calls of an answer stand in one JSON list.
    """

    opening: str
    closing: str
    name_key: str = "name"
    arguments_key: str = "arguments"
    is_list: bool = False

    @property
    def marker(self) -> str:
        """The first word of the opening, which an LM that begins a call writes; empty for bare JSON."""
        return next(iter(self.opening.split()), "")

    def begins(self, text: str, start: int) -> tuple[int, str] | None:
        """Return where the first call of a text begins, and what precedes its JSON from there on; None without a call.

        Parameters
        ----------
        start
            Where to begin the search.
        """
        if self.marker:
            place = text.find(self.marker, start)
            if place < 0:
                return None
            end = place + len(self.marker)
            return end, self.opening.lstrip()[len(self.marker) :]
        bracket = r"\[\s*" if self.is_list else ""
        found = re.compile(rf'{bracket}\{{\s*"{re.escape(self.name_key)}"\s*:').search(text, start)
        return (found.start(), "") if found is not None else None

    def schema(self, branches: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the schema of a call, or of a list of calls, that is one of several."""
        union = {"anyOf": branches}
        return {"type": "array", "items": union, "minItems": 1} if self.is_list else union

    def branch(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of a call of one tool, whose arguments have a schema."""
        call = {self.name_key: {"const": name}, self.arguments_key: arguments}
        return {"type": "object", "properties": call, "required": list(call), "additionalProperties": False}


def read_call_form(render: Render) -> CallForm | None:
    """Return how a chat template writes calls, or None if it does not write them as JSON.

    Parameters
    ----------
    render
        Renders messages with the template; may raise for messages that the template refuses.
    """
    asked = [{"role": "user", "content": "Probe."}]
    function = {"name": _NAME, "arguments": _ARGUMENTS}
    called = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
    try:
        prompt, whole = render(asked, True), render([*asked, called], False)
        plain = render([*asked, {"role": "assistant", "content": _TEXT}], False)
    except Exception:  # templates raise errors of any class
        return None
    same = next((at for at, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))
    written = whole[same:]
    end_of_turn = plain.partition(_TEXT)[2].strip()
    for bracket in re.finditer(r"\{", written):
        try:
            value, end = json.JSONDecoder().raw_decode(written, bracket.start())
        except ValueError:
            continue
        name = next((key for key, one in value.items() if one == _NAME), None)
        arguments = next((key for key, one in value.items() if one == _ARGUMENTS), None)
        if name is None or arguments is None:
            continue
        opening = _THOUGHT.sub("", written[: bracket.start()]).lstrip()
        after = written[end:]
        closing = after.partition(end_of_turn)[0] if end_of_turn else after.rstrip()
        is_list = opening.rstrip().endswith("[") and closing.lstrip().startswith("]")
        if is_list:
            opening, closing = opening.rstrip()[:-1], closing.lstrip()[1:]
        return CallForm(opening, closing, name, arguments, is_list)
    return None
