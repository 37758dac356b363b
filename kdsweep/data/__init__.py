"""Data sets: one module per source of images, which a config names by its path.

`images` decodes images, `pipeline` splits a source and makes batches of it.

- sources: CIFAR10, CIFAR100, Digits, Fake, FashionMNIST, HuggingFace, ImageFolder, Imagenette,
  MNIST, SVHN, TinyImageNet
- types: Source, CachedSource, SourceData, LabelledImages, Images, DiskImages, in_order, DataError
"""
