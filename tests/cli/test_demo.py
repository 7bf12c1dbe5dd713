"""The demo prints what the model does, scores both ways of calling by the same rule, and depends on no answer."""

import io
from typing import Any, cast

import jsonschema
import pytest
from rich.console import Console

from toolken import Answer, FrozenLM, ToolkenAgent, ToolSpec
from toolken.agents.decoding.events import TextPiece
from toolken.cli.ask import show_answer
from toolken.cli.demo import REQUESTS, MadeCalls, PromptedLM, Reply, Request, comparison, is_right, run_demo
from toolken.tools.everyday import everyday_tools

SPECS = {tool.name: ToolSpec.of(tool) for tool in everyday_tools()}
TIMER = Request("A timer for 5", (("set_timer", {"minutes": 5}),))
ASKED = Request("A timer", asks="minutes")


def test_the_right_calls_pass_the_schemas_of_the_tools() -> None:
    for request in REQUESTS:
        for name, arguments in request.right:
            jsonschema.validate(arguments, SPECS[name].parameters)


def test_the_requests_show_each_kind() -> None:
    assert not REQUESTS[0].follows
    assert any(request.follows and request.right for request in REQUESTS)
    assert any(len(request.right) == 2 for request in REQUESTS)
    assert any(request.asks for request in REQUESTS)
    assert any(not request.right and not request.asks for request in REQUESTS)
    for request in REQUESTS:
        assert not (request.right and request.asks)


@pytest.mark.parametrize(
    ("request_", "calls", "text", "right"),
    [
        (TIMER, (("set_timer", {"minutes": 5}),), "", True),
        (TIMER, (("set_timer", {"minutes": 6}),), "", False),
        (TIMER, (("set_alarm", {"minutes": 5}),), "", False),
        (TIMER, (("set_timer", {"minutes": 5, "label": "tea"}),), "", False),
        (TIMER, (("set_timer", {"minutes": 5}),) * 2, "", False),
        (TIMER, (), "5 minutes", False),
        (ASKED, (), "How many minutes?", True),
        (ASKED, (), "How many litres?", False),
        (ASKED, (("set_timer", {"minutes": 5}),), "How many minutes?", False),
        (Request("Why?"), (), "Because.", True),
        (Request("Rome?", (("get_weather", {"city": "Rome"}),)), (("get_weather", {"city": "rome"}),), "", True),
    ],
)
def test_a_reply_is_right_by_its_calls_and_its_question(
    request_: Request, calls: MadeCalls, text: str, right: bool
) -> None:
    assert is_right(request_, Reply(calls, text, 0.0)) is right


def test_the_table_counts_both_ways() -> None:
    all_right = [Reply(request.right, request.asks, 1.0) for request in REQUESTS]
    none_right = [Reply((("roll_dice", {}),), "", 2.0) for _ in REQUESTS]
    out = io.StringIO()
    Console(file=out, width=120).print(comparison(all_right, none_right))
    total = next(line for line in out.getvalue().splitlines() if "total" in line)
    assert f"{len(REQUESTS)} of {len(REQUESTS)}" in total
    assert f"0 of {len(REQUESTS)}" in total
    assert f"{len(REQUESTS)}.0" in total
    assert f"{2 * len(REQUESTS)}.0" in total


def test_the_prompted_lm_has_all_schemas_before_the_request(tiny_lm: FrozenLM) -> None:
    few, all_tools = PromptedLM(tiny_lm, everyday_tools()[:2]), PromptedLM(tiny_lm, everyday_tools())
    assert all_tools.schema_tokens > 2 * few.schema_tokens > 0


@pytest.mark.parametrize(
    ("text", "calls", "rest"),
    [
        (
            'Sure. <tool_call>{"name": "set_timer", "arguments": {"minutes": 10}}</tool_call>',
            (("set_timer", {"minutes": 10}),),
            "Sure.",
        ),
        ('<tool_call>{"name": "roll_dice", "arguments": {}}</tool_call>', (("roll_dice", {}),), ""),
        ("How many minutes?", (), "How many minutes?"),
    ],
)
def test_calls_that_the_prompted_lm_writes_are_read(tiny_lm: FrozenLM, text: str, calls: MadeCalls, rest: str) -> None:
    assert PromptedLM(tiny_lm, everyday_tools()).read(text, 1.5) == Reply(calls, rest, 1.5)


def test_the_demo_answers_every_request_in_both_ways(embedded_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FrozenLM, "from_pretrained", lambda *_, **__: embedded_lm)
    monkeypatch.setattr("toolken.cli.demo.MAX_TOKENS", 8)
    shown: list[list[Reply]] = []

    def kept(*replies: Any) -> Any:
        shown.extend(replies)
        return comparison(*replies)

    monkeypatch.setattr("toolken.cli.demo.comparison", kept)
    out = io.StringIO()
    run_demo(None, Console(file=out, width=200))
    printed = out.getvalue()
    for request in REQUESTS:
        assert printed.count(request.text) == 3
    with_toolkens, with_schemas = shown
    assert len(with_toolkens) == len(with_schemas) == len(REQUESTS)
    assert is_right(REQUESTS[0], with_toolkens[0])
    for name in SPECS:
        assert name in printed


@pytest.mark.parametrize(("streamed", "answer", "lines"), [("It is 4.", "It is 4.", 1), ("4.", "It is 4.", 2)])
def test_an_answer_that_was_streamed_is_not_printed_again(streamed: str, answer: str, lines: int) -> None:
    class Agent:
        def events(self, _: Any) -> Any:
            yield TextPiece(streamed)
            yield Answer(answer, (), ())

    out = io.StringIO()
    show_answer(cast("ToolkenAgent", Agent()), "How warm?", Console(file=out, width=80))
    assert len(out.getvalue().splitlines()) == 1 + lines
    assert out.getvalue().rstrip().endswith(answer)
