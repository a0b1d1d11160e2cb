"""What a host is compared with what it should be: actions, in transactions."""
