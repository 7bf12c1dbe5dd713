"""VirtualHome end to end on small data in the published form, with the package's flat as its scene."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from toolken import FrozenLM
from toolken.agents.household.plan_choice import choose_plan
from toolken.agents.household.plan_decoder import Plan
from toolken.agents.household.plans import plan_text
from toolken.benchmarks.end_to_end.run import Options, run
from toolken.benchmarks.end_to_end.script_rehearsal import ScriptRehearsal
from toolken.benchmarks.end_to_end.virtualhome import METRICS, covered
from toolken.benchmarks.end_to_end.worded_plans import matched
from toolken.errors import DataFormatError
from toolken.tools.household import TOOLKENS, demo_scene
from toolken.tools.household.programs import SCENES

pytest.importorskip("virtualhome_eval", reason="the VirtualHome simulator is not installed")

SIT = ("[WALK]", "<couch>", "[SIT]", "<couch>", "[END]")
WATCH = ("[FIND]", "<television>", "[SWITCHON]", "<television>", "[END]")
DEMONSTRATION = "Task 1:\nI am in ['kitchen'].\nGoal:\nRest\nHint:\nLie down.\nPlan:\n[LIE] <bed>\n[END]\n\nTask 2:\n"
LARGE = 4096


def task(title: str, plan: Sequence[str]) -> dict[str, Any]:
    question = (
        f"I am in ['kitchen']. The objects I can manipulate are ['couch'].\nGoal:\n{title}\nHint:\nDo it.\nPlan:\n"
    )
    text = DEMONSTRATION + question + plan_text(plan)
    starts, at = [], len(DEMONSTRATION + question)
    for toolken in plan:
        at = text.index(toolken, at)
        starts.append(at)
        at += len(toolken)
    return {"text": text, "start_str_idx": starts, "tool_calling": [{"call_tool": toolken} for toolken in plan]}


def script(plan: Sequence[str]) -> list[str]:
    return [f"[{verb[1:-1].title()}] {name} (1)" for verb, name in zip(plan[:-1:2], plan[1::2], strict=True)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write two test tasks, three training plans, and an additional program."""
    path = tmp_path / "virtualhome"
    (path / "scene_graphs").mkdir(parents=True)
    (path / "resources").mkdir()

    def lines(file: str, records: list[dict[str, Any]]) -> None:
        (path / file).write_text("".join(json.dumps(record) + "\n" for record in records))

    for scene in SCENES:
        (path / "scene_graphs" / f"{scene}.json").write_text(json.dumps(demo_scene()))
    (path / "object_name_map.json").write_text("{}")
    (path / "resources" / "properties_data.json").write_text("{}")
    (path / "tools.json").write_text(json.dumps({"tool_dict": {name: at for at, name in enumerate(TOOLKENS)}}))
    lines("train.jsonl", [task("Sit", SIT), task("Watch TV", WATCH), task("Have a seat", SIT)])
    lines("dev.jsonl", [task("Sit down", SIT)])
    common = {"scene": SCENES[0], "description": "Do it.", "preconditions": []}
    tests = [("a", "Sit a while", SIT), ("b", "Turn on the TV", WATCH)]
    lines(
        "test50.jsonl",
        [{**common, "id": id, "title": t, "script": script(p), "plan_toolkens": list(p)} for id, t, p in tests],
    )
    further = {"id": "c", "title": "Read", "description": "Do it.", "preconditions": []}
    lines("programs.jsonl", [{**further, "script": ["[Find] <novel> (1)", "[Grab] <novel> (1)"]}])
    return path


@pytest.fixture
def lm(build_lm: Callable[..., FrozenLM], tiny_background: Path) -> FrozenLM:
    return build_lm(context=LARGE)


