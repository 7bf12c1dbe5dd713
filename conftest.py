"""Fixtures for the doctests of the packages."""

from pathlib import Path

import pytest

HOUSEHOLD = Path(__file__).parent / "tools" / "household"


@pytest.fixture(autouse=True)
def _simulator_for_household_examples(request: pytest.FixtureRequest) -> None:
    """Skip the doctests of the household if the simulator is not installed."""
    if HOUSEHOLD in request.path.parents:
        pytest.importorskip(
            "virtualhome_eval", reason="the simulator is missing: pip install --no-deps virtualhome-eval==0.1.1"
        )
