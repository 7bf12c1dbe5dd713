"""A sentence encoder improves the prior, and a head that it taught works without it."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from toolken import Example, FrozenLM, ToolkenHead, ToolSpec, fit
from toolken.errors import HeadError
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.prior.geometry import PriorGeometry
from toolken.training.prior.teacher import SentenceEncoder, Teacher

pytestmark = pytest.mark.usefixtures("tiny_background")


class Letters:
    """An encoder that counts letters: fast, deterministic, and of some use."""

    name = "letters"

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Return normalised letter counts."""
        counts = torch.tensor([[text.lower().count(chr(97 + i)) + 0.1 for i in range(26)] for text in texts])
        return torch.nn.functional.normalize(counts, dim=1)


def test_the_teachers_map_recovers_the_states_that_the_vectors_determine() -> None:
    random = torch.Generator().manual_seed(0)
    states = torch.randn(4000, 6, generator=random, dtype=torch.float64)
    vectors = torch.nn.functional.normalize(states[:, :3] + 0.01, dim=1)
    geometry = PriorGeometry.of(torch.zeros(6).double(), torch.eye(6).double(), ClosedFormSettings())
    teacher = Teacher.of("made", geometry, states, vectors)
    directions = torch.nn.functional.normalize(teacher.forms(torch.eye(3)) - teacher.forms(torch.zeros(3, 3)), dim=1)
    torch.testing.assert_close(directions[:, :3], torch.eye(3).double(), rtol=0.1, atol=0.1)
    assert float(directions[:, 3:].abs().max()) < 0.1


def test_a_taught_head_is_saved_with_its_map_and_extended_by_the_encoders_name(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = fit(tiny_lm, specs, examples, encoder=Letters(), unlabelled=["What is 4?", "Where is Rome?"])
    plain = fit(tiny_lm, specs, examples)
    assert not torch.allclose(head.output_embeddings, plain.output_embeddings)
    head.save_pretrained(tmp_path)
    read = ToolkenHead.from_pretrained(tmp_path, tiny_lm)
    assert torch.equal(read.output_embeddings, head.output_embeddings)
    monkeypatch.setattr("toolken.training.prior.sources.SentenceEncoder", lambda name: Letters())
    read = read.with_tools([ToolSpec(name="boil", description="Boils water in a kettle.")], tiny_lm)
    assert bool(torch.isfinite(read.forms["teacher"]).all())
    assert bool(torch.isfinite(read.output_embeddings).all())


def test_without_the_encoder_a_new_tool_uses_its_query_form_embedding_and_warns(
    tiny_lm: FrozenLM, specs: list[ToolSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = fit(tiny_lm, specs, encoder=Letters())
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.warns(UserWarning, match=r"pip install toolken\[teacher\]"):
        head = head.with_tools([ToolSpec(name="boil", description="Boils water in a kettle.")], tiny_lm)
    assert bool(head.forms["teacher"][-1].isnan().all())
    assert bool(torch.isfinite(head.output_embeddings).all())


def test_unlabelled_requests_without_an_encoder_are_refused(tiny_lm: FrozenLM, specs: list[ToolSpec]) -> None:
    with pytest.raises(HeadError, match="only help an encoder"):
        fit(tiny_lm, specs, unlabelled=["What is 4?"])


def test_an_encoder_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="'nowhere/to-be-found-3' cannot be loaded"):
        SentenceEncoder("nowhere/to-be-found-3")


def test_the_packaged_encoder_knows_that_two_questions_are_alike() -> None:
    vectors = SentenceEncoder().encode(["Where was she born?", "What is her place of birth?", "How do I fry an egg?"])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    assert float(vectors[0] @ vectors[1]) > 0.5 > float(vectors[0] @ vectors[2])
