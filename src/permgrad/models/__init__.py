"""Networks, training, estimators, saved models."""
