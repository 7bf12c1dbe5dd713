"""The PyTorch backend of FrozenLM."""
