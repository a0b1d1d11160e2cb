"""Services: what a release contains, and how it replaces the previous one."""
