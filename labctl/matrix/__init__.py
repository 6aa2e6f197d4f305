"""Executing a plan, and going on with one that was interrupted."""
