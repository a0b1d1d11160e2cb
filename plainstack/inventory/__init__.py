"""The inventory: hosts.yaml, its models and its validation."""
