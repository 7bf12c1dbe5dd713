"""The published programs beyond the test tasks, rebuilt as tasks for training and development."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from toolken.errors import DataFormatError
from toolken.tools.household.errors import HouseholdError
from toolken.tools.household.rebuilding import Step
from toolken.tools.household.simulator import SceneGraph, read_script_line
from toolken.tools.household.tasks import HouseholdTask, TaskRecord, read_json, read_task_scene, read_text, task_of
from toolken.tools.household.toolkens import TOOLKENS, write_plan

PROGRAMS = "programs.jsonl"
#: Scenes in which a program is tried, the same as those of the tests.
SCENES = tuple(f"TrimmedTestScene{number}_graph" for number in range(1, 8))


class WrittenPlan(NamedTuple):
    """A plan as its author wrote it, independent of a home."""

    title: str
    description: str
    toolkens: tuple[str, ...]


def read_plans(folder: str | Path, *, without: Iterable[HouseholdTask] = ()) -> Iterator[WrittenPlan]:
    """Yield the published programs that can be written in the 58 toolkens.

    Parameters
    ----------
    folder
        The data folder, with programs.jsonl and object_name_map.json.
    without
        Tasks to exclude: a program with the title and description, or the plan, of any of these is omitted.

    Raises
    ------
    DataFormatError
        If a file is missing or not in the published form; file and line are named.
    """
    for _, record, plan in _programs(Path(folder), list(without)):
        yield WrittenPlan(record.title, record.description, plan)


def read_programs(
    folder: str | Path,
    *,
    without: Iterable[HouseholdTask] = (),
    among: Container[tuple[str, str]] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Iterator[HouseholdTask]:
    """Yield the same programs, each as a task in a scene that it can be run in.

    A program names no scene. It is assigned the first of the seven trimmed scenes in which its preconditions can be
    set up and its script carried out; the search starts at the line number modulo seven, to spread the programs over
    the scenes. Programs that run in no scene, or repeat an earlier title and description, are omitted.

    Parameters
    ----------
    folder
        The data folder: programs.jsonl and what `read_tasks` needs.
    without
        As for `read_plans`.
    among
        Values of `request_key` for the programs to yield; all by default.
    advance
        Called with the number of programs done since the last call.

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
    seen = set()
    for number, record, plan in _programs(root, list(without)):
        request = request_key(record.title, record.description)
        if request not in seen and (among is None or request in among):
            for turn in range(len(SCENES)):
                scene = SCENES[(number + turn) % len(SCENES)]
                if scene not in scenes:
                    scenes[scene] = read_task_scene(root, scene)
                task = _rebuilt(record, scene, plan, scenes[scene], root, properties, names)
                if task is not None:
                    seen.add(request)
                    yield task
                    break
        if advance is not None:
            advance(1)


def _programs(root: Path, without: Sequence[HouseholdTask]) -> Iterator[tuple[int, "_Program", tuple[str, ...]]]:
    """Yield line number, record and plan of the programs that consist of toolkens and are not excluded."""
    source = root / PROGRAMS
    names = read_json(root / "object_name_map.json")
    requests = {request_key(task.title, task.description) for task in without}
    plans = {task.toolkens for task in without}
    for number, line in enumerate(read_text(source).splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = _Program.model_validate_json(line)
        except ValidationError as error:
            raise DataFormatError(f"{source}, line {number} is not a program in the published form: {error}") from error
        plan = _toolkens(record.script, names)
        if plan is not None and plan not in plans and request_key(record.title, record.description) not in requests:
            yield number, record, plan


class _Program(BaseModel):
    """A line of programs.jsonl."""

    id: str
    title: str
    description: str
    script: list[str]
    preconditions: list[dict[str, Any]]


def request_key(title: str, description: str) -> tuple[str, str]:
    """Return a key that is equal for requests that differ in whitespace and capitals only."""
    return " ".join(title.lower().split()), " ".join(description.lower().split())


def _toolkens(script: Iterable[str], names: dict[str, Any]) -> tuple[str, ...] | None:
    """Return a script as a plan in toolkens, or None if it needs other toolkens."""
    steps: list[Step] = []
    for line in script:
        try:
            action, objects = read_script_line(line)
        except HouseholdError:
            return None
        steps.append((action, tuple(objects)))
    if not steps or any(len(objects) != 1 for _, objects in steps):
        return None
    plan = write_plan([(action, names.get(objects[0][0], objects[0][0])) for action, objects in steps])
    return tuple(plan) if set(plan) <= set(TOOLKENS) else None


def _rebuilt(
    record: _Program,
    scene: str,
    plan: tuple[str, ...],
    graph: SceneGraph,
    root: Path,
    properties: dict[str, Any],
    names: dict[str, Any],
) -> HouseholdTask | None:
    """Return a program as a task in a scene, or None if it cannot be carried out there."""
    described = TaskRecord(**record.model_dump(), scene=scene, plan_toolkens=list(plan))
    try:
        task = task_of(described, graph, root, properties, names)
    except (DataFormatError, HouseholdError):
        return None
    return None if task.complaint else task
