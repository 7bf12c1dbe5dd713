"""`PlanDecoder`: next-toolken decoding of plans, several of them and several tasks at a time."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM, Session
from toolken.training.plans import lead, plan_text

#: Texts that grow together; each holds its own KV cache.
MAX_ROWS = 16
#: Toolkens after which a plan ends even if it is not finished.
MOST_TOOLKENS = 40
#: Toolkens that are told beside each one that was decided.
RUNNERS_UP = 3

#: From the toolkens so far to those that may follow; none where the plan is complete.
Following = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True)
class PlanTask:
    """Something to plan.

    Attributes
    ----------
    question
        The task in words, as the head's prompt format wants it.
    following
        Which toolkens may follow: those of the scene, for instance.
    begun
        Toolkens that the plan begins with.
    """

    question: str
    following: Following
    begun: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """A toolken that was decided.

    Attributes
    ----------
    toolken
        The toolken.
    probability
        P(toolken | task, toolkens before), among those that could follow.
    runners_up
        The next best ones, with theirs.
    """

    toolken: str
    probability: float
    runners_up: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Plan:
    """A plan and how likely the head finds it.

    Attributes
    ----------
    toolkens
        The toolkens, those that it began with included.
    log_probability
        Sum of the natural logs of the choices' probabilities.
    choices
        The toolkens that were decided.
    """

    toolkens: tuple[str, ...]
    log_probability: float
    choices: tuple[Choice, ...] = ()


class PlanDecoder:
    """Decides toolken after toolken which one a plan goes on with, by the head's selection among those that may follow.

    Each toolken's text, with a bracket for the next one, is read by the LM before the next is decided; the words' own
    logits play no part.

    Parameters
    ----------
    lm, head
        The head must have been fitted with this LM, on plans written by `plan_example`.

    Raises
    ------
    FingerprintError
        If it was fitted with another LM.
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
        """Return the likeliest plans of each task, the likeliest first.

        Parameters
        ----------
        tasks
            The tasks; those that fit into the batch are decoded together.
        beams
            Plans that are kept for each task at every step, and returned at most (beam search); 1 is greedy.
        most_toolkens
            Toolkens after which a plan ends in any case.
        advance
            Called with the number of tasks done since the last call.

        Raises
        ------
        PromptTooLongError
            If a plan no longer fits the LM's context.
        """
        found: list[list[Plan]] = []
        group = max(1, MAX_ROWS // beams)
        for begin in range(0, len(tasks), group):
            part = tasks[begin : begin + group]
            found += self._search(part, beams, most_toolkens)
            if advance is not None:
                advance(len(part))
        return found

    def _search(self, tasks: Sequence[PlanTask], beams: int, most_toolkens: int) -> list[list[Plan]]:
        done: list[list[Plan]] = [[] for _ in tasks]
        live = [_Beam(at, Plan(task.begun, 0.0)) for at, task in enumerate(tasks)]
        reading = _Reading(self.lm, [self.head.prompt.prompt(task.question) + self.head.prompt.joint for task in tasks])
        while live:
            open_ended = []
            for beam in live:
                written = beam.plan.toolkens
                allowed = tasks[beam.task].following(written) if len(written) < most_toolkens else ()
                if allowed:
                    open_ended.append((beam, allowed))
                else:
                    done[beam.task].append(beam.plan)
            states = reading.states([(beam.task, beam.plan.toolkens, allowed[0]) for beam, allowed in open_ended])
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
                # Probabilities only fall: a plan that is behind the last of enough finished ones cannot overtake it.
                bar = plans[-1].log_probability if len(plans) == beams else -float("inf")
                live += [beam for beam in mine[:beams] if beam.plan.log_probability > bar]
        return done

    def _grown(self, plan: Plan, allowed: Sequence[str], hidden: torch.Tensor, beams: int) -> Iterator[Plan]:
        """Yield a plan with each of the likeliest toolkens that may follow, decided at a state `(d,)`."""
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
    """A plan in the making, and the number of its task."""

    task: int
    plan: Plan


class _Reading:
    """The texts of plans in the making, each read once: a plan goes on from the text of its beginning."""

    def __init__(self, lm: FrozenLM, prompts: Sequence[str]) -> None:
        self._lm, self._prompts = lm, prompts
        self._batch = lm.start_batch()
        self._sessions: dict[tuple[int, tuple[str, ...]], Session] = {}
        self._root: Session | None = None

    def states(self, wanted: Sequence[tuple[int, tuple[str, ...], str]]) -> list[torch.Tensor]:
        """Return the state `(d,)` at which each plan's next toolken is decided.

        Parameters
        ----------
        wanted
            Task, toolkens so far, and one that may follow, for the bracket it opens with. Plans that go on from those
            asked for last are read on from there.
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
        """Return a text that has read what these tokens share with those of the first task."""
        if self._root is None:
            self._root = self._lm.start()
            self._root.feed(ids[:-1])
            return self._root.fork()
        session = self._root.fork()
        session.truncate(session.common_prefix(ids))
        return session
