"""Statistics of hidden states and what is estimated from them: output embeddings, call gate, calibration."""
