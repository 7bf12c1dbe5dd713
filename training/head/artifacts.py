"""Reading and writing heads: safetensors for numbers, JSON for the rest, checksums over both.

A saved head holds what its tools add to the LM. The LM's background is named by its fingerprint (`BackgroundMoments`).
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from toolken.errors import HeadError
from toolken.training.estimation.estimate import Estimate
from toolken.training.estimation.gate import Gate
from toolken.training.estimation.logistic import Boundary
from toolken.training.estimation.refinement import Correction
from toolken.training.estimation.settings import ClosedFormSettings
from toolken.training.estimation.statistics import ToolStatistics
from toolken.training.examples import FewShotExample
from toolken.training.head.atomic_file import partial_file, put_in_place, remove_abandoned, replace_file
from toolken.training.head.provenance import Provenance
from toolken.training.lm.embedded import cache_folder
from toolken.training.prior.moments import BackgroundMoments
from toolken.training.prior.teacher import Teacher
from toolken.training.prompts.conversation_format import ConversationFormat
from toolken.training.prompts.few_shot import FewShotExamples
from toolken.training.tool_spec import ToolSpec

if TYPE_CHECKING:
    from toolken.training.head.toolken_head import ToolkenHead

HEAD_FILE = "head.json"
#: Names of the files with the tensors.
TENSOR_FILES = "head-*.safetensors"
#: Folder in the cache folder with the locks of folders that heads are written to.
LOCKS = "locks"
FORMAT = 5
#: How often reading a head is tried again when another process replaces it meanwhile.
READINGS = 5


class Sidecar(BaseModel):
    """The content of head.json.

    Attributes
    ----------
    version
        SHA-256 of everything else in the file, in hex, which includes the checksum of the tensors: two folders with
        one version hold the same head.
    background
        Fingerprint of the LM's background.
    """

    model_config = ConfigDict(extra="forbid")

    format: int
    version: str = ""
    lm_name: str
    lm_fingerprint: str
    prompt: ConversationFormat
    background: str
    provenance: Provenance
    threshold: float
    settings: ClosedFormSettings
    temperature: float
    sources: list[str]
    encoder: str | None
    corrected: list[str] | None
    tensors: str
    sha256: str
    tools: list[ToolSpec] = Field(min_length=1)
    few_shot: list[FewShotExample]


def write_head(head: "ToolkenHead", folder: Path) -> str:
    """Write a head so that a kill at any moment leaves the old head or the new one, never a mixture.

    The tensors go to a file named after their checksum; head.json, which names it, is replaced last and in one step.

    Returns
    -------
    str
        The head's version.

    Raises
    ------
    HeadError
        If the folder cannot be written.
    """
    tensors = {key: value.contiguous() for key, value in _tensors(head).items()}
    try:
        with _written_alone(folder):
            with partial_file(folder, "head") as partial:
                save_file(tensors, partial)
                checksum = _checksum(partial)
                name = f"head-{checksum[:16]}.safetensors"
                put_in_place(partial, folder / name)
            sidecar = _sidecar(head, name, checksum)
            replace_file(folder / HEAD_FILE, sidecar.model_dump_json(indent=1).encode())
            _tidy(folder, name)
    except OSError as error:
        raise HeadError(f"The head cannot be written to {str(folder)!r}: {error}.") from error
    return sidecar.version


def read_sidecar(folder: Path) -> Sidecar:
    """Read everything about a head but its tensors.

    Raises
    ------
    HeadError
        If there is none in the folder, or its file is truncated, altered or of another version.
    """
    path = folder / HEAD_FILE
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HeadError(f"There is no head in {str(folder)!r}: fit one with `toolken fit --out {folder}`.") from error
    except ValueError as error:
        raise HeadError(f"{str(path)!r} is damaged: fit the head again, or restore the file ({error}).") from error
    if isinstance(raw, dict) and raw.get("format") != FORMAT:
        raise HeadError(
            f"{str(path)!r} has format {raw.get('format')!r}, and this version reads {FORMAT}: fit the head again."
        )
    try:
        sidecar = Sidecar.model_validate(raw)
    except ValidationError as error:
        raise HeadError(f"{str(path)!r} is not a head: {error.errors()[0]['msg']}.") from error
    if sidecar.version != _version(sidecar):
        raise HeadError(f"{str(path)!r} was altered since the head was saved: restore it, or fit the head again.")
    return sidecar


def read_head(folder: Path) -> "ToolkenHead":
    """Read a head. Large tensors are mapped from their file and come into memory as they are used.

    Raises
    ------
    HeadError
        If there is none in the folder, or a file of it is missing, truncated, altered or of another version.
    """
    for reading in range(READINGS):
        sidecar = read_sidecar(folder)
        file = folder / Path(sidecar.tensors).name
        try:
            if _checksum(file) != sidecar.sha256:
                raise HeadError(f"The file {str(file)!r} is truncated or altered: restore it, or fit the head again.")
            tensors = load_file(file)
        except (OSError, SafetensorError) as error:
            # Another process may have replaced the head between the two files.
            if reading + 1 == READINGS or read_sidecar(folder).version == sidecar.version:
                raise HeadError(
                    f"The file {str(file)!r} of the head is missing: restore it, or fit the head again."
                ) from error
            continue
        if len(sidecar.tools) != len(tensors["statistics.counts"]):
            path = folder / HEAD_FILE
            raise HeadError(f"{str(path)!r} does not list the tools of {file.name}: restore it, or fit the head again.")
        return _head(sidecar, tensors)
    raise AssertionError("unreachable")


def copy_head(source: Path, folder: Path) -> Sidecar:
    """Copy a head's files as they are, after checking them, so that a kill leaves what was there or the copy.

    Raises
    ------
    HeadError
        If there is no head, a file of it is truncated or altered, or the folder cannot be written.
    """
    sidecar = read_sidecar(source)
    file = source / Path(sidecar.tensors).name
    try:
        with _written_alone(folder):
            with partial_file(folder, "head") as partial:
                digest = hashlib.sha256()
                with file.open("rb") as original, partial.open("wb") as copied:
                    while block := original.read(2**20):
                        digest.update(block)
                        copied.write(block)
                if digest.hexdigest() != sidecar.sha256:
                    raise HeadError(
                        f"The file {str(file)!r} is truncated or altered: restore it, or fit the head again."
                    )
                put_in_place(partial, folder / file.name)
            replace_file(folder / HEAD_FILE, sidecar.model_dump_json(indent=1).encode())
            _tidy(folder, file.name)
    except OSError as error:
        raise HeadError(f"The head cannot be copied from {str(source)!r} to {str(folder)!r}: {error}.") from error
    return sidecar


@contextmanager
def _written_alone(folder: Path) -> Iterator[None]:
    """Make a folder and lock it against other writers: each removes the tensors that its own head does not name.

    The lock file is not part of a head, so it lies in the cache folder. It is not removed: a writer that waits for it
    and one that creates it again would then both go on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    locks = cache_folder() / LOCKS
    try:
        locks.mkdir(parents=True, exist_ok=True)
    except OSError:
        locks = Path(tempfile.gettempdir())  # heads can be saved where the cache cannot be written
    with FileLock(locks / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]}.lock"):
        yield


