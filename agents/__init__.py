"""A LangChain chat model and an agent whose tool calls are toolkens."""

from toolken.agents.agent import Answer, Step, ToolkenAgent, ToolResult
from toolken.agents.chat_model import ToolkenChatModel
from toolken.agents.decoding import DecodingOptions

__all__ = ["Answer", "DecodingOptions", "Step", "ToolResult", "ToolkenAgent", "ToolkenChatModel"]
