"""The tool that the demo adds passes LangChain's own tests of tools."""

from typing import Any

from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from toolken.cli.demo import weekday_of


class _Weekday:
    """The tool and its arguments for both classes of tests."""

    @property
    def tool_constructor(self) -> BaseTool:
        return weekday_of

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"date": "2027-03-14"}


class TestWeekdayUnit(_Weekday, ToolsUnitTests):
    """Tests of the tool's form."""


class TestWeekdayIntegration(_Weekday, ToolsIntegrationTests):
    """Tests of what it returns."""
