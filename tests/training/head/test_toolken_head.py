"""A head gains and loses tools and examples, is saved and loaded, and refuses another LM."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from toolken import Call, Example, FrozenLM, PromptFormat, ToolkenHead, ToolSpec, fit
from toolken.errors import ExampleError, FingerprintError, HeadError, ToolSpecError
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.features.feature_cache import FeatureCache
from toolken.training.head import artifacts
from toolken.training.prior import moments
from toolken.training.prior.sources import query_forms

BuildLM = Callable[..., FrozenLM]

NEW = ToolSpec(name="price", description="Look up the price of a product.")


@pytest.fixture
def hidden(tiny_lm: FrozenLM) -> torch.Tensor:
    """A few hidden states."""
    return torch.randn(5, tiny_lm.hidden_size, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def saved(tiny_head: ToolkenHead, tmp_path: Path) -> Path:
    """The folder of a saved head."""
    tiny_head.save_pretrained(tmp_path / "head")
    return tmp_path / "head"


def assert_same(one: ToolkenHead, other: ToolkenHead) -> None:
    """Check that two heads decide in exactly the same way."""
    assert one.specs == other.specs
    assert torch.equal(one.output_embeddings, other.output_embeddings)
    assert torch.equal(one.biases, other.biases)
    assert one.prompt == other.prompt
    assert (one.threshold, one.settings, one.lm_name) == (other.threshold, other.settings, other.lm_name)
    states = torch.randn(7, one.output_embeddings.shape[1], generator=torch.Generator().manual_seed(1))
    for results in (0, 1):
        odds = one.gate.log_odds(states, results=results)
        assert torch.equal(odds, other.gate.log_odds(states, results=results))
    for name in one.names:
        assert one.few_shot_for(name, states[0]) == other.few_shot_for(name, states[0])


def test_a_head_that_is_saved_and_loaded_decides_exactly_as_before(
    tiny_head: ToolkenHead, saved: Path, tiny_lm: FrozenLM
) -> None:
    assert_same(ToolkenHead.from_pretrained(saved, tiny_lm), tiny_head)


def test_everything_but_numbers_can_be_read_by_a_person(saved: Path) -> None:
    assert sorted(path.suffix for path in saved.iterdir()) == [".json", ".safetensors"]
    sidecar = json.loads((saved / "head.json").read_text())
    assert [tool["name"] for tool in sidecar["tools"]] == ["add", "weather", "capital"]
    assert sidecar["lm_name"] == "tiny-llama-0"
    assert sidecar["provenance"]["examples"] == 15
    assert set(sidecar["provenance"]["metrics"]) == {"selection.accuracy", "selection.log_loss"}


def test_saving_twice_keeps_only_the_last(saved: Path, tiny_lm: FrozenLM) -> None:
    head = ToolkenHead.from_pretrained(saved)
    head = head.with_tools([NEW], tiny_lm)
    head.save_pretrained(saved)
    assert len(list(saved.iterdir())) == 2
    assert_same(ToolkenHead.from_pretrained(saved), head)


def test_a_head_refuses_another_lm(saved: Path, build_lm: BuildLM) -> None:
    other = build_lm(seed=1)
    with pytest.raises(FingerprintError, match=r"tiny-llama-0.*tiny-llama-1"):
        ToolkenHead.from_pretrained(saved, other)
    head = ToolkenHead.from_pretrained(saved)
    with pytest.raises(FingerprintError):
        head.with_tools([NEW], other)
    assert "price" not in head.names


def test_a_head_refuses_another_prompt_format(tiny_head: ToolkenHead, tiny_lm: FrozenLM) -> None:
    tiny_head.check(tiny_lm, PromptFormat())
    with pytest.raises(FingerprintError, match="prompt format"):
        tiny_head.check(tiny_lm, PromptFormat(opening=" It is"))


def tensors_of(folder: Path) -> Path:
    """Return the file with a head's numbers."""
    return next(folder.glob("*.safetensors"))


