"""Reading and writing heads: safetensors for numbers, JSON for the rest, a checksum between them."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load, save

from toolken.errors import HeadError
from toolken.training.atomic_file import replace_file
from toolken.training.closed_form import Settings
from toolken.training.demonstrations import Demonstrations
from toolken.training.examples import Demonstration
from toolken.training.gate import Boundary, Gate
from toolken.training.prompt import PromptFormat
from toolken.training.refinement import Correction
from toolken.training.statistics import ToolStatistics
from toolken.training.teacher import Teacher
from toolken.training.tool_spec import ToolSpec

if TYPE_CHECKING:
    from toolken.training.head import ToolkenHead

HEAD_FILE = "head.json"
FORMAT = 2


class _Sidecar(BaseModel):
    """What stands in head.json."""

    model_config = ConfigDict(extra="forbid")

    format: int
    lm_name: str
    lm_fingerprint: str
    prompt: PromptFormat
    tools: list[ToolSpec]
    threshold: float
    settings: Settings
    temperature: float
    sources: list[str]
    encoder: str | None
    corrected: list[str] | None
    demonstrations: list[Demonstration]
    tensors: str
    sha256: str


def write_head(head: "ToolkenHead", folder: Path) -> None:
    """Write a head so that a kill at any moment leaves the old head or the new one, never a mixture.

    The tensors go to a file named after their checksum; head.json, which names it, is replaced last and in one step.

    Raises
    ------
    HeadError
        If the folder cannot be written.
    """
    tensors = {f"statistics.{key}": value for key, value in head.statistics.tensors().items()}
    tensors |= {
        "demonstrations": head.demonstrations.states,
        "mean": head.mean,
        "covariance": head.covariance,
        "gate.rows": torch.stack([head.gate.opening.row, head.gate.following.row]),
        "gate.biases": torch.tensor([head.gate.opening.bias, head.gate.following.bias], dtype=torch.float64),
        "gate.lengths": torch.tensor(head.gate.lengths, dtype=torch.float64),
    }
    tensors |= {f"forms.{source}": form for source, form in head.forms.items()}
    if head.correction is not None:
        tensors |= {"correction.rows": head.correction.rows, "correction.biases": head.correction.biases}
    if head.teacher is not None:
        tensors |= {f"teacher.{key}": getattr(head.teacher, key) for key in ("origin", "matrix")}
    content = save({key: value.contiguous() for key, value in tensors.items()})
    checksum = hashlib.sha256(content).hexdigest()
    name = f"head-{checksum[:16]}.safetensors"
    sidecar = _Sidecar(
        format=FORMAT,
        lm_name=head.lm_name,
        lm_fingerprint=head.lm_fingerprint,
        prompt=head.prompt,
        tools=head.specs,
        threshold=head.threshold,
        settings=head.settings,
        temperature=head.temperature,
        sources=list(head.forms),
        encoder=head.teacher.encoder if head.teacher else None,
        corrected=list(head.correction.names) if head.correction else None,
        demonstrations=head.demonstrations.shown,
        tensors=name,
        sha256=checksum,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / name, content)
        replace_file(folder / HEAD_FILE, sidecar.model_dump_json(indent=1).encode())
    except OSError as error:
        raise HeadError(f"The head cannot be written to {str(folder)!r}: {error}.") from error
    for old in folder.glob("head-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def read_head(folder: Path) -> "ToolkenHead":
    """Read a head.

    Raises
    ------
    HeadError
        If there is none in the folder, or a file of it is missing, altered or of another version.
    """
    from toolken.training.head import ToolkenHead

    path = folder / HEAD_FILE
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HeadError(f"There is no head in {str(folder)!r}: fit one with `toolken fit --out {folder}`.") from error
    except ValueError as error:
        raise HeadError(f"{str(path)!r} is damaged: fit the head anew, or restore the file ({error}).") from error
    if isinstance(raw, dict) and raw.get("format") != FORMAT:
        raise HeadError(
            f"{str(path)!r} has format {raw.get('format')!r}, and this version reads {FORMAT}: fit it anew."
        )
    try:
        sidecar = _Sidecar.model_validate(raw)
    except ValidationError as error:
        raise HeadError(f"{str(path)!r} is not a head: {error.errors()[0]['msg']}.") from error
    file = folder / Path(sidecar.tensors).name
    try:
        content = file.read_bytes()
    except OSError as error:
        raise HeadError(f"The file {str(file)!r} of the head is missing: restore it, or fit the head anew.") from error
    if hashlib.sha256(content).hexdigest() != sidecar.sha256:
        raise HeadError(f"The file {str(file)!r} is truncated or altered: restore it, or fit the head anew.")
    tensors = load(content)
    names = [spec.name for spec in sidecar.tools]
    if not names or len(names) != len(tensors["statistics.counts"]):
        raise HeadError(f"{str(path)!r} does not list the tools of {file.name}: restore it, or fit the head anew.")
    return ToolkenHead(
        lm_name=sidecar.lm_name,
        lm_fingerprint=sidecar.lm_fingerprint,
        prompt=sidecar.prompt,
        specs=sidecar.tools,
        forms={source: tensors[f"forms.{source}"] for source in sidecar.sources},
        statistics=ToolStatistics.from_tensors(
            names, {key.removeprefix("statistics."): value for key, value in tensors.items()}
        ),
        mean=tensors["mean"],
        covariance=tensors["covariance"],
        gate=_gate(tensors),
        threshold=sidecar.threshold,
        demonstrations=Demonstrations(sidecar.demonstrations, tensors["demonstrations"]),
        settings=sidecar.settings,
        temperature=sidecar.temperature,
        correction=None
        if sidecar.corrected is None
        else Correction(tuple(sidecar.corrected), tensors["correction.rows"], tensors["correction.biases"]),
        teacher=None
        if sidecar.encoder is None
        else Teacher(sidecar.encoder, tensors["mean"], tensors["teacher.origin"], tensors["teacher.matrix"]),
    )


def _gate(tensors: dict[str, torch.Tensor]) -> Gate:
    opening, following = map(Boundary, tensors["gate.rows"], tensors["gate.biases"].tolist())
    lengths = tensors.get("gate.lengths")  # older heads are without
    return Gate(opening, following, () if lengths is None else tuple(lengths.tolist()))
