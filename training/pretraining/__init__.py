"""Learning a `PretrainedPrior` from corpora of tools, requests and conversations."""
