"""Grammars for the arguments of a call: JSON that the schema of a tool accepts."""
