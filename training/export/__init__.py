"""A head and its LM as one plain Hugging Face checkpoint, for servers that know nothing of toolkens."""

from toolken.training.export.checkpoint import Exported, export
from toolken.training.export.mark import read_mark

__all__ = ["Exported", "export", "read_mark"]
