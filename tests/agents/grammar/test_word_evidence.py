"""The values of a call come from the conversation, and what nothing speaks for is missing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolken import ToolSpec
from toolken.agents.grammar.argument_evidence import EvidencedArguments, ValueSource
from toolken.agents.grammar.missing_values import question_for, refusal_of
from toolken.agents.grammar.word_evidence import WordEvidence
from toolken.training.examples import FewShotExample

ROOM = ToolSpec(
    name="book_room",
    description="Book a hotel room.",
    parameters={
        "type": "object",
        "properties": {
            "hotel": {"type": "string"},
            "nights": {"type": "integer", "minimum": 1, "maximum": 30},
            "room": {"type": "string", "enum": ["single", "double", "suite"]},
            "date": {"type": "string", "format": "date"},
            "breakfast": {"type": "boolean"},
            "note": {"type": "string"},
        },
        "required": ["hotel", "nights"],
    },
)


def tool(required: list[str] | None = None, **properties: Any) -> ToolSpec:
    """Return a tool with some arguments, all required unless said otherwise."""
    names = list(properties) if required is None else required
    return ToolSpec(
        name="act", description="Act.", parameters={"type": "object", "properties": properties, "required": names}
    )


def evidence(
    spec: ToolSpec, request: str, context: str | None = None, written: dict[str, Any] | None = None, **more: Any
) -> EvidencedArguments:
    """Return the evidence for a tool's arguments in a request."""
    return WordEvidence().of(spec, ValueSource(request, context or request), written=written, **more)


def values(spec: ToolSpec, request: str, **more: Any) -> dict[str, Any]:
    """Return the values that each argument may have; None for one that its schema alone restricts."""
    return {name: one.get("enum") for name, one in evidence(spec, request, **more).parameters["properties"].items()}


def test_every_argument_gets_the_values_that_speak_for_it() -> None:
    found = evidence(ROOM, "a double at the Adlon for 3 nights from 12 May 2026, without breakfast")
    properties = found.parameters["properties"]
    assert properties["nights"]["enum"] == [3]
    assert properties["room"]["enum"] == ["double"]
    assert properties["date"]["enum"] == ["2026-05-12"]
    assert properties["breakfast"]["enum"] == [False]
    assert properties["hotel"]["enum"] == ["Adlon"]
    assert "note" not in properties
    assert set(found.parameters["required"]) == {"hotel", "nights", "room", "date", "breakfast"}
    assert (found.missing, found.refused) == ((), ())


def test_what_nothing_speaks_for_is_missing_or_stays_out() -> None:
    found = evidence(ROOM, "please book me a room")
    assert found.missing == (("hotel",), ("nights",))
    assert question_for(ROOM, found.missing) == "Which hotel and how many nights?"
    assert set(found.parameters["properties"]) == {"hotel", "nights"}
    assert "nothing in the conversation says 'hotel'" in refusal_of(ROOM, found.missing, found.refused)


def test_a_value_out_of_range_is_said() -> None:
    found = evidence(ROOM, "the Adlon for 400 nights")
    assert question_for(ROOM, found.missing, found.refused) == "nights must be between 1 and 30, not 400."


@pytest.mark.parametrize(
    ("schema", "request_text", "reason"),
    [
        ({"type": "integer", "maximum": 20}, "40 of them", "at most 20"),
        ({"type": "integer", "minimum": 5}, "2 of them", "at least 5"),
        ({"type": "string", "pattern": r"^SO-\d{4}$"}, "stop SO-12 now", r"of the form ^SO-\d{4}$"),
        ({"type": "string", "format": "email"}, "write to dan@@ie", "an e-mail address"),
        ({"type": "string", "format": "date"}, "on 30 February 2026", "a date of the calendar"),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 2}, "sides 3, 4 and 5", "at most 2 items"),
    ],
)
def test_values_that_the_schema_forbids_are_refused(schema: dict[str, Any], request_text: str, reason: str) -> None:
    found = evidence(tool(value=schema), request_text)
    assert [one.reason for one in found.refused] == [reason]


@pytest.mark.parametrize(
    ("schema", "request_text", "expected"),
    [
        ({"type": "number"}, "it weighs 2.5kg", [2.5]),
        ({"type": "number"}, "about $1.2M", [1200000]),
        ({"type": "integer"}, "twenty-five of them", [25]),
        ({"type": "integer"}, "5k followers", [5000]),
        ({"type": "string", "pattern": r"^[A-Z]\d{4}$"}, "bill for a8444, thanks", ["A8444"]),
        ({"type": "string", "pattern": r"^[A-Z]{2}\d{2}[A-Z0-9]{10,30}$"}, "IBAN DE89 3704 0044 0532 0130 00", None),
        ({"type": "string", "pattern": r"^\d{2}:\d{2}$"}, "at half past four in the afternoon", ["16:30"]),
        ({"type": "string", "pattern": r"^\d{4}-\d{2}$"}, "for March 2026", ["2026-03"]),
        ({"type": "string", "format": "time"}, "at 4 pm", ["16:00:00"]),
        ({"type": "string", "format": "date-time"}, "2027-01-12 15:10", ["2027-01-12T15:10:00"]),
        ({"type": "string", "format": "email"}, "mail ana@lab.dk, please", ["ana@lab.dk"]),
        ({"type": "array", "items": {"type": "number"}}, "sides 3, 4 and 5", [[3, 4, 5]]),
        ({"type": "array", "items": {"enum": ["mon", "tue", "fri"]}}, "mon and fri", [["mon", "fri"]]),
        ({"enum": ["pig", "guinea_pig"]}, "a guinea pig", ["guinea_pig"]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "7 of them", [7]),
    ],
)
def test_a_value_is_read_in_the_form_that_the_schema_demands(
    schema: dict[str, Any], request_text: str, expected: list[Any] | None
) -> None:
    found = values(tool(value=schema), request_text)["value"]
    assert found == (expected if expected is not None else ["DE89370400440532013000"])


