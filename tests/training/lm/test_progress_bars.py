"""Progress bars of transformers are silent inside the block, and what they were before after it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from transformers import modeling_gguf_pytorch_utils
from transformers.utils import logging

from toolken.training.lm.progress_bars import without_gguf_progress_bars, without_progress_bars

reader: Any = modeling_gguf_pytorch_utils


@pytest.mark.parametrize("silent", [without_progress_bars, without_gguf_progress_bars])
def test_bars_of_transformers_are_silent(
    silent: Callable[[], AbstractContextManager[None]], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = logging.is_progress_bar_enabled()
    with silent():
        assert not logging.is_progress_bar_enabled()
        assert list(logging.tqdm([1, 2])) == [1, 2]
    assert logging.is_progress_bar_enabled() == shown
    assert capsys.readouterr().err == ""


def test_the_bar_of_the_gguf_reader_is_silent_and_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    bar = reader.tqdm
    with without_gguf_progress_bars():
        assert list(reader.tqdm([1, 2], desc="Converting")) == [1, 2]
    assert capsys.readouterr().err == ""
    assert reader.tqdm is bar
    assert list(reader.tqdm([1, 2], desc="Converting")) == [1, 2]
    assert "Converting" in capsys.readouterr().err
