"""Progress bars on the terminal."""

from toolken.training.progress import progress_bar

__all__ = ["progress_bar"]
