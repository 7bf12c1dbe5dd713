"""What can go wrong in the household, each with a sentence to act on."""

from toolken.tools.errors import ToolError


class HouseholdError(ToolError):
    """An action, a scene or a plan is not possible as given."""


class SimulatorMissingError(HouseholdError):
    """The VirtualHome simulator is not installed; the message says how to install it."""
