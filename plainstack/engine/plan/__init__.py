"""Plans: compare the observed state of a host with its desired state, and group the actions into transactions."""
