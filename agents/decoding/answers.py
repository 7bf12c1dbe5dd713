"""The answer of a turn that calls no tool: the LM's words, the results, or what is said if the LM says nothing."""

from typing import Literal

from toolken.agents.conversation import Prompt
from toolken.training.prompts.chat_format import ChatTemplateFormat
from toolken.training.prompts.conversation_format import ConversationFormat
from toolken.training.prompts.prompt_format import PromptFormat

#: What answers after tool results: the LM in its own words, or the results alone.
AnswerKind = Literal["write", "results"]

#: Bounds on the tokens of a message where none is given.
QUESTION_TOKENS, CHAT_TOKENS = 256, 512


def answer_kind(given: AnswerKind | None, form: ConversationFormat) -> AnswerKind:
    """Return what answers after results: by default the LM if its chat template takes tools, otherwise the results.

    LMs that were not trained with tools copy results with errors and add to them.
    """
    if given is not None:
        return given
    return "write" if isinstance(form, ChatTemplateFormat) and form.takes_tools else "results"


def longest_answer(given: int | None, form: ConversationFormat) -> int:
    """Return the bound on the tokens of a message."""
    if given is not None:
        return given
    return QUESTION_TOKENS if isinstance(form, PromptFormat) else CHAT_TOKENS


def results_text(prompt: Prompt, form: ConversationFormat) -> str:
    """Return the text that completes an answer of results alone."""
    return form.closing if isinstance(form, PromptFormat) else "\n".join(prompt.results)


def nothing_said(prompt: Prompt, form: ConversationFormat) -> str:
    """Return the rest of an answer to which the LM added nothing, so that what the user reads makes sense."""
    reason = "; ".join(call_failure(tool, error) for tool, error in prompt.errors)
    if isinstance(form, PromptFormat):
        if prompt.results or prompt.answer != form.opening or not form.opening:
            return ""  # the answer says something already
        return f" unknown: {reason}" if reason else " unknown."
    if prompt.results:
        return "\n".join([*prompt.results, *([reason] if reason else [])])
    return reason or "I have no answer."


def call_failure(tool: str, error: str) -> str:
    """Return a sentence about a call that failed."""
    return f"The call of {tool or 'a tool'} failed. {error}".rstrip()
