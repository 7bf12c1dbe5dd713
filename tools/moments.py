"""`dates_in` and `times_in`: dates and clock times that a text names in full, in ISO 8601."""

import re
from dataclasses import dataclass
from datetime import date

from toolken.tools.number_words import number_words_in

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = "|".join(f"{name[:3]}(?:{name[3:]})?" if len(name) > 3 else name for name in _MONTHS) + "|sept"
_DATE = re.compile(
    r"(?<![\w.])(?<![A-Za-z]-)(?:"
    r"(?P<iso>(?P<y1>\d{4})[-/.](?P<m1>\d{1,2})[-/.](?P<d1>\d{1,2}))"
    rf"|(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?(?: of)?[ .-]+(?P<m2>{_MONTH})\.?,?[ -]+(?P<y2>\d{{4}})"
    rf"|(?P<m3>{_MONTH})\.? (?P<d3>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<y3>\d{{4}})"
    r"|(?P<d4>\d{1,2})\.(?P<m4>\d{1,2})\.(?P<y4>\d{4})"
    r"|(?P<d5>1[3-9]|2\d|3[01])/(?P<m5>\d{1,2})/(?P<y5>\d{4})"
    r"|(?P<m6>\d{1,2})/(?P<d6>1[3-9]|2\d|3[01])/(?P<y6>\d{4})"
    r")(?!\w|\.\d|-\d{1,2}(?![\d.]))",
    re.IGNORECASE,
)
_MONTH_YEAR = re.compile(
    rf"(?<![\w-])(?:(?P<m>{_MONTH})\.?,? (?P<y>\d{{4}})|(?P<y2>\d{{4}})-(?P<m2>\d\d))(?![\w-])", re.I
)
_TIME = re.compile(
    r"(?<![\w:.])(?<![A-Za-z]-)(?P<h>\d{1,2})(?:(?P<sep>[:.h])(?P<m>[0-5]\d))?(?P<s>:[0-5]\d)?\s?(?P<half>[ap]\.?m\b\.?)?"
    r"(?![\w:]|\.\d)",
    re.IGNORECASE,
)
_SPOKEN = re.compile(
    r"(?<![:.\d])\b(?:(?P<part>half|quarter|twenty-five|twenty|ten|five|\d{1,2}(?= minutes))(?: minutes)? "
    r"(?P<side>past|to|after|before) )"
    r"(?P<hour>[a-z]+|\d{1,2})\b",
    re.IGNORECASE,
)
_OCLOCK = re.compile(
    r"(?<![:.\d])\b(?P<hour>[a-z]+|\d{1,2}) (?:o'?\s?clock|(?=(?:sharp|in the|tonight|at night)\b))", re.IGNORECASE
)
_NAMED = re.compile(r"\b(?:at )?(noon|midday|midnight)\b", re.IGNORECASE)
_SPOKEN_PAIR = re.compile(r"\b(?P<hour>[a-z]+) (?P<minute>fifteen|thirty|forty-five|forty five)\b", re.IGNORECASE)
_LATE = re.compile(
    r"\s*,?\s*(?:sharp )?(?:(?:in the|at) )?"
    r"(?P<when>afternoon|evening|night|tonight|morning|pm|p\.m\.|am|a\.m\.)(?!\w)",
    re.I,
)
_WHOLE_MINUTES = {"quarter": 15, "half": 30, "five": 5, "ten": 10, "twenty": 20, "twenty-five": 25}


@dataclass(frozen=True)
class Moment:
    """A date or a clock time in a text.

    Attributes
    ----------
    start, end
        Its span.
    iso
        `2026-05-09`, `16:30`; of a month `2026-05`.
    """

    start: int
    end: int
    iso: str


def dates_in(text: str) -> list[Moment]:
    """Return the dates of a text with a day, a month and a year; 3/4/2026 can be read in two ways and is left out.

    Examples
    --------
    >>> [one.iso for one in dates_in("from 9 May 2026 to June 1st, 2026, or 2026-06-30, not 30 Feb 2026")]
    ['2026-05-09', '2026-06-01', '2026-06-30']
    """
    found = []
    for match in _DATE.finditer(text):
        year, month, day = next(
            (match[f"y{at}"], match[f"m{at}"], match[f"d{at}"]) for at in range(1, 7) if match[f"y{at}"]
        )
        try:
            iso = date(int(year), _month(month), int(day)).isoformat()
        except ValueError:
            continue
        found.append(Moment(match.start(), match.end(), iso))
    return found