def test_every_method_plans_every_task_and_is_scored_in_the_simulator(lm: FrozenLM, folder: Path) -> None:
    traces = folder.parent / "traces"
    *_, outcomes = run(lm, {"virtualhome": folder}, Options(), traces=traces)
    found = {outcome.trial.method: outcome for outcome in outcomes}
    assert set(found) >= {"toolken", "toolken-rehearsed", "toolken-more-plans", "toolkengpt-rehearsed", "in-context"}
    for outcome in outcomes:
        assert [set(trace.scores) for trace in outcome.traces] == [set(METRICS)] * 2
    assert all(trace.scores["success"] == 1 for trace in found["reference"].traces)
    # Restricted to the scene's toolkens, a plan may be wrong but stays within the scene.
    for method in ("toolken", "toolkengpt", "in-context-grounded"):
        assert all(trace.scores["grounding"] == 1 for trace in found[method].traces if trace.attempt.answer)
    rehearsed, plain = (sum(t.scores["executable"] for t in found[m].traces) for m in ("toolken-rehearsed", "toolken"))
    assert rehearsed >= plain
    pieces = found["toolken"].traces[0].attempt.pieces
    assert pieces[0].tool in TOOLKENS
    assert pieces[0].probability is not None


def test_a_run_that_was_stopped_does_nothing_twice(lm: FrozenLM, folder: Path) -> None:
    traces = folder.parent / "traces"
    options = Options(methods=("toolken",), limit=1)
    *_, first = run(lm, {"virtualhome": folder}, options, traces=traces)
    said: list[str] = []
    *_, second = run(lm, {"virtualhome": folder}, options, traces=traces, say=said.append)
    assert [outcome.traces for outcome in first] == [outcome.traces for outcome in second]
    assert not said, "nothing is left to be done"


def test_a_folder_without_the_data_is_one_clear_sentence(lm: FrozenLM, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="name the folder that holds the published VirtualHome data"):
        list(run(lm, {"virtualhome": tmp_path / "empty"}, Options(), traces=tmp_path / "traces"))


def test_lines_are_matched_to_the_most_similar_step() -> None:
    steps = [("WALK", "couch"), ("SIT", "couch"), ("SWITCHON", "television")]
    lines = ["[SIT] <couch>", "walk over to the couch", "[Walk] <sofa>"]
    assert matched(lines, steps, None) == ["[SIT]", "<couch>", "[WALK]", "<couch>", "[WALK]", "<couch>", "[END]"]
    assert matched([], steps, None) == ["[END]"]


def test_chosen_tests_are_run_alone_and_unknown_ones_named(lm: FrozenLM, folder: Path) -> None:
    traces = folder.parent / "traces"
    options = Options(methods=("reference",), sizes=(len(TOOLKENS),), splits=("test",))
    *_, outcomes = run(lm, {"virtualhome": folder}, options, traces=traces)
    assert len(outcomes) == 1
    for none in (Options(sizes=(3,)), Options(splits=("synthetic",))):
        with pytest.raises(DataFormatError, match=f"name one of test with {len(TOOLKENS)} tools"):
            next(iter(run(lm, {"virtualhome": folder}, none, traces=traces)))


def test_a_script_rehearsal_predicts_states_and_leaves_the_scene_as_it_is() -> None:
    graph = demo_scene()
    sit = [("WALK", "couch"), ("SIT", "couch")]
    rehearsal = ScriptRehearsal(graph)
    assert rehearsal.possible(sit)
    assert not rehearsal.possible([*sit, ("WALK", "kitchen")])
    ((_, states),) = rehearsal.effects(sit)
    assert states == {"SITTING"}
    assert rehearsal.effects([*sit, ("WALK", "kitchen"), ("WALK", "couch")]) == rehearsal.effects(sit)
    assert rehearsal.effects([]) == frozenset()
    assert graph == demo_scene()


def test_the_plan_is_chosen_that_would_succeed_for_most_of_the_candidates() -> None:
    look = Plan(("[WALK]", "<television>"), -1.0)
    impossible = Plan(("[SWITCHON]", "<television>"), -1.1)
    on = Plan((*look.toolkens, *impossible.toolkens), -1.2)
    both = Plan((*on.toolkens, "[WALK]", "<couch>", "[SIT]", "<couch>"), -1.5)
    rehearsal = ScriptRehearsal(demo_scene())
    assert choose_plan([look, impossible, on, both], rehearsal, 8, covered) is both
    assert choose_plan([look, impossible, on, both], rehearsal, 2, covered) is on
    assert choose_plan([look, impossible], rehearsal, 8, covered) is look
    assert choose_plan([impossible], rehearsal, 8, covered) is impossible
