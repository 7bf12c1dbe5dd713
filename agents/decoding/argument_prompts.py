"""The prompts after which the LM writes a call's arguments."""

from collections.abc import Sequence
from dataclasses import replace

from toolken.agents.conversation import Prompt
from toolken.training.examples import FewShotExample
from toolken.training.lm.marked_text import MarkedText
from toolken.training.prompts.conversation_format import ConversationFormat
from toolken.training.prompts.prompt_format import PromptFormat
from toolken.training.prompts.turns import Turn
from toolken.training.tool_spec import ToolSpec


def argument_prompts(
    form: ConversationFormat,
    prompt: Prompt,
    spec: ToolSpec,
    shown: Sequence[FewShotExample],
    question: str,
    results: Sequence[str],
) -> Sequence[str | MarkedText]:
    """Return prompts for the arguments of a call, the best one first.

    Where the context is too short for all of them, the few-shot examples go first, then what was said earlier.

    Parameters
    ----------
    question
        The request, or the part of it, that the call answers.
    results
        Results of the earlier calls that the prompt has.
    """
    if isinstance(form, PromptFormat):
        prompts = [form.argument_prompt(spec, shown, question, results)]
        return prompts + [form.argument_prompt(spec, [], question, known) for known in (results, ())]
    return form.argument_prompts(spec, shown, _asking(prompt, question))


def _asking(prompt: Prompt, question: str) -> list[Turn]:
    """Return the conversation; if the call answers a part of the question, this part replaces the question."""
    turns = list(prompt.turns)
    if question != prompt.question:
        last = max((at for at, turn in enumerate(turns) if turn.role == "user"), default=None)
        if last is not None:
            turns[last] = replace(turns[last], text=question)
    return turns
