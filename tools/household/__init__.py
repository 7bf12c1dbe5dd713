"""A household to act in: the VirtualHome simulator as LangChain tools.

A home is a scene graph; a character in it walks, takes, opens and switches things, by the simulator's rules. Tools
take the object in words and return a sentence about what happened, or an error about what has to be done first:

>>> from toolken.tools.household import Household, household_tools
>>> home = Household()  # the small flat of the package; or a path to a scene in VirtualHome's format
>>> tools = {tool.name: tool for tool in household_tools(home)}
>>> tools["walk"].invoke({"object": "floor lamp"})
'You walk to the floor lamp. It is off and unplugged.'
>>> tools["plug_in"].invoke({"object": "floor lamp"})
'You plug in the floor lamp.'
>>> tools["switch_on"].invoke({"object": "floor lamp"})
'You switch on the floor lamp.'
>>> home.reached([("floor lamp", "on")])
True
>>> home.undo()[:27]
'You are in the living room.'

`read_tasks` reads the published test tasks and rebuilds the homes they start in, `score_plans` computes the published
metrics, and `Rehearsal` tries plans in a copy of a home. The simulator is the package `virtualhome-eval`, installed
with `pip install --no-deps virtualhome-eval==0.1.1`; without it the first household raises `SimulatorMissingError`.
"""

from toolken.tools.household.action_tools import further_tools, household_tools
from toolken.tools.household.errands import errand_plans, examples
from toolken.tools.household.errors import HouseholdError, SimulatorMissingError
from toolken.tools.household.household import Household, Observation
from toolken.tools.household.programs import read_programs
from toolken.tools.household.rehearsal import Rehearsal
from toolken.tools.household.scene import demo_scene, read_scene
from toolken.tools.household.scoring import PlanScore, score_plan, score_plans
from toolken.tools.household.simulator import SceneGraph
from toolken.tools.household.tasks import HouseholdTask, plan_request, read_tasks
from toolken.tools.household.toolkens import TOOLKENS, toolken_descriptions, toolken_tools

__all__ = [
    "TOOLKENS",
    "Household",
    "HouseholdError",
    "HouseholdTask",
    "Observation",
    "PlanScore",
    "Rehearsal",
    "SceneGraph",
    "SimulatorMissingError",
    "demo_scene",
    "errand_plans",
    "examples",
    "further_tools",
    "household_tools",
    "plan_request",
    "read_programs",
    "read_scene",
    "read_tasks",
    "score_plan",
    "score_plans",
    "toolken_descriptions",
    "toolken_tools",
]
