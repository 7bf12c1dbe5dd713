"""Word problems of two or three calls, in which a later call uses an earlier result."""

from random import Random

from toolken.tools.calculator.word_problems.wording import Draw, Numbers, Scenario, decimals, different, falling, wholes


def _payment(rng: Random) -> Numbers:
    a, cents = rng.randint(2, 12), rng.randrange(100, 2000, 5)
    paid = 10 * (a * cents // 1000 + rng.randint(1, 3))
    return {"a": a, "p": f"{cents / 100:.2f}", "b": paid}


def _shared_product(rng: Random) -> Numbers:
    a, each, c = rng.randint(2, 12), rng.randint(2, 12), rng.randint(2, 9)
    return {"a": a * c, "b": each, "c": c}


def _average(slots: str) -> Draw:
    def draw(rng: Random) -> Numbers:
        values = [rng.randint(10, 900) for _ in slots]
        values[0] += -sum(values) % len(slots)
        return {**dict(zip(slots, values, strict=True)), "n": len(slots)}

    return draw


def _pooled(rng: Random) -> Numbers:
    c, each = rng.randint(2, 20), rng.randint(4, 90)
    a = rng.randint(2, c * each - 2)
    return {"a": a, "b": c * each - a, "c": c}


def _growth(rng: Random) -> Numbers:
    return {"f": f"1.{rng.randint(1, 12):02d}", "n": rng.randint(2, 20), "p": 100 * rng.randint(5, 900)}


def _common_departures(rng: Random) -> Numbers:
    a, b = rng.sample((4, 5, 6, 8, 9, 10, 12, 15, 18, 20), 2)
    return {"a": a, "b": b, "c": 360 * rng.randint(1, 9)}


def _identical_bags(rng: Random) -> Numbers:
    common = rng.randint(3, 30)
    a, b = rng.sample(range(2, 30), 2)
    return {"a": common * a, "b": common * b}


def _two_groups(rng: Random) -> Numbers:
    a, b = rng.randint(3, 15), rng.randint(3, 15)
    return {"a": a, "b": b, "c": rng.randint(2, min(6, a, b)), "d": rng.randint(2, min(4, a, b))}


def _perfect_total(rng: Random) -> Numbers:
    side = rng.randint(5, 200)
    b = rng.randint(1, side * side - 1)
    return {"a": side * side - b, "b": b}


def _same_area(rng: Random) -> Numbers:
    b = rng.randint(2, 30)
    return {"a": b * rng.randint(2, 9) ** 2, "b": b}


def _left_over(rng: Random) -> Numbers:
    a, each = rng.randint(3, 40), rng.randint(3, 40)
    c = rng.choice([size for size in range(5, 30) if a * each % size])
    return {"a": a, "b": each, "c": c}


def _unit_price(rng: Random) -> Numbers:
    a, b = rng.sample(range(2, 30), 2)
    return {"a": a, "p": f"{a * rng.randrange(20, 2000, 5) / 100:.2f}", "b": b}


def _removed_then_shared(rng: Random) -> Numbers:
    b, c = rng.randint(3, 90), rng.randint(2, 12)
    return {"a": b + c * rng.randint(3, 60), "b": b, "c": c}


def _over_capacity(rng: Random) -> Numbers:
    b = rng.randint(4, 60)
    a = b * rng.randint(3, 60) + rng.randint(1, b - 1)
    return {"a": a, "b": b}


def _continuous_growth(rng: Random) -> Numbers:
    a = 100 * rng.randint(2, 90)
    return {"a": a, "b": a * rng.randint(2, 9), "r": f"0.0{rng.randint(1, 9)}"}


def _large_power(rng: Random) -> Numbers:
    a, n = rng.randint(2, 9), rng.randint(3, 9)
    return {"a": a, "n": n, "b": rng.choice([b for b in range(10, 100) if a**n % b])}


MULTI_STEP: tuple[Scenario, ...] = (
    Scenario(
        ("multiply a p", "subtract b #1"),
        _payment,
        (
            "{name} buys {a} {goods} at ${p} each and pays with ${b}.",
            "At {place} {name} takes {a} {food} at ${p} each and hands over ${b}.",
            "Tickets cost ${p} each; {name} orders {a} and gives the clerk ${b}.",
        ),
        ("How much change is due?", "How much money comes back?", "How much of the money is left?"),
    ),
    Scenario(
        ("add a b", "subtract #1 c"),
        lambda rng: {"a": (a := rng.randint(5, 900)), "b": (b := rng.randint(5, 900)), "c": rng.randint(2, a + b - 1)},
        (
            "{name} had {a} {things}, was given {b} more and then lost {c}.",
            "{a} {colour} and {b} {shade} {things} were mixed, and then {c} of them were sold.",
            "On Monday {a} and on Tuesday {b} {food} were baked; by Wednesday {c} of all these were eaten.",
        ),
        ("How many are left now?", "How many remain in the end?"),
    ),
    Scenario(
        ("subtract a b", "add #1 c"),
        falling(6, 400, "abc"),
        (
            "A bus carried {a} {people}; at one stop {b} got off and {c} got on.",
            "{name} had {a} {things}, gave {b} to {other} and later found {c} more.",
            "A shop had {a} {goods}, sold {b} and received {c} new ones.",
        ),
        ("How many are there afterwards?", "What is the number now?"),
    ),
    Scenario(
        ("multiply a b", "divide #1 c"),
        _shared_product,
        (
            "{name} has {a} {container} of {b} {food} each and shares all of them equally among {c} friends.",
            "{a} packs with {b} {things} each are opened and divided evenly between {c} children.",
            "{a} teams of {b} {people} come together and are split into {c} groups of equal size.",
        ),
        ("How many are there for each?", "How many does that give for each one?"),
    ),
    Scenario(
        ("multiply a b", "multiply c d", "add #1 #2"),
        wholes(a=(2, 40), b=(2, 60), c=(2, 40), d=(2, 60)),
        (
            "{name} has {a} {container} with {b} {things} each and {other} has {c} with {d} each.",
            "A hall has {a} rows of {b} seats downstairs and {c} rows of {d} seats upstairs.",
            "A bakery fills {a} trays with {b} {food} each and {c} trays with {d} each.",
        ),
        ("How many is that altogether?", "What is the total number?"),
    ),
    Scenario(
        ("multiply a b", "multiply c d", "subtract #1 #2"),
        wholes(a=(20, 60), b=(20, 60), c=(2, 19), d=(2, 19)),
        (
            "{name} packs {a} {container} with {b} {things} each, {other} packs {c} with {d} each.",
            "One field has {a} rows of {b} trees, another {c} rows of {d} trees.",
        ),
        ("How many more does the first have than the second?", "By how many is the first total larger?"),
    ),
    Scenario(
        ("add a b c", "divide #1 n"),
        _average("abc"),
        (
            "On {n} days {name} counted {a}, {b} and {c} birds.",
            "{name} scored {a}, {b} and {c} points in {n} games.",
            "The {n} classes collected {a}, {b} and {c} kg of paper.",
        ),
        ("What is the average?", "What is the mean of these numbers?"),
    ),
    Scenario(
        ("add a b c d", "divide #1 n"),
        _average("abcd"),
        (
            "In {n} weeks a shop sold {a}, {b}, {c} and {d} {goods}.",
            "{n} villages have {a}, {b}, {c} and {d} inhabitants.",
        ),
        ("How many is that on average?", "What is the average number?"),
    ),
    Scenario(
        ("add a b", "divide #1 c"),
        _pooled,
        (
            "{name} has {a} {things} and {other} has {b}; they put them together and fill {c} {container} evenly.",
            "{a} women and {b} men come to {place} and are split into {c} groups of equal size.",
            "A winner gets ${a} and a runner-up ${b}; they add the two and split the sum between {c} charities.",
            "Two cans with {a} and {b} litres of {liquid} are poured together into {c} equal jugs.",
        ),
        ("How many or how much is that for each one?", "What does each one get?", "How much is in each one?"),
    ),
    Scenario(
        ("power f n", "multiply p #1"),
        _growth,
        (
            "{name} invests ${p}, and every year the amount is multiplied by {f}.",
            "A company earned ${p}, and its earnings are multiplied by {f} each year.",
            "A house is worth ${p} and its value is multiplied by {f} every year.",
        ),
        ("How many dollars is it after {n} years?", "What is the amount {n} years later?"),
    ),
    Scenario(
        ("lcm a b", "divide c #1"),
        _common_departures,
        (
            "Two trams leave the depot every {a} and every {b} minutes, together at first.",
            "Two alarms ring every {a} and every {b} minutes and start together.",
            "Two fountains are switched on every {a} and every {b} minutes, at the start both at once.",
        ),
        (
            "How many times does that happen together again within {c} minutes?",
            "In the following {c} minutes, how often do they coincide again?",
        ),
    ),
    Scenario(
        ("lcm a b", "subtract #1 c"),
        lambda rng: {**different(5, 40)(rng), "c": rng.randint(1, 4)},
        (
            "A whistle blows every {a} minutes and a horn every {b} minutes; {c} minutes ago they sounded together.",
            "Two comets in a game return every {a} and every {b} rounds, and {c} rounds ago both were there.",
        ),
        (
            "How long is it from now until that happens again?",
            "How many more must pass until both come together again?",
        ),
    ),
    Scenario(
        ("gcd a b", "divide a #1"),
        _identical_bags,
        (
            "{name} divides {a} {food} and {b} {things} into as many identical bags as possible, using everything.",
            "{a} {things} and {b} {food} are made into as many equal gift sets as possible with nothing left over.",
            "A scout camp of {a} children and {b} adults forms as many identical groups as possible, all taking part.",
        ),
        ("How many of the first kind are in each?", "How many of the first kind does each one get?"),
    ),
    Scenario(
        ("add a b", "choose #1 c"),
        _two_groups,
        (
            "A {group} of {c} is picked from {a} women and {b} men.",
            "From {a} {colour} and {b} {shade} tickets, all numbered, {c} are drawn at once.",
            "{name} owns {a} novels and {b} comics, all different, and takes {c} of them on a trip.",
        ),
        ("How many selections are possible, the order being of no interest?", "How many combinations are there?"),
    ),
    Scenario(
        ("choose a c", "choose b d", "multiply #1 #2"),
        _two_groups,
        (
            "A {group} needs {c} of {a} women and {d} of {b} men.",
            "{name} packs {c} of {a} different shirts and {d} of {b} different hats.",
            "A menu is made of {c} of {a} starters and {d} of {b} desserts.",
        ),
        (
            "How many different choices are possible in all, ignoring order?",
            "How many ways are there to pick both?",
        ),
    ),
    Scenario(
        ("add a b", "permutate #1 c"),
        _two_groups,
        (
            "In a race of {a} girls and {b} boys the first {c} places are awarded.",
            "{name} has {a} {colour} and {b} {shade} pictures, all different, and hangs {c} of them in a row.",
        ),
        ("In how many different orders can that end?", "How many ordered arrangements are possible?"),
    ),
    Scenario(
        ("permutate a c", "multiply #1 b"),
        _two_groups,
        (
            "From {a} runners the first {c} places are filled in order, and one of {b} judges signs the list.",
            "{c} of {a} different books are put in order on a shelf, and the shelf is painted in one of {b} colours.",
        ),
        ("How many different outcomes are there in total?", "In how many ways can both be done together?"),
    ),
    Scenario(
        ("add a b", "sqrt #1"),
        _perfect_total,
        (
            "A square garden consists of {a} square metres of lawn and {b} square metres of flowers.",
            "{name} forms one full square out of {a} {colour} and {b} {shade} tiles of one square metre.",
        ),
        ("How long is a side of the square?", "What is the length of one side of the square?"),
    ),
    Scenario(
        ("multiply a b", "sqrt #1"),
        _same_area,
        (
            "A square field has the same area as a rectangular one of {a} m by {b} m.",
            "A rectangle {a} m long and {b} m wide is replaced by a square of equal area.",
        ),
        ("How long is a side of the square?", "What is the side length of the square?"),
    ),
    Scenario(
        ("sqrt a", "multiply #1 p"),
        lambda rng: {"a": rng.randint(4, 90) ** 2, "p": rng.randint(3, 60)},
        (
            "A square plot covers {a} square metres, and a fence along one of its sides costs ${p} per metre.",
            "{name} edges one side of a square terrace of {a} square metres with stones at ${p} per metre.",
        ),
        ("What does that one side cost?", "How many dollars is that for the one side?"),
    ),
    Scenario(
        ("multiply a b", "remainder #1 c"),
        _left_over,
        (
            "{a} {container} with {b} {things} each are emptied, and all go into albums of {c}, full ones only.",
            "{name} has {a} packs of {b} {food} and arranges all of them on plates of {c}, full plates only.",
        ),
        ("How many are left over?", "How many do not fill another one?"),
    ),
    Scenario(
        ("add a b", "remainder #1 c"),
        lambda rng: {"a": 5 * rng.randint(9, 400), "b": 5 * rng.randint(9, 400) + 1, "c": 5 * rng.randint(1, 8)},
        (
            "{a} {colour} and {b} {shade} {things} are mixed and packed into {container} of {c}, full ones only.",
            "{a} girls and {b} boys line up together in full rows of {c}.",
        ),
        ("How many are left over?", "How many remain after as many full ones as possible?"),
    ),
    Scenario(
        ("remainder a b", "subtract b #1"),
        _over_capacity,
        (
            "{name} fills {a} {things} into {container} of {b}, and the last one is not full.",
            "{a} {people} take seats at tables for {b}, and the last table is not full.",
        ),
        ("How many more are needed to fill the last one?", "How many are missing to make the last one full?"),
    ),
    Scenario(
        ("divide p a", "multiply #1 b"),
        _unit_price,
        (
            "{a} {goods} cost ${p}, all at the same price.",
            "{name} pays ${p} for {a} kilos of cheese.",
            "{a} hours of work bring {name} ${p}, at a fixed wage.",
        ),
        ("How much is it for {b}?", "At the same rate, what do {b} come to?"),
    ),
    Scenario(
        ("subtract a b", "divide #1 c"),
        _removed_then_shared,
        (
            "{name} keeps {b} of {a} {things} and shares the rest equally among {c} friends.",
            "Of {a} {food}, {b} are thrown away and the others packed evenly into {c} {container}.",
        ),
        ("How many are there for each?", "How many does each one get?"),
    ),
    Scenario(
        ("subtract a b", "multiply #1 c"),
        lambda rng: {**falling(4, 80)(rng), "c": rng.randint(2, 60)},
        (
            "Of {a} {goods}, {b} were broken; the others were sold at ${c} each.",
            "{name} grew {a} plants, gave {b} away and sold the rest at ${c} each.",
        ),
        ("How many dollars came in?", "How much money did the sale bring?"),
    ),
    Scenario(
        ("divide b a", "ln #1", "divide #2 r"),
        _continuous_growth,
        (
            "A population grows continuously at a yearly rate of {r} from {a} to {b}.",
            "Savings of ${a} grow with continuous interest at a yearly rate of {r} until they reach ${b}.",
        ),
        ("How many years does that take?", "After how many years is that reached?"),
    ),
    Scenario(
        ("divide a b", "ln #1"),
        falling(20, 9000),
        ("", "{name} studies continuous growth."),
        (
            "What is the natural logarithm of the quotient of {a} and {b}?",
            "If e^x equals {a} divided by {b}, what is x?",
        ),
    ),
    Scenario(
        ("multiply a b", "log #1"),
        wholes(a=(12, 900), b=(12, 900)),
        ("", "{name} multiplies {a} by {b}."),
        (
            "What is the base ten logarithm of the product of {a} and {b}?",
            "To what power must ten be raised to give {a} times {b}?",
        ),
    ),
    Scenario(
        ("divide a b", "log #1", "multiply #2 c"),
        lambda rng: {**falling(5, 9000)(rng), "c": 10},
        (
            "A sound has an intensity of {a} units and the reference is {b} units; the level in decibels is {c} times "
            "the common logarithm of their ratio.",
            "An amplifier turns a power of {b} mW into {a} mW; the gain is {c} times the base ten logarithm of output "
            "over input.",
        ),
        ("How many decibels is that?", "What is the value in decibels?"),
    ),
    Scenario(
        ("power a n", "subtract #1 b"),
        lambda rng: {"a": rng.randint(3, 9), "n": rng.randint(3, 7), "b": rng.randint(5, 26)},
        (
            "A code has {n} places with any of {a} digits in each place, and {b} of all these codes are not allowed.",
            "A colony of one cell becomes {a} times as large in each of {n} hours, and then {b} cells die.",
        ),
        ("How many are left?", "How many remain?"),
    ),
    Scenario(
        ("power a n", "remainder #1 b"),
        _large_power,
        ("", "{name} does clock arithmetic."),
        (
            "What is the remainder when {a} to the power of {n} is divided by {b}?",
            "What is {a}^{n} modulo {b}?",
        ),
    ),
    Scenario(
        ("multiply a b c", "subtract #1 d"),
        lambda rng: {
            "a": rng.randint(3, 20),
            "b": rng.randint(3, 20),
            "c": rng.randint(3, 20),
            "d": rng.randint(2, 26),
        },
        (
            "There are {a} shelves with {b} {container} each and {c} {things} in every one; {d} {things} are broken.",
            "{a} coaches make {b} trips each with {c} {people} on every trip, but {d} seats stay empty in all.",
        ),
        ("How many are left without those?", "What is the number without these?"),
    ),
    Scenario(
        ("add a b", "multiply #1 p"),
        lambda rng: {**wholes(a=(2, 90), b=(2, 90))(rng), "p": f"{rng.uniform(1, 40):.2f}"},
        (
            "A group of {a} adults and {b} children pays ${p} for each person.",
            "{name} orders {a} {colour} and {b} {shade} {goods} at ${p} each.",
        ),
        ("How many dollars is that in all?", "What is the total price?"),
    ),
    Scenario(
        ("multiply a b", "add #1 c"),
        decimals(1, a=(2, 20), b=(2, 20), c=(2, 60)),
        (
            "{name} covers a wall of {a} m by {b} m with paint, and then another {c} square metres.",
            "A rectangular terrace of {a} m by {b} m is enlarged by {c} square metres.",
        ),
        ("How much is the total?", "What does that make altogether?"),
    ),
)
"""Kinds of word problems with two or three calls; together they use every operation."""
