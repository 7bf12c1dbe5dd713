"""Actions in a household follow the simulator's rules; observations and errors say what happened or is missing."""

import copy
import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from toolken.tools.household import Household, HouseholdError, SimulatorMissingError, demo_scene
from toolken.tools.household import simulator as simulator_door
from toolken.tools.household.scene import SceneView

pytest.importorskip("virtualhome_eval", reason=f"the simulator is missing: {simulator_door.HOW_TO_INSTALL}")


@pytest.fixture
def home() -> Household:
    return Household()


def do(home: Household, *steps: tuple[str, ...]) -> str:
    return [home.step(*step) for step in steps][-1].text


def test_a_light_is_on_after_walking_to_it_and_switching_it_on(home: Household) -> None:
    assert home.unmet([("kitchen light", "on")]) == [("kitchen light", "on")]
    do(home, ("walk", "kitchen light"), ("switch_on", "kitchen light"))
    assert home.reached([("kitchen light", "on"), ("bedroom light", "off"), ("you", "in", "kitchen")])


@pytest.mark.parametrize(
    ("steps", "hint"),
    [
        ([("switch_on", "kitchen light")], "walk to it"),
        ([("walk", "fridge"), ("grab", "milk")], "open that first"),
        ([("walk", "laptop"), ("switch_on", "laptop")], "plug it in first"),
        ([("read", "novel")], "grab it first"),
        ([("walk", "TV"), ("watch", "TV")], "turn to it first"),
        ([("walk", "couch"), ("grab", "couch")], "not a thing one can pick up"),
        ([("walk", "couch"), ("sit", "couch"), ("walk", "kitchen")], "that must end first"),
        ([("walk", "couch"), ("sit", "couch"), ("sit", "couch")], "that must end first"),
        ([("walk", "mirror"), ("switch_on", "mirror")], "has no switch"),
        ([("walk", "living room light"), ("switch_on", "living room light")], "already on"),
        ([("walk", "kitchen window"), ("close", "kitchen window")], "already closed"),
        ([("walk", "bedroom window"), ("open", "bedroom window")], "already open"),
        ([("put_back", "cup")], "not picked the cup up"),
        ([("walk", "cup"), ("grab", "cup"), ("grab", "plate"), ("grab", "water")], "both your hands are full"),
        ([("walk", "desk"), ("lie", "desk")], "not a thing to lie on"),
        ([("walk", "table"), ("sit", "table")], "not a thing to sit on"),
        ([("stand_up",)], "standing already"),
        (
            [("walk", "mirror"), ("turn_to", "mirror"), ("walk", "couch"), ("turn_to", "mirror"), ("watch", "mirror")],
            "walk",
        ),
        ([("walk", "cat"), ("turn_to", "cat"), ("watch", "cat")], "nothing to watch"),
        ([("walk", "cup"), ("grab", "cup"), ("put_in", "cup", "cupboard")], "walk to it or find it first"),
        ([("walk", "cup"), ("grab", "cup"), ("put_in", "cup", "cup")], "two different things"),
    ],
)
def test_an_impossible_action_says_what_is_missing_and_changes_nothing(
    home: Household, steps: list[tuple[str, ...]], hint: str
) -> None:
    for step in steps[:-1]:
        home.step(*step)
    before = home.graph
    with pytest.raises(HouseholdError) as refusal:
        home.step(*steps[-1])
    assert hint in str(refusal.value)
    assert "<" not in str(refusal.value), "the simulator's own notation must not show"
    assert home.graph == before


@pytest.mark.parametrize(
    "name",
    [
        "kitchen light",
        "the kitchen light",
        "Kitchen Light",
        "light in the kitchen",
        "kitchen_light",
        "light (7)",
        "light of the kitchen",
    ],
)
def test_a_thing_is_understood_by_all_its_names(home: Household, name: str) -> None:
    light = SceneView(home.graph)
    (wanted,) = home.step("walk", name).objects
    assert light.nodes[wanted]["class_name"] == "light"
    assert light.room_of(wanted) == 1


@pytest.mark.parametrize(
    ("everyday", "class_name"),
    [
        ("TV", "television"),
        ("sofa", "couch"),
        ("fridge", "freezer"),
        ("my book", "novel"),
        ("remote", "remote_control"),
        ("letter", "mail"),
        ("office", "home_office"),
        ("lights", "light"),
        ("food_food", "food_food"),
    ],
)
def test_everyday_words_reach_the_scene_s_names(home: Household, everyday: str, class_name: str) -> None:
    (found,) = home.step("find", everyday).objects
    assert {node["id"]: node for node in home.graph["nodes"]}[found]["class_name"] == class_name


def test_of_several_things_the_one_in_the_room_is_meant(home: Household) -> None:
    do(home, ("walk", "office"))
    assert home.step("walk", "chair").text == "You walk to the office chair."


