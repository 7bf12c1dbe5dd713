"""`FeatureCache`: hidden states on disk, so that the LM reads each text once in its life."""

import hashlib
import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from toolken.errors import HeadError
from toolken.training.head.atomic_file import replace_file
from toolken.training.lm import FrozenLM, States
from toolken.training.lm.embedded import cache_folder

#: Texts that go through the LM between two writes: what a kill can cost, a few seconds of work.
TEXTS_PER_SHARD = 256


class FeatureCache:
    """Hidden states of one LM, kept in safetensors files and found again by the tokens they belong to.

    A state follows from the LM, its number format and the tokens up to its position, and from nothing else. So these
    are the key: another LM, prompt format or data never meets a stale state, a run that was killed goes on where it
    stopped, and runs that share texts share the work.

    Parameters
    ----------
    lm
        The LM that computes what is missing.
    folder
        Where the files are; by default `features` in the user's cache folder. Each LM has a folder of its own there.
        It can be deleted at any time.
    """

    def __init__(self, lm: FrozenLM, folder: Path | None = None) -> None:
        self.lm = lm
        self.folder = (folder or cache_folder() / "features") / f"{lm.fingerprint}-{lm.number_format}"
        self._shards: dict[str, Path] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            self._list(path)

    def hidden_states(
        self,
        sequences: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        *,
        advance: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[int, States]]:
        """Do what `FrozenLM.hidden_states` does, reading what is there and keeping what is not.

        Raises
        ------
        PromptTooLongError
            If a sequence that is not there is longer than the LM's context.
        """
        keys = [_key(ids, places) for ids, places in zip(sequences, positions, strict=True)]
        there: dict[Path, list[int]] = defaultdict(list)
        missing: list[int] = []
        for index, key in enumerate(keys):
            path = self._shards.get(key)
            if path is None:
                missing.append(index)
            else:
                there[path].append(index)
        for path, indices in there.items():
            found = self._read(path, [keys[index] for index in indices])
            if found is None:
                missing.extend(indices)
                continue
            for index, states in zip(indices, found, strict=True):
                if positions[index]:
                    yield index, states
            if advance is not None:
                advance(len(indices))
        # Texts of similar length share a shard, so that their batches are hardly padded.
        missing.sort(key=lambda index: (len(sequences[index]), index))
        for begin in range(0, len(missing), TEXTS_PER_SHARD):
            chunk = missing[begin : begin + TEXTS_PER_SHARD]
            computed: dict[str, States] = {}
            parts = self.lm.hidden_states([sequences[i] for i in chunk], [positions[i] for i in chunk], advance=advance)
            for at, states in parts:
                computed[keys[chunk[at]]] = states
                yield chunk[at], states
            if computed:
                self._write(computed)

    def _list(self, path: Path) -> bool:
        """Take up the texts of a file; what cannot be read is removed, and computed again when it is asked for."""
        try:
            with safe_open(path, framework="pt") as shard:
                for key in json.loads(shard.metadata()["keys"]):
                    self._shards[key] = path
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            warnings.warn(f"The feature cache file {path} is broken: it is removed and computed anew.", stacklevel=2)
            path.unlink(missing_ok=True)
            return False
        return True

    def _read(self, path: Path, keys: Sequence[str]) -> list[States] | None:
        try:
            with safe_open(path, framework="pt") as shard:
                order = {key: number for number, key in enumerate(json.loads(shard.metadata()["keys"]))}
                ends = shard.get_tensor("ends").tolist()
                hidden, logsumexp = shard.get_tensor("hidden"), shard.get_tensor("logsumexp")
        except (SafetensorError, OSError, KeyError, ValueError):
            path.unlink(missing_ok=True)
            self._shards = {key: other for key, other in self._shards.items() if other != path}
            return None
        spans = [(ends[order[key] - 1] if order[key] else 0, ends[order[key]]) for key in keys]
        return [States(hidden[begin:end], logsumexp[begin:end]) for begin, end in spans]

    def _write(self, computed: dict[str, States]) -> None:
        keys = list(computed)
        hidden = torch.cat([computed[key].hidden for key in keys])
        if not bool(torch.isfinite(hidden).all()):
            raise HeadError(
                f"A hidden state of {self.lm.name} is not a finite number: load it in float32 or check its weights."
            )
        tensors = {
            "hidden": hidden,
            "logsumexp": torch.cat([computed[key].logsumexp for key in keys]),
            "ends": torch.tensor([len(computed[key].logsumexp) for key in keys]).cumsum(0),
        }
        listed = json.dumps(keys)
        path = self.folder / f"{hashlib.sha256(listed.encode()).hexdigest()[:24]}.safetensors"
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, save(tensors, {"keys": listed}))
        self._shards.update(dict.fromkeys(keys, path))


def _key(ids: Sequence[int], positions: Sequence[int]) -> str:
    digest = hashlib.sha256()
    for part in (ids, positions):
        digest.update(torch.tensor(part, dtype=torch.int64).numpy().tobytes())
        digest.update(b"|")
    return digest.hexdigest()[:32]
