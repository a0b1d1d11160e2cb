"""What several roles put on their hosts."""
