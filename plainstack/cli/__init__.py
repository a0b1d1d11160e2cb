"""What a person types: the tasks of `inv` and `fab`, and the command `plainstack`."""
