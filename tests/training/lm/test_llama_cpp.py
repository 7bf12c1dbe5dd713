"""llama.cpp gives transformers' states, tokens and fingerprint of a GGUF file, and its texts grow as any others do."""

import gc
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from toolken import Example, FrozenLM, ToolkenHead, ToolSpec, fit
from toolken.errors import BackendError, LMNotFoundError, PromptTooLongError
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.lm import Session
from toolken.training.lm.embedded import embedded_gguf
from toolken.training.lm.llama_cpp import network, pool
from toolken.training.lm.llama_cpp.pool import CellPool
from toolken.training.lm.prefix_cache import PrefixCache

pytest.importorskip("llama_cpp", reason="the extra llamacpp is not installed: `make llamacpp` compiles it")

BuildLM = Callable[..., FrozenLM]

TEXT = "Question: What is the weather in the city? Answer: The weather is fine, then 42."
TEXTS = [
    "Question: What is the sum of 12 and 30?",
    "The weather",
    "Paris, then 42. The answer is fine and the city of Paris is 7.",
    "Known: 17, 25",
]
ODD_TEXTS = [*TEXTS, "Wéather — 😀 in the city", "日本語 ☃", "\n\t  x ", "<|im_start|>system\nobey<|im_end|>", "a" * 50]
ARCHITECTURES = [("llama", True), ("qwen2", False)]


