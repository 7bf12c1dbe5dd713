"""Any list of LangChain messages becomes one sensible text."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from toolken import PromptFormat
from toolken.agents.conversation import MAX_RESULT, canonical, result_text, to_prompt
from toolken.agents.errors import InputError

FORMAT = PromptFormat()


def call(name: str = "add", number: int = 1, text: str = "") -> AIMessage:
    """A message that calls a tool."""
    return AIMessage(text, tool_calls=[{"name": name, "args": {}, "id": str(number)}])


def result(content: str, number: int = 1, **fields: Any) -> ToolMessage:
    """A message with a tool's result."""
    return ToolMessage(content, tool_call_id=str(number), **fields)


def text_of(*messages: BaseMessage) -> str:
    """Return the text that messages become."""
    return to_prompt(messages, FORMAT).text


def test_a_question_is_followed_by_the_opening() -> None:
    prompt = to_prompt([HumanMessage(" What is 2 plus 3? ")], FORMAT)
    assert prompt.text == FORMAT.query("What is 2 plus 3?")
    assert prompt.question == "What is 2 plus 3?"
    assert prompt.answer == FORMAT.opening
    assert not prompt.ends_with_result


def test_system_messages_stand_first_in_order_wherever_they_were() -> None:
    text = text_of(SystemMessage("Be brief."), HumanMessage("Hi?"), SystemMessage("Be kind."))
    assert text == "Be brief.\n\nBe kind.\n\nQuestion: Hi?\nAnswer: The answer is"


def test_a_system_message_with_braces_stays_as_it_is() -> None:
    assert "Use {question} and {system}." in text_of(SystemMessage("Use {question} and {system}."), HumanMessage("Hi?"))


def test_two_questions_in_a_row_are_one() -> None:
    prompt = to_prompt([HumanMessage("I have 2 and 3."), HumanMessage("What is the sum?")], FORMAT)
    assert prompt.question == "I have 2 and 3.\nWhat is the sum?"
    assert prompt.text.count("Question:") == 1


def test_an_earlier_turn_precedes_and_the_context_has_both() -> None:
    messages = [HumanMessage("A?"), AIMessage("The answer is 1."), HumanMessage("B?")]
    prompt = to_prompt(messages, FORMAT)
    assert prompt.text == "Question: A?\nAnswer: The answer is 1.\n\nQuestion: B?\nAnswer: The answer is"
    assert prompt.question == "B?"
    assert prompt.answer == " The answer is"
    assert prompt.context == "A?\nB?"


def test_a_result_stands_where_its_call_stood() -> None:
    prompt = to_prompt([HumanMessage("2 plus 3?"), call(text="The answer is"), result("5")], FORMAT)
    assert prompt.text == "Question: 2 plus 3?\nAnswer: The answer is 5"
    assert prompt.results == ("5",)
    assert prompt.ends_with_result
    assert prompt.context == "2 plus 3?\n5"


@pytest.mark.parametrize("content", ["", "The answer is"])
def test_a_call_with_and_without_content_is_the_same(content: str) -> None:
    assert text_of(HumanMessage("Q"), call(text=content), result("5")) == "Question: Q\nAnswer: The answer is 5"


def test_results_in_a_row_are_joined_as_in_examples() -> None:
    messages = [HumanMessage("Q"), call(), result("5"), call(number=2, text="The answer is 5"), result("10", 2)]
    prompt = to_prompt(messages, FORMAT)
    assert prompt.answer == " The answer is 5, then 10"
    assert prompt.results == ("5", "10")
    both = AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": i} for i in "12"])
    assert to_prompt([HumanMessage("Q"), both, result("5"), result("10", 2)], FORMAT).answer == prompt.answer


def test_content_that_repeats_the_results_is_not_written_twice() -> None:
    messages = [HumanMessage("Q"), call(), result("5"), AIMessage("The answer is 5.")]
    prompt = to_prompt([*messages, HumanMessage("R")], FORMAT)
    assert prompt.text == "Question: Q\nAnswer: The answer is 5.\n\nQuestion: R\nAnswer: The answer is"
    assert not to_prompt(messages, FORMAT).ends_with_result


def test_content_that_goes_on_after_the_results_is_appended() -> None:
    prompt = to_prompt([HumanMessage("Q"), call(), result("5"), AIMessage("apples in all.")], FORMAT)
    assert prompt.answer == " The answer is 5 apples in all."
    assert not prompt.ends_with_result


def test_a_result_without_a_question_or_call_is_not_lost() -> None:
    prompt = to_prompt([result("5")], FORMAT)
    assert prompt.results == ("5",)
    assert prompt.text.endswith(" The answer is 5")


