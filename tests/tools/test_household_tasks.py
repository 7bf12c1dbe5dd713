"""The published household tasks are rebuilt so that their reference plans work, and plans are scored as published."""

import json
import shutil
from pathlib import Path

import pytest

from toolken.errors import DataFormatError
from toolken.tools.household import (
    Household,
    HouseholdError,
    HouseholdTask,
    demo_scene,
    read_tasks,
    score_plan,
    score_plans,
)
from toolken.tools.household.rebuilding import rebuild
from toolken.tools.household.scene import SceneView
from toolken.tools.household.simulator import SceneGraph, run_script

pytest.importorskip("virtualhome_eval", reason="the VirtualHome simulator is not installed")

DATA = Path(__file__).parents[3] / "shared" / "data" / "virtualhome"
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"the published VirtualHome data is not in {DATA}")


@pytest.fixture(scope="module")
def published() -> list[HouseholdTask]:
    return read_tasks(DATA)


@needs_data
def test_at_least_49_of_the_50_reference_plans_can_be_carried_out(published: list[HouseholdTask]) -> None:
    assert len(published) == 50
    assert sum(not task.complaint for task in published) >= 49


@needs_data
def test_the_reference_plans_score_as_high_as_a_plan_of_eight_steps_can(published: list[HouseholdTask]) -> None:
    scores = score_plans(published, [task.toolkens for task in published])
    assert scores["grounding"] == scores["executable"] == 1.0
    assert scores["success"] >= 0.9
    whole = [score_plan(task, task.toolkens, most_steps=99) for task in published]
    assert all(score.success for score in whole)


@needs_data
def test_every_task_asks_for_one_or_two_changes_as_the_published_check_demands(published: list[HouseholdTask]) -> None:
    assert {len(task.goal) for task in published} == {1, 2}


@needs_data
def test_a_rebuilt_home_can_be_acted_in(published: list[HouseholdTask]) -> None:
    task = next(task for task in published if task.title == "Watch TV")
    home = Household(task.initial)
    for line in task.script[:2]:
        verb, number = line.split("]")[0][1:], int(line.rsplit("(", 1)[1][:-1])
        home.step(verb, number)
    assert "You are in the office" in home.observe()


@needs_data
def test_the_published_wording_of_a_task_names_room_objects_goal_and_hint(published: list[HouseholdTask]) -> None:
    prompt = published[0].prompt()
    assert prompt.startswith("I am in ['")
    assert "'television'" in prompt
    assert prompt.endswith("Goal:\nWatch TV\nHint:\nWatch your favorite TV shows.\nPlan:\n")


def test_a_folder_without_the_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="name the folder that holds the published VirtualHome data"):
        read_tasks(tmp_path)


