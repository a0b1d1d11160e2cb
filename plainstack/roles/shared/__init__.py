"""Resources that several roles share."""
