"""The tools of the household pass LangChain's standard tests."""

import asyncio
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from toolken.tools.household import (
    TOOLKENS,
    Household,
    HouseholdError,
    Observation,
    demo_scene,
    further_tools,
    household_tools,
    toolken_descriptions,
    toolken_tools,
)
from toolken.tools.household.toolkens import END, next_toolkens, read_plan, toolkens_of, write_plan

pytest.importorskip("virtualhome_eval", reason="the VirtualHome simulator is not installed")

# Per tool: the steps that its call requires, and a call that then works.
CALLS: dict[str, tuple[list[tuple[str, ...]], tuple[str, ...]]] = {
    "drink": ([("walk", "water"), ("grab", "water")], ("water",)),
    "find": ([], ("phone",)),
    "sit": ([("walk", "couch")], ("couch",)),
    "grab": ([("walk", "novel")], ("novel",)),
    "walk": ([], ("kitchen light",)),
    "switch_on": ([("walk", "TV")], ("TV",)),
    "turn_to": ([], ("TV",)),
    "watch": ([("turn_to", "TV")], ("TV",)),
    "put_back": ([("walk", "cup"), ("grab", "cup")], ("cup",)),
    "read": ([("walk", "novel"), ("grab", "novel")], ("novel",)),
    "open": ([("walk", "fridge")], ("fridge",)),
    "lie": ([("walk", "bed")], ("bed",)),
    "look_at": ([("turn_to", "cat")], ("cat",)),
    "drop": ([("walk", "cup"), ("grab", "cup")], ("cup",)),
    "type": ([("walk", "keyboard")], ("keyboard",)),
    "point_at": ([("turn_to", "cat")], ("cat",)),
    "pull": ([("walk", "office chair")], ("office chair",)),
    "touch": ([("walk", "cat")], ("cat",)),
    "switch_off": ([("walk", "living room light")], ("living room light",)),
    "rinse": ([("walk", "plate")], ("plate",)),
    "close": ([("walk", "bedroom window")], ("bedroom window",)),
    "push": ([("walk", "button")], ("button",)),
    "run": ([], ("kitchen",)),
    "wash": ([("walk", "plate")], ("plate",)),
    "plug_in": ([("walk", "laptop")], ("laptop",)),
    "stand_up": ([("walk", "couch"), ("sit", "couch")], ()),
    "put_on": ([("walk", "cup"), ("grab", "cup"), ("walk", "desk")], ("cup", "desk")),
    "put_in": ([("walk", "cup"), ("grab", "cup"), ("walk", "fridge"), ("open", "fridge")], ("cup", "fridge")),
    "unplug": ([("walk", "TV")], ("TV",)),
    "look_around": ([], ()),
}


def prepared(name: str) -> BaseTool:
    """Return the tool, on a household in which its call works."""
    home = Household()
    for step in CALLS[name][0]:
        home.step(*step)
    return {tool.name: tool for tool in (*household_tools(home), *further_tools(home))}[name]


def arguments(name: str) -> dict[str, Any]:
    return dict(zip(("object", "place"), CALLS[name][1], strict=False))


def standard_tests(name: str, base: type) -> type:
    """LangChain's standard tests of one tool."""
    properties = {
        "tool_constructor": property(lambda self: prepared(name)),
        "tool_invoke_params_example": property(lambda self: arguments(name)),
    }
    return type(f"Test{base.__name__}Of{name.title().replace('_', '')}", (base,), properties)


for _name in CALLS:
    for _base in (ToolsUnitTests, ToolsIntegrationTests):
        _tests = standard_tests(_name, _base)
        globals()[_tests.__name__] = _tests
del _tests, _base, _name
# The base classes are abstract; pytest would collect them, and they would fail.
del ToolsUnitTests, ToolsIntegrationTests


def test_there_are_the_25_published_actions_in_the_order_of_their_toolkens() -> None:
    names = [tool.name for tool in household_tools(Household())]
    assert len(names) == 25
    assert names[:6] == ["drink", "find", "sit", "grab", "walk", "switch_on"]
    assert set(CALLS) == {*names, *(tool.name for tool in further_tools(Household()))}


@pytest.mark.parametrize("name", CALLS)
def test_arguments_are_bounded_described_and_copied_from_the_conversation(name: str) -> None:
    schema = prepared(name).tool_call_schema.model_json_schema()  # type: ignore[union-attr]
    for argument in schema["properties"].values():
        assert argument["x-grounded"] is True
        assert argument["maxLength"] <= 60
        assert argument["description"]
    assert set(schema.get("required", ())) == set(schema["properties"])


