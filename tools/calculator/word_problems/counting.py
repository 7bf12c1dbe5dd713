"""Word problems about multiples, divisors, selections and orders."""

from toolken.tools.calculator.word_problems.wording import Scenario, different, part_of, sharing_factor, wholes

COUNTING: dict[str, tuple[Scenario, ...]] = {
    "lcm": (
        Scenario(
            ("lcm a b",),
            different(4, 60),
            (
                "One bus leaves every {a} minutes and another every {b} minutes; both leave together now.",
                "One lighthouse flashes every {a} seconds and another every {b}; they have just flashed together.",
                "{name} waters the ferns every {a} days and the cacti every {b} days, and did both today.",
                "Two bells ring every {a} and every {b} minutes; they ring together at noon.",
            ),
            (
                "After how long does that happen together again for the first time?",
                "How long is it until both happen at the same time again?",
            ),
        ),
        Scenario(
            ("lcm a b c",),
            different(4, 40, "abc"),
            (
                "Three runners need {a}, {b} and {c} minutes for a lap and start together.",
                "Three machines are serviced every {a}, {b} and {c} days, and all were serviced today.",
                "Three lamps blink every {a}, {b} and {c} seconds, and have just blinked together.",
            ),
            ("After how long do all three coincide again?", "When is the next time that all three coincide?"),
        ),
        Scenario(
            ("lcm a b",),
            different(4, 48),
            (
                "{food} come in packs of {a} and {things} in packs of {b}.",
                "Plates are sold in sets of {a} and cups in sets of {b}.",
            ),
            (
                "What is the smallest number of each that can be bought so that there are equally many of both?",
                "What is the least equal number of both that whole packs can give?",
            ),
        ),
        Scenario(
            ("lcm a b",),
            different(6, 999),
            ("",),
            (
                "What is the least common multiple of {a} and {b}?",
                "What is the lowest number that both {a} and {b} divide?",
                "Find the LCM of {a} and {b}.",
            ),
        ),
        Scenario(
            ("lcm a b c",),
            different(4, 400, "abc"),
            ("",),
            (
                "What is the least common multiple of {a}, {b} and {c}?",
                "Which is the smallest positive number divisible by {a}, {b} and {c}?",
            ),
        ),
    ),
    "gcd": (
        Scenario(
            ("gcd a b",),
            sharing_factor((4, 30), (2, 40)),
            (
                "{name} has {a} {food} and {b} {things} and makes identical gift bags, using everything up.",
                "A coach puts {a} juniors and {b} seniors into teams that are all made up alike, leaving nobody out.",
                "A florist has {a} roses and {b} tulips and ties identical bouquets with no flower left.",
            ),
            ("What is the largest number of them that can be made?", "How many can be made at most?"),
        ),
        Scenario(
            ("gcd a b",),
            sharing_factor((3, 60), (3, 50)),
            (
                "Two pieces of {material}, {a} cm and {b} cm long, are cut into equal pieces with nothing wasted.",
                "A floor of {a} cm by {b} cm is covered with equal square tiles, none of them cut.",
                "Two rolls of {material} measure {a} cm and {b} cm, and are cut into lengths that are all the same.",
            ),
            ("How long can each piece be at most?", "What is the greatest possible length of each?"),
        ),
        Scenario(
            ("gcd a b c",),
            sharing_factor((3, 40), (2, 60), "abc"),
            (
                "{name} packs {a} {things}, {b} {food} and {c} whistles into identical party bags, using everything.",
                "Sacks with {a}, {b} and {c} kg of grain are filled into bags of one size with nothing left over.",
            ),
            (
                "What is the greatest whole number that divides all three amounts equally?",
                "What is the largest number that goes into all three amounts?",
            ),
        ),
        Scenario(
            ("gcd a b",),
            sharing_factor((2, 90), (5, 99)),
            ("",),
            (
                "What is the greatest common divisor of {a} and {b}?",
                "What is the highest common factor of {a} and {b}?",
                "Find the GCD of {a} and {b}.",
                "Which is the largest number that divides both {a} and {b}?",
            ),
        ),
    ),
    "choose": (
        Scenario(
            ("choose a b",),
            part_of((5, 40), (2, 6)),
            (
                "A {group} of {b} is to be picked from {a} {people}.",
                "From {a} {people}, {b} are chosen for a {group} in which everyone has the same role.",
                "{name} takes {b} of {a} different {things} along on a trip.",
                "A pizzeria offers {a} toppings and {name} picks {b} different ones.",
                "Out of {a} numbered balls, {b} are drawn at once.",
            ),
            (
                "How many different selections are possible if the order does not matter?",
                "In how many ways can that be done, when order plays no part?",
                "How many combinations are there?",
            ),
        ),
        Scenario(
            ("choose a b",),
            part_of((4, 60), (2, 8)),
            ("",),
            (
                "In how many ways can you choose {b} things from {a}, ignoring the order?",
                "What is {a} choose {b}?",
                "How many subsets of {b} elements does a set of {a} elements have?",
                "How many combinations of {b} out of {a} are there?",
            ),
        ),
        Scenario(
            ("choose a b",),
            lambda rng: {"a": rng.randint(5, 60), "b": 2},
            (
                "At {place}, {a} {people} all shake hands, {b} at a time, every pair once.",
                "In a league of {a} clubs, {b} clubs meet in every match and each pair plays once.",
            ),
            ("How many such meetings are there?", "How many different pairs are that?"),
        ),
    ),
    "permutate": (
        Scenario(
            ("permutate a b",),
            part_of((5, 20), (2, 5)),
            (
                "In a race with {a} runners, the first {b} places are awarded.",
                "From {a} {people}, {b} are given different offices, one each.",
                "{name} hangs {b} of {a} different pictures in a row.",
                "A playlist of {b} different songs is made from {a} songs, and the sequence counts.",
            ),
            (
                "How many different orders are possible?",
                "In how many ways can that be done if the order matters?",
                "How many ordered arrangements are there?",
            ),
        ),
        Scenario(
            ("permutate a a",),
            wholes(a=(3, 12)),
            (
                "{name} lines up {a} different {things} on a shelf.",
                "{a} {people} stand in a queue.",
                "A baker arranges {a} different cakes in a row in the window.",
                "{a} speakers each give one talk, one after the other.",
            ),
            (
                "In how many different orders can they be placed?",
                "How many different orders are there for all of them?",
            ),
        ),
        Scenario(
            ("permutate a b",),
            part_of((4, 30), (2, 6)),
            ("",),
            (
                "In how many ways can {b} out of {a} things be arranged in order?",
                "How many permutations of {b} out of {a} objects are there?",
                "How many ordered arrangements of {b} different letters can be made from {a} different letters?",
            ),
        ),
    ),
}
"""Scenarios by the one operation that answers them."""
