"""Benchmarks: one module a data set, reading it, running on it and scoring."""
