"""Run all notebooks from top to bottom and save their outputs without times: `make outputs`."""

import copy
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"


def main() -> None:
    """Run the notebooks one after the other; each is saved only after all of its cells have run."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(FOLDER)}},
        )
        kept = copy.deepcopy(notebook.metadata)
        client.execute()
        notebook.metadata = kept  # the kernel adds its version
        nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
        print(f"{path.name}: run and saved.")


if __name__ == "__main__":
    main()
