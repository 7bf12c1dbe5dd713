"""Whatever the LM prefers, arguments are JSON that the schema accepts, with values copied from the text."""

import json
import random
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from jsonschema import validate  # type: ignore[import-untyped]
from pydantic import BaseModel, Field

from toolken import FrozenLM, ToolSpec
from toolken.agents.grammar.bounded_schema import bounded
from toolken.agents.grammar.copy_limits import CopyLimits
from toolken.agents.grammar.schema_grammar import argument_matcher, longest_string
from toolken.errors import ToolSpecError
from toolken.tools.numerals import numbers_in

#: Tokens after which arguments that do not end count as endless.
ENDLESS = 4000

seeds = st.integers(0, 2**32 - 1)
reuse_lm = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(lm: FrozenLM, parameters: dict[str, Any], context: str, seed: int, limits: CopyLimits | None = None) -> str:
    """Write arguments with random choices among the tokens that the grammar allows."""
    spec = ToolSpec(name="tool", description="A tool.", parameters=parameters)
    matcher = argument_matcher(lm, spec, context, limits=limits)
    choose = random.Random(seed)
    written: list[int] = []
    while not matcher.is_stopped():
        assert len(written) < ENDLESS, lm.decode(written)[:500]
        forced = matcher.compute_ff_tokens()
        if forced:
            assert matcher.consume_tokens(forced)
            written += forced
            continue
        mask = matcher.compute_bitmask()
        allowed = [8 * at + bit for at, byte in enumerate(mask) for bit in range(8) if byte >> bit & 1]
        assert allowed, lm.decode(written)
        token = choose.choice(allowed)
        if token in lm.stop_ids:
            break
        assert matcher.consume_token(token)
        written.append(token)
    return lm.decode(written)


