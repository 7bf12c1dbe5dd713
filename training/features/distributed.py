"""Feature extraction on a cluster: Ray workers compute the features of groups of examples, which are then joined."""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolken.errors import BackendError, ExampleError
from toolken.training.examples import Example
from toolken.training.features.example_features import ExampleFeatures, groups
from toolken.training.features.shards import count_examples, read_shards
from toolken.training.lm import FrozenLM
from toolken.training.prompts.conversation_format import ConversationFormat, read_format
from toolken.training.tool_spec import ToolSpec

#: Groups of examples assigned to a worker at a time: the one it processes, and the next, so that it never waits.
ASSIGNED = 2
#: Restarts of one worker before the fit fails.
RESTARTS = 20


def extract_on_ray(
    lm: FrozenLM,
    prompt: ConversationFormat,
    paths: Sequence[str],
    tools: Sequence[str | ToolSpec],
    *,
    workers: int = 2,
    threads: int = 1,
    seed: int = 0,
    started: Callable[[int], Callable[[int], None]] | None = None,
) -> ExampleFeatures:
    """Compute the features of examples with Ray workers; the result is that of a single process.

    Groups of examples go to the next free worker. A worker that dies is restarted and processes its groups again. The
    features are joined in the order of the examples, so the number of workers and restarts change the result by
    rounding errors only.

    Parameters
    ----------
    lm
        The LM. Each worker loads it by its name; if that is a path, all workers must be able to read it.
    paths
        Files, folders or URLs of JSON lines or Parquet; see `read_shards`.
    prompt
        The prompt format.
    tools
        The tools; with names alone, the arguments of calls are not checked.
    workers, threads
        Number of workers, and number of processors that each of them uses.
    seed
        Seed, as in `fit`.
    started
        Called with the number of examples before the first is read; returns a function that is called with the number
        of examples completed since its last call.

    Raises
    ------
    BackendError
        If Ray is not installed, a worker dies too often, or the LM that a worker loads is not `lm`.
    ExampleError
        If a file cannot be read, or an example is malformed or has a wrong call; the message has file and line.
    """
    names = [tool if isinstance(tool, str) else tool.name for tool in tools]
    ray = _ray()
    with _session(workers * threads):
        remote = ray.remote(num_cpus=threads, max_restarts=RESTARTS, max_task_retries=RESTARTS)(_Worker)
        shared = ray.put((prompt.model_dump_json(), names, seed))
        source = str(Path(lm.name).absolute()) if Path(lm.name).exists() else lm.name
        dtype = str(lm.dtype).removeprefix("torch.")
        pool = [remote.remote(source, lm.fingerprint, dtype, threads) for _ in range(workers)]
        try:
            advance = started(count_examples(paths)) if started else lambda _: None
            joined = ExampleFeatures.nothing(names, lm.hidden_size)
            for features in _in_order(ray, pool, shared, read_shards(paths, tools), advance):
                joined.join(features)
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from error
        except ray.exceptions.RayError as error:
            reason = str(error).strip().split("\n")[0]
            raise BackendError(
                f"The Ray cluster failed ({reason}): see Ray's logs, and start the fit again."
            ) from error
        finally:
            for worker in pool:
                ray.kill(worker)
    if not joined.examples:
        raise ExampleError(f"There is no example in {', '.join(map(repr, paths))}: put one JSON object on each line.")
    return joined


def _in_order(
    ray: Any, pool: list[Any], shared: Any, examples: Iterator[Example], advance: Callable[[int], None]
) -> Iterator[ExampleFeatures]:
    """Yield the features of groups of examples, in the order of the examples, as the workers compute them."""
    under_way: dict[Any, tuple[int, int]] = {}
    waiting: dict[int, ExampleFeatures] = {}
    free = list(range(len(pool))) * ASSIGNED
    next_one = 0
    pending = enumerate(groups(examples))
    exhausted = False
    while not exhausted or under_way:
        while free and not exhausted:
            found = next(pending, None)
            if found is None:
                exhausted = True
                break
            number, group = found
            worker = free.pop()
            lines = [one.model_dump_json() for one in group]
            under_way[pool[worker].read.remote(shared, number, lines)] = number, worker
        if not under_way:
            continue
        done, _ = ray.wait(list(under_way), num_returns=1)
        number, worker = under_way.pop(done[0])
        features = ray.get(done[0])
        free.append(worker)
        waiting[number] = features
        advance(features.examples)
        while next_one in waiting:
            yield waiting.pop(next_one)
            next_one += 1


class _Worker:
    """Loads the LM once and computes the features of groups of examples."""

    def __init__(self, source: str, fingerprint: str, dtype: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.lm = FrozenLM.from_pretrained(source, dtype=getattr(torch, dtype))
        if self.lm.fingerprint != fingerprint:
            raise BackendError(
                f"A worker loaded another LM from {source!r}: give a path that leads to the same LM on all machines."
            )

    def read(self, shared: tuple[str, list[str], int], number: int, lines: list[str]) -> ExampleFeatures:
        """Return the features of one group, given as JSON lines."""
        prompt, names, seed = shared
        examples = [Example.model_validate_json(line) for line in lines]
        form = read_format(prompt)
        begun = time.process_time()
        features = ExampleFeatures.of_group(self.lm, form, examples, names, number=number, seed=seed)
        features.seconds = time.process_time() - begun
        texts = [rendered.text for one in examples for rendered in form.renderings(one)]
        features.tokens = sum(len(self.lm.encode(text).ids) for text in texts)
        return features


def _ray() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of Ray's optional dependencies
            import ray
    except ImportError as error:
        raise BackendError(
            f"The backend 'ray' needs {error.name}, which is not installed: run `pip install toolken[ray]`."
        ) from error
    return ray


@contextmanager
def _session(processors: int) -> Iterator[None]:
    """Use the current Ray session, else connect to the cluster at RAY_ADDRESS, else start Ray on this machine."""
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    local: dict[str, Any] = {"num_cpus": max(processors + 1, 2), "include_dashboard": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ray.init(
                logging_level="error",
                log_to_driver=False,
                configure_logging=True,
                **({} if os.environ.get("RAY_ADDRESS") else local),
            )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise BackendError(f"Ray cannot be started or reached: check RAY_ADDRESS ({error}).") from error
        try:
            yield
        finally:
            ray.shutdown()


def _cause(error: Any) -> Exception:
    """Return the error that a worker raised, as a `BackendError` unless it is one of the project's errors."""
    from toolken.errors import ToolkenError

    cause = getattr(error, "cause", None)
    if isinstance(cause, ToolkenError):
        return cause
    return BackendError(f"A worker failed: {str(cause or error).strip().splitlines()[-1]}")
