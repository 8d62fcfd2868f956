"""Networks that only predict, and predictions after a replacement."""
