"""An MCP server with a few tools, which the tests start as a separate process."""

from typing import Annotated

from mcp.server.fastmcp import FastMCP
from pydantic import Field

server = FastMCP("library", log_level="WARNING")


@server.tool()
def due_date(title: Annotated[str, Field(description="The title of the book.")]) -> str:
    """Tell when a borrowed book has to be returned."""
    return f"{title} is due on Friday"


@server.tool()
def room_temperature(room: str, unit: str = "C") -> str:
    """Measure how warm it is in a room."""
    return f"21 {unit}"


@server.tool()
def break_down() -> str:
    """Fail on purpose, for testing the alarm."""
    raise RuntimeError("the alarm works")


if __name__ == "__main__":
    server.run("stdio")
