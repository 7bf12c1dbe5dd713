"""Virtual tokens equal ordinary tokens of the same embeddings, leave texts as they are, and get exact gradients."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from toolken import FrozenLM
from toolken.errors import BackendError, PromptTooLongError
from toolken.training.lm import Session
from toolken.training.lm.pytorch import network as tensor_network
from toolken.training.lm.pytorch.batch import TensorBatch
from toolken.training.lm.pytorch.kept_texts import KeptTexts, computed_caches
from toolken.training.lm.pytorch.llama import Llama
from toolken.training.lm.pytorch.virtual_support import VirtualSupport
from toolken.training.lm.session import State

BuildLM = Callable[..., FrozenLM]

TEXT = "Question: What is the weather in the city? Answer: The weather is fine, then 42."
TEXTS = [
    "Question: What is the sum of 12 and 30?",
    "The weather",
    "Paris, then 42. The answer is fine and the city of Paris is 7.",
    "Known: 17, 25",
]
BEGINNING = "Question: What is the weather in the city of the user's question? "
#: Architectures that `build_lm` lacks: with two kinds of windows and scaled embeddings, with narrow embeddings, with
#: ALiBi, and with recurrent layers.
OTHERS = ["gemma3_text", "opt", "bloom", "lfm2"]


def build_other(architecture: str, tokenizer: Any, **changes: Any) -> FrozenLM:
    """Build a tiny random LM of an architecture that `build_lm` lacks."""
    from transformers import AutoConfig, AutoModelForCausalLM

    layers: dict[str, Any] = {
        "lfm2": {
            "num_hidden_layers": 2,
            "intermediate_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "layer_types": ["conv", "full_attention"],
        },
        "bloom": {"n_layer": 2, "n_head": 4},
        "gemma3_text": {
            "num_hidden_layers": 2,
            "intermediate_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        "opt": {"num_hidden_layers": 2, "ffn_dim": 64, "num_attention_heads": 4, "word_embed_proj_dim": 16},
    }[architecture]
    config = AutoConfig.for_model(
        architecture, vocab_size=len(tokenizer), hidden_size=32, pad_token_id=3, **layers, **changes
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    return FrozenLM(model, tokenizer, f"tiny-{architecture}")


@pytest.fixture(params=["llama", "own llama", "qwen2", "gpt_neox", "gpt2", "mistral", *OTHERS], scope="module")
def lm(
    request: pytest.FixtureRequest, build_lm: BuildLM, tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> FrozenLM:
    """A tiny LM of each architecture; mistral and gemma3 have sliding windows of 16 and 8 tokens."""
    if request.param == "own llama":
        lm = build_lm()
        folder = tmp_path_factory.mktemp("llama")
        lm.model.save_pretrained(folder)
        llama = Llama.from_folder(folder, torch.float32)
        assert llama is not None
        return FrozenLM(llama, lm.tokenizer, "own")
    if request.param in OTHERS:
        return build_other(request.param, tiny_tokenizer)
    return build_lm(request.param, tied=False)


def assert_same(got: State, expected: State) -> None:
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def state_of(lm: FrozenLM, ids: Sequence[int]) -> State:
    """Return the state after the last of some tokens, from one pass without a KV cache."""
    hidden, logits = lm.forward(torch.tensor([list(ids)]), torch.tensor([len(ids) - 1]), use_cache=False)
    return hidden[0].float(), logits[0].float()


def random_virtual(lm: FrozenLM, count: int, seed: int = 1) -> torch.Tensor:
    """Return virtual tokens with the spread of the LM's input embeddings."""
    scale = lm.embed(range(100)).std()
    return scale * torch.randn(count, lm.embedding_size, generator=torch.Generator().manual_seed(seed))


def test_embeddings_have_the_width_of_the_input(lm: FrozenLM) -> None:
    embeddings = lm.embed([5, 6, 5])
    assert embeddings.shape == (3, lm.embedding_size)
    assert embeddings.dtype == torch.float32
    assert torch.equal(embeddings[0], embeddings[2])
    assert not torch.equal(embeddings[0], embeddings[1])
    assert lm.embed([]).shape == (0, lm.embedding_size)
    for wrong in (-1, lm.vocab_size):
        with pytest.raises(ValueError, match=f"no token {wrong}"):
            lm.embed([5, wrong])