def object_of(optional: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """Return the schema of an object."""
    return {"type": "object", "properties": properties, "required": [n for n in properties if n not in optional]}


names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=6)
scalars = st.one_of(
    st.just({"type": "integer"}),
    st.just({"type": "number"}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": "string"}),
    st.builds(lambda n: {"type": "string", "maxLength": n}, st.integers(0, 9)),
    st.builds(lambda low: {"type": "integer", "minimum": low, "maximum": low + 99}, st.integers(-500, 500)),
    st.builds(
        lambda values: {"enum": values},
        st.lists(
            st.one_of(names, st.integers(-9, 9), st.booleans(), st.none()), min_size=1, max_size=4, unique_by=repr
        ),
    ),
    st.builds(lambda value: {"const": value}, names),
)


def nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return arrays, unions and objects of schemas."""
    arrays = st.builds(lambda item: {"type": "array", "items": item, "maxItems": 3}, inner)
    unions = st.builds(lambda one: {"anyOf": [one, {"type": "null"}], "default": None}, inner)
    return arrays | unions | objects(inner)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """Draw the schema of an object some of whose arguments may be left out."""
    properties = draw(st.dictionaries(names, inner, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    return {"type": "object", "properties": properties, "required": required}


@reuse_lm
@given(parameters=objects(st.recursive(scalars, nested, max_leaves=6)), seed=seeds)
def test_arguments_are_always_json_that_the_schema_accepts(
    tiny_lm: FrozenLM, parameters: dict[str, Any], seed: int
) -> None:
    arguments = json.loads(write(tiny_lm, parameters, "", seed))
    validate(arguments, parameters)
    assert set(arguments) <= set(parameters["properties"])


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"type": "object"},
        object_of(),
        object_of(default={"type": "string"}, type={"type": "string"}, properties={"type": "string"}),
        object_of(enum={"type": "string"}, items={"type": "integer"}, required={"type": "string"}),
        object_of(a={"type": "array", "minItems": 20, "items": {"type": "boolean"}}),
        object_of(a={"type": "array", "items": {"type": "string"}}),
        object_of(a={"type": ["string", "null"]}),
        object_of(a={"type": "string", "pattern": "^[a-c]{2,4}$"}),
        object_of(a={"type": "string", "format": "date"}),
        object_of(a={"oneOf": [{"type": "integer"}, {"type": "string"}]}),
        object_of(a={"allOf": [{"type": "string", "maxLength": 5}]}),
        {"type": "object", "properties": {'quo"te': {"type": "string"}, "back\\slash": {"type": "integer"}}},
        {**object_of(a={"$ref": "#/$defs/A"}), "$defs": {"A": object_of(b={"type": "string"})}},
    ],
)
def test_odd_schemas_give_json_as_well(tiny_lm: FrozenLM, parameters: dict[str, Any]) -> None:
    for seed in range(5):
        validate(json.loads(write(tiny_lm, parameters, "", seed)), parameters)


NODE = {"type": "object", "properties": {"name": {"type": "string"}, "children": {"type": "array"}}}
TREE = {
    "$defs": {
        "Tree": object_of(
            ("children", "parent"),
            name={"type": "string", "maxLength": 5},
            children={"type": "array", "items": {"$ref": "#/$defs/Tree"}},
            parent={"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]},
        )
    }
}


@pytest.mark.parametrize(
    "parameters",
    [
        object_of(value=True),
        object_of(value={}),
        {"type": "object", "properties": None, "required": None},
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": None},
        {**object_of(root={"$ref": "#/$defs/Tree"}), **TREE},
        object_of(options={"type": "object"}),
        object_of(options={"type": "object", "additionalProperties": True, "minProperties": 2}),
        object_of(options={"type": "object", "additionalProperties": {"type": "number"}, "maxProperties": 3}),
        object_of(options={"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": NODE}),
        object_of(options={"type": "object", "patternProperties": {"^[a-z]+$": {"type": "integer"}}}),
        object_of(id={"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}),
        object_of(id={"type": "integer", "minimum": 2**60}),
        object_of(share={"type": "number", "minimum": 0.0, "maximum": 1e308}),
        object_of(count={"type": "integer", "minimum": 0.5, "maximum": 7.5}),
        object_of(time={"type": "string", "format": "date-time"}),
        object_of(time={"type": "string", "format": "time"}, span={"type": "string", "format": "duration"}),
        object_of(numbers={"type": "array", "items": {"type": "number"}}),
        object_of(to={"type": "string", "format": "email"}, link={"type": "string", "format": "uri"}),
        object_of(id={"type": "string", "format": "uuid"}, at={"type": "string", "format": "ipv6"}),
        object_of(code={"type": "string", "pattern": "^[A-Z]+-[0-9]*$"}),
        object_of(pair={"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string", "maxLength": 3}]}),
        object_of(a={"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 5}]}),
        object_of(a={"type": ["integer", "null"], "minimum": 3, "maximum": 9}),
        object_of(a={"enum": [1, None, "x", 2.5, True]}),
        object_of(a={"type": "string", "enum": ["x", 3]}),
        object_of(a={"type": "string", "minLength": 300}),
        {"type": "object", "properties": {}, "required": ["undeclared"]},
        object_of(("never",), never=False, a={"type": "boolean"}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("seed", range(3))
def test_every_value_is_bounded(tiny_lm: FrozenLM, parameters: dict[str, Any], seed: int) -> None:
    arguments = json.loads(write(tiny_lm, parameters, "", seed))
    validate(arguments, {key: value for key, value in parameters.items() if value is not None})


def test_an_open_object_can_hold_keys(tiny_lm: FrozenLM) -> None:
    parameters = object_of(options={"type": "object", "additionalProperties": {"type": "boolean"}})
    assert any(json.loads(write(tiny_lm, parameters, "", seed))["options"] for seed in range(10))


def test_numbers_have_few_digits_and_times_no_fractions(tiny_lm: FrozenLM) -> None:
    parameters = object_of(n={"type": "number"}, at={"type": "string", "format": "date-time"})
    for seed in range(20):
        text = write(tiny_lm, parameters, "", seed)
        assert re.search(r"\.\d{7}", text) is None
        assert "." not in json.loads(text)["at"]


def test_a_pattern_that_no_grammar_knows_leaves_copying_on(tiny_lm: FrozenLM) -> None:
    code = {"type": "string", "pattern": "^(?=.*a)[a-z]{1,5}$"}
    parameters = object_of(city={"type": "string", "x-grounded": True}, code=code)
    for seed in range(5):
        assert json.loads(write(tiny_lm, parameters, "Weather in Oslo", seed))["city"] in "Weather in Oslo"


@pytest.mark.parametrize(
    "argument", [{"type": "integer", "minimum": 5, "maximum": 4}, {"type": "string", "enum": [1]}, False], ids=repr
)
def test_a_schema_that_admits_nothing_is_refused_by_its_name(tiny_lm: FrozenLM, argument: Any) -> None:
    with pytest.raises(ToolSpecError, match=r"'tool'.*never"):
        write(tiny_lm, object_of(never=argument), "", 0)


def test_a_recursive_pydantic_class_keeps_its_structure(tiny_lm: FrozenLM) -> None:
    class Tree(BaseModel):
        name: str
        children: list["Tree"] = Field(default_factory=list)

    spec = ToolSpec.of(Tree)
    grown = [json.loads(write(tiny_lm, spec.parameters, "", seed)) for seed in range(10)]
    for one in grown:
        Tree.model_validate(one)
    assert any(one.get("children") for one in grown)


@pytest.mark.parametrize(
    "argument",
    [
        {"type": "strin"},
        {"$ref": "#/$defs/None"},
        {"enum": []},
        {"type": "string", "pattern": "(unclosed"},
        {"type": "array", "items": True},
        True,
    ],
    ids=repr,
)
def test_a_schema_is_written_or_refused_in_a_sentence(tiny_lm: FrozenLM, argument: Any) -> None:
    try:
        text = write(tiny_lm, object_of(argument=argument), "", 0)
    except ToolSpecError as error:
        assert "'tool'" in str(error)  # noqa: PT017
    else:
        assert "argument" in json.loads(text)


GROUNDED = {"type": "string", "x-grounded": True}


def is_run_of_words(value: str, context: str) -> bool:
    """Tell whether a value stands in the text between places where words may end."""
    text = re.sub(r"\s*[\t-\r\x85\u2028\u2029]\s*", " ", context)
    starts = [at for at in range(len(text)) if text.startswith(value, at)]

    def ends(at: int) -> bool:
        return at in (0, len(text)) or not (text[at - 1].isalnum() and text[at].isalnum())

    return bool(value.strip()) and any(ends(at) and ends(at + len(value)) for at in starts)


contexts = st.one_of(
    st.lists(
        st.sampled_from(
            [
                "Who",
                "wrote",
                '"Moby-Dick"',
                "C:\\new\\table",
                "\n",
                "Ærø",
                "漢字",
                "O'Neill",
                "\\",
                '"',
                "😀",
                "naïve",
                "a\tb",
                "12.5",
                "{x}",
                "é",
                "\\u0041",
                "it's?",
            ]
        ),
        min_size=1,
        max_size=7,
    ).map(" ".join),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn"]), min_size=1, max_size=20),
)


@settings(reuse_lm, max_examples=150)
@given(context=contexts, seed=seeds)
@example(context='Say "yes" or \\"no\\"', seed=1)
@example(context="a\\", seed=1)
def test_a_copied_string_is_a_run_of_the_texts_words(tiny_lm: FrozenLM, context: str, seed: int) -> None:
    # Of a text without a word there is nothing to copy.
    assume(any(character.isalnum() for character in context))
    value = json.loads(write(tiny_lm, object_of(subject=GROUNDED), context, seed))["subject"]
    assert is_run_of_words(value, context), (value, context)


@pytest.mark.parametrize("context", ["bell \x07 rings", "a\x00b", "x\x1by", "y\x7fz"], ids=repr)
def test_control_characters_are_copied_whole_or_not_at_all(tiny_lm: FrozenLM, context: str) -> None:
    for seed in range(20):
        value = json.loads(write(tiny_lm, object_of(subject=GROUNDED), context, seed))["subject"]
        assert value in context


@pytest.mark.parametrize("context", ["", "   ", "\n", "?", '"', "\\", "..."], ids=repr)
def test_a_text_with_nothing_to_copy_still_gives_arguments(tiny_lm: FrozenLM, context: str) -> None:
    for seed in range(5):
        assert isinstance(json.loads(write(tiny_lm, object_of(subject=GROUNDED), context, seed))["subject"], str)


@pytest.mark.parametrize("longest", [1, 2, 5, 12])
def test_a_copied_string_is_no_longer_than_the_schema_allows(tiny_lm: FrozenLM, longest: int) -> None:
    parameters = object_of(subject={**GROUNDED, "maxLength": longest})
    for seed in range(20):
        validate(json.loads(write(tiny_lm, parameters, "a bc and some extraordinarily long words", seed)), parameters)


def test_a_text_of_only_overlong_words_still_gives_arguments(tiny_lm: FrozenLM) -> None:
    parameters = object_of(subject={**GROUNDED, "maxLength": 5})
    validate(json.loads(write(tiny_lm, parameters, "Donaudampfschifffahrtsgesellschaft", 0)), parameters)


def test_spaces_are_copied_as_they_are_and_ends_of_lines_as_spaces(tiny_lm: FrozenLM) -> None:
    context = "the  river\n Main"
    found = {json.loads(write(tiny_lm, object_of(subject=GROUNDED), context, seed))["subject"] for seed in range(200)}
    assert {"the  river", "river Main", "the  river Main"} <= found


def test_every_word_can_be_copied(tiny_lm: FrozenLM) -> None:
    context = "the river Main"
    found = {json.loads(write(tiny_lm, object_of(subject=GROUNDED), context, seed))["subject"] for seed in range(200)}
    assert {"the", "river", "Main", "the river", "river Main", "the river Main"} <= found


NUMBER = {"type": "number", "x-grounded": True}
INTEGER = {"type": "integer", "x-grounded": True}
NUMBERS = {"type": "array", "items": NUMBER, "minItems": 2}


def used(value: Any) -> Counter[float]:
    """Count the numbers anywhere in a value."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return Counter()
    if isinstance(value, dict):
        return sum((used(part) for part in value.values()), Counter())
    if isinstance(value, list):
        return sum((used(part) for part in value), Counter())
    return Counter([float(value)])


@reuse_lm
@given(numbers=st.lists(st.integers(0, 30), min_size=3, max_size=7), seed=seeds)
def test_each_number_is_used_at_most_as_often_as_it_occurs(tiny_lm: FrozenLM, numbers: list[int], seed: int) -> None:
    context = "Take " + " and ".join(map(str, numbers)) + "."
    parameters = object_of(first=INTEGER, rest=NUMBERS)
    arguments = json.loads(write(tiny_lm, parameters, context, seed))
    validate(arguments, parameters)
    assert used(arguments) <= Counter(map(float, numbers))


@reuse_lm
@given(
    numbers=st.lists(st.integers(0, 30), min_size=4, max_size=7, unique=True),
    many=st.booleans(),
    seed=seeds,
)
def test_unavailable_numbers_are_not_copied_and_one_of_the_required_ones_is(
    tiny_lm: FrozenLM, numbers: list[int], many: bool, seed: int
) -> None:
    context = "Take " + " and ".join(map(str, numbers)) + "."
    limits = CopyLimits(unavailable=(float(numbers[0]),), one_of=frozenset({float(numbers[-1])}))
    parameters = object_of(all=NUMBERS) if many else object_of(first=NUMBER, second=INTEGER)
    arguments = json.loads(write(tiny_lm, parameters, context, seed, limits))
    validate(arguments, parameters)
    found = used(arguments)
    assert found <= Counter(map(float, numbers[1:]))
    assert numbers[-1] in found


@pytest.mark.parametrize(
    "limits",
    [
        CopyLimits(unavailable=(1.0, 2.0)),
        CopyLimits(unavailable=(1.0,), one_of=frozenset({2.0})),
        CopyLimits(one_of=frozenset({9.0})),
    ],
)
def test_limits_that_no_arguments_satisfy_are_ignored(tiny_lm: FrozenLM, limits: CopyLimits) -> None:
    for parameters in (object_of(first=NUMBER, second=NUMBER), object_of(all=NUMBERS)):
        arguments = json.loads(write(tiny_lm, parameters, "1 and 2", 0, limits))
        assert used(arguments) == Counter([1.0, 2.0])


def test_limits_on_numbers_do_not_apply_to_strings(tiny_lm: FrozenLM) -> None:
    limits = CopyLimits(unavailable=(7.0,), one_of=frozenset({8.0}))
    assert json.loads(write(tiny_lm, object_of(subject=GROUNDED), "rivers", 0, limits)) == {"subject": "rivers"}


@reuse_lm
@given(numbers=st.lists(st.integers(0, 99), min_size=8, max_size=20), seed=seeds)
def test_of_many_numbers_only_those_of_the_text_are_used(tiny_lm: FrozenLM, numbers: list[int], seed: int) -> None:
    context = ", ".join(map(str, numbers))
    arguments = json.loads(write(tiny_lm, object_of(all=NUMBERS, one=INTEGER), context, seed))
    assert set(used(arguments)) <= set(map(float, numbers))


def test_arguments_without_numbers_in_the_text_follow_the_schema_alone(tiny_lm: FrozenLM) -> None:
    parameters = object_of(one=INTEGER, all=NUMBERS)
    validate(json.loads(write(tiny_lm, parameters, "no number here", 0)), parameters)


def test_a_whole_number_is_not_copied_from_a_fraction(tiny_lm: FrozenLM) -> None:
    for seed in range(10):
        assert json.loads(write(tiny_lm, object_of(one=INTEGER), "2.5 or 3", seed)) == {"one": 3}


def test_grounded_and_free_arguments_stand_beside_each_other(tiny_lm: FrozenLM) -> None:
    parameters = object_of(("note",), note={"type": "string"}, subject=GROUNDED, of=INTEGER, kind={"enum": ["a", "b"]})
    for seed in range(20):
        arguments = json.loads(write(tiny_lm, parameters, "7 rivers", seed))
        validate(arguments, parameters)
        assert arguments["of"] == 7
        assert arguments["subject"] in {"7", "rivers", "7 rivers"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12 and 3.5", ["12", "3.5"]),
        ("1,200 books, 3,", ["1200", "3"]),
        ("5% of 80", ['"5%"', "80"]),
        ("-4 or +4", ["-4", "4"]),
        ("cost $14.", ["14"]),
        ("v2 and 3rd and x1", []),
        ("2e3", ["2e3"]),
        (".5 or 007", ['".5"', '"007"']),
        ("Add 3,4 and 5", ["5"]),
        ("1,2,3", ["1", "2", "3"]),
        ("12,30 and 1,-2.5", ["1", "-2.5"]),
        ("1,5 kg", []),
        ("12,34,567 or 1,2345", ["1234567"]),
        ("1,250.50 of $1,000,000, +2,500", ["1250.50", "1000000", "2500"]),
        ("1,200%", ['"1200%"']),
        ("1,200km", ["1200"]),
        ("", []),
    ],
)
def test_numbers_are_found_as_people_write_them(text: str, found: list[str]) -> None:
    assert numbers_in(text) == found


