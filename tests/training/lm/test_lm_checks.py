"""Models of every kind are read and continued rightly, or refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from toolken import FrozenLM, ToolSpec
from toolken.agents.decoding.sampling import masked
from toolken.agents.grammar.schema_grammar import argument_matcher
from toolken.errors import BackendError, LMNotFoundError
from toolken.training.lm.prefix_cache import PrefixCache
from toolken.training.lm.pytorch.cache_support import CacheSupport, tried_continuation

BuildLM = Callable[..., FrozenLM]

TEXT = "Question: What is the weather in the city? Answer: The weather is fine, then 42."

#: Of an encoder and a decoder.
_TWO_PARTS: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
#: Changes of a tiny configuration for each class.
SHAPES: dict[str, dict[str, Any]] = {
    "BartConfig": {
        **_TWO_PARTS,
        "init_std": 0.2,
    },
    "BambaConfig": {
        "num_key_value_heads": 2,
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "attn_layer_indices": [1],
    },
    "GPTNeoConfig": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    "Lfm2Config": {"num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]},
    "MambaConfig": {"state_size": 8, "expand": 2},
    "MptConfig": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 512},
    "OpenAIGPTConfig": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "RobertaConfig": {"is_decoder": True, "pad_token_id": 1},
    "T5Config": {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 4, "d_kv": 8},
    "WhisperConfig": {
        **_TWO_PARTS,
        "max_position_embeddings": None,
        "max_target_positions": 64,
        "pad_token_id": 0,
    },
}


def build_model(tokenizer: Any, config_name: str, class_name: str = "AutoModelForCausalLM", **changes: Any) -> Any:
    """Build a tiny random model of a class of transformers."""
    import transformers

    common = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "eos_token_id": 0,
        "bos_token_id": 0,
        "initializer_range": 0.2,
    }
    config = getattr(transformers, config_name)(**(common | SHAPES.get(config_name, {}) | changes))
    torch.manual_seed(0)
    cls = getattr(transformers, class_name)
    return cls.from_config(config) if class_name.startswith("Auto") else cls(config)


def whole_logits(lm: FrozenLM, ids: list[int]) -> torch.Tensor:
    """Return the next-token logits after a text from one forward pass of the model."""
    with torch.no_grad():
        logits: torch.Tensor = lm.model(torch.tensor([ids])).logits[0, -1].float()
    return logits


def appending(tokenizer: Any, template: str) -> Any:
    """Return a copy of the tiny tokenizer that sets special tokens around every text."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<|im_start|>", 1), ("<|im_end|>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


def test_a_list_of_end_tokens_in_the_configuration_ends_texts(build_lm: BuildLM) -> None:
    lm = build_lm()
    lm.model.config.eos_token_id = [1, 2]
    assert lm.stop_ids == {0, 1, 2}


def test_the_context_length_is_found_in_the_part_for_text(tiny_tokenizer: Any) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {
        "vocab_size": len(tiny_tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 128,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision))
    assert FrozenLM(model, tiny_tokenizer, "gemma3").max_length == 128


def test_the_context_length_of_a_speech_models_decoder_is_known(tiny_tokenizer: Any) -> None:
    model = build_model(tiny_tokenizer, "WhisperConfig", "WhisperForCausalLM")
    assert FrozenLM(model, tiny_tokenizer, "whisper").max_length == 64


def test_arguments_are_written_by_an_lm_with_fewer_logits_than_tokens(build_lm: BuildLM, tiny_tokenizer: Any) -> None:
    lm = build_lm(vocab_size=len(tiny_tokenizer) - 1)
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    matcher = argument_matcher(lm, ToolSpec(name="weather", description="Weather.", parameters=schema), "")
    _, logits = lm.start().feed(lm.encode(TEXT).ids)
    token = int(masked(logits, matcher.compute_bitmask()).argmax())
    assert lm.decode([token]).startswith("{")


@pytest.mark.parametrize("text", [TEXT, "a", "", "  ", "Wéather 😀"])
def test_tokens_that_a_tokenizer_appends_are_left_out(tiny_lm: FrozenLM, tiny_tokenizer: Any, text: str) -> None:
    plain = tiny_lm.encode(text)
    for template, before in (("$A <|im_end|>", []), ("<|im_start|> $A <|im_end|> <|im_end|>", [1])):
        lm = FrozenLM(tiny_lm.model, appending(tiny_tokenizer, template), "appending")
        encoding = lm.encode(text)
        assert encoding.ids == before + plain.ids
        assert encoding.spans == [(0, 0)] * len(before) + plain.spans


@pytest.mark.parametrize("text", [TEXT, "", "  "])
def test_a_token_before_every_text_stays(tiny_lm: FrozenLM, tiny_tokenizer: Any, text: str) -> None:
    lm = FrozenLM(tiny_lm.model, appending(tiny_tokenizer, "<|im_start|> $A"), "beginning")
    assert lm.encode(text).ids == [1, *tiny_lm.encode(text).ids]


def test_the_cache_of_recurrent_layers_is_measured(tiny_tokenizer: Any) -> None:
    lm = FrozenLM(build_model(tiny_tokenizer, "Lfm2Config"), tiny_tokenizer, "lfm2")
    cache, ids = PrefixCache(lm), lm.encode(TEXT).ids
    reading = cache.prefill(ids)
    torch.testing.assert_close(reading.logits, whole_logits(lm, ids), rtol=1e-4, atol=1e-4)
    kept = 4 * 32  # bytes of a float32 vector of each layer
    assert cache.nbytes == reading.session.nbytes > len(ids) * kept


@pytest.mark.parametrize(
    ("config", "model"), [("T5Config", "T5ForConditionalGeneration"), ("BartConfig", "BartForConditionalGeneration")]
)
def test_a_model_with_an_encoder_is_refused(tiny_tokenizer: Any, config: str, model: str) -> None:
    with pytest.raises(LMNotFoundError, match=r"^mine has an encoder and a decoder, so it is not a causal LM"):
        FrozenLM(build_model(tiny_tokenizer, config, model), tiny_tokenizer, "mine")


@pytest.mark.parametrize("spread", [0.2, 0.02])
def test_a_model_without_causal_attention_is_refused(tiny_tokenizer: Any, spread: float) -> None:
    model = build_model(tiny_tokenizer, "BertConfig", "BertForMaskedLM", initializer_range=spread)
    with pytest.raises(LMNotFoundError, match=r"^mine lets a token look at those after it"):
        FrozenLM(model, tiny_tokenizer, "mine")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("config", "model"),
    [("BartConfig", "BartForConditionalGeneration"), ("LlamaConfig", "LlamaModel")],
)
def test_a_folder_that_lacks_weights_of_a_causal_lm_is_refused(
    tiny_tokenizer: Any, tmp_path: Path, config: str, model: str
) -> None:
    changes = {"tie_word_embeddings": False} if config == "LlamaConfig" else {}
    build_model(tiny_tokenizer, config, model, **changes).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(LMNotFoundError, match=r"lacks weights that a causal LM needs, 'lm_head.weight'") as caught:
        FrozenLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", ["MambaConfig", "OpenAIGPTConfig", "BambaConfig"])
