"""Prompt formats and few-shot examples."""
