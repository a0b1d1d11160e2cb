"""The command line: the tasks of `inv` and `fab`, and the command `plainstack`."""
