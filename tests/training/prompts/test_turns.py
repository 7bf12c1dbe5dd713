"""Turns of a conversation."""

import pytest

from toolken.training.prompts.turns import Turn, TurnCall, as_read

ASKED, MORE = Turn("user", "How warm is it in Oslo?"), Turn("user", "Thanks")
CALL = Turn("assistant", calls=(TurnCall("weather", {"city": "Oslo"}),))
RESULT = Turn("tool", "12 degrees", name="weather")
SAID = Turn("assistant", "It is 12 degrees.")


@pytest.mark.parametrize(
    ("turns", "read"),
    [
        ([ASKED], [ASKED]),
        ([ASKED, CALL, RESULT], [ASKED, CALL, RESULT]),
        ([ASKED, CALL, RESULT, MORE], [ASKED, Turn("assistant", "12 degrees"), MORE]),
        ([ASKED, CALL, RESULT, SAID, MORE], [ASKED, SAID, MORE]),
        ([ASKED, CALL, RESULT, RESULT, MORE], [ASKED, Turn("assistant", "12 degrees\n12 degrees"), MORE]),
        ([ASKED, Turn("assistant", "One moment.", CALL.calls), RESULT, MORE], None),
        ([ASKED, SAID, MORE, CALL, RESULT], [ASKED, SAID, MORE, CALL, RESULT]),
        ([Turn("system", "Be kind."), ASKED], [Turn("system", "Be kind."), ASKED]),
        ([], []),
    ],
)
def test_earlier_calls_are_read_as_their_results(turns: list[Turn], read: list[Turn] | None) -> None:
    expected = (
        read if read is not None else [ASKED, Turn("assistant", "One moment."), Turn("assistant", "12 degrees"), MORE]
    )
    assert as_read(turns) == expected
