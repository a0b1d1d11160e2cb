"""Connections to hosts. The only package that knows Fabric and Paramiko."""