@pytest.mark.parametrize("name", ["head.json", "*.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut short", "empty", "altered", "rubbish"])
def test_a_damaged_file_is_refused_by_name(saved: Path, name: str, damage: str) -> None:
    path = next(saved.glob(name))
    content = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "cut short":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "altered":
            # In the sidecar this is the first brace; in the tensors a bit of the last number.
            at = 0 if name == "head.json" else len(content) - 1
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        case "rubbish":
            path.write_bytes(b"\xff\xfe rubbish \x00")
    with pytest.raises(HeadError) as caught:
        ToolkenHead.from_pretrained(saved)
    assert str(saved) in str(caught.value)
    if damage != "missing" or name != "head.json":
        assert path.name in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 999},
        {"threshold": "high"},
        {"threshold": 0.25},
        {"unknown": 1},
        {"tensors": "other.safetensors"},
        {"sha256": "0"},
        {"tools": []},
        {"tools": [{"name": "only"}]},
        {"lm_fingerprint": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_altered_sidecar_is_refused(saved: Path, change: dict[str, object]) -> None:
    path = saved / "head.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(HeadError, match="head"):
        ToolkenHead.from_pretrained(saved)


@pytest.mark.parametrize("content", ["null", "[]", "5", "{}"])
def test_json_that_is_no_head_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "head.json").write_text(content)
    with pytest.raises(HeadError, match=r"head\.json"):
        ToolkenHead.from_pretrained(tmp_path)


def test_a_sidecar_cannot_point_outside_its_folder(saved: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.safetensors"
    tensors_of(saved).rename(moved)
    path = saved / "head.json"
    sidecar = artifacts.read_sidecar(saved).model_copy(update={"tensors": str(moved)})
    sidecar.version = artifacts._version(sidecar)
    path.write_text(sidecar.model_dump_json())
    with pytest.raises(HeadError, match="missing"):
        ToolkenHead.from_pretrained(saved)


def test_a_folder_without_a_head_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="toolken fit --out"):
        ToolkenHead.from_pretrained(tmp_path / "none")


def test_an_unwritable_folder_is_refused(tiny_head: ToolkenHead, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HeadError, match="cannot be written"):
        tiny_head.save_pretrained(tmp_path / "file" / "head")


#: Loads two heads once, then for each line it reads starts a process that saves them in turn for ever, the one with the
#: line's number first. That process says who it is, and how many seconds its first two saves took.
WRITERS = """
    import os, sys, time
    from toolken import ToolkenHead

    heads = [ToolkenHead.from_pretrained(folder) for folder in sys.argv[2:]]
    for line in sys.stdin:
        writer = os.fork()
        if writer == 0:
            print(os.getpid(), flush=True)
            begun = time.perf_counter()
            for number in range(10**9):
                heads[(int(line) + number) % 2].save_pretrained(sys.argv[1])
                if number == 1:
                    print(time.perf_counter() - begun, flush=True)
        os.waitpid(writer, 0)
        print("ended", flush=True)
"""


@pytest.mark.timeout(120)
def test_a_folder_loads_even_if_its_writers_are_killed(
    tiny_head: ToolkenHead, tiny_lm: FrozenLM, tmp_path: Path
) -> None:
    old, new, folder = tmp_path / "old", tmp_path / "new", tmp_path / "head"
    longer = tiny_head.with_tools([NEW], tiny_lm)
    for head, places in ((tiny_head, (old, folder)), (longer, (new,))):
        for place in places:
            head.save_pretrained(place)
    command = [sys.executable, "-c", textwrap.dedent(WRITERS), str(folder), str(old), str(new)]
    found = set()
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdin is not None
    assert parent.stdout is not None
    try:
        two_saves = 0.0
        for number in range(40):
            parent.stdin.write(f"{number}\n")
            parent.stdin.flush()
            writer = int(parent.stdout.readline())
            if number == 0:
                two_saves = float(parent.stdout.readline())
            time.sleep(two_saves * number / 40)
            os.kill(writer, signal.SIGKILL)
            while parent.stdout.readline() != "ended\n":
                pass  # it may have had the time to say how long its saves took
            found.add(tuple(ToolkenHead.from_pretrained(folder).names))
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.communicate()
    assert found <= {tuple(tiny_head.names), tuple(longer.names)}
    for half in folder.glob(".*"):
        os.utime(half, (0, 0))
    tiny_head.save_pretrained(folder)
    assert len(list(folder.iterdir())) == 2
    assert_same(ToolkenHead.from_pretrained(folder), tiny_head)