def impossible_dates_in(text: str) -> list[str]:
    """Return the dates of a text that the calendar does not have.

    Examples
    --------
    >>> impossible_dates_in("from 30 February 2026 to 2026-13-40, not 9 May 2026")
    ['30 February 2026', '2026-13-40']
    """
    sound = {one.start for one in dates_in(text)}
    return [match[0] for match in _DATE.finditer(text) if match.start() not in sound]


def months_in(text: str) -> list[Moment]:
    """Return the months of a text with their years, those of its dates left out.

    Examples
    --------
    >>> [one.iso for one in months_in("March 2026 and 9 May 2026")]
    ['2026-03']
    """
    dates = [(one.start, one.end) for one in dates_in(text)]
    found = []
    for match in _MONTH_YEAR.finditer(text):
        if any(start < match.end() and match.start() < end for start, end in dates):
            continue
        month = _month(match["m"] or match["m2"])
        if 1 <= month <= 12:
            found.append(Moment(match.start(), match.end(), f"{match['y'] or match['y2']}-{month:02d}"))
    return found


def times_in(text: str) -> list[Moment]:
    """Return the clock times of a text; a bare number is none.

    Examples
    --------
    >>> [one.iso for one in times_in("at 4 pm, 16:45, half past four in the afternoon, 7am, noon and 5 o'clock")]
    ['16:00', '16:45', '16:30', '07:00', '12:00', '05:00']
    """
    found: dict[int, Moment] = {}
    dates = [(one.start, one.end) for one in dates_in(text)]

    def add(start: int, end: int, hour: int | None, minute: int, half: str = "") -> None:
        inside = any(first < end and start < last for first, last in dates)
        taken = any(one.start < end and start < one.end for one in found.values())
        if hour is None or inside or taken:
            return
        if not half and (later := _LATE.match(text, end)) is not None:
            half, end = later["when"].lower(), later.end()
        if half.startswith("p") or half in ("afternoon", "evening", "tonight", "night"):
            hour += 12 if hour < 12 and not (half == "night" and hour < 5) else 0
        elif half and hour == 12:
            hour = 0
        if 0 <= hour <= 23:
            found[start] = Moment(start, end, f"{hour:02d}:{minute:02d}")

    for match in _SPOKEN.finditer(text):
        part = match["part"].lower()
        minutes = int(part) if part.isdigit() else _WHOLE_MINUTES[part]
        hour = _hour(match["hour"])
        if match["side"].lower() in ("to", "before") and hour is not None:
            hour, minutes = (hour - 1) % 24 or 12, 60 - minutes
        if minutes < 60:
            add(match.start(), match.end(), hour, minutes)
    for match in _NAMED.finditer(text):
        hour = 0 if match[1].lower() == "midnight" else 12
        found[match.start()] = Moment(match.start(), match.end(), f"{hour:02d}:00")
    for match in _OCLOCK.finditer(text):
        add(match.start(), match.end(), _hour(match["hour"]), 0)
    for match in _SPOKEN_PAIR.finditer(text):
        minute = {"fifteen": 15, "thirty": 30}.get(match["minute"].lower(), 45)
        add(match.start(), match.end(), _hour(match["hour"]), minute)
    for match in _TIME.finditer(text):
        half = (match["half"] or "").lower()
        if (
            half
            or (match["m"] and (match["sep"] in ":h" or _LATE.match(text, match.end())))
            or _LATE.match(text, match.end())
        ):
            add(match.start(), match.end(), int(match["h"]), int(match["m"] or 0), half)
    return [found[start] for start in sorted(found)]


def _month(name: str) -> int:
    return int(name) if name.isdigit() else 1 + [one[:3] for one in _MONTHS].index(name[:3].lower())


def _hour(word: str) -> int | None:
    """Return an hour from digits or a number word; None for another word."""
    if word.isdigit():
        return int(word)
    values = number_words_in(word)
    return int(values[0][2]) if len(values) == 1 and values[0][2] <= 23 else None
