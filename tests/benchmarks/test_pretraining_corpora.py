"""Published sets as corpora that priors learn from."""

from pathlib import Path

import pytest

from toolken.benchmarks.pretraining_corpora import METATOOL_REQUESTS, write_corpora
from toolken.benchmarks.sets.metatool import LEARNED, learned_tools, read_metatool
from toolken.training.corpus import read_corpus


def test_only_the_tools_for_learning_are_written(data_folder: Path, tmp_path: Path) -> None:
    if not all((data_folder / name).is_dir() for name in ("metatool", "seal-tools")):
        pytest.skip(f"There is no MetaTool or Seal-Tools in {data_folder}: set TOOLKEN_DATA to a folder that has them.")
    written = write_corpora(data_folder, tmp_path)
    known = learned_tools(spec.name for spec in read_metatool(data_folder / "metatool").specs)
    corpus = read_corpus(tmp_path / "metatool.jsonl")
    assert {spec.name for spec in corpus.tools} == known
    assert len(known) == LEARNED
    assert written["metatool"] == (LEARNED, len(corpus.records))
    assert len(corpus.records) <= LEARNED * METATOOL_REQUESTS
    seal = read_corpus(tmp_path / "seal_tools.jsonl")
    assert [(one.split, one.licence) for one in (corpus, seal)] == [("train", "MIT"), ("train", "Apache-2.0")]
    assert written["seal_tools"] == (len(seal.tools), len(seal.records))
