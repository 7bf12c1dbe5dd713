"""`ChatTemplate`: writes conversations in an LM's chat template, adapted to what the template can express."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from toolken.errors import TemplateError
from toolken.training.lm.marked_text import MarkedText
from toolken.training.prompts.placeholders import Placeholders, end_of
from toolken.training.prompts.turns import Turn, TurnCall, merged, system_first, system_in_user
from toolken.training.tool_spec import ToolSpec

#: The name of the one argument of a call whose arguments are still to be written.
_UNWRITTEN = "toolken_arguments"
_UNWRITTEN_OBJECT = re.compile(rf'\{{\s*"{_UNWRITTEN}"\s*:\s*1\s*\}}')
#: Length of the ids of calls; some templates insist on nine letters and digits.
_ID_DIGITS = 5


@dataclass(frozen=True)
class PlainCalls:
    """How calls, results and tools are written in a template that does not know them.

    Attributes
    ----------
    call
        A call in an assistant's turn; `{name}` and `{arguments}` are JSON.
    result
        A result, as a user's turn.
    tool
        A tool, in the system turn; `{tool}` is JSON.
    """

    call: str = '{{"name": {name}, "arguments": {arguments}}}'
    result: str = "Result of {name}: {result}"
    tool: str = "You can call this function:\n{tool}"

    def call_text(self, call: TurnCall) -> str:
        """Return a call as text."""
        return self.call.format(name=json.dumps(call.name, ensure_ascii=False), arguments=_json(call.args))

    def without_calls(self, turns: Sequence[Turn]) -> list[Turn]:
        """Return turns with calls and results as text of the assistant and the user."""
        found = []
        for turn in turns:
            if turn.role == "tool":
                found.append(Turn("user", self.result.format(name=turn.name, result=turn.text)))
            else:
                calls = [self.call_text(call) for call in turn.calls]
                found.append(Turn(turn.role, "\n".join([*([turn.text] if turn.text else []), *calls])))
        return found


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja chat template and what it is rendered with.

    Attributes
    ----------
    source
        The template.
    tool_source
        The template for conversations with tools, if there is a separate one; otherwise empty.
    variables
        Names of special tokens, and options of the template.
    plain
        How calls are written where the template does not know them.
    """

    source: str
    tool_source: str
    variables: Mapping[str, Any]
    plain: PlainCalls

    def written(self, turns: Sequence[Turn], *, tools: Sequence[ToolSpec] = ()) -> MarkedText:
        """Return a conversation up to where the assistant's next turn begins.

        If the last turn is an assistant's text, the conversation ends after that text, which the LM continues.

        Parameters
        ----------
        tools
            Tools in the prompt; with them, calls and results must be native.

        Raises
        ------
        TemplateError
            If the template cannot express the conversation in any way.
        """
        errors: list[str] = []
        for adapted in self._adaptations(turns, only_native=bool(tools)):
            try:
                found = self._rendered(adapted, tools)
            except Exception as error:  # templates raise errors of any kind
                errors.append(f"{type(error).__name__}: {error}")
                continue
            if found is not None:
                return found
        reason = errors[0] if errors else "it omits a message"
        raise TemplateError(
            f"The chat template of the LM cannot write this conversation ({reason}): use the format 'question'."
        )

    def begun_call(self, turns: Sequence[Turn], spec: ToolSpec) -> MarkedText:
        """Return a conversation in which the assistant has begun a call of a tool; its arguments follow.

        The tool is the only one in the prompt.

        Raises
        ------
        TemplateError
            If the template cannot express the conversation in any way.
        """
        if self._has_native_calls:
            begun = Turn("assistant", calls=(TurnCall(spec.name, {_UNWRITTEN: 1}),))
            try:
                return self._cut([*turns, begun], spec)
            except TemplateError:
                pass  # such as a template that raises for this conversation
        tool = self.plain.tool.format(tool=json.dumps(_function(spec), ensure_ascii=False))
        system = [turn.text for turn in turns if turn.role == "system" and turn.text]
        said = [turn for turn in turns if turn.role != "system"]
        text = self.written(self.plain.without_calls([Turn("system", "\n\n".join([*system, tool])), *said]))
        beginning, _, _ = self.plain.call_text(TurnCall(spec.name, {_UNWRITTEN: 1})).partition(f'{{"{_UNWRITTEN}"')
        return text.continued(beginning)

    @cached_property
    def end_text(self) -> MarkedText:
        """A conversation that ends with an assistant's finished turn; its last content is that turn's text."""
        turns = [Turn("user", "a"), Turn("assistant", "b")]
        found = self._rendered(turns, (), finished=True)
        return MarkedText("") if found is None else found

    def _cut(self, turns: Sequence[Turn], spec: ToolSpec) -> MarkedText:
        found = self.written(turns, tools=[spec])
        places = list(_UNWRITTEN_OBJECT.finditer(found.text))
        before = self.written(turns[:-1], tools=[spec])
        begun = len(_common(before.text, found.text))
        if not places or spec.name not in found.text[begun : places[-1].start()] or spec.name not in before.text:
            raise TemplateError(f"The chat template of the LM does not write a call of {spec.name!r} as JSON.")
        end = places[-1].start()
        return MarkedText(found.text[:end], tuple((a, min(b, end)) for a, b in found.content if a < end))

    @cached_property
    def _has_native_calls(self) -> bool:
        """Whether the template writes calls with JSON arguments and takes tools."""
        spec = ToolSpec(name="toolken_probe", description="Probe.")
        try:
            self._cut([Turn("user", "a"), Turn("assistant", calls=(TurnCall(spec.name, {_UNWRITTEN: 1}),))], spec)
        except TemplateError:
            return False
        return True

    def _adaptations(self, turns: Sequence[Turn], *, only_native: bool) -> Iterator[list[Turn]]:
        """Yield the conversation as templates may take it, the least changed first."""
        has_calls = any(turn.role == "tool" or turn.calls for turn in turns)
        knows_tools = "tool" in self.source + self.tool_source
        given = [list(turns)] if knows_tools or not has_calls else []
        given += [self.plain.without_calls(turns)] if has_calls and not only_native else []
        ways: tuple[Callable[[Sequence[Turn]], list[Turn]], ...] = (list, merged)
        for said in given:
            for way in (*ways, system_first, lambda said: merged(system_first(said)), system_in_user):
                yield way(said)

    def _rendered(
        self, turns: Sequence[Turn], tools: Sequence[ToolSpec], *, finished: bool = False
    ) -> MarkedText | None:
        """Return the rendered turns, or None if the template omits one.

        Contents are given as text and then as a list of blocks, arguments as an object and then as JSON text.
        """
        error: Exception | None = None
        for blocks, as_text in product((False, True), (False, True) if any(turn.calls for turn in turns) else (False,)):
            contents = Placeholders()
            messages = [_message(turn, contents, blocks=blocks) for turn in turns]
            objects = _set_calls(messages, turns, contents, as_text=as_text)
            functions = [{"type": "function", "function": contents.within(_function(spec))} for spec in tools]
            continued = not finished and bool(turns) and turns[-1].role == "assistant" and not turns[-1].calls
            try:
                rendered = self._render(messages, functions, generation=not (finished or continued))
            except Exception as raised:  # templates raise errors of any kind
                error = error or raised
                continue
            if continued:
                last = messages[-1]["content"]
                rendered = rendered[: max(end_of(last[0]["text"] if blocks else last, rendered), 0)]
            if any(repr(one) in rendered for one in objects):
                continue  # an object as Python writes it, which is no JSON
            if (found := contents.filled(rendered)) is not None:
                return found
        if error is not None:
            raise error
        return None

    def _render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], *, generation: bool) -> str:
        from transformers.utils.chat_template_utils import render_jinja_template

        functions: list[Any] | None = tools or None
        rendered: Any = render_jinja_template(
            [messages],
            tools=functions,
            chat_template=self.tool_source if tools and self.tool_source else self.source,
            add_generation_prompt=generation,
            **self.variables,
        )
        return str(rendered[0][0])


