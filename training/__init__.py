"""From a frozen LM and tool descriptions to a fitted head: features, priors, estimation, export."""
