"""LangChain tools that act in a household, one per action."""

from collections.abc import Callable
from typing import Annotated, ClassVar

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, Field

from toolken.tools.errors import validation_sentence
from toolken.tools.grounding import Grounded
from toolken.tools.household.actions import FURTHER, PUBLISHED, Action
from toolken.tools.household.household import Household, Observation

Name = Annotated[str, Field(min_length=1, max_length=60), Grounded()]


class NoObject(BaseModel):
    """Arguments of an action that needs no object: none."""

    # An unknown argument is an error instead of being ignored.
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class OneObject(NoObject):
    """Arguments of an action on one thing."""

    object: Name = Field(description="The thing or room, named as in the request, such as: kitchen light.")


class TwoObjects(NoObject):
    """Arguments of an action that brings one thing to another."""

    object: Name = Field(description="The thing in your hand, named as in the request, such as: cup.")
    place: Name = Field(description="Where it goes, named as in the request, such as: table.")


def household_tools(household: Household) -> list[BaseTool]:
    """Return the 25 published actions as tools on one household, in the order of their toolkens.

    Each tool takes the object in words and returns what happened as text, with the `Observation` as artifact. An
    impossible action returns a tool message with status "error" and one sentence that says what to do first
    (`handle_tool_error` is set; set it to False on a tool to have a `HouseholdError` raised instead).

    Parameters
    ----------
    household
        Where the actions are carried out; all tools share it, so each sees the changes of the others.
    """
    return [_action_tool(household, action) for action in PUBLISHED]


def further_tools(household: Household) -> list[BaseTool]:
    """Return the further tools: stand_up, put_on, put_in, unplug, and look_around, which changes nothing.

    Parameters
    ----------
    household
        The household the other tools act in.
    """

    def look_around() -> tuple[str, list[str]]:
        return household.observe(), household.objects_in_view()

    looking = StructuredTool.from_function(
        look_around,
        name="look_around",
        description="Look around: what is in this room, which state is it in, where am I and what do I hold?",
        args_schema=NoObject,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=validation_sentence,
    )
    return [*(_action_tool(household, action) for action in FURTHER), looking]


def _action_tool(household: Household, action: Action) -> BaseTool:
    function, arguments = _signature(household, action)
    return StructuredTool.from_function(
        function,
        name=action.tool,
        description=action.description,
        args_schema=arguments,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=validation_sentence,
    )


def _signature(household: Household, action: Action) -> tuple[Callable[..., tuple[str, Observation]], type[BaseModel]]:
    def act(*objects: str) -> tuple[str, Observation]:
        observation = household.step(action.verb, *objects)
        return observation.text, observation

    def on_nothing() -> tuple[str, Observation]:
        return act()

    def on_one(object: str) -> tuple[str, Observation]:
        return act(object)

    def on_two(object: str, place: str) -> tuple[str, Observation]:
        return act(object, place)

    if "{1}" in action.said:
        return on_two, TwoObjects
    return (on_one, OneObject) if "{0}" in action.said else (on_nothing, NoObject)