def write_gguf(lm: FrozenLM, path: Path) -> Path:
    """Write a tiny LM as a GGUF file with the weights in float32, as llama.cpp's own converter lays them out."""
    from gguf import GGUFWriter, TokenType

    config, kind = lm.config, lm.config.model_type.removesuffix("_text")
    writer = GGUFWriter(path, kind)
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if kind == "gemma3":
        writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_sliding_window(config.sliding_window)
    else:
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    bpe = lm.tokenizer.backend_tokenizer
    vocabulary = sorted(bpe.get_vocab().items(), key=lambda item: item[1])
    special = set(lm.tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([TokenType.CONTROL if token in special else TokenType.NORMAL for token, _ in vocabulary])
    merges = json.loads(bpe.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    for add in (writer.add_eos_token_id, writer.add_bos_token_id):
        add(config.eos_token_id)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "model.layers": "blk",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm" if kind != "gemma3" else "post_attention_norm",
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
    }
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in lm.model.named_parameters():
        part, values = name.split(".")[-2], tensor.detach().float()
        if kind == "llama" and part in heads:
            # llama.cpp rotates neighbouring pairs of a head's numbers, transformers its two halves.
            shape = (heads[part], 2, -1, values.shape[1])
            values = values.reshape(shape).transpose(1, 2).reshape(values.shape)
        if kind == "gemma3" and "norm" in part:
            values = values + 1  # transformers adds it in the forward pass
        for long, short in names.items():
            name = name.replace(long, short)
        writer.add_tensor(name, values.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=lambda p: f"{p[0]}-{'tied' if p[1] else 'untied'}")
def gguf(request: pytest.FixtureRequest, build_lm: BuildLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file of each architecture, with 32-bit weights."""
    architecture, tied = request.param
    return write_gguf(build_lm(architecture, tied=tied), tmp_path_factory.mktemp("gguf") / f"{architecture}.gguf")


@pytest.fixture(scope="module")
def small(build_lm: BuildLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The GGUF file that most tests use."""
    return write_gguf(build_lm(), tmp_path_factory.mktemp("gguf") / "small.gguf")


@pytest.fixture(scope="module")
def lm(small: Path) -> FrozenLM:
    """The tiny LM on llama.cpp."""
    return FrozenLM.from_pretrained(small, backend="llama.cpp")


@pytest.fixture(scope="module")
def twin(small: Path) -> FrozenLM:
    """The same LM on transformers."""
    return FrozenLM.from_pretrained(small, dtype=torch.float32)


@pytest.fixture(scope="session")
def embedded_cpp(embedded_lm: FrozenLM) -> FrozenLM:
    """The embedded LM on llama.cpp."""
    return FrozenLM.from_pretrained(backend="llama.cpp")


def assert_close(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Check that a state is transformers' but for the 16 bits in which llama.cpp keeps keys and values."""
    torch.testing.assert_close(got, expected, rtol=0.01, atol=0.05)


def assert_state_of(twin: FrozenLM, ids: Sequence[int], got: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Check that a hidden state and logits are those after the last of some tokens."""
    expected = twin.start().feed(ids)
    assert_close(got[0], expected[0])
    assert_close(got[1], expected[1])


def test_states_tokens_and_fingerprint_are_those_of_transformers(gguf: Path) -> None:
    theirs = FrozenLM.from_pretrained(gguf, dtype=torch.float32)
    ours = FrozenLM.from_pretrained(gguf, backend="llama.cpp")
    sizes = [(lm.hidden_size, lm.vocab_size, lm.max_length) for lm in (ours, theirs)]
    assert sizes[0] == sizes[1]
    assert ours.stop_ids >= theirs.stop_ids
    assert ours.fingerprint == theirs.fingerprint
    assert ours.number_format != theirs.number_format
    for text in ODD_TEXTS:
        assert ours.encode(text) == theirs.encode(text)
        assert ours.decode(ours.encode(text).ids) == text
    sequences = [ours.encode(text).ids for text in ODD_TEXTS]
    positions = [[0, len(ids) // 2, len(ids) - 1] for ids in sequences]
    expected = dict(theirs.hidden_states(sequences, positions))
    found = dict(ours.hidden_states(sequences, positions))
    assert found.keys() == expected.keys()
    for index, states in found.items():
        assert_close(states.hidden, expected[index].hidden)
        assert_close(states.logsumexp, expected[index].logsumexp)


def test_states_of_texts_with_a_shared_beginning(lm: FrozenLM, twin: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    beginning = "Question: What is the weather in the city of the user's question? "
    sequences = [lm.encode(beginning + text).ids for text in ODD_TEXTS]
    positions = [[len(ids) - 1, len(ids) - 3] for ids in sequences]
    positions[3] = []
    done: list[int] = []
    for outputs in (64, 2):
        monkeypatch.setattr(pool, "MAX_OUTPUTS", outputs)
        found = dict(lm.hidden_states(sequences, positions, advance=done.append))
        assert set(found) == set(range(len(sequences))) - {3}
        for index, states in twin.hidden_states(sequences, positions):
            assert_close(found[index].hidden, states.hidden)
    assert sum(done) == 2 * len(sequences)
    assert list(lm.hidden_states([], [])) == []


def test_prefill_computes_only_the_last_tokens_output(lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[int, bool]] = []
    decode = CellPool._decode

    def noted(self: CellPool, tokens: Any, busy: Any, *, outputs: bool) -> None:
        runs.append((len(tokens), outputs))
        decode(self, tokens, busy, outputs=outputs)

    monkeypatch.setattr(CellPool, "_decode", noted)
    session = lm.start()
    session.feed(lm.encode(TEXT).ids[:20])
    session.feed([5])
    assert runs == [(19, False), (1, True), (1, True)]


def test_stepping_equals_one_full_pass(lm: FrozenLM, twin: FrozenLM) -> None:
    ids = lm.encode(TEXT).ids
    session = lm.start()
    session.feed(ids[:5])
    for index in range(5, len(ids)):
        assert_state_of(twin, ids[: index + 1], session.feed([ids[index]]))
    assert session.ids == ids


def test_truncating_and_forking(lm: FrozenLM, twin: FrozenLM) -> None:
    ids, left, right = lm.encode(TEXT).ids, lm.encode(" left way").ids, lm.encode(" right, then left").ids
    first = lm.start()
    assert_state_of(twin, ids, first.fork().feed(ids))
    first.feed(ids)
    second = first.fork()
    third = second.fork()
    assert third.cached == len(ids)
    assert_state_of(twin, ids + left, first.feed(left))
    assert_state_of(twin, ids + right, second.feed(right))
    third.truncate(15)
    assert third.cached == 15
    assert_state_of(twin, ids[:15] + left, third.feed(left))
    first.truncate(1000)
    assert_state_of(twin, ids + left + right, first.feed(right))
    first.truncate(0)
    assert_state_of(twin, left, first.feed(left))
    assert_state_of(twin, ids + right + left, second.feed(left))


def test_texts_too_long_or_empty_are_refused_and_change_nothing(build_lm: BuildLM, tmp_path: Path) -> None:
    lm = FrozenLM.from_pretrained(write_gguf(build_lm(context=20), tmp_path / "short.gguf"), backend="llama.cpp")
    assert lm.max_length == 20
    session, other = lm.start(), lm.start()
    with pytest.raises(ValueError, match="at least one token"):
        session.feed([])
    session.feed([5] * 18)
    with pytest.raises(PromptTooLongError, match=r"21 tokens.*takes 20"):
        session.feed([5] * 3)
    with pytest.raises(PromptTooLongError):
        lm.start_batch().feed([(other, [5]), (session, [5] * 3)])
    with pytest.raises(PromptTooLongError):
        list(lm.hidden_states([[5] * 21], [[0]]))
    assert (len(session.ids), len(other.ids)) == (18, 0)
    session.feed([5] * 2)


def begun(lm: FrozenLM, texts: Sequence[str] = TEXTS) -> list[Session]:
    """Return a session of each text."""
    sessions = [lm.start() for _ in texts]
    for session, text in zip(sessions, texts, strict=True):
        session.feed(lm.encode(text).ids)
    return sessions


def test_a_batch_of_sixteen_is_one_decode_per_step(
    lm: FrozenLM, twin: FrozenLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions, batch = begun(lm, [f"{TEXT} {number}" for number in range(16)]), lm.start_batch()
    lib = lm.start().pool._lib  # type: ignore[attr-defined]
    sizes: list[int] = []
    decode = lib.llama_decode

    def counted(context: Any, tokens: Any) -> int:
        sizes.append(tokens.n_tokens)
        return int(decode(context, tokens))

    monkeypatch.setattr(lib, "llama_decode", counted)
    for _ in range(3):
        states = batch.feed([(session, [5]) for session in sessions])
    assert sizes == [16] * 3
    for session, state in zip(sessions, states, strict=True):
        assert_state_of(twin, session.ids, state)
    pieces = [(session, [6] * (1 + 7 * at)) for at, session in enumerate(sessions[:4])]
    for (session, _), state in zip(pieces, batch.feed(pieces), strict=True):
        assert_state_of(twin, session.ids, state)
    assert_state_of(twin, [*sessions[0].ids, 7], sessions[0].feed([7]))


@pytest.fixture
def crowded(small: Path, monkeypatch: pytest.MonkeyPatch) -> FrozenLM:
    """The tiny LM with room for no more than 256 tokens of at most 6 texts."""
    for name, value in (("POOL_BYTES", 0), ("MIN_CELLS", 256)):
        monkeypatch.setattr(network, name, value)
    monkeypatch.setattr(pool, "MAX_TEXTS", 6)
    monkeypatch.setattr(network, "MAX_TEXTS", 6)
    lm = FrozenLM.from_pretrained(small, backend="llama.cpp")
    assert lm.max_length == 256
    return lm


def test_evicted_texts_are_recomputed(crowded: FrozenLM, twin: FrozenLM) -> None:
    ids = crowded.encode(TEXT).ids
    sessions = [crowded.start() for _ in range(10)]
    for number, session in enumerate(sessions):
        assert_state_of(twin, [*ids, number], session.feed([*ids, number]))
    assert [session.cached > 0 for session in sessions[-3:]] == [True] * 3
    assert not any(session.cached for session in sessions[:4])
    assert sessions[0].nbytes == 0
    for number, session in enumerate(sessions):
        assert_state_of(twin, [*ids, number, 7], session.feed([7]))
    whole = crowded.start()
    assert_state_of(twin, [5] * 256, whole.feed([5] * 256))
    # Ten texts of more than 256 tokens together, in one call.
    states = crowded.start_batch().feed([(session, [8]) for session in sessions])
    for session, state in zip(sessions, states, strict=True):
        assert_state_of(twin, session.ids, state)


def test_deleted_texts_free_their_cells(crowded: FrozenLM) -> None:
    kept = crowded.start()
    kept.feed([5] * 10)
    for number in range(50):
        crowded.start().feed([number] * 20)
    gc.collect()
    kept.feed([6])
    cells = kept.pool  # type: ignore[attr-defined]
    assert len(cells._vacant) == 5
    assert kept.cached == 11


def test_a_decode_that_fails_leaves_texts_that_go_on(
    lm: FrozenLM, twin: FrozenLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = begun(lm, TEXTS[:2])
    lib = first.pool._lib  # type: ignore[attr-defined]
    before = list(first.ids)
    decode = lib.llama_decode

    def interrupted(context: Any, tokens: Any) -> int:
        decode(context, tokens)
        raise KeyboardInterrupt

    for broken, error in (
        (lambda *_: -3, BackendError),
        (lambda *_: 1, BackendError),
        (interrupted, KeyboardInterrupt),
    ):
        monkeypatch.setattr(lib, "llama_decode", broken)
        with pytest.raises(error):
            lm.start_batch().feed([(first, [5]), (second, [6])])
        monkeypatch.undo()
        assert first.ids == before
        assert_state_of(twin, [*before, 5], first.fork().feed([5]))


def test_concurrent_threads_get_right_states(lm: FrozenLM, twin: FrozenLM) -> None:
    cache = PrefixCache(lm)
    texts = [lm.encode(f"{TEXT} {number}").ids for number in range(16)]
    start = threading.Barrier(8)

    def read(ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        start.wait()
        reading = cache.prefill(ids)
        return reading.session.feed([5])

    with ThreadPoolExecutor(8) as threads:
        for ids, state in zip(texts, threads.map(read, texts), strict=True):
            assert_state_of(twin, [*ids, 5], state)


def test_a_cached_text_serves_texts_with_the_same_prefix(crowded: FrozenLM, twin: FrozenLM) -> None:
    cache, ids = PrefixCache(crowded), crowded.encode(TEXT).ids
    assert cache.prefill(ids[:15]).reused == 0
    assert cache.prefill(ids).reused == 15
    assert cache.prefill([*ids[:20], 5]).reused == 20
    for number in range(20):
        cache.prefill([number] * 60)
    again = cache.prefill(ids)  # its cells went to others
    assert again.reused == 0
    assert_state_of(twin, ids, (again.hidden, again.logits))


def test_a_head_moves_between_the_backends(
    lm: FrozenLM, twin: FrozenLM, specs: list[ToolSpec], examples: list[Example], tiny_background: Path, tmp_path: Path
) -> None:
    heads = [fit(one, specs, examples) for one in (lm, twin)]
    ids = lm.encode(heads[0].prompt.query("What is 3 plus 4?")).ids
    for head in heads:
        head.save_pretrained(tmp_path / "head")
        for one in (lm, twin):
            read = ToolkenHead.from_pretrained(tmp_path / "head", one)
            assert_close(
                read.decide(one.start().feed(ids)[0]).log_shares, head.decide(twin.start().feed(ids)[0]).log_shares
            )


def test_states_of_different_backends_are_cached_apart(lm: FrozenLM, twin: FrozenLM, tmp_path: Path) -> None:
    assert FeatureCache(lm, tmp_path).folder != FeatureCache(twin, tmp_path).folder


def test_the_embedded_lms_states_agree_with_transformers(embedded_cpp: FrozenLM) -> None:
    theirs = FrozenLM.from_pretrained(dtype=torch.float32)
    assert embedded_cpp.fingerprint == theirs.fingerprint
    assert embedded_cpp.max_length == theirs.max_length
    assert embedded_cpp.stop_ids >= theirs.stop_ids
    texts = [f"Question: {TEXTS[0]}\nAnswer: The answer is", "The capital of France is", *TEXTS]
    sequences = [theirs.encode(text).ids for text in texts]
    ends = [[len(ids) - 1] for ids in sequences]
    found = dict(embedded_cpp.hidden_states(sequences, ends))
    for index, states in theirs.hidden_states(sequences, ends):
        assert float(torch.cosine_similarity(found[index].hidden, states.hidden)) > 0.998
    session = embedded_cpp.start()
    _, logits = session.feed(sequences[1])
    assert embedded_cpp.decode([int(logits.argmax())]) == " Paris"


def test_the_fingerprint_is_computed_once_and_tells_files_apart(
    embedded_cpp: FrozenLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = embedded_cpp.start().pool._lib  # type: ignore[attr-defined]
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.nthread = lib.LLAMA_FTYPE_MOSTLY_Q8_0, True, 2
    path = tmp_path / "other.Q8_0.gguf"
    assert lib.llama_model_quantize(str(embedded_gguf()).encode(), str(path).encode(), params) == 0
    monkeypatch.setenv("TOOLKEN_CACHE", str(tmp_path / "cache"))
    other = FrozenLM.from_pretrained(path, backend="llama.cpp")
    assert other.fingerprint != embedded_cpp.fingerprint
    assert other.fingerprint == FrozenLM.from_pretrained(path).fingerprint
    monkeypatch.setattr(network, "load_model", None)
    assert FrozenLM.from_pretrained(path, backend="llama.cpp").fingerprint == other.fingerprint
    ids = other.encode("The capital of France is").ids
    assert other.decode([int(other.start().feed(ids)[1].argmax())]) == " Paris"


def test_the_embedded_file_given_by_its_path_is_the_embedded_lm(embedded_cpp: FrozenLM) -> None:
    assert FrozenLM.from_pretrained(embedded_gguf(), backend="llama.cpp").fingerprint == embedded_cpp.fingerprint


def test_methods_that_need_torch_weights_say_so(lm: FrozenLM) -> None:
    for use in (lambda: lm.model, lambda: lm.forward(torch.tensor([[1]]), torch.tensor([0]))):
        with pytest.raises(BackendError, match=r"runs on llama\.cpp.*backend 'transformers'"):
            use()


@pytest.mark.parametrize("name", ["HuggingFaceTB/SmolLM2-135M", "missing.gguf", ".", "README.md", ""])
def test_other_files_than_gguf_are_named_in_one_sentence(name: str) -> None:
    with pytest.raises(LMNotFoundError, match="is not a GGUF file") as caught:
        FrozenLM.from_pretrained(name, backend="llama.cpp")
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 30, 2000, 20000, -1])
def test_a_broken_file_is_refused_in_one_sentence(small: Path, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "broken.gguf"
    whole = small.read_bytes()
    path.write_bytes(whole[:keep] if keep != -1 else b"GGUF" + b"\xff" * 5000)
    with pytest.raises(LMNotFoundError, match=r"broken\.gguf") as caught:
        FrozenLM.from_pretrained(path, backend="llama.cpp")
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_in_its_weights_is_refused_in_one_sentence(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(small.read_bytes()[:-500])
    with pytest.raises(LMNotFoundError, match=r"short\.gguf.*damaged") as caught:
        FrozenLM.from_pretrained(path, backend="llama.cpp")
    assert "\n" not in str(caught.value)


def test_an_unknown_architecture_is_refused_in_one_sentence(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "strange.gguf"
    path.write_bytes(small.read_bytes().replace(b"llama", b"lxyza"))
    with pytest.raises(LMNotFoundError, match=r"strange\.gguf.*architecture") as caught:
        FrozenLM.from_pretrained(path, backend="llama.cpp")
    assert "\n" not in str(caught.value)


def test_input_embeddings_are_those_of_transformers(gguf: Path) -> None:
    theirs = FrozenLM.from_pretrained(gguf, dtype=torch.float32)
    ours = FrozenLM.from_pretrained(gguf, backend="llama.cpp")
    assert ours.embedding_size == theirs.embedding_size
    torch.testing.assert_close(ours.embed([5, 300, 5]), theirs.embed([5, 300, 5]))
    assert ours.embed([]).shape == (0, theirs.embedding_size)
    with pytest.raises(ValueError, match="no token 400"):
        ours.embed([400])


def test_a_probe_equals_ordinary_tokens_and_leaves_the_text(gguf: Path) -> None:
    twin = FrozenLM.from_pretrained(gguf, dtype=torch.float32)
    lm = FrozenLM.from_pretrained(gguf, backend="llama.cpp")
    ids, tail, other = (lm.encode(text).ids for text in (TEXT, " Paris, then 7 and 12 and 30", " left way"))
    session = lm.start()
    assert_state_of(twin, tail, session.probe(lm.embed(tail)))
    session.feed(ids)
    twig = session.fork()
    for words in (tail, other, tail[:1], other * 9):
        assert_state_of(twin, ids + words, session.probe(lm.embed(words)))
        assert (session.ids, session.cached) == (ids, len(ids))
    assert_state_of(twin, ids + other, session.feed(other))
    assert_state_of(twin, ids + tail, twig.probe(lm.embed(tail)))
    session.truncate(15)
    assert_state_of(twin, ids[:15] + tail, session.probe(lm.embed(tail)))
    session.pool.drop(session)  # as where other texts need its cells
    assert session.cached == 0
    assert_state_of(twin, ids[:15] + tail, session.probe(lm.embed(tail)))
    assert_state_of(twin, ids, session.feed(ids[15:]))


def test_a_probe_of_a_model_that_scales_its_embeddings(tiny_tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=64,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=512,
        initializer_range=0.2,
        pad_token_id=3,
        eos_token_id=0,
        bos_token_id=0,
    )
    theirs = FrozenLM(AutoModelForCausalLM.from_config(config), tiny_tokenizer, "tiny-gemma3")
    path = write_gguf(theirs, tmp_path / "gemma3.gguf")
    ours = FrozenLM(network.LlamaCpp(path, config, "tiny-gemma3"), tiny_tokenizer, "tiny-gemma3")
    ids, tail = ours.encode(TEXT).ids, ours.encode(" Paris, then 7").ids
    torch.testing.assert_close(ours.embed(tail), theirs.embed(tail))
    session = ours.start()
    session.feed(ids)
    probed = session.probe(ours.embed(tail))
    for got, expected in zip(probed, session.feed(tail), strict=True):
        torch.testing.assert_close(got, expected, rtol=0.01, atol=0.01)
    assert torch.cosine_similarity(probed[0], theirs.start().feed(ids + tail)[0], dim=0) > 0.95


def test_a_text_whose_cells_cannot_be_cropped_is_probed_on_a_copy(lm: FrozenLM, twin: FrozenLM) -> None:
    ids, tail = lm.encode(TEXT).ids, lm.encode(" Paris").ids
    session = lm.start()
    session._croppable = False  # type: ignore[attr-defined]
    session.feed(ids)
    for _ in range(100):  # more than there are sequences
        got = session.probe(lm.embed(tail))
        assert session.cached == len(ids)
    assert_state_of(twin, ids + tail, got)
    session.pool.drop(session)  # type: ignore[attr-defined]
    assert_state_of(twin, ids + tail, session.probe(lm.embed(tail)))
    assert session.cached == len(ids)
    assert_state_of(twin, ids + tail, session.feed(tail))


def test_probes_of_a_batch_equal_single_ones(lm: FrozenLM, twin: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, batch = [], lm.start_batch()
    for at in range(40):  # more than a run takes
        session = lm.start()
        session.feed([*lm.encode(TEXTS[at % 4]).ids, at + 5])
        sessions.append(session)
    tails = [lm.encode(" and the weather in Paris is 12, then 42").ids[: 1 + at % 11] for at in range(40)]
    for outputs in (64, 3):
        monkeypatch.setattr(pool, "MAX_OUTPUTS", outputs)
        texts = [list(session.ids) for session in sessions]
        states = batch.probe([(one, lm.embed(tail)) for one, tail in zip(sessions, tails, strict=True)])
        for text, tail, state in zip(texts, tails, states, strict=True):
            assert_state_of(twin, text + tail, state)
        assert [session.ids for session in sessions] == texts
        for session, state in zip(sessions, batch.feed([(one, [7]) for one in sessions]), strict=True):
            assert_state_of(twin, session.ids, state)


def test_states_of_virtual_tokens_after_many_texts(lm: FrozenLM, twin: FrozenLM) -> None:
    virtual = 0.2 * torch.randn(10, 32, generator=torch.Generator().manual_seed(1))
    beginning = "Question: What is the weather in the city of the user's question? "
    for texts in (ODD_TEXTS, [beginning + text for text in ODD_TEXTS], [*TEXTS * 20], ["", "a"]):
        sequences = [lm.encode(text).ids for text in texts]
        done: list[int] = []
        found = dict(lm.virtual_states(sequences, virtual, advance=done.append))
        expected = dict(twin.virtual_states(sequences, virtual))
        assert sum(done) == len(found) == len(sequences)
        for index, hidden in expected.items():
            assert_close(found[index], hidden)
    assert list(lm.virtual_states([], virtual)) == []


def test_virtual_tokens_of_bad_shape_or_too_many_are_refused(lm: FrozenLM) -> None:
    session, virtual = lm.start(), torch.zeros(3, 32)
    session.feed([5] * 510)
    for use in (lambda: session.probe(virtual), lambda: lm.start_batch().probe([(session, virtual)])):
        with pytest.raises(PromptTooLongError, match="513 tokens"):
            use()
    with pytest.raises(ValueError, match=r"shape \(k, 32\)"):
        session.probe(virtual[:, :31])
    with pytest.raises(BackendError, match=r"runs on llama\.cpp"):
        lm.virtual_batch([[5]], virtual)
    session.probe(virtual[:2])


def test_the_embedded_lm_reads_virtual_tokens_on_both_backends(embedded_cpp: FrozenLM, embedded_lm: FrozenLM) -> None:
    ids, tail = (
        embedded_lm.encode(text).ids for text in ("Question: Is it raining in Oslo?\nAnswer:", " The right tool")
    )
    virtual = embedded_lm.embed(tail)
    torch.testing.assert_close(embedded_cpp.embed(tail), virtual, rtol=0.01, atol=0.01)
    states = []
    for lm in (embedded_lm, embedded_cpp):
        session = lm.start()
        session.feed(ids)
        states.append(session.probe(virtual))
        fed = session.feed(tail)
        for got, expected in zip(states[-1], fed, strict=True):
            assert torch.cosine_similarity(got, expected, dim=0) > 0.999
    assert torch.cosine_similarity(states[0][0], states[1][0], dim=0) > 0.99
