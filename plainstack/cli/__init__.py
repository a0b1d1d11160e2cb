"""The command line: the tasks of `inv` and `fab`, and the command `plainstack`."""

from plainstack.bytecode import cached

# Here, and not in the modules of the tasks, so that those are cached as well.
cached()
