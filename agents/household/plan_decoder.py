"""`PlanDecoder`: next-toolken decoding of plans, batched over tasks and beams."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from toolken.agents.household.plans import lead, plan_text
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM, Session
from toolken.training.prompts.conversation_format import question_answer

#: Maximum number of plans in a batch; each has its own KV cache.
MAX_BATCH = 16
#: Maximum number of toolkens of a plan.
MOST_TOOLKENS = 40
#: Alternatives that are reported for each decision.
RUNNERS_UP = 3

#: Maps the toolkens so far to those that may follow; empty if the plan is complete.
Following = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class PlanTask:
    """A request to plan for.

    Attributes
    ----------
    question
        The request, worded as the head's prompt format expects it.
    following
        Maps the toolkens so far to those that may follow, such as those of the scene.
    begun
        Toolkens that the plan begins with.
    """

    question: str
    following: Following
    begun: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The decision for one toolken.

    Attributes
    ----------
    toolken
        The chosen toolken.
    probability
        P(toolken | request, toolkens before), normalised over those that may follow.
    runners_up
        The next most probable toolkens, with their probabilities.
    """

    toolken: str
    probability: float
    runners_up: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Plan:
    """A plan and its probability.

    Attributes
    ----------
    toolkens
        All toolkens, including those that the plan began with.
    log_probability
        Sum of the natural logarithms of the choices' probabilities.
    choices
        The decisions, one per decoded toolken.
    """

    toolkens: tuple[str, ...]
    log_probability: float
    choices: tuple[Choice, ...] = ()


