"""The engine: resources, the probe, plans and transactions. It knows no role and no network."""