@pytest.mark.parametrize(
    "name", ["unicorn", "", "   ", "<", "light (99999)", "a in b in c in d", "x" * 10_000, "kitchen", "(", "١"]
)
def test_an_unknown_or_unfit_name_is_a_clear_error(home: Household, name: str) -> None:
    with pytest.raises(HouseholdError) as refusal:
        home.step("grab", name)
    assert len(str(refusal.value)) < 400


def test_a_misspelt_name_brings_a_near_one(home: Household) -> None:
    with pytest.raises(HouseholdError, match="television"):
        home.step("find", "televison")


def test_an_unknown_action_and_a_wrong_number_of_objects_are_clear_errors(home: Household) -> None:
    with pytest.raises(HouseholdError, match="no action 'FLY'"):
        home.step("fly", "cat")
    with pytest.raises(HouseholdError, match="takes 1 object, but 0 were given"):
        home.step("walk")
    with pytest.raises(HouseholdError, match="no node 4711"):
        home.step("walk", 4711)


def test_undo_and_reset_bring_the_scene_back(home: Household) -> None:
    start = home.graph
    do(home, ("walk", "cup"), ("grab", "cup"))
    held = home.graph
    do(home, ("walk", "bathroom"), ("drop", "cup"))
    home.undo()
    home.undo()
    assert home.graph == held
    home.step("walk", "bathroom")
    home.reset()
    assert home.graph == start
    assert home.history == ()
    with pytest.raises(HouseholdError, match="nothing to undo"):
        home.undo()


def test_what_is_held_comes_along(home: Household) -> None:
    do(home, ("walk", "novel"), ("grab", "novel"), ("walk", "kitchen"))
    assert home.reached([("novel", "in", "kitchen"), ("you", "holding", "novel")])
    assert "novel" in home.objects_in_view()


def test_who_sits_keeps_facing_the_television_while_reaching_for_the_remote(home: Household) -> None:
    do(home, ("walk", "TV"), ("switch_on", "TV"), ("walk", "couch"), ("sit", "couch"), ("find", "remote"))
    assert home.step("watch", "TV").text == "You watch the television."


def test_who_stands_up_can_walk_again_and_has_left_the_seat(home: Household) -> None:
    do(home, ("walk", "couch"), ("sit", "couch"), ("stand_up",), ("walk", "kitchen"))
    assert home.unmet([("you", "on", "couch"), ("you", "sitting")]) == [("you", "on", "couch"), ("you", "sitting")]


def test_what_is_shut_away_is_not_in_view_until_it_is_opened(home: Household) -> None:
    home.step("walk", "fridge")
    assert "milk" not in home.objects_in_view()
    home.step("open", "fridge")
    assert "milk" in home.objects_in_view()
    assert "novel" not in home.objects_in_view()


def test_every_action_called_legal_works_and_no_other_does(home: Household) -> None:
    do(home, ("walk", "cup"), ("grab", "cup"), ("turn_to", "kitchen window"))
    legal = set(home.legal_actions())
    assert ("put_back", "cup") in legal
    assert ("grab", "plate") in legal
    assert ("sit", "couch") not in legal
    for name in home.objects_in_view():
        for action in ("grab", "open", "close", "put_back", "switch_on", "touch", "look_at", "drink", "drop", "pull"):
            try:
                home.step(action, name)
            except HouseholdError:
                assert (action, name) not in legal
            else:
                home.undo()
                assert (action, name) in legal


def test_observations_say_where_one_is_and_what_is_there(home: Household) -> None:
    do(
        home,
        ("walk", "TV"),
        ("switch_on", "TV"),
        ("walk", "remote"),
        ("grab", "remote"),
        ("walk", "sofa"),
        ("sit", "sofa"),
    )
    seen = home.observe()
    assert seen.startswith("You are in the living room, sitting on the couch, holding the remote control. You see ")
    assert "television (on)" in seen
    assert "kitchen" not in seen


def test_a_step_reports_what_it_changed(home: Household) -> None:
    home.step("walk", "kitchen light")
    step = home.step("switch_on", "kitchen light")
    assert list(step.changes.states.values()) == [(frozenset({"OFF"}), frozenset({"ON"}))]
    assert home.history[-1] is step


def test_a_goal_that_makes_no_sense_is_a_clear_error(home: Household) -> None:
    with pytest.raises(HouseholdError, match="no state 'purple'"):
        home.reached([("couch", "purple")])
    with pytest.raises(HouseholdError, match="no relation 'above'"):
        home.reached([("cup", "above", "table")])
    with pytest.raises(HouseholdError, match="not a condition"):
        home.reached([("cup",)])  # type: ignore[list-item]


