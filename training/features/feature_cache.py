"""`FeatureCache`: hidden states on disk, so that each text goes through the LM only once."""

import hashlib
import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from toolken.errors import HeadError
from toolken.training.lm import FrozenLM, States
from toolken.training.lm.cache_files import save_to_cache
from toolken.training.lm.embedded import cache_folder
from toolken.training.lm.states import on_cpu

#: Texts per file, which is also the number of texts that a killed process loses.
TEXTS_PER_SHARD = 256


class FeatureCache:
    """Hidden states of one LM in safetensors files, keyed by the tokens of the text.

    A hidden state depends only on the LM, its number format and the tokens up to its position. With these as the key,
    a cached state is never stale, a killed run resumes, and runs with common texts share them. All states that the
    cache returns are on the CPU; a folder that cannot be written costs one warning and no result.

    Parameters
    ----------
    lm
        The LM that computes missing states.
    folder
        Folder of the files, with a subfolder per LM and number format; by default `features` in the user's cache
        folder. It can be deleted at any time.
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
        """Yield the states that `FrozenLM.hidden_states` yields, from the files or from the LM.

        Raises
        ------
        PromptTooLongError
            If a sequence that is not cached is longer than the LM's context.
        HeadError
            If a hidden state is not a finite number.
        """
        keys = [_key(ids, places) for ids, places in zip(sequences, positions, strict=True)]
        cached: dict[Path, list[int]] = defaultdict(list)
        missing: list[int] = []
        for index, key in enumerate(keys):
            path = self._shards.get(key)
            if path is None:
                missing.append(index)
            else:
                cached[path].append(index)
        for path, indices in cached.items():
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
            found_here: dict[int, States] = {}
            runs = self.lm.hidden_states([sequences[i] for i in chunk], [positions[i] for i in chunk], advance=advance)
            for at, states in runs:
                found_here[chunk[at]] = states
            if found_here:
                found_here = dict(zip(found_here, on_cpu(list(found_here.values())), strict=True))
                self._write({keys[index]: states for index, states in found_here.items()})
                yield from found_here.items()

    def _list(self, path: Path) -> bool:
        """Index the texts of a file; an unreadable file is removed."""
        try:
            with safe_open(path, framework="pt") as shard:
                for key in json.loads(shard.metadata()["keys"]):
                    self._shards[key] = path
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            warnings.warn(
                f"The feature cache file {path} is broken: it is removed, and its states are computed again.",
                stacklevel=2,
            )
            _remove(path)
            return False
        return True

    def _read(self, path: Path, keys: Sequence[str]) -> list[States] | None:
        try:
            with safe_open(path, framework="pt") as shard:
                order = {key: number for number, key in enumerate(json.loads(shard.metadata()["keys"]))}
                ends = shard.get_tensor("ends").tolist()
                hidden, logsumexp = shard.get_tensor("hidden"), shard.get_tensor("logsumexp")
        except (SafetensorError, OSError, KeyError, ValueError):
            _remove(path)
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
        if save_to_cache(path, save(tensors, {"keys": listed})):
            self._shards.update(dict.fromkeys(keys, path))


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _key(ids: Sequence[int], positions: Sequence[int]) -> str:
    digest = hashlib.sha256()
    for part in (ids, positions):
        digest.update(torch.tensor(part, dtype=torch.int64).numpy().tobytes())
        digest.update(b"|")
    return digest.hexdigest()[:32]
