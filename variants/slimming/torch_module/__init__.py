"""An ONNX graph as a PyTorch module."""
