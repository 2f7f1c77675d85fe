"""PyTorch modules as ONNX or TFLite files."""
