"""The prior that comes with toolken for the embedded LM."""

from toolken import FrozenLM, ToolkenChatModel
from toolken.tools.everyday import everyday_tools
from toolken.training.prior.shipped import shipped_prior

#: Requests for the everyday tools, in words that their descriptions do not have.
ASKED = (
    ("wake me at half past six", "set_alarm"),
    ("tell me when ten minutes are over", "set_timer"),
    ("is it raining in Bergen?", "get_weather"),
    ("what time is it in Tokyo", "get_local_time"),
    ("how many dollars do I get for 80 pounds", "convert_currency"),
    ("it's dark in the hall, lights on please", "switch_light"),
    ("make it 21 degrees in here", "set_heating"),
    ("put on some Miles Davis", "play_music"),
    ("we need butter", "add_to_shopping_list"),
    ("text Anna that I am on my way", "send_message"),
    ("when does the bus leave from Main Street", "get_next_bus"),
    ("throw a 20-sided die", "roll_dice"),
)
NOT_ASKED = (
    "Thank you very much!",
    "Hi, how are you?",
    "Why do leaves fall in autumn?",
    "Don't turn off the light in the kitchen.",
    "How do I set an alarm?",
    "What would happen if I locked the front door?",
    '"Play some jazz", she said, and left.',
    "You are a great help.",
)


def test_the_embedded_lm_has_a_prior_with_a_card(embedded_lm: FrozenLM) -> None:
    prior = shipped_prior(embedded_lm)
    assert prior is not None
    assert prior.lm_fingerprint == embedded_lm.fingerprint
    licences = {source.rsplit(", ", 1)[1] for source in prior.card["sources"]}
    assert licences == {"Apache-2.0", "MIT"}
    assert "test" not in prior.card["domains"].values()


def test_another_lm_has_none(tiny_lm: FrozenLM) -> None:
    assert shipped_prior(tiny_lm) is None


def test_everyday_requests_find_their_tool_and_others_are_declined(embedded_lm: FrozenLM) -> None:
    model = ToolkenChatModel(lm=embedded_lm, missing="write", max_tokens=40).bind_tools(everyday_tools())
    calls = [[call["name"] for call in model.invoke(text).tool_calls] for text, _ in ASKED]
    right = sum(made == [name] for made, (_, name) in zip(calls, ASKED, strict=True))
    declined = sum(not model.invoke(text).tool_calls for text in NOT_ASKED)
    assert right >= len(ASKED) - 2, calls
    assert declined >= len(NOT_ASKED) - 1
