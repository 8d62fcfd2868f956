"""Other tools that take what permgrad makes: ONNX, MLflow, Weights & Biases, the Hugging Face Hub."""
