"""Inference: devices, batches, embeddings and ONNX export."""
