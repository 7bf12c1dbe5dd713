"""Twenty everyday tools with small state in memory: the tools of `toolken demo`, and examples of descriptions.

Nothing leaves the process: no message is sent and no lamp is switched. Weather, buses and exchange rates are fixed
tables made up for the demo.
"""

import datetime
import random
from typing import Annotated, Literal

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import Field

from toolken.tools.grounding import Grounded

Currency = Literal["euros", "dollars", "pounds", "francs", "yen"]
Unit = Literal["kilometres", "miles", "metres", "feet", "centimetres", "inches"]

#: What one euro buys: fixed rates, not those of today.
RATES: dict[str, float] = {"euros": 1.0, "dollars": 1.1, "pounds": 0.85, "francs": 0.95, "yen": 160.0}
#: Lengths in metres.
METRES: dict[str, float] = {
    "kilometres": 1000.0,
    "miles": 1609.344,
    "metres": 1.0,
    "feet": 0.3048,
    "centimetres": 0.01,
    "inches": 0.0254,
}
#: Weather by city: made up, not a forecast.
WEATHER = {"oslo": "4 degrees and snow", "rome": "19 degrees and sun", "lisbon": "17 degrees and wind"}
#: Hours ahead of UTC by city, without daylight saving time.
UTC_OFFSETS = {"london": 0, "rome": 1, "oslo": 1, "new york": -5, "tokyo": 9, "sydney": 10}
#: Minutes past each hour at which a bus leaves, by stop: made up. Other stops have the last entry.
BUSES = {"market square": (5, 25, 45), "harbour": (10, 40), "": (0, 30)}

City = Annotated[str, Field(description="The city, such as Oslo.")]
Amount = Annotated[float, Field(ge=0, description="The amount to convert.")]


