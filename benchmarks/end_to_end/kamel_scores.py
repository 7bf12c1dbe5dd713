"""`Fact`: the reference of a KAMEL question, and the scores of attempts at it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from toolken.benchmarks.end_to_end.traces import Attempt
from toolken.benchmarks.end_to_end.trials import Question
from toolken.tools.knowledge.names import fold

#: Metrics in the order of the stages.
STAGES = ("call", "tool", "arguments", "execution", "answer, any", "answer")


@dataclass(frozen=True)
class Fact:
    """The reference of a question.

    Attributes
    ----------
    tool
        The relation's tool.
    subject
        The entity that the question is about.
    objects
        The right answers, each with all of its names.
    """

    tool: str
    subject: str
    objects: tuple[tuple[str, ...], ...]


def score(question: Question, attempt: Attempt) -> dict[str, float]:
    """Score an attempt.

    Returns
    -------
    dict
        call, tool, arguments, execution: the stages of the first call, each 1 only if the stage before is 1. tool is
        the published rule, by exact ids. "answer, any": the final answer names a right object. "answer": it names all
        right objects and nothing else.
    """
    fact: Fact = question.reference
    calls = attempt.calls
    called = bool(calls)
    tool = called and calls[0].tool == fact.tool
    arguments = tool and fold(str(calls[0].arguments.get("subject", ""))) == fold(fact.subject)
    some, every = objects_named(attempt.answer, fact.objects)
    stages: dict[str, float] = {"answer, any": float(some), "answer": float(every)}
    if called:
        executed = arguments and not calls[0].failed
        stages = {
            "call": 1.0,
            "tool": float(tool),
            "arguments": float(arguments),
            "execution": float(executed),
        } | stages
    else:
        stages = dict.fromkeys(("call", "tool", "arguments", "execution"), 0.0) | stages
    return stages


def objects_named(answer: str, objects: Sequence[Sequence[str]]) -> tuple[bool, bool]:
    """Return whether an answer names any of the objects, and whether it names all of them and nothing else."""
    left = f" {_plain(answer.removeprefix('The answer is').strip())} "
    found = []
    for names in objects:
        inside = [one for one in sorted(map(_plain, names), key=len, reverse=True) if one and f" {one} " in left]
        found.append(bool(inside))
        if inside:
            left = left.replace(f" {inside[0]} ", "  ", 1)
    return any(found), all(found) and not left.strip()


def _plain(text: str) -> str:
    """Return the words of a text without case and punctuation."""
    return " ".join(re.findall(r"[^\W_]+", fold(text)))
