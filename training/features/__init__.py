"""The feature pass: hidden states of examples, descriptions and background requests."""
