"""What a model costs to run: latency, throughput, memory, parameters and multiplications.

- contenders: the models that are measured, each as torch and ONNX Runtime run it
- accuracy: on the test set, of each model as it is run
- cost: parameters and multiply-accumulate operations
- batches: latency at batch 1, and the batch size with the highest throughput
- peak_memory: the memory of a process that runs one of them
- bench: `kdsweep bench`
"""
