"""The published household tasks, read from their data folder, each with its initial graph and its goal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from toolken.errors import DataFormatError
from toolken.tools.household.errors import HouseholdError
from toolken.tools.household.rebuilding import Step, first_of_their_name, rebuild
from toolken.tools.household.scene import SceneView, check_scene, read_scene
from toolken.tools.household.simulator import SceneGraph, graph_of, read_script_line, run_script
from toolken.tools.household.toolkens import OBJECTS
from toolken.tools.household.wording import changes_between


@dataclass(frozen=True)
class HouseholdTask:
    """A request, the home in which it is made, and a reference plan that carries it out."""

    id: str
    scene: str
    """Name of the scene."""
    title: str
    """The request, such as "Watch TV"."""
    description: str
    """How its author would carry it out."""
    script: tuple[str, ...]
    """The reference plan as script lines with node ids: `[WALK] <couch> (230)`."""
    toolkens: tuple[str, ...]
    """The reference plan as published, in toolkens, [END] included."""
    initial: SceneGraph = field(repr=False)
    """The home at the start; see `toolken.tools.household.rebuilding`."""

    @cached_property
    def _run(self) -> tuple[SceneGraph, int, str]:
        state, done, complaint = run_script(self.initial, self.script)
        return graph_of(state), done, complaint

    @property
    def final(self) -> SceneGraph:
        """The home after the reference plan, or after its last possible step."""
        return self._run[0]

    @property
    def complaint(self) -> str:
        """Why the reference plan cannot be carried out; empty if it can."""
        return self._run[2]

    @cached_property
    def goal(self) -> Mapping[int, frozenset[str]]:
        """Node id -> final states, for the nodes that the reference plan changes."""
        final = {node["id"]: frozenset(node["states"]) for node in self.final["nodes"]}
        return {id: final[id] for id in changes_between(self.initial, self.final).states}

    def prompt(self) -> str:
        """Return the task in the published wording: the room, the usable objects, goal, hint, and "Plan:"."""
        return plan_request(self.initial, self.title, self.description) + "\n"


def plan_request(graph: SceneGraph, title: str, description: str = "", objects: Sequence[str] = OBJECTS) -> str:
    """Word a request in a scene as the published tasks are worded, up to and including "Plan:".

    Parameters
    ----------
    graph
        The scene, with the character in the room it is in.
    title, description
        The request, and how its author would carry it out; without a description there is no hint.
    objects
        Toolkens of the objects to list if the scene has them; if empty, there is no list.
    """
    view = SceneView(graph)
    room = view.room_of(view.character)
    here = [] if room is None else [view.nodes[room]["class_name"]]
    usable = sorted({node["class_name"] for node in view.nodes.values()} & {toolken[1:-1] for toolken in objects})
    listed = f" The objects I can manipulate are {usable}." if objects else ""
    hint = f"Hint:\n{description.strip()}\n" if description.strip() else ""
    return f"I am in {here}.{listed}\nGoal:\n{title.strip()}\n{hint}Plan:"


def read_tasks(folder: str | Path) -> list[HouseholdTask]:
    """Read the published test tasks and build their initial graphs.

    Parameters
    ----------
    folder
        The data folder: test50.jsonl, object_name_map.json, resources/properties_data.json, scene_graphs/, and
        eai/scene1/ for the tasks whose recorded graphs are published.

    Raises
    ------
    DataFormatError
        If a file is missing or not in the published form; file and line are named.
    SimulatorMissingError
        If the simulator is not installed.
    """
    root = Path(folder)
    names = read_json(root / "object_name_map.json")
    properties = read_json(root / "resources" / "properties_data.json")
    scenes: dict[str, SceneGraph] = {}
    tasks = []
    source = root / "test50.jsonl"
    for number, line in enumerate(read_text(source).splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = TaskRecord.model_validate_json(line)
            if record.scene not in scenes:
                scenes[record.scene] = read_task_scene(root, record.scene)
            tasks.append(task_of(record, scenes[record.scene], root, properties, names))
        except (ValidationError, HouseholdError, DataFormatError) as error:
            raise DataFormatError(f"{source}, line {number} is not a task in the published form: {error}") from error
    return tasks


class TaskRecord(BaseModel):
    """A task as published: a line of test50.jsonl."""

    id: str
    scene: str
    title: str
    description: str
    script: list[str]
    plan_toolkens: list[str]
    preconditions: list[dict[str, Any]]


def task_of(
    record: TaskRecord,
    scene: SceneGraph,
    root: Path,
    properties: Mapping[str, list[str]],
    names: Mapping[str, str],
) -> HouseholdTask:
    """Build a task from its record.

    Parameters
    ----------
    record
        The task as published.
    scene
        The scene that the record names.
    root
        The data folder, with the recorded graphs of some tasks.
    properties, names
        As for `rebuild`.

    Raises
    ------
    DataFormatError
        If the task cannot be set up in the scene.
    HouseholdError
        If a line of its script cannot be read.
    """
    recorded = root / "eai" / "scene1" / f"{record.id.split('/')[-1]}.json"
    if record.scene == "TrimmedTestScene1_graph" and recorded.exists():
        graph = _read_scene(recorded)
        lines = read_text(recorded.with_suffix(".txt")).splitlines()
        steps = [read_script_line(line) for line in lines if line.startswith("[")]
        graph = first_of_their_name(graph, [id for _, objects in steps for _, id in objects])
    else:
        script: list[Step] = [
            (action, tuple(objects)) for action, objects in (read_script_line(line) for line in record.script)
        ]
        graph, things = rebuild(scene, script, record.preconditions, properties, names)
        steps = [
            (action, [(names.get(name, name), things[names.get(name, name), number]) for name, number in objects])
            for action, objects in script
        ]
    written = (" ".join([f"[{action}]", *(f"<{name}> ({id})" for name, id in objects)]) for action, objects in steps)
    return HouseholdTask(
        id=record.id,
        scene=record.scene,
        title=record.title,
        description=record.description,
        script=tuple(written),
        toolkens=tuple(record.plan_toolkens),
        initial=graph,
    )


def read_task_scene(root: Path, name: str) -> SceneGraph:
    """Read one of the published scenes from the data folder."""
    return _read_scene(root / "scene_graphs" / f"{name}.json")


def _read_scene(path: Path) -> SceneGraph:
    if not path.exists():
        raise DataFormatError(f"There is no scene {path}; the folder of the published data has it.")
    return check_scene(read_scene(path), str(path))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from the data folder; anything else is a DataFormatError."""
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        raise DataFormatError(f"{path} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise DataFormatError(f"{path} must hold a JSON object, but holds a {type(found).__name__}.")
    return found


def read_text(path: Path) -> str:
    """Read a text file from the data folder; an unreadable one is a DataFormatError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataFormatError(
            f"{path} cannot be read ({error.strerror}); name the folder that holds the published VirtualHome data."
        ) from error