class PlanDecoder:
    """Decodes plans: each toolken is chosen by the head's softmax over those that may follow.

    The LM reads the text of each toolken and the opening bracket of the next one before that one is decided. The
    logits of vocabulary tokens are not used.

    Parameters
    ----------
    lm, head
        The head must have been fitted with this LM, on plans written by `plan_example`.

    Raises
    ------
    FingerprintError
        If the head was fitted with another LM.
    """

    def __init__(self, lm: FrozenLM, head: ToolkenHead) -> None:
        head.check(lm)
        self.lm, self.head = lm, head

    def decode(
        self,
        tasks: Sequence[PlanTask],
        *,
        beams: int = 1,
        most_toolkens: int = MOST_TOOLKENS,
        advance: Callable[[int], None] | None = None,
    ) -> list[list[Plan]]:
        """Return the most probable plans per task, in descending order of probability.

        Parameters
        ----------
        tasks
            The tasks; as many as fit into a batch are decoded together.
        beams
            Width of the beam search and maximum number of plans per task; 1 decodes greedily.
        most_toolkens
            Maximum number of toolkens of a plan.
        advance
            Called with the number of tasks done since the last call.

        Raises
        ------
        PromptTooLongError
            If a plan does not fit the LM's context.
        """
        found: list[list[Plan]] = []
        group = max(1, MAX_BATCH // beams)
        for begin in range(0, len(tasks), group):
            batch = tasks[begin : begin + group]
            found += self._search(batch, beams, most_toolkens)
            if advance is not None:
                advance(len(batch))
        return found

    def _search(self, tasks: Sequence[PlanTask], beams: int, most_toolkens: int) -> list[list[Plan]]:
        done: list[list[Plan]] = [[] for _ in tasks]
        live = [_Beam(at, Plan(task.begun, 0.0)) for at, task in enumerate(tasks)]
        form = question_answer(self.head.prompt, "a planner")
        texts = _PlanTexts(self.lm, [form.prompt(task.question) + form.joint for task in tasks])
        while live:
            open_ended = []
            for beam in live:
                written = beam.plan.toolkens
                allowed = tasks[beam.task].following(written) if len(written) < most_toolkens else ()
                if allowed:
                    open_ended.append((beam, allowed))
                else:
                    done[beam.task].append(beam.plan)
            states = texts.states([(beam.task, beam.plan.toolkens, allowed[0]) for beam, allowed in open_ended])
            grown = [
                _Beam(beam.task, plan)
                for (beam, allowed), hidden in zip(open_ended, states, strict=True)
                for plan in self._grown(beam.plan, allowed, hidden, beams)
            ]
            live = []
            for at, plans in enumerate(done):
                plans.sort(key=_likeliest_first)
                del plans[beams:]
                mine = sorted((beam for beam in grown if beam.task == at), key=lambda beam: _likeliest_first(beam.plan))
                # Probabilities only fall, so a beam below the last of `beams` complete plans cannot overtake it.
                bar = plans[-1].log_probability if len(plans) == beams else -float("inf")
                live += [beam for beam in mine[:beams] if beam.plan.log_probability > bar]
        return done

    def _grown(self, plan: Plan, allowed: Sequence[str], hidden: torch.Tensor, beams: int) -> Iterator[Plan]:
        """Yield the plan extended by each of the most probable toolkens at a hidden state `(d,)`."""
        scores = self.head.decide(hidden, allowed).log_shares
        best = torch.topk(scores, min(max(beams, RUNNERS_UP + 1), len(allowed)))
        ranked = [(allowed[at], float(score)) for score, at in zip(best.values, best.indices.tolist(), strict=True)]
        for toolken, score in ranked[:beams]:
            others = [(other, math.exp(less)) for other, less in ranked if other != toolken][:RUNNERS_UP]
            choice = Choice(toolken, math.exp(score), tuple(others))
            yield Plan((*plan.toolkens, toolken), plan.log_probability + score, (*plan.choices, choice))


def _likeliest_first(plan: Plan) -> float:
    return -plan.log_probability


@dataclass(frozen=True)
class _Beam:
    """A partial plan, and the index of its task."""

    task: int
    plan: Plan


class _PlanTexts:
    """The KV-cached texts of partial plans: an extended plan continues from the cache of its beginning."""

    def __init__(self, lm: FrozenLM, prompts: Sequence[str]) -> None:
        self._lm, self._prompts = lm, prompts
        self._batch = lm.start_batch()
        self._sessions: dict[tuple[int, tuple[str, ...]], Session] = {}
        self._root: Session | None = None

    def states(self, wanted: Sequence[tuple[int, tuple[str, ...], str]]) -> list[torch.Tensor]:
        """Return the hidden state `(d,)` at the decision position of each partial plan.

        Parameters
        ----------
        wanted
            Index of the task, toolkens so far, and one that may follow, whose opening bracket is appended. Plans that
            extend those of the previous call continue from their caches.
        """
        pieces: list[tuple[Session, list[int]]] = []
        sessions: dict[tuple[int, tuple[str, ...]], Session] = {}
        uses: dict[tuple[int, tuple[str, ...]], int] = {}
        for task, toolkens, _ in wanted:
            parent = (task, toolkens[:-1])
            uses[parent] = uses.get(parent, 0) + 1
        for task, toolkens, following in wanted:
            written = plan_text(toolkens)
            ids = self._lm.encode(f"{self._prompts[task]}{written}{lead(written, following)}").ids
            parent = (task, toolkens[:-1])
            session = self._sessions.get(parent)
            if session is None:
                session = self._started(ids)
            else:
                uses[parent] -= 1
                if uses[parent]:
                    session = session.fork()
            shared = min(session.common_prefix(ids), len(ids) - 1)
            if shared < len(session.ids):
                session.truncate(shared)
            sessions[task, toolkens] = session
            pieces.append((session, ids[shared:]))
        self._sessions = sessions
        return [hidden for hidden, _ in self._batch.feed(pieces)] if pieces else []

    def _started(self, ids: Sequence[int]) -> Session:
        """Return a session with the KV cache of the longest prefix shared with the first task."""
        if self._root is None:
            self._root = self._lm.start()
            self._root.feed(ids[:-1])
            return self._root.fork()
        session = self._root.fork()
        session.truncate(session.common_prefix(ids))
        return session
