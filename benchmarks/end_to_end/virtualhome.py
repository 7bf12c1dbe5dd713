"""VirtualHome end to end: plans of 58 toolkens, executed in the simulator."""

import re
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

from toolken.agents.household.plan_choice import Effects, choose_plan, rehearsed_plans
from toolken.agents.household.plan_decoder import Following, Plan, PlanDecoder, PlanTask
from toolken.agents.household.planner import fit_plans
from toolken.agents.household.plans import plan_example, plan_text
from toolken.benchmarks.end_to_end.run import Options, methods_of
from toolken.benchmarks.end_to_end.script_rehearsal import ScriptRehearsal
from toolken.benchmarks.end_to_end.traces import Attempt, TracePiece
from toolken.benchmarks.end_to_end.trials import Answerer, Question, Test, Trial, TrialSettings, digest, head_hashes
from toolken.benchmarks.end_to_end.worded_plans import MAX_TOKENS, free_plans, grounded_plans, matched
from toolken.benchmarks.methods.one_entry_cache import OneEntryCache
from toolken.benchmarks.methods.toolkens import PUBLISHED, published_head
from toolken.benchmarks.selection.comparisons import plans_after
from toolken.benchmarks.sets.virtualhome import read_virtualhome
from toolken.errors import DataFormatError
from toolken.tools.household import HouseholdTask, read_programs, read_tasks, score_plan
from toolken.tools.household.programs import request_key
from toolken.tools.household.scoring import MOST_STEPS
from toolken.tools.household.toolkens import END, TOOLKENS, next_toolkens, plan_lines, toolkens_of
from toolken.training.examples import Example
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import FrozenLM

#: Suffix of methods that choose the plan by a rehearsal.
REHEARSED = "-rehearsed"
#: The project's own head, also trained on additional plans, and the published trainers.
OURS = ("toolken", "toolken" + REHEARSED, "toolken-more-plans")
TOOLKEN_METHODS = (*OURS, PUBLISHED[0], PUBLISHED[0] + REHEARSED, *PUBLISHED[1:])
NEAREST = ("nearest-plan", "nearest-plan" + REHEARSED)
IN_PROMPT = ("in-context", "in-context-matched", "in-context-grounded")
METHODS = (*TOOLKEN_METHODS, *NEAREST, *IN_PROMPT, "reference")
METRICS = ("grounding", "executable", "success, relaxed", "success")
#: Beam widths without and with rehearsal, which needs several candidates.
BEAMS, REHEARSED_BEAMS = 1, 8
#: Factor from the cosine similarity of two requests to the log likelihood of a plan: the scale in the training of
#: MiniLM sentence encoders (sentence-transformers, MultipleNegativesRankingLoss).
SIMILARITY_SCALE = 20.0
#: Toolkens of the longest plan: steps after the eighth do not count, but the rehearsal compares whole plans.
MOST_TOOLKENS = 2 * (MOST_STEPS + 4) + 1
_GOAL = re.compile(r"Goal:\n(?P<title>.*?)\n(?:Hint:\n(?P<description>.*)\n)?Plan:", re.DOTALL)


def trials(lm: FrozenLM, folder: Path, options: Options) -> list[Trial]:
    """Return the trials on the published tests."""
    data = _Data(lm, folder, options)
    return [data.trial(method) for method in methods_of(options, METHODS) if data.possible(method)]


