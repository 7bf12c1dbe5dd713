"""A backend that is not installed or lacks a feature raises an error of one sentence."""

import sys
from pathlib import Path

import pytest
import torch

from toolken import FrozenLM
from toolken.errors import BackendError
from toolken.training.lm.llama_cpp.library import library


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(BackendError, match="no backend 'vllm': name one of transformers"):
        FrozenLM.from_pretrained(backend="vllm")  # type: ignore[arg-type]


def test_without_the_extra_the_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library.cache_clear()
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(BackendError, match=r"pip install 'toolken\[llamacpp\]'") as caught:
        FrozenLM.from_pretrained(tmp_path / "any.gguf", backend="llama.cpp")
    assert "\n" not in str(caught.value)
    library.cache_clear()


@pytest.mark.parametrize("options", [{"dtype": torch.float32}, {"device": "cuda"}])
def test_llama_cpp_takes_no_number_format_or_device(options: dict[str, object]) -> None:
    with pytest.raises(BackendError, match="own number format"):
        FrozenLM.from_pretrained(backend="llama.cpp", **options)  # type: ignore[arg-type]
