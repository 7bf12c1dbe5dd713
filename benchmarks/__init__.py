"""Published benchmarks, published trainers and performance measurements; the product imports nothing of it."""
