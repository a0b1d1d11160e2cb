"""The engine: resources, the probe, plans and transactions. It contains no role and makes no connection."""
