"""Kinds of resource: for each, all that the engine must know of it, in one module; see docs/kinds.md."""