def test_threads_do_not_tear_a_household_apart(home: Household) -> None:
    def walk(name: str) -> str:
        return home.step("walk", name).text

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(walk, ["kitchen", "bedroom", "bathroom", "office"] * 10))
    assert len(home.history) == len(texts) == 40
    assert len(SceneView(home.graph).targets(SceneView(home.graph).character, "INSIDE")) == 1


def test_loading_the_simulator_leaves_the_random_numbers_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("virtualhome_eval")]:
        monkeypatch.delitem(sys.modules, name)
    simulator_door._modules.cache_clear()
    random.seed(11)
    expected = random.Random(11).random()
    Household()
    assert random.random() == expected


def test_without_the_simulator_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("virtualhome_eval")]:
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    simulator_door._modules.cache_clear()
    try:
        with pytest.raises(SimulatorMissingError, match=r"pip install --no-deps virtualhome-eval==0\.1\.1"):
            Household()
    finally:
        simulator_door._modules.cache_clear()


def test_a_scene_can_be_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "scene.json"
    path.write_text(json.dumps(demo_scene()), encoding="utf-8")
    assert Household(path).graph == Household().graph
    path.write_text(json.dumps({"init_graph": demo_scene(), "final_graph": {}}), encoding="utf-8")
    assert Household(str(path)).graph == Household().graph


def broken_scenes() -> dict[str, object]:
    room = {"id": 1, "class_name": "kitchen", "category": "Rooms", "properties": [], "states": []}
    me = {"id": 2, "class_name": "character", "category": "Characters", "properties": [], "states": []}
    cup = {**me, "id": 3, "class_name": "cup", "category": "Props"}
    inside = {"from_id": 2, "relation_type": "INSIDE", "to_id": 1}
    return {
        "format": [],
        "properties and states": {"nodes": [{"id": 1}], "edges": []},
        "no character": {"nodes": [room], "edges": []},
        "same id": {"nodes": [room, room, me], "edges": [inside]},
        "node 9, which does not exist": {"nodes": [room, me], "edges": [inside, {**inside, "to_id": 9}]},
        "in no room": {"nodes": [room, me, cup], "edges": [inside]},
        "cup .* in no room": {"nodes": [room, me, cup], "edges": [inside, {**inside, "from_id": 3, "to_id": 3}]},
        "'MAGIC'": {"nodes": [room, {**me, "properties": ["MAGIC"]}], "edges": [inside]},
        "'LEVITATES'": {"nodes": [room, me], "edges": [inside, {**inside, "relation_type": "LEVITATES"}]},
    }


@pytest.mark.parametrize(("message", "scene"), broken_scenes().items())
def test_a_broken_scene_is_refused_with_the_reason(message: str, scene: object) -> None:
    with pytest.raises(HouseholdError, match=message):
        Household(scene)  # type: ignore[arg-type]


def test_a_missing_scene_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HouseholdError, match=r"nowhere\.json cannot be read"):
        Household(tmp_path / "nowhere.json")
    (tmp_path / "text.json").write_text("{", encoding="utf-8")
    with pytest.raises(HouseholdError, match="is not JSON"):
        Household(tmp_path / "text.json")


def test_the_picture_shows_what_changed(home: Household, tmp_path: Path) -> None:
    do(home, ("walk", "cup"), ("grab", "cup"), ("walk", "bedroom light"), ("switch_on", "bedroom light"))
    figure = home.picture(tmp_path / "scene.svg")
    before, after = ({text.get_text() for text in axes.texts} for axes in figure.axes)
    assert "bedroom light: off" in before
    assert "bedroom light: on" in after
    assert "holding" in after - before
    assert (tmp_path / "scene.svg").stat().st_size > 1000
    last = home.picture(since=-1)
    assert "holding" not in {text.get_text() for text in last.axes[1].texts}, "it held the cup before the last step"


def test_a_picture_that_cannot_be_made_is_a_clear_error(home: Household, tmp_path: Path) -> None:
    with pytest.raises(HouseholdError, match="cannot be saved"):
        home.picture(tmp_path / "scene.nonsense")
    with pytest.raises(HouseholdError, match="since=3 is not possible after 0 steps"):
        home.picture(since=3)


def test_what_makes_a_refused_action_possible_is_found_and_the_home_stays_as_it_is() -> None:
    home = Household()
    home.step("walk", "television")
    home.step("unplug", "television")
    before = copy.deepcopy(home.graph)
    assert home.enabling("switch_on", "television") == [("plug_in", "television")]
    assert ("WALK", "floor lamp") in home.enabling("plug_in", "floor lamp", verbs=["WALK", "SIT"])
    assert home.enabling("switch_on", "floor lamp") == []  # two steps away: walk there, plug it in
    assert home.graph == before
    with pytest.raises(HouseholdError):
        home.enabling("switch_on", "spaceship")
