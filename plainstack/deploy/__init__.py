"""Deploys: observing hosts, ordering their transactions, and applying them."""
