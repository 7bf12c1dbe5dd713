"""Files of a prior, the LM it belongs to, and its decisions."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from toolken import FrozenLM, ToolSpec
from toolken.errors import FingerprintError, HeadError
from toolken.training.head.described import DescribedTools
from toolken.training.prior.pretrained import CARD, TENSORS, PretrainedPrior
from toolken.training.prior.request_reader import described

SPECS = [ToolSpec(name="sport_score", description="Handles the score."), ToolSpec(name="tennis", description="Plays.")]


def test_a_saved_prior_decides_alike(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior, tmp_path: Path) -> None:
    tiny_prior.save_pretrained(tmp_path / "prior")
    read = PretrainedPrior.from_pretrained(tmp_path / "prior", tiny_lm)
    assert read.digest == tiny_prior.digest
    assert read.card == tiny_prior.card
    torch.testing.assert_close(
        read.output_embeddings(tiny_lm, SPECS), tiny_prior.output_embeddings(tiny_lm, SPECS), rtol=1e-2, atol=1e-2
    )


def test_another_lm_is_refused(build_lm: Callable[..., FrozenLM], tiny_prior: PretrainedPrior, tmp_path: Path) -> None:
    tiny_prior.save_pretrained(tmp_path)
    with pytest.raises(FingerprintError, match="toolken pretrain"):
        PretrainedPrior.from_pretrained(tmp_path, build_lm(seed=5))


@pytest.mark.parametrize("fault", ["absent", "not JSON", "version", "tensors", "key", "short"])
def test_a_broken_folder_is_one_sentence(tiny_prior: PretrainedPrior, tmp_path: Path, fault: str) -> None:
    tiny_prior.save_pretrained(tmp_path)
    card = tmp_path / CARD
    text = json.loads(card.read_text(encoding="utf-8"))
    match fault:
        case "absent":
            card.unlink()
        case "not JSON":
            card.write_text("{", encoding="utf-8")
        case "version":
            card.write_text(json.dumps(text | {"version": 99}), encoding="utf-8")
        case "tensors":
            (tmp_path / TENSORS).write_bytes(b"other")
        case "key":
            del text["scale"]
            card.write_text(json.dumps(text), encoding="utf-8")
        case _:
            card.write_text("[]", encoding="utf-8")
    with pytest.raises(HeadError) as error:
        PretrainedPrior.from_pretrained(tmp_path)
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(tiny_prior: PretrainedPrior, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(HeadError, match="cannot be written"):
        tiny_prior.save_pretrained(tmp_path / "file")


def test_probabilities_are_one_distribution(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> None:
    tools = DescribedTools(tiny_prior, SPECS, tiny_prior.output_embeddings(tiny_lm, SPECS), 0.5)
    request = tools.request(tiny_lm, [("what is the score", "")])
    decision = tools.decide(request)
    torch.testing.assert_close(decision.probabilities.sum(), decision.call_probability.float())
    one = tools.decide(request, tools.subset(["tennis"]))
    assert one.shares.tolist() == [1.0]
    assert float(tools.decide(request, results=1).call_probability) < 1e-6


def test_earlier_turns_change_what_a_request_means(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> None:
    alone = tiny_prior.request(tiny_lm, [("and tomorrow?", "")])
    after = tiny_prior.request(tiny_lm, [("How is the weather?", "It rains."), ("and tomorrow?", "")])
    assert not torch.allclose(alone, after)


def test_long_conversations_lose_their_oldest_turn_and_then_the_end_of_the_request(
    tiny_lm: FrozenLM, tiny_prior: PretrainedPrior
) -> None:
    long = "the weather in the city " * 100
    tiny_prior.request(tiny_lm, [(long, long), (long, long)])
    last = tiny_prior.request(tiny_lm, [(long, long), ("How is it?", "")])
    assert torch.isfinite(last).all()


@pytest.mark.parametrize("text", ["", " ", "x" * 10_000, "天气怎么样", "\u0000"])
def test_odd_requests_and_descriptions_are_read(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior, text: str) -> None:
    assert torch.isfinite(tiny_prior.request(tiny_lm, [(text, "")])).all()
    spec = ToolSpec(name="odd", description=text)
    assert torch.isfinite(tiny_prior.output_embeddings(tiny_lm, [spec])).all()


def test_what_is_read_of_a_tool_has_its_arguments() -> None:
    parameters = {"type": "object", "properties": {"cityName": {"type": "string"}, "day_of_week": {}}}
    spec = ToolSpec(name="getWeather", description="Tells the weather. ", parameters=parameters)
    assert described(spec) == "get weather: Tells the weather. (city name, day of week)"