@needs_data
def test_a_broken_line_is_named(tmp_path: Path) -> None:
    for name in ("object_name_map.json", "resources/properties_data.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(DATA / name, tmp_path / name)
    (tmp_path / "test50.jsonl").write_text('\n{"id": 1}\n', encoding="utf-8")
    with pytest.raises(DataFormatError, match=r"test50\.jsonl, line 2"):
        read_tasks(tmp_path)
    (tmp_path / "test50.jsonl").write_text((DATA / "test50.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(DataFormatError, match="There is no scene"):
        read_tasks(tmp_path)


@pytest.fixture
def task() -> HouseholdTask:
    """Watching television in the flat of the package."""
    lines = (
        "[WALK] <television>",
        "[SWITCHON] <television>",
        "[WALK] <couch>",
        "[SIT] <couch>",
        "[WATCH] <television>",
    )
    ids = {node["class_name"]: node["id"] for node in demo_scene()["nodes"]}
    return HouseholdTask(
        id="tv",
        scene="flat",
        title="Watch TV",
        description="Sit down and watch.",
        script=tuple(f"{line} ({ids[line.split('<')[1][:-1]]})" for line in lines),
        toolkens=(*(part for line in lines for part in line.split()), "[END]"),
        initial=demo_scene(),
    )


def test_a_plan_that_leaves_the_same_states_is_a_success_whatever_its_way(task: HouseholdTask) -> None:
    plan = ["[FIND] <couch>", "[FIND] <television>", "[SWITCHON] <television>", "[RUN] <couch>", "[SIT] <couch>"]
    score = score_plan(task, plan)
    assert (score.grounded, score.executable, score.success, score.success_relaxed) == (True, True, True, True)


def test_a_plan_that_goes_on_too_long_is_a_relaxed_success_only(task: HouseholdTask) -> None:
    plan = [*task.toolkens[:-1], "[SWITCHOFF]", "<television>"]
    # Seated, the television is out of reach in the flat.
    score = score_plan(task, plan)
    assert (score.executable, score.success, score.success_relaxed) == (False, False, True)
    assert "not close" in score.complaint


def test_a_plan_is_cut_to_eight_steps(task: HouseholdTask) -> None:
    idle = ["[WALK] <kitchen>"] * 6
    assert not score_plan(task, [*idle, *task.toolkens]).success
    assert score_plan(task, [*idle, *task.toolkens], most_steps=11).success


def test_a_plan_that_breaks_off_in_the_middle_counts_up_to_there(task: HouseholdTask) -> None:
    plan = [*task.toolkens[:-1], "[FIND]"]
    score = score_plan(task, plan)
    assert (score.grounded, score.success, score.success_relaxed) == (False, False, True)
    assert score_plan(task, plan, most_steps=5).success


@pytest.mark.parametrize(
    "plan",
    [
        ["[WALK] <spaceship>"],
        ["[FLY] <couch>"],
        ["[STANDUP]"],
        ["[PUTBACK] <cup> <table>"],
        ["gibberish"],
        [],
        ["[END]"],
    ],
)
def test_a_plan_outside_the_toolkens_or_the_scene_is_not_grounded(task: HouseholdTask, plan: list[str]) -> None:
    score = score_plan(task, plan)
    assert (score.grounded, score.executable, score.success, score.success_relaxed) == (False,) * 4
    assert score.complaint


def test_a_grounded_plan_that_cannot_be_carried_out_is_not_executable(task: HouseholdTask) -> None:
    score = score_plan(task, ["[SWITCHON] <television>"])
    assert (score.grounded, score.executable) == (True, False)
    assert "cannot be found" in score.complaint


def test_scoring_wants_one_plan_for_each_task(task: HouseholdTask) -> None:
    with pytest.raises(HouseholdError, match="1 tasks and 2 plans"):
        score_plans([task], [[], []])
    assert score_plans([task], [task.toolkens]) == dict.fromkeys(
        ("grounding", "executable", "success", "success_relaxed"), 1.0
    )


def rebuilt(
    *preconditions: dict[str, object], script: tuple[tuple[str, str], ...]
) -> tuple[SceneGraph, dict[str, int]]:
    steps = [(action, ((name, 1),)) for action, name in script]
    names = {"lounge": "living_room", "tv": "television"}
    graph, things = rebuild(demo_scene(), steps, preconditions, {"vase": ["GRABBABLE"]}, names)
    return graph, {name: id for (name, _), id in things.items()}


def test_rebuilding_puts_the_home_to_rest_and_the_character_elsewhere() -> None:
    graph, _ = rebuilt(script=(("WALK", "lounge"),))
    view = SceneView(graph)
    states = {node["class_name"]: set(node["states"]) for node in graph["nodes"]}
    assert states["light"] == {"ON", "CLEAN"}
    assert states["laptop"] == {"OFF", "PLUGGED_IN", "CLEAN"}
    assert states["bathroom_cabinet"] == {"CLOSED", "CLEAN"}
    room = view.room_of(view.character)
    assert room is not None
    assert view.nodes[room]["class_name"] != "living_room"


def test_rebuilding_adds_what_the_scene_lacks_where_its_location_says() -> None:
    location = {"location": [["vase", "1"], ["bathroom", "1"]]}
    graph, things = rebuilt(location, script=(("FIND", "vase"),))
    view = SceneView(graph)
    room = view.room_of(things["vase"])
    assert things["vase"] >= 1000
    assert room is not None
    assert view.nodes[room]["class_name"] == "bathroom"


def test_rebuilding_puts_the_thing_that_is_meant_before_its_namesakes() -> None:
    location = {"location": [["chair", "1"], ["home_office", "1"]]}
    graph, things = rebuilt(location, script=(("FIND", "chair"),))
    chairs = [node["id"] for node in graph["nodes"] if node["class_name"] == "chair"]
    assert chairs[0] == things["chair"] > chairs[1]


def test_rebuilding_lets_one_watch_from_a_seat_what_was_found_from_there() -> None:
    script = (("FIND", "couch"), ("SIT", "couch"), ("FIND", "tv"), ("SWITCHON", "tv"), ("WATCH", "tv"))
    graph, things = rebuilt({"is_off": ["tv", "1"]}, {"free": ["couch", "1"]}, script=script)
    view = SceneView(graph)
    assert not any(things["couch"] in view.targets(id, "ON") for id in view.nodes)
    names = {"tv": "television"}
    lines = [f"[{verb}] <{names.get(name, name)}> ({things[names.get(name, name)]})" for verb, name in script]
    assert run_script(graph, lines)[1:] == (len(lines), "")


def test_rebuilding_refuses_what_it_does_not_understand() -> None:
    with pytest.raises(DataFormatError, match="'levitates' is unknown"):
        rebuilt({"levitates": ["cup", "1"]}, script=(("FIND", "cup"),))
    with pytest.raises(DataFormatError, match="no properties are listed"):
        rebuilt(script=(("FIND", "dragon"),))
    with pytest.raises(DataFormatError, match="no room 'attic'"):
        rebuilt({"location": [["cup", "1"], ["attic", "1"]]}, script=(("FIND", "cup"),))
    with pytest.raises(DataFormatError, match="malformed"):
        rebuilt({"free": ["cup", "one"]}, script=(("FIND", "cup"),))


@needs_data
def test_reading_leaves_the_published_files_as_they_were(published: list[HouseholdTask]) -> None:
    scene = json.loads((DATA / "scene_graphs" / "TrimmedTestScene7_graph.json").read_text(encoding="utf-8"))
    assert "trimmed_nodes" in scene
    first, second = [task.initial for task in published if task.scene == "TrimmedTestScene7_graph"][:2]
    shared = [node for node in first["nodes"] if any(node is other for other in second["nodes"])]
    assert not shared, "tasks of one scene must not share nodes"