def _tensors(head: "ToolkenHead") -> dict[str, torch.Tensor]:
    estimate, gate = head.estimate, head.gate
    tensors = {f"statistics.{key}": value for key, value in estimate.statistics.tensors().items()}
    tensors |= {
        "output_embeddings": estimate.output_embeddings,
        "biases": estimate.biases,
        "few_shot": head.few_shot.states,
        "gate.weights": torch.stack([gate.opening.weight, gate.following.weight]),
        "gate.biases": torch.tensor([gate.opening.bias, gate.following.bias], dtype=torch.float64),
        "gate.lengths": torch.tensor(gate.lengths, dtype=torch.float64),
    }
    tensors |= {f"forms.{source}": form for source, form in estimate.forms.items()}
    if "query" in estimate.forms:
        tensors |= dict(zip(("offsets.lengths", "offsets.spreads"), estimate.offsets, strict=True))
    if estimate.correction is not None:
        tensors["correction.output_embeddings"] = estimate.correction.output_embeddings
        tensors["correction.biases"] = estimate.correction.biases
    if head.teacher is not None:
        tensors |= {f"teacher.{key}": getattr(head.teacher, key) for key in ("mean", "origin", "matrix")}
    if estimate.background.own:
        # safetensors refuses tensors that share memory, as this one may with the teacher's.
        tensors |= {
            "background.mean": estimate.background.mean.clone(),
            "background.covariance": _packed(estimate.background),
        }
    return tensors


def _packed(background: BackgroundMoments) -> torch.Tensor:
    """Return the lower triangle of a covariance `(d, d)`, `(d (d + 1) / 2,) float32`."""
    rows, columns = torch.tril_indices(len(background.mean), len(background.mean))
    return background.covariance[rows, columns].float()


