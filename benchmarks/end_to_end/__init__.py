"""Benchmarks from question to final answer, with tools that run."""
