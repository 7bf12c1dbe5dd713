"""`ChatTemplateFormat`: conversations in the LM's own chat template, with the decision at the assistant's turn."""

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from toolken.errors import ExampleError, TemplateError
from toolken.training.examples import Example, FewShotExample
from toolken.training.lm import FrozenLM
from toolken.training.lm.marked_text import MarkedText
from toolken.training.prompts.chat_template import ChatTemplate, PlainCalls
from toolken.training.prompts.prompt_format import Rendered
from toolken.training.prompts.turns import Turn, TurnCall
from toolken.training.tool_spec import ToolSpec

_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)


class ChatTemplateFormat(BaseModel):
    """The chat template of an instruct LM; saved with each head, which is valid for this format only.

    The decision position is the end of the generation prompt, where the assistant's turn begins, also after a tool's
    result. Template text has special tokens; what users, tools and documents say is ordinary text.

    A template that takes no system message, no tool message or no two messages of one role in a row gets the
    conversation in a form that it takes: system text in the user's first turn, calls and results as text, neighbours
    joined.

    Attributes
    ----------
    template
        The Jinja template.
    tool_template
        The template with tools, if the tokenizer has a separate one.
    special_tokens
        The special tokens that templates name, such as `bos_token`.
    options
        Further variables of the template, such as `{"enable_thinking": False}`.
    call, result, tool
        How a call, a result and a tool are written where the template has no form for them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    everywhere: ClassVar[bool] = False

    template: str
    tool_template: str = ""
    special_tokens: dict[str, str] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    call: str = PlainCalls.call
    result: str = PlainCalls.result
    tool: str = PlainCalls.tool

    @classmethod
    def of(cls, lm: FrozenLM, **options: Any) -> "ChatTemplateFormat":
        """Return the format of an LM's chat template.

        Parameters
        ----------
        options
            Variables of the template, such as `enable_thinking=False`.

        Raises
        ------
        TemplateError
            If the LM has no chat template.
        """
        tokenizer = lm.tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise TemplateError(f"{lm.name} has no chat template: use the format 'question'.")
        try:
            template = str(tokenizer.get_chat_template())
            with_tools = str(tokenizer.get_chat_template(tools=[{}]))
        except ValueError as error:  # several templates, none of them the default
            raise TemplateError(f"{lm.name} has no default chat template ({error}): use 'question'.") from error
        special = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
        with_tools = "" if with_tools == template else with_tools
        return cls(template=template, tool_template=with_tools, special_tokens=special, options=options)

    @property
    def fingerprint(self) -> str:
        """Hex digest of all fields."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:32]

    @property
    def takes_tools(self) -> bool:
        """Whether the template writes tools, as those of LMs that were trained to call tools do."""
        return bool(self.tool_template) or "tools" in _COMMENT.sub("", self.template)

    def background_form(self) -> "ChatTemplateFormat":
        """Return the format whose background this one shares: itself."""
        return self

    def query(self, request: str) -> MarkedText:
        """Return the text whose last token is the decision position of a request, or of a description used as one."""
        return self.conversation([Turn("user", request)])

    def conversation(self, turns: Sequence[Turn]) -> MarkedText:
        """Return a conversation up to the decision position: the beginning of the assistant's next turn.

        Raises
        ------
        TemplateError
            If the template cannot write the conversation in any form.
        """
        return self._chat.written(turns)

    def renderings(self, example: Example) -> list[Rendered]:
        """Return the texts of an example's decisions: one per call, and one for the answer in words.

        Raises
        ------
        ExampleError
            If the example has no question.
        """
        if not example.question:
            raise ExampleError(
                f"An example without a question ({example.answer!r:.60}) has no form in a chat template: give it a "
                "question, or fit with a `PromptFormat`."
            )
        turns = [Turn("user", example.question)]
        found = []
        for number, call in enumerate(example.calls):
            found.append(self._decision(turns, call.tool, number))
            if not call.result:
                return found  # what follows an unknown result is unknown, too
            turns.append(Turn("assistant", calls=(TurnCall(call.tool, call.args),)))
            turns.append(Turn("tool", call.result, name=call.tool))
        return [*found, self._decision(turns, None, len(example.calls))]

    def argument_prompts(
        self, spec: ToolSpec, shown: Sequence[FewShotExample], turns: Sequence[Turn]
    ) -> list[MarkedText]:
        """Return prompts after which the LM writes the arguments of a call as one JSON object, the best one first.

        Each is a conversation in which the assistant has begun the call, in the LM's own syntax where the template has
        one. Few-shot examples precede the conversation as earlier turns.
        """
        system = [turn for turn in turns if turn.role == "system"]
        said = [turn for turn in turns if turn.role != "system"]
        earlier = [turn for one in shown for turn in _shown_turns(one)]
        asked = [at for at, turn in enumerate(said) if turn.role == "user"]
        versions = [[*system, *earlier, *said]] if earlier else []
        versions += [[*system, *said], said[asked[-1] :] if asked else said]
        return [self._chat.begun_call(version, spec) for version in versions]

    def stop_ids(self, lm: FrozenLM) -> frozenset[int]:
        """Return the tokens that end an assistant's turn: the LM's end tokens, and the template's own."""
        text = self._chat.end_text
        end = text.content[-1][1] if text.content else 0
        encoding = lm.encode(text)
        special = {number for number, token in lm.tokenizer.added_tokens_decoder.items() if token.special}
        for number, (begin, _) in zip(encoding.ids, encoding.spans, strict=True):
            if begin >= end and number in special:
                return lm.stop_ids | ({number} if not text.text[end:begin].strip() else frozenset())
        return lm.stop_ids

    @cached_property
    def _chat(self) -> ChatTemplate:
        variables = self.special_tokens | self.options
        return ChatTemplate(self.template, self.tool_template, variables, PlainCalls(self.call, self.result, self.tool))

    def _decision(self, turns: Sequence[Turn], tool: str | None, results: int) -> Rendered:
        text = self.conversation(turns)
        end = len(text)
        after = (end,) if results else ()
        calls, words = (((end, tool),), ()) if tool is not None else ((), (end,))
        return Rendered(text, end, calls, words, after_results=after, earlier_results=max(results - 1, 0))


def _shown_turns(one: FewShotExample) -> list[Turn]:
    """Return a few-shot example as turns; its earlier calls are unknown by name, so their results are text."""
    known = "".join(f"\n{result}" for result in one.results)
    return [Turn("user", one.question + known), Turn("assistant", calls=(TurnCall(one.tool, one.args),))]
