"""A classifier as a file for other runtimes, checked against torch before it is kept.

- graph: the network as a graph that torch.export has traced, alone or with its preprocessing
- onnx_file: that graph as ONNX
- check: whether a file has the logits of the network
- export: `kdsweep export`
"""
