"""Turn two machines into a measured answer to the question what a network costs."""

from importlib import metadata

__version__ = metadata.version("labctl")
