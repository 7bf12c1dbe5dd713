"""Shared fixtures: tiny random LMs built in memory, and the embedded LM for tests of quality."""

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from toolken import Call, Example, FrozenLM, ToolkenHead, ToolSpec, fit
from toolken.errors import LMNotFoundError
from toolken.training.lm.embedded import embedded_gguf
from toolken.training.pretraining.pretrain import pretrain
from toolken.training.prior.pretrained import PretrainedPrior

# Parallel test workers share the cores; more threads than cores are slower than one thread.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:
    torch.set_num_threads(max(1, torch.get_num_threads() // WORKERS))
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # for the processes that tests start

#: Training sentences of the tiny tokenizer: enough for tokens of several characters.
SENTENCES = [
    "Question: What is the sum of 12 and 30?\nAnswer: The answer is 42, then 7.",
    "Question: Where is the capital of France?\nAnswer: The answer is Paris.",
    'Arguments:\n{"city": "Paris", "numbers": [1, 2, 3]}',
    "Known: 17, 25\nWhat is the weather in the city of the user's question? The weather is fine.",
]

# No deadline, since a first call may load a library; the same examples in every run.
settings.register_profile("toolken", deadline=None, derandomize=True)
settings.load_profile("toolken")

BuildLM = Callable[..., FrozenLM]


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Use one thread except with the embedded LM: the small products of tiny LMs are slower with more threads."""
    threads = torch.get_num_threads()
    if "embedded_lm" not in request.fixturenames:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """A byte-level BPE tokenizer with 400 tokens, four of them special."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|endoftext|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )


@pytest.fixture(scope="session")
def build_lm(tiny_tokenizer: Any) -> BuildLM:
    """A function that builds a tiny random LM of an architecture, with tied or untied embeddings."""
    from transformers import (
        AutoModelForCausalLM,
        GPT2Config,
        GPTNeoXConfig,
        LlamaConfig,
        MistralConfig,
        Qwen2Config,
    )

    def build(
        architecture: str = "llama",
        *,
        tied: bool = True,
        seed: int = 0,
        context: int = 512,
        dtype: torch.dtype = torch.float32,
        **changes: Any,
    ) -> FrozenLM:
        common: dict[str, Any] = {
            "vocab_size": changes.pop("vocab_size", len(tiny_tokenizer)),
            "tie_word_embeddings": tied,
            "eos_token_id": tiny_tokenizer.eos_token_id,
            "bos_token_id": tiny_tokenizer.eos_token_id,
            "initializer_range": 0.2,  # wide enough that different texts have clearly different states
        }
        layers: dict[str, Any] = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": context,
        }
        layers |= {name: changes.pop(name) for name in layers if name in changes}
        config: Any
        match architecture:
            case "llama":
                config = LlamaConfig(**common, **layers, num_key_value_heads=2, **changes)
            case "mistral":
                config = MistralConfig(**common, **layers, num_key_value_heads=2, sliding_window=16, **changes)
            case "qwen2":
                config = Qwen2Config(**common, **layers, num_key_value_heads=2, **changes)
            case "gpt_neox":
                config = GPTNeoXConfig(**common, **layers, **changes)
            case "gpt2":
                config = GPT2Config(**common, n_embd=32, n_layer=2, n_head=4, n_positions=context, **changes)
            case _:
                raise ValueError(architecture)
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).to(dtype)
        return FrozenLM(model, tiny_tokenizer, f"tiny-{architecture}-{seed}")

    return build


@pytest.fixture(scope="session")
def tiny_lm(build_lm: BuildLM) -> FrozenLM:
    """The tiny LM that most tests use."""
    return build_lm()


CHAT_TEMPLATES = Path(__file__).parent / "chat_templates"