class Everyday:
    """The state of the everyday tools: timers, lamps, lists, notes and a calendar.

    Each public method is a tool; its docstring is the tool's description.
    """

    def __init__(self) -> None:
        self.timers: list[int] = []
        self.alarms: list[str] = []
        self.lamps: dict[str, str] = {}
        self.doors: set[str] = set()
        self.shopping: list[str] = []
        self.notes: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.messages: list[tuple[str, str]] = []
        self.degrees = 20.0

    def set_timer(self, minutes: Annotated[int, Field(ge=1, le=600, description="Minutes until it rings.")]) -> str:
        """Start a kitchen timer, a countdown that rings after some minutes."""
        self.timers.append(minutes)
        return f"a timer for {minutes} minutes"

    def set_alarm(
        self, time: Annotated[str, Field(pattern=r"^\d{2}:\d{2}$", description="Time of day, such as 06:30.")]
    ) -> str:
        """Set an alarm that wakes somebody up at a time of day."""
        self.alarms.append(time)
        return f"an alarm at {time}"

    def get_weather(self, city: City) -> str:
        """Tell the weather in a city: temperature, rain, snow, sun."""
        return WEATHER.get(city.lower(), f"nothing is known about the weather in {city}")

    def get_local_time(self, city: City) -> str:
        """Tell what time it is now in a city."""
        if city.lower() not in UTC_OFFSETS:
            return f"the time zone of {city} is not known"
        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=UTC_OFFSETS[city.lower()])
        return f"{now:%H:%M}"

    def convert_currency(
        self,
        amount: Amount,
        from_currency: Annotated[Currency, Field(description="Currency of the amount.")],
        to_currency: Annotated[Currency, Field(description="Currency to convert it to.")],
    ) -> str:
        """Convert an amount of money from one currency to another."""
        return f"{amount / RATES[from_currency] * RATES[to_currency]:.2f} {to_currency}"

    def convert_length(
        self,
        amount: Amount,
        from_unit: Annotated[Unit, Field(description="Unit of the amount.")],
        to_unit: Annotated[Unit, Field(description="Unit to convert it to.")],
    ) -> str:
        """Convert a length or distance from one unit to another, such as miles to kilometres."""
        return f"{amount * METRES[from_unit] / METRES[to_unit]:.2f} {to_unit}"

    def switch_light(
        self,
        room: Annotated[str, Field(description="The room, such as kitchen.")],
        state: Annotated[Literal["on", "off"], Field(description="Whether the light shall burn.")],
    ) -> str:
        """Turn the light in a room on or off."""
        self.lamps[room] = state
        return f"the light in the {room} is {state}"

    def set_heating(self, degrees: Annotated[float, Field(ge=5, le=30, description="Degrees Celsius.")]) -> str:
        """Set the thermostat of the heating to a temperature."""
        self.degrees = degrees
        return f"the heating at {degrees:g} degrees"

    def lock_door(self, door: Annotated[str, Field(description="The door, such as front door.")]) -> str:
        """Lock a door of the house."""
        self.doors.add(door)
        return f"the {door} is locked"

    def play_music(
        self, music: Annotated[str, Grounded(), Field(description="Song, artist or style, such as jazz.")]
    ) -> str:
        """Play a song, an artist or a style of music."""
        return f"playing {music}"

    def add_to_shopping_list(self, item: Annotated[str, Grounded(), Field(description="What to buy.")]) -> str:
        """Put something to buy on the shopping list."""
        self.shopping.append(item)
        return f"{item} on the shopping list"

    def show_shopping_list(self) -> str:
        """Read out what is on the shopping list."""
        return ", ".join(self.shopping) or "nothing"

    def take_note(self, text: Annotated[str, Grounded(), Field(description="What to write down.")]) -> str:
        """Write down a note or a thought to remember."""
        self.notes.append(text)
        return f"the note {text!r}"

    def find_notes(self, word: Annotated[str, Grounded(), Field(description="A word of the note.")]) -> str:
        """Search the notes for a word."""
        return "; ".join(note for note in self.notes if word.lower() in note.lower()) or f"no note with {word!r}"

    def add_to_calendar(
        self,
        title: Annotated[str, Grounded(), Field(description="What happens, such as dentist.")],
        day: Annotated[str, Field(description="The day, such as Friday.")],
    ) -> str:
        """Put an appointment or event on a day of the calendar."""
        self.events.append((day, title))
        return f"{title} on {day}"

    def show_calendar(self, day: Annotated[str, Field(description="The day, such as Friday.")]) -> str:
        """Tell which appointments the calendar has on a day."""
        found = [title for one, title in self.events if one.lower() == day.lower()]
        return ", ".join(found) or f"nothing on {day}"

    def send_message(
        self,
        recipient: Annotated[str, Field(description="Name of the person.")],
        text: Annotated[str, Grounded(), Field(description="What the message says.")],
    ) -> str:
        """Send a text message to a person."""
        self.messages.append((recipient, text))
        return f"{text!r}, sent to {recipient}"

    def get_days_until(self, date: Annotated[datetime.date, Field(description="The date, such as 2030-12-24.")]) -> str:
        """Count the days from today until a date."""
        days = (date - datetime.date.today()).days
        return "1 day" if days == 1 else f"{days} days"

    def get_next_bus(self, stop: Annotated[str, Field(description="The bus stop, such as Market Square.")]) -> str:
        """Tell when the next bus leaves from a stop."""
        now = datetime.datetime.now()
        minutes = BUSES.get(stop.lower(), BUSES[""])
        return f"in {min((minute - now.minute) % 60 for minute in minutes)} minutes"

    def roll_dice(self, sides: Annotated[int, Field(ge=2, le=100, description="Sides of the die.")] = 6) -> str:
        """Roll a die and tell the number on top."""
        return str(random.randint(1, sides))


#: Names of the tools, in the order of the class.
NAMES = tuple(name for name in vars(Everyday) if not name.startswith("_"))


def everyday_tools(state: Everyday | None = None) -> list[BaseTool]:
    """Return the twenty tools over a state, by default a new one.

    Examples
    --------
    >>> state = Everyday()
    >>> tools = {one.name: one for one in everyday_tools(state)}
    >>> tools["set_timer"].invoke({"minutes": 10})
    'a timer for 10 minutes'
    >>> state.timers
    [10]
    """
    methods = state or Everyday()
    return [StructuredTool.from_function(getattr(methods, name)) for name in NAMES]
