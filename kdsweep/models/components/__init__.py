"""Shared parts of the model families, and wrappers for any model.

``feature_extractor.FeatureExtractor`` returns features by module path, ``input_normalization``
adapts pretrained networks to the data set; ``blocks`` has layers, ``checks`` and ``pretrained``
have checks.
"""