#: A number as the calculator's tools take it.
SPELT = {"anyOf": [{"type": "number"}, {"type": "string", "maxLength": 40}], "x-grounded": True}
SPELT_NUMBERS = {"type": "array", "items": SPELT, "minItems": 2, "maxItems": 50}


@pytest.mark.parametrize(
    ("context", "offered"),
    [
        ("3½ plus 1", [3.5, 1]),
        ("½ and ¼", [0.5, 0.25]),
        ("1.5 million and 2 million", [1500000, 2000000]),
        ("1,5 and 2,5", ["1,5", "2,5"]),
        ("3 and 1.234,56", [3, "1.234,56"]),
        ("3/4", [0.75, 3, 4]),
    ],
)
def test_only_whole_numerals_are_copied_and_none_is_repeated(
    tiny_lm: FrozenLM, context: str, offered: list[float | str]
) -> None:
    for seed in range(10):
        (found,) = json.loads(write(tiny_lm, object_of(all=SPELT_NUMBERS), context, seed)).values()
        assert len(found) <= len(offered)
        assert all(one in offered and found.count(one) == 1 for one in found)
        pair = json.loads(write(tiny_lm, object_of(base=SPELT, exponent=SPELT), context, seed))
        assert set(pair.values()) <= set(offered)


def test_an_array_of_one_number_is_not_filled_to_its_limit(tiny_lm: FrozenLM) -> None:
    for seed in range(10):
        assert json.loads(write(tiny_lm, object_of(all=SPELT_NUMBERS), "double 7", seed)) == {"all": [7, 7]}


