"""The estimators, their presets and the checks of their arguments."""
