"""Who may be replaced."""
