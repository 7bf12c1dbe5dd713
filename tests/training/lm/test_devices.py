"""Hidden states, logits and KV caches stay on the LM's device.

No GPU is needed: under `FakeTensorMode` a CPU build of PyTorch takes tensors of another device, refuses operations on
tensors of two devices, and refuses to read a value back, as `item` and `tolist` would. The meta device refuses the same
without the mode.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from toolken import FrozenLM
from toolken.errors import BackendError, LMNotFoundError
from toolken.training.features.decision_states import GROUP, moved_to_cpu
from toolken.training.lm import checkpoint
from toolken.training.lm.prefix_cache import PrefixCache
from toolken.training.lm.pytorch.cache_support import CacheSupport
from toolken.training.lm.pytorch.kept_texts import KeptTexts
from toolken.training.lm.pytorch.virtual_support import VirtualSupport
from toolken.training.lm.state_memory import StateMemory
from toolken.training.lm.states import States, on_cpu

BuildLM = Callable[..., FrozenLM]

#: Stands for any accelerator. Indexing a tensor needs the guard of its device type, which a CPU build has for this type
#: and not for `"cuda"`.
ACCELERATOR = "lazy:0"


@pytest.fixture
def without_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the three trials that compare values, which tensors without values do not have."""
    module = "toolken.training.lm.pytorch.transformers_network"
    monkeypatch.setattr(f"{module}.looks_ahead", lambda network: False)
    # A copied tensor keeps its mode: two modes do not mix.
    monkeypatch.setattr(FakeTensorMode, "__deepcopy__", lambda mode, memo: mode, raising=False)
    monkeypatch.setattr(f"{module}.tried_continuation", lambda lm: CacheSupport())
    monkeypatch.setattr(f"{module}.tried_virtual_tokens", lambda lm: VirtualSupport())


@pytest.fixture
def meta_lm(build_lm: BuildLM, without_trials: None) -> FrozenLM:
    """A tiny LM on the meta device."""
    with torch.device("meta"):
        return build_lm()


@pytest.fixture(scope="module")
def fake_mode() -> FakeTensorMode:
    """One mode for all tests: transformers caches tensors, and two modes do not mix."""
    return FakeTensorMode()


@pytest.fixture(params=["llama", "gpt2", "mistral"])
def device_lm(
    request: pytest.FixtureRequest, build_lm: BuildLM, without_trials: None, fake_mode: FakeTensorMode
) -> Iterator[FrozenLM]:
    """A tiny LM whose weights are on an accelerator and have no values; mistral has a sliding window."""
    with torch.device("meta"):
        lm = build_lm(request.param)
    with fake_mode:
        put_on_accelerator(lm.model)
        yield lm


def put_on_accelerator(model: torch.nn.Module) -> None:
    """Replace parameters and buffers by tensors without values on an accelerator, tied ones by the same tensor."""
    moved: dict[torch.Tensor, torch.Tensor] = {}
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None and tensor not in moved:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=ACCELERATOR)
                    moved[tensor] = torch.nn.Parameter(empty, False) if held is module._parameters else empty
                held[name] = moved[tensor] if tensor is not None else None  # type: ignore[assignment]


def assert_on_device(lm: FrozenLM, *tensors: torch.Tensor) -> None:
    """Check that tensors are on the LM's device, in single precision."""
    for tensor in tensors:
        assert tensor.device.type == lm.device.type
        assert tensor.dtype == torch.float32


def test_the_device_is_that_of_the_weights(device_lm: FrozenLM) -> None:
    assert device_lm.device.type == device_lm.model.get_output_embeddings().weight.device.type == "lazy"


def test_prefill_and_decoding_stay_on_the_device(device_lm: FrozenLM) -> None:
    session = device_lm.start()
    for ids in ([5, 6, 7, 8], [9], [10], [11, 12]):
        hidden, logits = session.feed(ids)
        assert_on_device(device_lm, hidden, logits)
        assert (hidden.shape, logits.shape) == ((device_lm.hidden_size,), (device_lm.vocab_size,))
    session.truncate(3)
    assert_on_device(device_lm, *session.fork().feed([4]))


def test_the_prefix_cache_stays_on_the_device(device_lm: FrozenLM) -> None:
    cache = PrefixCache(device_lm)
    for ids in ([5, 6, 7, 8], [5, 6, 7, 9, 10]):
        prefill = cache.prefill(ids)
        assert_on_device(device_lm, prefill.hidden, prefill.logits)
    assert cache.nbytes > 0


