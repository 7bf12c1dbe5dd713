"""Dates and clock times are read where a text names them in full."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolken.tools.moments import dates_in, impossible_dates_in, months_in, times_in


@given(
    st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    st.sampled_from(["%d %B %Y", "%B %d, %Y", "%Y-%m-%d", "%d.%m.%Y", "%d %b %Y"]),
)
def test_every_date_is_read_in_every_form(day: date, form: str) -> None:
    text = f"from {day.strftime(form)} on"
    assert [one.iso for one in dates_in(text)] == [day.isoformat()]
    assert impossible_dates_in(text) == []
    assert months_in(text) == []


@given(st.integers(0, 23), st.integers(0, 59))
def test_every_clock_time_is_read(hour: int, minute: int) -> None:
    iso = f"{hour:02d}:{minute:02d}"
    assert [one.iso for one in times_in(f"at {iso} sharp")] == [iso]
    half = f"{hour % 12 or 12}:{minute:02d} {'pm' if hour >= 12 else 'am'}"
    assert [one.iso for one in times_in(f"at {half}")] == [iso]


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("half past four in the afternoon", ["16:30"]),
        ("quarter to nine tonight", ["20:45"]),
        ("twenty past six in the morning", ["06:20"]),
        ("at noon, not midnight", ["12:00", "00:00"]),
        ("10 at night", ["22:00"]),
        ("12:45 to 13:45", ["12:45", "13:45"]),
        ("21:00-05:30", ["21:00", "05:30"]),
        ("3 nights, 2.5 kg, 25:00, from 3 to 12.5", []),
    ],
)
def test_a_text_has_times(text: str, times: list[str]) -> None:
    assert [one.iso for one in times_in(text)] == times


@pytest.mark.parametrize(
    ("text", "dates"),
    [
        ("2026-09-09/2026-09-11", ["2026-09-09", "2026-09-11"]),
        ("20.07.2026-31.07.2026", ["2026-07-20", "2026-07-31"]),
        ("the 3rd of June 2026", ["2026-06-03"]),
        ("30/06/2026", ["2026-06-30"]),
        ("3/4/2026", []),
        ("version 1.2.2026.7", []),
    ],
)
def test_a_text_has_dates(text: str, dates: list[str]) -> None:
    assert [one.iso for one in dates_in(text)] == dates


def test_dates_that_the_calendar_lacks_are_impossible() -> None:
    assert impossible_dates_in("from 31 April 2026 to 2026-02-30") == ["31 April 2026", "2026-02-30"]
