"""The kinds of resource: each is defined in one module; see docs/kinds.md."""
