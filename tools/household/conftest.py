"""The examples of the household run where the simulator is installed."""

import pytest


@pytest.fixture(autouse=True)
def _simulator() -> None:
    pytest.importorskip("virtualhome_eval", reason="the VirtualHome simulator is not installed")