@reuse_lm
@given(
    numbers=st.lists(st.integers(-50, 50), min_size=1, max_size=6),
    low=st.integers(-40, 40),
    width=st.integers(0, 30),
    seed=seeds,
)
def test_a_copied_number_keeps_the_bounds_of_its_schema(
    tiny_lm: FrozenLM, numbers: list[int], low: int, width: int, seed: int
) -> None:
    bounded = {**INTEGER, "minimum": low, "exclusiveMaximum": low + width + 1}
    arguments = json.loads(write(tiny_lm, object_of(one=bounded), ", ".join(map(str, numbers)), seed))
    validate(arguments, object_of(one=bounded))
    fitting = [number for number in numbers if low <= number <= low + width]
    assert not fitting or arguments["one"] in fitting


@pytest.mark.parametrize(
    ("argument", "context", "expected"),
    [
        ({"minLength": 6}, "the river Danube", {"Danube", "the river", "river Danube", "the river Danube"}),
        ({"pattern": "^[A-Z]{3}$"}, "Fly from OSL to FRA, not to Rome", {"OSL", "FRA"}),
        ({"pattern": "^(?!.*r)[a-z]+$"}, "their wine", {"wine"}),
        ({"format": "date"}, "Between 2026-01-31 and 2026-13-31", {"2026-01-31"}),
        ({"enum": ["red", "blue", "green"]}, "Paint it Blue or red", {"blue", "red"}),
        ({"const": "Rome"}, "Paris and Rome", {"Rome"}),
    ],
    ids=lambda one: str(sorted(one) if isinstance(one, set) else one),
)
def test_a_copied_string_keeps_everything_its_schema_asks_for(
    tiny_lm: FrozenLM, argument: dict[str, Any], context: str, expected: set[str]
) -> None:
    parameters = object_of(subject={**GROUNDED, **argument})
    found = {json.loads(write(tiny_lm, parameters, context, seed))["subject"] for seed in range(40)}
    assert found <= expected
    assert len(found) > len(expected) / 2


