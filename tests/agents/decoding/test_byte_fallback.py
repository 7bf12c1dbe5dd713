"""Tokenizers with byte fallback, such as SentencePiece, stream text like others."""

from pathlib import Path

import pytest
import torch

from toolken import FrozenLM, ToolkenChatModel
from toolken.agents.decoding.growing_text import GrowingText

#: Words that are tokens with the space before them; everything else is written in bytes.
WORDS = ["▁", "▁a", "▁b", "▁Paris", "Par", "is", "!"]


@pytest.fixture(scope="module")
def byte_lm() -> FrozenLM:
    """A tiny random LM with a tokenizer like Llama 2's."""
    from transformers import AutoModelForCausalLM, LlamaTokenizer, PhiConfig

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *'{}[]":, lnd', *WORDS]
    tokenizer = LlamaTokenizer(vocab={piece: at for at, piece in enumerate(pieces)}, merges=[])
    torch.manual_seed(0)
    config = PhiConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
    )
    return FrozenLM(AutoModelForCausalLM.from_config(config), tokenizer, "tiny-bytes")


def tokens(lm: FrozenLM, *parts: str | bytes) -> list[int]:
    """Return the tokens of whole pieces and of single bytes."""
    names = [f"<0x{byte:02X}>" for part in parts if isinstance(part, bytes) for byte in part]
    assert set(names) <= set(lm.tokenizer.get_vocab())
    ids: list[int] = []
    for part in parts:
        written = [part] if isinstance(part, str) else [f"<0x{byte:02X}>" for byte in part]
        ids += lm.tokenizer.convert_tokens_to_ids(written)
    return ids


CASES = [
    (["▁a", "▁", "😀".encode(), "▁b"], " a 😀 b"),
    (["日本".encode()], "日本"),
    (["\n😀\n".encode(), "▁Paris"], "\n😀\n Paris"),
    (["▁Paris", "▁Paris"], " Paris Paris"),
    (["Par", "is", "!"], "Paris!"),
    (["▁a", "日".encode() * 40], " a" + "日" * 40),
]


@pytest.mark.parametrize(("parts", "text"), CASES, ids=[text[:9] for _, text in CASES])
def test_pieces_are_whole_characters_and_keep_the_first_space(
    byte_lm: FrozenLM, parts: list[str | bytes], text: str
) -> None:
    growing = GrowingText(byte_lm, ())
    pieces = [growing.add(token)[0] for token in tokens(byte_lm, *parts)]
    assert "".join(pieces) + growing.finish() == growing.text == text
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize(
    ("parts", "before"),
    [
        (["日".encode() + b"\xe6"], "日"),
        (["日".encode() + b"\xe6\x97"], "日"),
        (["▁a", b"\n\xf0\x9f"], " a\n"),
        (["日".encode() + b"\xe6", "▁a"], "日"),
        ([b"\xff\xff", "▁a"], ""),
    ],
    ids=repr,
)
def test_half_a_character_retracts_no_emitted_text(byte_lm: FrozenLM, parts: list[str | bytes], before: str) -> None:
    growing = GrowingText(byte_lm, ())
    given = "".join(growing.add(token)[0] for token in tokens(byte_lm, *parts)) + growing.finish()
    assert given == growing.text
    assert given.startswith(before + "\ufffd")


def test_a_stop_text_of_rare_characters_is_seen(byte_lm: FrozenLM) -> None:
    growing = GrowingText(byte_lm, ["日本"])
    ids = tokens(byte_lm, "▁a", "日光日本".encode(), "▁b")
    found = [growing.add(token) for token in ids]
    assert [stopped for _, stopped in found].index(True) == len(ids) - 2
    assert growing.text == " a日光"
    assert "".join(piece for piece, stopped in found[: len(ids) - 1]) == growing.text


@pytest.mark.parametrize("lands", [["日本"], ["日本", "日光"]], ids=len)
def test_a_call_has_the_values_of_its_schema(byte_lm: FrozenLM, tiny_background: Path, lands: list[str]) -> None:
    land = {"type": "object", "properties": {"land": {"enum": lands}}, "required": ["land"]}
    tools = [{"name": "pick", "description": "Pick a land.", "parameters": land}]
    model = ToolkenChatModel(lm=byte_lm, max_tokens=60).bind_tools(tools, tool_choice="pick")
    message = model.invoke("Hi")
    assert message.invalid_tool_calls == []
    assert [call["args"]["land"] in lands for call in message.tool_calls] == [True]
