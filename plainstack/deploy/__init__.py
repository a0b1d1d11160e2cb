"""Deploys: observing hosts, the order between them, and one transaction after the other."""
