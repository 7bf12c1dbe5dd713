"""Published tools get valid distinct names and JSON schemas."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolken.benchmarks.function_calling.published_tools import (
    accepted_value,
    json_schema,
    plain_value,
    published_tool,
    valid_names,
)


@given(st.lists(st.text(alphabet="ab._ é", max_size=5) | st.text(alphabet="x.", min_size=60, max_size=70)))
def test_names_become_valid_and_stay_distinct(names: list[str]) -> None:
    found = valid_names(names)
    assert set(found) == set(names)
    assert len(set(found.values())) == len(found)
    for name, valid in found.items():
        assert re.fullmatch("[A-Za-z0-9_-]{1,64}", valid)
        assert valid == name or not re.fullmatch("[A-Za-z0-9_-]{1,64}", name)


def test_a_valid_name_stays_where_another_becomes_equal() -> None:
    assert valid_names(["a.b", "a b", "a_b"]) == {"a.b": "a_b_2", "a b": "a_b_3", "a_b": "a_b"}


@pytest.mark.parametrize(
    ("written", "json"),
    [
        *(("dict", "object"), ("float", "number"), ("tuple", "array"), ("list", "array"), ("int", "integer")),
        *(("str", "string"), ("bool", "boolean"), ("String", "string"), ("HashMap", "object"), ("long", "integer")),
        *(("object", "object"), ("integer", "integer"), ("number", "number")),
    ],
)
def test_types_become_json_types_at_any_depth(written: str, json: str) -> None:
    inner = {"type": "dict", "properties": {"type": {"type": "list", "items": {"type": written}}}}
    assert json_schema({"anyOf": [inner]}) == {
        "anyOf": [{"type": "object", "properties": {"type": {"type": "array", "items": {"type": json}}}}]
    }


def test_any_is_no_restriction_and_unknown_types_stay() -> None:
    assert json_schema({"type": "any", "description": "x"}) == {"description": "x"}
    assert json_schema({"type": ["int", "none"]}) == {"type": ["integer", "null"]}
    assert json_schema({"type": ["int", "any"]}) == {}
    assert json_schema({"type": "quaternion"}) == {"type": "quaternion"}


def test_values_and_names_that_look_like_types_stay() -> None:
    schema = {"properties": {"float": {"enum": ["dict", "float"], "default": {"type": "dict"}}}}
    assert json_schema(schema) == schema


def test_arguments_that_mark_themselves_required_are_listed_by_their_object() -> None:
    marked = {"properties": {"a": {"type": "int", "required": True}, "b": {"required": False}}, "required": ["c"]}
    assert json_schema(marked) == {"properties": {"a": {"type": "integer"}, "b": {}}, "required": ["c", "a"]}


def test_a_tool_without_parameters_has_an_empty_object() -> None:
    assert published_tool("ping", None, None).parameters == {"type": "object", "properties": {}}
    with pytest.raises(TypeError, match="the parameters of 'ping' are no schema"):
        published_tool("ping", "", ["a"])


@pytest.mark.parametrize(
    ("value", "kind", "converted"),
    [
        ("12", "integer", 12),
        ("12.0", "integer", 12),
        ("12.5", "integer", 12.5),
        ("-1e3", "number", -1000.0),
        ("12", "number", 12),
        ("twelve", "integer", "twelve"),
        ("12", "string", "12"),
        (12, "string", "12"),
        (12.0, "integer", 12),
        ("True", "boolean", True),
        (True, "string", True),
        (True, "integer", True),
        ("1", None, "1"),
    ],
)
def test_scalars_take_the_type_of_their_schema_where_nothing_is_lost(value: Any, kind: str, converted: Any) -> None:
    schema = {"type": "array", "items": {"type": "object", "properties": {"a": {"type": kind}}}}
    (found,) = accepted_value([{"a": value}], schema)
    assert found == {"a": [converted]}
    assert type(found["a"][0]) is type(converted)
    assert plain_value([{"a": value}], schema) == [{"a": converted}]