@pytest.mark.parametrize(
    ("argument", "context"),
    [
        ({"enum": ["red", "blue"]}, "no colour at all"),
        ({"pattern": "^[A-Z]{3}$"}, "no code at all"),
        ({"minLength": 30, "maxLength": 40}, "short"),
    ],
    ids=str,
)
def test_if_nothing_in_the_text_fits_the_schema_alone_restricts_the_value(
    tiny_lm: FrozenLM, argument: dict[str, Any], context: str
) -> None:
    parameters = object_of(subject={**GROUNDED, **argument})
    for seed in range(5):
        validate(json.loads(write(tiny_lm, parameters, context, seed)), parameters)


def test_one_of_several_kinds_of_value_can_be_copied(tiny_lm: FrozenLM) -> None:
    parameters = object_of(subject={"anyOf": [GROUNDED, {"type": "null"}]}, year={"anyOf": [INTEGER, {"type": "null"}]})
    found = [json.loads(write(tiny_lm, parameters, "Ada of 1815", seed)) for seed in range(60)]
    assert {one["year"] for one in found} == {1815, None}
    copied = {one["subject"] for one in found} - {None}
    assert copied
    assert all(is_run_of_words(value, "Ada of 1815") for value in copied)


LISTED = {"type": "array", "items": {"type": "number"}}