class _Data:
    """The published files, and lazily computed examples and heads."""

    def __init__(self, lm: FrozenLM, folder: Path, options: Options) -> None:
        self.lm, self.folder, self.options = lm, folder, options
        self._tasks = read_tasks(folder)
        dataset = read_virtualhome(folder)
        self.beginning = dataset.preamble
        self._published = dataset.train.get("supervised", [])
        self._dev = dataset.tests["dev"].examples if "dev" in dataset.tests else []
        self._head: tuple[str, ToolkenHead] | None = None
        self._trained = OneEntryCache()
        questions = [
            Question(at, task.prompt().rstrip(), plan_text(task.toolkens), task)
            for at, task in enumerate(self._tasks[: options.limit])
        ]
        self.test = Test("virtualhome", "test", len(TOOLKENS), questions, score, METRICS)

    def possible(self, method: str) -> bool:
        """Return whether the installed packages suffice for a method."""
        return method not in NEAREST or self.options.encoder is not None

    def trial(self, method: str) -> Trial:
        """Return the trial of a method."""
        longest = max((len(self.lm.encode(question.text).ids) for question in self.test.questions), default=0)
        beams = REHEARSED_BEAMS if method.endswith(REHEARSED) else BEAMS
        learned = method in TOOLKEN_METHODS
        by_lm = learned or method in IN_PROMPT
        return Trial(
            self.test,
            method,
            partial(self._build, method),
            ({"beams": beams},) if learned else ({},),
            identity={"beginning": self.beginning, "toolkens": MOST_TOOLKENS, "files": self._files_digest}
            | head_hashes((), self._published),
            prompt_tokens=len(self.lm.encode(self.beginning).ids) + longest + MAX_TOKENS if by_lm else 0,
            read_tokens=longest if by_lm else 0,
            written_tokens=MAX_TOKENS * beams if by_lm else 0,
            fit_tokens=(longest + MAX_TOKENS) * len(self.examples(method)) if learned else 0,
            fit_key="plans" if method != "toolken-more-plans" else method,
            prompt=plans_after(self.beginning) if learned else None,
            batch=10,
        )

    @cached_property
    def _files_digest(self) -> str:
        """Digest of the plans, programs and scenes."""
        return digest(self.folder)

    def examples(self, method: str) -> list[Example]:
        """Return the training plans of a method."""
        return [*self._published, *(self._additional if method == "toolken-more-plans" else ())]

    @cached_property
    def _additional(self) -> list[Example]:
        """Plans of programs that occur neither in the tests nor in the other files, in scenes that they run in."""
        seen = {request_key(*_goal(example.question)) for example in (*self._published, *self._dev)}
        return [
            plan_example(task.prompt().rstrip(), task.toolkens)
            for task in read_programs(self.folder, without=self._tasks)
            if request_key(task.title, task.description) not in seen
        ]

    def head(self, method: str) -> ToolkenHead:
        """Return the fitted head of a method; the last one is cached."""
        plans = "more" if method == "toolken-more-plans" else "published"
        if self._head is None or self._head[0] != plans:
            form, cache = plans_after(self.beginning), FeatureCache(self.lm)
            examples, progress = self.examples(method), self.options.progress
            self._head = plans, fit_plans(self.lm, examples, TOOLKENS, prompt=form, cache=cache, progress=progress)
        head = self._head[1]
        published = method.removesuffix(REHEARSED)
        if published in PUBLISHED:
            return self._trained.get(
                published,
                lambda: published_head(self.lm, head, published, "virtualhome", self.examples(method)),
            )
        return head

    def _build(self, method: str, settings: TrialSettings) -> Answerer:
        if method in TOOLKEN_METHODS:
            decoder = PlanDecoder(self.lm, self.head(method))
            return partial(_planned, decoder, int(settings["beams"]), method.endswith(REHEARSED))
        if method in NEAREST:
            return self._nearest(method.endswith(REHEARSED))
        if method == "reference":
            return lambda questions: [_attempt(question, question.reference.toolkens) for question in questions]
        return partial(self._worded, method)

    def _nearest(self, rehearse: bool) -> Answerer:
        """Return an answerer that copies the plan of the most similar request, by sentence vectors.

        With `rehearse` it chooses among the plans of the `REHEARSED_BEAMS` most similar requests; the similarity
        determines their likelihood.
        """
        encoder = self.options.encoder
        assert encoder is not None
        examples = self.examples("nearest-plan")
        vectors = encoder.encode([". ".join(_goal(example.question)) for example in examples])
        plans = [tuple(call.tool for call in example.calls) for example in examples]

        def answer(questions: Sequence[Question]) -> list[Attempt]:
            asked = encoder.encode([". ".join(_goal(question.text)) for question in questions])
            found = []
            for question, similar in zip(questions, asked @ vectors.T, strict=True):
                candidates: dict[tuple[str, ...], float] = {}
                for at in similar.argsort(descending=True, stable=True).tolist():
                    candidates.setdefault(plans[at], SIMILARITY_SCALE * float(similar[at]))
                    if len(candidates) == (REHEARSED_BEAMS if rehearse else 1):
                        break
                chosen = [Plan(plan, score) for plan, score in candidates.items()]
                best = chosen[0]
                if rehearse:
                    best = choose_plan(chosen, ScriptRehearsal(question.reference.initial), MOST_STEPS, covered)
                found.append(_attempt(question, best.toolkens))
            return found

        return answer

    def _worded(self, method: str, questions: Sequence[Question]) -> list[Attempt]:
        """Answer with plans that the LM writes as text, in the form of the demonstrations in its prompt."""
        texts = [question.text for question in questions]
        if method == "in-context-grounded":
            following = [_following(question.reference) for question in questions]
            plans = grounded_plans(self.lm, self.beginning, texts, following, 2 * MOST_STEPS)
        else:
            plans = free_plans(self.lm, self.beginning, texts)
            if method == "in-context-matched":
                plans = [
                    matched(plan, _steps_of(question.reference), self.options.encoder)
                    for plan, question in zip(plans, questions, strict=True)
                ]
        return [_attempt(question, plan) for question, plan in zip(questions, plans, strict=True)]


