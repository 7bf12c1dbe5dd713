"""The word problems of the example generator: stories, questions, and the calls that answer them."""

from toolken.tools.calculator.word_problems.chains import MULTI_STEP
from toolken.tools.calculator.word_problems.counting import COUNTING
from toolken.tools.calculator.word_problems.growth import GROWTH
from toolken.tools.calculator.word_problems.shares import SHARES
from toolken.tools.calculator.word_problems.wording import OPENINGS, WORDS, Scenario

ONE_STEP = {**SHARES, **GROWTH, **COUNTING}
"""The scenarios that one operation answers, by operation."""

__all__ = ["MULTI_STEP", "ONE_STEP", "OPENINGS", "WORDS", "Scenario"]