@pytest.mark.parametrize(
    ("argument", "least"),
    [
        ({"anyOf": [LISTED, {"type": "null"}]}, 1),
        ({"oneOf": [{"type": "integer"}, LISTED]}, 1),
        ({"anyOf": [LISTED, {"type": "null"}], "minItems": 2}, 2),
        ({"anyOf": [{"anyOf": [LISTED, {"type": "integer"}]}, {"type": "null"}]}, 1),
    ],
    ids=str,
)
def test_a_list_among_several_kinds_of_value_is_copied_where_the_mark_stands_beside_them(
    tiny_lm: FrozenLM, argument: dict[str, Any], least: int
) -> None:
    parameters = object_of(value={**argument, "x-grounded": True})
    found = [json.loads(write(tiny_lm, parameters, "What is 3 plus 4 and 12?", seed)) for seed in range(40)]
    for one in found:
        validate(one, parameters)
        assert used(one) <= Counter([3.0, 4.0, 12.0])
    lists = [one["value"] for one in found if isinstance(one["value"], list)]
    assert 0 < len(lists) < len(found)
    assert min(map(len, lists)) >= least


def test_two_kinds_of_list_are_copied_by_their_own_schemas(tiny_lm: FrozenLM) -> None:
    whole = {"type": "array", "items": {"type": "integer"}, "maxItems": 1}
    words = {"type": "array", "items": {"type": "string"}, "maxItems": 2}
    parameters = object_of(value={"anyOf": [whole, {**LISTED, "minItems": 2}, words], "x-grounded": True})
    found = [json.loads(write(tiny_lm, parameters, "7 rivers of 2.5 miles", seed))["value"] for seed in range(60)]
    for value in found:
        validate({"value": value}, parameters)
    assert [7] in found
    assert [2.5, 7] in found or [7, 2.5] in found
    assert any(isinstance(one, str) and is_run_of_words(one, "7 rivers of 2.5 miles") for v in found for one in v)