def score(question: Question, attempt: Attempt) -> dict[str, float]:
    """Score a plan by the published metrics."""
    found = score_plan(question.reference, attempt.answer.splitlines())
    return {
        "grounding": float(found.grounded),
        "executable": float(found.executable),
        "success, relaxed": float(found.success_relaxed),
        "success": float(found.success),
    }


def covered(wanted: Effects, reached: Effects) -> float:
    """Return 1.0 if `reached` includes all wanted effects: the published success, as a utility.

    As in the published metric, a reference plan without effects never counts as reached.
    """
    return float(bool(wanted) and wanted <= reached)


def _planned(decoder: PlanDecoder, beams: int, rehearse: bool, questions: Sequence[Question]) -> list[Attempt]:
    """Answer by decoding toolkens, restricted to the objects of the scene."""
    tasks = [PlanTask(question.text, _following(question.reference)) for question in questions]
    if rehearse:
        rehearsals = [ScriptRehearsal(question.reference.initial) for question in questions]
        plans = rehearsed_plans(
            decoder,
            tasks,
            rehearsals,
            candidates=beams,
            most_steps=MOST_STEPS,
            most_toolkens=MOST_TOOLKENS,
            utility=covered,
        )
    else:
        plans = [found[0] for found in decoder.decode(tasks, beams=beams, most_toolkens=MOST_TOOLKENS)]
    return [_attempt(question, plan) for question, plan in zip(questions, plans, strict=True)]


def _following(task: HouseholdTask) -> Following:
    """Return the toolkens that may follow in a task's scene: verbs and its objects alternate."""
    return lambda written: next_toolkens(written, task.initial)


def _attempt(question: Question, plan: Plan | Sequence[str]) -> Attempt:
    """Return a plan in the form of a trace, with the simulator's message on the first impossible step."""
    if isinstance(plan, Plan):
        pieces = [
            TracePiece(tool=one.toolken, probability=one.probability, runners_up=one.runners_up) for one in plan.choices
        ]
        lines = plan_lines(plan.toolkens)
    else:
        lines = plan_lines(plan)
        pieces = [TracePiece(text=line + "\n") for line in lines]
    complaint = score_plan(question.reference, lines).complaint
    return Attempt(
        pieces=(*pieces, TracePiece(text=complaint)) if complaint else tuple(pieces), answer="\n".join(lines)
    )


def _steps_of(task: HouseholdTask) -> list[tuple[str, str]]:
    """Return all combinations of verbs and objects of a scene."""
    known = toolkens_of(task.initial)
    verbs = [toolken[1:-1] for toolken in known if toolken.startswith("[") and toolken != END]
    return [(verb, toolken[1:-1]) for verb in verbs for toolken in known if toolken.startswith("<")]


def _goal(question: str) -> tuple[str, str]:
    """Return title and description of a task from its published prompt."""
    found = _GOAL.search(question)
    if found is None:
        raise DataFormatError(f"{question[:80]!r} is not a task with a goal: give the published data.")
    return found["title"].strip(), (found["description"] or "").strip()
