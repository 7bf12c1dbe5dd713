"""A head and its LM as one plain Hugging Face checkpoint, for servers without this library."""

from toolken.training.export.checkpoint import Exported, export
from toolken.training.export.manifest import read_manifest

__all__ = ["Exported", "export", "read_manifest"]
