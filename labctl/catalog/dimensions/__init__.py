"""The dimensions: what a setup varies in beside its variant, a module each.

Options, plans, ids, references, tables and the variables of setup.yml follow from ALL. A new one is a `Dimension`
added to it: one of a closed list of words is no more than its fields, anything else overrides what it does otherwise.
"""

from labctl.catalog.dimensions.dimension import Choice, Dimension, Value, Values
from labctl.catalog.dimensions.edition import EDITION
from labctl.catalog.dimensions.encryption import ENCRYPTION
from labctl.catalog.dimensions.mtu import MTU

# The order in which setups are planned, and in which references take one away.
ALL: tuple[Dimension, ...] = (ENCRYPTION, EDITION, MTU)

__all__ = ["ALL", "Choice", "Dimension", "Value", "Values"]
