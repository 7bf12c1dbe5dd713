"""Plans as text: one toolken after another, a verb and its object a line, each decided behind its opening bracket."""

from collections.abc import Sequence

from toolken.training.examples import Call, Example


def plan_example(question: str, plan: Sequence[str]) -> Example:
    """Write a plan out as an example whose calls are its toolkens.

    Parameters
    ----------
    question
        The task, up to and including "Plan:".
    plan
        Toolkens such as `[WALK]` and `<couch>`.
    """
    answer, calls = "", []
    for toolken in plan:
        answer += lead(answer, toolken)
        # Verbs and objects alternate, so that the bracket is no choice; behind it the LM is about to name the thing,
        # and its state says more about which than the state in front of the bracket does.
        calls.append(Call(tool=toolken, result=toolken[1:], start=len(answer)))
        answer += toolken[1:]
    return Example(question=question, answer=answer, calls=tuple(calls))


def lead(written: str, toolken: str) -> str:
    """Return what is written between a plan's text so far and a toolken's name: a break, and its opening bracket."""
    if not written:
        return toolken[0]
    return ("\n" if toolken.startswith("[") else " ") + toolken[0]


def plan_text(plan: Sequence[str]) -> str:
    """Return a plan's text."""
    written = ""
    for toolken in plan:
        written += lead(written, toolken) + toolken[1:]
    return written