def _message(turn: Turn, contents: Placeholders, *, blocks: bool) -> dict[str, Any]:
    content = contents.of(turn.text)
    message: dict[str, Any] = {"role": turn.role, "content": [{"type": "text", "text": content}] if blocks else content}
    if turn.role == "tool":
        message["name"] = contents.of(turn.name, required=False)
    return message


def _set_calls(
    messages: list[dict[str, Any]], turns: Sequence[Turn], contents: Placeholders, *, as_text: bool
) -> list[dict[str, Any]]:
    """Add the calls to the messages of assistants, and their ids to those of the results, in order.

    Returns
    -------
    list
        The arguments that are objects.
    """
    objects: list[dict[str, Any]] = []
    waiting: list[str] = []
    number = 0
    for message, turn in zip(messages, turns, strict=True):
        written = []
        for call in turn.calls:
            number += 1
            waiting.append(f"call{number:0{_ID_DIGITS}}")
            args: Any = contents.of(_json(call.args)) if as_text else contents.within(call.args)
            objects += [args] if args and not as_text else []
            function = {"name": contents.of(call.name), "arguments": args}
            written.append({"id": waiting[-1], "type": "function", "function": function})
        if written:
            message["tool_calls"] = written
        if turn.role == "tool":
            message["tool_call_id"] = waiting.pop(0) if waiting else f"call{0:0{_ID_DIGITS}}"
    return objects


def _function(spec: ToolSpec) -> dict[str, Any]:
    """Return a tool as templates take it, without titles and extensions of its schema."""
    return {"name": spec.name, "description": spec.description, "parameters": _essential(spec.parameters)}


def _essential(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_essential(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _essential(one) for name, one in value.items()}
        if key in ("properties", "$defs") and isinstance(value, dict)
        else _essential(value)
        for key, value in schema.items()
        if not key.startswith("x-") and not (key == "title" and isinstance(value, str))
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _common(one: str, other: str) -> str:
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))]
