"""The inventory: hosts.yaml, its models, and what it may not say."""
