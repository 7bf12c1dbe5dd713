"""Function calling: requests with gold calls, methods beside the same LM without toolkens, and their scores."""
