"""llama.cpp as an backend: GGUF files, run as they are."""

from toolken.training.lm.llama_cpp.loading import load_gguf

__all__ = ["load_gguf"]
