"""Connections to hosts. No other package uses Fabric or Paramiko."""
