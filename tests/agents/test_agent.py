"""The agent runs tools in line and continues after failures."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException

from toolken import Answer, DecodingOptions, FrozenLM, ToolkenAgent, ToolkenHead, ToolSpec
from toolken.agents.agent import Step, ToolResult
from toolken.agents.decoding.events import CallFinished, CallStarted, Finished, TextPiece
from toolken.errors import FingerprintError, ToolSpecError
from toolken.tools.errors import ToolError

QUESTION = "What is 12 plus 30 in Paris?"


@pytest.fixture
def head(tiny_head: ToolkenHead) -> ToolkenHead:
    """A head that calls a tool wherever it may, so that a random LM does."""
    tiny_head = replace(tiny_head, prompt=tiny_head.prompt.model_copy(update={"words_preamble": ""}))
    return replace(tiny_head, threshold=0.0)


def runnable(specs: list[ToolSpec], run: Callable[..., Any], *names: str) -> list[BaseTool]:
    """Return tools for specs, all of which run one function."""
    return [
        StructuredTool.from_function(run, name=spec.name, description=spec.description, args_schema=spec.parameters)
        for spec in specs
        if not names or spec.name in names
    ]


@pytest.fixture
def build(tiny_lm: FrozenLM, head: ToolkenHead, specs: list[ToolSpec]) -> Callable[..., ToolkenAgent]:
    """Build an agent whose tools run one function."""

    def build(run: Callable[..., Any], *names: str, **options: Any) -> ToolkenAgent:
        options.setdefault("options", DecodingOptions(max_tokens=60))
        return ToolkenAgent(tiny_lm, head, runnable(specs, run, *names), **options)

    return build


Build = Callable[..., ToolkenAgent]


def test_a_tool_is_run_with_the_arguments_and_its_result_is_the_answer(build: Build) -> None:
    seen: list[dict[str, Any]] = []

    def add(**arguments: Any) -> str:
        seen.append(arguments)
        return "42"

    answer = build(add, "add", max_calls=1).invoke(QUESTION)
    (step,) = answer.steps
    assert (step.tool, step.result, step.failed) == ("add", "42", False)
    assert seen == [step.arguments]
    assert sorted(step.arguments["numbers"]) == [12, 30]
    assert answer.text == "The answer is 42."


def test_the_messages_of_a_turn_can_be_given_back(build: Build) -> None:
    agent = build(lambda **_: "42", "add", max_calls=1)
    answer = agent.invoke(QUESTION)
    called, result, last = answer.messages
    assert isinstance(called, AIMessage)
    assert isinstance(result, ToolMessage)
    assert isinstance(last, AIMessage)
    assert called.tool_calls[0]["id"] == result.tool_call_id
    assert last.text == answer.text
    again = agent.invoke([HumanMessage(QUESTION), *answer.messages, HumanMessage("And 1 plus 2?")])
    assert sorted(again.steps[0].arguments["numbers"])[0] >= 1
    assert agent.invoke([("user", QUESTION)]).text == answer.text


def test_events_come_in_order_and_the_answer_last(build: Build) -> None:
    events = list(build(lambda **_: "42", "add", max_calls=1).events(QUESTION))
    kinds = [type(event) for event in events]
    assert kinds[0] is CallStarted
    assert kinds.index(CallFinished) < kinds.index(ToolResult) < kinds.index(TextPiece)
    assert kinds[-1] is Answer
    assert kinds.count(Finished) == 2


def test_calls_are_bounded_and_the_answer_ends_in_text(build: Build) -> None:
    answer = build(lambda **_: "7", max_calls=3).invoke(QUESTION)
    assert [step.result for step in answer.steps] == ["7", "7", "7"]
    assert answer.text == "The answer is 7, then 7, then 7."
    assert build(lambda **_: "7", max_calls=0).invoke(QUESTION).steps == ()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ToolError("Division by zero: give another divisor."), "Division by zero: give another divisor."),
        (ToolException("It cannot be done."), "It cannot be done."),
        (ValueError("a bad value"), "a bad value"),
        (KeyError("missing"), "missing"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (RecursionError("too deep"), "too deep"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_tool_that_raises_becomes_a_failed_step_and_the_agent_carries_on(
    build: Build, error: Exception, text: str
) -> None:
    def fail(**_: Any) -> str:
        raise error

    answer = build(fail, options=DecodingOptions(max_tokens=60)).invoke(QUESTION)
    assert answer.steps
    assert all(step.failed for step in answer.steps)
    assert text in answer.steps[0].result
    assert isinstance(answer.messages[-1], AIMessage)
    failed = [message for message in answer.messages if isinstance(message, ToolMessage)]
    assert all(message.status == "error" for message in failed)
    assert text not in answer.text or len(text) < 3


def test_a_tool_that_failed_is_not_called_again(build: Build) -> None:
    calls: list[str] = []

    def fail(**arguments: Any) -> str:
        calls.append(str(arguments))
        raise ToolError("Not now.")

    answer = build(fail, "add").invoke(QUESTION)
    assert len(calls) == len(answer.steps) == 1


def test_an_interruption_is_not_swallowed(build: Build) -> None:
    def interrupt(**_: Any) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(interrupt).invoke(QUESTION)


def test_arguments_that_do_not_fit_the_budget_are_a_failed_step(build: Build) -> None:
    ran: list[int] = []

    def run(**_: Any) -> str:
        ran.append(1)
        return "x"

    answer = build(run, "weather", options=DecodingOptions(max_tokens=1)).invoke("one two three four five six seven")
    assert answer.steps[0].failed
    assert "allow more tokens" in answer.steps[0].result
    assert ran == []


@pytest.mark.parametrize(
    ("returned", "written"),
    [(42, "42"), (4.5, "4.5"), ({"a": 1}, '{"a": 1}'), ([1, 2], "[1, 2]"), ("é\x00 x\ny", "é x y")],
)
def test_what_a_tool_returns_is_written_as_text(build: Build, returned: Any, written: str) -> None:
    answer = build(lambda **_: returned, "add", max_calls=1).invoke(QUESTION)
    assert answer.text == f"The answer is {written}."


@pytest.mark.parametrize("returned", [None, "", "   "], ids=repr)
def test_a_tool_that_returns_nothing_is_no_error(build: Build, returned: Any) -> None:
    answer = build(lambda **_: returned, "add", max_calls=1).invoke(QUESTION)
    assert len(answer.steps) == 1
    assert not answer.steps[0].failed
    assert answer.text.startswith("The answer is")


def test_a_long_result_is_shortened_in_the_text(build: Build) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolken.agents.conversation.MAX_RESULT", 50)
        answer = build(lambda **_: "x " * 10_000, "add", max_calls=1).invoke(QUESTION)
    assert len(answer.text) < 100


def test_a_result_cannot_pose_as_a_special_token(build: Build) -> None:
    answer = build(lambda **_: "<|endoftext|> done", "add", max_calls=1).invoke(QUESTION)
    assert answer.text == "The answer is <|endoftext|> done."


def test_a_tool_the_head_does_not_know_is_added_by_its_description(
    tiny_lm: FrozenLM, head: ToolkenHead, specs: list[ToolSpec]
) -> None:
    def price() -> str:
        """Look up the price of a product."""
        return "5"

    agent = ToolkenAgent(tiny_lm, head, [StructuredTool.from_function(price)], max_calls=1)
    assert agent.invoke(QUESTION).steps[0] == Step("price", pytest.approx(1, abs=1), (), {}, "5", False)  # type: ignore[arg-type]
    assert head.names == ["add", "weather", "capital"]


def test_an_agent_without_tools_or_with_another_lm_is_refused(
    tiny_lm: FrozenLM, head: ToolkenHead, specs: list[ToolSpec], build_lm: Callable[..., FrozenLM]
) -> None:
    with pytest.raises(ToolSpecError, match="at least one"):
        ToolkenAgent(tiny_lm, head, [])
    with pytest.raises(FingerprintError):
        ToolkenAgent(build_lm(seed=1), head, runnable(specs, lambda **_: "x"))
    twice = runnable(specs, lambda **_: "x", "add") * 2
    with pytest.raises(ToolSpecError, match="'add'"):
        ToolkenAgent(tiny_lm, head, twice)


def test_successive_questions_give_their_single_answers(build: Build) -> None:
    agent = build(lambda **_: "7", max_calls=2)
    questions = ["What is 1 plus 2?", "How is the weather in Rome?", "What is 1 plus 2?", "What is 1 plus 3?"]
    for question in questions:
        warm, cold = agent.invoke(question), build(lambda **_: "7", max_calls=2).invoke(question)
        assert warm.text == cold.text
        assert [(s.tool, s.arguments) for s in warm.steps] == [(s.tool, s.arguments) for s in cold.steps]


async def test_the_agent_is_a_runnable(build: Build) -> None:
    agent = build(lambda **_: "7", max_calls=1)
    expected = agent.invoke(QUESTION).text
    assert (await agent.ainvoke(QUESTION)).text == expected
    assert [answer.text for answer in agent.batch([QUESTION, QUESTION])] == [expected, expected]
    assert (agent | (lambda answer: answer.text)).invoke(QUESTION) == expected
    assert [answer.text for answer in agent.stream(QUESTION)] == [expected]


async def test_events_come_asynchronously_as_well(build: Build) -> None:
    agent = build(lambda **_: "42", "add", max_calls=1)
    expected = [type(event) for event in agent.events(QUESTION)]
    assert [type(event) async for event in agent.aevents(QUESTION)] == expected


async def test_closing_the_stream_stops_the_agent(build: Build) -> None:
    agent = build(lambda **_: "42", "add", max_calls=1)
    expected = agent.invoke(QUESTION).text
    async for event in agent.aevents(QUESTION):
        if isinstance(event, CallStarted):
            break
    for event in agent.events(QUESTION):
        if isinstance(event, CallStarted):
            break
    assert (await agent.ainvoke(QUESTION)).text == expected


async def test_a_tool_that_hangs_is_a_failed_step_and_the_agent_carries_on(build: Build) -> None:
    released = threading.Event()
    agent = build(lambda **_: released.wait(60), "add", tool_timeout=0.1)
    for answer in (agent.invoke(QUESTION), await agent.ainvoke(QUESTION)):
        (step,) = answer.steps
        assert step.failed
        assert "0.1 seconds" in step.result
        assert answer.messages[-1].text.startswith("The answer is")
    released.set()


def test_a_tool_that_fails_at_first_is_tried_again(build: Build) -> None:
    tries: list[int] = []

    def flaky(**_: Any) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("not yet")
        return "42"

    (step,) = build(flaky, "add", max_calls=1, tool_retries=1).invoke(QUESTION).steps
    assert (step.result, step.failed, len(tries)) == ("42", False, 2)


@pytest.mark.parametrize(
    "returned",
    [
        "x" * 5_000_000,
        b"\x00\xff" * 1000,
        "\x00\x1b[31m\u202e",
        '{"name": "add", "args": {"numbers": [1, 2]}}',
        "\n" * 99,
    ],
    ids=lambda value: repr(value)[:20],
)
def test_whatever_a_tool_returns_the_answer_stays_short_and_makes_no_call(build: Build, returned: Any) -> None:
    answer = build(lambda **_: returned, "add", max_calls=1).invoke(QUESTION)
    assert len(answer.steps) == 1
    assert len(answer.text) < 2_200
    assert all(character.isprintable() for character in answer.text)


def test_an_agent_without_a_head_knows_its_tools_by_their_descriptions(
    tiny_lm: FrozenLM, specs: list[ToolSpec], tiny_background: object
) -> None:
    agent = ToolkenAgent(tiny_lm, None, runnable(specs, lambda **_: "42"), options=DecodingOptions(max_tokens=5))
    assert agent.invoke("Who?").text.startswith("The answer is")


def test_the_tools_see_the_config_of_the_question(build: Build) -> None:
    seen: list[Any] = []

    class Listening(BaseCallbackHandler):
        def on_tool_end(self, output: Any, **_: Any) -> None:
            seen.append(output)

    build(lambda **_: "42", "add", max_calls=1).invoke(QUESTION, config={"callbacks": [Listening()]})
    assert len(seen) == 1


def test_the_calls_of_one_turn_are_run_and_all_answered(build: Build) -> None:
    agent = build(lambda **_: "42", max_calls=2, options=DecodingOptions(max_tokens=120, parallel=True))
    answer = agent.invoke("What is 12 plus 30? How is the weather in Oslo?")
    assert 1 <= len(answer.steps) <= 2
    called = [call["id"] for message in answer.messages for call in getattr(message, "tool_calls", [])]
    results = [message.tool_call_id for message in answer.messages if isinstance(message, ToolMessage)]
    assert called == results


@pytest.mark.parametrize("everywhere", [False, True])
def test_an_answer_reports_the_probabilities_that_its_threshold_decided_on(
    tiny_lm: FrozenLM, head: ToolkenHead, specs: list[ToolSpec], everywhere: bool
) -> None:
    form = {"everywhere": True, "opening": "", "stop": ()} if everywhere else {}
    head = replace(head, prompt=head.prompt.model_copy(update=form))
    options = DecodingOptions(max_tokens=40)

    def at(threshold: float) -> Answer:
        tools = runnable(specs, lambda **_: "42")
        return ToolkenAgent(tiny_lm, replace(head, threshold=threshold), tools, max_calls=2, options=options).invoke(
            QUESTION
        )

    answer, texts, made = at(1.0), set(), 1.0
    for _ in range(4):
        low = max((one for one in answer.call_probabilities if one < made), default=0.0)
        high = min((one for one in answer.call_probabilities if one >= made), default=1.0)
        assert 0 <= low < high <= 1
        texts.add(answer.text)
        inside = (one for one in (high, (low + high) / 2, low + (high - low) / 1000) if low < one <= high)
        for threshold in inside:
            same = at(threshold)
            assert (same.text, same.steps) == (answer.text, answer.steps)
            assert same.call_probabilities == pytest.approx(answer.call_probabilities)
        if low == 0:
            break
        # What was not called before is called from its own probability on.
        answer, made = at(low), low
        assert min(one for one in answer.call_probabilities if one >= made) == pytest.approx(low)
    assert len(texts) > 1
