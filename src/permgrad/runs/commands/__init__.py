"""The commands that work on a finished run or a saved model."""
