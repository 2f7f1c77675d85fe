"""A network as an ONNX graph that regions are cut from and put into."""