def test_numbers_are_not_endless(tiny_lm: FrozenLM) -> None:
    for seed in range(20):
        value = json.loads(write(tiny_lm, object_of(one={"type": "integer"}), "", seed))["one"]
        assert abs(value) < 2**53


@pytest.mark.parametrize(("budget", "longest"), [(None, 200), (10, 16), (40, 33), (1000, 200)])
def test_strings_without_a_bound_share_the_budget(tiny_lm: FrozenLM, budget: int | None, longest: int) -> None:
    text = {"type": "string"}
    three = object_of(a=text, b=text, c=text)
    assert longest_string(three, budget) == longest
    bounded = {"type": "string", "maxLength": 9}
    assert longest_string(object_of(a=bounded, b={"enum": ["x"]}, c=text), 20) == 50
    spec = ToolSpec(name="tool", description="A tool.", parameters=three)
    assert argument_matcher(tiny_lm, spec, "", budget).get_error() == ""


def test_a_pattern_no_grammar_knows_leaves_the_rest_of_the_schema_in_force(tiny_lm: FrozenLM) -> None:
    odd = {"type": "string", "pattern": "^(?=.*x).*$"}
    parameters = object_of(a=odd, pattern={"enum": ["not", "if"]}, b={"type": "integer", "minimum": 3, "maximum": 5})
    for seed in range(5):
        arguments = json.loads(write(tiny_lm, parameters, "", seed))
        assert set(arguments) == {"a", "pattern", "b"}
        assert arguments["pattern"] in {"not", "if"}
        assert 3 <= arguments["b"] <= 5


def test_an_enum_of_thousands_of_values_gives_one_of_them(tiny_lm: FrozenLM) -> None:
    column = [f"Person number {number}" for number in range(5000)]
    value = json.loads(write(tiny_lm, object_of(name={"type": "string", "enum": column}), "", 1))["name"]
    assert value in column


def defined(argument: Any, **definitions: Any) -> dict[str, Any]:
    """Return the schema of an object with one argument, and definitions."""
    return {**object_of(a=argument), "$defs": definitions}


ANY_JSON = {
    "anyOf": [
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/J"}},
        {"type": "array", "items": {"$ref": "#/$defs/J"}, "maxItems": 2},
        {"type": ["string", "number", "boolean", "null"], "maxLength": 5},
    ]
}
POINT = {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}}


