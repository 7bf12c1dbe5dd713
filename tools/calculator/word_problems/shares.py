"""Word problems about totals, differences, equal groups and remainders."""

from toolken.tools.calculator.word_problems.wording import (
    Scenario,
    cents_each,
    decimals,
    dividing,
    falling,
    not_dividing,
    priced,
    wholes,
)

SHARES: dict[str, tuple[Scenario, ...]] = {
    "add": (
        Scenario(
            ("add a b",),
            wholes(a=(3, 980), b=(3, 980)),
            (
                "{name} has {a} {things} and {other} has {b} {things}.",
                "{name} found {a} {things} in the attic and {b} more {things} in the cellar.",
                "There are {a} {colour} {things} and {b} {shade} {things} in the drawer.",
                "{name} bought {a} {food} on Monday and another {b} {food} on Tuesday.",
                "At {place}, {a} {goods} were sold in the morning and {b} {goods} in the afternoon.",
            ),
            ("How many is that altogether?", "How many is that in total?", "What is the combined number?"),
        ),
        Scenario(
            ("add a b c",),
            wholes(a=(10, 4000), b=(10, 4000), c=(10, 4000)),
            (
                "On Friday {a} {people} came to {place}, on Saturday {b} and on Sunday {c}.",
                "{name} drove {a} km in May, {b} km in June and {c} km in July.",
                "Three factories made {a}, {b} and {c} {goods} last year.",
                "The three schools of the town have {a}, {b} and {c} pupils.",
            ),
            ("What is the total?", "How many is that in all?", "What do the three numbers come to together?"),
        ),
        Scenario(
            ("add a b",),
            decimals(2, a=(1, 300), b=(1, 300)),
            (
                "{name} paid ${a} for {goods} and ${b} for {food}.",
                "A meal costs ${a} and the taxi home ${b}.",
                "{name} put ${a} into a savings box in spring and ${b} in autumn.",
            ),
            ("How much is that altogether?", "What is the total amount?", "What is the sum of the two amounts?"),
        ),
        Scenario(
            ("add a b c d",),
            decimals(1, a=(1, 40), b=(1, 40), c=(1, 40), d=(1, 40)),
            (
                "{name} cut {material} into pieces of {a} m, {b} m, {c} m and {d} m, using all of it.",
                "Four parcels weigh {a} kg, {b} kg, {c} kg and {d} kg.",
                "It rained {a} mm, {b} mm, {c} mm and {d} mm on four days.",
            ),
            ("How much is that in total?", "What do the four come to together?"),
        ),
        Scenario(
            ("add a b",),
            wholes(a=(4, 2500), b=(3, 900)),
            (
                "{name} has {a} {things} and gets {b} more from {other}.",
                "{a} {people} were already at {place} when {b} others arrived.",
                "A farm kept {a} hens, and then {b} chicks hatched.",
                "There were {a} messages in the inbox, and {b} new ones came in overnight.",
                "A choir of {a} voices took in {b} new singers.",
                "A village had {a} inhabitants, and {b} people moved there.",
                "The shop had {a} {goods} on its shelves and received a delivery of {b}.",
            ),
            (
                "How many are there now?",
                "How many are there after that?",
                "What is the number now?",
                "How many does that make?",
            ),
        ),
        Scenario(
            ("add a b",),
            wholes(a=(20, 900), b=(3, 400)),
            (
                "A tree was {a} cm tall and has grown by {b} cm since then.",
                "The water stood at {a} cm and has risen by {b} cm.",
                "The price was ${a} and went up by ${b}.",
                "A cyclist had ridden {a} km by noon and rode {b} km further in the afternoon.",
                "The temperature of an oven was {a} degrees and climbed by {b} degrees.",
            ),
            ("What is it now?", "What does it come to after that?", "What is the new value?"),
        ),
        Scenario(
            ("add a b",),
            wholes(a=(12, 900), b=(2, 400)),
            (
                "{name} has {a} {things}, and {other} has {b} more than {name}.",
                "One box weighs {a} kg and the second box is {b} kg heavier.",
                "The smaller class has {a} pupils and the larger class {b} more.",
                "The film lasts {a} minutes and the play {b} minutes longer.",
                "A lamp costs ${a} and a chair costs ${b} more than the lamp.",
            ),
            ("What is the larger of the two numbers?", "How much or how many is the larger one?"),
        ),
        Scenario(
            ("add a b",),
            wholes(a=(3, 900), b=(3, 900)),
            (
                "{name} gave {a} {things} to {other} and still has {b}.",
                "After {a} {food} had been eaten, {b} were left.",
                "{name} spent ${a} and has ${b} left.",
                "When {a} {people} had gone home, {b} were still there.",
            ),
            ("How many were there at first?", "What was the number to begin with?", "How much was it before that?"),
        ),
        Scenario(
            ("add a b",),
            wholes(a=(11, 99999), b=(11, 99999)),
            ("",),
            ("What is the sum of {a} and {b}?", "What is {a} plus {b}?", "Add {a} and {b}.", "What is {a} + {b}?"),
        ),
    ),
    "subtract": (
        Scenario(
            ("subtract a b",),
            falling(3, 700),
            (
                "{name} had {a} {things} and gave {b} of them to {other}.",
                "There were {a} {food} at {place} and {b} of them were sold.",
                "{name} baked {a} {food} and the guests ate {b} of them.",
                "A book has {a} pages and {name} has read {b} of them.",
                "Of {a} {goods} in stock, {b} were taken away.",
            ),
            ("How many are left?", "How many remain?", "How many are still there?"),
        ),
        Scenario(
            ("subtract a b",),
            falling(10, 30000),
            (
                "{name} collected {a} {things} and {other} collected {b}.",
                "The larger stadium seats {a} people and the smaller one {b}.",
                "This year {a} {people} signed up and last year {b}.",
                "The first tower has {a} bricks and the second {b}.",
            ),
            (
                "How many more is the first number than the second?",
                "What is the difference?",
                "By how many does the first number exceed the second?",
            ),
        ),
        Scenario(
            ("subtract a b",),
            decimals(2, falls=True, a=(20, 200), b=(1, 20)),
            (
                "{name} had ${a} and spent ${b} on {food}.",
                "A jacket costs ${a} and today it is reduced by ${b}.",
                "{name} paid a bill of ${b} out of an account that held ${a}.",
            ),
            ("How much money is left of the first amount?", "What is the amount after taking that off?"),
        ),
        Scenario(
            ("subtract a b c",),
            falling(5, 900, "abc"),
            (
                "{name} had {a} {things}, lost {b} of them and gave {c} away.",
                "Out of {a} {food}, {b} were eaten and {c} went bad.",
                "A tank held {a} litres of {liquid}; {b} litres were used on one day and {c} litres on the next.",
            ),
            ("How much or how many is left?", "What remains?"),
        ),
        Scenario(
            ("subtract a b",),
            falling(4, 2000),
            (
                "{name} wants to collect {a} {things} and has {b} so far.",
                "The journey is {a} km long and {b} km of it are done.",
                "A ticket costs ${a} and {name} has saved ${b}.",
                "The hall seats {a} {people} and {b} have sat down.",
                "An order is for {a} {goods}, and {b} of them are ready.",
            ),
            ("How many more are needed?", "How much is missing?", "How much or how many is still to come?"),
        ),
        Scenario(
            ("subtract a b",),
            falling(3, 900),
            (
                "{a} {people} were at {place} and {b} of them went home.",
                "A choir had {a} voices, and {b} singers left it.",
                "The price was ${a} and came down by ${b}.",
                "A barrel held {a} litres of {liquid} and {b} litres ran out.",
                "A candle was {a} mm tall and has burned down by {b} mm.",
                "A hen house had {a} eggs in it, and {b} broke.",
            ),
            ("What is the number now?", "How many or how much is it after that?", "How much is there now?"),
        ),
        Scenario(
            ("subtract a b",),
            falling(3, 900),
            (
                "{name} has {a} {things}, and {other} has {b} fewer than {name}.",
                "One box weighs {a} kg and the second box is {b} kg lighter.",
                "Of {a} {people}, {b} are grown up and the others are children.",
                "Of {a} {things}, {b} are {colour} and the others {shade}.",
            ),
            ("How many or how much is the second?", "How many are the others?", "What is the smaller number?"),
        ),
        Scenario(
            ("subtract a b",),
            falling(11, 50000),
            ("",),
            ("What is {a} minus {b}?", "Subtract {b} from {a}.", "What do you get if you take {b} away from {a}?"),
        ),
    ),
    "multiply": (
        Scenario(
            ("multiply a b",),
            wholes(a=(3, 300), b=(3, 99)),
            (
                "There are {a} {container} with {b} {things} in each.",
                "{name} filled {a} {container}, and every one of them holds {b} {food}.",
                "A hall has {a} rows of {b} seats.",
                "{name} runs {a} laps a week for {b} weeks.",
                "A machine makes {a} {goods} an hour and runs for {b} hours.",
            ),
            ("How many is that in all?", "How many does that make?", "What is the total number?"),
        ),
        Scenario(
            ("multiply a p",),
            priced((3, 90), (1, 60)),
            (
                "{name} buys {a} {goods} at ${p} each.",
                "One ticket to the museum costs ${p} and {name} needs {a} of them.",
                "{name} works {a} hours and earns ${p} an hour.",
                "At {place} a kilo of tea costs ${p}, and {name} orders {a} kilos.",
            ),
            ("How much money is that?", "What does it come to in dollars?", "How much is that altogether?"),
        ),
        Scenario(
            ("multiply a b",),
            decimals(1, a=(2, 90), b=(2, 60)),
            (
                "A rectangular garden is {a} m long and {b} m wide.",
                "{name} lays a carpet {a} m long and {b} m wide.",
                "A rectangular wall measures {a} m by {b} m.",
            ),
            ("What is its area in square metres?", "How many square metres does it cover?"),
        ),
        Scenario(
            ("multiply a b c",),
            wholes(a=(2, 40), b=(2, 40), c=(2, 40)),
            (
                "A shelf unit has {a} columns of {b} shelves and {c} {things} on every shelf.",
                "A box is {a} cm long, {b} cm wide and {c} cm high, and is filled with cubes of one cubic centimetre.",
                "There are {a} buses, each makes {b} trips, and {c} {people} ride on each trip.",
            ),
            ("How many is that in total?", "What does that make in all?"),
        ),
        Scenario(
            ("multiply a b",),
            wholes(a=(3, 900), b=(2, 40)),
            (
                "{name} has {a} {things}, and {other} has {b} times as many.",
                "The first lake is {a} m deep and the second {b} times as deep.",
                "A train covers {a} km in an hour and travels for {b} hours.",
                "A tap gives {a} litres of {liquid} a minute and runs for {b} minutes.",
                "A recipe for one cake takes {a} g of flour, and {name} bakes {b} cakes.",
                "Each of the {b} {people} carries {a} {things}.",
            ),
            ("How many or how much is that?", "What does that come to?", "What is the number?"),
        ),
        Scenario(
            ("multiply p a",),
            lambda rng: {"p": f"{rng.uniform(2, 300):.{rng.randint(0, 2)}f}", "a": rng.randint(3, 400)},
            (
                "{name} cycles at {p} km per hour for {a} hours.",
                "A van goes {p} km on a litre of diesel and its tank holds {a} litres.",
                "A printer makes {p} copies a minute and is on for {a} minutes.",
                "Each sack of {food} weighs {p} kg and {place} orders {a} sacks.",
                "A dish takes {p} g of butter, and {a} such dishes are cooked.",
                "{name} is paid ${p} an hour and puts in {a} hours.",
                "A stall sells {a} {goods} for ${p} each.",
            ),
            ("What is the total?", "How much is that altogether?", "What does that come to?", "How many is that?"),
        ),
        Scenario(
            ("multiply a b",),
            wholes(a=(11, 9999), b=(11, 999)),
            ("",),
            ("What is {a} times {b}?", "What is the product of {a} and {b}?", "Multiply {a} by {b}."),
        ),
        Scenario(
            ("multiply p a",),
            lambda rng: {"p": f"{rng.randrange(5, 100, 5)}%", "a": 20 * rng.randint(3, 900)},
            (
                "Of the {a} {people} asked, {p} said yes.",
                "{p} of the {a} {things} in a collection are {colour}.",
                "At {place} {p} of all {a} {goods} are on sale.",
            ),
            ("How many is that?", "What number is that?"),
        ),
    ),
    "divide": (
        Scenario(
            ("divide a b",),
            dividing((3, 60), (3, 300)),
            (
                "{name} shares {a} {things} equally among {b} friends.",
                "{a} {food} are packed evenly into {b} {container}.",
                "A teacher hands out {a} {things} to {b} pupils so that each gets the same number.",
                "{name} reads a book of {a} pages in {b} days, the same number of pages every day.",
            ),
            ("How many is that for each one?", "What is the number for each?"),
        ),
        Scenario(
            ("divide a b",),
            cents_each((3, 40), (1, 50)),
            (
                "{name} paid ${a} for {b} identical {goods}.",
                "A restaurant bill of ${a} is split evenly between {b} friends.",
                "{b} hours of work earned {name} ${a}, at the same wage for each hour.",
            ),
            ("How much is that for each one?", "What does one of them come to?"),
        ),
        Scenario(
            ("divide a b",),
            dividing((4, 90), (4, 700)),
            (
                "{name} has {a} {things} and puts {b} of them on every page of an album.",
                "{a} {people} travel in buses, and {b} of them fit into one bus.",
                "{a} {food} go into {container} that hold {b} each.",
            ),
            ("How many of these are needed to take all of them?", "How many of these does it take?"),
        ),
        Scenario(
            ("divide a b",),
            lambda rng: {"b": (b := rng.choice((2, 4, 5, 8))), "a": b * rng.randint(40, 300) + rng.randint(1, b - 1)},
            (
                "A train covers {a} km in {b} hours.",
                "{name} drives {a} km in {b} hours.",
                "A ship sails {a} km in {b} hours without a stop.",
            ),
            ("How many kilometres is that per hour?", "What is the average speed in km per hour?"),
        ),
        Scenario(
            ("divide a b",),
            lambda rng: {"b": (b := rng.choice((2, 4, 5, 8))), "a": b * rng.randint(40, 300) + rng.randint(1, b - 1)},
            (
                "{name} cuts {a} cm of {material} into {b} equal pieces.",
                "{a} cm of {material} are divided into {b} parts of the same length.",
            ),
            ("How long is each of them in centimetres?", "What is the length of one of them?"),
        ),
        Scenario(
            ("divide a b",),
            dividing((2, 40), (3, 400)),
            (
                "{name} has {a} {things}, {b} times as many as {other}.",
                "The blue whale in a picture is {a} cm long, {b} times as long as the dolphin.",
                "A tap fills a tank of {a} litres in {b} minutes.",
                "{b} cakes of one kind take {a} g of flour.",
                "{b} {people} together carry {a} {things}, everyone the same number.",
            ),
            (
                "What is the number for one?",
                "How much or how many is the smaller one?",
                "How much is it for one of them?",
            ),
        ),
        Scenario(
            ("divide p a",),
            lambda rng: {"p": f"{rng.uniform(20, 9000):.{rng.randint(0, 2)}f}", "a": rng.randint(2, 900)},
            (
                "{name} covers {p} km in {a} hours.",
                "A van goes {p} km on {a} litres of diesel.",
                "A printer makes {p} copies in {a} minutes.",
                "Sales of {a} {goods} bring in ${p}.",
                "A dish for {a} guests takes {p} g of butter.",
                "A profit of ${p} goes to {a} owners in equal parts.",
                "A block of cheese of {p} g is cut into {a} slices of equal weight.",
            ),
            (
                "How much is that per unit?",
                "What is the average for one of them?",
                "How much comes to a single one?",
                "What is the rate?",
            ),
        ),
        Scenario(
            ("divide p q",),
            decimals(1, falls=True, p=(60, 900), q=(2, 50)),
            (
                "A rectangular meadow covers {p} square metres and is {q} m wide.",
                "A rectangular hall with an area of {p} square metres is {q} m deep.",
                "The area of a rectangular poster is {p} square cm and one side measures {q} cm.",
            ),
            ("How long is it?", "What is its other side?", "How long is the other side?"),
        ),
        Scenario(
            ("divide a b",),
            dividing((3, 400), (11, 900)),
            ("",),
            ("What is {a} divided by {b}?", "Divide {a} by {b}.", "What is the quotient of {a} and {b}?"),
        ),
    ),
    "remainder": (
        Scenario(
            ("remainder a b",),
            not_dividing((40, 5000), (3, 60)),
            (
                "{name} has {a} {things} and puts {b} into each album, filling as many albums as possible.",
                "{a} {food} are packed into {container} of {b}, and only full ones are made.",
                "{a} {people} form as many full groups of {b} as they can.",
                "At {place}, {a} {goods} are stacked in piles of exactly {b}.",
            ),
            ("How many are left over?", "How many do not fit into a full one?", "How many remain at the end?"),
        ),
        Scenario(
            ("remainder a b",),
            not_dividing((200, 40000), (7, 800)),
            (
                "A roll of {material} is {a} cm long and as many pieces of {b} cm as possible are cut from it.",
                "A barrel holds {a} ml of {liquid}, and as many bottles of {b} ml as possible are filled from it.",
            ),
            ("How much is left over at the end?", "How much remains that is too little for another one?"),
        ),
        Scenario(
            ("remainder a b",),
            not_dividing((50, 99999), (3, 900)),
            ("",),
            (
                "What is the remainder when {a} is divided by {b}?",
                "What is {a} modulo {b}?",
                "What is {a} mod {b}?",
                "If you divide {a} by {b} in whole numbers, what is the remainder?",
            ),
        ),
    ),
}
"""Scenarios by the one operation that answers them."""
