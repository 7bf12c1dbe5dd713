"""Tool selection at given positions: comparisons, metrics, rows, tables and plots."""