def test_a_model_that_does_not_continue_from_its_cache_is_refused_a_chat(tiny_tokenizer: Any, config: str) -> None:
    lm = FrozenLM(build_model(tiny_tokenizer, config), tiny_tokenizer, "mine")
    kind = lm.config.model_type
    for _ in range(2):
        with pytest.raises(BackendError, match=f"'{kind}', does not continue from a KV cache as expected") as caught:
            lm.start()
        assert "\n" not in str(caught.value)


def test_a_model_with_a_wrong_cache_reads_shared_prefixes_again(tiny_tokenizer: Any) -> None:
    lm = FrozenLM(build_model(tiny_tokenizer, "OpenAIGPTConfig"), tiny_tokenizer, "mine")
    sequences = [lm.encode(TEXT + more).ids for more in (" Paris", " and Rome", " 7")]
    for index, states in lm.hidden_states(sequences, [[len(ids) - 1] for ids in sequences]):
        expected = whole_logits(lm, sequences[index]).logsumexp(-1)
        torch.testing.assert_close(states.logsumexp[0], expected, rtol=1e-4, atol=1e-4)


def forwards_of_a_step(lm: FrozenLM, monkeypatch: pytest.MonkeyPatch) -> int:
    """Extend texts of different lengths in a batch, check them, and return the runs that the last step took."""
    first, second, batch = lm.start(), lm.start(), lm.start_batch()
    ids = lm.encode(TEXT).ids
    first.feed(ids[:12])
    second.feed(ids[:2])
    runs: list[int] = []
    whole = lm.forward

    def counted(given: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        runs.append(len(given))
        return whole(given, *arguments, **options)

    monkeypatch.setattr(lm, "forward", counted)
    for new, ends in enumerate([(13, 9), (14, 10), (15, 13)]):
        runs.clear()
        pieces = [(one, ids[len(one.ids) : end]) for one, end in zip((first, second), ends, strict=True)]
        for end, (_, logits) in zip(ends, batch.feed(pieces), strict=True):
            torch.testing.assert_close(logits, whole_logits(lm, ids[:end]), rtol=1e-4, atol=1e-4, msg=f"step {new}")
    return len(runs)


@pytest.mark.parametrize("config", ["MptConfig", "GPTNeoConfig", "BartConfig", "RobertaConfig"])
def test_texts_are_fed_singly_where_a_model_is_wrong_about_holes(
    tiny_tokenizer: Any, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = FrozenLM(build_model(tiny_tokenizer, config), tiny_tokenizer, "mine")
    assert forwards_of_a_step(lm, monkeypatch) == 2


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt_neox", "gpt2"])
def test_other_models_decode_in_batches(build_lm: BuildLM, architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert forwards_of_a_step(build_lm(architecture), monkeypatch) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt_neox", "gpt2", "mistral"])
def test_rounding_passes_the_trial(build_lm: BuildLM, architecture: str, dtype: torch.dtype) -> None:
    lm = build_lm(architecture, dtype=dtype)
    lm.start().feed([5, 6, 7])
    assert lm.start_batch()._batched  # type: ignore[attr-defined]


def test_a_model_is_tried_once_and_not_before_it_is_continued(
    build_lm: BuildLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[FrozenLM] = []

    def noted(lm: FrozenLM) -> CacheSupport:
        tried.append(lm)
        return tried_continuation(lm)

    monkeypatch.setattr("toolken.training.lm.pytorch.transformers_network.tried_continuation", noted)
    lm = build_lm()
    list(lm.hidden_states([[5, 6, 7], [5, 6, 8]], [[2], [2]]))
    assert tried == []
    for _ in range(3):
        lm.start().feed([5, 6, 7])
        lm.start_batch()
    assert tried == [lm]


def test_a_model_with_a_context_too_short_for_a_trial_is_taken_as_it_is(build_lm: BuildLM) -> None:
    lm = build_lm(context=8)
    _, logits = lm.start().feed([5, 6, 7])
    torch.testing.assert_close(logits, whole_logits(lm, [5, 6, 7]))


def test_padding_and_truncation_leave_the_fingerprint_alone(build_lm: BuildLM, tiny_tokenizer: Any) -> None:
    tokenizer = appending(tiny_tokenizer, "$A <|im_end|>")
    tokenizer.pad_token = "<|pad|>"
    model = build_lm().model
    before = FrozenLM(model, tokenizer, "before").fingerprint
    tokenizer(["a", "b b"], padding=True, truncation=True, max_length=100)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    assert state["padding"]
    assert state["truncation"]
    assert FrozenLM(model, tokenizer, "after").fingerprint == before


def test_the_embedded_lms_fingerprint_is_that_of_saved_heads(embedded_lm: FrozenLM) -> None:
    assert embedded_lm.fingerprint == "401d1b108b7e8a916c774358a7c610ce"
