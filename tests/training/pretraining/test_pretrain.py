"""Learning a prior: what is read, what is learned, and what bad corpora get."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from toolken import FrozenLM, ToolSpec
from toolken.errors import BackendError, DataFormatError
from toolken.training.pretraining.learning_set import read_learning_set
from toolken.training.pretraining.pretrain import pretrain
from toolken.training.prior.pretrained import PretrainedPrior

WriteCorpus = Callable[[Path, str, str], Path]


def test_tools_never_seen_are_found_by_their_descriptions(
    tiny_lm: FrozenLM, tiny_prior: PretrainedPrior, corpus_domains: dict[str, tuple[str, ...]]
) -> None:
    things = corpus_domains["sport"]
    specs = [ToolSpec(name=f"sport_{thing}", description=f"Handles the {thing}.") for thing in things]
    embeddings = tiny_prior.output_embeddings(tiny_lm, specs)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
    views = torch.stack([tiny_prior.request(tiny_lm, [(f"I want the {one}", "")]) for one in things])
    found = tiny_prior.similarities(views, embeddings).argmax(1)
    assert found.tolist() == [0, 1, 2, 3]


def test_test_domains_and_requests_with_several_calls_are_not_learned(corpus_folder: Path) -> None:
    found = read_learning_set([corpus_folder])
    assert "sport" not in found.splits
    assert not any(spec.name.startswith("sport") for spec in found.tools)
    assert len(found.of_split("dev")) == 4 * 6 + 3


def test_the_same_seed_learns_the_same_prior(tiny_lm: FrozenLM, corpus_folder: Path, prior_work: Path) -> None:
    drawn = torch.get_rng_state()
    one, same = (pretrain(tiny_lm, [corpus_folder], prior_work, steps=3, seed=1) for _ in range(2))
    other = pretrain(tiny_lm, [corpus_folder], prior_work, steps=3, seed=2)
    assert one.digest == same.digest != other.digest
    assert torch.equal(torch.get_rng_state(), drawn)


def test_what_was_read_is_not_read_again(
    tiny_lm: FrozenLM, corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pretrain(tiny_lm, [corpus_folder], tmp_path, steps=1)
    monkeypatch.setattr(FrozenLM, "span_states", lambda *_, **__: pytest.fail("the LM reads again"))
    assert pretrain(tiny_lm, [corpus_folder], tmp_path, steps=1).digest == first.digest


def test_a_broken_part_is_read_again(tiny_lm: FrozenLM, corpus_folder: Path, tmp_path: Path) -> None:
    first = pretrain(tiny_lm, [corpus_folder], tmp_path, steps=1)
    for part in tmp_path.iterdir():
        part.write_bytes(b"half a file")
    assert pretrain(tiny_lm, [corpus_folder], tmp_path, steps=1).digest == first.digest


def test_progress_is_reported_to_the_end(tiny_lm: FrozenLM, corpus_folder: Path, prior_work: Path) -> None:
    totals: dict[str, int] = {}
    done: dict[str, int] = {}

    def start(label: str, total: int):  # type: ignore[no-untyped-def]
        totals[label], done[label] = total, 0

        def advance(steps: int) -> None:
            done[label] += steps

        return advance

    pretrain(tiny_lm, [corpus_folder], prior_work, steps=2, progress=start)
    assert done == totals
    assert len(totals) == 4


@pytest.mark.parametrize(
    ("kept", "sentence"),
    [(("kitchen", "garden"), 'has the split "dev"'), (("travel",), 'has the split "train"')],
)
def test_a_missing_split_is_one_sentence(
    tiny_lm: FrozenLM, tmp_path: Path, write_corpus: WriteCorpus, kept: tuple[str, ...], sentence: str
) -> None:
    for domain in kept:
        write_corpus(tmp_path / "data", domain, "dev" if domain == "travel" else "train")
    with pytest.raises(DataFormatError, match=sentence):
        pretrain(tiny_lm, [tmp_path / "data"], tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_an_empty_folder_and_a_domain_twice_are_refused(corpus_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="has no corpus"):
        read_learning_set([tmp_path])
    with pytest.raises(DataFormatError, match="rename one"):
        read_learning_set([corpus_folder, corpus_folder / "garden.jsonl"])


def test_a_fault_of_a_corpus_has_file_and_line(write_corpus: WriteCorpus, tmp_path: Path) -> None:
    path = write_corpus(tmp_path, "music", "train")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"request": "play", "calls": [{"tool": "music_flute", "args": {}}]}\n')
    count = len(path.read_text(encoding="utf-8").splitlines())
    with pytest.raises(DataFormatError, match=rf"music\.jsonl.*{count}"):
        read_learning_set([path])


def test_a_backend_without_layer_states_says_so(tiny_lm: FrozenLM, tiny_prior: PretrainedPrior) -> None:
    class Closed:
        gives_layer_states = False

    from toolken.training.lm.network import Network
    from toolken.training.prior.shipped import shipped_prior

    assert shipped_prior(Closed()) is None  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="states between layers"):
        list(Network.span_states(Closed(), tiny_lm, [[1]], [(0, 1)], (1,), None) or ())  # type: ignore[arg-type]


def test_the_card_has_counts_and_dev_figures(tiny_prior: PretrainedPrior) -> None:
    card = tiny_prior.card
    assert card["tools"] == 20
    assert card["steps"] == 20
    assert 0 <= card["dev"]["declined: thanks"] <= 1
    assert dataclasses.asdict(tiny_prior.reader) == {"layers": (1, 1)}
