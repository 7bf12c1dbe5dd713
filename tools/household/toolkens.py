"""The 58 published toolkens: a verb and an object per action, and [END] at the end of a plan."""

import threading
from collections.abc import Callable, Sequence

from langchain_core.tools import BaseTool, StructuredTool

from toolken.tools.errors import validation_sentence
from toolken.tools.household.action_tools import NoObject
from toolken.tools.household.actions import BY_VERB, PUBLISHED
from toolken.tools.household.errors import HouseholdError
from toolken.tools.household.household import Household
from toolken.tools.household.naming import class_words
from toolken.tools.household.simulator import SceneGraph, read_script_line

END = "[END]"
VERBS = tuple(f"[{action.verb}]" for action in PUBLISHED)
OBJECTS = tuple(
    f"<{name}>"
    for name in (
        *("home_office", "couch", "television", "remote_control", "bedroom", "bed", "novel", "bookmark"),
        *("dining_room", "food_food", "freezer", "plate", "phone", "check", "mouse", "keyboard", "laptop", "chair"),
        *("computer", "desk", "table", "bathroom", "mail", "light", "floor_lamp", "button", "water", "cupboard"),
        *("faucet", "sink", "cat", "kitchen_cabinet"),
    )
)
TOOLKENS = (*VERBS, *OBJECTS, END)
"""The 58 published toolkens, in the order of their ids."""


def toolken_descriptions(toolkens: Sequence[str] = TOOLKENS) -> dict[str, str]:
    """Return a description per toolken, from which the prior mean is computed.

    Parameters
    ----------
    toolkens
        Verbs, objects (`<couch>`, and any other name of a thing in this form) and [END]; the 58 by default.
    """
    verbs = {f"[{action.verb}]": action.description for action in BY_VERB.values()}
    known = {**verbs, END: "Nothing is left to do: the request is carried out."}
    return {
        toolken: known.get(toolken) or f"The {class_words(toolken[1:-1])} is what to do it with, or where to go."
        for toolken in toolkens
    }


def read_plan(plan: Sequence[str]) -> list[tuple[str, str]]:
    """Read a plan as (verb, object) pairs, up to [END].

    Parameters
    ----------
    plan
        Toolkens ("[WALK]", "<desk>", ...), or script lines ("[Walk] <desk> (1)"), or lines of two toolkens.

    Returns
    -------
    list of (str, str)
        Such as ("WALK", "desk").

    Raises
    ------
    HouseholdError
        If verbs and objects do not alternate, or a line is malformed.
    """
    return [read_step(line) for line in plan_lines(plan)]


def plan_lines(plan: Sequence[str]) -> list[str]:
    """Split a plan, in any form that `read_plan` reads, into one text per step, up to [END]."""
    text = " ".join(plan).split(END)[0]
    begun, *steps = text.split("[")
    return [begun.strip()] * bool(begun.strip()) + [f"[{step.strip()}" for step in steps]


def read_step(line: str) -> tuple[str, str]:
    """Read one step, such as `[WALK] <desk>`, as (verb, object); see `read_plan`."""
    verb, objects = read_script_line(line)
    if len(objects) != 1:
        raise HouseholdError(f"{line!r} has {len(objects)} objects; a step of a toolken plan has one.")
    return verb, objects[0][0]


def write_plan(steps: Sequence[tuple[str, str]]) -> list[str]:
    """Write (verb, object) pairs as toolkens, with [END] at the end."""
    return [toolken for verb, name in steps for toolken in (f"[{verb}]", f"<{name}>")] + [END]


def toolkens_of(graph: SceneGraph) -> list[str]:
    """Return the toolkens that can be used in a scene: the verbs, the objects that it has, and [END]."""
    present = {f"<{node['class_name']}>" for node in graph["nodes"]}
    return [toolken for toolken in TOOLKENS if not toolken.startswith("<") or toolken in present]


def next_toolkens(written: Sequence[str], graph: SceneGraph) -> list[str]:
    """Return the toolkens that may follow: objects after a verb, verbs or [END] after an object, none after [END].

    Parameters
    ----------
    written
        The toolkens so far.
    graph
        The scene.
    """
    if written and written[-1] == END:
        return []
    wants_object = bool(written) and written[-1].startswith("[")
    return [toolken for toolken in toolkens_of(graph) if toolken.startswith("<") == wants_object]


def toolken_tools(household: Household) -> list[BaseTool]:
    """Return the 58 toolkens as tools without arguments: an action is carried out when the object follows the verb.

    Parameters
    ----------
    household
        Where the actions are carried out.
    """
    pending: list[str] = []
    lock = threading.Lock()

    def call(toolken: str) -> tuple[str, object]:
        with lock:
            if not toolken.startswith("<"):
                if pending:
                    raise HouseholdError(f"{pending[0]} has no object yet; call one such as <couch> before {toolken}.")
                if toolken == END:
                    return "The plan is complete.", household.history
                pending.append(toolken)
                return f"{toolken} what?", toolken
            if not pending:
                raise HouseholdError(f"{toolken} follows no verb; call one such as [WALK] first.")
            observation = household.step(pending.pop(), toolken)
            return observation.text, observation

    return [_toolken_tool(toolken, text, call) for toolken, text in toolken_descriptions().items()]


def _toolken_tool(toolken: str, description: str, call: Callable[[str], tuple[str, object]]) -> BaseTool:
    def called() -> tuple[str, object]:
        return call(toolken)

    return StructuredTool.from_function(
        called,
        name=toolken,
        description=description,
        args_schema=NoObject,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=validation_sentence,
    )