def test_a_span_is_used_once() -> None:
    spec = tool(**{"from": {"type": "string"}, "to": {"type": "string"}})
    assert values(spec, "from Oslo to Rome")["to"] == ["Rome"]
    assert values(spec, "Oslo Rome", written={"from": "Oslo Rome"})["to"] is None
    two = tool(width={"type": "number"}, height={"type": "number"})
    assert values(two, "3 by 4", written={"width": 3})["height"] == [4]
    assert evidence(two, "it is 3").missing == (("width",), ("height",))


def test_values_of_earlier_messages_serve_required_arguments_only() -> None:
    spec = tool(["city"], city={"type": "string"}, days={"type": "integer"})
    found = values(spec, "do it", context="Weather in Oslo for 3 days\ndo it")
    assert "Oslo" in found["city"]
    assert "days" not in found


def test_a_choice_follows_its_preposition() -> None:
    spec = tool(["start"], start={"type": "string", "format": "date"}, end={"type": "string", "format": "date"})
    assert values(spec, "since 1 May 2026") == {"start": ["2026-05-01"]}
    assert values(spec, "from 1 May 2026 until 3 May 2026") == {"start": ["2026-05-01"], "end": ["2026-05-03"]}


def test_arguments_that_the_lm_composes_are_left_to_it() -> None:
    written = {"type": "string", "x-grounded": False}
    assert evidence(tool(summary=written), "hi").parameters["properties"]["summary"] == written


def test_few_shot_examples_show_whether_values_are_copied() -> None:
    spec = tool(code={"type": "string"})
    derived = FewShotExample(tool="act", question="from Paris", args={"code": "FR"})
    copied = FewShotExample(tool="act", question="from Paris", args={"code": "Paris"})
    assert values(spec, "from Oslo", shown=[derived])["code"] is None
    assert values(spec, "from Oslo", shown=[copied])["code"] == ["Oslo"]
    assert values(spec, "from Oslo", shown=[copied, derived])["code"] is None


def test_a_nested_object_gets_what_speaks_for_its_values() -> None:
    schedule = {
        "type": "object",
        "properties": {"every": {"enum": ["week", "month"]}, "first": {"type": "string", "format": "date"}},
        "required": ["every"],
    }
    found = evidence(tool(schedule=schedule), "each month, please").parameters["properties"]["schedule"]
    assert found["properties"] == {"every": {"enum": ["month"]}}
    assert evidence(tool([], schedule=schedule), "do it").parameters["properties"] == {}


WORDS = st.sampled_from(
    [
        "send",
        "the",
        "blue",
        "box",
        "to",
        "Ana",
        "Lopez",
        "in",
        "Oslo",
        "for",
        "3",
        "days,",
        "please.",
        "And",
        "now:",
        "'old",
        "Rope'",
        "note",
    ]
)


@given(st.lists(WORDS, min_size=1, max_size=12))
def test_copied_strings_stand_in_the_request(words: list[str]) -> None:
    request = " ".join(words)
    found = evidence(tool(thing={"type": "string"}), request)
    if found.missing:
        return
    assert all(value in request for value in found.parameters["properties"]["thing"]["enum"])


@pytest.mark.parametrize(
    ("name", "schema", "question"),
    [
        ("city", {"type": "string"}, "Which city?"),
        ("numberOfGuests", {"type": "integer"}, "How many guests?"),
        ("size", {"enum": ["small", "large"]}, "Which size (small or large)?"),
        ("to", {"type": "string", "description": "Payee name. Required."}, "Which to (Payee name)?"),
    ],
)
def test_a_question_names_the_argument(name: str, schema: dict[str, Any], question: str) -> None:
    assert question_for(tool(**{name: schema}), [(name,)]) == question


TEXT, NUMBER = {"type": "string"}, {"type": "number"}


@pytest.mark.parametrize(
    ("names", "request_text", "expected"),
    [
        (("source", "target"), "Convert 100 EUR to USD", ("EUR", "USD")),
        (("from_currency", "to_currency"), "Convert 100 EUR to USD", ("EUR", "USD")),
        (("from_currency", "to_currency"), "How much are 50 dollars in euros?", ("dollars", "euros")),
        (("base_currency", "target_currency"), "how much is 250 yen in dollars", ("yen", "dollars")),
        (("from_unit", "to_unit"), "26 miles in kilometres", ("miles", "kilometres")),
        (("fromUnit", "toUnit"), "what are 3 cups as millilitres", ("cups", "millilitres")),
        (("source_account", "target_account"), "move 50 to checking from savings", ("savings", "checking")),
    ],
)
def test_two_like_arguments_get_a_value_each(
    names: tuple[str, str], request_text: str, expected: tuple[str, str]
) -> None:
    spec = ToolSpec(
        name="convert",
        description="Convert an amount.",
        parameters={
            "type": "object",
            "properties": {"amount": NUMBER} | dict.fromkeys(names, TEXT),
            "required": [*names],
        },
    )
    found = WordEvidence().of(spec, ValueSource(request_text, request_text), []).parameters["properties"]
    assert tuple(found[name]["enum"] for name in names) == tuple([value] for value in expected)
