"""Push heads to repositories of the Hugging Face hub and pull them; a folder may take the place of a repository."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolken.errors import HeadError
from toolken.training.head.artifacts import HEAD_FILE, TENSOR_FILES, Sidecar, copy_head, read_head, read_sidecar
from toolken.training.lm.checkpoint import hub_resolves

CARD = "README.md"


def is_folder(repository: str) -> bool:
    """Tell whether a repository is a folder: an existing one, an absolute path, or a path that begins with . or ~."""
    return repository.startswith((".", "~")) or Path(repository).is_absolute() or Path(repository).is_dir()


def push_head(
    folder: Path, repository: str, *, revision: str | None = None, private: bool = False, message: str | None = None
) -> Sidecar:
    """Upload a saved head to a repository in one commit, tagged with the head's version.

    Parameters
    ----------
    folder
        Folder of the head, which is checked before the upload.
    repository
        A hub repository `OWNER/NAME`, created if it does not exist, or a folder.
    revision
        Branch to push to; by default the main one.
    private
        Whether a new repository is private.
    message
        Commit message.

    Returns
    -------
    Sidecar
        The head's description.

    Raises
    ------
    HeadError
        If the head is damaged, or the repository cannot be reached or written.
    """
    if is_folder(repository):
        _no_revision(repository, revision)
        return copy_head(folder, Path(repository).expanduser())
    read_head(folder)
    sidecar = read_sidecar(folder)
    version = sidecar.version[:16]
    with _hub_errors(repository), tempfile.TemporaryDirectory() as staged:
        api = _api()
        api.create_repo(repository, exist_ok=True, private=private)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        for name in (HEAD_FILE, Path(sidecar.tensors).name):
            (Path(staged) / name).symlink_to((folder / name).resolve())
        # An existing model card is kept.
        if not api.file_exists(repository, CARD, revision=revision):
            (Path(staged) / CARD).write_text(model_card(sidecar), encoding="utf-8")
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=staged,
            revision=revision,
            commit_message=message or f"Head {version}: {len(sidecar.tools)} tools",
            delete_patterns=TENSOR_FILES,
        )
        api.create_tag(repository, tag=version, revision=commit.oid, exist_ok=True)
    return sidecar


def pull_head(repository: str, folder: Path, *, revision: str | None = None) -> Sidecar:
    """Download a head from a repository into a folder, where it replaces an older head in one step.

    Parameters
    ----------
    repository
        A hub repository `OWNER/NAME`, or a folder.
    folder
        Folder to write the head to.
    revision
        Branch, tag (the first 16 digits of a head's version) or commit; by default the head of the main branch.

    Returns
    -------
    Sidecar
        The head's description.

    Raises
    ------
    HeadError
        If the repository cannot be reached, has no head, or one of its files is truncated or altered; the folder is
        left unchanged.
    """
    if is_folder(repository):
        _no_revision(repository, revision)
        return copy_head(Path(repository).expanduser(), folder)
    with _hub_errors(repository):
        from huggingface_hub import snapshot_download

        fetched = snapshot_download(repository, revision=revision, allow_patterns=[HEAD_FILE, TENSOR_FILES])
    if not (Path(fetched) / HEAD_FILE).is_file():
        raise HeadError(f"The repository {repository!r} has no head: push one with `toolken push HEAD {repository}`.")
    return copy_head(Path(fetched), folder)


def model_card(sidecar: Sidecar) -> str:
    """Return the model card of a head."""
    lm = sidecar.lm_name if not Path(sidecar.lm_name).exists() and sidecar.lm_name.count("/") == 1 else None
    lines = [
        "---",
        "library_name: toolken",
        *([f"base_model: {lm}"] if lm else []),
        "tags: [tools, toolken]",
        "---",
        "",
    ]
    lines += [
        f"# A toolken head of {len(sidecar.tools)} tools",
        "",
        f"Fitted with {sidecar.lm_name} on {sidecar.provenance.examples} examples. Fetch it with",
        "`toolken pull REPOSITORY FOLDER`, and use it with `ToolkenChatModel.from_pretrained(FOLDER)`.",
        "",
        "| | |",
        "|---|---|",
        f"| version | {sidecar.version} |",
        f"| hash of the examples | {sidecar.provenance.data} |",
    ]
    lines += [f"| {name} | {value:.4f} |" for name, value in sidecar.provenance.metrics.items()]
    shown = [f"* `{spec.name}`: {' '.join(spec.words.split())[:200]}" for spec in sidecar.tools[:100]]
    if len(sidecar.tools) > len(shown):
        shown.append(f"* and {len(sidecar.tools) - len(shown)} more")
    return "\n".join([*lines, "", "## Tools", "", *shown, ""])


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(library_name="toolken")


def _no_revision(repository: str, revision: str | None) -> None:
    if revision is not None:
        raise HeadError(f"The folder {repository!r} has no revisions: omit {revision!r}, or name a hub repository.")


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Raise errors of the hub's client as `HeadError`."""
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if not hub_resolves():
        # Without a network, the hub's client would retry for a minute and then return an old download as the newest.
        raise HeadError(f"The hub repository {repository!r} cannot be reached: there is no network to the hub.")
    try:
        yield
    except HFValidationError as error:
        raise HeadError(
            f"{repository!r} is neither a folder nor a hub repository: give OWNER/NAME, or a path that begins with ./"
        ) from error
    except RevisionNotFoundError as error:
        raise HeadError(f"The repository {repository!r} has no such revision: name a branch, tag or commit.") from error
    except RepositoryNotFoundError as error:
        raise HeadError(
            f"The hub repository {repository!r} does not exist or is private: check its name, or log in with "
            "`hf auth login`."
        ) from error
    except LocalTokenNotFoundError as error:
        raise HeadError("The hub requires a login: run `hf auth login`.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        if (
            isinstance(error, HfHubHTTPError)
            and error.response is not None
            and error.response.status_code in (401, 403)
        ):
            raise HeadError(
                f"The hub denies access to {repository!r}: log in with `hf auth login` as a user with access."
            ) from error
        reason = str(error).strip().split("\n")[0]
        raise HeadError(f"The hub repository {repository!r} cannot be reached: try again later ({reason}).") from error