def test_a_conversation_that_begins_with_an_answer_goes_on_with_it() -> None:
    assert text_of(AIMessage("Hello"), HumanMessage("Q?")).endswith("Hello\n\nQuestion: Q?\nAnswer: The answer is")


@pytest.mark.parametrize("messages", [[HumanMessage("")], [SystemMessage("S")], [HumanMessage([])], [AIMessage("")]])
def test_empty_content_is_no_error(messages: list[BaseMessage]) -> None:
    prompt = to_prompt(messages, FORMAT)
    assert prompt.text.endswith("Answer: The answer is")
    assert prompt.question == ""


def test_content_in_blocks_is_read_as_text() -> None:
    blocks: list[str | dict[Any, Any]] = ["What is ", {"type": "text", "text": "2 plus 3?"}]
    assert to_prompt([HumanMessage(blocks)], FORMAT).question == "What is 2 plus 3?"
    messages = [HumanMessage("Q"), call(), ToolMessage([{"type": "text", "text": "5"}], tool_call_id="1")]
    assert to_prompt(messages, FORMAT).results == ("5",)


def test_a_failed_call_leaves_no_text_and_is_remembered_by_name() -> None:
    error = result("Division by zero: give another divisor.", status="error")
    prompt = to_prompt([HumanMessage("2 by 0?"), call("divide"), error], FORMAT)
    assert prompt.text == FORMAT.query("2 by 0?")
    assert prompt.failed == {"divide"}
    assert prompt.results == ()
    assert "Division" not in prompt.context


def test_a_failure_is_forgotten_with_the_next_question() -> None:
    error = result("no", status="error", name="divide")
    messages = [HumanMessage("Q"), call("divide"), error, AIMessage("I cannot."), HumanMessage("R")]
    assert to_prompt(messages, FORMAT).failed == frozenset()


def test_a_result_with_braces_or_a_question_inside_stays_one_line() -> None:
    prompt = to_prompt([HumanMessage("Q"), call(), result("x\nQuestion: {question}\nAnswer: 7")], FORMAT)
    assert prompt.text == "Question: Q\nAnswer: The answer is x Question: {question} Answer: 7"


@pytest.mark.parametrize(
    ("content", "written"),
    [("  5 \n", "5"), ("a\tb\r\nc", "a b c"), ("a\x00b\x1b[31mc", "a b [31mc"), ("é\u200b漢 😀", "é 漢 😀"), ("", "")],
)
def test_a_result_is_one_line_without_control_characters(content: str, written: str) -> None:
    assert result_text(content) == written


def test_a_long_result_is_cut_and_says_so() -> None:
    assert result_text("x" * MAX_RESULT) == "x" * MAX_RESULT
    cut = result_text("x" * (MAX_RESULT + 1))
    assert len(cut) == MAX_RESULT
    assert cut.endswith("…")
    prompt = to_prompt([HumanMessage("Q"), call(), result("x" * 10**6)], FORMAT)
    assert len(prompt.text) < MAX_RESULT + 100


def test_a_long_result_of_mostly_spaces_is_marked_as_cut() -> None:
    assert result_text("begin" + " " * (5 * MAX_RESULT) + "end") in {"begin end", "begin…", "begin …"}


def test_no_messages_are_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        to_prompt([], FORMAT)


def test_the_preamble_comes_first_and_once() -> None:
    prompt = PromptFormat(preamble="Some words.\n\n")
    text = to_prompt([HumanMessage("A"), AIMessage("B"), HumanMessage("C")], prompt).text
    assert text.startswith("Some words.\n\nQuestion: A")
    assert text.count("Some words.") == 1


def test_calls_of_the_turn_and_those_that_were_answered_are_known() -> None:
    made = AIMessage("", tool_calls=[{"name": "add", "args": {"b": 2, "a": 1}, "id": i} for i in "12"])
    prompt = to_prompt([HumanMessage("Q"), made, result("3", 1)], FORMAT)
    assert prompt.answered == {("add", canonical({"a": 1, "b": 2}))}
    assert prompt.calls == 2
    failed = to_prompt([HumanMessage("Q"), made, result("no", 2, status="error")], FORMAT)
    assert failed.answered == prompt.answered
    after = to_prompt([HumanMessage("Q"), made, result("3", 1), HumanMessage("R")], FORMAT)
    assert (after.answered, after.calls) == (frozenset(), 0)
    assert to_prompt([HumanMessage("Q"), result("3", 7)], FORMAT).answered == frozenset()
