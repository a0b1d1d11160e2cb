"""Services: their processes and environment, the content of a release, and the steps that put it in place."""