def test_descriptions_tell_the_tools_apart() -> None:
    home = Household()
    descriptions = [tool.description for tool in (*household_tools(home), *further_tools(home))]
    assert len(set(descriptions)) == len(descriptions)
    assert all(20 < len(text) < 200 for text in descriptions)


def test_tools_of_one_household_see_what_the_others_did_and_return_the_observation() -> None:
    tools = {tool.name: tool for tool in household_tools(Household())}
    tools["walk"].invoke({"object": "kitchen light"})
    call = {"name": "switch_on", "args": {"object": "kitchen light"}, "id": "1", "type": "tool_call"}
    message = tools["switch_on"].invoke(call)
    assert (message.status, message.content) == ("success", "You switch on the kitchen light.")
    assert isinstance(message.artifact, Observation)


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        ({"object": "kitchen light"}, "walk to it"),
        ({"object": "unicorn"}, "unicorn"),
        ({}, "The argument object is missing: give it."),
        ({"object": "TV", "speed": 2}, "There is no argument speed: leave it out."),
        ({"object": ""}, "at least 1 character."),
    ],
)
def test_a_refusal_is_a_message_with_status_error_and_changes_nothing(objects: dict[str, Any], says: str) -> None:
    home = Household()
    tool = {tool.name: tool for tool in household_tools(home)}["switch_on"]
    message = tool.invoke({"name": "switch_on", "args": objects, "id": "1", "type": "tool_call"})
    assert (message.status, message.artifact) == ("error", None)
    assert says in message.content
    assert not home.history


def test_calls_made_at_once_are_done_one_after_another() -> None:
    home = Household()
    walk = next(tool for tool in household_tools(home) if tool.name == "walk")

    async def walk_everywhere() -> list[str]:
        rooms = ("kitchen", "bedroom", "bathroom", "office")
        return await asyncio.gather(*(walk.ainvoke({"object": room}) for room in rooms))

    assert all(text.startswith("You walk to the") for text in asyncio.run(walk_everywhere()))
    assert len(home.history) == 4


def test_the_58_toolkens_have_different_descriptions() -> None:
    descriptions = toolken_descriptions()
    assert tuple(descriptions) == TOOLKENS
    assert len(set(descriptions.values())) == len(TOOLKENS) == 58


def refusal(tool: BaseTool) -> str:
    message = tool.invoke({"name": tool.name, "args": {}, "id": "1", "type": "tool_call"})
    assert message.status == "error"
    return str(message.content)


def test_an_action_is_done_when_its_object_is_called_after_its_verb() -> None:
    home = Household()
    tools = {tool.name: tool for tool in toolken_tools(home)}
    for toolken in ("[WALK]", "<television>", "[SWITCHON]", "<television>", "[END]"):
        answer = tools[toolken].invoke({})
    assert answer == "The plan is complete."
    assert home.reached([("television", "on")])
    assert refusal(tools["<couch>"]).startswith("<couch> follows no verb")
    tools["[SIT]"].invoke({})
    assert refusal(tools["[END]"]).startswith("[SIT] has no object yet")


def test_plans_are_read_in_every_published_form_and_written_as_toolkens() -> None:
    steps = [("WALK", "desk"), ("FIND", "chair")]
    toolkens = ["[WALK]", "<desk>", "[FIND]", "<chair>", END]
    assert write_plan(steps) == toolkens
    assert read_plan(toolkens) == steps
    assert read_plan([*toolkens, "[WALK]", "<bed>"]) == steps, "nothing after [END] counts"
    assert read_plan(["[Walk] <desk> (1)", "[Find] <chair> (1)"]) == steps
    assert read_plan(["[WALK] <desk>\n[FIND] <chair>\n[END]"]) == steps
    assert read_plan(["[WALK] <desk> (1.94)", "[FIND] <chair> (94)"]) == steps


@pytest.mark.parametrize(
    "plan",
    [["<desk>"], ["[WALK]"], ["[WALK]", "[FIND]", "<desk>"], ["[WALK]", "<a>", "<b>"], ["[FLY]", "<desk>"], ["hello"]],
)
def test_a_malformed_plan_is_a_clear_error(plan: list[str]) -> None:
    with pytest.raises(HouseholdError):
        read_plan(plan)


def test_only_toolkens_that_mean_something_in_the_scene_may_follow() -> None:
    scene = demo_scene()
    assert "<dining_room>" not in toolkens_of(scene)
    after_verb = next_toolkens(["[WALK]"], scene)
    assert "<television>" in after_verb
    assert all(toolken.startswith("<") for toolken in after_verb)
    assert len(next_toolkens([], scene)) == 26
    assert next_toolkens(["[WALK]", "<couch>", END], scene) == []
