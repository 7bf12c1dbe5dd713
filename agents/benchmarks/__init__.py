"""The published benchmarks from question to final answer, with tools really called, and the decoder's speed."""