def _background(fingerprint: str, tensors: Mapping[str, torch.Tensor]) -> BackgroundMoments:
    """Return the moments with a fingerprint: those in the head's file, or the LM's own, read when first needed."""
    if "background.mean" not in tensors:
        return BackgroundMoments.shared(fingerprint)
    mean, packed = tensors["background.mean"], tensors["background.covariance"].double()
    rows, columns = torch.tril_indices(len(mean), len(mean))
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    covariance[rows, columns] = packed
    covariance[columns, rows] = packed
    return BackgroundMoments.shared(fingerprint, (mean, covariance), own=True)


def _sidecar(head: "ToolkenHead", name: str, checksum: str) -> Sidecar:
    sidecar = Sidecar(
        format=FORMAT,
        lm_name=head.lm_name,
        lm_fingerprint=head.lm_fingerprint,
        prompt=head.prompt,
        background=head.estimate.background.fingerprint,
        provenance=head.provenance,
        threshold=head.threshold,
        settings=head.settings,
        temperature=head.temperature,
        sources=list(head.forms),
        encoder=head.teacher.encoder if head.teacher else None,
        corrected=list(head.correction.names) if head.correction else None,
        tensors=name,
        sha256=checksum,
        tools=list(head.specs),
        few_shot=head.few_shot.shown,
    )
    sidecar.version = _version(sidecar)
    return sidecar


def _head(sidecar: Sidecar, tensors: Mapping[str, torch.Tensor]) -> "ToolkenHead":
    from toolken.training.head.toolken_head import ToolkenHead

    names = [spec.name for spec in sidecar.tools]
    _share_schemas(sidecar.tools)
    statistics = {key.removeprefix("statistics."): value for key, value in tensors.items()}
    correction = None
    if sidecar.corrected is not None:
        moved = tensors["correction.output_embeddings"], tensors["correction.biases"]
        correction = Correction(tuple(sidecar.corrected), *moved)
    estimate = Estimate(
        forms={source: tensors[f"forms.{source}"] for source in sidecar.sources},
        statistics=ToolStatistics.from_tensors(names, statistics),
        background=_background(sidecar.background, tensors),
        settings=sidecar.settings,
        temperature=sidecar.temperature,
        correction=correction,
    )
    known = "offsets.lengths" in tensors
    offsets = (tensors["offsets.lengths"], tensors["offsets.spreads"]) if known else None
    teacher = None
    if sidecar.encoder is not None:
        teacher = Teacher(sidecar.encoder, *(tensors[f"teacher.{key}"] for key in ("mean", "origin", "matrix")))
    return ToolkenHead(
        lm_name=sidecar.lm_name,
        lm_fingerprint=sidecar.lm_fingerprint,
        prompt=sidecar.prompt,
        specs=sidecar.tools,
        estimate=estimate.known_as(tensors["output_embeddings"], tensors["biases"], offsets),
        gate=_gate(tensors),
        threshold=sidecar.threshold,
        few_shot=FewShotExamples(sidecar.few_shot, tensors["few_shot"]),
        teacher=teacher,
        provenance=sidecar.provenance,
    )


def _gate(tensors: Mapping[str, torch.Tensor]) -> Gate:
    opening, following = map(Boundary, tensors["gate.weights"], tensors["gate.biases"].tolist())
    return Gate(opening, following, tuple(tensors["gate.lengths"].tolist()))


def _share_schemas(specs: list[ToolSpec]) -> None:
    """Let tools with equal schemas share one object: with very many tools, copies outgrow the toolkens."""
    schemas: dict[str, dict[str, Any]] = {}
    for at, spec in enumerate(specs):
        schema = schemas.setdefault(json.dumps(spec.parameters), spec.parameters)
        if schema is not spec.parameters:
            specs[at] = spec.model_copy(update={"parameters": schema})


def _version(sidecar: Sidecar) -> str:
    """Return the SHA-256 of everything in head.json but the version itself."""
    return hashlib.sha256(sidecar.model_dump_json(exclude={"version"}).encode()).hexdigest()


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tidy(folder: Path, kept: str) -> None:
    """Remove tensors that no head names any more, and partial files of killed writers."""
    for old in folder.glob(TENSOR_FILES):
        if old.name != kept:
            old.unlink(missing_ok=True)
    remove_abandoned(folder, "head")
