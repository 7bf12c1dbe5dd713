"""`HouseholdPlanner`: a request becomes a plan in toolkens, and the plan is carried out in a home, step by step."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from toolken.agents.household.plan_decoder import Plan, PlanDecoder, PlanTask
from toolken.agents.household.plans import PLANS, plan_example
from toolken.errors import HeadError
from toolken.tools.household import (
    Household,
    HouseholdError,
    HouseholdTask,
    Observation,
    errand_plans,
    plan_request,
    toolken_descriptions,
)
from toolken.tools.household.naming import meanings
from toolken.tools.household.toolkens import END, VERBS, read_plan, write_plan
from toolken.training.examples import Example
from toolken.training.feature_cache import FeatureCache
from toolken.training.fit import Progress, fit
from toolken.training.head import ToolkenHead
from toolken.training.lm import FrozenLM
from toolken.training.prompt import PromptFormat
from toolken.training.tool_spec import ToolSpec

#: Requests for the small flat that a planner learns from where it is given no tasks.
ERRANDS = 500
#: Steps after which a plan ends in any case.
MOST_STEPS = 20


@dataclass(frozen=True)
class PlannedStep:
    """A step of a plan and what came of it.

    Attributes
    ----------
    verb, object
        Such as "SWITCHON" and "kitchen_light".
    observation
        What the character is told; None if the step was not possible.
    complaint
        Why it was not possible, and what has to be done first; empty if it was.
    """

    verb: str
    object: str
    observation: Observation | None
    complaint: str = ""


class HouseholdPlanner:
    """Plans what to do in a home, and does it.

    A plan is decided toolken by toolken: a verb, its object, the next verb, up to [END]; only objects that the home
    has can be chosen. The home is not touched while planning.

    Parameters
    ----------
    lm, head
        The head's tools are toolkens: verbs such as `[WALK]`, objects such as `<couch>`, and `[END]`; see `fit`.
    beams
        Plans that are followed side by side (beam search); 1 decides each toolken by itself.
    list_objects
        Whether the head was fitted on requests that list the objects of the home, as the published tasks do.

    Raises
    ------
    FingerprintError
        If the head was fitted with another LM.
    HeadError
        If it has no toolkens of verbs, or none of [END].

    Examples
    --------
    A planner for the small flat of the package, fitted on requests that the package makes:

    >>> planner = HouseholdPlanner.fit(lm)
    >>> home = Household()
    >>> for step in planner.carry_out(home, "Switch on the kitchen light."):
    ...     print(step.verb, step.object, step.complaint or step.observation.text)
    """

    def __init__(self, lm: FrozenLM, head: ToolkenHead, *, beams: int = 1, list_objects: bool = True) -> None:
        self.head, self.beams, self.list_objects = head, beams, list_objects
        self._decoder = PlanDecoder(lm, head)
        self.verbs = [name for name in head.names if name.startswith("[") and name != END]
        self.objects = [name for name in head.names if name.startswith("<")]
        if not self.verbs or END not in head.names:
            raise HeadError(
                f"A planner's head has toolkens of verbs such as [WALK], and {END}: fit one with HouseholdPlanner.fit."
            )

    @classmethod
    def fit(
        cls,
        lm: FrozenLM,
        tasks: Sequence[HouseholdTask] | None = None,
        *,
        beams: int = 1,
        cache: FeatureCache | None = None,
        progress: Progress | None = None,
    ) -> "HouseholdPlanner":
        """Fit a head on tasks with their plans, and return a planner with it.

        Parameters
        ----------
        tasks
            Such as `read_programs` yields; by default requests for the small flat, which the package makes.
        cache
            Where hidden states are kept, so that fitting again does not read the tasks again.
        progress
            Told what is being done, and how far it has come.

        Raises
        ------
        HeadError
            If there are no tasks.
        SimulatorMissingError
            If the simulator is not installed.
        """
        if tasks is None:
            flat = Household().graph
            pairs = [(plan_request(flat, request, objects=()), plan) for request, plan in errand_plans(ERRANDS)]
        elif tasks:
            pairs = [(task.prompt(), list(task.toolkens)) for task in tasks]
        else:
            raise HeadError("A planner cannot be fitted without tasks: give some, or None for the small flat's.")
        toolkens = dict.fromkeys([*VERBS, *(toolken for _, plan in pairs for toolken in plan), END])
        examples = [plan_example(request, plan) for request, plan in pairs]
        head = fit_plans(lm, examples, toolkens, cache=cache, progress=progress)
        return cls(lm, head, beams=beams, list_objects=tasks is not None)

    def plan(self, home: Household, request: str, *, hint: str = "") -> list[tuple[str, str]]:
        """Return the plan for a request, as verbs and objects such as ("WALK", "couch").

        Parameters
        ----------
        home
            Where it is to be carried out.
        request
            What is wanted.
        hint
            How to go about it, if that is known.

        Raises
        ------
        PromptTooLongError
            If the request does not fit the LM's context.
        """
        return read_plan(self._decoded(self._question(home, request, hint), self._names(home)).toolkens)

    def carry_out(
        self, home: Household, request: str, *, hint: str = "", most_steps: int = MOST_STEPS
    ) -> Iterator[PlannedStep]:
        """Plan and do what is planned, step by step; where a step is not possible, the plan is mended.

        Where one other step makes the failed one possible, such as plugging in what is to be switched on, the
        likeliest of these is put in front of it. Else the failed step is given up: the next one is decided among what
        the simulator allows now, and the rest of the plan freely again.

        Parameters
        ----------
        home
            Where it is done.
        request, hint
            As for `plan`.
        most_steps
            Steps after which it ends in any case, failed ones included.

        Yields
        ------
        PlannedStep
            Each step as it is done, failed ones included.
        """
        question, names = self._question(home, request, hint), self._names(home)
        done: list[str] = []
        refused: set[tuple[str, str]] = set()
        ahead = read_plan(self._decoded(question, names).toolkens)
        for _ in range(most_steps):
            if not ahead:
                return
            verb, name = ahead.pop(0)
            try:
                observation = home.step(verb, name)
            except HouseholdError as error:
                yield PlannedStep(verb, name, None, str(error))
                refused.add((verb, name))
                ahead = self._mended(home, question, names, done, [(verb, name), *ahead], refused)
            else:
                yield PlannedStep(verb, name, observation)
                done += write_plan([(verb, name)])[:-1]
                refused.clear()

    def _mended(
        self,
        home: Household,
        question: str,
        names: Mapping[str, frozenset[int]],
        done: Sequence[str],
        ahead: list[tuple[str, str]],
        refused: Collection[tuple[str, str]],
    ) -> list[tuple[str, str]]:
        """Return what to do instead of steps of which the first has been refused."""
        verbs = [toolken[1:-1] for toolken in self.verbs]
        enabling = self._as_toolkens(home, names, home.enabling(*ahead[0], verbs=verbs)) - {*refused}
        if enabling:
            decided = self._decoded(question, names, done, enabling, may_end=False).toolkens[len(done) :]
            return [*read_plan(decided)[:1], *ahead]
        possible = self._as_toolkens(home, names, home.legal_actions(verbs)) - {*refused}
        return read_plan(self._decoded(question, names, done, possible).toolkens[len(done) :])

    def _question(self, home: Household, request: str, hint: str) -> str:
        return plan_request(home.graph, request, hint, objects=self.objects if self.list_objects else ())

    def _names(self, home: Household) -> dict[str, frozenset[int]]:
        """The objects that the home has, by their toolkens, each with the nodes that it can mean."""
        found = {}
        for toolken in self.objects:
            try:
                found[toolken] = frozenset(meanings(home.view, toolken))
            except HouseholdError:
                continue
        return found

    def _as_toolkens(
        self, home: Household, names: Mapping[str, frozenset[int]], steps: Iterable[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        """Steps of the home as verbs and objects of the head."""
        meant = [(verb, meanings(home.view, title)[0]) for verb, title in steps]
        return {(verb, toolken[1:-1]) for verb, id in meant for toolken, ids in names.items() if id in ids}

    def _decoded(
        self,
        question: str,
        names: Mapping[str, frozenset[int]],
        begun: Sequence[str] = (),
        possible: Collection[tuple[str, str]] | None = None,
        *,
        may_end: bool = True,
    ) -> Plan:
        """Return the likeliest plan that begins so, and goes on with one of the possible steps if they are given.

        Unless it `may_end` at once, one of these steps is in it.
        """
        here = len(begun)

        def following(written: Sequence[str]) -> list[str]:
            if written and written[-1] == END:
                return []
            wants_object = len(written) % 2 == 1
            if possible is None or len(written) > here + 1:
                return list(names) if wants_object else [*self.verbs, END]
            if wants_object:
                return [f"<{name}>" for verb, name in sorted(possible) if f"[{verb}]" == written[-1]]
            found = list(dict.fromkeys(f"[{verb}]" for verb, _ in sorted(possible)))
            return [*found, END] if may_end else found

        task = PlanTask(question, following, tuple(begun))
        return self._decoder.decode([task], beams=self.beams, most_toolkens=2 * MOST_STEPS + 1)[0][0]


def fit_plans(
    lm: FrozenLM,
    examples: Sequence[Example],
    toolkens: Iterable[str],
    *,
    prompt: PromptFormat = PLANS,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> ToolkenHead:
    """Fit a head on plans.

    Parameters
    ----------
    examples
        Such as `plan_example` makes.
    toolkens
        All that may occur in a plan; each is described as the household's are.
    prompt, cache, progress
        As for `fit`.

    Raises
    ------
    ExampleError
        If an example has another toolken, or none fits the LM's context.
    """
    specs = [ToolSpec(name=name, description=text) for name, text in toolken_descriptions(list(toolkens)).items()]
    return fit(lm, specs, examples, prompt=prompt, refine=True, cache=cache, progress=progress)
