"""The word problems of the example generator: what they are about, how they are worded, which calls answer them."""

from toolken.tools.calculator.word_problems.chains import MULTI_STEP
from toolken.tools.calculator.word_problems.counting import COUNTING
from toolken.tools.calculator.word_problems.growth import GROWTH
from toolken.tools.calculator.word_problems.shares import SHARES
from toolken.tools.calculator.word_problems.wording import OPENINGS, WORDS, Scenario

ONE_STEP = {**SHARES, **GROWTH, **COUNTING}
"""For each operation, the scenarios that it alone answers."""

__all__ = ["MULTI_STEP", "ONE_STEP", "OPENINGS", "WORDS", "Scenario"]
