"""What the doctests of the packages need."""

from pathlib import Path

import pytest

HOUSEHOLD = Path(__file__).parent / "tools" / "household"


@pytest.fixture(autouse=True)
def _simulator_for_household_examples(request: pytest.FixtureRequest) -> None:
    """Skip the household's examples where the simulator they run on is not installed."""
    if HOUSEHOLD in request.path.parents:
        pytest.importorskip(
            "virtualhome_eval", reason="the simulator is missing: pip install --no-deps virtualhome-eval==0.1.1"
        )