def test_a_probe_equals_ordinary_tokens_and_leaves_the_text(lm: FrozenLM) -> None:
    ids, tail, other = (lm.encode(text).ids for text in (TEXT, " Paris, then 7", " left way"))
    session = lm.start()
    session.feed(ids[:-4])
    session.feed(ids[-4:])
    size = session.nbytes
    for words in (tail, other, tail[:1]):
        assert_same(session.probe(lm.embed(words)), state_of(lm, ids + words))
        assert (session.ids, session.cached, session.nbytes) == (ids, len(ids), size)
    assert_same(session.feed(other), state_of(lm, ids + other))
    assert_same(session.probe(lm.embed(tail)), state_of(lm, ids + other + tail))


def test_a_probe_before_any_text(lm: FrozenLM) -> None:
    ids = lm.encode(TEXT).ids
    session = lm.start()
    assert_same(session.probe(lm.embed(ids[:5])), state_of(lm, ids[:5]))
    assert session.ids == []
    assert_same(session.feed(ids), state_of(lm, ids))


def test_a_probe_after_going_back(lm: FrozenLM) -> None:
    ids, tail = lm.encode(TEXT).ids, lm.encode(" Paris").ids
    session = lm.start()
    session.feed(ids)
    length = len(ids) - 5
    session.truncate(length)  # empties KV caches that cannot be cropped
    assert_same(session.probe(lm.embed(tail)), state_of(lm, ids[:length] + tail))
    assert_same(session.feed(ids[length:]), state_of(lm, ids))


def test_a_fork_does_not_see_a_probe(lm: FrozenLM) -> None:
    ids, tail = lm.encode(TEXT).ids, lm.encode(" Paris").ids
    session = lm.start()
    session.feed(ids)
    twin = session.fork()
    session.probe(random_virtual(lm, 6))
    assert_same(twin.probe(lm.embed(tail)), state_of(lm, ids + tail))
    assert_same(twin.feed(tail), state_of(lm, ids + tail))


def begun(lm: FrozenLM) -> list[Session]:
    """Return a session of each text."""
    sessions = []
    for text in TEXTS:
        session = lm.start()
        session.feed(lm.encode(text).ids)
        sessions.append(session)
    return sessions


def test_probes_of_a_batch_equal_single_ones(lm: FrozenLM) -> None:
    sessions, batch = begun(lm), lm.start_batch()
    tails = [lm.encode(text).ids for text in (" Paris", " and the weather in 12", " a", " 42 and 7")]
    for step in range(3):
        texts = [list(session.ids) for session in sessions]
        states = batch.probe([(one, lm.embed(tail)) for one, tail in zip(sessions, tails, strict=True)])
        for text, tail, state in zip(texts, tails, states, strict=True):
            assert_same(state, state_of(lm, text + tail))
        some = batch.probe([(sessions[at], lm.embed(tails[at])) for at in (2, 0)])
        for at, state in zip((2, 0), some, strict=True):
            assert_same(state, state_of(lm, texts[at] + tails[at]))
        assert [session.ids for session in sessions] == texts
        fed = batch.feed([(session, [5 + step]) for session in sessions])
        for session, state in zip(sessions, fed, strict=True):
            assert_same(state, state_of(lm, session.ids))
    for session in sessions:
        assert_same(session.feed([9]), state_of(lm, session.ids))


