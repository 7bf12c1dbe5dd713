"""A fit on a cluster gives the head of one process, even if a worker dies."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from toolken import Example, FrozenLM, PromptFormat, ToolSpec, fit
from toolken.errors import ExampleError
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.examples import write_examples
from toolken.training.features.decision_states import GROUP
from toolken.training.features.example_features import extract_features

pytest.importorskip("ray", reason="Ray is missing: pip install toolken[ray]")
pytestmark = [pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]  # Ray's libraries warn of each other

from toolken.training.features.distributed import extract_on_ray  # noqa: E402


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray of this machine that all tests of the module share."""
    import ray

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def folder_lm(tiny_lm: FrozenLM, tmp_path_factory: pytest.TempPathFactory) -> FrozenLM:
    """The tiny LM in a folder, from which workers can load it."""
    folder = tmp_path_factory.mktemp("lm")
    tiny_lm.model.save_pretrained(folder)
    tiny_lm.tokenizer.save_pretrained(folder)
    return FrozenLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def many(examples: list[Example]) -> list[Example]:
    """Examples enough for several groups, no two of them alike."""
    made = []
    for number in range(4 * GROUP - 7):
        one = examples[number % len(examples)]
        made.append(one.model_copy(update={"question": f"{one.question} Case {number}."}))
    return made


def test_a_killed_worker_changes_no_result(
    cluster: Any,
    folder_lm: FrozenLM,
    many: list[Example],
    specs: list[ToolSpec],
    tmp_path: Path,
    module_background: None,
) -> None:
    import pyarrow
    import pyarrow.parquet

    middle, end = 700, 1100
    write_examples(tmp_path / "a.jsonl", many[:middle])
    (tmp_path / "b").mkdir()
    for name, part in (("1.jsonl", many[middle:900]), ("2.jsonl", many[900:end])):
        write_examples(tmp_path / "b" / name, part)
    rows = [one.model_dump() for one in many[end:]]
    for row in rows:
        row["calls"] = json.dumps(row["calls"])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "c.parquet")

    killed: list[int] = []
    done: list[int] = []

    def kill(number: int) -> None:
        done.append(number)
        if not killed:
            family = psutil.Process().children(recursive=True)
            worker = next(one for one in family if "_Worker" in " ".join(one.cmdline()))
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker.pid)

    prompt, names = PromptFormat(), [spec.name for spec in specs]
    paths = [str(tmp_path / name) for name in ("a.jsonl", "b", "c.parquet")]
    reading = extract_on_ray(folder_lm, prompt, paths, names, workers=2, started=lambda _: kill)
    assert killed
    assert sum(done) == len(many)
    whole = extract_features(folder_lm, prompt, many, names)
    assert reading.provenance == whole.provenance
    assert reading.few_shot.shown == whole.few_shot.shown
    torch.testing.assert_close(reading.statistics.counts, whole.statistics.counts, rtol=0, atol=0)
    torch.testing.assert_close(reading.statistics.sums, whole.statistics.sums, rtol=1e-6, atol=1e-4)
    heads = [fit(folder_lm, specs, one, settings=ClosedFormSettings()) for one in (reading, many)]
    torch.testing.assert_close(heads[0].output_embeddings, heads[1].output_embeddings, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(heads[0].biases, heads[1].biases, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(heads[0].gate.opening.weight, heads[1].gate.opening.weight, rtol=1e-4, atol=1e-4)


def test_structures_of_parquet_are_read_as_well(
    cluster: Any, folder_lm: FrozenLM, examples: list[Example], specs: list[ToolSpec], tmp_path: Path
) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [one.model_dump() for one in examples if one.calls]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "calls.parquet")
    names = [spec.name for spec in specs]
    reading = extract_on_ray(folder_lm, PromptFormat(), [str(tmp_path / "calls.parquet")], names, workers=1)
    whole = extract_features(folder_lm, PromptFormat(), [one for one in examples if one.calls], names)
    assert reading.provenance == whole.provenance
    assert reading.few_shot.shown == whole.few_shot.shown


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{not json", r"bad\.jsonl, line 3 is not JSON"),
        ('{"question": "How much?"}', r"bad\.jsonl, line 3"),
        ('{"question": "How much?", "calls": [{"tool": "price"}]}', r"bad\.jsonl, line 3 calls 'price', which"),
        (
            '{"question": "How much?", "calls": [{"tool": "add", "args": {"number": 1}}]}',
            r"bad\.jsonl, line 3 calls 'add' with the argument 'number', which the tool does not have",
        ),
    ],
)
def test_a_broken_example_is_named(
    cluster: Any,
    folder_lm: FrozenLM,
    examples: list[Example],
    specs: list[ToolSpec],
    tmp_path: Path,
    line: str,
    said: str,
) -> None:
    path = tmp_path / "bad.jsonl"
    write_examples(path, examples[:1])
    path.write_text(f"{path.read_text()}\n{line}\n")
    with pytest.raises(ExampleError, match=said):
        extract_on_ray(folder_lm, PromptFormat(), [str(path)], specs, workers=1)


def test_a_file_that_is_not_there_is_named(
    cluster: Any, folder_lm: FrozenLM, specs: list[ToolSpec], tmp_path: Path
) -> None:
    with pytest.raises(ExampleError, match=r"none\.jsonl"):
        extract_on_ray(
            folder_lm, PromptFormat(), [str(tmp_path / "none.jsonl")], [spec.name for spec in specs], workers=1
        )