def test_a_head_that_is_replaced_during_reading_is_read_again(
    tiny_head: ToolkenHead, tiny_lm: FrozenLM, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = tiny_head.with_tools([NEW], tiny_lm)
    checksum = artifacts._checksum

    def replaced(path: Path) -> str:
        monkeypatch.undo()
        longer.save_pretrained(saved)
        return checksum(path)

    monkeypatch.setattr(artifacts, "_checksum", replaced)
    assert_same(ToolkenHead.from_pretrained(saved), longer)


def test_a_save_interrupted_at_any_step_leaves_the_old_head_or_the_new(
    tiny_head: ToolkenHead, tiny_lm: FrozenLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = tiny_head.with_tools([NEW], tiny_lm)
    rename = Path.replace
    for step in range(2):
        folder = tmp_path / str(step)
        tiny_head.save_pretrained(folder)
        left = [step]

        def interrupted(path: Path, target: Path, left: list[int] = left) -> Path:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return rename(path, target)

        monkeypatch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            longer.save_pretrained(folder)
        monkeypatch.undo()
        assert_same(ToolkenHead.from_pretrained(folder), tiny_head)
        longer.save_pretrained(folder)
        assert_same(ToolkenHead.from_pretrained(folder), longer)
        assert len(list(folder.iterdir())) == 2


def test_a_tool_added_by_its_description_has_a_finite_output_embedding(
    tiny_head: ToolkenHead, tiny_lm: FrozenLM, hidden: torch.Tensor
) -> None:
    head = tiny_head.with_tools([NEW], tiny_lm)
    assert head.names == ["add", "weather", "capital", "price"]
    assert head.output_embeddings.shape == (4, tiny_lm.hidden_size)
    assert bool(torch.isfinite(head.output_embeddings).all() & torch.isfinite(head.biases).all())
    assert bool(torch.isfinite(head.decide(hidden).log_shares).all())


def test_adding_and_removing_a_tool_again_leaves_the_head_as_it_was(
    tiny_head: ToolkenHead, tiny_lm: FrozenLM, hidden: torch.Tensor
) -> None:
    again = tiny_head.with_tools([NEW], tiny_lm).without_tools(["price"])
    torch.testing.assert_close(again.decide(hidden).log_shares, tiny_head.decide(hidden).log_shares)


def test_with_tools_leaves_the_head_itself_alone(tiny_head: ToolkenHead, tiny_lm: FrozenLM) -> None:
    before = tiny_head.output_embeddings.clone()
    more = tiny_head.with_tools([NEW], tiny_lm)
    assert more.names == ["add", "weather", "capital", "price"]
    assert tiny_head.names == ["add", "weather", "capital"]
    assert torch.equal(tiny_head.output_embeddings, before)


def test_with_tools_replaces_tools_of_the_same_name(
    tiny_head: ToolkenHead, tiny_lm: FrozenLM, specs: list[ToolSpec]
) -> None:
    other = ToolSpec(name="add", description="Add a friend to the list.")
    head = tiny_head.with_tools([other], tiny_lm, replace_existing=True)
    assert sorted(head.names) == ["add", "capital", "weather"]
    assert head.specs[head.names.index("add")] == other
    renewed = [spec.model_copy(update={"description": spec.name}) for spec in specs]
    everything = tiny_head.with_tools(renewed, tiny_lm, replace_existing=True)
    assert everything.names == ["add", "weather", "capital"]
    assert bool(torch.isfinite(everything.output_embeddings).all())
    assert everything.few_shot_for("add", torch.zeros(tiny_lm.hidden_size)) == []


def test_removing_a_tool_takes_its_few_shot_examples_along(tiny_head: ToolkenHead, tiny_lm: FrozenLM) -> None:
    state = torch.zeros(tiny_lm.hidden_size)
    assert tiny_head.few_shot_for("weather", state)
    head = tiny_head.without_tools(["weather"])
    assert head.names == ["add", "capital"]
    assert head.few_shot_for("weather", state) == []
    assert head.few_shot_for("add", state)
    assert all(one.tool == "add" for one in head.few_shot_for("add", state))


def test_a_taken_name_an_unknown_name_and_the_last_tool_are_refused(
    tiny_head: ToolkenHead, tiny_lm: FrozenLM, hidden: torch.Tensor
) -> None:
    with pytest.raises(ToolSpecError, match="'add' already"):
        tiny_head.with_tools([ToolSpec(name="add", description="Something else.")], tiny_lm)
    with pytest.raises(ToolSpecError, match=r"'wether': did you mean 'weather'"):
        tiny_head.without_tools(["wether"])
    with pytest.raises(ToolSpecError, match=r"'capitol': did you mean 'capital'"):
        tiny_head.decide(hidden, ["capitol"])
    with pytest.raises(ToolSpecError, match="at least one tool"):
        tiny_head.without_tools(tiny_head.names)
    assert tiny_head.names == ["add", "weather", "capital"]


def test_examples_that_are_added_later_count_like_those_of_the_fit_and_are_forgotten_exactly(
    tiny_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example], tiny_background: Path
) -> None:
    later = [example for example in examples if example.calls and example.calls[0].tool == "capital"][2:]
    before = [example for example in examples if example not in later]
    head, whole = (
        fit(tiny_lm, specs, before, settings=ClosedFormSettings()),
        fit(tiny_lm, specs, examples, settings=ClosedFormSettings()),
    )
    rows, shown = head.output_embeddings, list(head.few_shot.shown)
    copied = head.with_tools([ToolSpec(name="price", description="Say what something costs.")], tiny_lm)
    fewer, head = head, head.with_examples(later, tiny_lm)
    # The last bits of a float32 state depend on what was read beside it.
    torch.testing.assert_close(head.statistics.sums, whole.statistics.sums, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(head.statistics.moment, whole.statistics.moment, rtol=1e-5, atol=1e-5)
    assert {(one.tool, one.question) for one in head.few_shot.shown} == {
        (one.tool, one.question) for one in whole.few_shot.shown
    }
    assert not torch.equal(head.output_embeddings, rows)
    assert copied.statistics.total == len([one for one in before if one.calls])
    assert copied.few_shot.shown == shown
    assert torch.equal(fewer.output_embeddings, rows)
    assert fewer.few_shot.shown == shown
    head = head.without_examples(later, tiny_lm)
    torch.testing.assert_close(head.output_embeddings, rows, rtol=1e-4, atol=1e-5)
    assert head.few_shot.shown == shown


def test_examples_that_cannot_be_added_or_removed_leave_the_head_as_it_was(
    tiny_head: ToolkenHead, tiny_lm: FrozenLM, examples: list[Example]
) -> None:
    counts = tiny_head.statistics.counts.clone()
    stranger = Example.model_validate({"question": "How much?", "calls": [{"tool": "price"}]})
    with pytest.raises(ExampleError, match="'price'"):
        tiny_head.with_examples([examples[0], stranger], tiny_lm)
    with pytest.raises(HeadError, match="More examples of 'add'"):
        tiny_head.without_examples(examples[:4] * 2, tiny_lm)
    assert torch.equal(tiny_head.statistics.counts, counts)


def test_allowed_tools_share_the_probability_of_a_call(tiny_head: ToolkenHead, hidden: torch.Tensor) -> None:
    decision = tiny_head.decide(hidden, ["capital", "add"])
    everything = tiny_head.decide(hidden)
    torch.testing.assert_close(decision.shares.sum(1), torch.ones(5))
    torch.testing.assert_close(decision.scores, everything.scores[:, [2, 0]])
    torch.testing.assert_close(decision.probabilities.sum(1), decision.call_probability.float())


def test_the_joint_softmax_gives_the_gates_probability(tiny_head: ToolkenHead, hidden: torch.Tensor) -> None:
    words = torch.randn(5, 50, generator=torch.Generator().manual_seed(3)) * 4
    for results in (0, 1):
        decision = tiny_head.decide(hidden, results=results)
        tools = decision.logits(words.logsumexp(1))
        called = torch.cat([words, tools], 1).softmax(1)[:, 50:].sum(1)
        torch.testing.assert_close(called, decision.call_probability.float(), rtol=1e-4, atol=1e-5)


def test_a_head_of_several_tools_chooses_the_right_one_for_its_examples(
    embedded_lm: FrozenLM, specs: list[ToolSpec], examples: list[Example]
) -> None:
    from toolken.training.features.decision_states import DecisionStates, decisions

    head = fit(embedded_lm, specs, examples)
    asked = ["What is 5 plus 19?", "How is the weather in Madrid?", "Where is the capital of Japan?"]
    calls = [
        Example.model_validate({"question": q, "calls": [{"tool": t}]}) for q, t in zip(asked, head.names, strict=True)
    ]
    found = DecisionStates.join(decisions(embedded_lm, head.prompt, calls, head.names))
    assert torch.equal(head.decide(found.hidden).scores.argmax(1), found.labels)
    assert math.isfinite(float(head.output_embeddings.norm()))


def test_two_writers_of_one_folder_leave_one_whole_head(
    tiny_head: ToolkenHead, tiny_lm: FrozenLM, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer, shorter = tiny_head.with_tools([NEW], tiny_lm), tiny_head.without_tools(["add"])
    sidecar_of, others = artifacts._sidecar, []

    def late(head: ToolkenHead, name: str, checksum: str) -> artifacts.Sidecar:
        if head is longer:
            # The other one begins while this one's tensors are there and are not named yet; it has to wait.
            others.append(threading.Thread(target=shorter.save_pretrained, args=(saved,)))
            others[0].start()
            others[0].join(0.5)
        return sidecar_of(head, name, checksum)

    monkeypatch.setattr(artifacts, "_sidecar", late)
    longer.save_pretrained(saved)
    others[0].join()
    assert_same(ToolkenHead.from_pretrained(saved), shorter)
    assert len(list(saved.iterdir())) == 2


def test_examples_of_a_generator_are_added_and_removed(
    tiny_head: ToolkenHead, tiny_lm: FrozenLM, examples: list[Example]
) -> None:
    total, rows = tiny_head.statistics.total, tiny_head.output_embeddings
    head = tiny_head.without_examples((one for one in examples[:2]), tiny_lm)
    assert head.statistics.total == total - 2
    head = head.with_examples((one for one in examples[:2]), tiny_lm)
    assert head.provenance.examples == 15
    torch.testing.assert_close(head.output_embeddings, rows, rtol=1e-3, atol=1e-4)
    assert tiny_head.without_tools(name for name in ["add"]).names == ["weather", "capital"]


def test_states_of_another_lm_are_not_learned(
    tiny_head: ToolkenHead, tiny_lm: FrozenLM, build_lm: BuildLM, examples: list[Example], tmp_path: Path
) -> None:
    cache = FeatureCache(build_lm(seed=1), tmp_path)
    for change in (tiny_head.with_examples, tiny_head.without_examples):
        with pytest.raises(FingerprintError, match="tiny-llama-1"):
            change(examples[:2], tiny_lm, cache=cache)
    assert tiny_head.provenance.examples == 15
    with pytest.raises(FingerprintError, match="tiny-llama-1"):
        query_forms(tiny_lm, tiny_head.specs, PromptFormat(), cache=cache)


def test_a_new_tool_with_the_description_of_another_one_is_refused(tiny_head: ToolkenHead, tiny_lm: FrozenLM) -> None:
    with pytest.raises(ToolSpecError, match="'weather' and 'forecast' have one description"):
        tiny_head.with_tools([ToolSpec(name="forecast", description="Tell the weather in a city.")], tiny_lm)
    with pytest.warns(UserWarning, match="'price' has no description") as caught:
        tiny_head.with_tools([ToolSpec(name="price")], tiny_lm)
    assert caught[0].filename == __file__


def test_calls_in_running_text_are_shown_by_their_sentence_and_forgotten_with_it(
    tiny_lm: FrozenLM, specs: list[ToolSpec], tiny_background: Path, tmp_path: Path
) -> None:
    def told(first: int) -> Example:
        begin = f"There is a lot to do. We add {first} and 5 = "
        call = Call(tool="add", args={"numbers": [first, 5]}, result=str(first + 5), start=len(begin))
        return Example(question=f"A story of {first} cows.", answer=f"{begin}{first + 5} cows.", calls=(call,))

    before, later = [told(n) for n in range(2, 5)], [told(n) for n in (21, 22)]
    prompt = PromptFormat(everywhere=True)
    head, whole = (fit(tiny_lm, specs, shown, prompt=prompt) for shown in (before, before + later))
    shown = list(head.few_shot.shown)
    head = head.with_examples(later, tiny_lm)
    assert head.few_shot.shown == whole.few_shot.shown
    whole.save_pretrained(tmp_path / "head")
    whole = ToolkenHead.from_pretrained(tmp_path / "head")
    for one in (head, whole):
        assert one.without_examples(later, tiny_lm).few_shot.shown == shown
    # A question that two examples share is still shown after one of them has gone.
    head = head.without_examples(later, tiny_lm).with_examples([before[0]], tiny_lm)
    head = head.without_examples([before[0]], tiny_lm)
    assert sorted(map(str, head.few_shot.shown)) == sorted(map(str, shown))


def test_a_saved_head_holds_only_what_its_tools_add(saved: Path, tiny_lm: FrozenLM) -> None:
    size = tiny_lm.hidden_size
    with safe_open(tensors_of(saved), "pt") as file:
        for key in list(file.keys()):
            assert list(file.get_slice(key).get_shape())[-2:] != [size, size], key
    background = json.loads((saved / "head.json").read_text())["background"]
    assert background.startswith(tiny_lm.fingerprint)


def test_a_background_whose_file_is_missing_is_read_again_with_the_lm(
    tiny_lm: FrozenLM,
    specs: list[ToolSpec],
    examples: list[Example],
    tiny_background: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    head, state = fit(tiny_lm, specs, examples), torch.zeros(tiny_lm.hidden_size)
    head.save_pretrained(tmp_path / "head")
    monkeypatch.setattr(moments, "_shared", {})  # as in another process
    monkeypatch.setenv("TOOLKEN_CACHE", str(tmp_path / "empty"))
    alone = ToolkenHead.from_pretrained(tmp_path / "head")
    assert torch.equal(alone.decide(state).scores, head.decide(state).scores)
    with pytest.raises(HeadError, match="load the head with its LM"):
        alone.few_shot_for("add", state)
    monkeypatch.setattr(moments, "_shared", {})
    read = ToolkenHead.from_pretrained(tmp_path / "head", tiny_lm)
    assert not caplog.records
    assert read.few_shot_for("add", state) == head.few_shot_for("add", state)
    assert "once for this LM" in caplog.text
    torch.testing.assert_close(read.geometry.factor, head.geometry.factor)
    # A version that ships other texts has another background.
    monkeypatch.setattr(moments, "_shared", {})
    monkeypatch.setenv("TOOLKEN_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr("toolken.training.features.background.background_requests", lambda: ["What is it?", "Go."])
    other = ToolkenHead.from_pretrained(tmp_path / "head", tiny_lm)
    with pytest.raises(HeadError, match="fit the head again"):
        _ = other.geometry


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_saved_files_follow_the_umask(tiny_head: ToolkenHead, tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        tiny_head.save_pretrained(tmp_path / "head")
    finally:
        os.umask(before)
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in (tmp_path / "head").iterdir()}
    assert modes == {".json": mode, ".safetensors": mode}


def test_a_head_is_never_changed(tiny_head: ToolkenHead) -> None:
    with pytest.raises(FrozenInstanceError):
        tiny_head.threshold = 0.0  # type: ignore[misc]
    other = replace(tiny_head, threshold=0.0)
    assert other.output_embeddings is tiny_head.output_embeddings


def test_one_state_is_decided_as_it_is_among_several(tiny_head: ToolkenHead, hidden: torch.Tensor) -> None:
    together, alone = tiny_head.decide(hidden), tiny_head.decide(hidden[2])
    assert alone.log_odds.shape == ()
    assert alone.probabilities.shape == (3,)
    torch.testing.assert_close(together.probabilities[2], alone.probabilities)
    torch.testing.assert_close(together.logits(torch.zeros(5))[2], alone.logits(torch.zeros(())))


def test_a_decision_stays_on_the_device_of_its_states(tiny_head: ToolkenHead, tiny_lm: FrozenLM) -> None:
    for prompt in (PromptFormat(), PromptFormat(everywhere=True)):
        head = replace(tiny_head, prompt=prompt)
        for results in (0, 1, torch.tensor([0, 1], device="meta")):
            decision = head.decide(
                torch.zeros(2, tiny_lm.hidden_size, device="meta"), ["add", "weather"], results=results
            )
            for numbers in (decision.log_odds, decision.shares, decision.probabilities):
                assert numbers.device.type == "meta"