def test_a_batch_probes_with_one_run(tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, batch, virtual = begun(tiny_lm), TensorBatch(tiny_lm), random_virtual(tiny_lm, 8)
    rows: list[int] = []
    whole = tiny_lm.forward

    def counted(ids: torch.Tensor | None, select: torch.Tensor, **options: Any) -> Any:
        given = options["embeddings"] if ids is None else ids
        rows.append(len(given))
        return whole(ids, select, **options)

    monkeypatch.setattr(tiny_lm, "forward", counted)
    for _ in range(40):  # more columns than a batch has to spare
        batch.probe([(session, virtual) for session in sessions])
        batch.feed([(session, [5]) for session in sessions])
    assert rows == [4] * 80


def test_a_probe_that_fails_leaves_the_batch(tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, batch, virtual = begun(tiny_lm), TensorBatch(tiny_lm), random_virtual(tiny_lm, 3)
    batch.feed([(session, [5]) for session in sessions])
    whole = tiny_lm.forward

    def half(*arguments: Any, **options: Any) -> None:
        whole(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(tiny_lm, "forward", half)
    with pytest.raises(KeyboardInterrupt):
        batch.probe([(session, virtual) for session in sessions])
    with pytest.raises(KeyboardInterrupt):
        sessions[0].probe(virtual)
    monkeypatch.undo()
    for session, state in zip(sessions, batch.feed([(session, [7]) for session in sessions]), strict=True):
        assert session.ids[-2:] == [5, 7]
        assert_same(state, state_of(tiny_lm, session.ids))


def test_states_of_many_texts_equal_single_ones(lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = lm.encode(" Paris, then 7").ids
    for texts in (TEXTS, [BEGINNING + text for text in TEXTS], [TEXT, TEXT, TEXT]):
        sequences = [lm.encode(text).ids for text in texts]
        for most in (512, 40):
            monkeypatch.setattr(tensor_network, "CPU_BATCH_TOKENS", most)
            done: list[int] = []
            found = dict(lm.virtual_states(sequences, lm.embed(tail), advance=done.append))
            assert sum(done) == len(found) == len(sequences)
            for at, ids in enumerate(sequences):
                torch.testing.assert_close(found[at], state_of(lm, ids + tail)[0], rtol=1e-4, atol=1e-4)
                assert not found[at].requires_grad
    assert list(lm.virtual_states([], lm.embed(tail))) == []
    torch.testing.assert_close(
        dict(lm.virtual_states([[], [5]], lm.embed(tail)))[0], state_of(lm, tail)[0], rtol=1e-4, atol=1e-4
    )


def test_a_shared_prefix_is_computed_once(tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = [tiny_lm.encode(BEGINNING + text).ids for text in TEXTS]
    virtual = random_virtual(tiny_lm, 4)
    list(tiny_lm.virtual_states(sequences, virtual))  # the first call tries what the LM can do
    tokens: list[int] = []
    shared = len(tiny_lm.encode(BEGINNING).ids) - 1
    whole = tiny_lm.forward

    def counted(ids: torch.Tensor | None, select: torch.Tensor, **options: Any) -> Any:
        given = options["embeddings"] if ids is None else ids
        tokens.append(given.shape[0] * given.shape[1])
        return whole(ids, select, **options)

    monkeypatch.setattr(tiny_lm, "forward", counted)
    list(tiny_lm.virtual_states(sequences, virtual))
    assert tokens[0] >= shared
    assert sum(tokens[1:]) <= 4 * (max(map(len, sequences)) - shared + 4)
    tokens.clear()
    computed_caches(tiny_lm, sequences)
    assert tokens[0] >= shared
    assert sum(tokens[1:]) <= 4 * (max(map(len, sequences)) - shared)


def loss_of(hidden: torch.Tensor) -> torch.Tensor:
    """Return a number that depends on each state in another way."""
    weights = torch.linspace(-1, 1, hidden.numel()).reshape(hidden.shape)
    return (hidden * weights).sum() + (hidden.square() * weights.cos()).mean()


def full_pass(lm: FrozenLM, sequences: Sequence[Sequence[int]], virtual: torch.Tensor) -> torch.Tensor:
    """Return the states from a pass with gradients over each whole text, alone and without a KV cache."""
    hidden = []
    for ids in sequences:
        embeddings = torch.cat([lm.embed(ids), virtual])[None]
        select = torch.tensor([embeddings.shape[1] - 1])
        hidden.append(lm._tensor_network().forward(None, select, embeddings=embeddings, use_cache=False)[0][0])
    return torch.stack(hidden)


@pytest.mark.parametrize("texts", [TEXTS, [BEGINNING + text for text in TEXTS], [TEXT, TEXT], [TEXT]])
def test_states_and_gradients_are_those_of_a_full_pass(lm: FrozenLM, texts: Sequence[str]) -> None:
    sequences = [lm.encode(text).ids for text in texts]
    kept = KeptTexts(lm)
    expected_virtual = random_virtual(lm, 5).requires_grad_()
    expected = full_pass(lm, sequences, expected_virtual)
    loss_of(expected).backward()
    for options in ({}, {"kept": kept}, {"kept": kept}):
        virtual = random_virtual(lm, 5).requires_grad_()
        hidden = lm.virtual_batch(sequences, virtual, **options)
        assert hidden.dtype == torch.float32
        torch.testing.assert_close(hidden, expected, rtol=1e-4, atol=1e-4)
        loss_of(hidden).backward()
        torch.testing.assert_close(virtual.grad, expected_virtual.grad, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        assert not lm.virtual_batch(sequences, expected_virtual).requires_grad


def test_the_backward_pass_goes_through_the_virtual_tokens_only(lm: FrozenLM) -> None:
    network = lm._tensor_network()
    assert network.virtual_support(lm) == VirtualSupport(cached=lm.name != "tiny-lfm2")


def test_padding_has_no_influence(lm: FrozenLM) -> None:
    short, long = lm.encode("The weather").ids, lm.encode(TEXT * 2).ids
    gradients = []
    for sequences in ([short], [short, long], [long, long[:30], short]):
        virtual = random_virtual(lm, 3).requires_grad_()
        hidden = lm.virtual_batch(sequences, virtual)[sequences.index(short)]
        loss_of(hidden).backward()
        gradients.append(virtual.grad)
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-3, atol=1e-4)


def test_weights_in_bfloat16_give_gradients_in_float32(build_lm: BuildLM) -> None:
    single, half = build_lm("qwen2"), build_lm("qwen2", dtype=torch.bfloat16)
    sequences = [single.encode(text).ids for text in TEXTS]
    gradients = []
    for lm in (single, half):
        virtual = random_virtual(single, 4).requires_grad_()
        hidden = lm.virtual_batch(sequences, virtual)
        loss_of(hidden).backward()
        assert virtual.grad is not None
        assert hidden.dtype == virtual.grad.dtype == torch.float32
        gradients.append(virtual.grad.flatten())
        assert lm.start().probe(virtual)[0].dtype == torch.float32
        found = dict(lm.virtual_states(sequences, virtual))
        torch.testing.assert_close(torch.stack([found[at] for at in range(4)]), hidden, rtol=0.1, atol=0.1)
    # Gradients are summed over the texts in float32: they are not numbers of the coarser format.
    assert not torch.equal(gradients[1], gradients[1].bfloat16().float())
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_nothing_but_virtual_tokens_gets_a_gradient(tiny_lm: FrozenLM) -> None:
    virtual = random_virtual(tiny_lm, 4).requires_grad_()
    loss_of(tiny_lm.virtual_batch([[5, 6, 7], [8]], virtual)).backward()
    assert virtual.grad is not None
    assert all(weight.grad is None for weight in tiny_lm.model.parameters())


def test_kept_texts_are_computed_once_and_bounded(tiny_lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    virtual, sequences = random_virtual(tiny_lm, 4), [[at] * 10 for at in range(5, 10)]
    (one,) = computed_caches(tiny_lm, sequences[:1])
    kept = KeptTexts(tiny_lm, max_bytes=3 * one.nbytes)
    expected = tiny_lm.virtual_batch(sequences, virtual)
    runs: list[tuple[int, ...]] = []
    whole = tiny_lm.forward

    def counted(ids: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        runs.append(tuple(ids.shape))
        return whole(ids, *arguments, **options)

    monkeypatch.setattr(tiny_lm, "forward", counted)
    for count in (5, 2, 2):
        runs.clear()
        torch.testing.assert_close(tiny_lm.virtual_batch(sequences, virtual, kept=kept), expected)
        assert runs == [(count, 10)]
        assert (len(kept), kept.nbytes) == (3, 3 * one.nbytes)
    storages = {keys.untyped_storage().nbytes() for text in kept._texts.values() for keys, _ in text.layers}
    assert storages == {one.layers[0][0].nbytes}  # nothing else of its batch stays in memory
    runs.clear()
    tiny_lm.virtual_batch([sequences[4], sequences[0], sequences[4]], virtual, kept=kept)
    assert runs == [(1, 10)]
    kept.clear()
    assert (len(kept), kept.nbytes) == (0, 0)
    tiny_lm.virtual_batch(sequences[3:], virtual, kept=kept)
    assert len(kept) == 2


def test_what_does_not_fit_the_context_is_refused(build_lm: BuildLM) -> None:
    lm = build_lm(context=20)
    session, virtual = lm.start(), random_virtual(lm, 3)
    session.feed([5] * 18)
    for use in (
        lambda: session.probe(virtual),
        lambda: lm.start_batch().probe([(session, virtual)]),
        lambda: lm.virtual_batch([[5] * 18], virtual),
        lambda: list(lm.virtual_states([[5] * 18], virtual)),
    ):
        with pytest.raises(PromptTooLongError, match=r"takes 20"):
            use()
    assert session.ids == [5] * 18
    session.probe(virtual[:2])


@pytest.mark.parametrize("shape", [(3,), (0, 32), (3, 31), (1, 3, 32)])
def test_a_tensor_of_another_shape_is_refused(tiny_lm: FrozenLM, shape: tuple[int, ...]) -> None:
    virtual = torch.zeros(shape)
    for use in (
        lambda: tiny_lm.start().probe(virtual),
        lambda: tiny_lm.virtual_batch([[5]], virtual),
        lambda: list(tiny_lm.virtual_states([[5]], virtual)),
    ):
        with pytest.raises(ValueError, match=r"shape \(k, 32\)"):
            use()


def test_integers_and_empty_texts_are_refused(tiny_lm: FrozenLM) -> None:
    with pytest.raises(ValueError, match="floating-point"):
        tiny_lm.start().probe(torch.zeros(2, 32, dtype=torch.long))
    with pytest.raises(ValueError, match="at least one token"):
        tiny_lm.virtual_batch([[5], []], random_virtual(tiny_lm, 2))
    assert tiny_lm.virtual_batch([], random_virtual(tiny_lm, 2)).shape == (0, 32)


def test_a_model_without_input_embeddings_is_named(build_lm: BuildLM, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = build_lm()
    whole = lm.model.forward

    def ids_only(input_ids: torch.Tensor, **options: Any) -> Any:
        return whole(input_ids=input_ids, **options)

    monkeypatch.setattr(lm.model, "forward", ids_only)
    virtual = torch.zeros(2, 32)
    for use in (
        lambda: lm.start().probe(virtual),
        lambda: lm.virtual_batch([[5]], virtual),
        lambda: list(lm.virtual_states([[5]], virtual)),
    ):
        with pytest.raises(BackendError, match="tiny-llama-0 does not take input embeddings") as caught:
            use()
        assert str(caught.value).count("input embeddings") == 1


def test_a_model_with_further_embeddings_of_token_ids(build_lm: BuildLM, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = build_lm()
    whole, table = lm.model.forward, torch.randn(400, 32)

    def with_more(input_ids: Any = None, inputs_embeds: Any = None, **options: Any) -> Any:
        if input_ids is not None:
            inputs_embeds = lm.model.get_input_embeddings()(input_ids) + table[input_ids]
        return whole(inputs_embeds=inputs_embeds, **options)

    monkeypatch.setattr(lm.model, "forward", with_more)
    sequences, virtual = [lm.encode(text).ids for text in TEXTS], random_virtual(lm, 3)
    found = dict(lm.virtual_states(sequences, virtual))
    batch = lm.virtual_batch(sequences, virtual)
    for at, session in enumerate(begun(lm)):
        torch.testing.assert_close(found[at], session.probe(virtual)[0])
        torch.testing.assert_close(batch[at], found[at], rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(
        lm._tensor_network(), "virtual_support", lambda lm: VirtualSupport(embeddings=False, cached=False)
    )
    with pytest.raises(BackendError, match=r"tiny-llama-0.*'llama'"):
        lm.virtual_batch(sequences, virtual)


def test_the_twin_of_transformers_gives_the_same(build_lm: BuildLM, tmp_path: Path) -> None:
    theirs = build_lm()
    theirs.model.save_pretrained(tmp_path)
    llama = Llama.from_folder(tmp_path, torch.float32)
    own = FrozenLM(llama, theirs.tokenizer, "own")
    sequences, virtual = [own.encode(text).ids for text in TEXTS], random_virtual(own, 4)
    torch.testing.assert_close(own.virtual_batch(sequences, virtual), theirs.virtual_batch(sequences, virtual))
    assert_same(own.start().probe(virtual), theirs.start().probe(virtual))
