"""LangChain's chat model and an agent whose tool calls are toolkens, and a planner for households."""
