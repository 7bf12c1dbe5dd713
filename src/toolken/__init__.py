"""Tools as tokens for frozen language models."""