@pytest.fixture(scope="session")
def templated(tiny_lm: FrozenLM) -> Callable[[str], FrozenLM]:
    """A function that returns the tiny LM with the chat template of a name; model and vocabulary are shared."""

    def build(name: str) -> FrozenLM:
        tokenizer = copy.deepcopy(tiny_lm.tokenizer)
        tokenizer.chat_template = (CHAT_TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8").rstrip("\n")
        tokenizer.bos_token = tokenizer.eos_token
        return FrozenLM(tiny_lm.model, tokenizer, f"tiny-{name}")

    return build


NOUNS = ("city", "sum of 3 and 4", "weather", "baby dog", "capital of France", "user's name", "price", "answer")


def make_background_small(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Reduce the background to a few texts, and cache it in a folder."""
    requests = [f"{verb} the {noun}" for verb in ("What is", "Find", "Tell me") for noun in NOUNS]
    plain = [Example(question=f"What do you call a {noun}?", answer=f"The answer is a {noun}.") for noun in NOUNS]
    monkeypatch.setattr("toolken.training.features.background.background_requests", lambda: requests)
    monkeypatch.setattr("toolken.training.features.background.plain_examples", lambda: plain)
    monkeypatch.setenv("TOOLKEN_CACHE", str(folder))


@pytest.fixture(scope="module")
def module_background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use a small background in all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        make_background_small(patch, tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture
def tiny_background(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Use a small background, cached in the temporary folder of the test; return the cache folder."""
    make_background_small(monkeypatch, tmp_path / "cache")
    return tmp_path / "cache"


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


@pytest.fixture(scope="session")
def specs() -> list[ToolSpec]:
    """Three tools with simple arguments."""
    numbers = {"type": "array", "items": {"type": "number", "x-grounded": True}, "minItems": 2}
    city = {"type": "string", "x-grounded": True, "maxLength": 30}
    return [
        ToolSpec(name="add", description="Find the sum of several numbers.", parameters=_object(numbers=numbers)),
        ToolSpec(name="weather", description="Tell the weather in a city.", parameters=_object(city=city)),
        ToolSpec(name="capital", description="Name the capital of a country.", parameters=_object(country=city)),
    ]


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """A few examples of each of the three tools, and some without calls."""
    found = []
    for a, b in ((1, 2), (30, 4), (7, 8), (12, 30)):
        call = Call(tool="add", args={"numbers": [a, b]}, result=str(a + b))
        found.append(Example(question=f"What is {a} plus {b}?", calls=(call,)))
    for name in ("Paris", "Rome", "Oslo", "Lima"):
        call = Call(tool="weather", args={"city": name}, result="fine")
        found.append(Example(question=f"How is the weather in {name}?", calls=(call,)))
    for name, city in (("France", "Paris"), ("Peru", "Lima"), ("Italy", "Rome"), ("Norway", "Oslo")):
        call = Call(tool="capital", args={"country": name}, result=city)
        found.append(Example(question=f"Where is the capital of {name}?", calls=(call,)))
    for young, old in (("puppy", "dog"), ("kitten", "cat"), ("calf", "cow")):
        found.append(Example(question=f"What is a young {old} called?", answer=f"The answer is a {young}."))
    return found


@pytest.fixture(scope="session")
def fitted_head(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> ToolkenHead:
    """The head that `tiny_head` copies."""
    with pytest.MonkeyPatch.context() as patch:
        make_background_small(patch, tmp_path_factory.mktemp("cache"))
        return fit(tiny_lm, specs, examples)


@pytest.fixture
def tiny_head(fitted_head: ToolkenHead) -> ToolkenHead:
    """A head fitted on the tiny examples; a copy, which the test may change."""
    return copy.deepcopy(fitted_head)


#: Things that the tools of a domain are about.
CORPUS_DOMAINS = {
    "kitchen": ("oven", "kettle", "fridge", "toaster"),
    "garden": ("hose", "lawn", "roses", "hedge"),
    "office": ("printer", "desk", "calendar", "meeting"),
    "music": ("guitar", "album", "concert", "radio"),
    "travel": ("train", "hotel", "flight", "ferry"),
    "sport": ("tennis", "score", "team", "stadium"),
}
CORPUS_SPLITS = {"travel": "dev", "sport": "test"}
CORPUS_CALLS = (
    "please start the {0} now",
    "I want the {0}",
    "could you check my {0}?",
    "{0} for Anna",
    "what about the {0}",
)
CORPUS_PLAIN = (("thanks", "thanks a lot"), ("small_talk", "how are you today"), ("knowledge", "why is the sky blue"))


def corpus_lines(domain: str, split: str) -> list[dict[str, Any]]:
    """Return a corpus of a domain."""
    found: list[dict[str, Any]] = [{"domain": domain, "split": split}]
    for thing in CORPUS_DOMAINS[domain]:
        parameters = {"type": "object", "properties": {"who": {"type": "string"}}}
        tool = {"name": f"{domain}_{thing}", "description": f"Handles the {thing}.", "parameters": parameters}
        found.append({"tool": tool})
    for thing in CORPUS_DOMAINS[domain]:
        name = f"{domain}_{thing}"
        found += [{"request": text.format(thing), "calls": [{"tool": name, "args": {}}]} for text in CORPUS_CALLS]
        found.append({"request": f"do not touch the {thing}", "calls": [], "kind": "negated", "tool": name})
    found += [{"request": f"{text}, {domain}", "calls": [], "kind": kind} for kind, text in CORPUS_PLAIN]
    return found


def write_corpus_file(folder: Path, domain: str, split: str) -> Path:
    """Write a corpus file and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{domain}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in corpus_lines(domain, split)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def corpus_domains() -> dict[str, tuple[str, ...]]:
    """Domains of the small corpora and what their tools are about; "travel" is dev, "sport" test."""
    return CORPUS_DOMAINS


@pytest.fixture(scope="session")
def write_corpus() -> Callable[[Path, str, str], Path]:
    """A function that writes the small corpus of a domain with a split into a folder and returns its path."""
    return write_corpus_file


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus of each domain."""
    folder = tmp_path_factory.mktemp("corpus")
    for domain in CORPUS_DOMAINS:
        write_corpus_file(folder, domain, CORPUS_SPLITS.get(domain, "train"))
    return folder


@pytest.fixture(scope="session")
def prior_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny prior keeps what the LM has read."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="session")
def tiny_prior(tiny_lm: FrozenLM, corpus_folder: Path, prior_work: Path) -> PretrainedPrior:
    """The prior that the tiny LM learned from these corpora."""
    return pretrain(tiny_lm, [corpus_folder], prior_work, steps=20)


@pytest.fixture(scope="session")
def embedded_lm() -> FrozenLM:
    """The embedded LM; tests that use it are skipped if its package is not installed."""
    try:
        embedded_gguf()
    except LMNotFoundError as error:
        pytest.skip(str(error))
    return FrozenLM.from_pretrained()


CITIES = ("Oslo", "Lima", "Buenos Aires", "Rome", "Kyoto", "New York", "Cairo", "Kuala Lumpur")
SHOPS = ("bakery", "book shop", "bank", "old market", "post office", "museum", "library", "garden centre")


@pytest.fixture(scope="session")
def served_tools() -> list[ToolSpec]:
    """The tools of the exported checkpoint that the servers load."""
    return [
        ToolSpec(name="weather", description="Tell what the weather is like in a city.", parameters=_text("city")),
        ToolSpec(name="opening_hours", description="Tell when a shop opens.", parameters=_text("shop")),
    ]


def _text(name: str) -> dict[str, Any]:
    return _object(**{name: {"type": "string"}})


@pytest.fixture(scope="session")
def checkpoint(embedded_lm: FrozenLM, served_tools: list[ToolSpec], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded LM with two tools, exported; the fold is fitted on fewer texts than usual, to save time."""
    from toolken.training.export import export
    from toolken.training.features import background as shipped

    found = []
    for at, (city, shop) in enumerate(zip(CITIES, SHOPS, strict=True)):
        asked = ("What is the weather like in {}?", "Is it raining in {} today?", "How warm is it in {} now?")[at % 3]
        call = Call(tool="weather", args={"city": city}, result=f"{at} degrees and sun")
        found.append(Example(question=asked.format(city), calls=(call,)))
        asked = ("When does the {} open?", "Is the {} open today?", "Until when is the {} open?")[at % 3]
        call = Call(tool="opening_hours", args={"shop": shop}, result=f"{at} to 18")
        found.append(Example(question=asked.format(shop), calls=(call,)))
    head = fit(embedded_lm, served_tools, found)
    plain, folder = shipped.plain_examples()[::6], tmp_path_factory.mktemp("served") / "checkpoint"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolken.training.features.background.plain_examples", lambda: plain)
        for name, count in {"REQUESTS": 80, "FREE": 20, "FREE_BATCH": 20, "ANSWERS": 24}.items():
            patch.setattr(f"toolken.training.export.training_texts.{name}", count)
        patch.setattr("toolken.training.export.fold.GAINS", (2.0,))
        patch.setattr("toolken.training.export.fold.PENALTIES", (10.0,))
        export(head, embedded_lm, folder)
    return folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the published data sets: $TOOLKEN_DATA, or shared/data next to the repository."""
    configured = os.environ.get("TOOLKEN_DATA")
    folder = Path(configured) if configured else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"There is no data folder {folder}: set TOOLKEN_DATA to its path.")
    return folder
