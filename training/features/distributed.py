"""Fitting on a cluster: the pass over the examples is spread over the workers of Ray, and their readings are joined."""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolken.errors import BackendError, ExampleError
from toolken.training.examples import Example, check_examples
from toolken.training.features.decision_states import GROUP
from toolken.training.features.example_features import ExampleFeatures, groups
from toolken.training.features.shards import count_examples, read_shards
from toolken.training.lm import FrozenLM
from toolken.training.prompts.prompt_format import PromptFormat

#: Groups of examples that a worker has in hand at a time: one that it reads, and one so that it need not wait.
IN_HAND = 2
#: Deaths of one worker after which the cluster, and not chance, is at fault.
RESTARTS = 20


def extract_on_ray(
    lm: FrozenLM,
    prompt: PromptFormat,
    paths: Sequence[str],
    names: Sequence[str],
    *,
    workers: int = 2,
    threads: int = 1,
    seed: int = 0,
    started: Callable[[int], Callable[[int], None]] | None = None,
) -> ExampleFeatures:
    """Read examples with workers of Ray; the result is what `read` gives for them in one process.

    Groups of examples go to whichever worker is free. A worker that dies is started again, and reads anew what it had
    in hand; readings are joined in the order of the examples, so that neither the number of the workers nor their
    deaths change the result by more than rounding does.

    Parameters
    ----------
    lm
        The LM, which each worker loads by its name: a path must be one that all of them see.
    paths
        JSON lines or Parquet: files, folders or addresses; see `read_shards`.
    workers, threads
        Number of workers, and of processors each of them uses.
    seed
        As in `fit`.
    started
        Called with the number of examples before the first is read; returns what is called as they are done.

    Raises
    ------
    BackendError
        If Ray is not installed, a worker dies again and again, or loads another LM than this one.
    ExampleError
        If a file cannot be read, or an example is broken or calls an unknown tool.
    """
    ray = _ray()
    with _session(workers * threads):
        remote = ray.remote(num_cpus=threads, max_restarts=RESTARTS, max_task_retries=RESTARTS)(_Worker)
        shared = ray.put((prompt.model_dump_json(), list(names), seed))
        source = str(Path(lm.name).absolute()) if Path(lm.name).exists() else lm.name
        dtype = str(lm.dtype).removeprefix("torch.")
        pool = [remote.remote(source, lm.fingerprint, dtype, threads) for _ in range(workers)]
        try:
            advance = started(count_examples(paths)) if started else lambda _: None
            return _joined(ray, lm, pool, shared, paths, names, advance)
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from error
        except ray.exceptions.RayError as error:
            reason = str(error).strip().split("\n")[0]
            raise BackendError(f"The cluster gave up ({reason}): see Ray's logs, and start the fit again.") from error
        finally:
            for worker in pool:
                ray.kill(worker)


def _joined(
    ray: Any,
    lm: FrozenLM,
    pool: list[Any],
    shared: Any,
    paths: Sequence[str],
    names: Sequence[str],
    advance: Callable[[int], None],
) -> ExampleFeatures:
    whole = ExampleFeatures.nothing(names, lm.hidden_size)
    under_way: dict[Any, tuple[int, int]] = {}
    waiting: dict[int, ExampleFeatures] = {}
    free = list(range(len(pool))) * IN_HAND
    known, next_one = set(names), 0
    pending = enumerate(groups(read_shards(paths)))
    exhausted = False
    while not exhausted or under_way:
        while free and not exhausted:
            found = next(pending, None)
            if found is None:
                exhausted = True
                break
            number, group = found
            check_examples(group, known, before=number * GROUP)
            worker = free.pop()
            lines = [one.model_dump_json() for one in group]
            under_way[pool[worker].read.remote(shared, number, lines)] = number, worker
        if not under_way:
            continue
        done, _ = ray.wait(list(under_way), num_returns=1)
        number, worker = under_way.pop(done[0])
        reading = ray.get(done[0])
        free.append(worker)
        waiting[number] = reading
        advance(reading.examples)
        while next_one in waiting:
            whole.join(waiting.pop(next_one))
            next_one += 1
    if not whole.examples:
        raise ExampleError(f"There is no example in {', '.join(map(repr, paths))}: put one JSON object on each line.")
    return whole


class _Worker:
    """Loads the LM once and reads groups of examples."""

    def __init__(self, source: str, fingerprint: str, dtype: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.lm = FrozenLM.from_pretrained(source, dtype=getattr(torch, dtype))
        if self.lm.fingerprint != fingerprint:
            raise BackendError(
                f"A worker finds another LM at {source!r}: give a path under which all find the same one."
            )

    def read(self, shared: tuple[str, list[str], int], number: int, lines: list[str]) -> ExampleFeatures:
        prompt, names, seed = shared
        examples = [Example.model_validate_json(line) for line in lines]
        form = PromptFormat.model_validate_json(prompt)
        begun = time.process_time()
        reading = ExampleFeatures.of_group(self.lm, form, examples, names, number=number, seed=seed)
        reading.seconds = time.process_time() - begun
        texts = [rendered.text for one in examples for rendered in form.renderings(one)]
        reading.tokens = sum(len(self.lm.encode(text).ids) for text in texts)
        return reading


def _ray() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries that Ray tries for
            import ray
    except ImportError as error:
        raise BackendError(
            f"The backend 'ray' needs {error.name}, which is not installed: run `pip install toolken[ray]`."
        ) from error
    return ray


@contextmanager
def _session(processors: int) -> Iterator[None]:
    """Join the session of Ray that there is, or one that RAY_ADDRESS names, or start one on this machine."""
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
    """Return what went wrong in a worker, in the project's own words where it has any."""
    from toolken.errors import ToolkenError

    cause = getattr(error, "cause", None)
    if isinstance(cause, ToolkenError):
        return cause
    return BackendError(f"A worker failed: {str(cause or error).strip().splitlines()[-1]}")
