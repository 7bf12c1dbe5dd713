"""A calculator for agents: exact arithmetic, equations, calculus, units and statistics as LangChain tools.

>>> tools = {tool.name: tool for tool in calculator_tools()}
>>> tools["add"].invoke({"numbers": ["1,234.5", "23.8%", "$12"]})
'1246.738'
>>> tools["choose"].invoke({"total": 46, "chosen": 2})
'1035'
>>> tools["solve"].invoke({"equations": ["x^2 = 5x - 6"]})
'x = 2 or x = 3'
>>> tools["divide"].invoke({"numbers": [1, 0]})
'Division by zero is undefined: give divisors other than zero.'
>>> call = {"type": "tool_call", "id": "1", "name": "divide", "args": {"numbers": [2, 3]}}
>>> message = tools["divide"].invoke(call)
>>> message.content, message.artifact.exact
('0.6666666667', '2/3')
"""

from toolken.tools.calculator.answer import Answer
from toolken.tools.calculator.examples import examples
from toolken.tools.calculator.tools import OPERATIONS, calculator_tools, keyword_arguments

__all__ = ["OPERATIONS", "Answer", "calculator_tools", "examples", "keyword_arguments"]
