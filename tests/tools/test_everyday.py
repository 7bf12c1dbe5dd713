"""The everyday tools do what they say, keep their state, and pass LangChain's own tests of tools."""

import datetime
import re
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from toolken.tools.everyday import BUSES, METRES, NAMES, RATES, Everyday, everyday_tools

#: Arguments and the expected result of each tool.
CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "set_timer": ({"minutes": 10}, "a timer for 10 minutes"),
    "set_alarm": ({"time": "06:30"}, "an alarm at 06:30"),
    "get_weather": ({"city": "Oslo"}, "4 degrees and snow"),
    "get_local_time": ({"city": "Tokyo"}, r"\d\d:\d\d"),
    "convert_currency": ({"amount": 11, "from_currency": "dollars", "to_currency": "euros"}, "10.00 euros"),
    "convert_length": ({"amount": 10, "from_unit": "miles", "to_unit": "kilometres"}, "16.09 kilometres"),
    "switch_light": ({"room": "kitchen", "state": "off"}, "the light in the kitchen is off"),
    "set_heating": ({"degrees": 21.5}, "the heating at 21.5 degrees"),
    "lock_door": ({"door": "front door"}, "the front door is locked"),
    "play_music": ({"music": "jazz"}, "playing jazz"),
    "add_to_shopping_list": ({"item": "oat milk"}, "oat milk on the shopping list"),
    "show_shopping_list": ({}, "nothing"),
    "take_note": ({"text": "flat tyre"}, "the note 'flat tyre'"),
    "find_notes": ({"word": "tyre"}, "no note with 'tyre'"),
    "add_to_calendar": ({"title": "dentist", "day": "Friday"}, "dentist on Friday"),
    "show_calendar": ({"day": "Friday"}, "nothing on Friday"),
    "send_message": ({"recipient": "Anna", "text": "I am late"}, "'I am late', sent to Anna"),
    "get_days_until": ({"date": "2001-01-01"}, r"-\d+ days"),
    "get_next_bus": ({"stop": "Harbour"}, r"in \d+ minutes"),
    "roll_dice": ({"sides": 6}, "[1-6]"),
}


def tools(state: Everyday | None = None) -> dict[str, BaseTool]:
    return {tool.name: tool for tool in everyday_tools(state)}


def test_there_are_twenty_tools_each_with_a_description_of_its_own() -> None:
    assert len(NAMES) == 20
    assert set(CALLS) == set(NAMES)
    assert len({tool.description for tool in everyday_tools()}) == 20


@pytest.mark.parametrize("name", CALLS)
def test_a_tool_returns_what_it_says(name: str) -> None:
    arguments, expected = CALLS[name]
    assert re.fullmatch(expected, tools()[name].invoke(arguments))


def test_the_tools_of_one_state_share_it_and_others_do_not() -> None:
    state = Everyday()
    mine, others = tools(state), tools()
    for item in ("bread", "tea"):
        mine["add_to_shopping_list"].invoke({"item": item})
    mine["take_note"].invoke({"text": "The bike has a flat tyre"})
    mine["add_to_calendar"].invoke({"title": "dentist", "day": "Friday"})
    assert mine["show_shopping_list"].invoke({}) == "bread, tea"
    assert mine["find_notes"].invoke({"word": "TYRE"}) == "The bike has a flat tyre"
    assert mine["show_calendar"].invoke({"day": "friday"}) == "dentist"
    assert others["show_shopping_list"].invoke({}) == "nothing"
    assert state.shopping == ["bread", "tea"]


def test_unknown_cities_are_not_invented() -> None:
    assert tools()["get_weather"].invoke({"city": "Atlantis"}) == "nothing is known about the weather in Atlantis"
    assert tools()["get_local_time"].invoke({"city": "Atlantis"}) == "the time zone of Atlantis is not known"


@pytest.mark.parametrize(
    ("name", "names", "unit", "table"),
    [("convert_currency", "currency", 0.01, RATES), ("convert_length", "unit", 0.01, METRES)],
)
def test_conversions_there_and_back_agree(name: str, names: str, unit: float, table: dict[str, float]) -> None:
    convert = tools()[name]
    for one in table:
        for other in table:
            if not 0.01 < table[one] / table[other] < 100:
                continue  # rounding to two decimals loses too much
            there = convert.invoke({"amount": 1000, f"from_{names}": one, f"to_{names}": other})
            amount, _, _ = there.partition(" ")
            back = convert.invoke({"amount": float(amount), f"from_{names}": other, f"to_{names}": one})
            assert float(back.partition(" ")[0]) == pytest.approx(1000, rel=unit)


@pytest.mark.parametrize(
    ("name", "argument", "arguments"),
    [
        ("set_timer", "minutes", {"minutes": 0}),
        ("set_alarm", "time", {"time": "half past six"}),
        ("set_heating", "degrees", {"degrees": 90}),
        ("switch_light", "state", {"room": "hall", "state": "dim"}),
        ("convert_currency", "from_currency", {"amount": 1, "from_currency": "roubles", "to_currency": "euros"}),
    ],
)
def test_values_outside_the_schema_are_refused(name: str, argument: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=argument):
        tools()[name].invoke(arguments)


def test_the_next_bus_is_never_more_than_the_longest_gap_away() -> None:
    for minutes in BUSES.values():
        assert all(0 <= minute < 60 for minute in minutes)
    shown = int(re.findall(r"\d+", tools()["get_next_bus"].invoke({"stop": "nowhere"}))[0])
    assert 0 <= shown <= 30


def test_days_are_counted_from_today() -> None:
    tomorrow = datetime.date.today() + datetime.timedelta(days=1)
    assert tools()["get_days_until"].invoke({"date": tomorrow.isoformat()}) == "1 day"


class _Conversion:
    """A tool and its arguments for both classes of tests."""

    @property
    def tool_constructor(self) -> BaseTool:
        return tools()["convert_currency"]

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return CALLS["convert_currency"][0]


class TestConversionUnit(_Conversion, ToolsUnitTests):
    """Tests of the tool's form."""


class TestConversionIntegration(_Conversion, ToolsIntegrationTests):
    """Tests of what it returns."""