def test_virtual_tokens_stay_on_the_device(device_lm: FrozenLM) -> None:
    embeddings = device_lm.embed([5, 6, 7])
    assert_on_device(device_lm, embeddings)
    kept = KeptTexts(device_lm)
    for virtual in (embeddings, torch.zeros(3, device_lm.embedding_size)):  # the caller's may be on the CPU
        sessions = [device_lm.start() for _ in range(3)]
        for length, session in enumerate(sessions, 2):
            assert_on_device(device_lm, *session.probe(virtual))
            session.feed([5] * length)
        for hidden, logits in device_lm.start_batch().probe([(session, virtual) for session in sessions]):
            assert_on_device(device_lm, hidden, logits)
        beginning = list(range(5, 25))
        for texts in ([[5, 6, 7], [8]], [[*beginning, 5, 6], [*beginning, 7]]):
            assert_on_device(device_lm, *(hidden for _, hidden in device_lm.virtual_states(texts, virtual)))
            learned = virtual.clone().requires_grad_()
            for options in ({}, {"kept": kept}):
                hidden = device_lm.virtual_batch(texts, learned, **options)
                assert_on_device(device_lm, hidden)
                hidden.sum().backward()
                assert learned.grad is not None
                assert learned.grad.device == virtual.device
    assert kept.nbytes > 0


def test_batched_decoding_stays_on_the_device(device_lm: FrozenLM) -> None:
    sessions = [device_lm.start() for _ in range(3)]
    for length, session in enumerate(sessions, 2):
        session.feed([5] * length)
    batch = device_lm.start_batch()
    for pieces in ([[6], [7], [8, 9]], [[6, 7], [8], [9]]):
        for hidden, logits in batch.feed(list(zip(sessions, pieces, strict=True))):
            assert_on_device(device_lm, hidden, logits)
    assert_on_device(device_lm, *sessions[0].feed([10]))
    newcomer = device_lm.start()
    newcomer.feed([5, 6])
    for hidden, logits in batch.feed([(sessions[1], [6]), (sessions[2], [7]), (newcomer, [8])]):
        assert_on_device(device_lm, hidden, logits)


def test_states_of_a_feature_pass_stay_on_the_device(device_lm: FrozenLM) -> None:
    common = list(range(5, 25))
    sequences = [[*common, 30 + at] for at in range(4)]
    for source in (device_lm, StateMemory(device_lm)):
        found = dict(source.hidden_states(sequences, [[len(ids) - 2, len(ids) - 1] for ids in sequences]))
        assert set(found) == {0, 1, 2, 3}
        for states in found.values():
            assert_on_device(device_lm, states.hidden, states.logsumexp)


def test_a_heads_products_with_the_states_run_on_the_device(device_lm: FrozenLM) -> None:
    hidden, logits = device_lm.start().feed([5, 6, 7])
    output_embeddings = torch.zeros(4, device_lm.hidden_size, device=device_lm.device)
    biases = torch.zeros(4, device=device_lm.device)
    tool_logits = output_embeddings @ hidden + biases
    joint = torch.log_softmax(torch.cat([logits, tool_logits]), dim=-1)
    assert_on_device(device_lm, tool_logits, joint)


def test_nothing_leaves_the_meta_device(meta_lm: FrozenLM) -> None:
    cache = PrefixCache(meta_lm)
    prefill = cache.prefill([5, 6, 7, 8])
    assert_on_device(meta_lm, prefill.hidden, prefill.logits, *prefill.session.feed([9]))
    sequences = [[*range(5, 25), 30 + at] for at in range(4)]
    for _, states in meta_lm.hidden_states(sequences, [[20]] * 4):
        assert_on_device(meta_lm, states.hidden, states.logsumexp)


def test_the_device_tests_can_fail(device_lm: FrozenLM) -> None:
    hidden, logits = device_lm.start().feed([5, 6, 7])
    with pytest.raises((RuntimeError, TypeError)):
        torch.zeros(4, device_lm.hidden_size) @ hidden
    with pytest.raises((RuntimeError, NotImplementedError)):
        logits.argmax().item()