@pytest.mark.parametrize(
    "parameters",
    [
        defined({"$ref": "#/$defs/a%20b"}, **{"a b": {"type": "boolean"}}),
        defined({"$ref": "#/$defs/Box%5Bint%5D"}, **{"Box[int]": {"type": "boolean"}}),
        defined({"$ref": "#/$defs/A", "maximum": 30}, A={"type": "integer", "minimum": 0, "maximum": 3}),
        defined({"$ref": "#/$defs/J"}, J=ANY_JSON),
        {**object_of(a={"anyOf": [{"type": "boolean"}, {"type": "null"}]}, b={"$ref": "#/properties/a/anyOf/0"})},
        {"$ref": "#/$defs/A", "$defs": {"A": object_of(a={"type": "boolean"})}},
        object_of(a={"allOf": [{"type": ["integer", "string"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}]}),
        object_of(a={"anyOf": [{"type": "integer"}, {"type": "string"}], "oneOf": [{"type": "string"}, False]}),
        object_of(a={"type": "string", "anyOf": [{"type": "integer"}, {"maxLength": 4}]}),
        object_of(a={"allOf": [POINT, {"properties": {"x": {"minimum": 2, "maximum": 5}}, "required": ["x"]}]}),
        object_of(a={**POINT, "required": ["x"], "anyOf": [{"required": ["y"]}, {"properties": {"z": True}}]}),
        object_of(a={**POINT, "minProperties": 2}),
        object_of(a={"type": "string", "nullable": True}),
        object_of(a={"type": "number", "minimum": 0, "exclusiveMinimum": False, "maximum": 1}),
        object_of(a={"type": "integer", "minimum": 1, "exclusiveMinimum": True, "maximum": 2}),
        object_of(a={"type": "array", "items": [{"type": "integer"}, {"type": "boolean"}], "additionalItems": False}),
        object_of(a={"type": "string", "anyOf": None, "enum": None, "pattern": None, "minLength": None}),
        object_of(a={"type": None, "items": None, "description": "Anything."}),
        object_of(("b",), a={"type": "boolean"}, b={"not": {}}),
        object_of(a={"type": "number", "minimum": 1e20}),
        object_of(a={"type": "integer", "exclusiveMinimum": 2**60, "maximum": 2**61}),
        object_of(a={"type": "number", "minimum": 0, "maximum": 1e-9}),
        object_of(a={"type": "string", "pattern": "^[a-f0-9]{256}$"}),
        {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "minProperties": 1},
    ],
    ids=repr,
)
def test_combined_and_older_keywords_hold(tiny_lm: FrozenLM, parameters: dict[str, Any]) -> None:
    read = ToolSpec(name="tool", parameters=parameters).parameters
    for seed in range(4):
        validate(json.loads(write(tiny_lm, parameters, "", seed)), read)


@pytest.mark.parametrize(
    "argument",
    [
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#anchor"},
        {"type": "any"},
        {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True},
        {"type": "integer", "multipleOf": 1_000_003},
        {"type": "string", "pattern": r"^(a)\1$"},
        {"type": "object", "patternProperties": {"^(?=a)a+$": {"type": "null"}}, "minProperties": 1},
    ],
    ids=repr,
)
def test_schemas_beyond_the_grammar_are_validated_afterwards(tiny_lm: FrozenLM, argument: Any) -> None:
    for seed in range(3):
        assert json.loads(write(tiny_lm, object_of(a=argument), "", seed)).keys() == {"a"}


def test_only_the_unsupported_keyword_is_dropped(tiny_lm: FrozenLM) -> None:
    code = {"type": "string", "pattern": "^[A-Z]{3}$"}
    ahead = {"type": "string", "pattern": "^(?!x).+$"}
    parameters = object_of(a=ahead, n={"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 99}, c=code)
    for seed in range(5):
        arguments = json.loads(write(tiny_lm, parameters, "", seed))
        validate({**arguments, "a": "b"}, parameters)


def test_definitions_that_refer_to_each_other_stay_small() -> None:
    own = {
        f"T{i}": {"type": "object", "properties": {f"p{j}": {"$ref": f"#/$defs/T{j}"} for j in range(6)}}
        for i in range(6)
    }
    found = bounded(defined({"$ref": "#/$defs/T0"}, **own), arguments=True)
    assert len(json.dumps(found)) < 50_000


@pytest.mark.parametrize("argument", [{"$ref": "#/$defs/A"}, {"minLength": 5, "maxLength": 3, "type": "string"}])
def test_a_schema_that_only_contains_itself_is_refused(tiny_lm: FrozenLM, argument: Any) -> None:
    with pytest.raises(ToolSpecError, match=r"'tool'.*'a'"):
        write(tiny_lm, defined(argument, A=object_of(a={"$ref": "#/$defs/A"})), "", 0)
