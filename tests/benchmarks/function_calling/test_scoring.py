"""Calls are scored by BFCL's rules: types, nested values, optional arguments, order; near misses miss."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage

from toolken.benchmarks.function_calling.published_tools import accepted_arguments
from toolken.benchmarks.function_calling.record import CallOutcome, CallRecord, ExpectedCall, MadeCall
from toolken.benchmarks.function_calling.scoring import METRICS, names_argument, normal_string, says, score, wrong_call
from toolken.training.corpus import read_corpus
from toolken.training.tool_spec import ToolSpec

BOOK = ToolSpec(
    name="book",
    description="Books a table.",
    parameters={
        "type": "object",
        "properties": {
            "place": {"type": "string"},
            "party_size": {"type": "integer"},
            "tip": {"type": "number"},
            "outside": {"type": "boolean"},
            "area": {"type": "string", "enum": ["bar", "bar room"]},
            "dishes": {"type": "array", "items": {"type": "string"}},
            "point": {"type": "array", "items": {"type": "number"}},
            "guest": {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}},
            "guests": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["place"],
    },
)
CANCEL = ToolSpec(name="cancel", description="Cancels a booking.")


def fits(arguments: dict[str, Any], accepted: dict[str, Any], *optional: str, containing: bool = False) -> bool:
    """Return whether a call of `book` with a place is right; accepted values are in lists."""
    lists = {"place": ("Zum Löwen",)} | {name: tuple(values) for name, values in accepted.items()}
    expected = ExpectedCall("book", lists, frozenset(optional), containing)
    return wrong_call(MadeCall("book", {"place": "Zum Löwen"} | arguments), expected, BOOK) is None


def record(*expected: ExpectedCall, **fields: Any) -> CallRecord:
    return CallRecord("1", "some", (HumanMessage("Please."),), (BOOK, CANCEL), expected, **fields)


def call(tool: str = "book", **arguments: Any) -> MadeCall:
    return MadeCall(tool, arguments)


def gold(tool: str = "book", **arguments: Any) -> ExpectedCall:
    return ExpectedCall(tool, {name: (value,) for name, value in arguments.items()})


@pytest.mark.parametrize(
    ("name", "value", "accepted", "right"),
    [
        ("place", "zum löwen", ["Zum Löwen"], True),
        ("place", "Zum-Löwen.", ["Zum Löwen"], True),
        ("place", "Rio, Brazil", ["Rio", "Rio/Brazil"], True),
        ("place", "Zum Bären", ["Zum Löwen"], False),
        ("place", "O'Hare", ['O"Hare'], True),
        ("place", "a+b", ["ab"], False),
        ("place", "-", ["*"], False),
        ("place", "-", ["-"], True),
        ("place", 5, ["5"], False),
        ("place", ["Zum Löwen"], ["Zum Löwen"], False),
        ("place", None, ["None"], False),
        ("party_size", 5, [5], True),
        ("party_size", 5, [4, 5], True),
        ("party_size", 5.0, [5], False),
        ("party_size", "5", [5], False),
        ("party_size", True, [1], False),
        ("party_size", 6, [5], False),
        ("tip", 5, [5.0], True),
        ("tip", 5.0, [5], True),
        ("tip", 5.01, [5], False),
        ("tip", "5", [5], False),
        ("tip", None, [None], True),
        ("tip", 0, [None], False),
        ("outside", True, [True], True),
        ("outside", 1, [True], False),
        ("outside", "true", [True], False),
        ("outside", False, [True], False),
        ("dishes", ["Soup", "fish cake"], [["soup", "Fishcake"]], True),
        ("dishes", ["fish", "soup"], [["soup", "fish"]], False),
        ("dishes", ["fish", "soup"], [["soup", "fish"], ["fish", "soup"]], True),
        ("dishes", ["soup"], [["soup", "fish"]], False),
        ("dishes", "soup", [["soup"]], False),
        ("dishes", [], [[]], True),
        ("point", [1, 2.5], [[1.0, 2.5]], True),
        ("point", [2.5, 1], [[1, 2.5]], False),
        ("guest", {"name": "ann"}, [{"name": ["Ann", "Anna"]}], True),
        ("guest", {"name": "Anna"}, [{"name": ["Ann", "Anna"]}], True),
        ("guest", {"name": "Anne"}, [{"name": ["Ann", "Anna"]}], False),
        ("guest", {"name": "Ann", "age": 7}, [{"name": ["Ann"], "age": [7]}], True),
        ("guest", {"name": "Ann", "age": 7.0}, [{"name": ["Ann"], "age": [7]}], False),
        ("guest", {"name": "Ann"}, [{"name": ["Ann"], "age": [7]}], False),
        ("guest", {"name": "Ann"}, [{"name": ["Ann"], "age": [7, ""]}], True),
        ("guest", {"name": "Ann", "age": 7}, [{"name": ["Ann"]}], False),
        ("guest", "Ann", [{"name": ["Ann"]}], False),
        ("guests", [{"name": "Ann"}, {"name": "Bo"}], [[{"name": ["Ann"]}, {"name": ["Bo", "Bob"]}]], True),
        ("guests", [{"name": "Bo"}, {"name": "Ann"}], [[{"name": ["Ann"]}, {"name": ["Bo"]}]], False),
        ("guests", [{"name": "Ann"}], [[{"name": ["Ann"]}, {"name": ["Bo"]}]], False),
        ("guests", [{"dishes": ["Soup"]}], [[{"dishes": [["soup"]]}]], True),
        ("guests", [{"dishes": {"first": "Soup"}}], [[{"dishes": [{"first": ["soup"]}]}]], True),
    ],
)
def test_a_value_is_compared_after_the_normalisation_of_its_type(
    name: str, value: Any, accepted: list[Any], right: bool
) -> None:
    assert fits({name: value}, {name: accepted}) is right


def test_optional_arguments_may_be_omitted_and_others_may_not() -> None:
    assert fits({}, {"tip": [5]}, "tip")
    assert fits({"tip": 5}, {"tip": [5]}, "tip")
    assert not fits({"tip": 6}, {"tip": [5]}, "tip")
    assert not fits({}, {"tip": [5]})
    # An argument without accepted values has to be omitted.
    assert fits({}, {"tip": []}, "tip")
    assert not fits({"tip": 5}, {"tip": []}, "tip")
    # Published rule: an empty string counts as omitted.
    assert fits({"area": ""}, {"area": ["bar"]}, "area")
    assert not fits({"area": ""}, {"area": ["bar"]})


def test_nothing_beyond_the_schema_or_the_accepted_arguments_is_right() -> None:
    assert not fits({"tip": 5}, {})
    assert not fits({"dogs": 1}, {"dogs": [1]}, "dogs")


def test_required_arguments_are_required_even_if_the_answer_lets_them_be_absent() -> None:
    expected = ExpectedCall("book", {"place": ("Bar",), "tip": (5,)}, frozenset({"place"}))
    assert wrong_call(call(tip=5), expected, BOOK) == "omits the required argument 'place'"


def test_a_containing_string_is_right_only_where_the_answer_says_so() -> None:
    accepted = {"place": ["New York"]}
    assert not fits({"place": "New York City"}, accepted)
    assert fits({"place": "New York City"}, accepted, containing=True)
    assert fits({"place": "downtown new york, please"}, accepted, containing=True)
    assert not fits({"place": "New Yorkshire"}, accepted, containing=True)
    assert not fits({"place": "New"}, accepted, containing=True)
    assert not fits({"area": "bar room"}, {"area": ["bar"]}, containing=True)


def test_parallel_calls_are_right_in_any_order_and_each_once() -> None:
    right = record(gold(place="A"), gold(place="B"), gold("cancel"))
    assert score(right, CallOutcome((call("cancel"), call(place="B"), call(place="A"))))["exact"]
    assert not score(right, CallOutcome((call("cancel"), call(place="A"), call(place="A"))))["exact"]
    assert not score(right, CallOutcome((call(place="B"), call(place="A"))))["exact"]
    four = (call("cancel"), call(place="B"), call(place="A"), call(place="A"))
    assert not score(right, CallOutcome(four))["exact"]


def test_a_call_that_fits_two_expected_ones_does_not_take_the_place_of_another() -> None:
    either = ExpectedCall("book", {"place": ("A", "B")})
    right = record(either, gold(place="A"))
    assert score(right, CallOutcome((call(place="A"), call(place="B"))))["exact"]
    assert score(right, CallOutcome((call(place="B"), call(place="A"))))["exact"]
    assert not score(right, CallOutcome((call(place="B"), call(place="B"))))["exact"]


def test_tools_are_counted_apart_from_arguments() -> None:
    right = record(gold(place="A"), gold(place="B"))
    wrong_values = score(right, CallOutcome((call(place="C"), call(place="D"))))
    assert (wrong_values["tools"], wrong_values["exact"]) == (True, False)
    assert not score(right, CallOutcome((call(place="A"), call("cancel"))))["tools"]
    assert not score(right, CallOutcome((call(place="A"),)))["tools"]


def test_metrics_appear_only_where_they_apply() -> None:
    assert list(score(record(gold(place="A")), CallOutcome((call(place="A"),)))) == [
        *("tools", "exact", "valid", "over_declined")
    ]
    assert list(score(record(gold(place="A")), CallOutcome())) == ["tools", "exact", "over_declined"]
    assert list(score(record(), CallOutcome())) == ["declined"]
    assert list(score(record(missing={"book": ("place",)}), CallOutcome())) == ["declined", "asked"]
    assert set(score(record(says=("7",)), CallOutcome())) <= set(METRICS)


def test_declining_is_right_without_and_wrong_with_a_right_call() -> None:
    assert score(record(), CallOutcome(text="Sorry."))["declined"]
    assert not score(record(), CallOutcome((call(place="A"),)))["declined"]
    assert score(record(gold(place="A")), CallOutcome(text="Sorry."))["over_declined"]
    assert not score(record(gold(place="A")), CallOutcome((call("nothing"),)))["over_declined"]


@pytest.mark.parametrize(
    ("made", "valid"),
    [
        (call(place="A", party_size=3), True),
        (call(place="A", party_size="3"), False),
        (call(party_size=3), False),
        (call(place="A", dogs=1), False),
        (call("order", place="A"), False),
        (MadeCall("book", None), False),
        (call("cancel"), True),
        (call("cancel", why="rain"), False),
    ],
)
def test_a_valid_call_passes_the_schema_of_its_tool(made: MadeCall, valid: bool) -> None:
    outcome = CallOutcome((call(place="A"), made))
    assert score(record(gold(place="A")), outcome)["valid"] is valid
    assert score(record(), outcome)["valid"] is valid


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("For how many people? I need the party size.", True),
        ("What is the size of your party?", True),
        ("Please give `party_size`.", True),
        ("What party sizes do you expect?", True),
        ("How many people?", False),
        ("What a party!", False),
        ("", False),
    ],
)
def test_asking_names_the_missing_argument(text: str, asked: bool) -> None:
    missing = record(missing={"book": ("party_size",)})
    assert score(missing, CallOutcome(text=text))["asked"] is asked
    assert not score(missing, CallOutcome((call(place="A"),), text))["asked"]


def test_every_missing_argument_has_to_be_named() -> None:
    missing = record(missing={"book": ("place", "startTime")})
    assert score(missing, CallOutcome(text="Which place, and at what time do we start?"))["asked"]
    assert not score(missing, CallOutcome(text="Which place?"))["asked"]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("A tip of 180 is not possible.", True),
        ("180 is too much.", True),
        ("That tip is too large.", True),
        ("1800 is too much.", False),
        ("1,180 is too much.", False),
        ("180.5 is too much.", False),
        ("That is too much.", False),
    ],
)
def test_an_invalid_value_or_its_argument_is_named(text: str, asked: bool) -> None:
    assert score(record(wrong={"tip": ("180",)}), CallOutcome(text=text))["asked"] is asked


def test_expected_texts_are_looked_for_where_no_call_is_right() -> None:
    saying = record(says=("16.5", "Upstairs"))
    assert score(saying, CallOutcome(text="It is 16.5 °C upstairs."))["says"]
    assert not score(saying, CallOutcome(text="It is 16.5 °C."))["says"]
    assert "says" not in score(record(gold(place="A"), says=("done",)), CallOutcome(text="done"))


@pytest.mark.parametrize(
    ("text", "wanted", "right"),
    [
        ("In all 1,450 EUR.", "1450", True),
        ("In all 1 450 EUR.", "1,450", True),
        ("In all 1450.00 EUR.", "1450", True),
        ("It costs 7.40.", "7.4", True),
        ("It costs 7.45.", "7.4", False),
        ("It costs 17.4.", "7.4", False),
        ("Rooms 203 204 are free.", "204", True),
        ("At 09:30.", "9:30", True),
        ("At 19:30.", "9:30", False),
        ("THE BLUE STAIRCASE", "The blue staircase", True),
        ("It is on loaner terms.", "on loan", False),
        ("Version v4.1.90 runs.", "v4.1.9", False),
        ("Version v4.1.9 runs.", "v4.1.9", True),
    ],
)
def test_a_text_says_words_and_numbers_as_a_whole(text: str, wanted: str, right: bool) -> None:
    assert score(record(says=(wanted,)), CallOutcome(text=text))["says"] is right


def test_the_right_texts_of_the_written_conversations_say_what_they_should() -> None:
    folder = Path(__file__).parents[3] / "benchmarks" / "data" / "conversations"
    requests = [one for file in folder.glob("*.jsonl") for one in read_corpus(file).records for one in one.requests()]
    said = [one for one in requests if one.says]
    assert len(said) > 100
    assert [one.answer[-1].content for one in said if not says(one.answer[-1].content, one.says)] == []


@pytest.mark.parametrize(
    ("value", "accepted", "same"),
    [
        ("22:30:00", "22:30", True),
        ("22:30:00Z", "22:30", True),
        ("22:30", "22:30:00+00:00", True),
        ("9:30", "09:30", True),
        ("22:30:15", "22:30", False),
        ("22:31", "22:30", False),
        ("22:30:00+02:00", "22:30", False),
        ("2026-05-01T10:00:00Z", "2026-05-01T10:00", True),
        ("2026-05-02T10:00:00Z", "2026-05-01T10:00", False),
        ("noon", "Noon", True),
    ],
)
@pytest.mark.parametrize("form", ["time", "date-time", None])
def test_times_are_compared_as_times_where_the_schema_says_so(
    value: str, accepted: str, same: bool, form: str | None
) -> None:
    schema = {"type": "string"} | ({"format": form} if form else {})
    spec = ToolSpec(name="wake", parameters={"type": "object", "properties": {"at": schema}})
    found = wrong_call(MadeCall("wake", {"at": value}), ExpectedCall("wake", {"at": (accepted,)}), spec) is None
    assert found is (same and (form is not None or value == "noon"))


def test_an_argument_without_the_word_id_is_named_by_its_other_words() -> None:
    assert names_argument("Which booking?", "booking_id")
    assert not names_argument("Which one?", "id")
    assert names_argument("Give me the id.", "id")


@given(st.text(), st.sampled_from(" ,./-_*^"), st.integers(0, 50))
def test_ignored_characters_do_not_change_a_string(text: str, ignored: str, place: int) -> None:
    assert normal_string(text[:place] + ignored + text[place:]) == normal_string(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_every_value_equals_itself(value: Any) -> None:
    spec = ToolSpec(name="any", parameters={"type": "object", "properties": {"value": {}}})
    expected = ExpectedCall("any", accepted_arguments({"value": value}, spec))
    assert wrong_call(MadeCall("any", {"value": value}), expected, spec) is None
