"""One assistant turn: decide, write the arguments of a call, or write text."""