def test_states_move_to_the_cpu_in_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[int] = []
    whole = torch.Tensor.cpu

    def counted(tensor: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        moves.append(len(tensor))
        return whole(tensor, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "cpu", counted)
    with FakeTensorMode():
        one = States(torch.zeros(2, 8, device=ACCELERATOR), torch.zeros(2, device=ACCELERATOR))
        found = [(at, one) for at in range(GROUP + 1)]
        moved = list(moved_to_cpu(iter(found)))
        assert [index for index, _ in moved] == list(range(GROUP + 1))
        assert all(states.hidden.device.type == "cpu" and states.hidden.shape == (2, 8) for _, states in moved)
    assert moves == [2 * GROUP, 2 * GROUP, 2, 2]


def test_states_on_the_cpu_are_not_copied() -> None:
    own = States(torch.zeros(2, 8), torch.zeros(2))
    assert on_cpu([own])[0].hidden is own.hidden


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"architecture": "aarch64"}, torch.float32),
        ({}, torch.float32),
    ],
    ids=str,
)
def test_the_default_dtype_follows_a_fixed_rule(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert checkpoint.default_dtype("cpu") == expected
    assert [checkpoint.default_dtype(device) for device in ("cuda", "mps", "xpu")] == ["auto"] * 3


@pytest.fixture
def folder(build_lm: BuildLM, tmp_path: Path) -> Path:
    """A checkpoint in float16."""
    lm = build_lm(dtype=torch.float16)
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_an_accelerator_gets_the_checkpoints_own_dtype(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolken.training.lm.pytorch.transformers_network.looks_ahead", lambda network: False)
    lm = FrozenLM.from_pretrained(folder, device="meta")
    assert (lm.device.type, lm.dtype) == ("meta", torch.float16)
    lm = FrozenLM.from_pretrained(folder, device=torch.device("meta"), dtype="float32")
    assert lm.dtype == torch.float32


def test_a_device_map_places_the_model_and_it_is_not_moved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("moved")

    expected = FrozenLM.from_pretrained(folder, dtype="float32").start().feed([5, 6, 7])
    monkeypatch.setattr("transformers.PreTrainedModel.to", refuse)
    for where in ({"device_map": {"": "cpu"}}, {"model_kwargs": {"device_map": "cpu"}}):
        lm = FrozenLM.from_pretrained(folder, dtype="float32", **where)  # type: ignore[arg-type]
        torch.testing.assert_close(lm.start().feed([5, 6, 7]), expected)


def test_layers_offloaded_to_disk_run_on_the_lms_device(folder: Path, tmp_path: Path) -> None:
    whole = FrozenLM.from_pretrained(folder, dtype="float32")
    device_map = {"model.embed_tokens": "disk", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "cpu"}
    device_map |= {"lm_head": "disk", "model.rotary_emb": "cpu"}
    lm = FrozenLM.from_pretrained(
        folder, dtype="float32", device_map=device_map, model_kwargs={"offload_folder": str(tmp_path / "offload")}
    )
    assert any(weight.is_meta for weight in lm.model.parameters())
    assert lm.device.type == "cpu"
    assert lm.fingerprint == whole.fingerprint
    assert lm.hidden_size == whole.hidden_size
    torch.testing.assert_close(lm.start().feed([5, 6, 7]), whole.start().feed([5, 6, 7]))


def test_arguments_reach_transformers(folder: Path) -> None:
    lm = FrozenLM.from_pretrained(folder, dtype="float32", model_kwargs={"attn_implementation": "eager"})
    assert lm.config._attn_implementation == "eager"


def test_a_quantisation_library_that_is_missing_gets_one_sentence(folder: Path) -> None:
    from transformers import BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("bitsandbytes is installed")
    with pytest.raises((BackendError, LMNotFoundError), match="bitsandbytes") as caught:
        FrozenLM.from_pretrained(folder, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "no-such-device", ""])
def test_a_device_that_is_not_there_is_named(device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(BackendError, match=f"cannot use the device '{device}'") as caught:
        FrozenLM.from_pretrained(device=device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["no_such_dtype", "int8", "nn", torch.int8])
def test_an_unknown_dtype_is_named(dtype: Any) -> None:
    with pytest.raises(BackendError, match="no number format"):
        FrozenLM.from_pretrained(dtype=dtype)


def test_a_device_and_a_device_map_exclude_each_other() -> None:
    with pytest.raises(BackendError, match="drop `device`"):
        FrozenLM.from_pretrained(device="cpu", device_map="auto")


@pytest.mark.parametrize("lm", [3, ["SmolLM2"], {"model": "x"}, object()])
def test_a_model_of_a_wrong_type_is_named(lm: Any) -> None:
    with pytest.raises(LMNotFoundError, match=rf"`lm` is a {type(lm).__name__}"):
        FrozenLM.from_pretrained(lm)
