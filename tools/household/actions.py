"""The actions: the 25 of the published benchmark and four more, with their wording."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """One action of the simulator as a tool."""

    verb: str
    """The simulator's name."""
    tool: str
    """Name of the tool."""
    said: str
    """The sentence that reports the action; {0} and {1} are the objects."""
    description: str
    """What a user would ask for, in the words of a request."""


PUBLISHED = (
    Action(
        "DRINK",
        "drink",
        "You drink {0}.",
        "Drink something that is in your hand: have some water, a cup of coffee, a glass of milk.",
    ),
    Action(
        "FIND",
        "find",
        "You find {0}.",
        "Look for a thing and locate it, wherever in the home it is: find my phone, where is the remote control. "
        "Ends right beside it.",
    ),
    Action("SIT", "sit", "You sit down on {0}.", "Sit down and take a seat on a chair, a couch, a sofa or a bed."),
    Action(
        "GRAB",
        "grab",
        "You pick up {0}.",
        "Pick up, take or grab a thing and hold it in your hand: a book, a phone, a cup, the remote control.",
    ),
    Action(
        "WALK",
        "walk",
        "You walk to {0}.",
        "Go to a room or over to a thing. The first step of most requests, because you must be near a thing to use "
        "it: turn on the kitchen light, open the fridge, watch television.",
    ),
    Action(
        "SWITCHON",
        "switch_on",
        "You switch on {0}.",
        "Turn on, switch on or start a device that is near: a light, a lamp, the television, the computer, the tap.",
    ),
    Action(
        "TURNTO",
        "turn_to",
        "You turn to {0}.",
        "Turn to face a thing, so that you can look at it, point at it or watch it.",
    ),
    Action(
        "WATCH",
        "watch",
        "You watch {0}.",
        "Watch what is on a screen that you are facing: watch TV, watch a movie, watch a video on the computer.",
    ),
    Action(
        "PUTOBJBACK",
        "put_back",
        "You put {0} back.",
        "Put the thing in your hand back in the place you took it from, return it where it belongs.",
    ),
    Action("READ", "read", "You read {0}.", "Read a book, a novel, a letter or another text that is in your hand."),
    Action("OPEN", "open", "You open {0}.", "Open a thing that is near: the fridge, a cupboard, a drawer, a book."),
    Action("LIE", "lie", "You lie down on {0}.", "Lie down on a bed or a couch, to rest, to relax or to sleep."),
    Action("LOOKAT", "look_at", "You look at {0}.", "Look at a thing that you are facing, take a glance at it."),
    Action("DROP", "drop", "You let go of {0}.", "Drop the thing in your hand, let go of it right where you are."),
    Action("TYPE", "type", "You type on {0}.", "Type on a keyboard or a device: write an email, enter a password."),
    Action("POINTAT", "point_at", "You point at {0}.", "Point at a thing that you are facing."),
    Action("PULL", "pull", "You pull {0}.", "Pull a thing that is near towards you: pull out a chair."),
    Action(
        "TOUCH", "touch", "You touch {0}.", "Touch a thing that is near with your hand: pet the cat, feel a fabric."
    ),
    Action(
        "SWITCHOFF",
        "switch_off",
        "You switch off {0}.",
        "Turn off, switch off or shut down a device that is near: a light, a lamp, the television, the computer.",
    ),
    Action("RINSE", "rinse", "You rinse {0}.", "Rinse a thing that is near under water: rinse a plate, rinse a cup."),
    Action("CLOSE", "close", "You close {0}.", "Close or shut a thing that is near: the fridge, a cupboard, a window."),
    Action("PUSH", "push", "You push {0}.", "Push a thing that is near or press it: press a button, push a chair in."),
    Action(
        "RUN",
        "run",
        "You run to {0}.",
        "Run or hurry to a room or over to a thing, when the request is to be quick about it.",
    ),
    Action("WASH", "wash", "You wash {0}.", "Wash or clean a thing that is near: wash the dishes, clean the sink."),
    Action("PLUGIN", "plug_in", "You plug in {0}.", "Plug a device that is near into the socket, connect its power."),
)
"""The published 25, in the order of their toolkens."""

FURTHER = (
    Action("STANDUP", "stand_up", "You stand up.", "Stand up or get up from the seat or bed you are on."),
    Action(
        "PUTBACK",
        "put_on",
        "You put {0} on {1}.",
        "Put or place the thing in your hand on top of something: put the cup on the table.",
    ),
    Action(
        "PUTIN",
        "put_in",
        "You put {0} in {1}.",
        "Put the thing in your hand inside something open: put the milk in the fridge.",
    ),
    Action("PLUGOUT", "unplug", "You unplug {0}.", "Pull a device's plug out of the socket, disconnect its power."),
)
"""Actions that the published 25 lack: standing up, putting a thing on or in another one, and unplugging."""

BY_VERB = {action.verb: action for action in (*PUBLISHED, *FURTHER)}
_VERB_OF_TOOL = {action.tool: action.verb for action in BY_VERB.values()}


def verb_of(name: str) -> str:
    """Return the simulator's name of an action, given any of its names: "switch_on", "SwitchOn" or "[SWITCHON]"."""
    plain = name.strip().strip("[]")
    return _VERB_OF_TOOL.get(plain.lower().replace(" ", "_"), plain.upper().replace("_", "").replace(" ", ""))
