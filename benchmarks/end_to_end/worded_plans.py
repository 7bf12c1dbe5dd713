"""Plans that the LM writes after demonstrations: free, matched to known steps, or grounded."""

import re
from collections.abc import Mapping, Sequence

from toolken.agents.household.plan_decoder import Following
from toolken.agents.household.plans import lead, plan_text
from toolken.benchmarks.methods.generation import Continuations
from toolken.training.lm import FrozenLM, Session, State
from toolken.training.prior.teacher import Encoder

#: Maximum tokens of a plan: a step takes eight to twelve, and the first eight steps count.
MAX_TOKENS = 120
_STEP = re.compile(r"\[(\w+)\]\s*<(\w+)>")
_WORDS = re.compile(r"[A-Za-z]+")


def free_plans(lm: FrozenLM, beginning: str, questions: Sequence[str]) -> list[list[str]]:
    """Return greedy continuations of the questions as plans: the lines up to [END] or an empty line.

    Parameters
    ----------
    beginning
        Demonstrations before each question.
    questions
        Each ends with "Plan:".
    """
    texts = [question + "\n" for question in questions]
    found = Continuations(lm, beginning).write(texts, stop=("[END]", "\n\n"), max_tokens=MAX_TOKENS)
    return [[line.strip() for line in text.splitlines() if line.strip()] for text, _ in found]


def matched(lines: Sequence[str], steps: Sequence[tuple[str, str]], encoder: Encoder | None) -> list[str]:
    """Replace each line by the most similar step, as toolkens, and append [END].

    A line that is a step is kept. The similarity is the Jaccard index of the words, or, with an encoder, the cosine of
    the sentence vectors (Huang et al. 2022, "Language Models as Zero-Shot Planners", arXiv 2201.07207, section 2.3).

    Parameters
    ----------
    steps
        Verbs and objects to choose among, such as ("WALK", "couch").
    """
    known = set(steps)
    texts = [in_words(step) for step in steps]
    plan: list[str] = []
    for line in lines:
        found = _STEP.fullmatch(line)
        step = (found[1].upper(), found[2].lower()) if found else None
        if step not in known:
            words = in_words(step) if step else " ".join(_WORDS.findall(line.lower()))
            step = steps[_nearest(words, texts, encoder)]
        assert step is not None
        plan += [f"[{step[0]}]", f"<{step[1]}>"]
    return [*plan, "[END]"]


def in_words(step: tuple[str, str]) -> str:
    """Return a step as words, such as "walk couch"."""
    return f"{step[0]} {step[1].replace('_', ' ')}".lower()


def _nearest(words: str, texts: Sequence[str], encoder: Encoder | None) -> int:
    if encoder is not None:
        return int((encoder.encode(list(texts)) @ encoder.encode([words])[0]).argmax())
    mine = set(words.split())
    similarities = [len(mine & set(text.split())) / len(mine | set(text.split())) for text in texts]
    return similarities.index(max(similarities))


def grounded_plans(
    lm: FrozenLM, beginning: str, questions: Sequence[str], following: Sequence[Following], most_toolkens: int
) -> list[list[str]]:
    """Decode plans greedily, restricted to tokens that lead to a toolken that may follow.

    This decodes the LM's likelihood under the grounding of the scene (Huang et al. 2023, "Grounded Decoding",
    arXiv 2303.00855, with a hard constraint).

    Parameters
    ----------
    beginning, questions
        As for `free_plans`.
    following
        Per question, a function from the toolkens so far to the toolkens that may follow.
    most_toolkens
        Maximum length of a plan in toolkens.
    """
    continuations = Continuations(lm, beginning)
    readings = continuations.read([question + "\n" for question in questions])
    plans = [
        _GroundedPlan(lm, session, state, allowed)
        for (session, state), allowed in zip(readings, following, strict=True)
    ]
    batch = lm.start_batch()
    while True:
        pieces = [(plan, ids) for plan in plans if (ids := plan.next_tokens(most_toolkens))]
        if not pieces:
            return [plan.toolkens for plan in plans]
        for (plan, _), state in zip(pieces, batch.feed([(plan.session, ids) for plan, ids in pieces]), strict=True):
            plan.state = state


class _GroundedPlan:
    """An unfinished plan, and the remaining tokens of each possible next toolken."""

    def __init__(self, lm: FrozenLM, session: Session, state: State, following: Following) -> None:
        self._lm, self.session, self.state, self._following = lm, session, state, following
        self.toolkens: list[str] = []
        self._remaining: Mapping[str, list[int]] | None = None

    def next_tokens(self, most_toolkens: int) -> list[int]:
        """Return the next tokens: a chosen one and the forced ones after it; none at the end of the plan."""
        ids: list[int] = []
        while True:
            if self._remaining is None:
                allowed = self._following(self.toolkens) if len(self.toolkens) < most_toolkens else ()
                if not allowed:
                    return []
                self._remaining = {toolken: self._tokens(toolken) for toolken in allowed}
            first = {tokens[0] for tokens in self._remaining.values()}
            if len(first) > 1:
                if ids:
                    return ids  # the next choice needs the LM's logits after these
                options = sorted(first)
                token = options[int(self.state[1][options].argmax())]
            else:
                token = next(iter(first))
            ids.append(token)
            self._remaining = {toolken: tokens[1:] for toolken, tokens in self._remaining.items() if tokens[0] == token}
            finished = [toolken for toolken, tokens in self._remaining.items() if not tokens]
            if finished:
                self.toolkens.append(finished[0])
                self._remaining = None
                if finished[0] == "[END]":
                    return []

    def _tokens(self, toolken: str) -> list[int]:
        """Return the tokens of a toolken with the text that leads to it."""
        written = plan_text(self.toolkens)
        return self._lm.encode(lead(written, toolken) + toolken[1:]).ids
