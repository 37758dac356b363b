"""Data sets: one module per source of images, which a config names by its path.

`images` decodes images, `pipeline` splits a source and makes batches of it.

- cifar, digits, fake, huggingface, image_folder, imagenette, mnist, svhn, tiny_imagenet: CIFAR10,
  CIFAR100, Digits, Fake, HuggingFace, ImageFolder, Imagenette, MNIST, FashionMNIST, SVHN,
  TinyImageNet
- types: Source, CachedSource, SourceData, LabelledImages, Images, DiskImages, in_order, DataError
"""
