"""The kinds of resource, one per module; see docs/kinds.md."""
