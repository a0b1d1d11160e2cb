"""Teardown: remove from a host what Plainstack brought there, and put back what was there before."""
