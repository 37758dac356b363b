"""A classifier with smaller weights, measured against itself in fp32.

- int8: ONNX files with int8 weights, static (calibrated) and dynamic
- weights: bundles with weights in bf16 or fp16
- variants: what is made of a classifier, and how it is run
- earlier: what earlier commands have written
- measure: accuracy, size and latency of all of them, on the same images and in turns
- quantize: `kdsweep quantize`
"""
