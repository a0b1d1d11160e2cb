"""Services: what is released, and how a release takes the place of the one before."""
