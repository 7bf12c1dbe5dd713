"""Word problems about repeated multiplication, square roots and logarithms."""

from toolken.tools.calculator.word_problems.wording import Scenario, decimals, wholes

GROWTH: dict[str, tuple[Scenario, ...]] = {
    "power": (
        Scenario(
            ("power a b",),
            wholes(a=(2, 9), b=(3, 12)),
            (
                "A colony of bacteria grows to {a} times its size every hour.",
                "Each message is passed on so that the number of readers becomes {a} times as large every day.",
                "A video's views are multiplied by {a} in every single period.",
            ),
            (
                "By what factor has the number grown after {b} such periods?",
                "How many times the start is it after {b} of these steps?",
            ),
        ),
        Scenario(
            ("power a b",),
            wholes(a=(2, 26), b=(2, 7)),
            (
                "A code has {b} places and any of {a} symbols can stand in each place, repeats allowed.",
                "{name} answers a quiz of {b} questions with {a} choices each.",
                "A wheel with {a} fields is spun {b} times, and the results are written down one after the other.",
            ),
            ("How many different outcomes are possible?", "How many different results can there be?"),
        ),
        Scenario(
            ("power a b",),
            lambda rng: {"a": f"1.{rng.randint(1, 15):02d}", "b": rng.randint(3, 30)},
            (
                "Prices go up every year by a factor of {a}.",
                "A town's population is multiplied by {a} each year.",
                "An investment is multiplied by {a} every year.",
            ),
            ("By what factor has it grown after {b} years?", "What is the growth factor over {b} years?"),
        ),
        Scenario(
            ("power a b",),
            wholes(a=(2, 40), b=(2, 9)),
            ("",),
            (
                "What is {a} to the power of {b}?",
                "Raise {a} to the power {b}.",
                "What is {a}^{b}?",
                "What do you get when {b} factors of {a} are multiplied together?",
            ),
        ),
    ),
    "sqrt": (
        Scenario(
            ("sqrt a",),
            lambda rng: {"a": rng.randint(5, 250) ** 2},
            (
                "A square field has an area of {a} square metres.",
                "{name} tiles a square floor with {a} tiles of one square foot.",
                "A square photo is made of {a} pixels.",
                "The {people} stand in a square formation of {a} people with as many rows as columns.",
            ),
            ("How long is one side of the square?", "How many does one side of the square measure?"),
        ),
        Scenario(
            ("sqrt a",),
            wholes(a=(20, 90000)),
            (
                "A square plot covers {a} square feet.",
                "{name} wants a square pen with an area of {a} square feet.",
                "A square sheet of metal has an area of {a} square inches.",
            ),
            ("What is the length of a side?", "How long is each side?"),
        ),
        Scenario(
            ("sqrt a",),
            wholes(a=(11, 99999)),
            ("",),
            (
                "What is the square root of {a}?",
                "Which positive number multiplied by itself gives {a}?",
                "Find sqrt({a}).",
                "The square of a positive number is {a}. What is the number?",
            ),
        ),
        Scenario(
            ("sqrt a",),
            decimals(2, a=(1, 900)),
            ("", "{name} has to take a root.", "This is about a square number."),
            ("What is the square root of {a}?", "Whose square is {a}, among the positive numbers?"),
        ),
    ),
    "log": (
        Scenario(
            ("log a",),
            wholes(a=(12, 99999)),
            ("", "{name} opens a table of common logarithms.", "Take logarithms to base ten."),
            (
                "What is the logarithm of {a} to base ten?",
                "What is the common logarithm of {a}?",
                "To what power must ten be raised to give {a}?",
                "What is log10 of {a}?",
            ),
        ),
        Scenario(
            ("log a b",),
            lambda rng: {"b": (b := rng.randint(2, 9)), "a": b ** rng.randint(3, 6)},
            ("", "{name} looks for an exponent.", "This is about powers of {b}."),
            (
                "What is the logarithm of {a} to base {b}?",
                "To what power must {b} be raised to get {a}?",
                "How many factors of {b} have to be multiplied to make {a}?",
            ),
        ),
        Scenario(
            ("log a b",),
            lambda rng: {"b": (b := rng.randint(2, 5)), "a": b ** rng.randint(3, 8)},
            (
                "The number of {things} grows to {b} times its size every week, starting from a single one.",
                "A rumour starts with one person, and every hour the number who know it becomes {b} times as large.",
            ),
            ("After how many of these periods are there {a}?", "How many periods does it take to get to {a}?"),
        ),
        Scenario(
            ("log a",),
            decimals(2, a=(1.5, 999)),
            ("", "The scale counts powers of ten.", "{name} plots data on a scale of powers of ten."),
            ("What is log({a}) in base ten?", "What is the base ten logarithm of {a}?"),
        ),
    ),
    "ln": (
        Scenario(
            ("ln a",),
            wholes(a=(2, 99999)),
            ("", "{name} needs a natural logarithm.", "Here e is Euler's number."),
            (
                "What is the natural logarithm of {a}?",
                "If e^x = {a}, what is x?",
                "To what power must e be raised to give {a}?",
                "What is ln({a})?",
            ),
        ),
        Scenario(
            ("ln a",),
            wholes(a=(2, 900)),
            (
                "A quantity grows continuously as e^t, with t in years.",
                "A culture grows continuously, so that after t hours it is e^t times its first size.",
                "With continuous growth a fund is e^t times its first value after t periods.",
            ),
            ("At what t has it become {a} times as large?", "For which t is it {a} times its start?"),
        ),
        Scenario(
            ("ln a",),
            decimals(2, a=(1.1, 800)),
            ("", "Logarithms here are natural, to base e."),
            ("What is ln {a}?", "Which exponent of e gives {a}?", "What is the natural log of {a}?"),
        ),
    ),
}
"""Scenarios by the one operation that answers them."""
