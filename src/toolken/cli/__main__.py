"""`python -m toolken.cli`."""

from toolken.cli import main

main()
