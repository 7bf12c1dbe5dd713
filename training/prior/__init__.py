"""Prior means of toolkens from tool descriptions."""
