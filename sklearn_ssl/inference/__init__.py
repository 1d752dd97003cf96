"""What a network gives for all samples: embeddings in batches, and ONNX files."""
