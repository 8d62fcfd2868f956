"""The multimodal suite: two image and two clinical modalities, and decision functions whose importances are known."""
