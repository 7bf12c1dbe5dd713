"""The parts of a word problem: the scenario, the values of its slots, and the numbers drawn for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

Numbers = Mapping[str, int | str]
Draw = Callable[[Random], Numbers]


@dataclass(frozen=True)
class Scenario:
    """A kind of word problem: any story with any question after it, over numbers drawn together.

    Parameters
    ----------
    steps
        The calls in order, as `"add a b"`: the operation, then its operands in the order the operation is spoken. An
        operand is a slot of the text, or `#1` for the first call's result.
    draw
        Draws the numbers of the slots `{a}`, `{b}`, … An int may be written with thousands separators; a str is
        written as it is.
    stories, asks
        Texts with slots for the numbers and for the entries of `WORDS`.
    """

    steps: tuple[str, ...]
    draw: Draw
    stories: tuple[str, ...]
    asks: tuple[str, ...]


WORDS: dict[str, tuple[str, ...]] = {
    "name": (
        *("Amara", "Ben", "Chiara", "Dmitri", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kavya", "Liam"),
        *("Mei", "Nadia", "Omar", "Priya", "Quentin", "Rosa", "Sven", "Tariq", "Uma", "Viktor", "Wanda", "Yusuf"),
    ),
    "other": ("Zoe", "Mateo", "Aiko", "Leila", "Pavel", "Ruth", "Samir", "Tess", "Bruno", "Freya", "Isaac", "Noor"),
    "things": (
        *("stamps", "marbles", "seashells", "stickers", "postcards", "coins", "buttons", "beads", "badges", "pencils"),
        *("books", "comics", "photos", "magnets", "candles", "balloons", "toy cars", "trading cards", "notebooks"),
    ),
    "food": (
        *("apples", "oranges", "muffins", "cookies", "plums", "eggs", "bagels", "pears", "lemons", "cupcakes"),
        *("rolls", "peaches", "sandwiches", "dumplings", "figs", "walnuts", "tomatoes", "carrots", "mangoes"),
    ),
    "goods": (
        *("mugs", "lamps", "chairs", "T-shirts", "umbrellas", "backpacks", "pillows", "scarves", "clocks", "radios"),
        *("vases", "blankets", "keyboards", "bicycles", "frying pans", "hats", "towels", "board games", "cameras"),
    ),
    "people": ("students", "visitors", "passengers", "members", "guests", "employees", "players", "volunteers"),
    "place": (
        *("the market", "a warehouse", "the school fair", "a bakery", "the harbour", "a museum shop", "the library"),
        *("a farm stand", "the stadium", "a summer camp", "the town hall", "a hardware store", "the train station"),
    ),
    "container": ("boxes", "crates", "bags", "baskets", "cartons", "trays", "packets", "bins"),
    "group": ("committee", "team", "delegation", "jury", "study group", "working party", "panel", "task force"),
    "material": ("rope", "ribbon", "fabric", "wire", "pipe", "fencing", "string", "cable"),
    "liquid": ("water", "juice", "milk", "paint", "oil", "lemonade", "soup", "syrup"),
    "colour": ("red", "blue", "green", "yellow", "white", "purple"),
    "shade": ("black", "orange", "silver", "pink", "brown", "golden"),
}
"""The words of each slot; those of two different slots are never the same."""

OPENINGS = ("", "", "", "", "", "", "Quick question: ", "Here is a problem. ", "Please help me with this. ", "Hi! ")


def wholes(**ranges: tuple[int, int]) -> Draw:
    """Draw each slot independently: `wholes(a=(2, 9))`, ends included."""

    def draw(rng: Random) -> Numbers:
        return {slot: rng.randint(low, high) for slot, (low, high) in ranges.items()}

    return draw


def falling(low: int, high: int, slots: str = "ab") -> Draw:
    """Draw the first slot larger than all the others together."""

    def draw(rng: Random) -> Numbers:
        parts = [rng.randint(low, max(low, high // len(slots))) for _ in slots[1:]]
        return {slots[0]: sum(parts) + rng.randint(low, high), **dict(zip(slots[1:], parts, strict=True))}

    return draw


def decimals(places: int, falls: bool = False, **ranges: tuple[float, float]) -> Draw:
    """Draw decimals with `places` digits after the point; the largest goes first where `falls`."""

    def draw(rng: Random) -> Numbers:
        values = [rng.uniform(low, high) for low, high in ranges.values()]
        if falls:
            values.sort(reverse=True)
            values[0] += 10**-places  # never equal
        return {slot: f"{value:.{places}f}" for slot, value in zip(ranges, values, strict=True)}

    return draw


def priced(a: tuple[int, int], price: tuple[float, float]) -> Draw:
    """Draw a whole `a` and a price `p` with cents."""

    def draw(rng: Random) -> Numbers:
        return {"a": rng.randint(*a), "p": f"{rng.uniform(*price):.2f}"}

    return draw


def dividing(divisor: tuple[int, int], quotient: tuple[int, int]) -> Draw:
    """Draw `b`, and `a` as a whole multiple of it."""

    def draw(rng: Random) -> Numbers:
        b = rng.randint(*divisor)
        return {"a": b * rng.randint(*quotient), "b": b}

    return draw


def cents_each(divisor: tuple[int, int], price: tuple[float, float]) -> Draw:
    """Draw `b`, and `a` as the cost of b things at a price that is whole in cents."""

    def draw(rng: Random) -> Numbers:
        b = rng.randint(*divisor)
        return {"a": f"{b * round(rng.uniform(*price) * 100) / 100:.2f}", "b": b}

    return draw


def not_dividing(dividend: tuple[int, int], divisor: tuple[int, int]) -> Draw:
    """Draw `a` and a smaller `b` that leaves a remainder."""

    def draw(rng: Random) -> Numbers:
        b = rng.randint(*divisor)
        a = rng.randint(max(dividend[0], b + 1), max(dividend[1], 2 * b))
        return {"a": a + 1 if a % b == 0 else a, "b": b}

    return draw


def sharing_factor(factor: tuple[int, int], part: tuple[int, int], slots: str = "ab") -> Draw:
    """Draw different multiples of one factor."""

    def draw(rng: Random) -> Numbers:
        common = rng.randint(*factor)
        parts = rng.sample(range(part[0], part[1] + 1), len(slots))
        return {slot: common * value for slot, value in zip(slots, parts, strict=True)}

    return draw


def different(low: int, high: int, slots: str = "ab") -> Draw:
    """Draw different whole numbers."""

    def draw(rng: Random) -> Numbers:
        return dict(zip(slots, rng.sample(range(low, high + 1), len(slots)), strict=True))

    return draw


def part_of(total: tuple[int, int], part: tuple[int, int]) -> Draw:
    """Draw `a`, and `b` smaller than it."""

    def draw(rng: Random) -> Numbers:
        a = rng.randint(*total)
        return {"a": a, "b": rng.randint(part[0], min(part[1], a - 1))}

    return draw
