"""How work and answers look on a terminal."""

from toolken.training.progress import progress_bar

__all__ = ["progress_bar"]
