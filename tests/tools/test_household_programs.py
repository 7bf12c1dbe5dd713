"""Published programs become tasks in a scene in which they can be carried out; none belongs to a test task."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from toolken.errors import DataFormatError
from toolken.tools.household import demo_scene, errand_plans, read_programs, score_plan
from toolken.tools.household.programs import SCENES, read_plans, request_key
from toolken.tools.household.toolkens import read_plan

pytest.importorskip("virtualhome_eval", reason="the VirtualHome simulator is not installed")


def program(title: str, description: str, *script: str, **more: Any) -> dict[str, Any]:
    return {"id": title, "title": title, "description": description, "script": script, "preconditions": [], **more}


WATCH = program("Watch TV", "Sit and watch.", "[Walk] <couch> (1)", "[Sit] <couch> (1)")
READ = program("Read", "Get my book.", "[Find] <book> (1)", "[Grab] <book> (1)")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder whose scenes are all the flat of the package."""
    (tmp_path / "scene_graphs").mkdir()
    (tmp_path / "resources").mkdir()
    for scene in SCENES:
        (tmp_path / "scene_graphs" / f"{scene}.json").write_text(json.dumps(demo_scene()), encoding="utf-8")
    (tmp_path / "object_name_map.json").write_text('{"book": "novel"}', encoding="utf-8")
    (tmp_path / "resources" / "properties_data.json").write_text("{}", encoding="utf-8")
    return tmp_path


def write(folder: Path, programs: Sequence[dict[str, Any]]) -> None:
    text = "".join(json.dumps(one) + "\n" for one in programs)
    (folder / "programs.jsonl").write_text(text, encoding="utf-8")


def test_a_program_becomes_a_task_whose_plan_can_be_carried_out(folder: Path) -> None:
    write(folder, [WATCH, READ])
    first, second = read_programs(folder)
    assert first.toolkens == ("[WALK]", "<couch>", "[SIT]", "<couch>", "[END]")
    assert second.toolkens == ("[FIND]", "<novel>", "[GRAB]", "<novel>", "[END]")
    assert (first.complaint, second.complaint) == ("", "")
    assert score_plan(first, first.toolkens).success
    assert first.scene != second.scene


def test_programs_outside_the_toolkens_or_the_simulators_rules_are_omitted(folder: Path) -> None:
    write(
        folder,
        [
            program("Pour", "", "[Pour] <water> (1) <cup> (1)"),
            program("Cook", "", "[Walk] <stove> (1)"),
            program("Stand", "", "[StandUp]"),
            program("Fly", "", "[Fly] <couch> (1)"),
            program("Nothing", ""),
            program("Reach", "", "[SwitchOn] <television> (1)"),
            WATCH,
        ],
    )
    assert [task.title for task in read_programs(folder)] == ["Watch TV"]


def test_a_test_task_is_known_by_its_words_and_by_its_plan(folder: Path) -> None:
    write(folder, [WATCH])
    (test,) = read_programs(folder)
    same_plan = {**WATCH, "title": "Rest", "description": "Have a seat."}
    same_words = {**READ, "title": "watch  tv", "description": "SIT AND WATCH. "}
    write(folder, [same_plan, same_words, READ, READ])
    assert [task.title for task in read_programs(folder, without=[test])] == ["Read"]
    wanted = {request_key("READ", " Get my  book.")}
    assert [task.title for task in read_programs(folder, among=wanted)] == ["Read"]


def test_plans_are_read_without_a_home(folder: Path) -> None:
    reach = program("Reach", "", "[SwitchOn] <television> (1)")
    write(folder, [WATCH, reach, program("Pour", "", "[Pour] <water> (1) <cup> (1)")])
    watch, out_of_reach = read_plans(folder)
    assert watch == ("Watch TV", "Sit and watch.", ("[WALK]", "<couch>", "[SIT]", "<couch>", "[END]"))
    assert out_of_reach.toolkens == ("[SWITCHON]", "<television>", "[END]")
    (test,) = read_programs(folder)
    assert list(read_plans(folder, without=[test])) == [out_of_reach]


def test_progress_counts_every_program(folder: Path) -> None:
    write(folder, [WATCH, READ, WATCH])
    done: list[int] = []
    list(read_programs(folder, advance=done.append))
    assert sum(done) == 3


def test_a_broken_line_is_named(folder: Path) -> None:
    (folder / "programs.jsonl").write_text('{"id": "a"}\n', encoding="utf-8")
    with pytest.raises(DataFormatError, match=r"programs\.jsonl, line 1 is not a program"):
        list(read_programs(folder))
    (folder / "programs.jsonl").unlink()
    with pytest.raises(DataFormatError, match="name the folder"):
        list(read_programs(folder))


def test_errands_come_with_plans_that_name_the_things_of_the_flat() -> None:
    for request, plan in errand_plans(40, seed=1):
        assert request
        assert plan[-1] == "[END]"
        names = [name.replace("_", " ") for _, name in read_plan(plan)]
        assert names
    assert list(errand_plans(5, seed=1)) == list(errand_plans(5, seed=1))
